//! The interface of protocols: a [`Process`] takes inputs and returns [`Action`]s, as `phin_swim::Swim` does.

use std::{fmt, sync::Arc, time::Duration};

use crate::{lie::Lies, traffic::PartBytes};

pub use crate::id::{HostId, NodeId, Peer};
pub use phin_swim::{
    Disconnection, Generation, HostAnswer, Incarnation, Instant, Promises, Question, Unreachable,
    Version,
};

/// How a message is sent.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Channel {
    /// Unreliably, without delay.
    Datagram,
    /// Reliably: repeated until it arrives or the connection is lost.
    Stream,
}

/// The transport of a protocol.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Transport {
    /// Connections with a handshake, as in phin.
    Quic,
    /// Bare datagrams, and a TCP connection for each stream, as in memberlist.
    Udp,
}

/// An input of a process.
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// A message arrived.
    Message {
        /// The sender, proved by the transport.
        from: Peer,
        /// How it is sent.
        channel: Channel,
        /// The encoded messages.
        payload: &'a [u8],
    },
    /// The deadline of the process has passed.
    Timeout,
    /// A connection is open.
    Connected(Peer),
    /// A connection has ended.
    Disconnected(NodeId, Disconnection),
    /// A dial failed.
    Unreachable(NodeId, Unreachable),
    /// Another member answered a dial.
    OtherMember {
        /// The member that was dialled.
        sought: NodeId,
        /// The member that answered.
        found: Peer,
    },
    /// A host has answered a question, or has not.
    HostAnswer {
        /// The member in question.
        about: NodeId,
        /// The answer.
        answer: HostAnswer,
    },
    /// The application asks to join the cluster of these members.
    Join(&'a [Peer]),
    /// The application asks to leave.
    Leave,
    /// The application asks to forget this member.
    Forget(NodeId),
    /// An operator hands over a statement of the administrator.
    Administer(&'a [u8]),
    /// The member has noticed its new address.
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
    /// The application publishes a message to all members.
    Publish {
        /// Its topic.
        topic: &'a str,
        /// Its content.
        body: &'a [u8],
        /// The members that are to receive it; empty for all.
        filter: &'a str,
    },
    /// The application stands for an office.
    Stand {
        /// Its name.
        office: &'a str,
        /// The members that vote; empty for all.
        filter: &'a str,
        /// How many voters there are, if that is stated.
        expected: Option<u16>,
    },
    /// The application stands for an office no longer.
    Resign(&'a str),
    /// The application takes work, or drains.
    Serve(bool),
}

/// An output of a process.
#[derive(Clone, Debug)]
pub enum Action {
    /// Send a message.
    Send {
        /// The receiver.
        to: Peer,
        /// How it is sent.
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
        /// The question.
        question: Question,
        /// How long the answer to each packet is waited for.
        patience: Duration,
    },
    /// Notify the application of a change.
    Notice(Notice),
    /// Notify the application that this member is isolated, or no longer.
    Isolated(bool),
    /// Notify the application that a member is degraded, or no longer.
    Degraded(NodeId, bool),
    /// The process continues as a later generation.
    Generation(Generation),
    /// The data of a member changed here; at the owner, it was published.
    Data(NodeId, Option<DataLine>),
    /// Something happened to a message.
    Message(MessageNews),
    /// The votes of the member are on its disk from now on.
    Keep(Promises),
    /// The statements of the administrator are on its disk from now on.
    KeepStatements(Vec<Vec<u8>>),
    /// Something happened to an office.
    Office(OfficeNews),
}

/// An event of an office at a member.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OfficeNews {
    /// Its name.
    pub office: Arc<str>,
    /// The event.
    pub what: OfficeChange,
}

/// An event of an office at a member.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OfficeChange {
    /// The member stands for it, and so many voters are expected, if that is stated.
    Stands(Option<u16>),
    /// It stands for it no longer.
    Resigned,
    /// As a voter it granted a term to this member, and kept that.
    Granted {
        /// The term.
        term: u64,
        /// The candidate.
        to: NodeId,
    },
    /// It holds the office.
    Elected {
        /// The term.
        term: u64,
        /// Until when, on its own clock.
        valid_until: Instant,
    },
    /// It holds the office for longer.
    Renewed {
        /// Until when, on its own clock.
        valid_until: Instant,
    },
    /// It does not hold the office any more.
    Lost {
        /// The term that ended.
        term: u64,
    },
    /// Another member is said to hold it.
    Following {
        /// The holder.
        member: NodeId,
        /// Its term.
        term: u64,
    },
    /// No member is known to hold it, for this reason.
    Vacant(&'static str),
}

/// An event of a message to all members, at one of them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MessageNews {
    /// This member published it. A filtered message is not for all members.
    Published {
        /// The message.
        line: MessageLine,
        /// Whether it is for some members only.
        is_filtered: bool,
    },
    /// This member was not allowed to publish it now.
    Refused,
    /// It is delivered to the application of this member.
    Delivered(MessageLine),
    /// The application of this member is told that the next messages of a publisher are missing.
    Missed {
        /// The member that published them.
        from: NodeId,
        /// How many.
        count: u64,
    },
}

/// A message to all members, as one member knows it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MessageLine {
    /// The member that published it.
    pub from: NodeId,
    /// The run of its process.
    pub generation: Generation,
    /// Its number among the messages of that run, from 1.
    pub sequence: u64,
    /// How many members passed it on.
    pub hops: u8,
    /// The length of its content.
    pub bytes: usize,
    /// A hash of topic and content.
    pub content: u64,
}

/// The data of a member as one member knows it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DataLine {
    /// The run of the owner's process that wrote it.
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

/// A change of a member's state in the list of another, or in its own.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Notice {
    /// The member.
    pub subject: NodeId,
    /// The new state.
    pub belief: Belief,
    /// The version of the member.
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
    /// Whether the state counts as live.
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
    /// The member.
    pub node: NodeId,
    /// The state in which it is listed.
    pub belief: Belief,
    /// The version of the member.
    pub version: Version,
}

/// The sizes that must stay bounded in a process.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Usage {
    /// Members in its list, dead ones included.
    pub members: usize,
    /// Links with an estimate of their own.
    pub links: usize,
}

/// A protocol's member as a value: no clock, no randomness but its seed.
pub trait Process: Send {
    /// Handles an input at a moment of its host's clock, and appends its actions.
    fn handle(&mut self, now: Instant, input: Input<'_>, actions: &mut Vec<Action>);

    /// When the next [`Input::Timeout`] is due.
    fn next_deadline(&self) -> Option<Instant>;

    /// A hash of the live members and their versions. Equal lists have equal fingerprints.
    fn fingerprint(&self) -> u64;

    /// The state of a member in its list, if it knows the member.
    fn belief(&self, node: NodeId) -> Option<Belief>;

    /// The address of a member in its list.
    fn address(&self, node: NodeId) -> Option<HostId> {
        let _ = node;
        None
    }

    /// The number of live members in its list, including itself.
    fn live_len(&self) -> usize;

    /// The lines of its list.
    fn lines(&self) -> Vec<Line>;

    /// The data of that member as it is known here, if there is any.
    fn data_of(&self, owner: NodeId) -> Option<DataLine> {
        let _ = owner;
        None
    }

    /// Its present sizes.
    fn usage(&self, now: Instant) -> Usage;
}

/// The parameters of a start.
#[derive(Clone, Debug)]
pub struct Start {
    /// The member.
    pub node: NodeId,
    /// Its host.
    pub host: HostId,
    /// The generation of the run.
    pub generation: Generation,
    /// The present moment on its host's clock.
    pub now: Instant,
    /// Its source of randomness.
    pub rng_seed: u64,
    /// The members that it knows.
    pub knowledge: Knowledge,
    /// The votes of its earlier runs that are on its disk.
    pub promises: Promises,
    /// The statements of the administrator that are on its disk.
    pub statements: Vec<Vec<u8>>,
}

/// The members that a process knows when it starts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Knowledge {
    /// Only itself.
    Itself,
    /// All first members, as if they had been together for long.
    Everyone,
}

/// A protocol, which creates processes.
pub trait Protocol: Send + Sync {
    /// Its name in tables.
    fn name(&self) -> &str;

    /// The transport of its messages.
    fn transport(&self) -> Transport;

    /// The time after which an unused connection is closed.
    fn idle_timeout(&self) -> Duration {
        secs(30)
    }

    /// Describes a message, for traces.
    fn describe(&self, payload: &[u8]) -> String {
        format!("{} bytes", payload.len())
    }

    /// The data and pings that a message carries, for counting. Not known for most protocols.
    fn parts(&self, payload: &[u8]) -> PartBytes {
        let _ = payload;
        PartBytes::default()
    }

    /// Starts a process.
    fn start(&self, start: Start) -> Box<dyn Process>;

    /// Signs that a member is expelled, or that it may return, so many milliseconds after the start. Most protocols have no
    /// administrator.
    fn statement(&self, subject: NodeId, is_expelled: bool, at: u64) -> Option<Vec<u8>> {
        let _ = (subject, is_expelled, at);
        None
    }

    /// The running members that probe this one. In most protocols these are all.
    fn observers(&self, running: &[NodeId], subject: NodeId) -> Vec<NodeId> {
        running.iter().copied().filter(|&node| node != subject).collect()
    }

    /// Makes a member lie from a moment of its host's clock on. Most protocols do not support it.
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
