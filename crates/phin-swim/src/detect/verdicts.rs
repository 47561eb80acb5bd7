//! Claims of others that a member is suspect or dead. A verdict is accepted at once if this node's own list and
//! contacts support it; otherwise it is pending: the member becomes suspect, is notified, and has some time to refute
//! before the word of others is accepted (SWIM §4.2).
//!
//! That is for the members of a part of the network that was split off: what was found out about them on the other side
//! arrives at the same moment as they themselves do.

use std::time::Duration;

use crate::{
    Claim, Ctx, Entry, Instant, MemberId, MemberState, MembershipList, News, Part, Peer, Purpose,
    SignedVotes, Silence, Source, Step, Timer, Verdict, Version,
    detect::{
        detector::Detector,
        failing::Eviction,
        pending::{MAX_EXAMINED, MAX_HELPED, MAX_LOOKS, PendingVerdict, Stage},
        reports::{Outcome, Report, Vote},
        signed::Backing,
        tolerance::Circumstances,
        view::View,
        weigh::{credible_votes, is_borne_out},
    },
    senses::Senses,
};

/// Until when a member that is suspect from `begins_at` on may refute: for two periods, in which it sends to some member that
/// informs it. Of many that fell together, and none of which refuted, those of which this node learns late have these two
/// periods together with the first, and half a period at least.
fn time_to_refute(begins_at: Instant, wave: Option<Instant>, period: Duration) -> Instant {
    let alone = begins_at + period * 2;
    let late = begins_at + period / 2;
    wave.map_or(alone, |wave| alone.min(late.max(wave + period * 2)))
}

/// Whether a verdict of these votes is accepted as it comes.
fn is_acceptable(view: View<'_>, subject: MemberId, votes: &[Vote]) -> bool {
    let credible = credible_votes(view, subject, votes);
    is_borne_out(view, subject, &credible) || view.eviction(subject) != Eviction::No
}

/// The rules for what others say, with what they work on.
pub(crate) struct Verdicts<'a> {
    pub(crate) ctx: &'a mut Ctx,
    pub(crate) list: &'a MembershipList,
    pub(crate) senses: &'a Senses,
    pub(crate) own: &'a mut Detector,
}

impl Verdicts<'_> {
    pub(crate) fn view(&self) -> View<'_> {
        View::new(self.ctx.now, self.ctx, self.list, self.senses, self.own)
    }

    /// Whether this node agrees that it is evicted itself.
    pub(crate) fn own_eviction(&self) -> Eviction {
        self.view().eviction(self.list.me().id())
    }

    /// Accepts the claim of another member that one is suspect. It is no vote: only the observers of the suspect decide
    /// whether it is dead.
    pub(crate) fn handle_suspect(&mut self, source: Source, claim: Claim) {
        let subject = claim.subject;
        if subject == self.list.me().id() {
            return self.ctx.then(Step::Refute { source, claim });
        }
        // A claim about another version, or one that is known already, changes nothing, so it is not passed on either.
        let known = self.state_claimed(claim);
        if known != Some(MemberState::Alive) {
            let is_repeated = known == Some(MemberState::Suspect);
            self.note_repeated(source, subject, is_repeated);
            // This node may be the only one that reaches it.
            let lately = self.ctx.now.saturating_sub(self.ctx.params.pause_tolerance * 2);
            let is_heard = self.senses.links.heard_itself_at(subject).flatten() > Some(lately);
            let peer = self.list.peer(subject).filter(|_| is_repeated && is_heard);
            return peer.into_iter().for_each(|peer| self.inform_accused(peer));
        }
        // A member that refuted several times lately is alive: one more claim against it is ignored.
        if self.own.hearsay.is_worn_out(self.ctx.now, subject) {
            self.ctx.stats.hearsay_ignored += 1;
            return self.pass_on(claim);
        }
        self.ctx.apply(News::State(subject, MemberState::Suspect), source);
    }

    /// Sends an ignored suspicion to its subject, now and then: it may refute all the same, for those that only hear others
    /// say that it lives.
    fn pass_on(&mut self, claim: Claim) {
        let subject = claim.subject;
        if self.own.hearsay.may_pass_on(self.ctx.now, subject)
            && self.senses.links.is_connected(subject)
            && let Some(peer) = self.list.peer(subject)
        {
            self.ctx.send(peer, &Part::Suspect(claim));
        }
    }

    /// A member sent what is known here already, if it is the same.
    fn note_repeated(&mut self, source: Source, id: MemberId, is_same: bool) {
        let by = source.teller().filter(|_| is_same);
        by.into_iter().for_each(|by| self.ctx.then(Step::Repeated { id, by }));
    }

    /// Whether a claim that a member is dead is about another one, which is live here. Other claims are dealt with.
    pub(crate) fn is_open(&mut self, source: Source, claim: Claim) -> bool {
        if claim.subject == self.list.me().id() {
            self.ctx.then(Step::RefuteDeath { source, claim });
            return false;
        }
        let known = self.state_claimed(claim);
        let is_live = known.is_some_and(MemberState::is_live);
        if !is_live {
            self.note_repeated(source, claim.subject, known == Some(MemberState::Dead));
            self.correct(source, claim);
        }
        is_live
    }

    /// A member considers an earlier version of a live one dead: it is sent the later version. The refutation may have been lost
    /// on each of its ways to it.
    fn correct(&mut self, source: Source, claim: Claim) {
        let known = self.list.live(claim.subject);
        let Some(known) = known.filter(|known| known.version() > claim.version) else {
            return;
        };
        if let Some(to) = source.teller().and_then(|by| self.list.peer(by))
            && self.own.hearsay.may_correct(self.ctx.now, to.id)
        {
            self.ctx.send(to, &Part::Entry(Entry::of(known)));
        }
    }

    /// A verdict of others arrives.
    pub(crate) fn handle_dead(&mut self, source: Source, verdict: Verdict) {
        let Verdict { claim, votes, signed } = verdict;
        let Claim { subject, version, .. } = claim;
        if !self.is_open(source, claim) {
            return;
        }
        let now = self.ctx.now;
        let votes = votes.into_iter().map(|(observer, tally)| tally.vote_of(observer, now));
        let votes: Vec<_> = votes.collect();
        if self.ctx.params.signed_votes == SignedVotes::Require {
            return self.weigh_signed_verdict(source, claim, (votes, signed));
        }
        let is_accepted = is_acceptable(self.view(), subject, &votes);
        // A member that refuted lately has shown others wrong: their word alone does not do.
        if self.is_looked_into(source, claim, &votes) {
            return;
        }
        if is_accepted {
            let verdict = PendingVerdict::new(version, votes, source, Stage::Refutable);
            // They are passed on unchecked: members that require signatures check them.
            return self.accept_verdict(subject, verdict.signed_by(signed, Backing::None));
        }
        self.keep_pending(source, claim, votes);
        self.ctx.then(Step::WeighPending(subject));
    }

    /// Pings the subject of a verdict that is not signed by enough, unless it was heard lately. It learns of the claim, as
    /// others may believe it and only the member itself can refute it.
    pub(crate) fn look_for_oneself(&mut self, claim: Claim, verdict: PendingVerdict) {
        let Claim { subject, version, .. } = claim;
        if self.own.pending.on(subject, version).is_some() {
            return self.own.pending.replace_votes(subject, verdict);
        }
        self.ctx.stats.verdicts_unsigned += u64::from(verdict.backing != Backing::Majority);
        let was_heard = self.was_heard_lately(subject, false);
        let has_room = self.own.pending.may_examine(MAX_LOOKS);
        if !was_heard && has_room {
            self.examine(subject, verdict);
        }
        self.ctx.stats.verdicts_refused += u64::from(!was_heard && !has_room);
        if self.own.hearsay.may_notify(self.ctx.now, subject)
            && let Some(peer) = self.list.peer(subject)
        {
            self.ctx.send(peer, &Part::Suspect(claim));
        }
    }

    /// Another list has a member dead that this one has alive: nobody's votes come with that.
    pub(crate) fn handle_death_elsewhere(&mut self, source: Source, claim: Claim) {
        let known = self.list.get(claim.subject);
        let is_ours =
            known.is_some_and(|known| known.version() == claim.version && known.state.is_live());
        if !is_ours || claim.subject == self.list.me().id() {
            return;
        }
        if self.ctx.params.signed_votes == SignedVotes::Require {
            let verdict = PendingVerdict::new(claim.version, Vec::new(), source, Stage::Refutable);
            self.look_for_oneself(claim, verdict);
            if let Source::Gossip(from) = source {
                self.ask_for_votes(from, claim, NO_DIGEST);
            }
        } else if !self.is_looked_into(source, claim, &[]) {
            self.keep_pending(source, claim, Vec::new());
        }
    }

    /// The state of the member that a claim is about, if the claim is about the version of it that is known here.
    fn state_claimed(&mut self, claim: Claim) -> Option<MemberState> {
        let known = self.list.get(claim.subject).map(|known| (known.version(), known.state));
        match known {
            Some((version, state)) if version == claim.version => Some(state),
            Some((version, _)) if version > claim.version => None,
            Some(_) | None => {
                self.ctx.stats.unknown_subjects += 1;
                None
            }
        }
    }

    /// Whether a verdict is on a member that refuted lately: then this node pings it before it believes the verdict, and that is
    /// all there is to do.
    fn is_looked_into(&mut self, source: Source, claim: Claim, votes: &[Vote]) -> bool {
        let subject = claim.subject;
        let has_refuted = self.own.hearsay.has_refuted(self.ctx.now, subject);
        if !has_refuted || !self.list.is_alive(subject) {
            return false;
        }
        let is_worn_out = self.own.hearsay.is_worn_out(self.ctx.now, subject);
        if self.was_heard_lately(subject, is_worn_out) {
            self.ctx.stats.hearsay_ignored += 1;
            return true;
        }
        if let Some(known) = self.own.pending.on(subject, claim.version) {
            return matches!(known.stage, Stage::Examined(_));
        }
        if !self.own.pending.may_examine(MAX_EXAMINED) {
            self.ctx.stats.hearsay_ignored += u64::from(is_worn_out);
            return is_worn_out;
        }
        let verdict = PendingVerdict::new(claim.version, votes.to_vec(), source, Stage::Refutable);
        self.examine(subject, verdict);
        if !is_worn_out {
            // Others have it dead: it is to refute that, which this member alone cannot do for it.
            let peer = self.list.peer(subject);
            peer.into_iter().for_each(|peer| self.ctx.send(peer, &Part::Suspect(claim)));
        }
        true
    }

    /// Whether a member was heard so recently that a verdict on it is outdated.
    fn was_heard_lately(&self, subject: MemberId, is_worn_out: bool) -> bool {
        let period = self.ctx.params.period;
        let fresh = if is_worn_out { period * 2 } else { period / 2 };
        let told_at = self.senses.links.known_alive_at(subject);
        let alive_at = self.view().heard_at(subject).max(told_at);
        alive_at.is_some_and(|at| self.ctx.now - at < fresh)
    }

    /// Pings the subject of a verdict before it is accepted.
    fn examine(&mut self, subject: MemberId, verdict: PendingVerdict) {
        let (now, version) = (self.ctx.now, verdict.version);
        let stage = Stage::Examined(now);
        self.own.pending.insert(subject, PendingVerdict { stage, ..verdict });
        self.ctx.stats.verdicts_examined += 1;
        self.look_at(subject);
        let next = self.time_for_look(subject).min(self.ctx.params.period);
        self.ctx.timers.set(now + next, Timer::Pending(subject, version));
    }

    /// This node's own look is over: the verdict is accepted unless the member showed that it lives.
    fn end_look(&mut self, subject: MemberId, version: Version, since: Instant) {
        let now = self.ctx.now;
        let alive_at = self.senses.links.known_alive_at(subject);
        if self.own.pending.has_lived(subject) || alive_at.is_some_and(|at| at >= since) {
            self.own.pending.end(subject);
            return self.own.hearsay.record_refuted_death(now, subject);
        }
        let ends_at = since + self.time_for_look(subject);
        // Missing replies may be the fault of this node.
        match now < ends_at || self.may_be_own_fault(subject) {
            true => self.look_again(subject, version, ends_at),
            false => self.accept_pending(subject),
        }
    }

    /// This node's own look takes longer, until then at least.
    fn look_again(&mut self, subject: MemberId, version: Version, ends_at: Instant) {
        let needs_signatures = self.view().needs_signatures();
        // One lost ping is not enough where the look takes longer than a period.
        if needs_signatures && self.view().waiting_since(subject).is_none() {
            self.look_at(subject);
        }
        let interval = self.ctx.params.period / if self.looks_at_few() { 2 } else { 1 };
        let next = self.ctx.now + interval;
        let is_repeated = needs_signatures && self.ctx.now < ends_at;
        let next = if is_repeated { next.min(ends_at) } else { next.max(ends_at) };
        self.ctx.timers.set(next, Timer::Pending(subject, version));
    }

    /// Whether the silence of a member that this node looks at may be its own fault. Where verdicts are to be signed, the
    /// answer of the member's host counts beside: after a mass failure, helpers are silent because they are dead.
    fn may_be_own_fault(&self, subject: MemberId) -> bool {
        let (now, health) = (self.ctx.now, &self.senses.health);
        match self.view().needs_signatures() {
            true => {
                let (host, _) = self.own.pending.look_at(subject);
                health.cannot_judge(now, host, self.list.snapshot().live_len())
            }
            false => health.is_impaired(now),
        }
    }

    /// Whether this node looks at so few members that each is given every chance.
    fn looks_at_few(&self) -> bool {
        !self.view().needs_signatures() || self.own.pending.may_examine(MAX_HELPED)
    }

    fn look_at(&mut self, subject: MemberId) {
        if let Some(to) = self.list.peer(subject) {
            self.ctx.then(Step::Ping { to, purpose: Purpose::Look });
        }
    }

    /// How long a member is silent to this node before it accepts a verdict that it looks into. Where verdicts are to be
    /// signed, this node has no other evidence: it waits as an observer does that is alone with its own.
    fn time_for_look(&self, subject: MemberId) -> Duration {
        let view = self.view();
        let (host, backing) = self.own.pending.look_at(subject);
        if !view.needs_signatures() || backing == Backing::Majority {
            return self.ctx.params.period;
        }
        let stall = self.senses.links.advertised_stall(subject);
        let pause = self.senses.health.pause_tolerance(&self.ctx.params, stall);
        let hang = self.senses.health.hang_tolerance(&self.ctx.params).max(pause);
        match host {
            // One refusal can be forged, but not together with a member's silence.
            Silence::Gone => pause / 2,
            // Two observers know the host, which this node may never have asked.
            Silence::Unknown | Silence::Silent if backing == Backing::Several => pause,
            silence => {
                let is_most_silent = view.is_most_silent();
                let found = Circumstances { silence, is_refused: false, is_most_silent };
                // Where no connection came about, packets of one handshake may have been lost.
                let attempts = if view.links.is_connected(subject) { 1 } else { 2 };
                found.tolerance(pause, hang) * attempts
            }
        }
    }

    /// The host of a member says that its process is gone: that bears a verdict out that is being examined.
    pub(crate) fn confirm_gone(&mut self, subject: MemberId) {
        let Some(since) = self.own.pending.examined_since(subject) else {
            return;
        };
        if !self.view().needs_signatures() {
            return self.accept_pending(subject);
        }
        let is_news = self.own.pending.look_at(subject).0 != Silence::Gone;
        self.own.pending.record_host(subject, Silence::Gone);
        if is_news {
            self.end_look_of_gone(subject, since);
        }
    }

    /// The look at a member that began then ends sooner, as its process is gone.
    fn end_look_of_gone(&mut self, subject: MemberId, since: Instant) {
        let known = self.list.get(subject).map(|known| known.version());
        if let Some(version) = known {
            // A timer in the past would count as one that is late.
            let ends_at = since + self.time_for_look(subject);
            self.ctx.timers.set(ends_at.max(self.ctx.now), Timer::Pending(subject, version));
        }
    }

    pub(crate) fn accept_pending(&mut self, subject: MemberId) {
        if let Some(verdict) = self.own.pending.end(subject) {
            self.accept_verdict(subject, verdict);
        }
    }

    /// Makes a member suspect, so that it hears of the verdict, and keeps that until its time to refute is over.
    fn keep_pending(&mut self, source: Source, claim: Claim, votes: Vec<Vote>) {
        let Claim { subject, version, .. } = claim;
        if !self.own.pending.has_room(subject) {
            self.ctx.stats.verdicts_refused += 1;
            return;
        }
        self.own.pending.keep(subject, version, votes, source);
        if self.list.is_alive(subject) {
            // As if this node had found it out: the member that finds a suspect sends it the claim.
            self.ctx.apply(News::State(subject, MemberState::Suspect), Source::Ourselves);
        } else if let Some(peer) = self.list.peer(subject)
            && self.senses.links.is_connected(subject)
        {
            self.inform_accused(peer);
        }
        self.ctx.then(Step::EndPending(subject, version));
    }

    /// Accepts a pending verdict if the member's time to refute is over. If other members have refuted since it became
    /// suspect, it may live as they do and not have received the claim: then this node sends it first, and waits one
    /// more period.
    pub(crate) fn end_pending(&mut self, subject: MemberId, version: Version) {
        let Some(stage) = self.own.pending.on(subject, version).map(|verdict| verdict.stage) else {
            return;
        };
        let known = self.list.get(subject);
        let known = known.filter(|known| known.version() == version && known.state.is_live());
        let Some(since) = known.map(|known| known.since) else {
            self.own.pending.end(subject);
            return;
        };
        if let Stage::Examined(since) = stage {
            return self.end_look(subject, version, since);
        }
        let ends_at = self.refutable_until(subject, since);
        if ends_at > self.ctx.now {
            self.ctx.timers.set(ends_at, Timer::Pending(subject, version));
        } else {
            self.accept_pending(subject);
        }
    }

    /// Until when a member that is suspect since then may refute a pending verdict. The time begins when it was last heard,
    /// as it is sent the claim then, and not before this node trusts itself.
    fn refutable_until(&mut self, subject: MemberId, since: Instant) -> Instant {
        let now = self.ctx.now;
        let informed_at = self.view().heard_at(subject).unwrap_or(since).max(since);
        let is_ours = self.senses.health.is_impaired(now);
        let begins_at = if is_ours { now } else { informed_at };
        let wave = self.own.contacts.wave_began(self.list.rings().len());
        let ends_at = time_to_refute(begins_at, wave, self.ctx.params.period);
        match ends_at <= now && self.own.contacts.has_other_refuted(since) {
            true => self.ask_once_more(subject),
            false => ends_at,
        }
    }

    /// Tells the subject of a pending verdict once more; returns until when it has time to refute then.
    fn ask_once_more(&mut self, subject: MemberId) -> Instant {
        let now = self.ctx.now;
        let (asked_at, is_first) = self.own.pending.ask(now, subject).unwrap_or((now, false));
        let claim = self.own.reports.update(now, self.list, subject);
        if let Some((peer, claim)) = self.list.peer(subject).zip(claim).filter(|_| is_first) {
            self.ctx.send(peer, &claim);
        }
        asked_at + self.ctx.params.period
    }

    /// Sends a member that this node hears, and considers suspect or dead, the claim against it; then it refutes.
    pub(crate) fn inform_accused(&mut self, peer: Peer) {
        let is_accused =
            matches!(self.list.state(peer.id), Some(MemberState::Suspect | MemberState::Dead));
        let (now, interval) = (self.ctx.now, self.ctx.params.period / CLAIMS_PER_PERIOD);
        let informed_at = self.own.contacts.informed_at(peer.id);
        if !is_accused || informed_at.is_some_and(|at| now - at < interval) {
            return;
        }
        if let Some(claim) = self.own.reports.update(now, self.list, peer.id) {
            self.own.contacts.record_informed(peer.id, now);
            self.ctx.send(peer, &claim);
        }
    }

    pub(crate) fn accept_verdict(&mut self, subject: MemberId, verdict: PendingVerdict) {
        let (now, PendingVerdict { version, votes, signed, source, .. }) = (self.ctx.now, verdict);
        let began_at = votes.iter().map(|vote| vote.silent_since).min().unwrap_or(now);
        let outcome = Outcome::Dead { votes: votes.into() };
        let report = Report { version, began_at, ended_at: now, outcome };
        self.own.reports.keep(subject, report, signed);
        self.ctx.apply(News::State(subject, MemberState::Dead), source);
    }
}

/// Stands for the digest of votes of which a list of members says nothing.
const NO_DIGEST: u64 = 0;
/// How often in a protocol period a member that only sends is sent the claim against it.
const CLAIMS_PER_PERIOD: u32 = 4;

#[cfg(test)]
mod tests;
