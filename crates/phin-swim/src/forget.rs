//! Forgetting members that died or left: when they were remembered long enough, or as an operator asks.
//!
//! Who forgets a member tells the others, and each that holds it for dead or left too forgets it and tells on. Who is out
//! of reach then still keeps it, and may tell of it later; so what was forgotten is remembered apart from the list, for
//! as long again. Who holds it for dead or left is told to forget it; who holds it for alive is answered as if it were
//! still in the list. The member itself is not shut out: any later word of its own, or a message from it, brings it back.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use crate::{
    Instant, Member, MemberId, MemberState, Peer, Question, Swim, Version,
    member::list::bucket_bit,
    member::transition::News,
    refute::Accusation,
    step::{Source, Step},
    timers::Timer,
    wire::{Claim, Entry, Part, Payload},
};

/// Why a member cannot be forgotten.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ForgetRefusal {
    /// It is not in the list.
    #[error("no such member is known")]
    Unknown,
    /// It is this node itself.
    #[error("a node does not forget itself")]
    ThisNode,
    /// It takes part in the cluster.
    #[error("it is {}; only the dead and those that left can be forgotten", if *is_suspect { "suspect" } else { "alive" })]
    Live {
        /// Whether it is held for suspect rather than alive.
        is_suspect: bool,
    },
}

/// The members that were forgotten, and when the list is swept next.
#[derive(Debug, Default)]
pub(crate) struct Forgotten {
    members: BTreeMap<MemberId, Arc<Member>>,
    /// The same, by when they were forgotten.
    by_age: BTreeSet<(Instant, MemberId)>,
    sweep_at: Option<Instant>,
    /// Dead members that another one has forgotten before their time; at most [`MAX_REQUESTS`], the first gives way.
    requests: VecDeque<Request>,
}

/// The word of another member that it has forgotten a dead one, which nothing else bears out.
#[derive(Clone, Copy, Debug)]
struct Request {
    subject: MemberId,
    version: Version,
    by: Peer,
}

impl Forgotten {
    /// Keeps the word that a member was forgotten; returns whether another one has said so before.
    fn confirm(&mut self, request: Request) -> bool {
        let same =
            |known: &Request| known.subject == request.subject && known.version == request.version;
        if let Some(known) = self.requests.iter().copied().find(same) {
            return known.by.id != request.by.id;
        }
        if self.requests.len() >= MAX_REQUESTS {
            self.requests.pop_front();
        }
        self.requests.push_back(request);
        false
    }

    /// What to answer to a member that has another one, forgotten here, in this version in this state.
    pub(crate) fn answer(
        &self,
        me: MemberId,
        id: MemberId,
        (version, state): (Version, MemberState),
    ) -> Option<Part> {
        let known = self.members.get(&id).filter(|known| version <= known.version())?;
        if state.is_live() {
            return self.entry(id);
        }
        Some(Part::Forget(Claim { subject: id, version: known.version(), by: me }))
    }

    /// News that a member was forgotten.
    pub(crate) fn news(&self, me: MemberId, id: MemberId) -> Option<Part> {
        let known = self.members.get(&id)?;
        self.answer(me, id, (known.version(), known.state))
    }

    /// The state that a member was in when it was forgotten: for itself, should it live.
    pub(crate) fn entry(&self, id: MemberId) -> Option<Part> {
        let known = self.members.get(&id)?;
        Some(Part::Entry(Entry { state: known.state, record: known.record().clone() }))
    }

    fn insert(&mut self, now: Instant, member: Arc<Member>) {
        let id = member.id();
        self.remove(id);
        self.members.insert(id, member);
        self.by_age.insert((now, id));
    }

    pub(crate) fn remove(&mut self, id: MemberId) {
        if self.members.remove(&id).is_some() {
            self.by_age.retain(|&(_, known)| known != id);
        }
    }

    /// When the one forgotten longest ago was.
    fn oldest(&self) -> Option<Instant> {
        self.by_age.first().map(|&(at, _)| at)
    }

    fn remove_oldest(&mut self) {
        if let Some((_, id)) = self.by_age.pop_first() {
            self.members.remove(&id);
        }
    }
}

impl Swim {
    /// Forgets a member that died or left, and tells the others to.
    pub(crate) fn forget_on_request(&mut self, id: MemberId) -> Result<(), ForgetRefusal> {
        let state = self.list.get(id).ok_or(ForgetRefusal::Unknown)?.state;
        if id == self.id() {
            return Err(ForgetRefusal::ThisNode);
        }
        if state.is_live() {
            return Err(ForgetRefusal::Live { is_suspect: state == MemberState::Suspect });
        }
        self.remove_member(id, Source::Ourselves);
        Ok(())
    }

    /// Another member has forgotten this one. We do the same if we hold it for dead or left in that version or an earlier
    /// one; where we hold it for alive, others knew of its death, which we doubt.
    pub(crate) fn handle_forget(&mut self, source: Source, claim: Claim) {
        let Claim { subject, version, .. } = claim;
        if subject == self.id() {
            return self.verdicts(|verdicts| verdicts.refute(source, claim, Accusation::Death));
        }
        match self.list.get(subject).map(|known| (known.state, known.version())) {
            Some((state, known)) if !state.is_live() && known <= version => {
                if self.may_forget(source, subject, known) {
                    self.remove_member(subject, source);
                }
            }
            Some((state, known)) if state.is_live() && known == version => {
                self.verdicts(|verdicts| verdicts.handle_death_elsewhere(source, claim));
            }
            // We know a later word of it than those who forgot.
            Some(_) => {}
            None if self.forgotten.members.contains_key(&subject) => {}
            None => self.ctx.stats.unknown_subjects += 1,
        }
    }

    /// Whether we follow the word of another member that it has forgotten this one. One that left has said so itself. One
    /// that is dead would no longer be shown, nor redialled, so the word of a single member is not enough: it takes a
    /// second one, or that the member's host says that it is not there.
    fn may_forget(&mut self, source: Source, id: MemberId, version: Version) -> bool {
        let now = self.ctx.now;
        let Some(member) = self.list.get(id) else {
            return false;
        };
        if member.state == MemberState::Left || now - member.since >= self.ctx.params.dead_retention
        {
            return true;
        }
        let (Source::Gossip(by) | Source::Welcome(by)) = source else {
            return true;
        };
        if self.forgotten.confirm(Request { subject: id, version, by }) {
            return true;
        }
        self.ctx.stats.forgets_ignored += 1;
        self.ctx.ask_host(self.list.peer(id), Question::Silence);
        false
    }

    /// The host of a member says that no process has its port.
    pub(crate) fn confirm_forgotten(&mut self, id: MemberId) {
        let requests = &mut self.forgotten.requests;
        let Some(place) = requests.iter().position(|request| request.subject == id) else {
            return;
        };
        let request = requests.remove(place);
        let known = self.list.get(id).map(|known| (known.state, known.version()));
        if let Some(Request { version, by, .. }) = request
            && known == Some((MemberState::Dead, version))
        {
            self.remove_member(id, Source::Gossip(by));
        }
    }

    /// Whether this tells of a member in a version that was forgotten here, and so is no news. Whoever tells it is
    /// answered; a member that speaks for itself is told what it was held for, and is new.
    pub(crate) fn is_forgotten(&mut self, from: Peer, part: &Part) -> bool {
        if self.forgotten.members.is_empty() {
            return false;
        }
        let (id, version, state) = match part {
            Part::Entry(Entry { state, record }) => (record.id(), record.version(), *state),
            Part::Suspect(claim) => (claim.subject, claim.version, MemberState::Suspect),
            Part::Dead(verdict) => {
                (verdict.claim.subject, verdict.claim.version, MemberState::Dead)
            }
            _ => return false,
        };
        let Some(answer) = self.word_on_forgotten(id, version, state) else {
            return false;
        };
        if self.may_answer() {
            self.ctx.send(from, &answer);
        }
        let is_back = id == from.id && state.is_live();
        if is_back {
            self.forgotten.remove(id);
        }
        !is_back
    }

    /// What to answer to one who holds a member, forgotten here, in this version for this.
    pub(crate) fn word_on_forgotten(
        &self,
        id: MemberId,
        version: Version,
        state: MemberState,
    ) -> Option<Part> {
        self.forgotten.answer(self.id(), id, (version, state))
    }

    /// Adds whom we forgot in those buckets (a bit each) of a list that is compared with ours.
    pub(crate) fn push_forgotten(&self, payload: &mut Payload, buckets: u64) {
        for &id in self.forgotten.members.keys().filter(|&&id| buckets & bucket_bit(id) != 0) {
            if let Some(news) = self.forgotten.news(self.id(), id) {
                payload.push(&news);
            }
        }
    }

    /// Makes sure that a member which has just died or left is forgotten in time.
    pub(crate) fn plan_to_forget(&mut self) {
        let now = self.ctx.now;
        self.plan_sweep(now + self.ctx.params.dead_retention);
    }

    /// Forgets members that died or left, or were forgotten, longer ago than that is remembered.
    pub(crate) fn sweep(&mut self) {
        let now = self.ctx.now;
        if self.forgotten.sweep_at.is_none_or(|planned| planned > now) {
            return;
        }
        self.forgotten.sweep_at = None;
        let retention = self.ctx.params.dead_retention;
        let me = self.id();
        let mut next = None;
        let mut due = Vec::new();
        for member in self.list.snapshot().iter() {
            match member.since + retention {
                _ if member.state.is_live() || member.id() == me => {}
                at if at <= now => due.push(member.id()),
                at => next = Some(next.map_or(at, |next: Instant| next.min(at))),
            }
        }
        while self.forgotten.oldest().is_some_and(|at| now - at >= retention) {
            self.forgotten.remove_oldest();
        }
        for id in due {
            self.remove_member(id, Source::Ourselves);
        }
        let oldest = self.forgotten.oldest().map(|at| at + retention);
        if let Some(next) = next.into_iter().chain(oldest).min() {
            // Who died at almost the same time is forgotten together.
            self.plan_sweep(next.max(now + retention / SWEEPS_IN_RETENTION));
        }
    }

    fn plan_sweep(&mut self, at: Instant) {
        if self.forgotten.sweep_at.is_none_or(|planned| at < planned) {
            self.forgotten.sweep_at = Some(at);
            self.ctx.timers.set(at, Timer::Sweep);
        }
    }

    fn remove_member(&mut self, id: MemberId, source: Source) {
        self.ctx.then(Step::Apply { news: News::Forgotten(id), source });
        self.run();
    }

    /// Remembers a member that was taken out of the list.
    pub(crate) fn remember_forgotten(&mut self, member: Arc<Member>) {
        if self.forgotten.members.len() >= MAX_FORGOTTEN {
            // By now it is the one least likely still known to anyone.
            self.forgotten.remove_oldest();
            self.ctx.stats.forgotten_dropped += 1;
        }
        self.forgotten.insert(self.ctx.now, member);
        self.plan_sweep(self.ctx.now + self.ctx.params.dead_retention);
    }
}

/// How many members that were forgotten are remembered as such.
const MAX_FORGOTTEN: usize = 1_024;
/// How many words that dead members were forgotten are kept until another member says the same.
const MAX_REQUESTS: usize = 256;
/// How often the list is swept at most, so that many that died one by one cost little.
const SWEEPS_IN_RETENTION: u32 = 100;
