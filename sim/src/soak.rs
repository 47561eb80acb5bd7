//! Random scenarios: a seed chooses the events, and the oracles decide whether the run is correct.

use std::time::Duration;

use phin_swim::SignedVotes;
use rand::{RngExt, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use crate::{
    lie::Lie,
    node::{NodeId, millis, secs},
    scenario::{
        ConfigSettings, DataAs, Event, Expect, Helpers, NetworkSettings, Repeated, Scenario, Share,
        Span, StartAs, TimedEvent, Who,
    },
};

/// Kinds of faults drawn by a separate generator, so that a seed's other events do not change.
///
/// They begin after the other events, because oracles could not separate the consequences. Each has its own
/// expectations, and excuses nothing.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, clap::ValueEnum)]
pub enum FaultKind {
    /// Members stall for up to half a second about once a second. No member may be declared dead.
    Starved,
    /// A member receives only from one or two of its observers, or is heard only by them. It may not be declared
    /// dead, nor declare others dead. With no such observer, it could not be distinguished from a dead one without
    /// pings by all members.
    OnePath,
    /// Members get other addresses while they run, and notice within half a second. No member may be declared dead.
    Moving,
    /// The gateway of some members forgets its flows, so the address that others use is not reachable. No member may be
    /// declared dead.
    Flows,
    /// A member lies, and another dies meanwhile: the death is known within 40 seconds, and no healthy member is missing from
    /// another's list for more than three seconds in all, or four if packets are lost.
    Liar,
    /// All but a few members die at once. The survivors must know within a minute.
    Mass,
}

impl FaultKind {
    /// All kinds.
    pub fn all() -> &'static [Self] {
        <Self as clap::ValueEnum>::value_variants()
    }
}

/// The scenario of a seed, without the kinds of events to avoid (`base`: all but the faults below; `data`: what applications
/// write; `messages`: what they publish; `offices`: what they stand for), and with some of these faults.
pub fn random_scenario(seed: u64, avoid: &[String], faults: &[FaultKind]) -> Scenario {
    let mut scenario = base_scenario(seed, avoid);
    let mut dice = Dice(ChaCha8Rng::seed_from_u64(seed ^ 0xfa17));
    let mut kinds = faults.to_vec();
    kinds.sort_unstable();
    kinds.dedup();
    // At most two, in this order: faults after a mass death would have little effect.
    while kinds.len() > 2 {
        kinds.remove(dice.0.random_range(0..kinds.len()));
    }
    if kinds.len() == 2 && dice.one_in(2) {
        kinds.remove(dice.0.random_range(0..2));
    }
    for kind in kinds {
        let begins = secs(if scenario.nodes > 1 { 15 } else { 5 });
        let at = scenario.last_fault().max(scenario.last_lie()).max(begins) + PAUSE;
        let events = dice.fault(kind, &scenario);
        // In a cluster that is too small, or has too few members left, some faults do not occur.
        let occurs = !events.is_empty();
        let timed = |(after, event)| TimedEvent { at: Span(at + after), event };
        scenario.event.extend(events.into_iter().map(timed));
        match kind {
            FaultKind::Mass if occurs => scenario.expect.known_within = Span(MASS_KNOWN_WITHIN),
            FaultKind::Liar if occurs => {
                scenario.expect.known_within = Span(KNOWN_DESPITE_LIES);
                let is_lossy = scenario.network.loss.0 > 0.0;
                let bound = if is_lossy { WRONGLY_DEAD_FOR_IF_LOSSY } else { WRONGLY_DEAD_FOR };
                scenario.expect.wrongly_dead_for = Some(Span(bound));
            }
            FaultKind::Starved
            | FaultKind::OnePath
            | FaultKind::Moving
            | FaultKind::Flows
            | FaultKind::Mass
            | FaultKind::Liar => {}
        }
    }
    let over = scenario.last_fault().max(scenario.last_lie());
    scenario.lasts = Span(over.max(scenario.lasts.0.saturating_sub(CALM)) + CALM);
    let mut dice = Dice(ChaCha8Rng::seed_from_u64(seed ^ 0xda7a));
    let writes = dice.writes(&scenario);
    if !avoid.iter().any(|avoided| avoided == "data") {
        scenario.event.extend(writes);
    }
    let mut dice = Dice(ChaCha8Rng::seed_from_u64(seed ^ 0x3e55a6e));
    let messages = dice.messages(&scenario);
    if !avoid.iter().any(|avoided| avoided == "messages") {
        scenario.expect.max_mean_messages += most_for_bursts(&messages, scenario.nodes);
        scenario.event.extend(messages);
    }
    let mut dice = Dice(ChaCha8Rng::seed_from_u64(seed ^ 0x0ff1ce));
    let offices = dice.offices(&scenario);
    if !avoid.iter().any(|avoided| avoided == "offices") {
        scenario.event.extend(offices);
    }
    scenario
}

/// The same scenario with this mode of signed votes. If they are required, observers of the liar's subject lie as well,
/// fewer than a majority: no living member may be declared dead at any moment, and the death is known within 15 s.
pub fn random_signed_scenario(
    seed: u64,
    avoid: &[String],
    faults: &[FaultKind],
    mode: SignedVotes,
) -> Scenario {
    let mut scenario = random_scenario(seed, avoid, faults);
    scenario.config.signed_votes = Some(mode);
    let mut dice = Dice(ChaCha8Rng::seed_from_u64(seed ^ 0x5197ed));
    if mode == SignedVotes::Require {
        dice.conspire(&mut scenario);
    }
    scenario
}

/// How many more messages a second members may send if all bursts of publications fall into one interval. Publications of
/// one moment spread before there is a tree: each is pushed to all branches, and nearly all of them prune it.
fn most_for_bursts(messages: &[TimedEvent], nodes: u32) -> f64 {
    let bursts: u64 = messages.iter().map(|timed| timed.event.published_at_once(nodes)).sum();
    let over = Expect::default().messages_over.0.as_secs_f64();
    bursts as f64 * MESSAGES_PER_PUBLICATION / over
}

fn base_scenario(seed: u64, avoid: &[String]) -> Scenario {
    let mut dice = Dice(ChaCha8Rng::seed_from_u64(seed ^ 0x50a4));
    let nodes = dice.nodes();
    let mut event: Vec<TimedEvent> = Vec::new();
    let begins = if nodes > 1 { 15 } else { 5 };
    for _ in 0..dice.0.random_range(1..=6_u32) {
        let at = Span(secs(begins) + millis(dice.0.random_range(0..60_000)));
        let (name, happens) = dice.event(nodes);
        if !avoid.iter().any(|avoided| avoided == name || avoided == "base") {
            event.push(TimedEvent { at, event: happens });
        }
    }
    event.sort_by_key(|timed| timed.at);
    let mut scenario = Scenario {
        about: format!("The random scenario of seed {seed}."),
        covers: Vec::new(),
        needs: None,
        seed,
        runs: 1,
        nodes,
        protocol: "phin".to_owned(),
        start: if dice.one_in(4) { StartAs::Alone } else { StartAs::Together },
        network: dice.network(),
        config: ConfigSettings::default(),
        firewalled_every: *dice.one_of(&[0, 0, 1, 2, 5]),
        lasts: Span::default(),
        event,
        expect: Expect {
            grace: Span(secs(15)),
            known_within: Span(CALM),
            max_connections: 512,
            max_messages: 5_000.0,
            max_mean_messages: 1_000.0,
            ..Expect::default()
        },
    };
    scenario.lasts = Span(scenario.last_fault().max(secs(begins)) + CALM);
    scenario
}

struct Dice(ChaCha8Rng);

impl Dice {
    fn one_in(&mut self, chances: u32) -> bool {
        self.0.random_range(0..chances) == 0
    }

    fn one_of<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.0.random_range(0..choices.len())]
    }

    fn nodes(&mut self) -> u32 {
        match self.0.random_range(0..10) {
            0 => self.0.random_range(1..=3),
            1..=7 => self.0.random_range(4..=40),
            _ => self.0.random_range(41..=120),
        }
    }

    fn network(&mut self) -> NetworkSettings {
        let mut network = NetworkSettings::default();
        if self.one_in(3) {
            network.loss = Share(*self.one_of(&[0.01, 0.05, 0.1]));
        }
        if self.one_in(4) {
            network.duplicate = Share(0.05);
            network.reorder = Share(0.1);
        }
        network
    }

    /// Draws some of the members: at least one, and at most one in `share`.
    fn some(&mut self, nodes: u32, share: u32) -> Vec<u32> {
        let mut all: Vec<_> = (0..nodes).collect();
        all.shuffle(&mut self.0);
        let most = (nodes / share).max(1);
        all.truncate(self.0.random_range(1..=most) as usize);
        all
    }

    fn who(&mut self, nodes: u32, share: u32) -> Who {
        Who::these(self.some(nodes, share))
    }

    fn lasts(&mut self, most: Duration) -> Span {
        Span(most.mul_f64(self.0.random::<f64>().max(0.02)))
    }

    /// The same without the first, which is the seed of all newcomers: a cluster without its seeds cannot be found.
    fn who_but_first(&mut self, nodes: u32, share: u32) -> Who {
        let mut some = self.some(nodes, share);
        some.retain(|&number| number != 0);
        Who::these(some)
    }

    fn event(&mut self, nodes: u32) -> (&'static str, Event) {
        let seeds = Who::these((0..nodes.min(3)).collect());
        match self.0.random_range(0..16) {
            0 => ("crash-process", Event::CrashProcess { who: self.who_but_first(nodes, 4) }),
            1 => ("crash-host", Event::CrashHost { who: self.who_but_first(nodes, 4) }),
            2 | 3 => {
                let data = *self.one_of(&DataAs::ALL);
                let (who, after) = (self.who_but_first(nodes, 3), self.lasts(secs(10)));
                ("restart", Event::Restart { who, data, after })
            }
            4 => ("pause", Event::Pause { who: self.who(nodes, 4), lasts: self.lasts(secs(30)) }),
            5 => {
                let (who, lasts) = (self.who(nodes, 4), self.lasts(secs(30)));
                ("pause-host", Event::PauseHost { who, lasts })
            }
            6 => {
                let (blocked, open) = (self.lasts(secs(5)), self.lasts(secs(1)));
                let (who, lasts) = (self.who(nodes, 4), self.lasts(secs(30)));
                ("slow", Event::Slow { who, blocked, open, lasts })
            }
            7 => {
                let (from, to) = (self.who(nodes, nodes), self.who(nodes, nodes));
                let only_datagrams = self.one_in(2);
                ("cut", Event::Cut { from, to, only_datagrams, lasts: self.lasts(secs(60)) })
            }
            8 => {
                let mut side = self.some(nodes, 2);
                side.sort_unstable();
                let other = (0..nodes).filter(|node| side.binary_search(node).is_err()).collect();
                let groups = vec![Who::these(side), Who::these(other)];
                ("partition", Event::Partition { groups, lasts: self.lasts(secs(60)) })
            }
            9 => ("deaf", Event::Deaf { who: self.who(nodes, 5), lasts: self.lasts(secs(30)) }),
            10 => ("mute", Event::Mute { who: self.who(nodes, 5), lasts: self.lasts(secs(30)) }),
            11 => {
                let millionths = self.0.random_range(-1_000..1_000);
                ("drift", Event::Drift { who: self.who(nodes, 3), millionths })
            }
            12 => ("jump", Event::Jump { who: self.who(nodes, 4), by: self.lasts(secs(10)) }),
            13 => ("leave", Event::Leave { who: self.who_but_first(nodes, 4) }),
            14 => ("join", Event::Join { count: self.0.random_range(1..=20), seeds }),
            _ => ("move", Event::Move { who: self.who(nodes, 5) }),
        }
    }
}

impl Dice {
    /// The events of a fault, for members that have run all the time; empty if there are too few.
    fn fault(&mut self, kind: FaultKind, scenario: &Scenario) -> Vec<(Duration, Event)> {
        let nodes = scenario.nodes;
        let mut running: Vec<_> = (0..nodes).collect();
        for timed in &scenario.event {
            if let Event::CrashProcess { who }
            | Event::CrashHost { who }
            | Event::Restart { who, .. }
            | Event::Move { who }
            | Event::Leave { who }
            | Event::Stop { who } = &timed.event
            {
                let gone = who.of(nodes);
                running.retain(|&number| !gone.contains(&NodeId(number)));
            }
        }
        running.shuffle(&mut self.0);
        let at_once = |event| (Duration::ZERO, event);
        match kind {
            FaultKind::Moving => {
                running.truncate(self.0.random_range(1..=(nodes as usize / 5).max(1)));
                let noticed_after = Span(millis(self.0.random_range(10..=500)));
                vec![at_once(Event::Readdress { who: Who::these(running), noticed_after })]
            }
            FaultKind::Flows => {
                // The first is the seed of newcomers.
                running.retain(|&number| number != 0);
                running.truncate(self.0.random_range(1..=(nodes as usize / 4).max(1)));
                let (who, refuses) = (Who::these(running), self.one_in(2));
                let restart = Event::Restart {
                    who: who.clone(),
                    data: DataAs::Kept,
                    after: Span(Duration::ZERO),
                };
                // From the restart on, they dial through the gateway.
                vec![
                    at_once(Event::Map { who: who.clone() }),
                    (millis(1), restart),
                    (secs(30), Event::LoseFlows { who, refuses }),
                ]
            }
            FaultKind::Starved => {
                let share = *self.one_of(&[1, 1, 2, 8]);
                let (who, stall) =
                    (self.who(nodes, share), Span(millis(self.0.random_range(50..=500))));
                let who = if share == 1 { Who::these((0..nodes).collect()) } else { who };
                vec![at_once(Event::Starve { who, stall, lasts: self.lasts(secs(60)) })]
            }
            FaultKind::OnePath => self.one_path(nodes, &running).into_iter().map(at_once).collect(),
            FaultKind::Liar => self.liar(nodes, &running),
            FaultKind::Mass => {
                let survivors = self.0.random_range(1..=8.min(nodes / 2).max(1)) as usize;
                // The first is the seed of newcomers.
                running.retain(|&number| number != 0);
                let spared = running.iter().copied().take(survivors - 1).chain([0]);
                let spared: Vec<_> = spared.collect();
                let victims = (0..nodes).filter(|number| !spared.contains(number)).collect();
                let who = Who::these(victims);
                let event = match self.one_in(2) {
                    true => Event::CrashHost { who },
                    false => Event::CrashProcess { who },
                };
                if nodes < 4 { Vec::new() } else { vec![at_once(event)] }
            }
        }
    }

    /// The first of these members lies about the second, or about all others in turn. If the lie hides a death, the
    /// second dies, else the third.
    fn liar(&mut self, nodes: u32, members: &[u32]) -> Vec<(Duration, Event)> {
        let lie = *self.one_of(&Lie::OF_MEMBERS);
        let (about_all, is_host) = (self.one_in(4), self.one_in(2));
        let lasts = Span(secs(self.0.random_range(40..=90)));
        let dies_after = millis(self.0.random_range(3_000..=10_000));
        let (&[liar, next, other, ..], true) = (members, nodes >= 5) else {
            return Vec::new();
        };
        let victim = if lie.hides() { next } else { other };
        let about = match about_all && !lie.hides() {
            true => Who::these((0..nodes).filter(|&node| node != liar && node != victim).collect()),
            false => Who::these(vec![next]),
        };
        let (who, every, count) = (Who::these(vec![liar]), Span(millis(50)), MADE_UP_MEMBERS);
        let lies = Event::Lie { who, lie, about, every, count, lasts, helpers: None };
        let who = Who::these(vec![victim]);
        let death = match is_host {
            true => Event::CrashHost { who },
            false => Event::CrashProcess { who },
        };
        vec![(Duration::ZERO, lies), (dies_after, death)]
    }

    /// Observers lie together, and some tell all lies of a kind at once.
    fn conspire(&mut self, scenario: &mut Scenario) {
        let (most, tells_all) = (*self.one_of(&[0, 1, 2, 3, 7]), self.one_in(3));
        let nodes = scenario.nodes;
        let all = &mut scenario.event;
        let place = all.iter().position(|timed| matches!(timed.event, Event::Lie { .. }));
        // The death follows the lie.
        let Some([TimedEvent { event: told, .. }, TimedEvent { event: death, .. }]) =
            place.and_then(|place| all.get_mut(place..place + 2))
        else {
            return;
        };
        let (Event::CrashHost { who } | Event::CrashProcess { who }) = death else {
            return;
        };
        let dies = who.of(nodes).first().map_or(u32::MAX, |node| node.0);
        if let Event::Lie { lie, helpers, .. } = told {
            *helpers = Some(Helpers { most, dies });
            if tells_all && lie.hides() {
                *lie = Lie::SignsOfLife;
            } else if tells_all && Lie::Accusations.tells(*lie) {
                *lie = Lie::Accusations;
            }
        }
        scenario.expect.wrongly_dead_for = Some(Span(Duration::ZERO));
        if scenario.expect.known_within == Span(KNOWN_DESPITE_LIES) {
            scenario.expect.known_within = Span(KNOWN_DESPITE_LIES_IF_SIGNED);
        }
    }

    /// Writes of applications meanwhile, in two of three runs: drawn last, so that a seed's other events stay what
    /// they are. They end before the calm at the end.
    fn writes(&mut self, scenario: &Scenario) -> Vec<TimedEvent> {
        if self.one_in(3) {
            return Vec::new();
        }
        let (nodes, time) = (scenario.nodes, scenario.lasts.0.saturating_sub(CALM));
        let writes = (0..self.0.random_range(1..=5_u32)).map(|_| {
            let at = time.mul_f64(self.0.random_range(0.1..0.9));
            let lasts = Span((time - at).mul_f64(self.0.random_range(0.2..0.9)));
            let share = *self.one_of(&[1, 1, 4, nodes]);
            let who =
                if share == 1 { Who::these((0..nodes).collect()) } else { self.who(nodes, share) };
            let (count, bytes) = (*self.one_of(&[1, 3, 16]), *self.one_of(&[0, 20, 200, 900]));
            // All members together write at most twenty times a second.
            let least = 50 * who.of(nodes).len() as u64;
            let every = Span(millis((*self.one_of(&[100, 1_000, 5_000])).max(least)));
            let event = match self.0.random_range(0..6) {
                0 => Event::Put { who, count, bytes, time_to_live: None },
                1 => Event::Put { who, count, bytes, time_to_live: Some(self.lasts(secs(20))) },
                2 => Event::Delete { who, count },
                3 => Event::Tag { who, every, lasts },
                _ => Event::Write { who, count, bytes, every, lasts },
            };
            TimedEvent { at: Span(at), event }
        });
        writes.collect()
    }

    /// Publications of applications, in two of three runs, drawn after everything else.
    fn messages(&mut self, scenario: &Scenario) -> Vec<TimedEvent> {
        if self.one_in(3) {
            return Vec::new();
        }
        let (nodes, time) = (scenario.nodes, scenario.lasts.0.saturating_sub(CALM));
        let messages = (0..self.0.random_range(1..=4_u32)).map(|_| {
            let at = time.mul_f64(self.0.random_range(0.05..0.9));
            let lasts = Span((time - at).mul_f64(self.0.random_range(0.2..0.9)));
            let share = *self.one_of(&[1, 4, nodes, nodes]);
            let who = self.who(nodes, share);
            // All members together publish at most ten times a second.
            let least = 100 * who.of(nodes).len() as u64;
            let every = Span(millis((*self.one_of(&[100, 300, 2_000])).max(least)));
            let repeated = match self.one_in(4) {
                true => Repeated { count: *self.one_of(&[1, 10, 60]), again: None },
                false => Repeated { count: 1, again: Some((every, lasts)) },
            };
            let (bytes, topics) = (*self.one_of(&[12, 200, 1_000, 20_000]), *self.one_of(&[1, 3]));
            let filter = if self.one_in(6) { "t!=none" } else { "" }.to_owned();
            let event = Event::Publish { who, bytes, repeated, topics, filter };
            TimedEvent { at: Span(at), event }
        });
        messages.collect()
    }

    /// The offices that members stand for, in two of three runs, drawn after everything else.
    fn offices(&mut self, scenario: &Scenario) -> Vec<TimedEvent> {
        let nodes = scenario.nodes;
        if self.one_in(3) || nodes > 64 {
            return Vec::new();
        }
        let time = scenario.lasts.0.saturating_sub(CALM);
        let mut events = Vec::new();
        for number in 0..self.0.random_range(1..=2_u32) {
            let office = format!("o{number}");
            let expected = (!self.one_in(5)).then_some(nodes as u16);
            let who = match self.one_in(2) {
                true => Who::these((0..nodes).collect()),
                false => self.who(nodes, 1),
            };
            let filter = String::new();
            let stand = Event::Stand { who, office: office.clone(), filter, expected };
            // Those that were started anew stand again, as applications do.
            let times = [0.02, 0.3, 0.6, 1.0].map(|share| time.mul_f64(share));
            events.extend(times.map(|at| TimedEvent { at: Span(at), event: stand.clone() }));
            for _ in 0..self.0.random_range(0..3_u32) {
                let (at, who) = (Span(self.lasts(time).0), self.who(nodes, 2));
                let event = match self.0.random_range(0..3) {
                    0 => Event::Resign { who, office: office.clone() },
                    1 => Event::Drain { who },
                    _ => Event::Serve { who },
                };
                events.push(TimedEvent { at, event });
            }
        }
        events
    }

    /// The first of these members receives only from one or two of its observers, or is heard only by them, or both.
    fn one_path(&mut self, nodes: u32, members: &[u32]) -> Vec<Event> {
        let paths = self.0.random_range(1..=2);
        let (hears, is_heard) = *self.one_of(&[(true, false), (false, true), (true, true)]);
        let lasts = Span(secs(self.0.random_range(20..=120)));
        let (Some(&member), true) = (members.first(), nodes >= 5) else {
            return Vec::new();
        };
        let who = Who::these(vec![member]);
        vec![Event::OnePath { who, paths, hears, is_heard, lasts }]
    }
}

/// The time within which survivors must know of a mass death.
const MASS_KNOWN_WITHIN: Duration = secs(60);
/// The time within which a death must be known despite lies.
const KNOWN_DESPITE_LIES: Duration = secs(40);
/// The same where votes must be signed, and fewer than a majority of the observers lie.
const KNOWN_DESPITE_LIES_IF_SIGNED: Duration = secs(15);
/// The total time for which a member may be missing from another's list because of a liar.
const WRONGLY_DEAD_FOR: Duration = secs(3);
/// The same if a refutation may be lost on each of its ways to a member. Lists are then compared, after two periods at the
/// latest while others change, and at the next ping.
const WRONGLY_DEAD_FOR_IF_LOSSY: Duration = secs(4);
/// The number of members that a liar makes up: more than most runs have.
const MADE_UP_MEMBERS: u32 = 60;
/// How many messages a member sends for each publication while there is no tree, at most: pushes, prunes and announcements.
const MESSAGES_PER_PUBLICATION: f64 = 10.0;
/// The quiet time before each fault with its own expectations.
const PAUSE: Duration = secs(20);
/// The time that a run continues after its last fault, within which all deaths must become known.
const CALM: Duration = secs(120);
