//! From a missed reply to an accusation: ping again, insist by stream, ask the host, ask others, accuse.

use std::time::Duration;

use crate::{
    Instant, MemberId, Miss, Purpose, Question, Sequence, Step, Timer, Version,
    detect::{
        case::{Case, Retry, Stage},
        judge::{ACCUSE_PHI, MAX_VOTE_PHI},
        look::hears_nobody,
        pending::MAX_HELPED,
        reports::Silence,
        rules::Detect,
        view::View,
    },
};

/// The health of this node, as far as it matters to a case.
#[derive(Clone, Copy, Debug)]
struct Findings {
    phi: f64,
    /// Whether the member was as silent as this lately, and lived.
    is_early: bool,
    /// Whether the link fails while others reach the member.
    is_left_to_others: bool,
    can_judge: bool,
    /// Whether others ask this node to judge a member that it does not observe.
    is_stand_in: bool,
}

/// The action that the evidence of this node calls for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Escalation {
    stage: Stage,
    pings_by_stream: bool,
    asks_host: bool,
    asks_helpers: bool,
    accuses: bool,
}

impl Findings {
    /// Whether the misses are worth asking others. On a link that loses nearly everything no number of misses says much;
    /// others know more.
    const fn is_doubtful(self, misses: usize) -> bool {
        self.phi >= ASK_PHI || misses >= MANY_MISSES
    }

    /// Whether others are asked to ping the subject: once, or each time where this node's own link is known to fail.
    fn asks_others(self, misses: usize, stage: Stage) -> bool {
        let is_unasked = stage < Stage::Asked || self.is_left_to_others;
        is_unasked && !self.is_early && self.is_doubtful(misses)
    }

    fn may_accuse(self) -> bool {
        self.can_judge && self.phi >= ACCUSE_PHI && !self.is_early && !self.is_left_to_others
    }
}

/// How far the evidence takes a case. Where others accuse the subject, they have asked already; a link that loses much is
/// asked by stream all the same. A stand-in asks the observers too: the accuser may receive nothing from them, and the pings
/// of the stand-in wait for a handshake, whose loss is one event.
fn escalation(case: &Case, found: Findings) -> Escalation {
    let (misses, is_first) = (case.misses.len(), case.accusers.is_empty());
    let insists = case.stage == Stage::Watching && (misses >= 2 || found.is_doubtful(misses));
    let stage = if insists { Stage::Insisting } else { case.stage };
    let asks = found.asks_others(misses, stage);
    Escalation {
        stage: if asks { stage.max(Stage::Asked) } else { stage },
        pings_by_stream: insists && (found.phi < ACCUSE_PHI || is_first),
        asks_host: stage >= Stage::Insisting,
        asks_helpers: asks && (is_first || found.is_stand_in),
        accuses: found.may_accuse(),
    }
}

/// How long after the present one the next ping of a silent subject is sent.
fn retry_gap(case: &Case, view: View<'_>, subject: MemberId, phi: f64) -> Duration {
    // That this link fails is known, and nobody who reaches the member doubts it.
    let is_known = view.is_left_to_others(subject) && case.accusers.is_empty();
    let gap = match is_known {
        true => view.params.pause_tolerance * 4,
        false => evidence_gap(case, view, view.early_for(subject), phi),
    };
    if hears_nobody(view) {
        let cases = u32::try_from(view.cases.len()).unwrap_or(u32::MAX);
        return gap.max(view.params.pause_tolerance.saturating_mul(cases) / UNHEARD_RETRIES);
    }
    gap.max(view.spaced(Duration::ZERO, RETRIES_PER_TOLERANCE))
}

/// How soon another miss would say more: at once after the first, later the more is known.
fn evidence_gap(case: &Case, view: View<'_>, early_for: Option<Duration>, phi: f64) -> Duration {
    let tolerance = view.params.pause_tolerance;
    let (short, long) = (tolerance / 16, tolerance / 4);
    match (case.misses.len(), early_for) {
        (0 | 1, _) => Duration::ZERO,
        (_, Some(left)) => left.clamp(short, long),
        (misses, None) if phi < ACCUSE_PHI && misses < MANY_MISSES => short,
        // A vote is worth no more; further pings only look whether it is back.
        _ if phi >= MAX_VOTE_PHI && view.do_many_fall() => tolerance / 2,
        _ if view.now - case.opened_at < tolerance * 2 => long,
        _ => tolerance,
    }
}

/// How long after the last question the host of a silent member is asked again; `None` for one that has said all there is to
/// say. One that answered, and then did not, may have gone down since.
fn host_interval(case: &Case, tolerance: Duration) -> Option<Duration> {
    match case.silence {
        Silence::Gone => None,
        Silence::Hung if case.unanswered > 0 => Some(tolerance / 4),
        Silence::Hung => Some(tolerance),
        // The second answer comes before the verdict.
        Silence::Silent | Silence::Unknown => Some(tolerance / 2),
    }
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
            Purpose::Probe | Purpose::Retry => self.follow_up(miss),
            Purpose::Look => self.ask_everyone(subject, sequence),
            Purpose::Relay { .. } | Purpose::Redial => {}
        }
    }

    fn follow_up(&mut self, miss: Miss) {
        let is_evidence = self.record_miss(miss.subject, miss.sent_at);
        if matches!(miss.purpose, Purpose::Retry) {
            // It is followed up: what was missed before counts too.
            self.own.cases.end_retry(miss.subject);
        }
        if is_evidence {
            self.escalate(miss.subject, Some(miss.sequence));
        }
    }

    /// Looks at a member by every way there is: a verdict waits for it.
    fn ask_everyone(&mut self, subject: MemberId, sequence: Sequence) {
        // Helpers have a budget too, and one that refuses looks as if it were this node that is cut off.
        if !self.view().needs_signatures() || self.own.pending.may_examine(MAX_HELPED) {
            self.ask_helpers(subject, sequence);
        }
        self.ctx.then(Step::PingByStream { target: subject, sequence });
        let link = self.senses.links.get(subject);
        self.ctx.ask_host(self.list.peer(subject), Question::Silence, link);
    }

    /// Keeps a miss as evidence; says whether it is any.
    pub(crate) fn record_miss(&mut self, subject: MemberId, sent_at: Instant) -> bool {
        if self.is_refuted(subject, sent_at) {
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

    /// Whether a member showed that it lives since a ping was sent, so that the ping says nothing.
    fn is_refuted(&mut self, subject: MemberId, sent_at: Instant) -> bool {
        if self.senses.links.heard_at(subject).is_some_and(|heard| heard >= sent_at) {
            // It was heard since by another way: the message was lost, not the member.
            return true;
        }
        // It refuted since, which others heard and we did not: the silence before says nothing against this version.
        let renewed_at = self.senses.links.renewed_at(subject).filter(|&at| at >= sent_at);
        renewed_at
            .into_iter()
            .for_each(|at| self.senses.pings.record_lost(&mut self.senses.links, subject, at));
        renewed_at.is_some()
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
        let Some((found, next)) = self.next_stage(subject, phi) else {
            return;
        };
        self.ask_about(subject, sequence, next);
        // A node that doubts itself asks, but neither accuses nor judges.
        if !found.can_judge {
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

    /// Takes a case as far as the evidence goes.
    fn next_stage(&mut self, subject: MemberId, phi: f64) -> Option<(Findings, Escalation)> {
        let view = self.view();
        let case = view.case(subject)?;
        let (is_early, is_left_to_others) =
            (view.is_early(subject), view.is_left_to_others(subject));
        let can_judge = !view.cannot_judge(case.silence);
        let is_stand_in = !case.accusers.is_empty() && !view.subjects().contains(&subject);
        let found = Findings { phi, is_early, is_left_to_others, can_judge, is_stand_in };
        let next = escalation(case, found);
        self.own.cases.get_mut(subject)?.stage = next.stage;
        Some((found, next))
    }

    /// Asks the subject once more by stream, its host, and other members.
    fn ask_about(&mut self, subject: MemberId, sequence: Option<Sequence>, next: Escalation) {
        if let Some(sequence) = sequence.filter(|_| next.pings_by_stream) {
            self.ctx.then(Step::PingByStream { target: subject, sequence });
        }
        if next.asks_host {
            self.ask_host_of_silent(subject);
        }
        if let Some(sequence) = sequence.filter(|_| next.asks_helpers) {
            self.ask_helpers(subject, sequence);
        }
    }

    /// Pings a subject that others suspect, as the first of this node's own attempts.
    pub(crate) fn verify(&mut self, subject: MemberId) {
        let peer = self.list.peer(subject);
        let Some((case, to)) = self.open_case(subject).zip(peer) else {
            return;
        };
        case.retry = Retry::UnderWay;
        self.ctx.then(Step::Ping { to, purpose: Purpose::Retry });
        // This node's vote needs to know of the host, and begins later than that of the member that found it out.
        if self.view().needs_signatures() {
            self.ask_host_of_silent(subject);
        }
    }

    /// Forgets what was not answered of what was sent since then, as the fault may be here, and asks again.
    pub(crate) fn ask_anew(&mut self, since: Instant) {
        let probed = self.senses.pings.forget_unanswered();
        self.own.cases.void_own_misses(since);
        // Nothing is left against those that were only looked at, to find somebody that is heard.
        let observed = self.view().subjects();
        self.own.cases.close_empty(|id| observed.contains(&id));
        for subject in self.own.cases.subjects() {
            self.verify(subject);
        }
        let probed = probed.into_iter().filter(|&id| !self.own.cases.is_open(id));
        for to in self.list.peers(probed.collect()) {
            self.ctx.then(Step::Ping { to, purpose: Purpose::Probe });
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
        let interval = host_interval(case, tolerance);
        if interval.is_some_and(|interval| case.is_host_due(now, interval)) {
            let link = self.senses.links.get(subject);
            self.ctx.ask_host(self.list.peer(subject), Question::Silence, link);
        }
    }
}

/// Others are asked to ping a member whose misses are worth this much to us (DESIGN: one probe in ten on any link).
const ASK_PHI: f64 = 1.0;
/// This many misses are investigated regardless of their weight, without haste.
const MANY_MISSES: usize = 8;
/// How many pings of silent members are sent in a pause tolerance by a node that receives nothing.
const UNHEARD_RETRIES: u32 = 16;
/// How many pings of silent members are sent in a pause tolerance, if very many are silent at once.
const RETRIES_PER_TOLERANCE: u32 = 512;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{
        Config, Generation, Incarnation, SignedVotes,
        member::record::tests::id,
        testing::{Rooms, at, ms, peer, vote},
    };

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
        let found = |phi| Findings {
            phi,
            is_early: false,
            is_left_to_others: false,
            can_judge: true,
            is_stand_in: false,
        };
        let stand_in = Findings { is_stand_in: true, ..found(2.0) };
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
            ((Watching, 2, 1), stand_in, (Asked, [false, true, true, true])),
            ((Asked, 3, 1), stand_in, (Asked, [false, true, false, true])),
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

    #[test]
    fn after_a_stall_what_was_sent_before_it_still_counts_and_the_rest_is_asked_again() {
        let mut rooms = Rooms::of(6);
        rooms.miss(1, &[8_000, 8_900]);
        rooms.miss(2, &[9_000]);
        for (node, sent_at) in [(3, 8_500), (4, 9_800)] {
            rooms.at(sent_at).probe().ping(peer(node), Purpose::Probe);
        }
        rooms.senses.pings.mark_overdue(Sequence(1));
        rooms.effects();
        rooms.at(10_000).detect().ask_anew(at(9_000));
        let ping = |node, purpose| format!("Ping {{ to: n{node}, purpose: {purpose} }}");
        let asked = [ping(1, "Retry"), ping(2, "Retry"), ping(4, "Probe")];
        let mut found = rooms.effects();
        found.sort_unstable();
        assert_eq!(found, asked, "the ping of node 3 is overdue since before the stall");
        let misses = [1, 2].map(|node| rooms.detector.cases.misses_of(id(node)).to_vec());
        assert_eq!(misses, [vec![at(8_000), at(8_900)], vec![]]);
    }

    #[test]
    fn after_a_stall_those_that_were_only_looked_at_are_let_go() {
        let mut rooms = Rooms::of(60);
        let subjects = rooms.see().subjects();
        let others: Vec<_> = (1..60).filter(|&node| !subjects.contains(&id(node))).collect();
        let subject = (1..60).find(|&node| subjects.contains(&id(node))).unwrap();
        // One that another observer accuses too, and one that was silent before the stall.
        rooms.miss(others[0], &[9_500]);
        rooms.miss(others[1], &[9_500]).record_vote(at(9_600), vote(60, 9_000, Silence::Silent));
        rooms.miss(others[2], &[8_500]);
        rooms.miss(subject, &[9_500]);
        rooms.at(10_000).detect().ask_anew(at(9_000));
        assert!(!rooms.detector.cases.is_open(id(others[0])));
        let asked = [others[1], others[2], subject]
            .map(|node| format!("Ping {{ to: n{node}, purpose: Retry }}"));
        assert_eq!(BTreeSet::from_iter(rooms.effects()), BTreeSet::from(asked));
    }

    #[test]
    fn a_node_that_receives_nothing_pings_the_more_seldom_the_more_members_are_silent() {
        // How many cases are open, whether anybody answered since; the time to the next ping of one, in ms.
        for (cases, is_heard, expected) in [(8, false, 500), (32, false, 2_000), (32, true, 250)] {
            let mut rooms = Rooms::of(60);
            let subjects = rooms.see().subjects();
            let (silent, others): (Vec<u8>, Vec<u8>) =
                (1..60).partition(|&node| subjects.contains(&id(node)));
            let silent: Vec<_> = silent.into_iter().chain(others).take(cases).collect();
            rooms.silence(&silent);
            rooms.at(11_500);
            if is_heard {
                rooms.senses.health.record_answer(at(9_500));
            }
            let case = rooms.detector.cases.get(id(silent[0])).unwrap();
            let found = retry_gap(case, rooms.see(), id(silent[0]), 3.0);
            assert_eq!(found, ms(expected), "{cases} {is_heard}");
        }
    }

    #[test]
    fn only_a_stand_in_asks_those_that_its_accuser_asked() {
        for is_subject in [true, false] {
            let mut rooms = Rooms::of(60);
            let subjects = rooms.see().subjects();
            let others = (2..60).filter(|&node| subjects.contains(&id(node)) == is_subject);
            let node = others.into_iter().next().unwrap();
            rooms.measure(node);
            rooms.miss(node, &[9_000, 9_100]).record_accuser(id(1));
            rooms.at(9_200).probe().ping(peer(node), Purpose::Retry);
            rooms.effects();
            let miss = Miss {
                subject: id(node),
                sequence: Sequence(1),
                sent_at: at(9_200),
                purpose: Purpose::Retry,
            };
            rooms.at(9_300).detect().handle_miss(miss);
            let asked = rooms.effects().iter().filter(|effect| effect.contains("ping-req")).count();
            assert_eq!(asked > 0, !is_subject, "{asked}");
        }
    }

    #[test]
    fn a_retry_is_of_its_version_and_at_its_time() {
        let version = |incarnation| Version {
            generation: Generation(0),
            incarnation: Incarnation(incarnation),
        };
        let ping = "Ping { to: n1, purpose: Retry }";
        // The plan, the time when a timer fires and its version; the effects.
        for (retry, now, incarnation, asked_for) in [
            (Retry::At(at(10_000)), 10_000, 0, vec![ping]),
            (Retry::At(at(10_000)), 10_001, 0, vec![ping]),
            (Retry::At(at(10_001)), 10_000, 0, vec![]),
            (Retry::At(at(10_000)), 10_000, 1, vec![]),
            (Retry::UnderWay, 10_000, 0, vec![]),
            (Retry::None, 10_000, 0, vec![]),
        ] {
            let mut rooms = Rooms::of(5);
            rooms.miss(1, &[9_000]).retry = retry;
            rooms.at(now).detect().retry(id(1), version(incarnation));
            assert_eq!(rooms.effects(), asked_for, "{retry:?} at {now} of {incarnation}");
        }
    }

    #[test]
    fn where_votes_are_to_be_signed_the_host_is_asked_with_the_first_ping() {
        for (signed_votes, asks) in [(SignedVotes::Off, false), (SignedVotes::Require, true)] {
            let mut rooms = Rooms::with(6, Config { signed_votes, ..Config::lan() });
            rooms.effects();
            rooms.detect().verify(id(1));
            let asked = rooms.effects().iter().any(|effect| effect.contains("host of n1"));
            assert_eq!(asked, asks, "{signed_votes}");
        }
    }
}
