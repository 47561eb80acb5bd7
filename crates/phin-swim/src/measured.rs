//! For benchmarks alone: parts of the core that have no door of their own. No application needs this.

use std::time::Duration;

use crate::{
    Claim, ClearBody, Entry, Generation, Instant, JoinRefusal, Keys, Member, MemberId, MemberState,
    MembershipList, Part, Payload, Pulse, Round, Sequence, Silence, Swim, Tally, Template, Verdict,
    VoteBody,
    wire::{BUCKETS, Fingerprint, decode},
};

/// A message of one kind, as large as such messages usually are.
#[derive(Clone, Debug)]
pub struct Message {
    /// The kind's name.
    pub name: &'static str,
    part: Part,
}

impl Message {
    /// The message as it is sent.
    pub fn encode(&self) -> Vec<u8> {
        Payload::of(&self.part).into_bytes()
    }
}

/// Whether a payload can be read: what decoding it costs.
pub fn is_readable(payload: &[u8], keys: &dyn Keys) -> bool {
    decode(payload, keys).is_ok()
}

/// A message of each kind that `by` may send about another member on this core's list. Nothing if one of them is not on
/// it.
pub fn messages(core: &Swim, by: MemberId, subject: MemberId) -> Option<Vec<Message>> {
    let record = core.core.list.get(subject)?.record.clone();
    let (version, sequence) = (record.version(), Sequence(70_000));
    let generation = core.core.list.get(by)?.version().generation;
    let claim = Claim { subject, version, by };
    let silent_for = Duration::from_millis(1_100);
    let tally = Tally { phi: 6.2, silent_for, silence: Silence::Silent, attempts: 4 };
    let vote = VoteBody { subject, version, is_accusation: true, is_observer: true, tally };
    let clear = ClearBody { subject, version, age: silent_for, heard_by: None };
    let target = subject;
    let lines = core.core.list.summary(1);
    let ids = lines.iter().map(|line| line.id).collect();
    let parts = [
        ("ping", Part::Ping(pulse(core, sequence, generation))),
        ("ack", Part::Ack(pulse(core, sequence, generation))),
        ("ping-req", Part::PingReq { sequence: Some(sequence), target, nonce: None }),
        ("nack", Part::Nack { sequence }),
        ("indirect ack", Part::IndirectAck { sequence, generation }),
        ("entry", Part::Entry(Entry { state: MemberState::Alive, record })),
        ("suspect", Part::Suspect(claim)),
        ("dead, five votes", Part::Dead(Verdict::unsigned(claim, vec![(by, tally); 5]))),
        ("join", Part::Join),
        ("join reply", Part::JoinReply(Err(JoinRefusal::Full))),
        ("compare", Part::Compare(Box::new([u64::MAX / 3; BUCKETS]))),
        ("summary of a bucket", Part::Summary { buckets: 1, lines }),
        ("want", Part::Want(ids)),
        ("leave", Part::Leave { sequence }),
        ("leave ack", Part::LeaveAck { sequence }),
        ("vote", Part::Vote(vote)),
        ("clear", Part::Clear(clear)),
        ("abstain", Part::Abstain { subject, version }),
    ];
    Some(parts.into_iter().map(|(name, part)| Message { name, part }).collect())
}

fn pulse(core: &Swim, sequence: Sequence, generation: Generation) -> Pulse {
    let fingerprint: Fingerprint = core.core.list.snapshot().fingerprint();
    let (round, round_age_ms) = (Round(1_000), 730);
    Pulse { sequence, generation, round, round_age_ms, fingerprint, stall_ms: 0 }
}

/// A membership list with its fingerprint and its rings.
#[derive(Clone, Debug)]
pub struct List(MembershipList);

impl List {
    /// The list of a template, unless that is empty.
    pub fn of(template: &Template) -> Option<Self> {
        template.list().cloned().map(Self)
    }

    /// A member dies, or lives again: its links, the fingerprint and the count change.
    pub fn change(&mut self, id: MemberId) {
        let Some(member) = self.0.get(id) else { return };
        let state = match member.state.is_live() {
            true => MemberState::Dead,
            false => MemberState::Alive,
        };
        let record = member.record.clone();
        self.0.put(Member { record, state, since: Instant::START });
    }

    /// How many members observe this one, and how many it observes: finding them is what is measured.
    pub fn neighbours(&self, id: MemberId) -> usize {
        let rings = self.0.rings();
        rings.observers(id).len() + rings.subjects(id).len()
    }

    /// The fingerprint.
    pub fn fingerprint(&self) -> Fingerprint {
        self.0.snapshot().fingerprint()
    }
}
