//! Queries: questions of one application to those of other members, with an outcome for each of them.
//!
//! The node that asks fixes which members it expects, each in its present run. It asks up to 16 of them directly
//! ([`Part::QueryAsk`]); more of them receive the query as a publication. Answers ([`Part::QueryReplies`]) are signed
//! by those that give them. They go directly to the node that asks if a connection is open, else back along the tree,
//! in batches. A query ends as soon as each expected member has an outcome: it answered, died, left or was restarted,
//! or the time is over.
//!
//! [`own`] has the queries of this node, [`known`] those that reached it; [`asker`] and [`replier`] have the rules of both
//! sides.
//!
//! [`Part::QueryAsk`]: crate::Part::QueryAsk
//! [`Part::QueryReplies`]: crate::Part::QueryReplies

pub(crate) mod answer;
pub(crate) mod asker;
pub(crate) mod known;
pub(crate) mod own;
pub(crate) mod replier;
pub(crate) mod reply;
pub(crate) mod request;

use crate::{
    Instant,
    limit::Budgets,
    query::{known::Known, own::Own, request::QueryKey},
};

/// The queries of this node, and those that it answers or passes on.
#[derive(Debug, Default)]
pub(crate) struct Queries {
    own: Own,
    known: Known,
    /// How many signatures are checked for each member that sends answers.
    checks: Budgets,
    /// How many queries each member may send to this one alone.
    asks: Budgets,
    /// The budget of each member for replies to be passed on, in bytes.
    bytes: Budgets,
}

impl Queries {
    /// Forgets a query if its time is over.
    pub(crate) fn forget(&mut self, now: Instant, key: QueryKey) {
        if self.known.get(key).is_some_and(|query| query.deadline <= now) {
            self.known.remove(key);
        }
    }
}
