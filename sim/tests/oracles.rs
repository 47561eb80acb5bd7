//! Each oracle catches a bug that was planted for it, and finds nothing where there is none.

use std::sync::Arc;

use phin_sim::{
    Action, Belief, Fault, Generation, Incarnation, Input, Instant, Knowledge, Line, NetworkConfig,
    NodeId, Notice, Process, Protocol, ProtocolKind, Setup, Simulation, Start, Transport, Usage,
    Version, millis,
    oracle::{
        Accuracy, Completeness, Convergence, Incarnations, Limits, NoReturn, Oracle, SelfAlive,
        Suspicions, Violation, WronglyDead,
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
        Box::new(FaultyProcess { bug, me: start.node, has_told: false, sound })
    }
}

impl FaultyProcess {
    fn tell(actions: &mut Vec<Action>, subject: NodeId, belief: Belief, incarnation: u32) {
        let version = Version { generation: Generation(1), incarnation: Incarnation(incarnation) };
        actions.push(Action::Notice(Notice { subject, belief, version }));
    }
}

impl Process for FaultyProcess {
    fn handle(&mut self, now: Instant, input: Input<'_>, actions: &mut Vec<Action>) {
        self.sound.handle(now, input, actions);
        let is_time = now >= Instant::START + secs(10) && !self.has_told;
        self.has_told |= is_time;
        match self.bug {
            Bug::None | Bug::DiffersInItsList | Bug::Hoards | Bug::HoldsTheLivingForDead => {}
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
fn limits_catches_a_flood() {
    catches(Bug::Floods, || Box::new(Limits::new(64, 64, 20.0)));
}

#[test]
fn limits_catches_a_hoard() {
    catches(Bug::Hoards, || Box::new(Limits::new(64, 64, 20.0)));
}
