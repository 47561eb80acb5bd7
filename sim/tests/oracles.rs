//! Each oracle catches a bug that was planted for it, and finds nothing where there is none.

use std::sync::Arc;

use phin_sim::{
    Action, Belief, DataLine, Fault, Generation, Incarnation, Input, Instant, Knowledge, Lie, Lies,
    Line, MessageLine, MessageNews, NetworkConfig, NodeId, Notice, OfficeChange, OfficeNews,
    Process, Protocol, ProtocolKind, RuleId, Scope, Setup, Simulation, Start, Transport, Usage,
    Version, Write, millis,
    oracle::{
        Accuracy, Completeness, Convergence, EqualData, Incarnations, Limits, MemberDataSound,
        MessagesComplete, MessagesSound, NoReturn, OfficesHeld, OfficesSound, Oracle, SelfAlive,
        Suspicions, Violation, WronglyDead, WronglyDegraded,
    },
    secs,
};

/// The bug of a faulty member.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Bug {
    /// Nothing.
    None,
    /// Declares a living member dead.
    DeclaresTheLiving,
    /// Considers a living member dead, and does not report it.
    HoldsTheLivingForDead,
    /// Reports a member that is well as degraded.
    ReportsTheWell,
    /// Suspects a member again and again.
    SuspectsOften,
    /// Reports no death, and considers dead members alive.
    IgnoresDeaths,
    /// Lets a dead member return in the version it died with.
    RaisesTheDead,
    /// Goes back to an earlier incarnation.
    LowersIncarnations,
    /// Considers itself suspect.
    DoubtsItself,
    /// Shows a list of its own.
    DiffersInItsList,
    /// Sends far too much.
    Floods,
    /// Keeps a link to every member that it ever knew, and to more.
    Hoards,
    /// Shows data that is of no revision of its owner: a mix of two.
    MixesRevisions,
    /// Shows data that its owner has not published.
    InventsRevisions,
    /// Shows an earlier revision again, with what was deleted since.
    ShowsDeletedData,
    /// Takes data beyond the limit.
    TakesTooMuchData,
    /// Misses the last revision.
    MissesData,
    /// Keeps the data of members that left.
    KeepsDataOfTheGone,
    /// Delivers a message twice.
    RepeatsMessages,
    /// Delivers two messages in the wrong order.
    SwapsMessages,
    /// Delivers a message that is of nobody.
    ForgesMessages,
    /// Drops a message, and reports nothing.
    LosesMessages,
    /// Drops a message, and reports it.
    MissesMessages,
    /// Drops a message, and reports too many.
    MissesTooMany,
    /// Holds an office of its own accord.
    TakesOffice,
    /// Reports an earlier term again.
    LowersTerms,
    /// Acts as the holder for longer than the lease.
    KeepsOffice,
    /// Does not report first that it lost the office while it was stopped.
    LosesOfficeLate,
    /// Grants nothing, and gives up at once what it is granted.
    DeclinesOffice,
}

/// phin, with a bug in the first member.
struct Faulty {
    bug: Bug,
    sound: Arc<dyn Protocol>,
}

struct FaultyProcess {
    bug: Bug,
    me: NodeId,
    has_told: bool,
    /// The first data that it saw of a member.
    first_data: Option<DataLine>,
    /// A message that waits.
    held: Option<Action>,
    sound: Box<dyn Process>,
}

impl Protocol for Faulty {
    fn name(&self) -> &str {
        "faulty"
    }

    fn transport(&self) -> Transport {
        self.sound.transport()
    }

    fn start(&self, start: Start) -> Box<dyn Process> {
        let (me, has_told, first_data, held) = (start.node, false, None, None);
        let bug = if me == NodeId(0) { self.bug } else { Bug::None };
        let sound = self.sound.start(start);
        Box::new(FaultyProcess { bug, me, has_told, first_data, held, sound })
    }
}

impl FaultyProcess {
    fn tell(actions: &mut Vec<Action>, subject: NodeId, belief: Belief, incarnation: u32) {
        let version = Version { generation: Generation(1), incarnation: Incarnation(incarnation) };
        actions.push(Action::Notice(Notice { subject, belief, version }));
    }
}

impl FaultyProcess {
    fn change_data(&mut self, actions: &mut [Action]) {
        for action in actions {
            let Action::Data(NodeId(1), Some(line)) = action else {
                continue;
            };
            let first = *self.first_data.get_or_insert(*line);
            match self.bug {
                Bug::MixesRevisions => line.content ^= 1,
                Bug::InventsRevisions => line.revision += 1,
                Bug::ShowsDeletedData if line.keys < first.keys => *line = first,
                Bug::TakesTooMuchData => line.bytes += 16 * 1_024,
                _ => {}
            }
        }
    }
}

impl FaultyProcess {
    /// Changes the third message of the second member.
    fn change_messages(&mut self, actions: &mut Vec<Action>) {
        let from = NodeId(1);
        let missed = |count| Action::Message(MessageNews::Missed { from, count });
        let mut changed = Vec::new();
        for action in actions.drain(..) {
            let line = match &action {
                Action::Message(MessageNews::Delivered(line)) if line.from == from => *line,
                _other => {
                    changed.push(action);
                    continue;
                }
            };
            match (self.bug, line.sequence) {
                (Bug::RepeatsMessages, 3) => changed.extend([action.clone(), action]),
                (Bug::SwapsMessages, 3) => self.held = Some(action),
                (Bug::ForgesMessages, 3) => {
                    let forged = MessageLine { content: line.content ^ 1, ..line };
                    changed.push(Action::Message(MessageNews::Delivered(forged)));
                }
                (Bug::LosesMessages, 3) => {}
                (Bug::MissesMessages, 3) => changed.push(missed(1)),
                (Bug::MissesTooMany, 3) => changed.push(missed(2)),
                _sound => changed.extend([Some(action), self.held.take()].into_iter().flatten()),
            }
        }
        *actions = changed;
    }
}

impl FaultyProcess {
    fn change_offices(&self, now: Instant, actions: &mut Vec<Action>, is_time: bool) {
        let office: Arc<str> = "a".into();
        let news = |what| Action::Office(OfficeNews { office: Arc::clone(&office), what });
        let elected =
            |term, lasts| news(OfficeChange::Elected { term, valid_until: now + secs(lasts) });
        match self.bug {
            Bug::TakesOffice if is_time => actions.push(elected(900, 2)),
            Bug::LowersTerms if is_time => actions.push(elected(0, 0)),
            Bug::KeepsOffice => {
                for action in actions.iter_mut() {
                    if let Action::Office(OfficeNews { what, .. }) = action
                        && let OfficeChange::Elected { valid_until, .. }
                        | OfficeChange::Renewed { valid_until } = what
                    {
                        *valid_until = *valid_until + secs(30);
                    }
                }
                actions.retain(|action| !is_lost(action));
            }
            Bug::LosesOfficeLate => {
                let lost: Vec<_> = actions.extract_if(.., |action| is_lost(action)).collect();
                actions.extend(lost);
            }
            Bug::DeclinesOffice => actions.retain(|action| {
                !matches!(action, Action::Office(_)) || is_stand(action) || is_lost(action)
            }),
            _ => {}
        }
    }
}

fn is_lost(action: &Action) -> bool {
    matches!(action, Action::Office(OfficeNews { what: OfficeChange::Lost { .. }, .. }))
}

fn is_stand(action: &Action) -> bool {
    matches!(action, Action::Office(OfficeNews { what: OfficeChange::Stands(_), .. }))
}

impl Process for FaultyProcess {
    fn handle(&mut self, now: Instant, input: Input<'_>, actions: &mut Vec<Action>) {
        self.sound.handle(now, input, actions);
        let is_time = now >= Instant::START + secs(10) && !self.has_told;
        self.has_told |= is_time;
        match self.bug {
            Bug::None
            | Bug::DiffersInItsList
            | Bug::Hoards
            | Bug::HoldsTheLivingForDead
            | Bug::MissesData
            | Bug::KeepsDataOfTheGone => {}
            Bug::MixesRevisions
            | Bug::InventsRevisions
            | Bug::ShowsDeletedData
            | Bug::TakesTooMuchData => self.change_data(actions),
            Bug::TakesOffice
            | Bug::LowersTerms
            | Bug::KeepsOffice
            | Bug::LosesOfficeLate
            | Bug::DeclinesOffice => self.change_offices(now, actions, is_time),
            Bug::RepeatsMessages
            | Bug::SwapsMessages
            | Bug::ForgesMessages
            | Bug::LosesMessages
            | Bug::MissesMessages
            | Bug::MissesTooMany => self.change_messages(actions),
            Bug::SuspectsOften if is_time => {
                (0..4).for_each(|_| Self::tell(actions, NodeId(5), Belief::Suspect, 0));
            }
            Bug::ReportsTheWell if is_time => actions.push(Action::Degraded(NodeId(5), true)),
            Bug::DeclaresTheLiving if is_time => Self::tell(actions, NodeId(5), Belief::Dead, 0),
            Bug::RaisesTheDead if is_time => {
                Self::tell(actions, NodeId(5), Belief::Dead, 0);
                Self::tell(actions, NodeId(5), Belief::Alive, 0);
            }
            Bug::LowersIncarnations if is_time => {
                Self::tell(actions, NodeId(5), Belief::Alive, 3);
                Self::tell(actions, NodeId(5), Belief::Alive, 2);
            }
            Bug::DoubtsItself if is_time => Self::tell(actions, self.me, Belief::Suspect, 0),
            Bug::DeclaresTheLiving
            | Bug::ReportsTheWell
            | Bug::SuspectsOften
            | Bug::RaisesTheDead
            | Bug::LowersIncarnations
            | Bug::DoubtsItself => {}
            Bug::IgnoresDeaths => {
                actions.retain(|action| {
                    !matches!(action, Action::Notice(Notice { belief: Belief::Dead, .. }))
                });
            }
            Bug::Floods => {
                let sent = actions.iter().find(|action| matches!(action, Action::Send { .. }));
                if let Some(sent) = sent.cloned() {
                    actions.extend((0..500).map(|_| sent.clone()));
                }
            }
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.sound.next_deadline()
    }

    fn fingerprint(&self) -> u64 {
        self.sound.fingerprint() ^ u64::from(self.bug == Bug::DiffersInItsList)
    }

    fn belief(&self, node: NodeId) -> Option<Belief> {
        let belief = self.sound.belief(node);
        if self.bug == Bug::HoldsTheLivingForDead && node == NodeId(5) {
            return Some(Belief::Dead);
        }
        if self.bug == Bug::IgnoresDeaths { belief.map(|_| Belief::Alive) } else { belief }
    }

    fn data_of(&self, owner: NodeId) -> Option<DataLine> {
        let line = self.sound.data_of(owner);
        match self.bug {
            Bug::MissesData => line.map(|line| DataLine { revision: line.revision - 1, ..line }),
            Bug::KeepsDataOfTheGone => line.or(self.sound.data_of(NodeId(1))),
            _ => line,
        }
    }

    fn live_len(&self) -> usize {
        self.sound.live_len()
    }

    fn lines(&self) -> Vec<Line> {
        self.sound.lines()
    }

    fn usage(&self, now: Instant) -> Usage {
        let usage = self.sound.usage(now);
        if self.bug == Bug::Hoards { Usage { links: 10_000, ..usage } } else { usage }
    }
}

fn violations(bug: Bug, oracle: Box<dyn Oracle>) -> Vec<Violation> {
    let (seed, nodes, knowledge) = (1, 16, Knowledge::Everyone);
    let network = NetworkConfig::lan();
    let setup = Setup { seed, nodes, knowledge, network, firewalled_every: 0 };
    let sound = ProtocolKind::Phin.make(seed, nodes);
    let mut run = Simulation::new(setup, Arc::new(Faulty { bug, sound }));
    run.watch(oracle);
    let put = |keys| Write::Put { keys, bytes: 20, time_to_live: None };
    for (at, node, write) in [
        (5, 1, put(0..3)),
        (6, 2, put(0..3)),
        (7, 1, put(0..1)),
        (8, 1, Write::Delete(0..1)),
        (9, 1, put(3..4)),
    ] {
        run.schedule(Instant::START + secs(at), Fault::Write(vec![NodeId(node)], write));
    }
    let publish = Write::Publish { count: 1, topic: 0, bytes: 50, filter: String::new() };
    for at in 9..14 {
        let publish = Fault::Write(vec![NodeId(1)], publish.clone());
        run.schedule(Instant::START + secs(at), publish);
    }
    run.schedule(Instant::START + secs(12), Fault::Leave(vec![NodeId(2)]));
    run.schedule(Instant::START + secs(15), Fault::CrashHost(vec![NodeId(9)]));
    while run.now() < Instant::START + secs(40) {
        run.run_until(run.now() + secs(1));
        run.inspect();
    }
    run.finish()
}

fn catches(bug: Bug, make: impl Fn() -> Box<dyn Oracle>) {
    let missed = violations(bug, make());
    assert!(!missed.is_empty(), "{bug:?} was not caught");
    let wrong = violations(Bug::None, make());
    assert!(wrong.is_empty(), "found where nothing is: {wrong:?}");
}

#[test]
fn accuracy_catches_a_verdict_on_the_living() {
    catches(Bug::DeclaresTheLiving, || Box::new(Accuracy::default()));
}

#[test]
fn wrongly_dead_catches_a_living_member_that_is_held_for_dead() {
    catches(Bug::HoldsTheLivingForDead, || {
        Box::new(WronglyDead::new(secs(3), Instant::START + secs(2)))
    });
}

#[test]
fn suspicions_catches_the_fourth_in_a_minute() {
    catches(Bug::SuspectsOften, || Box::new(Suspicions::new(3)));
}

#[test]
fn wrongly_degraded_catches_a_report_on_a_member_that_is_well() {
    catches(Bug::ReportsTheWell, || Box::new(WronglyDegraded::default()));
}

#[test]
fn completeness_catches_a_death_not_told() {
    let calm = Instant::START + secs(15);
    catches(Bug::IgnoresDeaths, || Box::new(Completeness::new(secs(10), calm)));
}

#[test]
fn completeness_catches_a_death_known_late() {
    let calm = Instant::START;
    let found = violations(Bug::None, Box::new(Completeness::new(millis(100), calm)));
    assert!(!found.is_empty());
}

#[test]
fn no_return_catches_a_return_in_the_same_version() {
    catches(Bug::RaisesTheDead, || Box::new(NoReturn::default()));
}

#[test]
fn incarnations_catches_a_step_back() {
    catches(Bug::LowersIncarnations, || Box::new(Incarnations::default()));
}

#[test]
fn self_alive_catches_a_member_that_doubts_itself() {
    catches(Bug::DoubtsItself, || Box::new(SelfAlive::default()));
}

#[test]
fn convergence_catches_a_list_that_differs() {
    catches(Bug::DiffersInItsList, || Box::new(Convergence::default()));
}

#[test]
fn member_data_catches_what_no_owner_published() {
    for bug in
        [Bug::MixesRevisions, Bug::InventsRevisions, Bug::ShowsDeletedData, Bug::TakesTooMuchData]
    {
        catches(bug, || Box::new(MemberDataSound::new(16 * 1_024)));
    }
}

#[test]
fn equal_data_catches_data_that_differs_or_should_be_gone() {
    catches(Bug::MissesData, || Box::new(EqualData::default()));
    catches(Bug::KeepsDataOfTheGone, || Box::new(EqualData::default()));
}

#[test]
fn messages_sound_catches_what_comes_twice_or_late_or_of_nobody_or_after_a_silent_gap() {
    let bugs = [
        Bug::RepeatsMessages,
        Bug::SwapsMessages,
        Bug::ForgesMessages,
        Bug::LosesMessages,
        Bug::MissesTooMany,
    ];
    for bug in bugs {
        catches(bug, || Box::new(MessagesSound::default()));
    }
    assert_eq!(violations(Bug::MissesMessages, Box::new(MessagesSound::default())), []);
}

#[test]
fn messages_complete_catches_what_neither_came_nor_was_reported() {
    catches(Bug::LosesMessages, || Box::new(MessagesComplete::new(9, None)));
    catches(Bug::MissesMessages, || Box::new(MessagesComplete::new(0, None)));
    assert_eq!(violations(Bug::MissesMessages, Box::new(MessagesComplete::new(9, None))), []);
    let prompt = violations(Bug::None, Box::new(MessagesComplete::new(0, Some(millis(0)))));
    assert!(!prompt.is_empty());
}

#[test]
fn messages_complete_excuses_what_is_missed_with_a_report_in_a_flood() {
    let keeping = |max_kept| {
        let mut oracle = MessagesComplete::new(0, None);
        oracle.max_kept = max_kept;
        Box::new(oracle)
    };
    // Three of the messages are published within seconds, with 50 bytes each and some beside them.
    let flood = 3 * (50 + 512);
    assert_eq!(violations(Bug::MissesMessages, keeping(flood - 1)), []);
    assert!(!violations(Bug::MissesMessages, keeping(flood)).is_empty());
    assert!(!violations(Bug::LosesMessages, keeping(0)).is_empty(), "a report is due all the same");
}

#[test]
fn limits_catches_a_flood() {
    catches(Bug::Floods, || Box::new(Limits::new(64, 64, 20.0)));
}

#[test]
fn limits_divides_messages_among_all_that_sent_them() {
    let (seed, nodes, knowledge) = (1, 16, Knowledge::Everyone);
    let network = NetworkConfig::lan();
    let setup = Setup { seed, nodes, knowledge, network, firewalled_every: 0 };
    let mut run = Simulation::new(setup, ProtocolKind::Phin.make(seed, nodes));
    let mut limits = Limits::new(64, 64, 5_000.0);
    limits.max_mean_messages = 20.0;
    run.watch(Box::new(limits));
    let most = (1..16).map(NodeId).collect();
    run.schedule(Instant::START + secs(28), Fault::CrashProcess(most));
    while run.now() < Instant::START + secs(31) {
        run.run_until(run.now() + secs(1));
        run.inspect();
    }
    assert_eq!(run.finish(), []);
}

#[test]
fn limits_catches_a_hoard() {
    catches(Bug::Hoards, || Box::new(Limits::new(64, 64, 20.0)));
}

/// The findings of an oracle on an office that the first member holds until it is stopped or cut off from 25 s to 35
/// s.
fn office_violations(bug: Bug, is_cut: bool, oracle: Box<dyn Oracle>) -> Vec<Violation> {
    let (seed, nodes, knowledge) = (1, 5, Knowledge::Everyone);
    let network = NetworkConfig::lan();
    let setup = Setup { seed, nodes, knowledge, network, firewalled_every: 0 };
    let sound = ProtocolKind::Phin.make(seed, nodes);
    let mut run = Simulation::new(setup, Arc::new(Faulty { bug, sound }));
    run.watch(oracle);
    let stand = Write::Stand { office: "a".to_owned(), filter: String::new(), expected: Some(5) };
    let stand = |who| Fault::Write(who, stand.clone());
    run.schedule(Instant::START + secs(1), stand(vec![NodeId(0)]));
    run.schedule(Instant::START + secs(8), stand((1..5).map(NodeId).collect()));
    let (nodes, lasts) = (vec![NodeId(0)], secs(10));
    let others = (1..5).map(NodeId).collect();
    let fault = match is_cut {
        true => Fault::partition(RuleId(1), &[nodes, others], 5, lasts),
        false => Fault::Pause { nodes, scope: Scope::Process, lasts },
    };
    run.schedule(Instant::START + secs(25), fault);
    while run.now() < Instant::START + secs(60) {
        run.run_until(run.now() + secs(1));
        run.inspect();
    }
    run.finish()
}

#[test]
fn offices_sound_catches_two_holders_low_terms_no_majority_and_a_late_loss() {
    let sound = || Box::new(OfficesSound::default());
    for (bug, is_cut, expected) in [
        (Bug::TakesOffice, false, "was granted by 0 voters, not 3"),
        (Bug::LowersTerms, false, "comes after"),
        (Bug::KeepsOffice, true, "meets term"),
        (Bug::LosesOfficeLate, false, "has ended, which was not reported first"),
    ] {
        let found = office_violations(bug, is_cut, sound());
        assert!(found.iter().any(|found| found.text.contains(expected)), "{bug:?}: {found:?}");
    }
    for is_cut in [false, true] {
        assert_eq!(office_violations(Bug::None, is_cut, sound()), []);
    }
}

/// Two parts of a cluster, in each of which a member stands for an office, and one voter that reaches both and grants each
/// what it asks for.
fn with_a_voter_for_both(parts: [std::ops::Range<u32>; 2]) -> Vec<Violation> {
    let (seed, nodes, knowledge) = (1, parts[1].end, Knowledge::Everyone);
    let network = NetworkConfig::lan();
    let setup = Setup { seed, nodes, knowledge, network, firewalled_every: 0 };
    let mut run = Simulation::new(setup, ProtocolKind::Phin.make(seed, nodes));
    run.watch(Box::new(OfficesSound::default()));
    let expected = u16::try_from(nodes).ok();
    let stand = Write::Stand { office: "a".to_owned(), filter: String::new(), expected };
    let candidates = parts.iter().map(|part| NodeId(part.start)).collect();
    run.schedule(Instant::START + secs(30), Fault::Write(candidates, stand));
    let (about, every, lasts) = (Vec::new(), millis(50), secs(60));
    let lies = Lies { lie: Lie::OfficeVote, liars: vec![], about, every, count: 0, lasts };
    run.schedule(Instant::START + secs(5), Fault::Lie(vec![NodeId(0)], lies));
    let parts = parts.map(|part| part.map(NodeId).collect::<Vec<_>>());
    run.schedule(Instant::START + secs(20), Fault::partition(RuleId(1), &parts, nodes, secs(30)));
    run.run_until(Instant::START + secs(60));
    run.finish()
}

/// Any two majorities of an odd number of voters may share one voter only, those of an even number share two.
#[test]
fn one_voter_for_both_elects_two_holders_only_among_an_odd_number_in_two_halves() {
    let found = with_a_voter_for_both([1..3, 3..5]);
    assert!(found.iter().any(|found| found.text.contains("meets term")), "{found:?}");
    assert_eq!(with_a_voter_for_both([1..2, 2..5]), []);
    assert_eq!(with_a_voter_for_both([1..3, 3..6]), []);
}

#[test]
fn offices_held_catches_an_office_that_stays_vacant() {
    let held = || Box::new(OfficesHeld::new(Instant::START + secs(3)));
    assert!(!office_violations(Bug::DeclinesOffice, false, held()).is_empty());
    assert_eq!(office_violations(Bug::None, false, held()), []);
}
