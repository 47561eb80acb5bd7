//! Member data of real nodes: the time until all know a change, and what data costs while nothing changes and while all
//! members write.

mod experiment;
mod options;
mod report;
mod row;

pub use experiment::measure_data;
pub use options::DataOptions;
pub use report::DataReport;
pub use row::DataRow;

pub(crate) use report::traffic;

use crate::{Calling, Reporter};

/// A node that has member data: a value of its own, which all members read.
pub trait DataNode: Sync {
    /// Reports, from now on, each value of each member as soon as this node's API shows it. Called once, before any node
    /// writes.
    fn follow(&self, reporter: Reporter) -> Calling<'_>;

    /// Sets the node's own value, which is text, as some systems have nothing else.
    fn write(&self, value: String) -> Calling<'_>;
}
