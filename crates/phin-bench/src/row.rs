//! The measurements of one system at one size.

use serde::{Deserialize, Serialize};

/// The measurements of one system at one size. Times are milliseconds.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Row {
    /// The system's name.
    pub system: String,
    /// How many members the cluster had.
    pub members: usize,
    /// For each death: until the first of the living knew.
    pub first_ms: Vec<f64>,
    /// For each death: until half of the living knew.
    pub half_ms: Vec<f64>,
    /// For each death that all the living knew of in time: until the last of them did.
    pub all_ms: Vec<f64>,
    /// Deaths that not all the living knew of in time.
    pub unnoticed: usize,
    /// How often a node declared a living one dead, all nodes and the whole run together.
    pub false_deaths: u64,
    /// The cost of a node while nothing happened.
    pub idle: Option<Idle>,
    /// For each start: until the last list was complete.
    pub bootstrap_ms: Vec<f64>,
    /// Starts after which not all lists were complete in time.
    pub incomplete: usize,
    /// Why less was measured than was asked for.
    pub failure: Option<String>,
}

/// The mean cost of a node of a calm cluster.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Idle {
    /// How long it was measured.
    pub seconds: f64,
    /// Packets sent a second, those of all protocols; not known where the network was shared.
    pub packets_per_second: Option<f64>,
    /// Bytes sent a second, headers of IP included.
    pub bytes_per_second: Option<f64>,
    /// Time on a CPU, in milliseconds a second.
    pub cpu_ms_per_second: f64,
    /// Resident memory in KiB: that of the process with the survivors, divided by their number.
    pub resident_kib: f64,
    /// Connections of one node at the end, on average; not known of systems that have none.
    pub connections: Option<f64>,
    /// The most connections that a node had at the end.
    pub max_connections: Option<f64>,
}
