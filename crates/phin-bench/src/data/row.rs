//! The measurements of the member data of one system at one size.

use serde::{Deserialize, Serialize};

use crate::{Cost, Spread};

/// The measurements of the member data of one system at one size. Times are milliseconds.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct DataRow {
    /// The system's name.
    pub system: String,
    /// How many members the cluster had.
    pub members: usize,
    /// From when the first of all members wrote its first value until all knew all of them.
    pub first_values_ms: Option<f64>,
    /// The cost of a node while nothing changed.
    pub idle: Option<Cost>,
    /// Single changes, one after the other, with pauses.
    pub single: Option<Spread>,
    /// Changes while all members wrote.
    pub loaded: Option<Spread>,
    /// How often a node declared a living one dead.
    pub false_deaths: u64,
    /// Resident memory of a node at the end, in KiB: that of their process, divided by their number.
    pub resident_kib: Option<f64>,
    /// Why less was measured than was asked for.
    pub failure: Option<String>,
}
