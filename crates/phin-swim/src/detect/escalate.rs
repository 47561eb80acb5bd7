//! From a missed reply to an accusation: ping again, insist by stream, ask the host, ask others, accuse.

use std::time::Duration;

use crate::{
    Instant, MemberId, Question, Version,
    detect::{
        case::{Case, Retry, Stage},
        judge::ACCUSE_PHI,
        reports::Silence,
        rules::Detect,
        view::View,
    },
    step::{Miss, Purpose, Step},
    timers::Timer,
    wire::Sequence,
};

/// What this node finds of its own side of a case.
#[derive(Clone, Copy, Debug)]
struct Findings {
    phi: f64,
    /// Whether the member was as silent as this lately, and lived.
    is_early: bool,
    /// Whether the link fails while others reach the member.
    is_left_to_others: bool,
    can_judge: bool,
}

/// What the evidence of this node itself calls for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Escalation {
    stage: Stage,
    pings_by_stream: bool,
    asks_host: bool,
    asks_helpers: bool,
    accuses: bool,
}

/// How far the evidence takes a case. On a link that loses nearly everything no number of misses says much; others know
/// more. Where others accuse the subject, they have asked already; a link that loses much is asked by stream all the same.
fn escalation(case: &Case, found: Findings) -> Escalation {
    let Findings { phi, is_early, is_left_to_others, can_judge } = found;
    let is_doubtful = phi >= ASK_PHI || case.misses.len() >= MANY_MISSES;
    let is_first = case.accusers.is_empty();
    let insists = case.stage == Stage::Watching && (is_doubtful || case.misses.len() >= 2);
    let stage = if insists { Stage::Insisting } else { case.stage };
    let asks = is_doubtful && !is_early && (stage < Stage::Asked || is_left_to_others);
    Escalation {
        stage: if asks { stage.max(Stage::Asked) } else { stage },
        pings_by_stream: insists && (phi < ACCUSE_PHI || is_first),
        asks_host: stage >= Stage::Insisting,
        asks_helpers: asks && is_first,
        accuses: can_judge && phi >= ACCUSE_PHI && !is_early && !is_left_to_others,
    }
}

/// How long after the present one the next ping of a silent subject is sent.
fn retry_gap(case: &Case, view: View<'_>, subject: MemberId, phi: f64) -> Duration {
    let tolerance = view.params.pause_tolerance;
    let is_cut_off = view.own_failing_link(subject).is_some();
    let is_early = view.is_early(subject);
    let gap = match case.misses.len() {
        // That this link fails is known, and nobody who reaches the member doubts it.
        _ if is_cut_off && case.accusers.is_empty() => tolerance * 4,
        0 | 1 => Duration::ZERO,
        misses if phi < ACCUSE_PHI && misses < MANY_MISSES && !is_early => tolerance / 16,
        _ if is_early => tolerance / 4,
        _ if view.now - case.opened_at < tolerance * 2 => tolerance / 4,
        _ => tolerance,
    };
    gap.max(view.spaced(Duration::ZERO, RETRIES_PER_TOLERANCE))
}

impl Detect<'_> {
    /// A ping is overdue: the first sign of silence, or more of it.
    pub(crate) fn handle_miss(&mut self, miss: Miss) {
        let Miss { subject, sequence, sent_at, purpose } = miss;
        match purpose {
            // Where this node observes the member too, what it missed for another it missed itself.
            Purpose::Relay { .. } if self.view().subjects().contains(&subject) => {
                self.record_miss(subject, sent_at);
            }
            Purpose::Probe => {
                if self.record_miss(subject, sent_at) {
                    self.escalate(subject, Some(sequence));
                }
            }
            Purpose::Retry => {
                // It is followed up: what was missed before counts too.
                let is_evidence = self.record_miss(subject, sent_at);
                self.own.cases.end_retry(subject);
                if is_evidence {
                    self.escalate(subject, Some(sequence));
                }
            }
            Purpose::Look => {
                self.ask_helpers(subject, sequence);
                self.ctx.then(Step::PingByStream { target: subject, sequence });
                self.ctx.ask_host(self.list.peer(subject), Question::Silence);
            }
            Purpose::Relay { .. } | Purpose::Redial => {}
        }
    }

    /// Keeps a miss as evidence; says whether it is any.
    pub(crate) fn record_miss(&mut self, subject: MemberId, sent_at: Instant) -> bool {
        if self.links.heard_at(subject).is_some_and(|heard| heard >= sent_at) {
            // It was heard since by another way: the message was lost, not the member.
            return false;
        }
        if let Some(renewed_at) = self.links.renewed_at(subject).filter(|&at| at >= sent_at) {
            // It refuted since, which others heard and we did not: the silence before says nothing against this version.
            self.record_lost(subject, renewed_at);
            return false;
        }
        let max_misses = self.view().max_misses();
        let Some(case) = self.open_case(subject) else {
            return false;
        };
        case.record_miss(sent_at, max_misses);
        self.look_around();
        true
    }

    /// The time for another ping of a subject that does not answer.
    pub(crate) fn retry(&mut self, subject: MemberId, version: Version) {
        let now = self.ctx.now;
        let case = self.own.cases.get(subject).filter(|case| case.version == version);
        if case.is_some_and(|case| matches!(case.retry, Retry::At(at) if at <= now)) {
            self.verify(subject);
        }
    }

    /// Does what the evidence of this node itself calls for. `sequence` is that of the ping that was missed.
    pub(crate) fn escalate(&mut self, subject: MemberId, sequence: Option<Sequence>) {
        let phi = self.view().own_phi(subject);
        self.schedule_retry(subject, phi);
        let Some(case) = self.own.cases.get(subject) else {
            return;
        };
        let view = self.view();
        let can_judge = !view.cannot_judge(case.silence);
        let (is_early, is_left_to_others) =
            (view.is_early(subject), view.is_left_to_others(subject));
        let next = escalation(case, Findings { phi, is_early, is_left_to_others, can_judge });
        if let Some(case) = self.own.cases.get_mut(subject) {
            case.stage = next.stage;
        }
        if let Some(sequence) = sequence.filter(|_| next.pings_by_stream) {
            self.ctx.then(Step::PingByStream { target: subject, sequence });
        }
        if next.asks_host {
            self.ask_host_of_silent(subject);
        }
        if let Some(sequence) = sequence.filter(|_| next.asks_helpers) {
            self.ask_helpers(subject, sequence);
        }
        if !can_judge {
            return;
        }
        if phi >= ACCUSE_PHI {
            self.own.contacts.record_silent(subject, self.ctx.now);
        }
        if next.accuses {
            self.accuse_or_vote(subject, phi);
        }
        self.judge(subject);
    }

    /// Pings a subject that others suspect, as the first of this node's own attempts.
    pub(crate) fn verify(&mut self, subject: MemberId) {
        let peer = self.list.peer(subject);
        let Some((case, to)) = self.open_case(subject).zip(peer) else {
            return;
        };
        case.retry = Retry::UnderWay;
        self.ctx.then(Step::Ping { to, purpose: Purpose::Retry });
    }

    /// Forgets what was not answered, as the fault may be here, and asks every suspect again.
    pub(crate) fn ask_anew(&mut self) {
        self.pings.forget_unanswered();
        self.own.cases.void_own_misses();
        for subject in self.own.cases.subjects() {
            self.verify(subject);
        }
    }

    fn schedule_retry(&mut self, subject: MemberId, phi: f64) {
        let case = self.own.cases.get(subject).filter(|case| case.retry == Retry::None);
        let Some(case) = case else {
            return;
        };
        let version = case.version;
        let at = self.ctx.now + retry_gap(case, self.view(), subject, phi);
        self.ctx.timers.set(at, Timer::Retry(subject, version));
        if let Some(case) = self.own.cases.get_mut(subject) {
            case.retry = Retry::At(at);
        }
    }

    /// Asks the host of a silent member, and again while it has not said that the process is gone: an answer may be lost, a
    /// quota fills up again, and a process that hangs may end.
    pub(crate) fn ask_host_of_silent(&mut self, subject: MemberId) {
        let (now, tolerance) = (self.ctx.now, self.ctx.params.pause_tolerance);
        let Some(case) = self.own.cases.get_mut(subject) else {
            return;
        };
        let pause = match case.silence {
            Silence::Gone => return,
            Silence::Hung => tolerance,
            // The second answer comes before the verdict.
            Silence::Silent | Silence::Unknown => tolerance / 2,
        };
        if case.host_asked_at.is_none_or(|asked_at| now - asked_at >= pause) {
            case.host_asked_at = Some(now);
            self.ctx.ask_host(self.list.peer(subject), Question::Silence);
        }
    }
}

/// Others are asked to ping a member whose misses are worth this much to us (DESIGN: one probe in ten on any link).
const ASK_PHI: f64 = 1.0;
/// So many misses are looked into whatever they are worth, and without haste.
const MANY_MISSES: usize = 8;
/// How many pings of silent members are sent in a pause tolerance, if very many are silent at once.
const RETRIES_PER_TOLERANCE: u32 = 512;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Generation, Incarnation};

    fn case(stage: Stage, misses: usize, accusers: u8) -> Case {
        let version = Version { generation: Generation(0), incarnation: Incarnation(0) };
        let mut case = Case::new(version, Instant::START);
        case.stage = stage;
        (0..misses).for_each(|_| case.record_miss(Instant::START, 100));
        (0..accusers).for_each(|accuser| case.record_accuser(MemberId([accuser; 16])));
        case
    }

    #[test]
    fn each_piece_of_evidence_takes_a_case_one_step_further() {
        use Stage::{Accused, Asked, Insisting, Watching};
        let found =
            |phi| Findings { phi, is_early: false, is_left_to_others: false, can_judge: true };
        let (calm, early) = (found(0.5), Findings { is_early: true, ..found(3.0) });
        let left = Findings { is_left_to_others: true, ..found(3.0) };
        let unable = Findings { can_judge: false, ..found(3.0) };
        // The case (stage, misses, accusers), what is found; then the stage, and whether it pings by stream, asks the host,
        // asks helpers, and accuses.
        let cases = [
            ((Watching, 1, 0), calm, (Watching, [false, false, false, false])),
            ((Watching, 2, 0), calm, (Insisting, [true, true, false, false])),
            ((Insisting, 3, 0), calm, (Insisting, [false, true, false, false])),
            ((Insisting, 8, 0), calm, (Asked, [false, true, true, false])),
            ((Watching, 1, 0), found(1.0), (Asked, [true, true, true, false])),
            ((Watching, 2, 0), found(2.0), (Asked, [true, true, true, true])),
            ((Asked, 3, 0), found(2.0), (Asked, [false, true, false, true])),
            ((Accused, 4, 0), found(3.0), (Accused, [false, true, false, true])),
            // Others accuse it, and have asked: a healthy link need not insist, one that loses much does.
            ((Watching, 2, 1), found(2.0), (Asked, [false, true, false, true])),
            ((Watching, 2, 1), calm, (Insisting, [true, true, false, false])),
            // It was as silent as this lately, and lived.
            ((Watching, 2, 0), early, (Insisting, [true, true, false, false])),
            // Others reach it: they are asked each time, and judge.
            ((Accused, 9, 0), left, (Accused, [false, true, true, false])),
            ((Asked, 3, 0), unable, (Asked, [false, true, false, false])),
        ];
        for ((stage, misses, accusers), found, expected) in cases {
            let next = escalation(&case(stage, misses, accusers), found);
            let Escalation { pings_by_stream, asks_host, asks_helpers, accuses, .. } = next;
            let steps = [pings_by_stream, asks_host, asks_helpers, accuses];
            assert_eq!((next.stage, steps), expected, "{stage:?} {misses} {accusers} {found:?}");
        }
    }
}
