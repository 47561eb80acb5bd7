//! Applies faults and the actions that members take by choice.

use std::time::Duration;

use rand::RngExt;

use super::{Event, World};
use crate::{
    connection::CloseReason,
    fault::{Administration, Data, Fault, OnePath, Scope, Stalls, Write},
    lie::Lies,
    machines::{HostState, Node},
    network::{Hosts, Packets, Rule},
    node::{Action, Generation, HostId, Input, Instant, Knowledge, NodeId, Peer, Promises, secs},
    queue::Class,
    truth::Life,
};

impl World {
    pub(super) fn apply(&mut self, fault: Fault) {
        match fault {
            Fault::CrashProcess(nodes) => nodes.into_iter().for_each(|node| self.crash(node)),
            Fault::CrashOccupant(nodes) => {
                nodes.into_iter().for_each(|node| self.crash_occupant(node));
            }
            Fault::CrashHost(nodes) => {
                for node in nodes {
                    let host = self.machines[node].host;
                    self.machines[host].state = HostState::Down;
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
            Fault::Starve { nodes, stalls, until } => {
                for node in nodes {
                    let first = secs(1).mul_f64(self.rng.random());
                    self.later(first, Fault::Stall(node, stalls, until));
                }
            }
            Fault::Stall(node, stalls, until) => self.stall(node, stalls, until),
            Fault::Unstall(node) => self.go_on(node, Scope::Process),
            Fault::Lose { id, rules, troubled, side_of, lasts } => {
                self.say(format_args!("packets are lost: {} rules", rules.len()));
                let troubled = self.occupants(troubled);
                troubled.iter().for_each(|&node| self.truth.begin_trouble(node));
                let is_no_split = side_of.is_empty();
                if !side_of.is_empty() {
                    self.truth.separate(id.0, side_of, self.now);
                }
                if is_no_split {
                    self.record_cut_off(&rules);
                }
                self.network.add(id, rules);
                self.later(lasts, Fault::Lift(id, troubled));
            }
            Fault::OnePath { id, nodes, cut, lasts } => {
                nodes.iter().for_each(|&node| self.truth.cut_off(node));
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
                self.truth.record_jump(now);
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
            Fault::Administer { what, by, nodes } => {
                nodes.iter().for_each(|&node| self.administer(what, &by, node));
            }
            Fault::Rejoin { nodes, seeds } => {
                for node in nodes {
                    self.truth.end_life(node, Life::Running, self.now);
                    self.ledger.record_return(node);
                    let seeds = seeds.iter().filter_map(|&seed| self.machines.peer(seed));
                    let seeds: Vec<_> = seeds.filter(|seed| seed.node != node).collect();
                    self.input(node, Input::Join(&seeds));
                }
            }
            Fault::Move(nodes) => {
                for node in nodes {
                    self.crash(node);
                    let zone = self.machines[self.machines[node].host].zone;
                    self.machines[node].host = self.machines.add_host(zone, true);
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
                if !self.machines.is_stopped(node) {
                    self.close_where_it_was(node);
                    self.input(node, Input::Moved(self.machines[node].host));
                }
            }
            Fault::Map(nodes) => nodes.into_iter().for_each(|node| self.machines.map(node)),
            Fault::LoseFlows { nodes, refuses } => {
                for node in nodes {
                    let Some(mapped) = self.machines[node].mapped else {
                        continue;
                    };
                    self.say(format_args!("the gateway of {node} forgets its flows"));
                    self.ledger.flows_lost.push((self.now, node));
                    self.machines[mapped].forwards_to = None;
                    if !refuses {
                        self.machines[mapped].state = HostState::Down;
                    }
                    self.machines.map(node);
                }
            }
            Fault::Stop(nodes) => nodes.into_iter().for_each(|node| self.stop(node)),
            Fault::Join { count, seeds } => {
                for _ in 0..count {
                    let zone = self.machines.hosts.len() % self.network.config.latency.len();
                    let host = self.machines.add_host(zone, true);
                    let node = self.machines.add_node(host);
                    self.start_process(node, Generation(1), Knowledge::Itself);
                    self.seek(node, seeds.clone(), MIN_DELAY);
                }
            }
            Fault::Write(nodes, write) => {
                nodes.into_iter().for_each(|node| self.write(node, &write));
            }
            Fault::Lie(nodes, lies) => nodes.into_iter().for_each(|node| self.lie(node, &lies)),
            Fault::Conspire { lies, most, dies } => self.conspire(lies, most, dies),
            Fault::Seek { nodes, seeds, delay } => {
                nodes.into_iter().for_each(|node| self.seek(node, seeds.clone(), delay));
            }
        }
    }

    /// Records the members on the side of each rule that has few hosts: paths to them are lost.
    fn record_cut_off(&mut self, rules: &[Rule]) {
        let hosts = self.machines.hosts.len();
        for side in rules.iter().flat_map(|rule| [&rule.from, &rule.to]) {
            let Hosts::Only(set) = side else {
                continue;
            };
            if set.iter().filter(|&&is_in| is_in).count() * 2 > hosts {
                continue;
            }
            let on_side = |host: HostId| set.get(host.index()).copied().unwrap_or(false);
            let nodes = self.truth.nodes().filter(|(_, node)| on_side(node.host));
            let nodes: Vec<_> = nodes.map(|(id, _)| id).collect();
            nodes.into_iter().for_each(|node| self.truth.cut_off(node));
        }
    }

    /// The rules that cut a member off from all but a few of its observers among the running members.
    fn one_path(&mut self, node: NodeId, cut: OnePath) -> Vec<Rule> {
        let running: Vec<_> = self.truth.running().collect();
        let mut left = self.protocol.observers(&running, node);
        left.truncate(cut.paths as usize);
        let names: Vec<_> = left.iter().map(ToString::to_string).collect();
        self.say(format_args!("{node} keeps its paths to {}", names.join(", ")));
        let hosts = |nodes: &[NodeId]| {
            let mut set = vec![false; self.machines.hosts.len()];
            nodes.iter().for_each(|&node| set[self.machines[node].host.index()] = true);
            set
        };
        let me = Hosts::Only(hosts(&[node]));
        let others = Hosts::Except(hosts(&[&left[..], &[node]].concat()));
        let rule = |from: &Hosts, to: &Hosts| {
            let (from, to) = (from.clone(), to.clone());
            Rule { from, to, packets: Packets::All, loss: 1.0 }
        };
        let received = cut.hears.then(|| rule(&others, &me));
        let sent = cut.is_heard.then(|| rule(&me, &others));
        received.into_iter().chain(sent).collect()
    }

    /// Hands a statement about a member to others.
    fn administer(&mut self, what: Administration, by: &[NodeId], node: NodeId) {
        let at = (self.now - Instant::START).as_millis() as u64;
        let sign = |is_expelled| self.protocol.statement(node, is_expelled, at);
        let statement = match what {
            Administration::Expel => sign(true),
            Administration::Readmit => sign(false),
            Administration::Replay => self.expelled.get(&node).map(|(first, _)| first.clone()),
        };
        let Some(statement) = statement else {
            return;
        };
        self.say(format_args!("the administrator about {node}: {what:?}"));
        match what {
            Administration::Expel => {
                let first = self.expelled.get(&node).map_or(&statement, |(first, _)| first).clone();
                self.expelled.insert(node, (first, true));
                if self.truth.is_running(node) {
                    self.truth.end_life(node, Life::Expelled, self.now);
                    self.ledger.record_death(&self.truth, self.now, node);
                }
            }
            Administration::Readmit => {
                self.expelled.entry(node).and_modify(|(_, is_expelled)| *is_expelled = false);
                if self.truth.life(node) == Some(Life::Expelled) {
                    self.truth.end_life(node, Life::Running, self.now);
                }
                self.ledger.record_return(node);
            }
            Administration::Replay => {}
        }
        for &by in by {
            self.input(by, Input::Administer(&statement));
        }
    }

    fn readdress(&mut self, id: NodeId) {
        if let Some(host) = self.machines.readdress(id) {
            self.say(format_args!("{id} gets another address"));
            self.truth.set_host(id, host);
        }
    }

    /// An application writes, unless its process does not run. Each value is another one.
    fn write(&mut self, id: NodeId, write: &Write) {
        if !self.truth.is_running(id) || self.machines.is_stopped(id) {
            let is_message = matches!(write, Write::Publish { .. });
            self.ledger.messages.unwritten += u64::from(is_message);
            return;
        }
        self.say(format_args!("{id} writes: {write:?}"));
        match write {
            Write::Put { keys, bytes, time_to_live } => {
                for key in keys.clone() {
                    self.last_written += 1;
                    let number = self.last_written.to_be_bytes();
                    let value: Vec<u8> = number.into_iter().cycle().take(*bytes).collect();
                    let (key, time_to_live) = (format!("k{key}"), *time_to_live);
                    self.input(id, Input::Put { key: &key, value: &value, time_to_live });
                }
            }
            Write::Delete(keys) => {
                keys.clone().for_each(|key| self.input(id, Input::Delete(&format!("k{key}"))));
            }
            Write::Tag => {
                self.last_written += 1;
                self.input(id, Input::Tag(&self.last_written.to_string()));
            }
            Write::Stand { office, filter, expected } => {
                self.input(id, Input::Stand { office, filter, expected: *expected });
            }
            Write::Resign(office) => self.input(id, Input::Resign(office)),
            Write::Serve(serves) => {
                self.truth.set_draining(id, !serves);
                self.input(id, Input::Serve(*serves));
            }
            Write::Publish { count, topic, bytes, filter } => {
                let topic = format!("t{topic}");
                for _ in 0..*count {
                    let body = self.message_body(id, *bytes);
                    self.input(id, Input::Publish { topic: &topic, body: &body, filter });
                }
            }
        }
    }

    /// A content that names its publisher, and that no other message has.
    fn message_body(&mut self, id: NodeId, bytes: usize) -> Vec<u8> {
        self.last_written += 1;
        let numbers = [&id.0.to_be_bytes()[..], &self.last_written.to_be_bytes()].concat();
        let bytes = bytes.max(numbers.len());
        numbers.into_iter().cycle().take(bytes).collect()
    }

    fn conspire(&mut self, mut lies: Lies, most: u32, dies: NodeId) {
        let now: Vec<_> = self.truth.running().collect();
        let later: Vec<_> = now.iter().copied().filter(|&node| node != dies).collect();
        let observers: Vec<_> = [&now, &later]
            .iter()
            .flat_map(|running| {
                running.iter().map(|&subject| self.protocol.observers(running, subject))
            })
            .collect();
        let is_minority = |liars: &[NodeId]| {
            observers.iter().all(|all| {
                2 * all.iter().filter(|observer| liars.contains(observer)).count() <= all.len()
            })
        };
        let of_subject = lies.about.first().map(|&subject| self.protocol.observers(&now, subject));
        let limit = lies.liars.len() + most as usize;
        for observer in of_subject.into_iter().flatten() {
            if lies.liars.len() >= limit || observer == dies || lies.liars.contains(&observer) {
                continue;
            }
            lies.liars.push(observer);
            if !is_minority(&lies.liars) {
                lies.liars.pop();
            }
        }
        lies.liars.clone().into_iter().for_each(|node| self.lie(node, &lies));
    }

    fn lie(&mut self, id: NodeId, lies: &Lies) {
        let node = &mut self.machines[id];
        let Some(process) = node.process.take() else {
            return;
        };
        let now = node.clock.local(self.now);
        node.process = Some(self.protocol.lie(process, id, lies.clone(), now));
        self.truth.record_liar(id);
        self.say(format_args!("{id} lies: {:?}", lies.lie));
        self.machines[id].wake_at = None;
        self.reschedule(id);
    }

    fn later(&mut self, delay: Duration, fault: Fault) {
        self.schedule(self.now + delay, fault);
    }

    /// The process ends without notice.
    fn crash(&mut self, id: NodeId) {
        if self.machines[id].process.is_none() {
            return;
        }
        self.say(format_args!("{id} crashes"));
        let was_running = self.truth.is_running(id);
        self.machines.remove_process(id);
        self.truth.end_life(id, Life::Crashed, self.now);
        if was_running {
            self.ledger.record_death(&self.truth, self.now, id);
        }
    }

    /// The process on the member's host ends: its own, or one that replaced it.
    fn crash_occupant(&mut self, id: NodeId) {
        let host = self.machines[id].host;
        let occupant = self.machines[host].occupant.unwrap_or(id);
        self.crash(occupant);
    }

    /// The process shuts down.
    fn stop(&mut self, id: NodeId) {
        let peers: Vec<_> = self.machines[id].connections.keys().copied().collect();
        for peer in peers {
            self.close(id, peer, CloseReason::Shutdown);
        }
        if self.truth.is_running(id) {
            self.crash(id);
        } else {
            self.machines.remove_process(id);
        }
    }

    fn restart(&mut self, id: NodeId, data: Data, seeds: &[NodeId]) {
        let host = self.machines[id].host;
        self.machines[host].state = HostState::Up;
        self.machines[host].pauses = 0;
        let last = self.machines[id].generation;
        let (id, generation) = match data {
            Data::Kept => (id, Generation(last.0 + 1)),
            Data::Old => (id, Generation(last.0.saturating_sub(2).max(1))),
            Data::Lost => (self.machines.add_node(host), Generation(1)),
        };
        if data != Data::Lost && !self.is_expelled(id) {
            self.ledger.record_return(id);
        }
        if data == Data::Old {
            self.machines[id].promises = Promises::default();
            self.truth.record_forgetful(id);
        }
        self.start_process(id, generation, Knowledge::Itself);
        self.truth.set_former(id, last);
        self.seek(id, seeds.to_vec(), MIN_DELAY);
    }

    fn leave(&mut self, id: NodeId) {
        if self.machines.is_stopped(id) {
            return;
        }
        self.say(format_args!("{id} leaves"));
        self.truth.end_life(id, Life::Left, self.now);
        self.ledger.record_death(&self.truth, self.now, id);
        self.input(id, Input::Leave);
    }

    /// Sends joins to the seeds: repeatedly while alone, and at growing intervals while a seed is unknown.
    fn seek(&mut self, id: NodeId, seeds: Vec<NodeId>, delay: Duration) {
        let Some(process) = &self.machines[id].process else {
            return;
        };
        let live = process.live_len();
        let is_alone = live < 2;
        let peers: Vec<Peer> = (seeds.iter())
            .filter_map(|&seed| {
                let host = self.machines.peer(seed)?.host;
                let node = self.machines[host].occupant?;
                let is_known = process.belief(node).is_some_and(|belief| belief.is_live());
                (node != id && (is_alone || !is_known)).then_some(Peer { node, host })
            })
            .collect();
        // An expelled member keeps trying.
        let is_in = self.truth.is_running(id) || self.truth.life(id) == Some(Life::Expelled);
        if !peers.is_empty() && !self.machines.is_stopped(id) && is_in {
            self.input(id, Input::Join(&peers));
        }
        let max_delay = secs(live as u64).clamp(MAX_DELAY, MAX_DELAY_OF_MANY);
        let next = (delay * 2).min(max_delay);
        self.later(delay, Fault::Seek { nodes: vec![id], seeds, delay: next });
    }

    /// The members that run on the hosts of these now: a host whose process lost its data has a new member.
    fn occupants(&self, nodes: Vec<NodeId>) -> Vec<NodeId> {
        let occupant = |id: NodeId| self.machines[self.machines[id].host].occupant.unwrap_or(id);
        nodes.into_iter().map(occupant).collect()
    }

    fn pause(&mut self, nodes: Vec<NodeId>, scope: Scope, lasts: Duration) {
        let nodes = match scope {
            Scope::Process => nodes,
            Scope::Host => self.occupants(nodes),
        };
        for &id in &nodes {
            self.say(format_args!("{id} is paused"));
            self.truth.begin_trouble(id);
            let host = self.machines[id].host;
            match scope {
                Scope::Process => self.machines[id].pauses += 1,
                Scope::Host => self.machines[host].pauses += 1,
            }
        }
        self.later(lasts, Fault::Resume(nodes, scope));
    }

    /// Delivers queued packets in order, then fires timers.
    fn resume(&mut self, nodes: Vec<NodeId>, scope: Scope) {
        for id in nodes {
            self.say(format_args!("{id} goes on"));
            self.truth.end_trouble(id, self.now);
            self.go_on(id, scope);
        }
    }

    fn go_on(&mut self, id: NodeId, scope: Scope) {
        let host = self.machines[id].host;
        let pauses = match scope {
            Scope::Process => &mut self.machines[id].pauses,
            Scope::Host => &mut self.machines[host].pauses,
        };
        *pauses = pauses.saturating_sub(1);
        self.machines[id].wake_at = None;
        self.receive_held(id);
        self.reschedule(id);
    }

    /// Stops a process for a moment, and again about a second later.
    fn stall(&mut self, id: NodeId, stalls: Stalls, until: Instant) {
        if self.now >= until {
            return;
        }
        let lasts = stalls.longest.mul_f64(self.rng.random_range(stalls.shortest..=1.0));
        self.machines[id].pauses += 1;
        self.later(lasts, Fault::Unstall(id));
        let next = lasts + secs(1).mul_f64(self.rng.random_range(0.5..1.5));
        self.later(next, Fault::Stall(id, stalls, until));
    }

    fn receive_held(&mut self, id: NodeId) {
        while self.machines[id].blocked_until.is_none()
            && !self.machines.is_stopped(id)
            && let Some(packet) = self.machines[id].held.pop_front()
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
        if self.machines[id].process.is_some() {
            self.machines[id].blocked_until = Some(unblocked_at);
        }
        self.queue.push(unblocked_at, Class::Timer, Event::Unblock(id));
        self.schedule(unblocked_at + open, Fault::Block(id, blocked, open, until));
    }

    pub(super) fn unblock(&mut self, id: NodeId) {
        let node = &mut self.machines[id];
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

    fn change_clocks(&mut self, nodes: Vec<NodeId>, mut change: impl FnMut(&mut Node)) {
        for id in nodes {
            change(&mut self.machines[id]);
            self.machines[id].wake_at = None;
            self.reschedule(id);
        }
    }
}

/// The first members are every member's seeds.
const SEEDS: u32 = 3;
/// As in phin: the delay between attempts doubles up to the maximum, which is a second for each live member within
/// these bounds.
const MIN_DELAY: Duration = Duration::from_millis(200);
const MAX_DELAY: Duration = Duration::from_secs(10);
const MAX_DELAY_OF_MANY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{fault::Stalls, network::NetworkConfig, node::millis, protocols::ProtocolKind};

    fn run_until(world: &mut World, seconds: u64) {
        let end = Instant::START + secs(seconds);
        while world.step(end) {}
        world.now = end;
    }

    #[test]
    fn a_paused_host_excuses_the_member_that_runs_on_it_and_no_other() {
        let mut world = World::new(1, NetworkConfig::lan(), ProtocolKind::Heartbeat.make(1, 2));
        for _ in 0..2 {
            let host = world.machines.add_host(0, true);
            let id = world.machines.add_node(host);
            world.start_process(id, Generation(1), Knowledge::Itself);
        }
        let [first, other, new] = [0, 1, 2].map(NodeId);
        let anew = Fault::Restart { nodes: vec![first], data: Data::Lost };
        world.schedule(Instant::START + secs(1), anew);
        let pause = Fault::Pause { nodes: vec![first], scope: Scope::Host, lasts: secs(3) };
        world.schedule(Instant::START + secs(2), pause);
        run_until(&mut world, 3);
        assert!(world.machines.is_stopped(new));
        let is_healthy =
            |world: &World, id| world.truth.is_healthy(id, world.now, Duration::from_secs(1));
        assert!(!is_healthy(&world, new));
        assert!(is_healthy(&world, other));
        run_until(&mut world, 7);
        assert!(!world.machines.is_stopped(new));
        assert!(is_healthy(&world, new));
    }

    #[test]
    fn stalls_are_as_long_as_they_are_to_be() {
        for (stalls, most) in [
            (Stalls { longest: millis(500), shortest: 0.6 }, 0.6),
            (Stalls::up_to(millis(500)), 0.1),
        ] {
            let mut world = World::new(1, NetworkConfig::lan(), ProtocolKind::Heartbeat.make(1, 1));
            let host = world.machines.add_host(0, true);
            let id = world.machines.add_node(host);
            world.start_process(id, Generation(1), Knowledge::Itself);
            let until = Instant::START + secs(200);
            world.schedule(Instant::START, Fault::Starve { nodes: vec![id], stalls, until });
            let (mut lengths, mut since) = (Vec::new(), None);
            while world.now < until {
                let next = world.now + millis(1);
                while world.step(next) {}
                world.now = next;
                match (world.machines[id].pauses > 0, since) {
                    (true, None) => since = Some(next),
                    (false, Some(began)) => {
                        lengths.push((next - began).as_secs_f64() / 0.5);
                        since = None;
                    }
                    _ => {}
                }
            }
            let (least, longest) = lengths
                .iter()
                .fold((1.0_f64, 0.0_f64), |(least, longest), &l| (least.min(l), longest.max(l)));
            assert!((100..200).contains(&lengths.len()), "{lengths:?}");
            assert!(most - 0.01 < least && least < most + 0.1, "{stalls:?}: {lengths:?}");
            assert!((0.9..1.01).contains(&longest), "{stalls:?}: {lengths:?}");
        }
    }
}
