//! The rules of a voter: it grants terms of offices to candidates, and keeps what it granted.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use crate::{
    Ctx, Generation, Instant, Member, MemberId, MemberState, MembershipList, Office,
    OfficeRefusals, OfficeRules, Output, Part, Peer, Promise, Promises, ServingState, Step, Term,
    Transition,
    leadership::{
        decide::{Fitness, Grant, Held, Standing, View, decide, is_renewal},
        refusal::{Refusal, Why},
    },
    limit::{Budgets, Rate},
    wire::{LeadAnswer, LeadAsk, LeadRelease, Sequence},
};

/// The grants of a voter.
#[derive(Debug)]
pub(crate) struct Voter {
    /// From when on it may have granted terms that it knows of.
    started_at: Instant,
    /// When members last came, left, were forgotten or changed what they say of themselves.
    changed_at: Instant,
    /// The tags that this node had within the last lease, and until when; at most [`MAX_PAST`], the oldest is dropped.
    past: VecDeque<(Instant, Arc<Member>)>,
    /// At most [`MAX_OFFICES`]. The one whose lease ended first gives way.
    offices: BTreeMap<Office, Held>,
    /// Grants that are not kept yet, and are answered once they are.
    unkept: BTreeMap<Office, (Peer, Term, Sequence)>,
    /// The highest term of the offices that gave way.
    floor: Term,
    /// How many terms each candidate may ask for.
    asks: Budgets,
}

impl Voter {
    pub(crate) fn new(now: Instant) -> Self {
        let (past, offices, unkept, asks) = Default::default();
        Self { started_at: now, changed_at: now, past, offices, unkept, floor: Term(0), asks }
    }

    /// Takes what an earlier run of this node has promised. Its leases may still run.
    pub(crate) fn restore(&mut self, now: Instant, promises: Promises) {
        self.floor = self.floor.max(promises.floor);
        for promise in promises.of.into_iter().take(MAX_OFFICES) {
            let until = now + promise.lease;
            let office = promise.office.clone();
            self.offices.insert(office, Held { promise, until, rules: None, is_released: false });
        }
    }

    /// All that is to be kept.
    pub(crate) fn promises(&self) -> Promises {
        let of = self.offices.values().map(|held| held.promise.clone()).collect();
        Promises { floor: self.floor, of }
    }

    /// The highest term granted, of this office or of those that gave way.
    pub(crate) fn promised(&self, office: &Office) -> Term {
        self.offices.get(office).map_or(self.floor, |held| held.promise.term)
    }

    /// Until when the lease of another candidate runs.
    pub(crate) fn held_until(
        &self,
        now: Instant,
        office: &Office,
        me: MemberId,
    ) -> Option<Instant> {
        let held = self.offices.get(office).filter(|held| held.promise.candidate != me);
        held.map(|held| held.until).filter(|&until| now < until)
    }

    /// When the members last came, left or changed, for candidates that expect no number of voters.
    pub(crate) const fn changed_at(&self) -> Instant {
        self.changed_at
    }

    /// Follows a change of a member.
    pub(crate) fn react(&mut self, now: Instant, transition: &Transition) {
        if transition.changes_voters() {
            self.changed_at = now;
        }
        if let Some(before) = transition.before.as_ref().filter(|_| transition.is_me) {
            self.react_to_own(now, before, &transition.after);
        }
    }

    fn react_to_own(&mut self, now: Instant, before: &Arc<Member>, after: &Member) {
        if before.state == MemberState::Left {
            self.started_at = now;
        }
        if before.tags().ne(after.tags()) {
            self.past.push_back((now, Arc::clone(before)));
        }
        if self.past.len() > MAX_PAST {
            self.past.pop_front();
        }
    }

    /// Whether these rules have named this node for as long as a lease: before that it did not count, and another may have
    /// in its place.
    fn standing(
        &self,
        now: Instant,
        me: &Member,
        rules: &OfficeRules,
        lease: Duration,
    ) -> Standing {
        let past = self.past.iter().filter(|(until, _)| *until + lease > now);
        let mut all = past.map(|(_, me)| &**me).chain([me]);
        match me.state {
            MemberState::Left => Standing::Leaving,
            _ if all.all(|me| rules.voters.matches(me)) => Standing::Voter,
            _ => Standing::NoVoter,
        }
    }

    /// The office that can be forgotten: its lease ended first.
    fn victim(&self, now: Instant) -> Option<Office> {
        let over = self.offices.iter().filter(|(_, held)| held.until <= now);
        over.min_by_key(|(_, held)| held.until).map(|(office, _)| office.clone())
    }

    fn make_room(&mut self, ctx: &mut Ctx, office: &Office) {
        if self.offices.len() < MAX_OFFICES || self.offices.contains_key(office) {
            return;
        }
        let victim = self.victim(ctx.now).and_then(|victim| self.offices.remove(&victim));
        if let Some(Held { promise, .. }) = victim {
            self.unkept.remove(&promise.office);
            self.floor = self.floor.max(promise.term);
            ctx.stats.offices_forgotten += 1;
        }
    }
}

/// The rules, with what they work on.
pub(crate) struct Vote<'a> {
    pub(crate) ctx: &'a mut Ctx,
    pub(crate) list: &'a MembershipList,
    pub(crate) own: &'a mut Voter,
}

impl Vote<'_> {
    /// A candidate, perhaps this node itself, asks for a term or for longer.
    pub(crate) fn handle_ask(&mut self, from: Peer, ask: LeadAsk) {
        if self.list.get(from.id).is_none() {
            self.ctx.stats.unknown_senders += 1;
            return;
        }
        self.ctx.stats.office_asks += 1;
        match is_renewal(from.id, &ask, &self.view(from.id, &ask, 0)) {
            true => self.grant(from, ask, Grant::Renewed),
            false => self.consider(from, ask),
        }
    }

    /// Considers a request for a new term. Each is worth counting the voters, up to a limit.
    fn consider(&mut self, from: Peer, ask: LeadAsk) {
        if !self.own.asks.take(self.ctx.now, from.id, NEW_TERMS) {
            self.ctx.stats.office_asks_over_budget += 1;
            return;
        }
        let known = voters(self.list, &ask.rules).count();
        match decide(from.id, &ask, &self.view(from.id, &ask, known)) {
            Ok(grant) => self.grant(from, ask, grant),
            Err(refusal) => {
                *self.ctx.stats.office_refusals.by(refusal.why) += 1;
                self.answer(from, ask.office, ask.term, ask.sequence, Err(refusal));
            }
        }
    }

    fn view(&self, candidate: MemberId, ask: &LeadAsk, known_voters: usize) -> View<'_> {
        let (now, own) = (self.ctx.now, &*self.own);
        let max_lease = self.ctx.params.leadership_lease;
        let settled_at = match ask.rules.expected {
            Some(_) => own.started_at + max_lease,
            None => (own.started_at + max_lease).max(own.changed_at + SETTLING_TIME),
        };
        View {
            now,
            held: own.offices.get(&ask.office),
            floor: own.floor,
            candidate: self.fitness(candidate, ask.generation),
            voter: own.standing(now, self.list.me(), &ask.rules, max_lease),
            settled_at,
            known_voters,
            has_room: own.offices.len() < MAX_OFFICES || own.victim(now).is_some(),
            max_lease,
        }
    }

    fn fitness(&self, candidate: MemberId, generation: Generation) -> Fitness {
        let known = self.list.live(candidate).filter(|known| known.generation() == generation);
        match known {
            None => Fitness::Unfit,
            Some(known)
                if known.state == MemberState::Alive
                    && known.serving() == ServingState::Serving =>
            {
                Fitness::Fit
            }
            Some(_) => Fitness::Doubtful,
        }
    }

    fn grant(&mut self, from: Peer, ask: LeadAsk, grant: Grant) {
        let LeadAsk { office, term, generation, sequence, lease, rules, .. } = ask;
        self.ctx.stats.office_asks_granted += 1;
        self.own.make_room(self.ctx, &office);
        let until = self.ctx.now + lease;
        let promise =
            Promise { office: office.clone(), term, candidate: from.id, generation, lease };
        let held = Held { promise, until, rules: Some(rules), is_released: false };
        self.own.offices.insert(office.clone(), held);
        if grant == Grant::New {
            self.own.unkept.insert(office.clone(), (from, term, sequence));
            return self.ctx.output(Output::KeepPromise { office, term });
        }
        match self.own.unkept.get_mut(&office).filter(|unkept| unkept.1 == term) {
            Some(unkept) => unkept.2 = sequence,
            None => self.answer(from, office, term, sequence, Ok(())),
        }
    }

    /// The promise is kept: now the candidate may rely on it.
    pub(crate) fn handle_kept(&mut self, office: &Office, term: Term) {
        let unkept = self.own.unkept.get(office).filter(|unkept| unkept.1 == term);
        if let Some(&(to, term, sequence)) = unkept {
            self.own.unkept.remove(office);
            self.answer(to, office.clone(), term, sequence, Ok(()));
        }
    }

    fn answer(
        &mut self,
        to: Peer,
        office: Office,
        term: Term,
        sequence: Sequence,
        result: Result<(), Refusal>,
    ) {
        let answer = LeadAnswer { office, term, sequence, result };
        match to.id == self.list.me().id() {
            true => self.ctx.then(Step::OwnVote(answer)),
            false => self.ctx.send(to, &Part::LeadAnswer(answer)),
        }
    }

    /// A candidate gives up a term that this node granted to it; `false` if it did not.
    pub(crate) fn handle_release(&mut self, from: MemberId, release: &LeadRelease) -> bool {
        let LeadRelease { office, term, generation } = release;
        let now = self.ctx.now;
        let held = self.own.offices.get_mut(office).filter(|held| {
            let promise = &held.promise;
            (promise.term, promise.candidate, promise.generation) == (*term, from, *generation)
        });
        let Some(held) = held else {
            self.ctx.stats.office_releases_ignored += 1;
            return false;
        };
        (held.until, held.is_released) = (held.until.min(now), true);
        self.own.unkept.remove(office);
        true
    }
}

/// The members that vote by these rules: those that match and have not left. A dead one counts until it is forgotten, because
/// it may live beyond a split.
pub(crate) fn voters<'a>(
    list: &'a MembershipList,
    rules: &'a OfficeRules,
) -> impl Iterator<Item = &'a Arc<Member>> {
    let matching = list.snapshot().matching(&rules.voters);
    matching.filter(|member| member.state != MemberState::Left)
}

impl OfficeRefusals {
    const fn by(&mut self, why: Why) -> &mut u64 {
        match why {
            Why::Leaving | Why::NoVoter => &mut self.no_voter,
            Why::Unfit => &mut self.unfit,
            Why::Held => &mut self.held,
            Why::RulesDiffer => &mut self.rules_differ,
            Why::NotSettled => &mut self.not_settled,
            Why::TermTooLow | Why::TermTooHigh | Why::Unknown => &mut self.term,
            Why::TooManyVoters => &mut self.too_many_voters,
            Why::TooManyOffices => &mut self.too_many_offices,
        }
    }
}

/// How many offices a voter remembers.
const MAX_OFFICES: usize = 1_024;
/// How many changes of its own tags it remembers, for the time of a lease.
const MAX_PAST: usize = 64;
/// How long members must not have come, left or changed, where no number of voters is expected.
pub(crate) const SETTLING_TIME: Duration = Duration::from_secs(5);
/// How many terms a member may ask for: each is written to a disk. Requests beyond that are dropped; renewals do not count.
const NEW_TERMS: Rate = Rate { at_once: 256.0, per_second: 64.0 };

#[cfg(test)]
mod tests;
