//! Questions to hosts and refused packets, which distinguish *gone*, *hung* and *silent*.

use std::time::Duration;

use super::{Event, World};
use crate::{
    asking::{Asking, Port, Quota},
    machines::HostState,
    node::{HostAnswer, HostId, Input, NodeId, Peer, Question, Transport},
    packet::{Content, Packet},
    queue::Class,
};

impl World {
    pub(super) fn ask_host(
        &mut self,
        asker: NodeId,
        about: Peer,
        question: Question,
        patience: Duration,
    ) {
        let port = match question {
            Question::Reachability => Port::Closed,
            Question::Silence => Port::Own,
        };
        self.say(format_args!("{asker} asks the host of {}: {question:?}", about.node));
        self.knock(asker, Asking { about, port, patience });
    }

    /// Sends a question, unless the asker has sent so many that silence would mean nothing.
    fn knock(&mut self, asker: NodeId, asking: Asking) {
        let (now, host) = (self.now, asking.about.host);
        let asking_host = self.machines[asker].host;
        let quota = self.machines[asking_host].asks.entry(host).or_insert(Quota::new(ASKS, now));
        if !quota.take(ASKS, now) {
            return self.answered(asker, asking, HostAnswer::Unknown);
        }
        self.last_question += 1;
        let number = self.last_question;
        self.machines[asker].questions.insert(number, asking);
        let (from, to) = (self.machines.peer_of(asker), asking.about);
        self.emit(Packet { from, to, content: Content::Knock(number, asking.port) });
        let ends_at = self.now + asking.patience;
        self.queue.push(ends_at, Class::Timer, Event::AskTimeout(asker, number));
    }

    /// Refuses a packet for a port that no process has. Refusals of packets that are no questions reach processes
    /// that listen for them.
    pub(super) fn refuse(&mut self, packet: &Packet) {
        let content = match packet.content {
            Content::Knock(number, _) => Content::Refusal(number),
            // A refusal is never refused (RFC 1122 §3.2.2).
            Content::Refusal(_) | Content::PortRefused => return,
            _ if self.protocol.transport() == Transport::Quic => Content::PortRefused,
            _ => return,
        };
        if self.may_refuse(packet.to.host, packet.from.host) {
            let (from, to) = (packet.to, packet.from);
            self.emit(Packet { from, to, content });
        }
    }

    /// Whether a host refuses a packet. A paused host does not, nor one behind a firewall. Linux refuses a burst of
    /// about six packets of one address, then one per second, of any kind.
    fn may_refuse(&mut self, host: HostId, asker: HostId) -> bool {
        let (host, now) = (&mut self.machines[host], self.now);
        let can_answer = host.state == HostState::Up && host.pauses == 0 && host.answers;
        let quota = host.refusals.entry(asker).or_insert(Quota::new(REFUSALS, now));
        can_answer && quota.take(REFUSALS, now)
    }

    /// Handles a refused packet of any kind.
    pub(super) fn port_refused(&mut self, sender: NodeId, refused: Peer) {
        let about = refused.node;
        // A former address or one of a gateway says nothing about the member.
        let process = self.machines[sender].process.as_ref();
        let advertised = process.and_then(|process| process.address(about));
        if let Some(host) = advertised.filter(|&host| host != refused.host) {
            return self.dial_advertised(sender, Peer { node: about, host });
        }
        let known = self.machines[sender].connections.get(&about);
        if known.is_some_and(|known| known.address() == Some(refused.host)) {
            self.say(format_args!("{sender} hears that the port of {about} is refused"));
            self.input(sender, Input::HostAnswer { about, answer: HostAnswer::PortRefused });
        }
    }

    pub(super) fn refused(&mut self, asker: NodeId, number: u64) {
        if let Some(asking) = self.machines[asker].questions.remove(&number) {
            let answer = match asking.port {
                Port::Own => HostAnswer::PortRefused,
                Port::Closed => HostAnswer::Answers,
            };
            self.answered(asker, asking, answer);
        }
    }

    /// Ends a question without an answer. The closed port is asked after the member's own.
    pub(super) fn end_question(&mut self, asker: NodeId, number: u64) {
        if self.machines.is_stopped(asker) {
            let asking = self.machines[asker].questions.get(&number);
            if self.machines[asker].process.is_some()
                && let Some(patience) = asking.map(|asking| asking.patience)
            {
                let again = Event::AskTimeout(asker, number);
                self.queue.push(self.now + patience, Class::Timer, again);
            }
            return;
        }
        let Some(asking) = self.machines[asker].questions.remove(&number) else {
            return;
        };
        match asking.port {
            Port::Own => self.knock(asker, Asking { port: Port::Closed, ..asking }),
            Port::Closed => self.answered(asker, asking, HostAnswer::Nothing),
        }
    }

    fn answered(&mut self, asker: NodeId, asking: Asking, answer: HostAnswer) {
        let about = asking.about.node;
        self.say(format_args!("{asker} hears of the host of {about}: {answer:?}"));
        self.input(asker, Input::HostAnswer { about, answer });
    }
}

/// The burst of refusals for one address.
const REFUSALS: u32 = 6;
/// The burst of questions from one host to another.
const ASKS: u32 = 5;
