//! The JSON of links: the evidence that a node has now on other members.

use serde::{Deserialize, Serialize};

use crate::{brief::BriefMember, events::Failing};

/// The answer of `/v1/links`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct LinkList {
    pub(crate) links: Vec<KnownLink>,
}

/// The link of a node to one live member, or the evidence of others about that member.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct KnownLink {
    pub(crate) member: BriefMember,
    /// Whether the node observes it.
    pub(crate) observed: bool,
    /// `null` without evidence here.
    pub(crate) phi: Option<f64>,
    /// The typical round trip in milliseconds; `null` before the first measurement, and for members that the node does not
    /// observe.
    pub(crate) rtt_ms: Option<f64>,
    /// The round trip that one reply in a hundred exceeds, in milliseconds, as estimated; `null` as `rtt_ms` is.
    #[serde(default)]
    pub(crate) rtt_p99_ms: Option<f64>,
    /// How many round trips were measured; `null` for members that the node does not observe.
    #[serde(default)]
    pub(crate) rtt_samples: Option<u32>,
    /// The estimated probability that a ping or its reply is lost; `null` for members that the node does not observe.
    pub(crate) loss: Option<f64>,
    #[serde(flatten)]
    pub(crate) failing: Failing,
}
