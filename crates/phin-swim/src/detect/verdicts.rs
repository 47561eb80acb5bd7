//! What others say of deaths: taken at once where our own list and ears bear it out; else doubted, which means that the
//! member is held for suspect, is told so, and has a while to refute before we take their word (SWIM §4.2).
//!
//! A doubt costs time and no pings but those of observers, and always ends. It is for the members of a part of the network
//! that was split off: what was found out about them on the other side arrives at the same moment as they themselves do.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use crate::{
    Change, Instant, MemberId, MemberState, Outcome, Peer, Report, Silence, Swim, Version, Vote,
    step::Purpose,
    step::Source,
    timers::Timer,
    wire::{Claim, Part, Verdict},
};

/// The verdicts that are doubted: one for each suspect, at most [`MAX_DOUBTS`].
#[derive(Debug, Default)]
pub(crate) struct Doubts(BTreeMap<MemberId, Doubt>);

/// A verdict on one version of a member, and from whom it came.
#[derive(Debug)]
struct Doubt {
    version: Version,
    votes: Vec<Vote>,
    source: Source,
    /// When its time to refute was over and the member was asked once more.
    asked_at: Option<Instant>,
    /// Since when we look for ourselves, where the word of others is not enough. Until that is over the member is alive.
    looking_since: Option<Instant>,
}

/// Whom we heard and whom we found silent lately, each with the last moment: at most [`MAX_CONTACTS`] of each.
#[derive(Debug, Default)]
pub(crate) struct Contacts {
    heard: BTreeMap<MemberId, Instant>,
    silent: BTreeMap<MemberId, Instant>,
    /// Whom we told what we hold them for.
    told: BTreeMap<MemberId, Instant>,
    /// When we last refuted what others held us for.
    refuted_at: Option<Instant>,
    /// Whom we last answered that we live, when, and how often at that moment.
    answered: Option<(MemberId, Instant)>,
    answers: u32,
    /// When members fell, that is became suspect or dead here, latest first: at most [`MAX_CONTACTS`].
    falls: VecDeque<Instant>,
    /// When one of them last refuted.
    other_refuted_at: Option<Instant>,
}

impl Contacts {
    pub(crate) fn record_heard(&mut self, id: MemberId, at: Instant) {
        record(&mut self.heard, id, at);
    }

    /// What we miss of a member makes us accuse it.
    pub(crate) fn record_silent(&mut self, id: MemberId, now: Instant) {
        record(&mut self.silent, id, now);
    }

    /// A member is told that we hold it for suspect or dead.
    pub(crate) fn record_told(&mut self, id: MemberId, now: Instant) {
        record(&mut self.told, id, now);
    }

    pub(crate) const fn record_refuted(&mut self, now: Instant) {
        self.refuted_at = Some(now);
    }

    /// Another run of a member's process begins: what was of the former says nothing of it.
    pub(crate) fn forget(&mut self, id: MemberId) {
        self.heard.remove(&id);
        self.silent.remove(&id);
    }

    /// Whether who holds us for suspect or dead is answered once more at this moment: one message may say it any number of
    /// times.
    pub(crate) fn may_answer(&mut self, now: Instant, to: MemberId) -> bool {
        let is_another = self.answered.replace((to, now)) != Some((to, now));
        self.answers = if is_another { 1 } else { self.answers.saturating_add(1) };
        self.answers <= MAX_ANSWERS
    }

    pub(crate) fn record_fall(&mut self, now: Instant) {
        self.falls.truncate(MAX_CONTACTS - 1);
        self.falls.push_front(now);
    }

    pub(crate) const fn record_other_refuted(&mut self, now: Instant) {
        self.other_refuted_at = Some(now);
    }

    /// Whether so many members or more fell since then, of a list of so many.
    fn have_many_fallen(&self, since: Instant, members: usize) -> bool {
        let many = (FEW_FALLS + members / FALLS_OF_MEMBERS).min(MAX_CONTACTS - 1);
        self.falls.get(many).is_some_and(|&at| at >= since)
    }

    fn has_other_refuted(&self, since: Instant) -> bool {
        self.other_refuted_at.is_some_and(|at| at >= since)
    }

    /// The members heard since then, beginning with those after `place` in the order of ids.
    pub(crate) fn heard_since(
        &self,
        began: Instant,
        place: MemberId,
    ) -> impl Iterator<Item = MemberId> {
        let (before, after) = (self.heard.range(..=place), self.heard.range(place..));
        after.chain(before).filter(move |&(_, &at)| at >= began).map(|(&id, _)| id)
    }

    pub(crate) fn is_any_heard_since(&self, began: Instant) -> bool {
        self.heard.values().any(|&at| at >= began)
    }

    pub(crate) fn last_heard(&self) -> Option<MemberId> {
        self.heard.iter().max_by_key(|&(_, at)| at).map(|(&id, _)| id)
    }

    pub(crate) fn heard_at(&self, id: MemberId) -> Option<Instant> {
        self.heard.get(&id).copied()
    }

    /// Whether, since then, we were perhaps apart from most: others held us for suspect or dead, or we found silent, this
    /// member aside, half as many as we heard.
    fn were_apart(&self, since: Instant, aside: MemberId) -> bool {
        let is_since = |&(id, &at): &(&MemberId, &Instant)| *id != aside && at >= since;
        let silent = self.silent.iter().filter(is_since).count();
        let is_heard = |&(id, _): &(&MemberId, &Instant)| {
            self.silent.get(id).is_none_or(|&silent_at| silent_at < since)
        };
        let heard = self.heard.iter().filter(is_since).filter(is_heard).count();
        self.refuted_at.is_some_and(|at| at >= since) || (silent > 0 && silent * 2 >= heard)
    }
}

fn record(contacts: &mut BTreeMap<MemberId, Instant>, id: MemberId, at: Instant) {
    if contacts.len() >= MAX_CONTACTS && !contacts.contains_key(&id) {
        // What is of the past says nothing of the present.
        if let Some(oldest) = contacts.iter().min_by_key(|&(_, at)| at).map(|(&id, _)| id) {
            contacts.remove(&oldest);
        }
    }
    let last = contacts.entry(id).or_insert(at);
    *last = at.max(*last);
}

impl Swim {
    /// A verdict of others arrives.
    pub(crate) fn handle_dead(&mut self, source: Source, verdict: Verdict) {
        let now = self.ctx.now;
        let Verdict { claim, votes } = verdict;
        let Claim { subject, version, .. } = claim;
        if subject == self.id() {
            self.refute_death(source, claim);
            return;
        }
        if !self.state_claimed_of(claim).is_some_and(MemberState::is_live) {
            return;
        }
        let votes = votes.into_iter().map(|(observer, tally)| tally.vote_of(observer, now));
        let votes: Vec<_> = votes.collect();
        let credible = self.credible_votes(subject, &votes);
        let is_taken = self.is_borne_out(subject, &credible) || self.agrees_to_evict(now, subject);
        if self.hearsay.has_refuted(now, subject) && self.look_first(source, claim, &votes) {
            return;
        }
        if is_taken {
            self.take_verdict(source, subject, version, votes);
            return;
        }
        self.doubt_verdict(source, claim, votes);
        self.weigh_doubted(subject);
    }

    /// A verdict on a member that refuted lately: we ping it ourselves before we believe it. Says whether that is all.
    fn look_first(&mut self, source: Source, claim: Claim, votes: &[Vote]) -> bool {
        let now = self.ctx.now;
        let Claim { subject, version, .. } = claim;
        if !self.is_alive(subject) {
            return false;
        }
        let period = self.ctx.params.protocol_period;
        let is_worn_out = self.hearsay.is_worn_out(now, subject);
        let heard_at = self.contacts.heard_at(subject).max(self.known_alive_at(subject));
        let fresh = if is_worn_out { period * 2 } else { period / 2 };
        if heard_at.is_some_and(|at| now - at < fresh) {
            self.ctx.stats.hearsay_ignored += 1;
            return true;
        }
        let known = self.doubts.0.get(&subject).filter(|doubt| doubt.version == version);
        if let Some(known) = known {
            return known.looking_since.is_some();
        }
        let looking = self.doubts.0.values().filter(|doubt| doubt.looking_since.is_some()).count();
        if looking >= MAX_LOOKS {
            self.ctx.stats.hearsay_ignored += u64::from(is_worn_out);
            return is_worn_out;
        }
        let Some(peer) = self.peer(subject) else {
            return false;
        };
        let (votes, looking_since) = (votes.to_vec(), Some(now));
        self.doubts
            .0
            .insert(subject, Doubt { version, votes, source, asked_at: None, looking_since });
        self.ctx.stats.verdicts_examined += 1;
        self.ping(peer, Purpose::Look);
        if !is_worn_out {
            // Others have it dead: it is to refute that, which this member alone cannot do for it.
            self.ctx.send(peer, &Part::Suspect(claim));
        }
        self.ctx.timers.set(now + period, Timer::Doubt(subject, version));
        true
    }

    /// Our own look is over: the verdict is taken unless the member showed that it lives.
    fn end_look(&mut self, subject: MemberId, since: Instant) {
        let now = self.ctx.now;
        let alive_at = self.contacts.heard_at(subject).max(self.known_alive_at(subject));
        let ends_at = since + self.ctx.params.protocol_period;
        if alive_at.is_some_and(|at| at >= since) {
            self.doubts.0.remove(&subject);
            self.hearsay.record_refutation(now, subject);
        } else if self.is_impaired(now) || now < ends_at {
            // What we did not hear may be our own fault.
            let next = ends_at.max(now + self.ctx.params.protocol_period / 2);
            if let Some(version) = self.doubts.0.get(&subject).map(|doubt| doubt.version) {
                self.ctx.timers.set(next, Timer::Doubt(subject, version));
            }
        } else if let Some(Doubt { version, votes, source, .. }) = self.doubts.0.remove(&subject) {
            self.take_verdict(source, subject, version, votes);
        }
    }

    /// The host of a member says that its process is gone: that bears a verdict out that we look into.
    pub(crate) fn confirm_gone(&mut self, subject: MemberId) {
        let is_examined =
            self.doubts.0.get(&subject).is_some_and(|doubt| doubt.looking_since.is_some());
        if is_examined
            && let Some(Doubt { version, votes, source, .. }) = self.doubts.0.remove(&subject)
        {
            self.take_verdict(source, subject, version, votes);
        }
    }

    /// The votes of a verdict that we doubt for want of a majority, and for no other reason.
    pub(crate) fn credible_votes_of_doubted(&self, subject: MemberId) -> Vec<Vote> {
        let version = self.list.get(subject).map(|member| member.version());
        let doubt = self.doubts.0.get(&subject).filter(|doubt| Some(doubt.version) == version);
        let votes = doubt.map_or(&[][..], |doubt| &doubt.votes);
        let Some(silent_since) = votes.iter().map(|vote| vote.silent_since).min() else {
            return Vec::new();
        };
        let was_alive = self.known_alive_at(subject).is_some_and(|at| at >= silent_since);
        match was_alive || self.contacts.has_other_refuted(silent_since) {
            true => Vec::new(),
            false => self.credible_votes(subject, votes),
        }
    }

    /// Another list has a member dead that ours has alive: nobody's votes stand beside that.
    pub(crate) fn handle_death_elsewhere(&mut self, source: Source, claim: Claim) {
        let now = self.ctx.now;
        let is_ours = self
            .list
            .get(claim.subject)
            .is_some_and(|known| known.version() == claim.version && known.state.is_live());
        if !is_ours || claim.subject == self.id() {
            return;
        }
        if self.hearsay.has_refuted(now, claim.subject) && self.look_first(source, claim, &[]) {
            return;
        }
        self.doubt_verdict(source, claim, Vec::new());
    }

    /// Tells a member that we hear, and hold for suspect or dead, so; then it refutes.
    pub(crate) fn tell_accused(&mut self, peer: Peer) {
        let now = self.ctx.now;
        let Some(member) = self.list.get(peer.id) else {
            return;
        };
        let is_accused = matches!(member.state, MemberState::Suspect | MemberState::Dead);
        let told_at = self.contacts.told.get(&peer.id).copied();
        let interval = self.ctx.params.protocol_period / TOLD_PER_PERIOD;
        if !is_accused || told_at.is_some_and(|told_at| now - told_at < interval) {
            return;
        }
        if let Some(claim) = self.update(now, peer.id) {
            self.contacts.record_told(peer.id, now);
            self.ctx.send(peer, &claim);
        }
    }

    /// Whether a verdict is to be taken as it comes: if those who voted are a majority by our own list too.
    fn is_borne_out(&self, subject: MemberId, credible: &[Vote]) -> bool {
        Silence::of(credible) == Silence::Gone
            || credible.len() > self.alive_observers(subject).len() / 2
    }

    /// The votes of a verdict that we have no reason to doubt: if we have not heard from the member since its silence
    /// began, nor were perhaps apart from those who voted, and if few fell at that time.
    fn credible_votes(&self, subject: MemberId, votes: &[Vote]) -> Vec<Vote> {
        let Some(silent_since) = votes.iter().map(|vote| vote.silent_since).min() else {
            return Vec::new();
        };
        let was_heard = self.contacts.heard_at(subject).is_some_and(|heard| heard > silent_since);
        if was_heard || self.is_most_silent() || self.contacts.were_apart(silent_since, subject) {
            return Vec::new();
        }
        // A split silences many at once and refuses no packet.
        let have_many_fallen =
            self.contacts.have_many_fallen(silent_since, self.list.rings().len());
        // Who was dead or suspect to us when the silence began was on the other side.
        let is_counted = |vote: &&Vote| {
            self.may_observe(vote.observer, subject)
                && self.list.get(vote.observer).is_some_and(|member| {
                    member.state == MemberState::Alive && member.since <= vote.silent_since
                })
        };
        let counted: BTreeMap<_, _> =
            votes.iter().filter(is_counted).map(|vote| (vote.observer, *vote)).collect();
        let counted: Vec<_> = counted.into_values().collect();
        match have_many_fallen && Silence::of(&counted) != Silence::Gone {
            true => Vec::new(),
            false => counted,
        }
    }

    /// Holds a member for suspect, so that it hears of the verdict, and keeps that until its time to refute is over.
    fn doubt_verdict(&mut self, source: Source, claim: Claim, votes: Vec<Vote>) {
        let Claim { subject, version, .. } = claim;
        if self.doubts.0.len() >= MAX_DOUBTS && !self.doubts.0.contains_key(&subject) {
            self.ctx.stats.doubts_refused += 1;
            return;
        }
        let doubt = self.doubts.0.get(&subject).filter(|doubt| doubt.version == version);
        if doubt.is_none_or(|doubt| doubt.votes.len() < votes.len()) {
            let asked_at = doubt.and_then(|doubt| doubt.asked_at);
            let doubt = Doubt { version, votes, source, asked_at, looking_since: None };
            self.doubts.0.insert(subject, doubt);
        }
        if self.is_alive(subject) {
            // As if we had found it out: whoever finds a suspect tells it so.
            let source = Source::Ourselves;
            self.declare(subject, MemberState::Suspect, Change::Suspect, source);
        } else if self.is_connected(subject)
            && let Some(peer) = self.peer(subject)
        {
            self.tell_accused(peer);
        }
        self.end_doubt(subject, version);
    }

    /// Takes a doubted verdict if the member's time to refute is over. Where others have refuted since it became suspect, it
    /// may live as they do, and not have heard: then we tell it ourselves first, and give it one period more.
    pub(crate) fn end_doubt(&mut self, subject: MemberId, version: Version) {
        let now = self.ctx.now;
        if self.doubts.0.get(&subject).is_none_or(|doubt| doubt.version != version) {
            return;
        }
        let suspect = self.list.get(subject);
        let suspect = suspect.filter(|m| m.version() == version && m.state.is_live());
        let Some(since) = suspect.map(|member| member.since) else {
            self.doubts.0.remove(&subject);
            return;
        };
        if let Some(since) = self.doubts.0.get(&subject).and_then(|doubt| doubt.looking_since) {
            self.end_look(subject, since);
            return;
        }
        // Whoever is heard is told what it is held for.
        let told_at = self.contacts.heard_at(subject).unwrap_or(since).max(since);
        let is_ours = self.is_impaired(now);
        let mut ends_at = if is_ours { now } else { told_at } + self.time_to_refute();
        let (period, has_refuted) =
            (self.ctx.params.protocol_period, self.contacts.has_other_refuted(since));
        let Some(doubt) = self.doubts.0.get_mut(&subject) else {
            return;
        };
        if has_refuted && ends_at <= now {
            let is_asked = doubt.asked_at.is_some();
            ends_at = *doubt.asked_at.get_or_insert(now) + period;
            if !is_asked
                && let Some((peer, claim)) = self.peer(subject).zip(self.update(now, subject))
            {
                self.ctx.send(peer, &claim);
            }
        }
        if ends_at > now {
            self.ctx.timers.set(ends_at, Timer::Doubt(subject, version));
        } else if let Some(Doubt { votes, source, .. }) = self.doubts.0.remove(&subject) {
            self.take_verdict(source, subject, version, votes);
        }
    }

    fn take_verdict(
        &mut self,
        source: Source,
        subject: MemberId,
        version: Version,
        votes: Vec<Vote>,
    ) {
        let now = self.ctx.now;
        let began_at = votes.iter().map(|vote| vote.silent_since).min().unwrap_or(now);
        let outcome = Outcome::Dead { votes: votes.into() };
        self.reports.keep(subject, Report { version, began_at, ended_at: now, outcome });
        self.mark_dead(subject, source);
    }

    /// Declares a member dead, and forgets what was under way about it.
    pub(crate) fn mark_dead(&mut self, id: MemberId, source: Source) {
        self.cases.close(id);
        self.doubts.end(id);
        self.forget_probes_of(id);
        self.declare(id, MemberState::Dead, Change::Dead, source);
    }

    /// How long a member has to refute a verdict that we doubt: in two periods it sends to somebody who tells it.
    fn time_to_refute(&self) -> Duration {
        self.ctx.params.protocol_period * 2
    }
}

impl Doubts {
    pub(crate) fn end(&mut self, id: MemberId) {
        self.0.remove(&id);
    }
}

/// How many verdicts can be doubted at a time; further ones are heard of again when lists are compared.
const MAX_DOUBTS: usize = 4_096;
/// How many members are looked at together before a verdict on them is believed.
const MAX_LOOKS: usize = 32;
/// So many members that fall within one silence are no sign of a split, and one more of so many in the list.
const FEW_FALLS: usize = 3;
const FALLS_OF_MEMBERS: usize = 32;
/// How often one member is answered at one moment that we live: more often than it accuses us while we pause.
const MAX_ANSWERS: u32 = 64;
/// How often a member that does nothing but send is told what it is held for in a protocol period.
const TOLD_PER_PERIOD: u32 = 4;
/// How many members are remembered as heard, and as silent: more than a member talks to in the time that counts.
const MAX_CONTACTS: usize = 64;
