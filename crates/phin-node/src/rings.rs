//! The JSON of the rings: the members next to a member.

use phin::{MemberInfo, MemberState};
use serde::{Deserialize, Serialize};

use crate::brief::BriefMember;

/// The answer of `/v1/members/{name-or-id}/rings`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct MemberRings {
    pub(crate) member: MemberInfo,
    /// The number of rings.
    pub(crate) rings: u8,
    /// The number of members on each.
    pub(crate) live: usize,
    /// The members that observe it, and those that it observes.
    pub(crate) observers: Vec<RingNeighbour>,
    pub(crate) subjects: Vec<RingNeighbour>,
}

/// A member next to another one.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct RingNeighbour {
    #[serde(flatten)]
    pub(crate) member: BriefMember,
    /// `null` if the list no longer has the member.
    pub(crate) state: Option<MemberState>,
    /// The rings on which it is next, from 0; empty if all members observe all.
    pub(crate) rings: Vec<u8>,
}
