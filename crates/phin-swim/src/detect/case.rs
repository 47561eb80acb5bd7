//! [`Case`]: what there is against one version of one member. It owns evidence and votes; rules elsewhere decide what they
//! amount to.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{
    Instant, MemberId, Version,
    detect::{
        reports::{Silence, Vote},
        signed::SignedVote,
    },
};

/// The subjects that do not answer, or did not answer others: one case for each, at most [`MAX_CASES`].
#[derive(Debug, Default)]
pub(crate) struct Cases(BTreeMap<MemberId, Case>);

/// The evidence against one version of one member.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) version: Version,
    pub(crate) opened_at: Instant,
    pub(crate) stage: Stage,
    /// When the pings of this node were sent that are overdue since the last sign of life, in order.
    pub(crate) misses: Vec<Instant>,
    /// The answer of the subject's host to this node: of several answers, the one with the most information.
    pub(crate) silence: Silence,
    /// How many questions in a row its host left unanswered, after it had answered.
    pub(crate) unanswered: u8,
    /// When its host was last asked.
    pub(crate) host_asked_at: Option<Instant>,
    /// The next ping of the subject.
    pub(crate) retry: Retry,
    /// The findings of other observers.
    pub(crate) votes: BTreeMap<MemberId, Vote>,
    /// The signed votes of other observers that have voted, and of this node.
    pub(crate) signed: BTreeMap<MemberId, SignedVote>,
    /// Whether this node withheld its own judgement, as it may have received nothing.
    pub(crate) is_held: bool,
    /// When this node first asked for votes, since it last asked for none for a while.
    pub(crate) accused_at: Option<Instant>,
    /// When the first vote of another observer came.
    pub(crate) voted_at: Option<Instant>,
    /// The members that collect votes; at most [`MAX_ACCUSERS`].
    pub(crate) accusers: BTreeSet<MemberId>,
    /// The members that received the evidence of this node: their answers count.
    pub(crate) asked: BTreeSet<MemberId>,
    /// Whether they include the members that the subject pings.
    pub(crate) has_asked_subjects: bool,
    /// Observers that consider themselves unable to judge; at most [`MAX_ACCUSERS`].
    pub(crate) abstaining: BTreeSet<MemberId>,
    /// The last vote of this node that was sent.
    pub(crate) sent: Option<SentVote>,
    /// How many refutations of the subject did not reach this node directly: others receive from it, so the fault is
    /// on this side of the network.
    pub(crate) refuted: u32,
}

/// A vote of this node that was sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SentVote {
    pub(crate) at: Instant,
    pub(crate) phi: f64,
    pub(crate) silence: Silence,
}

/// The next ping of a subject that does not answer: one at a time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Retry {
    /// None is planned.
    None,
    /// Its timer is set for this moment; any other timer is of a case that was closed.
    At(Instant),
    /// It was sent, and is not overdue yet.
    UnderWay,
}

/// How far this node's own suspicion has gone.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Stage {
    /// Pinging again.
    Watching,
    /// It was pinged by stream, and its host is asked.
    Insisting,
    /// Others were asked to ping it.
    Asked,
    /// The other observers were informed.
    Accused,
}

impl Cases {
    pub(crate) fn get(&self, id: MemberId) -> Option<&Case> {
        self.0.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: MemberId) -> Option<&mut Case> {
        self.0.get_mut(&id)
    }

    /// An accuser has its answer, and collects no more votes: evidence from now on is a new question to all, also to those
    /// that hear the subject.
    pub(crate) fn answer(&mut self, subject: MemberId, accuser: MemberId) {
        if let Some(case) = self.0.get_mut(&subject) {
            case.accusers.remove(&accuser);
        }
    }

    /// The case against this version of a member, opened if there is room.
    pub(crate) fn open(
        &mut self,
        now: Instant,
        id: MemberId,
        version: Version,
    ) -> Option<&mut Case> {
        if self.0.len() >= MAX_CASES && !self.0.contains_key(&id) {
            return None;
        }
        Some(self.0.entry(id).or_insert_with(|| Case::new(version, now)))
    }

    pub(crate) fn close(&mut self, id: MemberId) -> Option<Case> {
        self.0.remove(&id)
    }

    /// Closes those in which nothing is left, but of members that are kept.
    pub(crate) fn close_empty(&mut self, is_kept: impl Fn(MemberId) -> bool) {
        self.0.retain(|&id, case| !case.is_empty() || is_kept(id));
    }

    /// The members against which there is a case.
    pub(crate) fn subjects(&self) -> Vec<MemberId> {
        self.0.keys().copied().collect()
    }

    /// The cases with signed votes.
    pub(crate) fn signed(&self) -> impl Iterator<Item = (MemberId, Version)> {
        let signed = self.0.iter().filter(|(_, case)| !case.signed.is_empty());
        signed.map(|(&id, case)| (id, case.version))
    }

    pub(crate) fn is_open(&self, id: MemberId) -> bool {
        self.0.contains_key(&id)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// When this node's pings of a member were sent that are overdue since its last sign of life.
    pub(crate) fn misses_of(&self, id: MemberId) -> &[Instant] {
        self.0.get(&id).map_or(&[], |case| &case.misses)
    }

    /// Whether a member has not answered this one several times in a row.
    pub(crate) fn is_silent(&self, id: MemberId) -> bool {
        self.misses_of(id).len() >= SILENT_MISSES
    }

    /// The votes of other observers against a member since its last sign of life.
    pub(crate) fn votes_of(&self, id: MemberId) -> impl Iterator<Item = &Vote> {
        self.0.get(&id).into_iter().flat_map(|case| case.votes.values())
    }

    /// Whether an observer considers itself unable to judge this member.
    pub(crate) fn abstains(&self, observer: MemberId, subject: MemberId) -> bool {
        self.0.get(&subject).is_some_and(|case| case.abstaining.contains(&observer))
    }

    /// The kind of a member's silence, as far as any observer knows it.
    pub(crate) fn silence_of(&self, id: MemberId) -> Option<Silence> {
        let case = self.0.get(&id)?;
        let votes = case.votes.values().map(|vote| vote.silence);
        votes.chain([case.silence]).max()
    }

    /// This node withholds its own judgement on a member.
    pub(crate) fn withhold(&mut self, id: MemberId) {
        if let Some(case) = self.0.get_mut(&id) {
            case.is_held = true;
        }
    }

    /// A retry was due or is over: whatever follows may set the next.
    pub(crate) fn end_retry(&mut self, id: MemberId) {
        if let Some(case) = self.0.get_mut(&id) {
            case.retry = Retry::None;
        }
    }

    /// A later version of a member is known: it refuted what there was against the one before.
    pub(crate) fn renew(&mut self, now: Instant, id: MemberId, version: Version) {
        if let Some(case) = self.0.get_mut(&id).filter(|case| case.version < version) {
            let refuted = case.refuted + 1;
            *case = Case { refuted, ..Case::new(version, now) };
        }
    }

    /// Forgets this node's own misses of what was sent since then: it is not known whether they were the subjects'.
    pub(crate) fn void_own_misses(&mut self, since: Instant) {
        for case in self.0.values_mut() {
            case.misses.retain(|&sent_at| sent_at < since);
            case.signed.retain(|voter, _| case.votes.contains_key(voter));
            // It is pinged again at once, so what is left stays part of one silence.
            case.retry = Retry::UnderWay;
            // Its host is asked again as well.
            case.host_asked_at = None;
            if case.misses.is_empty() {
                case.stage = Stage::Watching;
            }
        }
    }
}

impl SentVote {
    /// Whether the accusers need no further word: of much more phi, or of another kind of silence.
    pub(crate) fn is_enough(self, now: Instant, tolerance: Duration, case: &Case) -> bool {
        let is_recent = now - self.at < tolerance / 8;
        self.silence == case.silence && (is_recent || self.phi >= ENOUGH_PHI)
    }
}

impl Case {
    pub(crate) fn new(version: Version, now: Instant) -> Self {
        Self {
            version,
            opened_at: now,
            stage: Stage::Watching,
            misses: Vec::new(),
            silence: Silence::Unknown,
            unanswered: 0,
            host_asked_at: None,
            retry: Retry::None,
            votes: BTreeMap::new(),
            signed: BTreeMap::new(),
            is_held: false,
            accused_at: None,
            voted_at: None,
            accusers: BTreeSet::new(),
            asked: BTreeSet::new(),
            has_asked_subjects: false,
            abstaining: BTreeSet::new(),
            sent: None,
            refuted: 0,
        }
    }

    /// Whether nobody follows it up: a ping for another member was missed, and no accusation came.
    pub(crate) fn is_dormant(&self) -> bool {
        self.retry == Retry::None && self.accusers.is_empty() && self.stage < Stage::Asked
    }

    /// Reopens a dormant case. A ping for another member that was missed long ago, and that nobody followed up, is not
    /// part of a silence that begins now.
    pub(crate) fn reopen(&mut self, now: Instant, recent: Duration) {
        self.misses.retain(|&sent_at| now - sent_at <= recent);
        self.opened_at = now;
    }

    /// Whether this node has not pinged the subject for it yet.
    pub(crate) fn is_unverified(&self) -> bool {
        self.retry == Retry::None && self.misses.is_empty()
    }

    /// Whether its host is to be asked, after such an interval; then it is.
    pub(crate) fn is_host_due(&mut self, now: Instant, interval: Duration) -> bool {
        let is_due = self.host_asked_at.is_none_or(|asked_at| now - asked_at >= interval);
        self.host_asked_at = if is_due { Some(now) } else { self.host_asked_at };
        is_due
    }

    /// Takes what the subject's host, or its network, shows; says whether that changes anything. An answer with less information
    /// does not: answers can be lost, or withheld by rate limits. But a host that no longer answers at all is down.
    pub(crate) fn record_host(&mut self, silence: Silence) -> bool {
        match silence {
            Silence::Unknown => {}
            Silence::Silent => self.unanswered = self.unanswered.saturating_add(1),
            Silence::Hung | Silence::Gone => self.unanswered = 0,
        }
        let is_down = (self.silence, silence) == (Silence::Hung, Silence::Silent)
            && self.unanswered >= MAX_UNANSWERED;
        let is_news = silence > self.silence || is_down;
        if is_news {
            (self.silence, self.unanswered) = (silence, 0);
        }
        is_news
    }

    /// How many pings of this node were missed, as far as a vote can say.
    pub(crate) fn attempts(&self) -> u8 {
        u8::try_from(self.misses.len()).unwrap_or(u8::MAX)
    }

    /// The members that suspect the subject too, by what they sent.
    pub(crate) fn concerned(&self) -> Vec<MemberId> {
        self.votes.keys().chain(&self.accusers).copied().collect()
    }

    /// Whether nothing is left against the subject.
    pub(crate) fn is_empty(&self) -> bool {
        self.misses.is_empty() && self.votes.is_empty()
    }

    /// When the silence began, as far as anyone who counts has found.
    pub(crate) fn silent_since(&self) -> Option<Instant> {
        let votes = self.votes.values().map(|vote| vote.silent_since);
        self.misses.iter().copied().chain(votes).min()
    }

    /// Keeps one miss as evidence; no more than `max` are of use.
    pub(crate) fn record_miss(&mut self, sent_at: Instant, max: usize) {
        if self.misses.len() < max {
            self.misses.push(sent_at);
            self.misses.sort_unstable();
        }
    }

    /// Takes the vote of another observer. Says whether a process that seemed to hang may have ended since: then its host
    /// is asked again.
    pub(crate) fn record_vote(&mut self, now: Instant, vote: Vote) -> bool {
        let Vote { observer, silence, .. } = vote;
        self.abstaining.remove(&observer);
        self.voted_at.get_or_insert(now);
        let before = self.votes.insert(observer, vote).map(|vote| vote.silence);
        silence == Silence::Gone && before != Some(silence) && self.silence == Silence::Hung
    }

    /// This vote of this node is sent, as an accusation or to those that accuse. An accusation after a `pause` is a new
    /// question: members that heard the subject meanwhile need time to answer it.
    pub(crate) fn record_sent(&mut self, sent: SentVote, is_accusation: bool, pause: Duration) {
        let last = self.sent.replace(sent);
        if !is_accusation {
            return;
        }
        self.stage = Stage::Accused;
        if last.is_some_and(|last| sent.at - last.at >= pause) {
            (self.accused_at, self.has_asked_subjects) = (None, false);
        }
        self.accused_at.get_or_insert(sent.at);
    }

    pub(crate) fn record_accuser(&mut self, accuser: MemberId) {
        if self.accusers.len() < MAX_ACCUSERS {
            self.accusers.insert(accuser);
        }
    }

    /// This member received the evidence of this node, so its answer counts.
    pub(crate) fn record_asked(&mut self, receiver: MemberId) {
        if self.asked.len() < MAX_ACCUSERS {
            self.asked.insert(receiver);
        }
    }

    /// The members that the subject pings are asked too; `false` if they were asked already.
    pub(crate) fn ask_subjects(&mut self, pinged: &[MemberId]) -> bool {
        let is_first = !std::mem::replace(&mut self.has_asked_subjects, true);
        if is_first {
            self.asked.extend(pinged);
        }
        is_first
    }

    /// An observer considers itself unable to judge; says whether that was noticed.
    pub(crate) fn record_abstaining(&mut self, observer: MemberId) -> bool {
        let has_room = self.abstaining.len() < MAX_ACCUSERS;
        if has_room {
            self.votes.remove(&observer);
            self.signed.remove(&observer);
            self.abstaining.insert(observer);
        }
        has_room
    }

    /// The subject was alive at `until`: drops the evidence from before. Says whether there was any.
    pub(crate) fn void(&mut self, until: Instant) -> bool {
        let (misses, votes) = (self.misses.len(), self.votes.len());
        self.misses.retain(|&sent_at| sent_at > until);
        self.votes.retain(|_, vote| vote.silent_since > until);
        self.voted_at = self.voted_at.filter(|_| !self.votes.is_empty());
        let is_news = self.misses.len() < misses || self.votes.len() < votes;
        if is_news {
            // The signature of this node is among those dropped.
            self.signed.retain(|voter, _| self.votes.contains_key(voter));
        }
        is_news
    }
}

/// This many missed replies in a row are a silence.
const SILENT_MISSES: usize = 2;
/// A vote of this phi needs no further word from the voter.
const ENOUGH_PHI: f64 = 4.0;
/// How many cases can be open; beyond, further members are not suspected until one closes.
const MAX_CASES: usize = 1_024;
/// After this many questions that its host left unanswered, a process does not hang: the host is down. Where one answer in
/// five is lost, one observer in a hundred is wrong, and another may know better.
const MAX_UNANSWERED: u8 = 3;
/// How many accusers and abstaining observers are remembered for a case: more than any configuration has observers.
const MAX_ACCUSERS: usize = 64;
