//! Texts that each member gives to all others, such as values of its data and messages: when all know them, and what that
//! costs.

mod bench;
mod board;
mod row;

pub use board::Reporter;
pub use row::{Faults, Spread};

pub(crate) use bench::{SpreadBench, pause, schedule, sleep_until};
pub(crate) use board::SpreadBoard;
