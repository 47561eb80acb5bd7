//! SWIM (Das, Gupta, Motivala, DSN 2002), and the same with Lifeguard (Dadgar, Phillips, Currey, DSN 2018) as in
//! HashiCorp's memberlist, by configuration.

use std::{collections::BTreeMap, time::Duration};

use rand::{RngExt, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use super::{
    Reader,
    config::{ProbeOrder, SuspicionRule, SwimConfig},
    suspicion::Suspicion,
    updates::{Update, Updates},
    version,
};
use crate::{
    node::{
        Action, Belief, Channel, HostId, Input, Instant, Knowledge, Line, NodeId, Notice, Peer,
        Process, Protocol, Start, Transport, Usage,
    },
    trace::mix,
};

/// SWIM as a protocol of the simulator.
#[derive(Clone, Copy, Debug)]
pub struct SwimProtocol {
    /// The number of members at the start.
    pub nodes: u32,
    /// The variant.
    pub config: SwimConfig,
}

impl Protocol for SwimProtocol {
    fn name(&self) -> &str {
        self.config.name
    }

    fn transport(&self) -> Transport {
        Transport::Udp
    }

    fn start(&self, start: Start) -> Box<dyn Process> {
        let mut rng = ChaCha8Rng::seed_from_u64(start.rng_seed);
        let mut phase = |interval: Duration| start.now + interval.mul_f64(rng.random());
        let (next_probe, next_gossip, next_push_pull) = (
            phase(self.config.period),
            self.config.gossip.map(|(interval, _)| phase(interval)),
            self.config.push_pull.map(&mut phase),
        );
        let mut node = Node {
            me: Peer { node: start.node, host: start.host },
            config: self.config,
            rng,
            members: Vec::new(),
            live: 0,
            incarnation: 0,
            has_left: false,
            order: Vec::new(),
            sequence: 0,
            probe: None,
            relays: BTreeMap::new(),
            suspicions: BTreeMap::new(),
            updates: Updates::default(),
            awareness: 0,
            next_probe,
            next_gossip,
            next_push_pull,
        };
        node.meet(node.me);
        if start.knowledge == Knowledge::Everyone {
            for number in 0..self.nodes {
                node.meet(Peer { node: NodeId(number), host: HostId(number) });
            }
        }
        Box::new(node)
    }
}

struct Node {
    me: Peer,
    config: SwimConfig,
    rng: ChaCha8Rng,
    /// By number; `None` for unknown members.
    members: Vec<Option<Member>>,
    live: usize,
    incarnation: u32,
    has_left: bool,
    /// The members still to be probed in this round.
    order: Vec<NodeId>,
    sequence: u32,
    probe: Option<Probe>,
    relays: BTreeMap<u32, Relay>,
    suspicions: BTreeMap<NodeId, Suspicion>,
    updates: Updates,
    awareness: u32,
    next_probe: Instant,
    next_gossip: Option<Instant>,
    next_push_pull: Option<Instant>,
}

#[derive(Clone, Copy)]
struct Member {
    host: HostId,
    belief: Belief,
    incarnation: u32,
}

/// The probe of this period.
struct Probe {
    target: NodeId,
    sequence: u32,
    indirect_at: Option<Instant>,
    ends_at: Instant,
    expected_nacks: u32,
    nacks: u32,
}

/// A ping for another member.
struct Relay {
    requester: Peer,
    sequence: u32,
    nack_at: Instant,
}

impl Node {
    fn meet(&mut self, peer: Peer) {
        if self.members.len() <= peer.node.index() {
            self.members.resize(peer.node.index() + 1, None);
        }
        let member = &mut self.members[peer.node.index()];
        if member.is_none() {
            *member = Some(Member { host: peer.host, belief: Belief::Alive, incarnation: 0 });
            self.live += 1;
        }
    }

    fn member(&self, node: NodeId) -> Option<&Member> {
        self.members.get(node.index())?.as_ref()
    }

    fn peer(&self, node: NodeId) -> Option<Peer> {
        Some(Peer { node, host: self.member(node)?.host })
    }

    /// Up to `count` live members other than ourselves and `except`.
    fn random_peers(&mut self, count: usize, except: Option<NodeId>) -> Vec<Peer> {
        let mut found: Vec<Peer> = Vec::new();
        for _ in 0..3 * self.members.len() {
            if found.len() == count {
                break;
            }
            let node = NodeId(self.rng.random_range(0..self.members.len() as u32));
            let is_fit = node != self.me.node
                && Some(node) != except
                && self.member(node).is_some_and(|member| member.belief.is_live())
                && found.iter().all(|peer| peer.node != node);
            found.extend(self.peer(node).filter(|_| is_fit));
        }
        found
    }

    fn next_target(&mut self) -> Option<Peer> {
        match self.config.order {
            ProbeOrder::Random => self.random_peers(1, None).pop(),
            ProbeOrder::RoundRobin => {
                for _ in 0..2 {
                    while let Some(node) = self.order.pop() {
                        if node != self.me.node
                            && self.member(node).is_some_and(|member| member.belief.is_live())
                        {
                            return self.peer(node);
                        }
                    }
                    self.order = (0..self.members.len() as u32).map(NodeId).collect();
                    self.order.shuffle(&mut self.rng);
                }
                None
            }
        }
    }

    fn start_probe(&mut self, now: Instant, actions: &mut Vec<Action>) {
        // Lifeguard: a member that finds itself slow probes less often and waits longer.
        let period = self.config.period * (self.awareness + 1);
        self.next_probe = now + period;
        let Some(target) = self.next_target().filter(|_| !self.has_left) else {
            return;
        };
        self.sequence += 1;
        let sequence = self.sequence;
        self.probe = Some(Probe {
            target: target.node,
            sequence,
            indirect_at: Some(now + self.config.probe_timeout),
            ends_at: now + period,
            expected_nacks: 0,
            nacks: 0,
        });
        self.ping(target, sequence, Channel::Datagram, actions);
    }

    fn ping(&mut self, to: Peer, sequence: u32, channel: Channel, actions: &mut Vec<Action>) {
        let mut payload = message(PING, sequence);
        let accused = self
            .member(to.node)
            .filter(|member| self.config.buddy_system && member.belief != Belief::Alive);
        if let Some(&Member { host, belief, incarnation }) = accused {
            let by = self.me.node;
            Update { subject: to.node, host, belief, incarnation, by }.encode(&mut payload);
        }
        self.send(to, channel, payload, actions);
    }

    /// Sends a message with updates on it.
    fn send(
        &mut self,
        to: Peer,
        channel: Channel,
        mut payload: Vec<u8>,
        actions: &mut Vec<Action>,
    ) {
        if channel == Channel::Datagram {
            let limit = self.retransmit_limit();
            self.updates.take(limit).iter().for_each(|update| update.encode(&mut payload));
        }
        actions.push(Action::Send { to, channel, payload });
    }

    fn retransmit_limit(&self) -> u32 {
        let members = self.live as f64 + 1.0;
        let log = match self.config.gossip {
            None => libm::log(members),
            // memberlist, retransmitLimit (util.go).
            Some(_) => libm::log10(members),
        };
        self.config.retransmit_multiplier * libm::ceil(log) as u32
    }

    fn probe_indirectly(&mut self, actions: &mut Vec<Action>) {
        let Some(probe) = &mut self.probe else {
            return;
        };
        probe.indirect_at = None;
        let (target, sequence) = (probe.target, probe.sequence);
        let helpers = self.random_peers(self.config.indirect_probes, Some(target));
        if let Some(probe) = &mut self.probe
            && self.config.max_awareness > 0
        {
            probe.expected_nacks = helpers.len() as u32;
        }
        for helper in helpers {
            let mut payload = message(PING_REQ, sequence);
            payload.extend(target.0.to_le_bytes());
            self.send(helper, Channel::Datagram, payload, actions);
        }
        if let Some(target) = self.peer(target).filter(|_| self.config.stream_ping) {
            self.ping(target, sequence, Channel::Stream, actions);
        }
    }

    fn end_probe(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let Some(probe) = self.probe.take() else {
            return;
        };
        let missing = probe.expected_nacks.saturating_sub(probe.nacks);
        self.change_awareness(if probe.expected_nacks > 0 { missing as i32 } else { 1 });
        if let Some(&Member { host, incarnation, .. }) = self.member(probe.target) {
            let belief = match self.config.suspicion {
                SuspicionRule::None => Belief::Dead,
                SuspicionRule::Fixed { .. } | SuspicionRule::Lifeguard { .. } => Belief::Suspect,
            };
            let (subject, by) = (probe.target, self.me.node);
            self.learn(now, Update { subject, host, belief, incarnation, by }, actions);
        }
    }

    fn change_awareness(&mut self, by: i32) {
        let max = self.config.max_awareness.saturating_sub(1) as i32;
        self.awareness = (self.awareness as i32 + by).clamp(0, max) as u32;
    }

    /// Applies an update if it is newer (SWIM §4.2). A later incarnation also revives dead members, as in memberlist,
    /// because a restarted process must be able to return.
    fn learn(&mut self, now: Instant, update: Update, actions: &mut Vec<Action>) {
        let Update { subject, host, belief, incarnation, by } = update;
        if subject == self.me.node {
            self.refute(update, actions);
            return;
        }
        let Some(known) = self.member(subject).copied() else {
            if belief == Belief::Alive {
                self.meet(Peer { node: subject, host });
                self.accept(update, actions);
            }
            return;
        };
        let is_news = match belief {
            Belief::Alive => incarnation > known.incarnation,
            Belief::Suspect => match known.belief {
                Belief::Alive => incarnation >= known.incarnation,
                Belief::Suspect => {
                    let suspicion = self.suspicions.get_mut(&subject);
                    if incarnation == known.incarnation
                        && suspicion.is_some_and(|suspicion| suspicion.confirm(by))
                    {
                        self.updates.push(update);
                    }
                    incarnation > known.incarnation
                }
                Belief::Dead | Belief::Left => false,
            },
            Belief::Dead | Belief::Left => {
                known.belief.is_live() && incarnation >= known.incarnation
            }
        };
        if !is_news {
            return;
        }
        self.suspicions.remove(&subject);
        if belief == Belief::Suspect {
            let (rule, period) = (self.config.suspicion, self.config.period);
            let suspicion = Suspicion::new(rule, now, self.live, period, by);
            self.suspicions.insert(subject, suspicion);
        }
        self.accept(update, actions);
    }

    fn accept(&mut self, update: Update, actions: &mut Vec<Action>) {
        let Update { subject, host, belief, incarnation, .. } = update;
        let before = self.member(subject).is_some_and(|member| member.belief.is_live());
        self.members[subject.index()] = Some(Member { host, belief, incarnation });
        match (before, belief.is_live()) {
            (true, false) => self.live -= 1,
            (false, true) => self.live += 1,
            (true, true) | (false, false) => {}
        }
        self.updates.push(update);
        let version = version(incarnation);
        actions.push(Action::Notice(Notice { subject, belief, version }));
    }

    fn refute(&mut self, update: Update, actions: &mut Vec<Action>) {
        let is_old_word = update.belief == Belief::Alive && update.incarnation <= self.incarnation;
        if update.incarnation < self.incarnation || is_old_word || self.has_left {
            return;
        }
        self.incarnation = update.incarnation + 1;
        self.change_awareness(1);
        self.speak_of_ourselves(Belief::Alive, actions);
    }

    fn speak_of_ourselves(&mut self, belief: Belief, actions: &mut Vec<Action>) {
        let Peer { node: subject, host } = self.me;
        let (incarnation, by) = (self.incarnation, subject);
        self.accept(Update { subject, host, belief, incarnation, by }, actions);
    }

    fn gossip(
        &mut self,
        now: Instant,
        interval: Duration,
        fanout: usize,
        actions: &mut Vec<Action>,
    ) {
        self.next_gossip = Some(now + interval);
        for peer in self.random_peers(fanout, None) {
            if self.updates.is_empty() {
                return;
            }
            self.send(peer, Channel::Datagram, message(GOSSIP, 0), actions);
        }
    }

    fn push_pull(&mut self, now: Instant, interval: Duration, actions: &mut Vec<Action>) {
        // memberlist, pushPullScale (util.go): rarer from 32 members on.
        let log2 = libm::ceil(libm::log2(self.live.max(1) as f64) - 5.0).max(0.0);
        self.next_push_pull = Some(now + interval * (log2 as u32 + 1));
        if let Some(peer) = self.random_peers(1, None).pop() {
            let list = self.list(PUSH);
            actions.push(Action::Send { to: peer, channel: Channel::Stream, payload: list });
        }
    }

    fn list(&self, kind: u8) -> Vec<u8> {
        let mut list = message(kind, 0);
        for (subject, member) in (0..).map(NodeId).zip(&self.members) {
            if let &Some(Member { host, belief, incarnation }) = member {
                let by = self.me.node;
                Update { subject, host, belief, incarnation, by }.encode(&mut list);
            }
        }
        list
    }

    fn handle_message(
        &mut self,
        now: Instant,
        from: Peer,
        channel: Channel,
        payload: &[u8],
        actions: &mut Vec<Action>,
    ) -> Option<()> {
        let mut reader = Reader(payload);
        let (kind, sequence) = (reader.byte()?, reader.number()?);
        let target = if kind == PING_REQ { Some(reader.node()?) } else { None };
        while let Some(mut update) = Update::decode(&mut reader) {
            // A whole list may be old, so its dead members are only suspected (memberlist, mergeState).
            if matches!(kind, PUSH | PULL) && update.belief == Belief::Dead {
                update.belief = Belief::Suspect;
            }
            self.learn(now, update, actions);
        }
        match kind {
            PING => self.send(from, channel, message(ACK, sequence), actions),
            PING_REQ => self.relay(now, from, sequence, target?, actions),
            ACK => {
                if let Some(relay) = self.relays.remove(&sequence) {
                    let answer = message(ACK, relay.sequence);
                    self.send(relay.requester, Channel::Datagram, answer, actions);
                } else if self.probe.as_ref().is_some_and(|probe| probe.sequence == sequence) {
                    self.probe = None;
                    self.change_awareness(-1);
                }
            }
            NACK => {
                if let Some(probe) = self.probe.as_mut().filter(|probe| probe.sequence == sequence)
                {
                    probe.nacks += 1;
                }
            }
            PUSH => {
                let list = self.list(PULL);
                actions.push(Action::Send { to: from, channel: Channel::Stream, payload: list });
            }
            _ => {}
        }
        Some(())
    }

    fn relay(
        &mut self,
        now: Instant,
        requester: Peer,
        sequence: u32,
        target: NodeId,
        actions: &mut Vec<Action>,
    ) {
        if let Some(target) = self.peer(target) {
            self.sequence += 1;
            let nack_at = now + self.config.probe_timeout;
            self.relays.insert(self.sequence, Relay { requester, sequence, nack_at });
            self.ping(target, self.sequence, Channel::Datagram, actions);
        }
    }

    fn give_up_relays(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let is_late =
            |(&sequence, relay): (&u32, &Relay)| (relay.nack_at <= now).then_some(sequence);
        let late: Vec<_> = self.relays.iter().filter_map(is_late).collect();
        for sequence in late {
            if let Some(relay) = self.relays.remove(&sequence)
                && self.config.max_awareness > 0
            {
                let nack = message(NACK, relay.sequence);
                self.send(relay.requester, Channel::Datagram, nack, actions);
            }
        }
    }

    fn end_suspicions(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let over = self.suspicions.iter().filter(|(_, suspicion)| suspicion.ends_at() <= now);
        let over: Vec<_> = over.map(|(&subject, _)| subject).collect();
        for subject in over {
            if let Some(&Member { host, incarnation, .. }) = self.member(subject) {
                let (belief, by) = (Belief::Dead, self.me.node);
                self.learn(now, Update { subject, host, belief, incarnation, by }, actions);
            }
        }
    }

    fn handle_timeout(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        self.end_suspicions(now, actions);
        self.give_up_relays(now, actions);
        if is_due(self.probe.as_ref().and_then(|probe| probe.indirect_at)) {
            self.probe_indirectly(actions);
        }
        if is_due(self.probe.as_ref().map(|probe| probe.ends_at)) {
            self.end_probe(now, actions);
        }
        if self.next_probe <= now {
            self.start_probe(now, actions);
        }
        if let Some((interval, fanout)) = self.config.gossip.filter(|_| is_due(self.next_gossip)) {
            self.gossip(now, interval, fanout, actions);
        }
        if let Some(interval) = self.config.push_pull.filter(|_| is_due(self.next_push_pull)) {
            self.push_pull(now, interval, actions);
        }
    }
}

impl Process for Node {
    fn handle(&mut self, now: Instant, input: Input<'_>, actions: &mut Vec<Action>) {
        match input {
            Input::Message { from, channel, payload } => {
                // Malformed bytes end the message, like an error of a decoder.
                let _ = self.handle_message(now, from, channel, payload, actions);
            }
            Input::Timeout => self.handle_timeout(now, actions),
            Input::Join(peers) => {
                for &to in peers {
                    let payload = self.list(PUSH);
                    actions.push(Action::Send { to, channel: Channel::Stream, payload });
                }
            }
            Input::Leave => {
                self.speak_of_ourselves(Belief::Left, actions);
                self.has_left = true;
            }
            Input::Forget(_)
            | Input::Administer(_)
            | Input::Moved(_)
            | Input::Put { .. }
            | Input::Delete(_)
            | Input::Tag(_)
            | Input::Stand { .. }
            | Input::Resign(_)
            | Input::Serve(_)
            | Input::Publish { .. }
            | Input::Connected(_)
            | Input::Disconnected(..)
            | Input::Unreachable(..)
            | Input::OtherMember { .. }
            | Input::HostAnswer { .. } => {}
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let probe = self.probe.as_ref().map(|probe| probe.indirect_at.unwrap_or(probe.ends_at));
        let relay = self.relays.values().map(|relay| relay.nack_at).min();
        let suspicion = self.suspicions.values().map(Suspicion::ends_at).min();
        let timers =
            [Some(self.next_probe), self.next_gossip, self.next_push_pull, probe, relay, suspicion];
        timers.into_iter().flatten().min()
    }

    fn fingerprint(&self) -> u64 {
        let live = self.lines().into_iter().filter(|line| line.belief.is_live());
        live.fold(0, |hash, line| {
            hash ^ mix(u64::from(line.node.0) << 32 | u64::from(line.version.incarnation.0))
        })
    }

    fn belief(&self, node: NodeId) -> Option<Belief> {
        self.member(node).map(|member| member.belief)
    }

    fn live_len(&self) -> usize {
        self.live
    }

    fn lines(&self) -> Vec<Line> {
        let members = (0..).map(NodeId).zip(&self.members);
        let line = |(node, member): (NodeId, &Option<Member>)| {
            let member = member.as_ref()?;
            let incarnation =
                if node == self.me.node { self.incarnation } else { member.incarnation };
            Some(Line { node, belief: member.belief, version: version(incarnation) })
        };
        members.filter_map(line).collect()
    }

    fn usage(&self, _now: Instant) -> Usage {
        Usage { members: self.members.iter().flatten().count(), links: 0 }
    }
}

fn message(kind: u8, sequence: u32) -> Vec<u8> {
    let mut payload = vec![kind];
    payload.extend(sequence.to_le_bytes());
    payload
}

const PING: u8 = 0;
const ACK: u8 = 1;
const PING_REQ: u8 = 2;
const NACK: u8 = 3;
const GOSSIP: u8 = 4;
const PUSH: u8 = 5;
const PULL: u8 = 6;
