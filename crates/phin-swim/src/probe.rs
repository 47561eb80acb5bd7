//! Probing: ping, ping-req through helpers, ack and nack (SWIM §3.1), and whose turn it is.

pub(crate) mod helpers;
pub(crate) mod paths;
pub(crate) mod pings;
pub(crate) mod prober;
pub(crate) mod redial;
pub(crate) mod rounds;

use std::time::Duration;

use crate::MemberId;

/// Why a connection ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Disconnection {
    /// Nothing was sent for a while, or this side closed it.
    Idle,
    /// The peer closed it.
    Closed,
    /// The peer's process does not know the connection, so it is another run (stateless reset, RFC 9000 §10.3).
    Reset,
    /// The peer stopped answering.
    Lost,
}

/// Why no connection could be made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Unreachable {
    /// Nothing answered.
    NoAnswer,
    /// The host refused the port: no process is there.
    Refused,
    /// Another member answered at that address.
    OtherIdentity,
    /// The handshake failed: another cluster, another key, an expired certificate.
    NotAdmitted,
}

/// The link to a member that this one observes.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Link {
    /// The member at its far end.
    pub id: MemberId,
    /// phi of the member now: see [`Swim::phi`](crate::Swim::phi).
    pub phi: f64,
    /// The typical round trip; `None` before the first reply.
    pub round_trip: Option<Duration>,
    /// The round trip that one reply in a hundred exceeds, as estimated from the measured ones; `None` before the first reply.
    pub round_trip_p99: Option<Duration>,
    /// How many round trips were measured. The last few tens count most.
    pub samples: u32,
    /// The estimated probability that a ping or its reply is lost.
    pub loss: f64,
}
