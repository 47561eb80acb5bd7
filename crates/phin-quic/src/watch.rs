//! Watchers: clients that are no members, with a protocol of their own.
//!
//! A watcher has an ephemeral identity and the credentials of the cluster. It opens one stream with one request, and the node
//! answers with one stream of *frames*: a length of four bytes in network order, then that many bytes. Their contents are
//! not decided here.
//!
//! Which ALPN id was negotiated decides whether a connection is a member's or a watcher's. So neither can pass for the other,
//! and watchers have places, limits and codes of their own.

pub(crate) mod client;
pub(crate) mod serve;

use std::time::Duration;

use quinn::ConnectionError;

use crate::{
    close::{CloseCode, statement_in},
    refusal::DialError,
};

/// Why a watcher has no stream of frames, or no longer.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum WatchError {
    /// No connection, or none that both sides accept.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// A node of the cluster answered, but it serves no watchers.
    #[error(
        "the node serves no watchers: it is of an earlier release, or its setting `watchers` is 0"
    )]
    NotServed,
    /// The node serves as many watchers as it may.
    #[error("the node has no place for another watcher")]
    Full,
    /// The node's own list may be out of date.
    #[error("the node is not ready: it has not joined, is isolated, or has left")]
    NotReady,
    /// The node shut down, or closed the connection for a reason that this release does not know.
    #[error("the node closed the connection")]
    Closed,
    /// The connection was lost: no process has the port any more, or the node was started anew.
    #[error("the connection to the node was lost")]
    Lost,
    /// The node sent nothing for so long that it is taken for gone.
    #[error("the node was silent for {} ms", MAX_SILENCE.as_millis())]
    Silent,
    /// The node gave up, because this watcher did not read.
    #[error("the node gave up, because this watcher did not read in time")]
    Stalled,
    /// One side sent what the other cannot use.
    #[error("one side did not understand the other: {reason}")]
    NotUnderstood {
        /// The reason.
        reason: String,
    },
}

impl WatchError {
    /// Why a connection ended that was established.
    fn of_ended(error: &ConnectionError) -> Self {
        match error {
            error if statement_in(error).is_some() => {
                Self::Dial(DialError::from_connection_error(error))
            }
            ConnectionError::ApplicationClosed(close) => Self::of_code(CloseCode(close.error_code)),
            ConnectionError::TimedOut
            | ConnectionError::Reset
            | ConnectionError::LocallyClosed
            | ConnectionError::CidsExhausted => Self::Lost,
            // In TLS 1.3 a client learns only now that the server refused its certificate.
            ConnectionError::TransportError(_)
            | ConnectionError::ConnectionClosed(_)
            | ConnectionError::VersionMismatch => {
                Self::Dial(DialError::from_connection_error(error))
            }
        }
    }

    fn of_code(code: CloseCode) -> Self {
        let reason = || "the node refused what this watcher sent".to_owned();
        match code {
            CloseCode::WATCHERS_FULL => Self::Full,
            CloseCode::NOT_READY => Self::NotReady,
            CloseCode::MISUSED => Self::NotUnderstood { reason: reason() },
            CloseCode::STALLED => Self::Stalled,
            _ => Self::Closed,
        }
    }
}

/// The longest frame.
pub const MAX_FRAME_BYTES: usize = 64 * 1024;
/// The longest request.
const MAX_REQUEST_BYTES: usize = 1_024;
/// How long a node may be silent before a watcher leaves it. Nodes send something four times a second.
pub(crate) const MAX_SILENCE: Duration = Duration::from_millis(750);
