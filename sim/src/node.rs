//! What runs on a simulated host: a [`Process`] takes inputs and answers with [`Action`]s, as `phin_swim::Swim` does.

use std::{fmt, time::Duration};

use crate::{lie::Lies, traffic::PartBytes};

pub use crate::id::{HostId, NodeId, Peer};
pub use phin_swim::{
    Disconnection, Generation, HostAnswer, Incarnation, Instant, Question, Unreachable, Version,
};

/// By which way a message goes.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Channel {
    /// At once, without any promise.
    Datagram,
    /// Reliably: repeated until it arrives or the connection is lost.
    Stream,
}

/// What carries the messages of a protocol.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Transport {
    /// Connections with a handshake, as phin's.
    Quic,
    /// Bare datagrams, and a TCP connection for each stream, as memberlist's.
    Udp,
}

/// What happens to a process.
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// A message came.
    Message {
        /// From whom; the transport has proved it.
        from: Peer,
        /// By which way.
        channel: Channel,
        /// The encoded messages.
        payload: &'a [u8],
    },
    /// Its deadline is over.
    Timeout,
    /// A connection is open.
    Connected(Peer),
    /// A connection has ended.
    Disconnected(NodeId, Disconnection),
    /// No connection could be made.
    Unreachable(NodeId, Unreachable),
    /// Where one member was dialled, another answered.
    OtherMember {
        /// Who was dialled.
        sought: NodeId,
        /// Who answered.
        found: Peer,
    },
    /// A host has answered, or not.
    HostAnswer {
        /// The member asked about.
        about: NodeId,
        /// What was said.
        answer: HostAnswer,
    },
    /// The application wants it in the cluster of these members.
    Join(&'a [Peer]),
    /// The application wants it out.
    Leave,
    /// The application wants this member forgotten.
    Forget(NodeId),
    /// The member has noticed that it has another address.
    Moved(HostId),
    /// The application sets a key of the member's data.
    Put {
        /// Which.
        key: &'a str,
        /// To what.
        value: &'a [u8],
        /// After how long it expires, if it does.
        time_to_live: Option<Duration>,
    },
    /// The application deletes a key of the member's data.
    Delete(&'a str),
    /// The application sets the tag `t` of the member.
    Tag(&'a str),
}

/// What a process asks for.
#[derive(Clone, Debug)]
pub enum Action {
    /// Send a message.
    Send {
        /// To whom.
        to: Peer,
        /// By which way.
        channel: Channel,
        /// The encoded messages.
        payload: Vec<u8>,
    },
    /// Close the connection to this member.
    Disconnect(NodeId),
    /// Ask the host of a member.
    AskHost {
        /// The member.
        about: Peer,
        /// What is asked.
        question: Question,
    },
    /// What the application is told.
    Notice(Notice),
    /// The application is notified that this member receives nothing, or does so again.
    Isolated(bool),
    /// The application is told that some members do not hear this one, or that all do again.
    Degraded(NodeId, bool),
    /// The process goes on as a later generation.
    Generation(Generation),
    /// The data of a member changed here; at the owner, it was published.
    Data(NodeId, Option<DataLine>),
}

/// The data of a member as one member knows it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DataLine {
    /// In which run of its process the owner wrote it.
    pub generation: Generation,
    /// Which revision it is.
    pub revision: u64,
    /// How many keys it has.
    pub keys: usize,
    /// How many bytes keys and values have.
    pub bytes: usize,
    /// A hash of all keys and values.
    pub content: u64,
}

/// A change in what one member believes of another, or of itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Notice {
    /// Of whom.
    pub subject: NodeId,
    /// What.
    pub belief: Belief,
    /// Of which version of it.
    pub version: Version,
}

/// The state in which a member is listed.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Belief {
    /// It answers.
    Alive,
    /// It does not answer at present.
    Suspect,
    /// It is declared dead.
    Dead,
    /// It left.
    Left,
}

impl Belief {
    /// Whether the member is still counted in.
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Alive | Self::Suspect)
    }
}

impl fmt::Display for Belief {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Alive => "alive",
            Self::Suspect => "suspect",
            Self::Dead => "dead",
            Self::Left => "left",
        })
    }
}

/// One line of a member's list.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Line {
    /// Who.
    pub node: NodeId,
    /// The state in which it is listed.
    pub belief: Belief,
    /// Which version of it.
    pub version: Version,
}

/// How much a process holds of what must stay bounded.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Usage {
    /// Members in its list, dead ones included.
    pub members: usize,
    /// Links with an estimate of their own.
    pub links: usize,
}

/// A protocol's member as a value: no clock, no randomness but its seed.
pub trait Process: Send {
    /// Takes an input at a moment of its host's clock, and appends what it asks for.
    fn handle(&mut self, now: Instant, input: Input<'_>, actions: &mut Vec<Action>);

    /// When it is next to be handed [`Input::Timeout`].
    fn next_deadline(&self) -> Option<Instant>;

    /// A hash of whom it holds for live, in which version; equal lists have equal ones.
    fn fingerprint(&self) -> u64;

    /// What it holds that member for, if it knows it.
    fn belief(&self, node: NodeId) -> Option<Belief>;

    /// Which address that member advertises, as far as it knows.
    fn address(&self, node: NodeId) -> Option<HostId> {
        let _ = node;
        None
    }

    /// How many members it holds for live, itself included.
    fn live_len(&self) -> usize;

    /// Its list.
    fn lines(&self) -> Vec<Line>;

    /// The data of that member as it is known here, if there is any.
    fn data_of(&self, owner: NodeId) -> Option<DataLine> {
        let _ = owner;
        None
    }

    /// What it holds now.
    fn usage(&self, now: Instant) -> Usage;
}

/// How a process is started.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// Who it is.
    pub node: NodeId,
    /// On which host.
    pub host: HostId,
    /// Which run of the process.
    pub generation: Generation,
    /// The moment on its host's clock.
    pub now: Instant,
    /// Its source of randomness.
    pub rng_seed: u64,
    /// What it knows.
    pub knowledge: Knowledge,
}

/// What a process knows of the others when it starts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Knowledge {
    /// Itself.
    Itself,
    /// The first members, all of them, as if they had been together for long.
    Everyone,
}

/// A protocol: how its processes are made.
pub trait Protocol: Send + Sync {
    /// Its name in tables.
    fn name(&self) -> &str;

    /// What carries its messages.
    fn transport(&self) -> Transport;

    /// After how long without use a connection is closed.
    fn idle_timeout(&self) -> Duration {
        secs(30)
    }

    /// What a message says, for traces.
    fn describe(&self, payload: &[u8]) -> String {
        format!("{} bytes", payload.len())
    }

    /// What a message carries of data and pings, for counting. Of most protocols that is not known.
    fn parts(&self, payload: &[u8]) -> PartBytes {
        let _ = payload;
        PartBytes::default()
    }

    /// Starts a process.
    fn start(&self, start: Start) -> Box<dyn Process>;

    /// Which of the members that run probe this one. Of most protocols it is all of them.
    fn observers(&self, running: &[NodeId], subject: NodeId) -> Vec<NodeId> {
        running.iter().copied().filter(|&node| node != subject).collect()
    }

    /// Makes a member lie from a moment of its host's clock on. Of most protocols nobody does.
    fn lie(
        &self,
        process: Box<dyn Process>,
        node: NodeId,
        lies: Lies,
        now: Instant,
    ) -> Box<dyn Process> {
        let _ = (node, lies, now);
        process
    }
}

/// Seconds, for tests and tables.
pub const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Milliseconds.
pub const fn millis(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}
