//! Forgetting members that died or left: when they were remembered long enough, or as an operator asks.
//!
//! A node that forgets a member informs the others. Each node that considers it dead or left forgets it too, and
//! passes that on. A node out of reach still keeps it, and may send news of it later; so a forgotten member is
//! remembered apart from the list, for as long again. A node that considers it dead or left is asked to forget it; a
//! node that considers it alive is answered as if it were still in the list. The member itself is not banned: a later
//! record of it, or a message from it, brings it back.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use crate::{
    Claim, Ctx, Entry, Instant, Member, MemberId, MemberState, MembershipList, News, Part, Payload,
    Peer, Question, Source, Step, Timer, Transition, Version, member::list::bucket_bit,
    sync::budget::ListBudget,
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
        /// Whether it is suspect rather than alive.
        is_suspect: bool,
    },
}

/// The members that were forgotten, and when the list is swept next.
#[derive(Debug)]
pub(crate) struct Forgotten {
    /// This node, which informs others.
    me: MemberId,
    members: BTreeMap<MemberId, Arc<Member>>,
    /// The same, by when they were forgotten.
    by_age: BTreeSet<(Instant, MemberId)>,
    sweep_at: Option<Instant>,
    /// Dead members that another one has forgotten before their time; at most [`MAX_REQUESTS`], the first is dropped.
    requests: VecDeque<Request>,
}

/// The claim of another member that it has forgotten a dead one, which nothing else confirms.
#[derive(Clone, Copy, Debug)]
struct Request {
    subject: MemberId,
    version: Version,
    by: Peer,
}

/// The response to a claim that a member was forgotten.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Response {
    /// It is dead or left here too, in this version: forget it as well, if the claim may be followed.
    Follow(Version),
    /// It is alive here: another list has it dead.
    Doubt,
    /// It was forgotten here too, or a later version of it is known.
    Ignore,
    /// Nothing was ever known of it.
    Unknown,
}

/// How to respond to a claim that a member was forgotten in the version `claimed`.
fn respond(
    known: Option<(MemberState, Version)>,
    is_forgotten: bool,
    claimed: Version,
) -> Response {
    match known {
        Some((state, known)) if !state.is_live() && known <= claimed => Response::Follow(known),
        Some((state, known)) if state.is_live() && known == claimed => Response::Doubt,
        Some(_) => Response::Ignore,
        None if is_forgotten => Response::Ignore,
        None => Response::Unknown,
    }
}

/// Forgets a member that died or left, as an operator asks, and has the others forget it.
pub(crate) fn forget_on_request(
    ctx: &mut Ctx,
    list: &MembershipList,
    id: MemberId,
) -> Result<(), ForgetRefusal> {
    match list.state(id) {
        None => return Err(ForgetRefusal::Unknown),
        Some(_) if id == list.me().id() => return Err(ForgetRefusal::ThisNode),
        Some(MemberState::Alive) => return Err(ForgetRefusal::Live { is_suspect: false }),
        Some(MemberState::Suspect) => return Err(ForgetRefusal::Live { is_suspect: true }),
        Some(MemberState::Dead | MemberState::Left) => remove(ctx, id, Source::Ourselves),
    }
    Ok(())
}

impl Forgotten {
    pub(crate) const fn new(me: MemberId) -> Self {
        Self {
            me,
            members: BTreeMap::new(),
            by_age: BTreeSet::new(),
            sweep_at: None,
            requests: VecDeque::new(),
        }
    }

    /// Another member has forgotten this one.
    pub(crate) fn handle_forget(
        &mut self,
        ctx: &mut Ctx,
        list: &MembershipList,
        source: Source,
        claim: Claim,
    ) {
        let Claim { subject, version, .. } = claim;
        if subject == self.me {
            return ctx.then(Step::RefuteDeath { source, claim });
        }
        let known = list.get(subject).map(|known| (known.state, known.version()));
        match respond(known, self.members.contains_key(&subject), version) {
            Response::Follow(known) => {
                if self.may_follow(ctx, list, source, subject, known) {
                    remove(ctx, subject, source);
                }
            }
            Response::Doubt => ctx.then(Step::DeathElsewhere { source, claim }),
            Response::Ignore => {}
            Response::Unknown => ctx.stats.unknown_subjects += 1,
        }
    }

    /// Whether the claim of another member that it has forgotten this one is followed. A member that left has announced
    /// that itself. A dead one would no longer be shown, nor redialled, so the claim of a single member is not enough: it
    /// takes a second member, or the answer of the dead member's host that it is not there.
    fn may_follow(
        &mut self,
        ctx: &mut Ctx,
        list: &MembershipList,
        source: Source,
        id: MemberId,
        version: Version,
    ) -> bool {
        let Some(member) = list.get(id) else {
            return false;
        };
        let is_over = ctx.now - member.since >= ctx.params.retention;
        if member.state == MemberState::Left || is_over {
            return true;
        }
        let (Source::Gossip(by) | Source::Welcome(by)) = source else {
            return true;
        };
        if self.confirm(Request { subject: id, version, by }) {
            return true;
        }
        ctx.stats.forgets_ignored += 1;
        ctx.ask_host(list.peer(id), Question::Silence, None);
        false
    }

    /// Keeps the claim that a member was forgotten; returns whether another member has made it before.
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

    /// The host of a member says that no process has its port.
    pub(crate) fn confirm_gone(&mut self, ctx: &mut Ctx, list: &MembershipList, id: MemberId) {
        let Some(place) = self.requests.iter().position(|request| request.subject == id) else {
            return;
        };
        let request = self.requests.remove(place);
        let known = list.get(id).map(|known| (known.state, known.version()));
        if let Some(Request { version, by, .. }) = request
            && known == Some((MemberState::Dead, version))
        {
            remove(ctx, id, Source::Gossip(by));
        }
    }

    /// Whether this message is about a member in a version that was forgotten here, and so is no news. Its sender is
    /// answered. A member that speaks for itself is sent what it was considered, and is new.
    pub(crate) fn stops(
        &mut self,
        ctx: &mut Ctx,
        budget: &mut ListBudget,
        from: Peer,
        part: &Part,
    ) -> bool {
        if self.members.is_empty() {
            return false;
        }
        let Some((id, version, state)) = subject_of(part) else {
            return false;
        };
        let Some(answer) = self.answer(id, version, state) else {
            return false;
        };
        if budget.may_answer(ctx) {
            ctx.send(from, &answer);
        }
        let is_back = id == from.id && state.is_live();
        if is_back {
            self.remove(id);
        }
        !is_back
    }

    /// The response to a member that has one in this version and state that was forgotten here.
    pub(crate) fn answer(
        &self,
        id: MemberId,
        version: Version,
        state: MemberState,
    ) -> Option<Part> {
        let known = self.members.get(&id).filter(|known| version <= known.version())?;
        if state.is_live() {
            return Some(Part::Entry(Entry::of(known)));
        }
        Some(Part::Forget(Claim { subject: id, version: known.version(), by: self.me }))
    }

    /// News that a member was forgotten.
    pub(crate) fn news_of(&self, id: MemberId) -> Option<Part> {
        let known = self.members.get(&id)?;
        self.answer(id, known.version(), known.state)
    }

    /// The state of a member when it was forgotten: it is sent to the member, if that still lives.
    pub(crate) fn entry(&self, id: MemberId) -> Option<Part> {
        self.members.get(&id).map(|known| Part::Entry(Entry::of(known)))
    }

    /// Adds the members forgotten in those buckets (a bit each) of a list that is compared with this one.
    pub(crate) fn push_news(&self, payload: &mut Payload, buckets: u64) {
        for &id in self.members.keys().filter(|&&id| buckets & bucket_bit(id) != 0) {
            if let Some(news) = self.news_of(id) {
                payload.push(&news);
            }
        }
    }

    /// Makes sure that a member which has just died or left, or was forgotten, is so no longer than it is to be.
    pub(crate) fn plan(&mut self, ctx: &mut Ctx) {
        self.plan_sweep(ctx, ctx.now + ctx.params.retention);
    }

    /// Forgets members that died or left, or were forgotten, longer ago than that is remembered.
    pub(crate) fn sweep(&mut self, ctx: &mut Ctx, list: &MembershipList) {
        let (now, retention) = (ctx.now, ctx.params.retention);
        if self.sweep_at.take_if(|planned| *planned <= now).is_none() {
            return;
        }
        self.remove_older(now, retention);
        for member in departed(list).filter(|member| now - member.since >= retention) {
            remove(ctx, member.id(), Source::Ourselves);
        }
        // Members that are removed are remembered in turn, which counts for the next sweep.
        ctx.then(Step::PlanSweep);
    }

    /// Plans the sweep after one that was carried out.
    pub(crate) fn plan_next_sweep(&mut self, ctx: &mut Ctx, list: &MembershipList) {
        let retention = ctx.params.retention;
        let first = departed(list).map(|member| member.since).chain(self.oldest()).min();
        if let Some(first) = first {
            // Members that died at almost the same time are forgotten together.
            let earliest = ctx.now + retention / SWEEPS_IN_RETENTION;
            self.plan_sweep(ctx, (first + retention).max(earliest));
        }
    }

    fn plan_sweep(&mut self, ctx: &mut Ctx, at: Instant) {
        if self.sweep_at.is_none_or(|planned| at < planned) {
            self.sweep_at = Some(at);
            ctx.timers.set(at, Timer::Sweep);
        }
    }

    /// Remembers a member that was forgotten; one of which a record came is no longer forgotten.
    pub(crate) fn react(&mut self, ctx: &mut Ctx, transition: &Transition) {
        if transition.is_forgotten() {
            self.remember(ctx, Arc::clone(&transition.after));
        } else if transition.is_record {
            self.remove(transition.id());
        }
    }

    pub(crate) fn remember(&mut self, ctx: &mut Ctx, member: Arc<Member>) {
        if self.members.len() >= MAX_FORGOTTEN {
            // By now it is the one least likely still known to anyone.
            self.remove_oldest();
            ctx.stats.forgotten_dropped += 1;
        }
        let id = member.id();
        self.remove(id);
        self.members.insert(id, member);
        self.by_age.insert((ctx.now, id));
        self.plan(ctx);
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

    /// Removes those that were forgotten so long ago.
    fn remove_older(&mut self, now: Instant, age: Duration) {
        while self.oldest().is_some_and(|at| now - at >= age) {
            self.remove_oldest();
        }
    }

    fn remove_oldest(&mut self) {
        if let Some((_, id)) = self.by_age.pop_first() {
            self.members.remove(&id);
        }
    }
}

/// Takes a member out of the list.
fn remove(ctx: &mut Ctx, id: MemberId, source: Source) {
    ctx.apply(News::Forgotten(id), source);
}

/// The member that a message is about, in which version and state.
pub(crate) fn subject_of(part: &Part) -> Option<(MemberId, Version, MemberState)> {
    match part {
        Part::Entry(Entry { state, record }) => Some((record.id(), record.version(), *state)),
        Part::Suspect(claim) => Some((claim.subject, claim.version, MemberState::Suspect)),
        Part::Dead(verdict) => {
            Some((verdict.claim.subject, verdict.claim.version, MemberState::Dead))
        }
        _ => None,
    }
}

/// The other members that died or left.
fn departed(list: &MembershipList) -> impl Iterator<Item = &Arc<Member>> {
    let me = list.me().id();
    list.snapshot().iter().filter(move |member| !member.state.is_live() && member.id() != me)
}

/// How many members that were forgotten are remembered as such.
const MAX_FORGOTTEN: usize = 1_024;
/// How many claims that dead members were forgotten are kept until another member claims the same.
const MAX_REQUESTS: usize = 256;
/// How often the list is swept at most, so that many that died one by one cost little.
const SWEEPS_IN_RETENTION: u32 = 100;

#[cfg(test)]
mod tests;
