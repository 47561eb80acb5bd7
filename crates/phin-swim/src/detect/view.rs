//! [`View`]: what the rules of detection see. It answers who observes whom, who is able to judge, and whether a silence may be
//! this node's own fault; it changes nothing.

use std::{collections::BTreeMap, f64::consts::LOG10_E, time::Duration};

use phin_accrual::MAX_LOSS;

use crate::{
    Ctx, Flaws, Instant, MemberId, MembershipList, Params, SignedVotes,
    detect::{
        case::{Case, Cases},
        contacts::Contacts,
        detector::Detector,
        failing::{Eviction, Failing, FailingLink},
        finding::is_most,
        health::LocalHealth,
        reports::Silence,
        standing::Bereft,
    },
    link::{LinkState, Links, Run},
    probe::{pings::Pings, rounds::Rounds},
    senses::Senses,
};

/// The input of the rules of detection, at one moment.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) now: Instant,
    pub(crate) params: &'a Params,
    pub(crate) list: &'a MembershipList,
    pub(crate) links: &'a Links,
    pub(crate) pings: &'a Pings,
    pub(crate) rounds: &'a Rounds,
    pub(crate) health: &'a LocalHealth,
    pub(crate) cases: &'a Cases,
    pub(crate) contacts: &'a Contacts,
    pub(crate) failing: &'a Failing,
    pub(crate) bereft: &'a Bereft,
}

impl<'a> View<'a> {
    /// The view at this moment.
    pub(crate) const fn new(
        now: Instant,
        ctx: &'a Ctx,
        list: &'a MembershipList,
        senses: &'a Senses,
        own: &'a Detector,
    ) -> Self {
        let (params, Senses { links, pings, rounds, health }) = (&ctx.params, senses);
        let Detector { cases, contacts, failing, bereft, .. } = own;
        Self { now, params, list, links, pings, rounds, health, cases, contacts, failing, bereft }
    }

    pub(crate) fn me(self) -> MemberId {
        self.list.me().id()
    }

    pub(crate) fn case(self, subject: MemberId) -> Option<&'a Case> {
        self.cases.get(subject)
    }

    /// Whether verdicts need signed votes.
    pub(crate) fn needs_signatures(self) -> bool {
        self.params.signed_votes == SignedVotes::Require
    }

    /// The members that this one observes.
    pub(crate) fn subjects(self) -> Vec<MemberId> {
        self.list.rings().subjects(self.me())
    }

    /// Whether a member's vote counts: it is an observer, or next in turn, as it may be in a list that is ahead of ours.
    pub(crate) fn may_observe(self, observer: MemberId, subject: MemberId) -> bool {
        self.list.rings().is_near_predecessor(observer, subject)
    }

    /// The observers of a member that are alive and do not abstain.
    pub(crate) fn alive_observers(self, subject: MemberId) -> Vec<MemberId> {
        let mut observers = self.list.rings().observers(subject);
        observers.retain(|&observer| {
            self.list.is_alive(observer) && !self.cases.abstains(observer, subject)
        });
        observers
    }

    /// The observers of a member that are considered able to judge it: alive, not abstaining, and not silent themselves.
    pub(crate) fn able_observers(self, subject: MemberId) -> Vec<MemberId> {
        let mut observers = self.list.rings().observers(subject);
        observers.retain(|&observer| self.is_able(observer, subject));
        observers
    }

    pub(crate) fn is_able(self, observer: MemberId, subject: MemberId) -> bool {
        let is_silent = self.cases.is_silent(observer) || self.kept_silent(observer, subject);
        observer != subject
            && self.list.is_alive(observer)
            && !self.cases.abstains(observer, subject)
            && (observer == self.me() || !is_silent)
    }

    /// The members that judge this one: its observers that are able to. If fewer than two are, and most subjects are silent,
    /// this member and some others that it heard since take the places of the rest.
    pub(crate) fn voters(self, subject: MemberId) -> Vec<MemberId> {
        if !self.may_be_deaf(subject) || self.health.is_starved(self.params) {
            // One that is silent to us may still vote: a majority of fewer would not convince the others. On a starved
            // machine those that are silent now will vote later.
            return self.alive_observers(subject);
        }
        let mut voters = self.able_observers(subject);
        let began = self.mass_silence_began().filter(|_| voters.len() < 2);
        began.into_iter().for_each(|began| self.add_stand_ins(subject, &mut voters, began));
        voters
    }

    /// Adds members that were heard since the silence of many began, and this one.
    fn add_stand_ins(self, subject: MemberId, voters: &mut Vec<MemberId>, began: Instant) {
        let heard = self.contacts.heard_since(began, subject).filter(|id| !voters.contains(id));
        let able = heard.filter(|&id| self.is_able(id, subject) && !self.cases.is_silent(id));
        let stand_ins: Vec<_> = able.take(MAX_STAND_INS).collect();
        voters.extend(stand_ins);
        if !voters.contains(&self.me()) {
            voters.push(self.me());
        }
    }

    /// Whether an observer was asked to vote several times by now, and nothing was heard of it since, nor lately.
    fn kept_silent(self, observer: MemberId, subject: MemberId) -> bool {
        let case = self.case(subject).filter(|case| !case.votes.contains_key(&observer));
        let Some(accused_at) = case.and_then(|case| case.accused_at) else {
            return false;
        };
        // One that came later, and ended since, was asked like the others.
        let tolerance = self.params.pause_tolerance;
        let lately = self.now.saturating_sub((tolerance * 2).max(self.accusation_interval() * 3));
        let since = accused_at.max(lately);
        self.has_waited_for_votes(subject)
            && self.heard_at(observer).is_none_or(|heard_at| heard_at < since)
    }

    /// Whether others were asked to vote so long ago that their answers are here.
    pub(crate) fn has_waited_for_votes(self, subject: MemberId) -> bool {
        let accused_at = self.case(subject).and_then(|case| case.accused_at);
        accused_at.is_some_and(|at| self.now - at >= self.params.pause_tolerance * 3 / 4)
    }

    /// Whether more than half of our subjects are silent to us.
    pub(crate) fn is_most_silent(self) -> bool {
        let subjects = self.subjects();
        let silent = subjects.iter().filter(|&&id| !self.cases.misses_of(id).is_empty()).count();
        subjects.len() >= MIN_SUBJECTS && silent * 2 > subjects.len()
    }

    /// Whether the silence of this member may be a fault of ours: most others are silent too, or its other observers are.
    pub(crate) fn may_be_deaf(self, subject: MemberId) -> bool {
        self.is_most_silent() || self.hears_few() || self.are_observers_silent(subject)
    }

    /// Whether less than half of our subjects answer us themselves. Others may vouch for the rest.
    pub(crate) fn hears_few(self) -> bool {
        // Most of the time all answer, and the rings need not be searched.
        if !self.links.any(LinkState::gives_no_reply) {
            return false;
        }
        let subjects = self.subjects();
        let unheard = subjects.iter().filter(|&&id| self.links.gives_no_reply(id));
        subjects.len() >= MIN_DIRECT && unheard.count() * 2 > subjects.len()
    }

    /// Whether a member has other observers, and all of them are silent.
    fn are_observers_silent(self, subject: MemberId) -> bool {
        let mut others = self.alive_observers(subject);
        others.retain(|&id| id != self.me());
        !others.is_empty() && !others.iter().any(|&id| self.is_able(id, subject))
    }

    /// Whether nobody at all was heard since this member was accused to others, a moment ago.
    fn is_unanswered(self, subject: MemberId) -> bool {
        let accused_at = self.case(subject).and_then(|case| case.accused_at);
        accused_at.is_some_and(|accused_at| {
            self.now - accused_at >= self.params.pause_tolerance / 4
                && !self.contacts.is_any_heard_since(accused_at)
        })
    }

    /// When the silence of our subjects began, if at least two are silent, or one and those asked about it.
    pub(crate) fn mass_silence_began(self) -> Option<Instant> {
        let mut silent = self.subjects();
        silent.retain(|&id| self.cases.is_silent(id));
        let is_mass = match silent[..] {
            [] => false,
            [one] => self.are_observers_silent(one) || self.is_unanswered(one),
            [..] => true,
        };
        let began = silent.iter().filter_map(|&id| self.cases.misses_of(id).first().copied());
        began.min().filter(|_| is_mass)
    }

    /// The phi of this node's own misses of a member.
    pub(crate) fn own_phi(self, subject: MemberId) -> f64 {
        self.links.evidence(self.now, subject, self.cases.misses_of(subject)).phi()
    }

    /// How many misses of ours are kept for a case: as many as take the link that loses most to the threshold, so that no
    /// death stays a suspicion for ever.
    pub(crate) fn max_misses(self) -> usize {
        let least_weight = -phin_accrual::ln(MAX_LOSS) * LOG10_E;
        (self.params.phi_threshold / least_weight).ceil() as usize
    }

    /// When the first ping of a member was sent that still waits for its reply, and is not overdue.
    pub(crate) fn waiting_since(self, id: MemberId) -> Option<Instant> {
        self.pings.waiting_since(id, self.links.heard_at(id))
    }

    /// When a member was last alive, as it or a helper showed. The contacts alone do not tell: they remember few members.
    pub(crate) fn heard_at(self, id: MemberId) -> Option<Instant> {
        self.links.heard_at(id).max(self.contacts.heard_at(id))
    }

    /// When a member last showed by a message of its own that it lives.
    pub(crate) fn heard_itself_at(self, id: MemberId) -> Option<Instant> {
        self.links.heard_itself_at(id).unwrap_or_else(|| self.contacts.heard_at(id))
    }

    /// Whether we cannot judge this kind of silence now.
    pub(crate) fn cannot_judge(self, silence: Silence) -> bool {
        self.health.cannot_judge(self.now, silence, self.list.snapshot().live_len())
    }

    /// Whether the silence of a member is early still: [`early_for`](Self::early_for).
    pub(crate) fn is_early(self, subject: MemberId) -> bool {
        self.early_for(subject).is_some()
    }

    /// For how long the silence of a member is still no longer than one that it, or a stall, ended lately: until then it is
    /// looked at, but others are not asked. At most half of what silence is given, and a quarter for stalls. A member that hangs
    /// is given more, but is to be suspect as soon.
    pub(crate) fn early_for(self, subject: MemberId) -> Option<Duration> {
        let case = self.case(subject).filter(|case| case.accusers.is_empty())?;
        let pause = self.params.pause_tolerance;
        let most = match case.silence {
            Silence::Gone => Duration::ZERO,
            Silence::Hung | Silence::Silent => pause / 2,
            Silence::Unknown => pause * 3 / 2,
        };
        let stall = self.links.advertised_stall(subject).max(self.health.longest_stall());
        let stall = (stall * 5 / 4).min(pause / 4);
        let patience = self.links.longest_silence(self.now, subject).max(stall).min(most);
        let left = patience.saturating_sub(self.now - *case.misses.first()?);
        (left > Duration::ZERO).then_some(left)
    }

    /// Whether a member lives for others while our link to it fails: then they judge, until nobody has heard it for two turns.
    pub(crate) fn is_left_to_others(self, subject: MemberId) -> bool {
        let alive_at = self.links.known_alive_at(subject);
        self.own_failing_link(subject).is_some()
            && !self.links.is_word_spent(self.now, subject)
            && alive_at.is_some_and(|alive_at| self.now - alive_at < self.turn() * 2)
    }

    /// An interval, lengthened if very many cases are open, so that they do not make many more than so many in a pause
    /// tolerance together.
    pub(crate) fn spaced(self, interval: Duration, per_tolerance: u32) -> Duration {
        let many = self.cases.len().saturating_sub(usize::from(self.params.rings) * 2);
        let cases = u32::try_from(many).unwrap_or(u32::MAX);
        interval.max(self.params.pause_tolerance.saturating_mul(cases) / per_tolerance)
    }

    /// How often those that have not voted are asked again: less often while many fall or very many are silent.
    pub(crate) fn accusation_interval(self) -> Duration {
        let times = if self.do_many_fall() { 2 } else { 4 };
        self.spaced(self.params.pause_tolerance / times, ACCUSATIONS_PER_TOLERANCE)
    }

    /// Whether many members fell together lately, and none of them has refuted.
    pub(crate) fn do_many_fall(self) -> bool {
        self.contacts.wave_began(self.list.rings().len()).is_some_and(|began| {
            // After that, the rest of a wave is as urgent as any death.
            self.now - began < self.params.pause_tolerance * 4
        })
    }

    /// How long it takes until each link was used once.
    pub(crate) fn turn(self) -> Duration {
        let live = u32::try_from(self.list.snapshot().live_len()).unwrap_or(u32::MAX);
        self.rounds.period(self.params) * u32::from(self.params.rings).min(live).max(1)
    }

    /// Our own link to a member, if it fails.
    pub(crate) fn own_failing_link(self, subject: MemberId) -> Option<FailingLink> {
        let run = self.links.unanswered(subject)?;
        let shortest = self.params.period * MIN_FAILING_PERIODS;
        let lives = self.links.known_alive_at(subject) > Some(run.began_at);
        let is_recent = self.now - run.last_at < self.turn() * MAX_SILENT_TURNS;
        let is_long = run.last_at - run.began_at >= shortest;
        let fails = run.phi >= self.params.phi_threshold && is_long && is_recent;
        let Run { began_at: since, attempts, .. } = run;
        (lives && fails).then_some(FailingLink { observer: self.me(), since, attempts })
    }

    /// All links to a live member that fail as far as we know, ours among them.
    pub(crate) fn failing_links(self, subject: MemberId) -> Vec<FailingLink> {
        let Some(member) = self.list.live(subject) else {
            return Vec::new();
        };
        let reported = self.failing.reported(subject, member.generation());
        let reported = reported
            .filter(|told| self.counts(subject, told.link.observer, told.heard_at))
            .map(|told| told.link);
        let own = self.own_failing_link(subject);
        let own = own.filter(|own| self.may_observe(own.observer, subject));
        let mut links: Vec<_> = reported.chain(own).collect();
        links.sort_by_key(|link| link.observer);
        links
    }

    /// The flaws of the links to a live member as far as we know, that of ours among them.
    pub(crate) fn flawed_links(self, subject: MemberId) -> BTreeMap<MemberId, Flaws> {
        let Some(member) = self.list.live(subject) else {
            return BTreeMap::new();
        };
        let reported = self.failing.flawed(subject, member.generation());
        let reported = reported.filter(|&(by, _, heard_at)| self.counts(subject, by, heard_at));
        let mut flawed: BTreeMap<_, _> = reported.map(|(by, flaws, _)| (by, flaws)).collect();
        let own = self.links.flaws(subject);
        if !own.is_empty() && self.may_observe(self.me(), subject) {
            flawed.insert(self.me(), own);
        }
        flawed
    }

    /// Whether an observer's report of its link to a member still counts.
    fn counts(self, subject: MemberId, observer: MemberId, heard_at: Instant) -> bool {
        self.now - heard_at < self.turn() * MAX_SILENT_TURNS
            && self.may_observe(observer, subject)
            && self.list.is_alive(observer)
    }

    /// Whether this member receives no replies from most of its subjects, though others vouch for them: the failing links
    /// have their fault at this end.
    pub(crate) fn is_deaf(self) -> bool {
        if !self.links.any(|link| link.unanswered.is_some()) {
            return false;
        }
        let subjects = self.subjects();
        let failing = subjects.iter().filter(|&&id| self.own_failing_link(id).is_some()).count();
        failing >= 2 && failing * 2 > subjects.len()
    }

    /// Whether this member does not receive, or most of its observers do not reach it. Where they do, and lose or delay much, it
    /// still knows by itself what it can do.
    pub(crate) fn is_cut_off(self) -> bool {
        let me = self.me();
        self.failing.degraded_since(me).is_some() && {
            let unreached = self.failing_links(me).len();
            self.is_deaf() || is_most(unreached, self.alive_observers_of(me))
        }
    }

    /// How many of a member's observers are alive.
    pub(crate) fn alive_observers_of(self, subject: MemberId) -> usize {
        let observers = self.list.rings().observers(subject);
        observers.into_iter().filter(|&id| self.list.is_alive(id)).count()
    }

    /// Whether we agree that a member is evicted, though we may reach it.
    pub(crate) fn eviction(self, subject: MemberId) -> Eviction {
        let (since, after) =
            (self.failing.degraded_since(subject), self.params.evict_degraded_after);
        // Others may have found it degraded somewhat earlier than we did.
        match since.zip(after) {
            Some((since, after)) if self.now - since >= after / 2 => Eviction::Agreed(after),
            Some(_) | None => Eviction::No,
        }
    }
}

/// With fewer subjects, no share is significant.
const MIN_SUBJECTS: usize = 4;
/// The same for subjects that do not answer us themselves, whatever others say of them.
const MIN_DIRECT: usize = 3;
/// How many members take the places of silent observers.
const MAX_STAND_INS: usize = 3;
/// How many questions to others about silent members are sent in a pause tolerance, if very many are silent at once.
const ACCUSATIONS_PER_TOLERANCE: u32 = 64;
/// For how many periods at least pings are without reply on a link that fails.
const MIN_FAILING_PERIODS: u32 = 5;
/// After how many turns through the rings without a word a link is considered to work again.
const MAX_SILENT_TURNS: u32 = 3;

#[cfg(test)]
mod tests;
