//! Helpers for tests of rules: the rooms of a node without its [`Swim`](crate::Swim), so that a test calls one rule
//! alone, and a description in words of the effects that the rule asked for. Node 0 is the node itself.

pub(crate) mod net;

use std::{sync::Arc, time::Duration};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::{
    ClearBody, Config, Instant, Member, MemberId, MemberState, Output, Peer, Silence, Version,
    Vote,
    config::Params,
    core::Core,
    ctx::{Ctx, Effect},
    detect::{case::Case, view::View},
    member::{
        record::tests::{TestKeys, addr, id, record, version},
        transition::News,
    },
    probe::rounds::Rounds,
    step::{Channel, Step},
    wire::{Payload, describe},
};

/// The rooms of node 0.
pub(crate) type Rooms = Core;

impl Core {
    /// At 10 s, with a list of so many members, all alive since the start: up to nine observe one another.
    pub(crate) fn of(members: u8) -> Self {
        Self::with(members, Config::lan())
    }

    pub(crate) fn with(members: u8, config: Config) -> Self {
        let params: Params = config.try_into().unwrap();
        let (now, keys, rng) = (at(10_000), Arc::new(TestKeys(0)), ChaCha8Rng::seed_from_u64(1));
        let statement = record(0, version(0, 0)).statement();
        let mut rooms = Self::new(Instant::START, statement, params.clone(), keys.clone(), 1);
        rooms.ctx = Ctx::new(now, params, keys, rng);
        rooms.senses.rounds = Rounds::new(now);
        (1..members).for_each(|node| rooms.put(node, MemberState::Alive, 0));
        rooms
    }

    /// The same at this moment.
    pub(crate) const fn now(&mut self, now: Instant) -> &mut Self {
        self.ctx.now = now;
        self
    }

    pub(crate) fn at(&mut self, millis: u64) -> &mut Self {
        self.now(at(millis))
    }

    /// Puts a member into the list, in this state since then.
    pub(crate) fn put(&mut self, node: u8, state: MemberState, since: u64) {
        self.list.put(member(node, state, since));
    }

    /// Measures the link to a member: from then on a reply that is missing weighs a good deal.
    pub(crate) fn measure(&mut self, node: u8) {
        self.senses.links.open(id(node), Duration::from_millis(10));
        let link = self.senses.links.get_mut(id(node)).unwrap();
        (0..200).for_each(|_| link.estimator.record_reply(Duration::from_millis(10)));
        self.senses.links.connect(id(node), 100);
    }

    /// The case against a member, with these pings missed.
    pub(crate) fn miss(&mut self, node: u8, sent_at: &[u64]) -> &mut Case {
        let opened_at = self.ctx.now;
        let version = self.list.get(id(node)).unwrap().version();
        let case = self.detector.cases.open(opened_at, id(node), version).unwrap();
        sent_at.iter().for_each(|&sent_at| case.record_miss(at(sent_at), 100));
        case
    }

    /// These members are silent to this node since 9 s.
    pub(crate) fn silence(&mut self, nodes: &[u8]) {
        nodes.iter().for_each(|&node| _ = self.miss(node, &[9_000, 9_100]));
    }

    /// A timer fires so much later than asked.
    pub(crate) fn lag(&mut self, lag: u64) {
        self.senses.health.record_lag(&mut self.ctx, &mut self.senses.rounds, ms(lag));
    }

    pub(crate) fn hear_anyone(&mut self) {
        self.senses.health.hear_anyone(&mut self.ctx);
    }

    /// The input of the rules of detection.
    pub(crate) const fn see(&self) -> View<'_> {
        self.view(self.ctx.now)
    }

    /// The effects that rules asked for since this was last called, in order, one line each.
    pub(crate) fn effects(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.ctx.next_effect()).map(|effect| in_words(&effect)).collect()
    }
}

fn in_words(effect: &Effect) -> String {
    match effect {
        Effect::Output(Output::Datagram { to, payload }) => {
            format!("to {}: {}", name(to.id), parts(payload))
        }
        Effect::Output(Output::Stream { to, payload }) => {
            format!("by stream to {}: {}", name(to.id), parts(payload))
        }
        Effect::Output(Output::SendMessage { to, payload, .. }) => {
            format!("message to {}: {}", name(to.id), parts(payload))
        }
        Effect::Output(Output::Sent { message, receipt }) => {
            let (from, body) = (name(message.from), String::from_utf8_lossy(&message.body));
            let receipt = if receipt.is_some() { "" } else { ", no answer wanted" };
            format!("message of {from} {}: {body}{receipt}", message.topic)
        }
        Effect::Output(Output::SendEnded { ticket, result }) => match result {
            Ok(()) => format!("ended #{} taken", ticket.0),
            Err(failure) => format!("ended #{} {}", ticket.0, failure.as_str()),
        },
        Effect::Output(Output::AskHost { to, question, .. }) => {
            format!("ask host of {}: {question:?}", name(to.id))
        }
        Effect::Output(output) => named(format!("{output:?}")),
        Effect::Step(Step::SendWithNews { to, channel, payload }) => {
            let by = if *channel == Channel::Stream { "by stream " } else { "" };
            format!("{by}to {}, with news: {}", name(to.id), parts(&payload_bytes(payload)))
        }
        Effect::Step(Step::Apply { news: News::State(id, state), source }) => {
            format!("apply {} {state} {}", name(*id), named(format!("{source:?}")))
        }
        Effect::Step(Step::Apply { news: News::Record { record, state }, .. }) => {
            let version = record.version();
            let (generation, incarnation) = (version.generation.0, version.incarnation.0);
            format!("apply {} v{generation}.{incarnation} {state}", name(record.id()))
        }
        Effect::Step(Step::Announce { change, member }) => {
            format!("announce {} {change:?}", name(member.id()))
        }
        Effect::Step(step) => named(format!("{step:?}")),
    }
}

fn payload_bytes(payload: &Payload) -> Vec<u8> {
    payload.clone().into_bytes()
}

fn parts(payload: &[u8]) -> String {
    describe(payload, &TestKeys(0), &name).join("; ")
}

fn name(id: MemberId) -> String {
    (0..=u8::MAX).find(|&node| self::id(node) == id).map_or("?".to_owned(), |n| format!("n{n}"))
}

/// Has names in place of ids and of peers.
fn named(mut text: String) -> String {
    for node in 0..=u8::MAX {
        let (id, peer) = (format!("{:?}", id(node)), format!("{:?}", peer(node)));
        text = text.replace(&peer, &format!("n{node}")).replace(&id, &format!("n{node}"));
    }
    text
}

pub(crate) fn at(millis: u64) -> Instant {
    Instant::START + Duration::from_millis(millis)
}

pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) fn peer(node: u8) -> Peer {
    Peer { id: id(node), addr: addr(node) }
}

pub(crate) fn member(node: u8, state: MemberState, since: u64) -> Member {
    Member { record: record(node, version(0, 0)), state, since: at(since) }
}

/// A vote of this observer, of phi 3, on a silence since then.
/// The statement that its sender, or another node, heard node 1 half a second ago.
pub(crate) fn clear(version: Version, heard_by: Option<u8>) -> ClearBody {
    ClearBody { subject: id(1), version, age: ms(500), heard_by: heard_by.map(id) }
}

pub(crate) fn vote(observer: u8, since: u64, silence: Silence) -> Vote {
    Vote { observer: id(observer), phi: 3.0, silent_since: at(since), silence, attempts: 3 }
}
