//! Votes: a member that misses replies accuses the subject to its other observers; they look for themselves and vote, to the
//! accusers alone.

use std::time::Duration;

use crate::{
    ClearBody, MemberId, Part, Peer, SignedVotes, Tally, Version, VoteBody,
    detect::{
        case::{Case, SentVote, Stage},
        judge::{ACCUSE_PHI, MAX_VOTE_PHI},
        reports::{Silence, Vote},
        rules::Detect,
        signed::SignedVote,
        view::View,
    },
};

/// The members that receive this node's evidence, and as what.
#[derive(Debug, Eq, PartialEq)]
enum Address {
    /// All that may judge are asked to look for themselves.
    Accusation(Vec<MemberId>),
    /// Those that collect votes.
    Vote(Vec<MemberId>),
}

/// To which members this node sends its evidence: to every observer if nobody has accused yet, else to the accusers.
/// `others` are those that may judge.
fn address(
    case: &Case,
    view: View<'_>,
    subject: MemberId,
    others: Vec<MemberId>,
) -> Option<Address> {
    if case.stage == Stage::Accused {
        let (now, interval) = (view.now, view.accusation_interval());
        return again(case, view.me(), others, |sent| now - sent.at < interval)
            .map(Address::Accusation);
    }
    if has_accuser(case, view) {
        let is_enough =
            |sent: SentVote| sent.is_enough(view.now, view.params.pause_tolerance, case);
        let accusers = || Address::Vote(case.accusers.iter().copied().collect());
        return (!case.sent.is_some_and(is_enough)).then(accusers);
    }
    let is_due = !is_left_to_observers(case, view, subject);
    is_due.then(|| Address::Accusation(others.into_iter().chain([subject]).collect()))
}

/// Whether this node only looked at a member past its own subjects, and the observers of that are at work or have not had the
/// time.
fn is_left_to_observers(case: &Case, view: View<'_>, subject: MemberId) -> bool {
    let (me, is_suspect) = (view.me(), !view.list.is_alive(subject));
    let is_early = view.now - case.opened_at < view.params.pause_tolerance / 2;
    (is_suspect || is_early)
        && !view.list.rings().observers(subject).contains(&me)
        && !view.voters(subject).contains(&me)
}

/// Whether another member collects the votes. After a while it would have judged, so it may be gone or cut off.
fn has_accuser(case: &Case, view: View<'_>) -> bool {
    let is_alive = case.accusers.iter().any(|&accuser| view.list.is_alive(accuser));
    let age = case.misses.first().map(|&first| view.now - first);
    is_alive && age.is_some_and(|age| age < view.params.pause_tolerance * 2)
}

/// The members to which an accusation is sent again.
fn again(
    case: &Case,
    me: MemberId,
    others: Vec<MemberId>,
    is_recent: impl Fn(&SentVote) -> bool,
) -> Option<Vec<MemberId>> {
    let sent = case.sent.as_ref();
    // Those who have voted may have taken it for one that hangs.
    if case.silence == Silence::Gone && sent.is_some_and(|sent| sent.silence != Silence::Gone) {
        return Some(others);
    }
    // Those who have not answered may not have heard. Once this node has signed, the others should have, too.
    let is_due = !sent.is_some_and(is_recent);
    let me_signed = case.signed.contains_key(&me);
    let has_answered = |other: &MemberId| match me_signed {
        true => case.signed.contains_key(other),
        false => case.votes.contains_key(other),
    };
    is_due.then(|| others.into_iter().filter(|other| !has_answered(other)).collect())
}

/// The evidence of this node against a member, to be sent.
pub(crate) fn vote_body(
    view: View<'_>,
    subject: MemberId,
    phi: f64,
    is_accusation: bool,
) -> Option<VoteBody> {
    let case = view.case(subject)?;
    let (observer, silence, attempts) = (view.me(), case.silence, case.attempts());
    let vote = Vote { observer, phi, silent_since: *case.misses.first()?, silence, attempts };
    let (version, tally) = (case.version, Tally::of(&vote, view.now));
    let is_observer = view.list.rings().observers(subject).contains(&observer);
    Some(VoteBody { subject, version, is_accusation, is_observer, tally })
}

/// Whether the evidence is worth anything to others. Where nobody at all has answered since the silence began, it may well be
/// this node's own; a single lost ping is nobody's concern.
fn may_accuse(case: &Case, view: View<'_>) -> bool {
    let last_answer = view.health.last_answer();
    let is_heard = case.misses.first().is_some_and(|&first| last_answer > first);
    is_heard && (case.misses.len() >= 2 || !case.accusers.is_empty())
}

/// The members that may judge this one, without this node.
fn other_judges(view: View<'_>, subject: MemberId) -> Vec<MemberId> {
    let mut judges = match view.may_be_deaf(subject) {
        true => view.voters(subject),
        // One that is silent to us may hear us all the same.
        false => view.alive_observers(subject),
    };
    judges.retain(|&judge| judge != view.me());
    judges
}

/// The members that a subject pings, and that do not observe it.
fn pinged_by(view: View<'_>, subject: MemberId) -> Vec<MemberId> {
    let rings = view.list.rings();
    let (me, observers) = (view.me(), rings.observers(subject));
    let mut pinged = rings.subjects(subject);
    pinged.retain(|&id| id != me && view.list.is_alive(id) && !observers.contains(&id));
    pinged
}

impl Detect<'_> {
    /// Sends this node's evidence to those that need it.
    pub(crate) fn accuse_or_vote(&mut self, subject: MemberId, phi: f64) {
        let view = self.view();
        let Some(case) = view.case(subject).filter(|case| may_accuse(case, view)) else {
            return;
        };
        let was_accused = case.stage == Stage::Accused;
        let Some(address) = address(case, view, subject, other_judges(view, subject)) else {
            return;
        };
        let is_accusation = matches!(address, Address::Accusation(_));
        let Some(body) = vote_body(view, subject, phi, is_accusation) else {
            return;
        };
        let pause = self.ctx.params.pause_tolerance.max(view.accusation_interval()) * 2;
        let sent = SentVote { at: self.ctx.now, phi, silence: body.tally.silence };
        if let Some(case) = self.own.cases.get_mut(subject) {
            case.record_sent(sent, is_accusation, pause);
        }
        self.ctx.stats.accusations += u64::from(is_accusation && !was_accused);
        if was_accused {
            self.ask_those_it_pings(body);
        }
        let (Address::Accusation(receivers) | Address::Vote(receivers)) = address;
        self.send_vote(&receivers, body);
    }

    fn send_vote(&mut self, receivers: &[MemberId], body: VoteBody) {
        for &receiver in receivers {
            let Some(peer) = self.list.peer(receiver) else {
                continue;
            };
            if body.is_accusation
                && let Some(case) = self.own.cases.get_mut(body.subject)
            {
                case.record_asked(receiver);
            }
            self.ctx.send(peer, &Part::Vote(body));
        }
    }

    /// Asks the members that a subject pings whether they heard it, once for each accusation, before a verdict: they hear it
    /// even if it receives nothing itself. They need not look for themselves.
    fn ask_those_it_pings(&mut self, body: VoteBody) {
        let Tally { silent_for, silence, .. } = body.tally;
        let is_due = silent_for >= self.ctx.params.pause_tolerance / 2;
        // Where many are silent, most of these are as well, and there are too many to ask about.
        if !is_due || silence == Silence::Gone || self.view().is_most_silent() {
            return;
        }
        let pinged = pinged_by(self.view(), body.subject);
        let case = self.own.cases.get_mut(body.subject);
        if case.is_some_and(|case| case.ask_subjects(&pinged)) {
            self.send_vote(&pinged, VoteBody { is_accusation: false, ..body });
        }
    }

    /// A repeated accusation means that this node's vote was lost: it is sent again, to that accuser alone. `sent` is the
    /// last vote that was sent before the accusation came.
    fn vote_again(&mut self, to: Peer, subject: MemberId, sent: Option<SentVote>) {
        let case = self.own.cases.get(subject).filter(|case| case.stage != Stage::Accused);
        let is_lost = case.is_some_and(|case| {
            sent.is_some() && case.sent.map(|last| last.at) == sent.map(|sent| sent.at)
        });
        let phi = self.view().own_phi(subject);
        if is_lost
            && phi >= ACCUSE_PHI
            && let Some(body) = vote_body(self.view(), subject, phi, false)
        {
            let signed = case.and_then(|case| case.signed.get(&self.list.me().id()));
            let part =
                signed.map_or(Part::Vote(body), |signed| Part::SignedVote(body, signed.clone()));
            self.ctx.send(to, &part);
        }
    }

    /// An observer sends its evidence against a member, signed if that suffices for a verdict.
    pub(crate) fn handle_vote(&mut self, from: Peer, body: VoteBody, signed: Option<SignedVote>) {
        let VoteBody { subject, version, is_accusation, .. } = body;
        if self.is_settled(from, &body) || self.is_over_budget(from.id, &body) {
            return;
        }
        self.senses.rounds.quicken(self.ctx);
        let signed = signed.filter(|signed| signed.voter == from.id);
        if !self.take_vote(from.id, body, signed) {
            return;
        }
        if self.senses.health.is_impaired(self.ctx.now) {
            self.ctx.send(from, &Part::Abstain { subject, version });
        } else if is_accusation {
            self.look_into(from, subject);
        } else {
            self.judge(subject);
        }
    }

    /// Whether a member accuses more members that seem well than it may.
    fn is_over_budget(&mut self, accuser: MemberId, body: &VoteBody) -> bool {
        let is_suspected =
            self.own.cases.is_open(body.subject) || !self.list.is_alive(body.subject);
        let is_over = body.is_accusation
            && !is_suspected
            && !self.own.hearsay.may_accuse(self.ctx.now, accuser);
        self.ctx.stats.hearsay_ignored += u64::from(is_over);
        is_over
    }

    /// Looks for itself where another observer accuses a member, and votes.
    fn look_into(&mut self, accuser: Peer, subject: MemberId) {
        if self.own.cases.get(subject).is_some_and(Case::is_unverified) {
            self.verify(subject);
        }
        let before = self.own.cases.get(subject).and_then(|case| case.sent);
        self.escalate(subject, None);
        self.vote_again(accuser, subject, before);
    }

    /// Whether a vote is about something that is settled here. If so, the voter receives what settles it.
    fn is_settled(&mut self, from: Peer, body: &VoteBody) -> bool {
        let me = self.list.me();
        if body.subject == me.id() {
            let (subject, version, age) = (me.id(), me.version(), Duration::ZERO);
            let clear = ClearBody { subject, version, age, heard_by: None };
            self.ctx.send(from, &Part::Clear(clear));
            return true;
        }
        match self.list.get(body.subject).map(|known| (known.version(), known.state)) {
            Some((known, state)) if known == body.version && state.is_live() => {
                self.clear_if_heard(from, body)
            }
            Some((known, _)) if known >= body.version => {
                // The accuser is behind: what this node has settles it.
                let update = self.own.reports.update(self.ctx.now, self.list, body.subject);
                update.into_iter().for_each(|update| self.ctx.send(from, &update));
                true
            }
            Some(_) | None => {
                self.ctx.stats.unknown_subjects += 1;
                true
            }
        }
    }

    /// Tells a voter that the subject was heard since its silence began, if it was.
    fn clear_if_heard(&mut self, from: Peer, body: &VoteBody) -> bool {
        let (now, VoteBody { subject, version, tally, .. }) = (self.ctx.now, *body);
        let silent_since = now.saturating_sub(tally.silent_for);
        let heard_at = self.view().heard_at(subject);
        let Some(heard_at) = heard_at.filter(|&heard| heard > silent_since) else {
            return false;
        };
        let is_heard_itself = self.view().heard_itself_at(subject) > Some(silent_since);
        let heard_by = self.senses.links.reached_by(subject).filter(|_| !is_heard_itself);
        let clear = ClearBody { subject, version, age: now - heard_at, heard_by };
        self.ctx.send(from, &Part::Clear(clear));
        true
    }

    /// Keeps a vote of an observer, and notes that it collects votes if it accuses. Returns whether the case is open.
    fn take_vote(
        &mut self,
        observer: MemberId,
        body: VoteBody,
        signed: Option<SignedVote>,
    ) -> bool {
        let (now, VoteBody { subject, tally, .. }) = (self.ctx.now, body);
        let view = self.view();
        // A list that is ahead of ours may name other observers, and some members take the places of silent ones.
        let is_observer = body.is_observer && view.may_observe(observer, subject)
            || view.voters(subject).contains(&observer);
        let signed = signed.filter(|signed| {
            view.params.signed_votes != SignedVotes::Off
                && is_observer
                && signed.silence == tally.silence
                && signed.may_count(view, &[observer])
        });
        let about = (subject, body.version);
        let signed = signed
            .filter(|signed| self.own.is_authentic(self.ctx, self.list, observer, (about, signed)));
        let Some(case) = self.open_case(subject) else {
            return false;
        };
        // The votes of others count nothing, and nobody else may collect votes: it could keep them to itself.
        if !is_observer {
            return true;
        }
        // No word of another is worth more, so that no single other member reaches the default threshold.
        let vote = tally.vote_of(observer, now);
        let vote = Vote { phi: vote.phi.clamp(0.0, MAX_VOTE_PHI), ..vote };
        let may_have_ended = case.record_vote(now, vote);
        signed.into_iter().for_each(|signed| _ = case.signed.insert(observer, signed));
        // Votes go to the accusers alone: to all, they would be as many messages as pairs of observers.
        if body.is_accusation {
            case.record_accuser(observer);
        }
        if may_have_ended {
            // A process that was ending when we asked has ended by now.
            case.host_asked_at = None;
            self.ask_host_of_silent(subject);
        }
        true
    }

    /// An observer considers itself unable to judge.
    pub(crate) fn handle_abstain(&mut self, from: MemberId, subject: MemberId, version: Version) {
        let case = self.own.cases.get_mut(subject).filter(|case| case.version == version);
        if case.is_some_and(|case| case.record_abstaining(from)) {
            self.judge(subject);
        }
    }
}

#[cfg(test)]
mod tests;
