//! The measurements of the messages of one system at one size.

use serde::{Deserialize, Serialize};

use crate::{Cost, Faults, Spread, machine::millis_between, protocol::Asked};

/// The measurements of the messages of one system at one size. Times are milliseconds.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct MessageRow {
    /// The system's name.
    pub system: String,
    /// How many members the cluster had.
    pub members: usize,
    /// The cost of a node while nobody published.
    pub idle: Option<Cost>,
    /// Messages to all, one after the other, with pauses.
    pub single: Option<Spread>,
    /// Faults of those messages that must not occur.
    pub faults: Faults,
    /// Queries that all members answered.
    pub queries: Option<Queries>,
    /// Queries amid deaths.
    pub amid: Option<Amid>,
    /// How often a node declared a living one dead.
    pub false_deaths: u64,
    /// Why less was measured than was asked for.
    pub failure: Option<String>,
}

/// Queries of a cluster of which nobody dies.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Queries {
    /// For each query that all members answered: until the caller had the last reply.
    pub replied_ms: Vec<f64>,
    /// For each query: until it ended for the caller.
    pub ended_ms: Vec<f64>,
    /// The cost of a node meanwhile.
    pub cost: Cost,
}

impl Queries {
    pub(crate) fn add(&mut self, asked: &Asked, members: usize) {
        let since = |at: u64| millis_between(asked.began, at);
        let replied = asked.answers.replied.get(members - 1).copied();
        self.replied_ms.extend(replied.map(since));
        self.ended_ms.push(since(asked.ended));
    }

    /// Queries for which not all replies came.
    pub fn incomplete(&self) -> usize {
        self.ended_ms.len() - self.replied_ms.len()
    }
}

/// Queries, each amid the deaths of so many members.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Amid {
    /// How many members died with each.
    pub deaths: usize,
    /// For each query: from when it was asked until its end.
    pub lasted_ms: Vec<f64>,
    /// For each query: from the last death until its end.
    pub ended_ms: Vec<f64>,
    /// For each query: from the last death until the asker's own list had all of them dead.
    pub known_ms: Vec<f64>,
    /// How many of the dead were named as such, in all.
    pub named: usize,
    /// How many of the dead were named as something else.
    pub misnamed: usize,
    /// How many of the living did not reply.
    pub lacking: usize,
}

impl Amid {
    /// Adds a query that asked so many members, of which these died, the last of them at that moment.
    pub(crate) fn add(&mut self, asked: &Asked, members: usize, dead: &[String], last: u64) {
        self.deaths = dead.len();
        self.lasted_ms.push(millis_between(asked.began, asked.ended));
        self.ended_ms.push(millis_between(last, asked.ended));
        if asked.known.len() == dead.len() {
            self.known_ms.extend(asked.known.iter().max().map(|&at| millis_between(last, at)));
        }
        let named = asked.answers.others.iter().filter(|(member, _)| dead.contains(member));
        let (as_dead, as_others): (Vec<_>, Vec<_>) =
            named.partition(|(_, outcome)| outcome == "dead");
        self.named += as_dead.len();
        self.misnamed += as_others.len();
        self.lacking += (members - dead.len()).saturating_sub(asked.answers.replied.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Answers;

    fn asked(replied: &[u64], others: &[(&str, &str)]) -> Asked {
        let ms = |ms: &u64| ms * 1_000_000;
        let others = others.iter().map(|(name, why)| ((*name).to_owned(), (*why).to_owned()));
        let answers =
            Answers { replied: replied.iter().map(ms).collect(), others: others.collect() };
        Asked { began: ms(&1), ended: ms(&90), answers, known: vec![ms(&80), ms(&70)] }
    }

    #[test]
    fn a_query_is_complete_with_the_reply_of_each_member() {
        let mut queries = Queries::default();
        queries.add(&asked(&[2, 4, 6], &[]), 3);
        queries.add(&asked(&[2, 4], &[]), 3);
        assert_eq!((&queries.replied_ms[..], queries.ended_ms.len()), (&[5.0][..], 2));
        assert_eq!(queries.incomplete(), 1);
    }

    #[test]
    fn the_dead_are_named_and_the_living_reply() {
        let mut amid = Amid::default();
        let dead = ["a", "b"].map(str::to_owned);
        amid.add(&asked(&[2, 3], &[("a", "dead"), ("b", "timed-out")]), 5, &dead, 60_000_000);
        assert_eq!((amid.named, amid.misnamed, amid.lacking), (1, 1, 1));
        assert_eq!((amid.ended_ms[0], amid.known_ms[0], amid.lasted_ms[0]), (30.0, 20.0, 89.0));
    }
}
