//! Messages of real nodes: the time until all applications have one, queries, queries amid deaths, the detection of deaths
//! while all members publish, and delivery while packets are lost.

mod experiment;
mod options;
mod publishing;
mod report;
mod row;

pub use experiment::measure_messages;
pub use options::{MessageOptions, When};
pub use report::MessageReport;
pub use row::{Amid, MessageRow, Queries};

pub(crate) use publishing::Publishing;

use serde::{Deserialize, Serialize};

use crate::{Calling, Reporter, machine::now};

/// A node with an application that publishes messages, receives those of all, asks all, and answers.
pub trait MessageNode: Sync {
    /// Reports, from now on, each message as soon as the application has it, and answers each query with its own text, unless
    /// the text [`holds`] this node's reply. Called once, before any node publishes.
    fn follow(&self, reporter: Reporter) -> Calling<'_>;

    /// Publishes a message to all members, this node included.
    fn publish(&self, text: String) -> Calling<'_>;

    /// Asks all members, this node included, for as long as the system does by default. Returns when the query has ended.
    fn query<'a>(&'a self, text: String, answers: &'a mut Answers) -> Calling<'a>;
}

/// Whether a query asks this member to never reply.
pub fn holds(text: &[u8], member: &str) -> bool {
    text.split(u8::is_ascii_whitespace).any(|word| word == member.as_bytes())
}

/// The outcomes at the members that a query asked.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Answers {
    /// When the reply of each member was there.
    pub(crate) replied: Vec<u64>,
    /// The system's report of other members: name and outcome.
    pub(crate) others: Vec<(String, String)>,
}

impl Answers {
    /// A member's reply is there.
    pub fn reply(&mut self) {
        self.replied.push(now());
    }

    /// The system reports that a member did not reply, and why.
    pub fn other(&mut self, member: &str, outcome: &str) {
        self.others.push((member.to_owned(), outcome.to_owned()));
    }
}
