//! What goes wrong in a run, and what members do by their own choice.

use std::time::Duration;

use rand::RngExt;

use crate::{
    connection::CloseReason,
    lie::Lies,
    network::{Hosts, Rule, RuleId},
    node::{Action, Generation, Input, Instant, Knowledge, NodeId, Peer, secs},
    queue::Class,
    simulation::{Event, HostState, Simulation},
    truth::Life,
};

/// Something that happens at one moment; what lasts ends by itself.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The processes are killed; their hosts live.
    CrashProcess(Vec<NodeId>),
    /// The hosts go down, with everything on them.
    CrashHost(Vec<NodeId>),
    /// Whatever processes run on the hosts of the members are killed; the hosts live.
    CrashOccupant(Vec<NodeId>),
    /// The processes are started, after being killed if they run; hosts that are down come up.
    Restart {
        /// Whose.
        nodes: Vec<NodeId>,
        /// What they find of themselves.
        data: Data,
    },
    /// The processes stop and go on later: everything queued arrives then.
    Pause {
        /// Whose.
        nodes: Vec<NodeId>,
        /// Whether their hosts stop too.
        scope: Scope,
        /// For how long.
        lasts: Duration,
    },
    /// Lifeguard's slow members: what they send and receive waits, again and again, while their timers run.
    Slow {
        /// Who.
        nodes: Vec<NodeId>,
        /// For how long they are blocked.
        blocked: Duration,
        /// For how long they are not, in between.
        open: Duration,
        /// Until when.
        until: Instant,
    },
    /// The processes stall for up to so long, about once a second, as where CPU time is short. It excuses nothing.
    Starve {
        /// Whose.
        nodes: Vec<NodeId>,
        /// For how long at most; a tenth of it at least.
        stall: Duration,
        /// Until when.
        until: Instant,
    },
    /// Packets are lost by rules.
    Lose {
        /// To lift them.
        id: RuleId,
        /// Which.
        rules: Vec<Rule>,
        /// Whose silence that excuses.
        troubled: Vec<NodeId>,
        /// By host, which side of a partition it is on; empty where there is none.
        side_of: Vec<u16>,
        /// For how long.
        lasts: Duration,
    },
    /// Members are cut off from all but a few of their observers. It excuses nothing.
    OnePath {
        /// To lift it.
        id: RuleId,
        /// Who.
        nodes: Vec<NodeId>,
        /// What is left.
        cut: OnePath,
        /// For how long.
        lasts: Duration,
    },
    /// The rules are lifted.
    Lift(RuleId, Vec<NodeId>),
    /// Everywhere this share of packets is lost from now on.
    Loss(f64),
    /// From now on no datagram has a longer payload.
    MaxDatagram(usize),
    /// The clocks run faster by so many millionths, or slower.
    Drift(Vec<NodeId>, i32),
    /// The clocks skip ahead.
    Jump(Vec<NodeId>, Duration),
    /// The members leave by their own choice.
    Leave(Vec<NodeId>),
    /// A member is asked to forget others.
    Forget {
        /// Who is asked.
        by: Vec<NodeId>,
        /// Whom it is to forget.
        nodes: Vec<NodeId>,
    },
    /// Members that left come back.
    Rejoin {
        /// Who.
        nodes: Vec<NodeId>,
        /// Through whom.
        seeds: Vec<NodeId>,
    },
    /// The processes are started anew on new hosts, with their data; the old hosts stay without a process.
    Move(Vec<NodeId>),
    /// The hosts get another address while their processes run, and these notice so much later.
    Readdress(Vec<NodeId>, Duration),
    /// A process has noticed its new address.
    Notice(NodeId),
    /// From now on, a gateway gives an address of its own to what the members dial; theirs stays reachable.
    Map(Vec<NodeId>),
    /// The gateway forgets these addresses, and gives others from now on.
    LoseFlows {
        /// Whose.
        nodes: Vec<NodeId>,
        /// Whether it refuses what comes for the forgotten ones, or says nothing.
        refuses: bool,
    },
    /// The processes end in order: connections are closed.
    Stop(Vec<NodeId>),
    /// New members start, each on a new host.
    Join {
        /// How many.
        count: u32,
        /// Through whom.
        seeds: Vec<NodeId>,
    },
    /// The members lie.
    Lie(Vec<NodeId>, Lies),
    /// Members look for seeds until they are not alone.
    Seek {
        /// Who.
        nodes: Vec<NodeId>,
        /// Where.
        seeds: Vec<NodeId>,
        /// How long until the next try.
        delay: Duration,
    },
    /// What was paused goes on.
    Resume(Vec<NodeId>, Scope),
    /// A process stalls, and will stall again.
    Stall(NodeId, Duration, Instant),
    /// A process that stalled goes on.
    Unstall(NodeId),
    /// A slow member is blocked anew.
    Block(NodeId, Duration, Duration, Instant),
}

/// What of a member stops.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scope {
    /// Its process; the kernel goes on.
    Process,
    /// The whole host.
    Host,
}

/// What a process finds of an earlier run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Data {
    /// Its key and generation.
    Kept,
    /// Nothing: it is a new member.
    Lost,
    /// Its key, and a generation from long ago.
    Old,
}

impl Fault {
    /// Members of different groups cannot hear each other for a while; those in no group hear everybody.
    pub fn partition(id: RuleId, groups: &[Vec<NodeId>], hosts: u32, lasts: Duration) -> Self {
        let mut side_of = vec![0; hosts as usize];
        let mut rules = Vec::new();
        for (side, group) in (1..).zip(groups) {
            group.iter().for_each(|node| side_of[node.index()] = side);
        }
        for group in groups {
            let mut from = vec![false; hosts as usize];
            let mut to = vec![false; hosts as usize];
            group.iter().for_each(|node| from[node.index()] = true);
            let others = groups.iter().filter(|other| *other != group).flatten();
            others.for_each(|node| to[node.index()] = true);
            let (from, to) = (Hosts::Only(from), Hosts::Only(to));
            rules.push(Rule { from, to, only_datagrams: false, loss: 1.0 });
        }
        Self::Lose { id, rules, troubled: Vec::new(), side_of, lasts }
    }
}

/// What [`Fault::OnePath`] leaves of the paths of a member.
#[derive(Clone, Copy, Debug)]
pub struct OnePath {
    /// To and from how many of its observers.
    pub paths: u32,
    /// Whether it receives from those alone.
    pub hears: bool,
    /// Whether what it sends reaches those alone.
    pub is_heard: bool,
}

impl Simulation {
    pub(crate) fn apply(&mut self, fault: Fault) {
        match fault {
            Fault::CrashProcess(nodes) => nodes.into_iter().for_each(|node| self.crash(node)),
            Fault::CrashOccupant(nodes) => {
                nodes.into_iter().for_each(|node| self.crash_occupant(node));
            }
            Fault::CrashHost(nodes) => {
                for node in nodes {
                    let host = self.nodes[node.index()].host;
                    self.hosts[host.index()].state = HostState::Down;
                    self.crash_occupant(node);
                }
            }
            Fault::Restart { nodes, data } => {
                nodes.iter().for_each(|&node| self.crash_occupant(node));
                let seeds: Vec<_> = (0..SEEDS).map(NodeId).collect();
                for node in nodes {
                    self.restart(node, data, &seeds);
                }
            }
            Fault::Pause { nodes, scope, lasts } => self.pause(nodes, scope, lasts),
            Fault::Resume(nodes, scope) => self.resume(nodes, scope),
            Fault::Slow { nodes, blocked, open, until } => {
                for node in nodes {
                    self.truth.begin_trouble(node);
                    self.block(node, blocked, open, until);
                }
            }
            Fault::Block(node, blocked, open, until) => self.block(node, blocked, open, until),
            Fault::Starve { nodes, stall, until } => {
                for node in nodes {
                    let first = secs(1).mul_f64(self.rng.random());
                    self.later(first, Fault::Stall(node, stall, until));
                }
            }
            Fault::Stall(node, stall, until) => self.stall(node, stall, until),
            Fault::Unstall(node) => self.go_on(node, Scope::Process),
            Fault::Lose { id, rules, troubled, side_of, lasts } => {
                self.say(format_args!("packets are lost: {} rules", rules.len()));
                troubled.iter().for_each(|&node| self.truth.begin_trouble(node));
                if !side_of.is_empty() {
                    self.truth.separate(id.0, side_of);
                }
                self.network.add(id, rules);
                self.later(lasts, Fault::Lift(id, troubled));
            }
            Fault::OnePath { id, nodes, cut, lasts } => {
                let rules: Vec<_> =
                    nodes.into_iter().flat_map(|node| self.one_path(node, cut)).collect();
                self.network.add(id, rules);
                self.later(lasts, Fault::Lift(id, Vec::new()));
            }
            Fault::Lift(id, troubled) => {
                self.say(format_args!("packets pass again"));
                self.network.lift(id);
                self.truth.unite(id.0, self.now);
                troubled.iter().for_each(|&node| self.truth.end_trouble(node, self.now));
            }
            Fault::Loss(loss) => self.network.config.loss = loss,
            Fault::MaxDatagram(bytes) => self.network.config.max_datagram = bytes,
            Fault::Drift(nodes, drift) => {
                let now = self.now;
                self.change_clocks(nodes, |node| node.clock.set_drift(now, drift));
            }
            Fault::Jump(nodes, by) => {
                let now = self.now;
                self.change_clocks(nodes, |node| node.clock.jump(now, by));
            }
            Fault::Leave(nodes) => nodes.into_iter().for_each(|node| self.leave(node)),
            Fault::Forget { by, nodes } => {
                for by in by {
                    for &node in &nodes {
                        self.say(format_args!("{by} is asked to forget {node}"));
                        self.input(by, Input::Forget(node));
                    }
                }
            }
            Fault::Rejoin { nodes, seeds } => {
                for node in nodes {
                    self.truth.end_life(node, Life::Running, self.now);
                    self.ledger.record_return(node);
                    let seeds = seeds.iter().filter_map(|&seed| self.peer(seed));
                    let seeds: Vec<_> = seeds.filter(|seed| seed.node != node).collect();
                    self.input(node, Input::Join(&seeds));
                }
            }
            Fault::Move(nodes) => {
                for node in nodes {
                    self.crash(node);
                    let zone = self.hosts[self.nodes[node.index()].host.index()].zone;
                    self.nodes[node.index()].host = self.add_host(zone, true);
                    self.restart(node, Data::Kept, &(0..SEEDS).map(NodeId).collect::<Vec<_>>());
                }
            }
            Fault::Readdress(nodes, noticed_after) => {
                for node in nodes {
                    self.readdress(node);
                    self.later(noticed_after, Fault::Notice(node));
                }
            }
            Fault::Notice(node) => {
                if !self.is_stopped(node) {
                    self.close_where_it_was(node);
                    self.input(node, Input::Moved(self.nodes[node.index()].host));
                }
            }
            Fault::Map(nodes) => nodes.into_iter().for_each(|node| self.map(node)),
            Fault::LoseFlows { nodes, refuses } => {
                for node in nodes {
                    let Some(mapped) = self.nodes[node.index()].mapped else {
                        continue;
                    };
                    self.say(format_args!("the gateway of {node} forgets its flows"));
                    self.hosts[mapped.index()].forwards_to = None;
                    if !refuses {
                        self.hosts[mapped.index()].state = HostState::Down;
                    }
                    self.map(node);
                }
            }
            Fault::Stop(nodes) => nodes.into_iter().for_each(|node| self.stop(node)),
            Fault::Join { count, seeds } => {
                for _ in 0..count {
                    let zone = self.hosts.len() % self.network.config.latency.len();
                    let host = self.add_host(zone, true);
                    let node = self.add_node(host);
                    self.start_process(node, Generation(1), Knowledge::Itself);
                    self.seek(node, seeds.clone(), MIN_DELAY);
                }
            }
            Fault::Lie(nodes, lies) => nodes.into_iter().for_each(|node| self.lie(node, &lies)),
            Fault::Seek { nodes, seeds, delay } => {
                nodes.into_iter().for_each(|node| self.seek(node, seeds.clone(), delay));
            }
        }
    }

    /// The rules that leave a member only a few of its observers, by the members that run.
    fn one_path(&mut self, node: NodeId, cut: OnePath) -> Vec<Rule> {
        let running: Vec<_> = self.truth.running().collect();
        let mut left = self.protocol.observers(&running, node);
        left.truncate(cut.paths as usize);
        let names: Vec<_> = left.iter().map(ToString::to_string).collect();
        self.say(format_args!("{node} keeps its paths to {}", names.join(", ")));
        let hosts = |nodes: &[NodeId]| {
            let mut set = vec![false; self.hosts.len()];
            nodes.iter().for_each(|node| set[self.nodes[node.index()].host.index()] = true);
            set
        };
        let me = Hosts::Only(hosts(&[node]));
        let others = Hosts::Except(hosts(&[&left[..], &[node]].concat()));
        let rule = |from: &Hosts, to: &Hosts| {
            let (from, to) = (from.clone(), to.clone());
            Rule { from, to, only_datagrams: false, loss: 1.0 }
        };
        let received = cut.hears.then(|| rule(&others, &me));
        let sent = cut.is_heard.then(|| rule(&me, &others));
        received.into_iter().chain(sent).collect()
    }

    /// What a host had as its address reaches nobody any more.
    fn readdress(&mut self, id: NodeId) {
        let old = self.nodes[id.index()].host;
        if self.hosts[old.index()].occupant != Some(id) {
            return;
        }
        self.say(format_args!("{id} gets another address"));
        let new = self.add_host(self.hosts[old.index()].zone, self.hosts[old.index()].answers);
        self.hosts[new.index()].occupant = Some(id);
        self.hosts[new.index()].pauses = self.hosts[old.index()].pauses;
        self.hosts[old.index()].occupant = None;
        self.hosts[old.index()].state = HostState::Down;
        self.nodes[id.index()].host = new;
        self.truth.set_host(id, new);
        if let Some(mapped) = self.nodes[id.index()].mapped {
            self.hosts[mapped.index()].forwards_to = Some(new);
        }
    }

    fn map(&mut self, id: NodeId) {
        let host = self.nodes[id.index()].host;
        let mapped = self.add_host(self.hosts[host.index()].zone, true);
        self.hosts[mapped.index()].forwards_to = Some(host);
        self.nodes[id.index()].mapped = Some(mapped);
    }

    fn lie(&mut self, id: NodeId, lies: &Lies) {
        let node = &mut self.nodes[id.index()];
        let Some(process) = node.process.take() else {
            return;
        };
        let now = node.clock.local(self.now);
        node.process = Some(self.protocol.lie(process, id, lies.clone(), now));
        self.truth.record_liar(id);
        self.say(format_args!("{id} lies: {:?}", lies.lie));
        self.forget_wake(id);
        self.reschedule(id);
    }

    fn later(&mut self, delay: Duration, fault: Fault) {
        self.schedule(self.now + delay, fault);
    }

    /// The process ends without a word.
    fn crash(&mut self, id: NodeId) {
        if self.nodes[id.index()].process.is_none() {
            return;
        }
        self.say(format_args!("{id} crashes"));
        let was_running = self.truth.is_running(id);
        self.remove_process(id);
        self.truth.end_life(id, Life::Crashed, self.now);
        if was_running {
            self.ledger.record_death(&self.truth, self.now, id);
        }
    }

    /// Whoever runs on the member's host ends: itself, or who took its place.
    fn crash_occupant(&mut self, id: NodeId) {
        let host = self.nodes[id.index()].host;
        let occupant = self.hosts[host.index()].occupant.unwrap_or(id);
        self.crash(occupant);
    }

    /// The process ends in order.
    fn stop(&mut self, id: NodeId) {
        let peers: Vec<_> = self.nodes[id.index()].connections.keys().copied().collect();
        for peer in peers {
            self.close(id, peer, CloseReason::Shutdown);
        }
        if self.truth.is_running(id) {
            self.crash(id);
        } else {
            self.remove_process(id);
        }
    }

    fn remove_process(&mut self, id: NodeId) {
        let node = &mut self.nodes[id.index()];
        node.process = None;
        node.pauses = 0;
        node.blocked_until = None;
        node.connections.clear();
        node.held.clear();
        node.unsent.clear();
        node.questions.clear();
        self.forget_wake(id);
        let host = self.nodes[id.index()].host;
        if self.hosts[host.index()].occupant == Some(id) {
            self.hosts[host.index()].occupant = None;
        }
    }

    fn restart(&mut self, id: NodeId, data: Data, seeds: &[NodeId]) {
        let host = self.nodes[id.index()].host;
        self.hosts[host.index()].state = HostState::Up;
        self.hosts[host.index()].pauses = 0;
        let last = self.nodes[id.index()].generation;
        let (id, generation) = match data {
            Data::Kept => (id, Generation(last.0 + 1)),
            Data::Old => (id, Generation(last.0.saturating_sub(2).max(1))),
            Data::Lost => (self.add_node(host), Generation(1)),
        };
        if data != Data::Lost {
            self.ledger.record_return(id);
        }
        self.start_process(id, generation, Knowledge::Itself);
        self.truth.set_former(id, last);
        self.seek(id, seeds.to_vec(), MIN_DELAY);
    }

    fn leave(&mut self, id: NodeId) {
        if self.is_stopped(id) {
            return;
        }
        self.say(format_args!("{id} leaves"));
        self.truth.end_life(id, Life::Left, self.now);
        self.ledger.record_death(&self.truth, self.now, id);
        self.input(id, Input::Leave);
    }

    /// Asks the seeds to be let in: again and again while alone, more and more rarely while a seed is not known.
    fn seek(&mut self, id: NodeId, seeds: Vec<NodeId>, delay: Duration) {
        let Some(process) = &self.nodes[id.index()].process else {
            return;
        };
        let live = process.live_len();
        let is_alone = live < 2;
        let peers: Vec<Peer> = (seeds.iter())
            .filter_map(|&seed| {
                let host = self.nodes.get(seed.index())?.host;
                let node = self.hosts[host.index()].occupant?;
                let is_known = process.belief(node).is_some_and(|belief| belief.is_live());
                (node != id && (is_alone || !is_known)).then_some(Peer { node, host })
            })
            .collect();
        if !peers.is_empty() && !self.is_stopped(id) && self.truth.is_running(id) {
            self.input(id, Input::Join(&peers));
        }
        let max_delay = secs(live as u64).clamp(MAX_DELAY, MAX_DELAY_OF_MANY);
        let next = (delay * 2).min(max_delay);
        self.later(delay, Fault::Seek { nodes: vec![id], seeds, delay: next });
    }

    fn pause(&mut self, nodes: Vec<NodeId>, scope: Scope, lasts: Duration) {
        for &id in &nodes {
            self.say(format_args!("{id} is paused"));
            self.truth.begin_trouble(id);
            let host = self.nodes[id.index()].host;
            match scope {
                Scope::Process => self.nodes[id.index()].pauses += 1,
                Scope::Host => self.hosts[host.index()].pauses += 1,
            }
        }
        self.later(lasts, Fault::Resume(nodes, scope));
    }

    /// Everything queued arrives, in order, then timers fire.
    fn resume(&mut self, nodes: Vec<NodeId>, scope: Scope) {
        for id in nodes {
            self.say(format_args!("{id} goes on"));
            self.truth.end_trouble(id, self.now);
            self.go_on(id, scope);
        }
    }

    fn go_on(&mut self, id: NodeId, scope: Scope) {
        let host = self.nodes[id.index()].host;
        let pauses = match scope {
            Scope::Process => &mut self.nodes[id.index()].pauses,
            Scope::Host => &mut self.hosts[host.index()].pauses,
        };
        *pauses = pauses.saturating_sub(1);
        self.forget_wake(id);
        self.receive_held(id);
        self.reschedule(id);
    }

    /// Stops for a moment, and again about a second later.
    fn stall(&mut self, id: NodeId, stall: Duration, until: Instant) {
        if self.now >= until {
            return;
        }
        let lasts = stall.mul_f64(self.rng.random_range(0.1..=1.0));
        self.nodes[id.index()].pauses += 1;
        self.later(lasts, Fault::Unstall(id));
        let next = lasts + secs(1).mul_f64(self.rng.random_range(0.5..1.5));
        self.later(next, Fault::Stall(id, stall, until));
    }

    fn receive_held(&mut self, id: NodeId) {
        while self.nodes[id.index()].blocked_until.is_none()
            && !self.is_stopped(id)
            && let Some(packet) = self.nodes[id.index()].held.pop_front()
        {
            self.receive(id, packet);
        }
    }

    fn block(&mut self, id: NodeId, blocked: Duration, open: Duration, until: Instant) {
        if self.now >= until {
            self.truth.end_trouble(id, self.now);
            return;
        }
        let unblocked_at = self.now + blocked;
        if self.nodes[id.index()].process.is_some() {
            self.nodes[id.index()].blocked_until = Some(unblocked_at);
        }
        self.queue.push(unblocked_at, Class::Timer, Event::Unblock(id));
        self.schedule(unblocked_at + open, Fault::Block(id, blocked, open, until));
    }

    pub(crate) fn unblock(&mut self, id: NodeId) {
        let node = &mut self.nodes[id.index()];
        if node.blocked_until.is_none_or(|until| until > self.now) {
            return;
        }
        node.blocked_until = None;
        let unsent: Vec<Action> = std::mem::take(&mut node.unsent);
        for action in unsent {
            self.act(id, action);
        }
        self.receive_held(id);
    }

    fn change_clocks(
        &mut self,
        nodes: Vec<NodeId>,
        mut change: impl FnMut(&mut crate::simulation::Node),
    ) {
        for id in nodes {
            change(&mut self.nodes[id.index()]);
            self.forget_wake(id);
            self.reschedule(id);
        }
    }
}

/// The first members are every member's seeds.
const SEEDS: u32 = 3;
/// As phin's: tries follow each other at this delay, doubled each time up to the longest, which is a second for each live
/// member within these bounds.
const MIN_DELAY: Duration = Duration::from_millis(200);
const MAX_DELAY: Duration = Duration::from_secs(10);
const MAX_DELAY_OF_MANY: Duration = Duration::from_secs(60);
