//! Asking a host whether a port of it is refused: what tells *gone*, *hung* and *silent* apart.

use std::time::Duration;

use crate::{
    node::{HostAnswer, HostId, Input, NodeId, Peer, Question, millis, secs},
    queue::Class,
    simulation::{Content, Event, HostState, Packet, Simulation},
};

/// A question under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asking {
    about: Peer,
    port: Port,
}

/// Where a datagram knocks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Port {
    /// The member's own port.
    Own,
    /// A port that nobody has.
    Closed,
}

impl Simulation {
    pub(crate) fn ask_host(&mut self, asker: NodeId, about: Peer, question: Question) {
        let port = match question {
            Question::Reachability => Port::Closed,
            Question::Silence => Port::Own,
        };
        self.say(format_args!("{asker} asks the host of {}: {question:?}", about.node));
        let asking_host = self.nodes[asker.index()].host;
        if self.has_quota(about.host, asking_host) {
            self.knock(asker, Asking { about, port });
        } else {
            let (about, answer) = (about.node, HostAnswer::Unknown);
            self.input(asker, Input::HostAnswer { about, answer });
        }
    }

    fn knock(&mut self, asker: NodeId, asking: Asking) {
        self.last_question += 1;
        let number = self.last_question;
        self.nodes[asker.index()].questions.insert(number, asking);
        let (from, to) = (self.peer_of(asker), asking.about);
        self.emit(Packet { from, to, content: Content::Knock(number, asking.port) });
        self.queue.push(self.now + ASK_TIMEOUT, Class::Timer, Event::AskTimeout(asker, number));
    }

    /// What the kernel of a host that is up says; a paused one says nothing, nor one behind a firewall.
    pub(crate) fn answer_from_kernel(&mut self, packet: &Packet, number: u64, port: Port) {
        let host = &self.hosts[packet.to.host.index()];
        let has_process =
            host.occupant.is_some_and(|occupant| self.nodes[occupant.index()].process.is_some());
        let is_refused = match port {
            Port::Own => !has_process,
            Port::Closed => true,
        };
        if host.state == HostState::Up && host.pauses == 0 && host.answers && is_refused {
            let (from, to) = (packet.to, packet.from);
            self.emit(Packet { from, to, content: Content::Refusal(number) });
        }
    }

    pub(crate) fn refused(&mut self, asker: NodeId, number: u64) {
        if let Some(asking) = self.nodes[asker.index()].questions.remove(&number) {
            self.answered(
                asker,
                asking,
                match asking.port {
                    Port::Own => HostAnswer::PortRefused,
                    Port::Closed => HostAnswer::Answers,
                },
            );
        }
    }

    /// Nothing answered in time: the closed port is asked after the member's own.
    pub(crate) fn end_question(&mut self, asker: NodeId, number: u64) {
        if self.is_stopped(asker) {
            if self.nodes[asker.index()].process.is_some() {
                let again = Event::AskTimeout(asker, number);
                self.queue.push(self.now + ASK_TIMEOUT, Class::Timer, again);
            }
            return;
        }
        let Some(asking) = self.nodes[asker.index()].questions.remove(&number) else {
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

    /// Linux refuses about six datagrams of one address at once, then one a second. Who has asked so often that silence
    /// may mean this knows it, and does not ask.
    fn has_quota(&mut self, host: HostId, asker: HostId) -> bool {
        let now = self.now;
        let (left, since) = self.hosts[host.index()].quota.entry(asker).or_insert((QUOTA, now));
        let refilled = u32::try_from((now - *since).as_secs()).unwrap_or(QUOTA);
        if refilled > 0 {
            *left = left.saturating_add(refilled).min(QUOTA);
            *since = if *left == QUOTA { now } else { *since + secs(1) * refilled };
        }
        let has_quota = *left >= KNOCKS;
        if has_quota {
            *left -= KNOCKS;
        }
        has_quota
    }
}

/// How long an answer is waited for at each port.
const ASK_TIMEOUT: Duration = millis(50);
/// How many refusals one address gets at once.
const QUOTA: u32 = 6;
/// How many datagrams a question may take.
const KNOCKS: u32 = 2;
