//! Offices and their holders, as the HTTP interface and the commands show them.

use std::time::{Duration, Instant};

use phin::{Leader, Members, Office, Term, Vacancy};
use serde::{Deserialize, Serialize};

use crate::{
    brief::BriefMember,
    text::{printable, readable},
};

/// An office, and who holds it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct OfficeLine {
    pub(crate) office: Office,
    #[serde(flatten)]
    pub(crate) holder: Holder,
}

/// The holder of an office, as far as a node knows.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub(crate) enum Holder {
    /// The node that answers.
    Holding {
        token: Term,
        /// For how many milliseconds from now on it surely holds the office.
        valid_for_ms: u64,
    },
    /// Another member.
    Following { member: BriefMember, token: Term },
    /// No member is known to hold it.
    Vacant {
        #[serde(deserialize_with = "printable")]
        reason: String,
        /// With `no-majority`: how many voters are reached, and how many are needed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        voters: Option<Voters>,
    },
}

/// Voters that are reached, of those that are needed.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Voters {
    pub(crate) seen: usize,
    pub(crate) needed: usize,
}

/// A line of the events of an office.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct OfficeChange {
    /// The time of the change at the node, as RFC 3339 in UTC with microseconds.
    #[serde(deserialize_with = "printable")]
    pub(crate) at: String,
    #[serde(flatten)]
    pub(crate) line: OfficeLine,
}

/// The request of a program that stands for an office.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CandidacyRequest {
    /// Names the program: no other one at this node stands for the office meanwhile.
    pub(crate) session: String,
    /// The members that vote, as a filter.
    #[serde(default)]
    pub(crate) voters: String,
    /// How many voters there are.
    #[serde(default)]
    pub(crate) expected: Option<u16>,
}

impl Holder {
    /// The name of the state.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Holding { .. } => "holding",
            Self::Following { .. } => "following",
            Self::Vacant { .. } => "vacant",
        }
    }
}

impl OfficeLine {
    pub(crate) fn new(office: Office, leader: Leader, members: &Members) -> Self {
        let holder = match leader {
            Leader::ThisNode { token, valid_until } => {
                let valid_for = valid_until.saturating_duration_since(Instant::now());
                Holder::Holding { token, valid_for_ms: millis(valid_for) }
            }
            Leader::Member { id, token } => {
                Holder::Following { member: BriefMember::new(id, members), token }
            }
            Leader::Nobody(why) => {
                let voters = match why {
                    Vacancy::NoMajority { seen, needed } => Some(Voters { seen, needed }),
                    _ => None,
                };
                Holder::Vacant { reason: why.as_str().to_owned(), voters }
            }
            // A kind of state that was added later.
            _ => Holder::Vacant { reason: "unknown".to_owned(), voters: None },
        };
        Self { office, holder }
    }

    /// The human-readable form, without a line feed.
    pub(crate) fn to_text(&self) -> String {
        let Self { office, holder } = self;
        match holder {
            Holder::Holding { token, .. } => format!("{office}: held by this node, token {token}"),
            Holder::Following { member, token } => {
                format!("{office}: held by {}, token {token}", member.label())
            }
            Holder::Vacant { reason, voters: None } => format!("{office}: vacant ({reason})"),
            Holder::Vacant { reason, voters: Some(Voters { seen, needed }) } => {
                format!("{office}: vacant ({reason}: {seen} of {needed} voters needed)")
            }
        }
    }
}

impl OfficeChange {
    pub(crate) fn to_text(&self) -> String {
        format!("{} {}", readable(&self.at), self.line.to_text())
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
