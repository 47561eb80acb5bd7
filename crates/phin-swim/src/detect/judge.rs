//! [`judge`]: what the evidence against one member amounts to.

use std::time::Duration;

use phin_accrual::Evidence;

use crate::{
    Instant, MemberId, MemberState,
    ctx::Ctx,
    detect::{
        case::Case,
        health::is_told_by_host,
        pending::PendingVerdicts,
        reports::{Outcome, Silence, Vote},
        rules::Detect,
        signed::{Agreed, conclusion, silence_began},
        tolerance::{Circumstances, stretch},
        view::View,
        weigh::{credible_votes_of_pending, votes_to_judge},
    },
    member::transition::News,
    step::{Source, Step},
    timers::Timer,
    wire::{Claim, Part},
};

/// The judgement on the evidence.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Judgement {
    /// There is nothing to judge, or not by this node.
    None,
    /// This node may be the one that receives nothing: somebody that it does receive from has to agree.
    Withhold,
    /// This node receives again: what it missed while it did not says nothing of the member.
    StartAgain,
    /// Not yet; look again then.
    Wait(Instant),
    /// The member is suspect; a verdict may be due then.
    Suspect(Instant),
    Dead(Vec<Vote>),
}

/// The votes on a member, and everything that says how long they have to wait.
#[derive(Clone, Debug)]
struct Weighed {
    votes: Vec<Vote>,
    /// How many members are able to judge.
    able: usize,
    /// The kind of silence that the votes amount to.
    silence: Silence,
    /// When the silence began.
    silent_since: Instant,
    /// How long it is given before a verdict.
    tolerance: Duration,
    /// The pause tolerance of the configuration.
    pause: Duration,
    /// The longest stall lately, of this node or of the subject as it says itself.
    stall: Duration,
    threshold: f64,
    accused_at: Option<Instant>,
    /// When others were asked to vote or, where they spoke first, when they did.
    others_asked_at: Option<Instant>,
    state: MemberState,
    /// Since when the member is in that state.
    in_state_since: Instant,
    /// Whether another member states that it lives, which is no longer enough.
    is_contested: bool,
    /// Whether this node has enough evidence of its own, where it counts for more than the votes of others.
    has_own_evidence: bool,
}

/// Decides what the evidence against one member amounts to. Pure: called again whenever any input changes.
///
/// The votes of a verdict that is pending may count beside those of the case. Nobody is judged by hearsay alone, nor while the
/// fault may be this node's.
pub(crate) fn judge(view: View<'_>, pending: &PendingVerdicts, subject: MemberId) -> Judgement {
    let Some(case) = view.case(subject).filter(|case| may_judge(case, view, subject)) else {
        return Judgement::None;
    };
    let votes = votes_to_judge(view, pending, subject, view.own_phi(subject));
    if votes.is_empty() {
        return Judgement::None;
    }
    let voters = view.voters(subject);
    match alone(case, view, subject, (&votes, &voters)) {
        Some(judgement) => judgement,
        None => decide(view.now, weigh(case, view, subject, votes, voters.len())),
    }
}

/// Whether this node may judge a member at all: on misses of its own, while it hears others, and if its own link is not known
/// to fail where others reach the member.
pub(crate) fn may_judge(case: &Case, view: View<'_>, subject: MemberId) -> bool {
    let silent_since = case.silent_since();
    let hears_others = silent_since.is_some_and(|since| view.health.last_answer() > since);
    let is_trusted = hears_others && !view.cannot_judge(case.silence);
    is_trusted && !case.misses.is_empty() && !view.is_left_to_others(subject)
}

/// The judgement where no other member votes, if that settles it.
fn alone(
    case: &Case,
    view: View<'_>,
    subject: MemberId,
    (votes, voters): (&[Vote], &[MemberId]),
) -> Option<Judgement> {
    let me = view.me();
    if votes.iter().any(|vote| vote.observer != me) {
        return None;
    }
    let is_alone = voters.iter().all(|&voter| voter == me);
    // Only what its host says does not come from a fault of ours.
    let is_told = is_alone && is_told(case.silence, view);
    if view.may_be_deaf(subject) && !is_told {
        return Some(Judgement::Withhold);
    }
    if case.is_held {
        return Some(Judgement::StartAgain);
    }
    // Others have not had the time to vote, or to say that they heard it.
    let is_early = !is_alone && !view.has_waited_for_votes(subject);
    is_early.then_some(Judgement::None)
}

/// Whether the host of a member that keeps this silence says enough for a node that nobody agrees with.
fn is_told(silence: Silence, view: View<'_>) -> bool {
    silence == Silence::Gone || is_told_by_host(silence, view.list.snapshot().live_len())
}

/// Gathers what the time of a verdict depends on.
fn weigh(
    case: &Case,
    view: View<'_>,
    subject: MemberId,
    votes: Vec<Vote>,
    voters: usize,
) -> Weighed {
    let able = voters.max(votes.len());
    let (silence, tolerance) = time_given(case, view, subject, (&votes, able));
    let begun = votes.iter().map(|vote| vote.silent_since).min();
    let first = case.silent_since().into_iter().chain(begun).min().unwrap_or(view.now);
    // Others may have missed it for longer; but it lived when it was last known alive here.
    let alive_at = view.links.known_alive_at(subject).or(begun);
    let silent_since = match view.needs_signatures() {
        true => silence_began(case, view, subject).unwrap_or(view.now),
        false => first.max(alive_at.unwrap_or(first)),
    };
    let member = view.list.get(subject);
    Weighed {
        tolerance,
        able,
        silence,
        silent_since,
        is_contested: silence != Silence::Gone
            && view.links.is_contested(view.now, subject, silent_since),
        has_own_evidence: !view.needs_signatures() || conclusion(case, view, subject).is_some(),
        pause: view.params.pause_tolerance,
        stall: view.links.advertised_stall(subject).max(view.health.longest_stall()),
        threshold: view.params.phi_threshold,
        accused_at: case.accused_at,
        others_asked_at: case.accused_at.or(case.voted_at),
        state: member.map_or(MemberState::Dead, |member| member.state),
        in_state_since: member.map_or(view.now, |member| member.since),
        votes,
    }
}

/// The kind of silence that votes amount to, and how long it is given: longer if fewer than a majority of those able have
/// voted or, where votes are to be signed, have signed.
fn time_given(
    case: &Case,
    view: View<'_>,
    subject: MemberId,
    (votes, able): (&[Vote], usize),
) -> (Silence, Duration) {
    let of = |silence| tolerance(case, view, subject, silence);
    if view.needs_signatures() {
        let agreed = Agreed::on(case, view, subject);
        let (silence, tolerance) = agreed.tolerance(case, of);
        // A refusal that this node saw itself is worth the votes that lack.
        let stretch = match case.silence {
            Silence::Gone => 1.0,
            Silence::Unknown | Silence::Silent | Silence::Hung => {
                stretch(agreed.votes, agreed.able)
            }
        };
        return (silence, tolerance.mul_f64(stretch));
    }
    let silence = Silence::of(votes);
    (silence, of(silence).mul_f64(stretch(votes.len(), able)))
}

/// How long the silence of a member is given with a majority of votes, by what they amount to and what its host says to this
/// node.
pub(crate) fn tolerance(
    case: &Case,
    view: View<'_>,
    subject: MemberId,
    silence: Silence,
) -> Duration {
    let stall = view.links.advertised_stall(subject);
    let pause = view.health.pause_tolerance(view.params, stall);
    let pause = pause * (1 + case.refuted.min(MAX_REFUTED));
    let hang = view.health.hang_tolerance(view.params).max(pause);
    let is_refused = case.silence == Silence::Gone;
    Circumstances { silence, is_refused, is_most_silent: view.is_most_silent() }
        .tolerance(pause, hang)
}

/// `Suspect` when a second observer agrees, `Dead` when there is a majority, enough phi, and silence for as long as its kind
/// is given.
fn decide(now: Instant, weighed: Weighed) -> Judgement {
    let phi = weighed.phi();
    let (suspect_at, is_certain) = (weighed.suspect_at(phi), phi >= weighed.threshold);
    let dead_at = weighed.dead_at(suspect_at.max(now));
    if is_certain && weighed.has_own_evidence && now >= dead_at {
        return Judgement::Dead(weighed.votes);
    }
    match weighed.state == MemberState::Alive {
        true if now >= suspect_at => Judgement::Suspect(dead_at),
        true => Judgement::Wait(suspect_at.min(dead_at)),
        false => Judgement::Wait(dead_at),
    }
}

impl Weighed {
    /// The phi of the votes together.
    fn phi(&self) -> f64 {
        let mut evidence = Evidence::default();
        self.votes.iter().for_each(|vote| evidence.record(vote.phi));
        evidence.phi()
    }

    /// When a verdict is due, of a member that is suspect from then on. One that another member says to live is given time
    /// to show it.
    fn dead_at(&self, suspect_at: Instant) -> Instant {
        let is_suspect = self.state == MemberState::Suspect;
        let suspected_at = if is_suspect { self.in_state_since } else { suspect_at };
        match self.is_contested {
            true => self.time_over_at().max(suspected_at + self.pause),
            false => self.time_over_at(),
        }
    }

    /// When the tolerance for the silence is over. Members that received from the subject need a moment to report it,
    /// also if the other votes come late.
    fn time_over_at(&self) -> Instant {
        let due = self.silent_since + self.tolerance;
        match self.others_asked_at {
            Some(asked_at) if self.silence != Silence::Gone => due.max(asked_at + self.pause / 16),
            Some(_) | None => due,
        }
    }

    /// When the member is suspect: everyone hears of a suspicion only if no verdict or sign of life is as quick.
    fn suspect_at(&self, phi: f64) -> Instant {
        let agreed = self.votes.len() >= self.able.min(2) && phi >= self.threshold * 0.75;
        // Where members stall, most of them end such a silence by themselves.
        let stall = (self.stall * 3 / 2).min(self.pause / 2);
        let patience = if agreed { stall.max(self.pause / 8) } else { self.pause * 3 };
        let due = self.silent_since + patience;
        // One that refuted is suspected again, but not in the same breath: where some hear it and others do not, the rumour
        // and its refutation would go round without end.
        let due = due.max(self.in_state_since + self.pause / 2);
        // Members that receive from it need a moment to report it.
        self.accused_at.map_or(due, |accused_at| due.max(accused_at + self.pause / 16))
    }
}

/// Puts a member into this state, as this node found out.
fn declare(ctx: &mut Ctx, subject: MemberId, state: MemberState) {
    let news = News::State(subject, state);
    ctx.then(Step::Apply { news, source: Source::Ourselves });
}

impl Detect<'_> {
    /// Judges a member as far as the evidence goes, and acts on it. Harmless at any time.
    pub(crate) fn judge(&mut self, subject: MemberId) {
        self.conclude(subject);
        match judge(self.view(), &self.own.pending, subject) {
            Judgement::None => {}
            Judgement::Withhold => {
                self.own.cases.withhold(subject);
                self.look_around();
            }
            Judgement::StartAgain => {
                self.own.cases.close(subject);
                self.verify(subject);
            }
            Judgement::Wait(until) => {
                if self.list.state(subject) == Some(MemberState::Suspect) {
                    self.ask_lone_witness(subject);
                }
                self.judge_again(subject, until);
            }
            Judgement::Suspect(dead_at) => {
                self.ask_lone_witness(subject);
                declare(self.ctx, subject, MemberState::Suspect);
                self.judge_again(subject, dead_at);
            }
            Judgement::Dead(votes) => {
                let outcome = Outcome::Dead { votes: votes.into() };
                self.own.close_case(self.ctx.now, subject, outcome);
                declare(self.ctx, subject, MemberState::Dead);
            }
        }
    }

    /// Others judged by fewer votes than this node asks for. An observer looks for itself: with what it finds they may be a
    /// majority.
    pub(crate) fn weigh_pending(&mut self, subject: MemberId) {
        let view = self.view();
        let votes = credible_votes_of_pending(view, &self.own.pending, subject);
        if votes.is_empty() || !view.list.rings().observers(subject).contains(&view.me()) {
            return;
        }
        if self.open_case(subject).is_some_and(|case| case.is_unverified()) {
            self.verify(subject);
        }
        self.judge(subject);
    }

    /// Asks the only other member that says that this one lives to let it refute in time, as it may be the only one that
    /// reaches it.
    fn ask_lone_witness(&mut self, subject: MemberId) {
        let (now, interval) = (self.ctx.now, self.ctx.params.pause_tolerance / 4);
        let by = self.senses.links.lone_witness(now, subject, interval);
        let peer = by.and_then(|by| self.list.peer(by));
        let version = self.list.get(subject).map(|member| member.version());
        if let Some((peer, version)) = peer.zip(version) {
            let claim = Claim { subject, version, by: self.list.me().id() };
            self.ctx.send(peer, &Part::Suspect(claim));
        }
    }

    fn judge_again(&mut self, subject: MemberId, at: Instant) {
        let version = self.own.cases.get(subject).map(|case| case.version);
        if let Some(version) = version.filter(|_| at > self.ctx.now) {
            self.ctx.timers.set(at, Timer::Judge(subject, version));
        }
    }
}

/// A member is accused, and a vote counts, from this phi on: one probe in a hundred of a healthy member, on any link.
pub(crate) const ACCUSE_PHI: f64 = 2.0;
/// The greatest weight of another member's vote.
pub(crate) const MAX_VOTE_PHI: f64 = 6.0;
/// This many refutations that did not reach this node lengthen the tolerance for a member, each by one tolerance.
const MAX_REFUTED: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::START + Duration::from_millis(millis)
    }

    fn vote(observer: u8, phi: f64) -> Vote {
        let (observer, silent_since) = (MemberId([observer; 16]), at(10_000));
        Vote { observer, phi, silent_since, silence: Silence::Silent, attempts: 3 }
    }

    /// A silence since 10 s that is given a second, of a member that has long been alive, with five observers.
    fn weighed(votes: Vec<Vote>) -> Weighed {
        Weighed {
            votes,
            able: 5,
            silence: Silence::Silent,
            silent_since: at(10_000),
            tolerance: Duration::from_secs(1),
            pause: Duration::from_millis(1_600),
            stall: Duration::ZERO,
            threshold: 8.0,
            accused_at: None,
            others_asked_at: None,
            state: MemberState::Alive,
            in_state_since: at(0),
            is_contested: false,
            has_own_evidence: true,
        }
    }

    fn majority() -> Vec<Vote> {
        vec![vote(1, 4.0), vote(2, 4.0), vote(3, 4.0)]
    }

    #[test]
    fn a_verdict_takes_phi_and_time_and_a_suspicion_two_observers() {
        let (asked, suspect) = (Some(at(10_970)), MemberState::Suspect);
        let lately_alive = Weighed { in_state_since: at(9_800), ..weighed(majority()) };
        let stalled =
            |millis| Weighed { stall: Duration::from_millis(millis), ..weighed(majority()) };
        let hung = Weighed { others_asked_at: asked, ..weighed(majority()) };
        let gone = Weighed { silence: Silence::Gone, ..hung.clone() };
        let wait = |millis| Judgement::Wait(at(millis));
        let to_suspect = |millis| Judgement::Suspect(at(millis));
        let contested = Weighed { is_contested: true, ..weighed(majority()) };
        let accused = Weighed { state: suspect, in_state_since: at(10_200), ..contested.clone() };
        let dead = Judgement::Dead(majority());
        // The evidence, the moment, and the judgement.
        let cases = [
            ("too early to suspect", weighed(majority()), 10_199, wait(10_200)),
            ("two agree", weighed(majority()), 10_200, to_suspect(11_000)),
            ("it stalls", stalled(200), 10_299, wait(10_300)),
            ("for longer than that", stalled(200), 10_300, to_suspect(11_000)),
            ("long stalls", stalled(9_000), 10_800, to_suspect(11_000)),
            ("not silent for long enough", weighed(majority()), 10_999, to_suspect(11_000)),
            ("dead", weighed(majority()), 11_000, dead.clone()),
            ("one alone", weighed(vec![vote(1, 6.0)]), 10_500, wait(11_000)),
            ("one alone, for long", weighed(vec![vote(1, 6.0)]), 14_800, to_suspect(11_000)),
            ("little phi", weighed(vec![vote(1, 3.0), vote(2, 2.9)]), 14_799, wait(11_000)),
            (
                "suspect already",
                Weighed { state: suspect, ..weighed(majority()) },
                10_500,
                wait(11_000),
            ),
            ("alive again of late", lately_alive, 10_599, wait(10_600)),
            (
                "just accused",
                Weighed { accused_at: Some(at(10_150)), ..weighed(majority()) },
                10_249,
                wait(10_250),
            ),
            ("others were asked late", hung.clone(), 11_069, to_suspect(11_070)),
            ("they have answered", hung, 11_070, dead.clone()),
            ("another says it lives", contested.clone(), 10_199, wait(10_200)),
            ("never suspected", contested.clone(), 12_500, to_suspect(14_100)),
            ("it may refute in time", contested, 10_200, to_suspect(11_800)),
            ("it may refute", accused.clone(), 11_799, wait(11_800)),
            ("it did not", accused, 11_800, dead.clone()),
            ("a process that is gone has no answer to wait for", gone, 11_000, dead),
        ];
        for (what, weighed, now, expected) in cases {
            let found = decide(at(now), weighed);
            assert_eq!(found, expected, "{what}");
        }
    }
}
