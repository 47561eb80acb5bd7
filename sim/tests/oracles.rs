//! Each oracle catches a bug that was planted for it, and finds nothing where there is none.

use std::sync::Arc;

use phin_sim::{
    Action, Belief, DataLine, Fault, Generation, Incarnation, Input, Instant, Knowledge, Line,
    MessageLine, MessageNews, NetworkConfig, NodeId, Notice, Process, Protocol, ProtocolKind,
    Setup, Simulation, Start, Transport, Usage, Version, Write, millis,
    oracle::{
        Accuracy, Completeness, Convergence, EqualData, Incarnations, Limits, MemberDataSound,
        MessagesComplete, MessagesSound, NoReturn, Oracle, SelfAlive, Suspicions, Violation,
        WronglyDead,
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
        let bug = if start.node == NodeId(0) { self.bug } else { Bug::None };
        let sound = self.sound.start(start);
        let (me, has_told, first_data, held) = (start.node, false, None, None);
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
            Bug::RepeatsMessages
            | Bug::SwapsMessages
            | Bug::ForgesMessages
            | Bug::LosesMessages
            | Bug::MissesMessages
            | Bug::MissesTooMany => self.change_messages(actions),
            Bug::SuspectsOften if is_time => {
                (0..4).for_each(|_| Self::tell(actions, NodeId(5), Belief::Suspect, 0));
            }
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
fn limits_catches_a_flood() {
    catches(Bug::Floods, || Box::new(Limits::new(64, 64, 20.0)));
}

#[test]
fn limits_catches_a_hoard() {
    catches(Bug::Hoards, || Box::new(Limits::new(64, 64, 20.0)));
}
