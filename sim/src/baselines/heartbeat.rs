//! All-to-all heartbeats: every member sends to every other, and judges the silence of each alone.

use std::time::Duration;

use phin_accrual::PhiAccrual;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Reader, version};
use crate::{
    node::{
        Action, Belief, Channel, HostId, Input, Instant, Knowledge, Line, NodeId, Notice, Peer,
        Process, Protocol, Start, Transport, Usage, secs,
    },
    trace::mix,
};

/// All-to-all heartbeats, one a second.
#[derive(Clone, Copy, Debug)]
pub struct Heartbeat {
    /// The number of members at the start.
    pub nodes: u32,
    /// The rule by which a silence is a death.
    pub rule: FailureRule,
}

/// The rule by which a silence is a death.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FailureRule {
    /// After this long.
    Timeout(Duration),
    /// When phi reaches this (Hayashibara et al., SRDS 2004; they find 8 and above to make few mistakes).
    Phi(f64),
}

impl Protocol for Heartbeat {
    fn name(&self) -> &str {
        match self.rule {
            FailureRule::Timeout(_) => "heartbeat",
            FailureRule::Phi(_) => "heartbeat-phi",
        }
    }

    fn transport(&self) -> Transport {
        Transport::Udp
    }

    fn start(&self, start: Start) -> Box<dyn Process> {
        let mut rng = ChaCha8Rng::seed_from_u64(start.rng_seed);
        let phase = INTERVAL.mul_f64(rng.random());
        let mut node = Node {
            me: start.node,
            rule: self.rule,
            others: Vec::new(),
            next_beat: start.now + phase,
            next_check: start.now + phase + CHECK_INTERVAL,
            has_left: false,
        };
        let others = if start.knowledge == Knowledge::Everyone { self.nodes } else { 0 };
        for number in (0..others).filter(|&number| NodeId(number) != start.node) {
            node.meet(start.now, NodeId(number), HostId(number));
        }
        Box::new(node)
    }
}

struct Node {
    me: NodeId,
    rule: FailureRule,
    /// By number; `None` for unknown members and for this one.
    others: Vec<Option<Other>>,
    next_beat: Instant,
    next_check: Instant,
    has_left: bool,
}

struct Other {
    host: HostId,
    belief: Belief,
    heard: Instant,
    accrual: Option<Box<PhiAccrual>>,
}

impl Node {
    fn meet(&mut self, now: Instant, node: NodeId, host: HostId) -> bool {
        if self.others.len() <= node.index() {
            self.others.resize_with(node.index() + 1, || None);
        }
        if node == self.me || self.others[node.index()].is_some() {
            return false;
        }
        let accrual = match self.rule {
            FailureRule::Timeout(_) => None,
            FailureRule::Phi(_) => Some(Box::new(PhiAccrual::new(WINDOW, MIN_DEVIATION, INTERVAL))),
        };
        let other = Other { host, belief: Belief::Alive, heard: now, accrual };
        self.others[node.index()] = Some(other);
        true
    }

    fn beat(&mut self, now: Instant, actions: &mut Vec<Action>) {
        self.next_beat = now + INTERVAL;
        if self.has_left {
            return;
        }
        for (node, other) in (0..).map(NodeId).zip(&self.others) {
            if let Some(other) = other {
                send(actions, Peer { node, host: other.host }, Channel::Datagram, vec![BEAT]);
            }
        }
    }

    fn check(&mut self, now: Instant, actions: &mut Vec<Action>) {
        self.next_check = now + CHECK_INTERVAL;
        for (subject, other) in (0..).map(NodeId).zip(&mut self.others) {
            let Some(other) = other.as_mut().filter(|other| other.belief == Belief::Alive) else {
                continue;
            };
            let silence = now - other.heard;
            let is_dead = match (self.rule, &other.accrual) {
                (FailureRule::Timeout(timeout), _) => silence >= timeout,
                (FailureRule::Phi(threshold), Some(accrual)) => {
                    // Phi is small before the mean interval has passed.
                    silence > INTERVAL && accrual.phi(silence) >= threshold
                }
                (FailureRule::Phi(_), None) => false,
            };
            if is_dead {
                other.belief = Belief::Dead;
                note(actions, subject, Belief::Dead);
            }
        }
    }

    fn hear(&mut self, now: Instant, from: Peer, kind: u8, actions: &mut Vec<Action>) {
        if self.meet(now, from.node, from.host) {
            note(actions, from.node, Belief::Alive);
        }
        let Some(other) = self.others[from.node.index()].as_mut() else {
            return;
        };
        if kind == LEAVE {
            other.belief = Belief::Left;
            note(actions, from.node, Belief::Left);
            return;
        }
        if let Some(accrual) = other.accrual.as_mut().filter(|_| kind == BEAT) {
            accrual.record(now - other.heard);
        }
        other.heard = now;
        if other.belief == Belief::Dead {
            other.belief = Belief::Alive;
            note(actions, from.node, Belief::Alive);
        }
    }

    fn handle_message(
        &mut self,
        now: Instant,
        from: Peer,
        payload: &[u8],
        actions: &mut Vec<Action>,
    ) {
        let mut reader = Reader(payload);
        let Some(kind) = reader.byte() else {
            return;
        };
        self.hear(now, from, kind, actions);
        match kind {
            JOIN => send(actions, from, Channel::Stream, self.list()),
            LIST => {
                while let (Some(node), Some(host)) = (reader.node(), reader.number()) {
                    if self.meet(now, node, HostId(host)) {
                        note(actions, node, Belief::Alive);
                    }
                }
            }
            _ => {}
        }
    }

    fn list(&self) -> Vec<u8> {
        let mut list = vec![LIST];
        for (number, other) in (0_u32..).zip(&self.others) {
            if let Some(other) = other.as_ref().filter(|other| other.belief == Belief::Alive) {
                list.extend(number.to_le_bytes());
                list.extend(other.host.0.to_le_bytes());
            }
        }
        list
    }
}

impl Process for Node {
    fn handle(&mut self, now: Instant, input: Input<'_>, actions: &mut Vec<Action>) {
        match input {
            Input::Message { from, payload, .. } => {
                self.handle_message(now, from, payload, actions);
            }
            Input::Timeout => {
                if self.next_beat <= now {
                    self.beat(now, actions);
                }
                if self.next_check <= now {
                    self.check(now, actions);
                }
            }
            Input::Join(peers) => {
                peers.iter().for_each(|&peer| send(actions, peer, Channel::Stream, vec![JOIN]));
            }
            Input::Leave => {
                self.has_left = true;
                for (node, other) in (0..).map(NodeId).zip(&self.others) {
                    if let Some(other) = other {
                        let peer = Peer { node, host: other.host };
                        send(actions, peer, Channel::Stream, vec![LEAVE]);
                    }
                }
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
        Some(self.next_beat.min(self.next_check))
    }

    fn fingerprint(&self) -> u64 {
        let live = self.lines().into_iter().filter(|line| line.belief.is_live());
        live.fold(0, |hash, line| hash ^ mix(line.node.0.into()))
    }

    fn belief(&self, node: NodeId) -> Option<Belief> {
        if node == self.me {
            return Some(if self.has_left { Belief::Left } else { Belief::Alive });
        }
        self.others.get(node.index())?.as_ref().map(|other| other.belief)
    }

    fn live_len(&self) -> usize {
        1 + self.others.iter().flatten().filter(|other| other.belief.is_live()).count()
    }

    fn lines(&self) -> Vec<Line> {
        let nodes = (0..self.others.len().max(self.me.index() + 1) as u32).map(NodeId);
        let line = |node| Some(Line { node, belief: self.belief(node)?, version: version(0) });
        nodes.filter_map(line).collect()
    }

    fn usage(&self, _now: Instant) -> Usage {
        let members = self.others.iter().flatten().count() + 1;
        Usage { members, links: members - 1 }
    }
}

fn send(actions: &mut Vec<Action>, to: Peer, channel: Channel, payload: Vec<u8>) {
    actions.push(Action::Send { to, channel, payload });
}

fn note(actions: &mut Vec<Action>, subject: NodeId, belief: Belief) {
    actions.push(Action::Notice(Notice { subject, belief, version: version(0) }));
}

const BEAT: u8 = 0;
const JOIN: u8 = 1;
const LIST: u8 = 2;
const LEAVE: u8 = 3;
const INTERVAL: Duration = secs(1);
const CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// The number of intervals for phi. The paper uses 1,000; 100 limit the memory of 512 × 512 members.
const WINDOW: usize = 100;
/// Jitter below this is ignored.
const MIN_DEVIATION: Duration = Duration::from_millis(50);
