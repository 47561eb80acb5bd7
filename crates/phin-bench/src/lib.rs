//! Measures clusters of real nodes on one machine: the time until all live members know of a death, the cost of a
//! node while nothing happens, the time until a new cluster is complete, and the time and cost of changes of member
//! data, of messages and of queries, also while packets are lost, and the detection of deaths while all publish.
//!
//! The nodes run in child processes, which receive commands over pipes: the survivors share one, and each victim has
//! its own. They are nodes of phin or of another [`System`], with the same deaths, clocks and counters for all. If
//! the machine permits, everything runs in a separate network namespace, in which every node has an address. Its
//! loopback carries nothing else, so its counters are those of the nodes, and a host falls silent by losing its
//! address. Linux only.

mod board;
mod child;
mod children;
mod cluster;
mod cost;
mod data;
mod document;
mod experiment;
mod load;
mod loss;
mod machine;
mod messages;
mod network;
mod options;
mod phin_system;
mod progress;
mod protocol;
mod report;
mod row;
mod spread;
mod systems;
mod watched;

pub use board::Told;
pub use child::{serve, spin};
pub use children::Launcher;
pub use cost::Cost;
pub use data::{DataNode, DataOptions, DataReport, DataRow, measure_data};
pub use document::Document;
pub use experiment::measure;
pub use load::{Detection, LoadOptions, LoadReport, LoadRow, Step, measure_load};
pub use loss::{LossOptions, LossReport, LossRow, measure_loss};
pub use machine::{Machine, cpu_millis};
pub use messages::{
    Amid, Answers, MessageNode, MessageOptions, MessageReport, MessageRow, Queries, When, holds,
    measure_messages,
};
pub use network::{Network, enter};
pub use options::{Common, Kill, Options};
pub use phin_system::Phin;
pub use report::Report;
pub use row::{Idle, Row};
pub use spread::{Faults, Reporter, Spread};

use std::{
    net::{IpAddr, SocketAddr},
    pin::Pin,
};

/// A membership system, with its settings.
pub trait System: Sync {
    /// Its name in commands and reports: lower case, with hyphens.
    fn name(&self) -> &'static str;

    /// Its version, transport and every timing that was chosen, in a line.
    fn settings(&self) -> String;

    /// Every setting that member data has of its own, and how its changes are noticed, in a line; `None` if the system has
    /// no member data.
    fn data_settings(&self) -> Option<String> {
        None
    }

    /// The same of messages.
    fn message_settings(&self) -> Option<String> {
        None
    }

    /// The TCP port of each node at which this program controls it, if it does. Its traffic is not counted.
    fn control_port(&self) -> Option<u16> {
        None
    }

    /// Starts a node, which from then on tells what it learns of others.
    fn start(&'static self, spec: Spec, told: Told) -> Starting;
}

/// A node that is about to run, or why it does not.
pub type Starting = Pin<Box<dyn Future<Output = Result<Box<dyn Node>, String>> + Send>>;

/// A call of a node, or why it failed.
pub type Calling<'a> = Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'a>>;

/// A count that is asked for.
pub type Counting<'a> = Pin<Box<dyn Future<Output = Option<u64>> + Send + 'a>>;

/// A running node. Dropping it may end it.
pub trait Node: Send + Sync {
    /// The address at which others join through it.
    fn addr(&self) -> SocketAddr;

    /// The process it runs in, if that is not the one that started it.
    fn process(&self) -> Option<u32> {
        None
    }

    /// How many connections it has now, where it has any and knows.
    fn connections(&self) -> Counting<'_> {
        Box::pin(std::future::ready(None))
    }

    /// Its member data, if the system has any.
    fn data(&self) -> Option<&dyn DataNode> {
        None
    }

    /// Its messages, if the system has any.
    fn messages(&self) -> Option<&dyn MessageNode> {
        None
    }
}

/// The parameters of a node.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Its name, which no other node ever has.
    pub name: String,
    /// The address that it binds; no other node has it, unless all have the loopback's.
    pub ip: IpAddr,
    /// The port that it binds; 0 where all nodes share an address.
    pub port: u16,
    /// Through whom it joins; the first has nobody.
    pub seed: Option<SocketAddr>,
    /// How many members the cluster will have, for systems that want to know.
    pub members: usize,
    /// The shared secret of this cluster: 32 bytes in hexadecimal.
    pub secret: String,
}
