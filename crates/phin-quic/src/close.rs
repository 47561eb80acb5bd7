//! How connections end: the error codes that the two sides exchange, and their meaning.

use bytes::Bytes;
use quinn::{ConnectionError, VarInt};

/// The reason that a node sends when it closes a connection.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum CloseReason {
    /// The node shuts down and closes all its connections.
    Shutdown,
    /// The node considers the peer dead.
    Dead,
    /// The node knows that the peer has left.
    Left,
    /// The node wants no connection to the peer.
    Unwanted,
    /// Another connection between the two is used instead.
    Superseded,
    /// The node accepts the credentials of the peer no longer, with which the connection was made. The peer may have
    /// others by now.
    Credentials,
    /// The peer is expelled ([`Transport::set_expelled`](crate::Transport::set_expelled)).
    Expelled,
    /// A reason that this release does not know.
    Other,
}

/// How a connection ended.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum DisconnectReason {
    /// Nobody sent a message for the idle timeout. Says nothing about the peer: either side may have closed it.
    Idle,
    /// The peer closed it. Only [`CloseReason::Shutdown`] means that the peer is gone.
    Closed(CloseReason),
    /// The peer's address answered with a stateless reset, because the peer restarted.
    Reset,
    /// The peer did not acknowledge what was sent to it.
    TimedOut,
    /// This node gave up the path of the connection and dials another. Says nothing about the peer.
    PathLost,
    /// This node closed it on request.
    Local,
    /// One side violated QUIC; the text says how.
    Error(String),
}

/// An application error code of QUIC.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct CloseCode(pub(crate) VarInt);

impl CloseCode {
    pub(crate) const IDLE: Self = Self(VarInt::from_u32(1));
    pub(crate) const SUPERSEDED: Self = Self(VarInt::from_u32(2));
    pub(crate) const SHUTDOWN: Self = Self(VarInt::from_u32(3));
    const DEAD: Self = Self(VarInt::from_u32(4));
    const LEFT: Self = Self(VarInt::from_u32(5));
    const UNWANTED: Self = Self(VarInt::from_u32(6));
    pub(crate) const OWN_IDENTITY: Self = Self(VarInt::from_u32(7));
    pub(crate) const IDENTITY_IN_USE: Self = Self(VarInt::from_u32(8));
    pub(crate) const CREDENTIALS: Self = Self(VarInt::from_u32(9));
    /// The reason in words is the statement by which the peer is expelled.
    pub(crate) const EXPELLED: Self = Self(VarInt::from_u32(10));
    const OTHER: Self = Self(VarInt::from_u32(0));
    /// To watchers: there is no place.
    pub(crate) const WATCHERS_FULL: Self = Self(VarInt::from_u32(16));
    /// To watchers: the node's own list may be out of date.
    pub(crate) const NOT_READY: Self = Self(VarInt::from_u32(17));
    /// Between watchers and nodes: what the other side sent cannot be used.
    pub(crate) const MISUSED: Self = Self(VarInt::from_u32(18));
    /// To watchers: they do not read.
    pub(crate) const STALLED: Self = Self(VarInt::from_u32(19));
    /// From watchers: they want no more.
    pub(crate) const WATCHED: Self = Self(VarInt::from_u32(20));
}

impl From<CloseReason> for CloseCode {
    fn from(reason: CloseReason) -> Self {
        match reason {
            CloseReason::Shutdown => Self::SHUTDOWN,
            CloseReason::Dead => Self::DEAD,
            CloseReason::Left => Self::LEFT,
            CloseReason::Unwanted => Self::UNWANTED,
            CloseReason::Superseded => Self::SUPERSEDED,
            CloseReason::Credentials => Self::CREDENTIALS,
            CloseReason::Expelled => Self::EXPELLED,
            CloseReason::Other => Self::OTHER,
        }
    }
}

impl DisconnectReason {
    pub(crate) fn of(error: &ConnectionError) -> Self {
        match error {
            ConnectionError::ApplicationClosed(close) => Self::from(CloseCode(close.error_code)),
            ConnectionError::Reset => Self::Reset,
            ConnectionError::TimedOut => Self::TimedOut,
            ConnectionError::LocallyClosed => Self::Local,
            ConnectionError::TransportError(_)
            | ConnectionError::ConnectionClosed(_)
            | ConnectionError::VersionMismatch
            | ConnectionError::CidsExhausted => Self::Error(readable(&error.to_string())),
        }
    }
}

impl From<CloseCode> for DisconnectReason {
    fn from(code: CloseCode) -> Self {
        if code == CloseCode::IDLE {
            return Self::Idle;
        }
        let reasons = [
            CloseReason::Shutdown,
            CloseReason::Dead,
            CloseReason::Left,
            CloseReason::Unwanted,
            CloseReason::Superseded,
            CloseReason::Credentials,
            CloseReason::Expelled,
        ];
        let known = reasons.into_iter().find(|reason| CloseCode::from(*reason) == code);
        Self::Closed(known.unwrap_or(CloseReason::Other))
    }
}

/// The statement with which the far end closed a connection because this node is expelled.
pub(crate) fn statement_in(error: &ConnectionError) -> Option<Bytes> {
    match error {
        ConnectionError::ApplicationClosed(close)
            if CloseCode(close.error_code) == CloseCode::EXPELLED =>
        {
            Some(close.reason.clone())
        }
        _ => None,
    }
}

/// Makes a text from a peer safe for a log: short, and without control characters.
pub(crate) fn readable(text: &str) -> String {
    // Reasons are English. Other characters could reorder or hide what a terminal shows.
    text.chars().filter(|&c| c == ' ' || c.is_ascii_graphic()).take(MAX_REASON_CHARS).collect()
}

/// Characters of a peer's text that are kept.
pub(crate) const MAX_REASON_CHARS: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_survives_its_code() {
        for reason in [
            CloseReason::Shutdown,
            CloseReason::Dead,
            CloseReason::Left,
            CloseReason::Unwanted,
            CloseReason::Superseded,
            CloseReason::Credentials,
            CloseReason::Expelled,
            CloseReason::Other,
        ] {
            let code = CloseCode::from(reason);
            assert_eq!(DisconnectReason::from(code), DisconnectReason::Closed(reason));
        }
        assert_eq!(DisconnectReason::from(CloseCode::IDLE), DisconnectReason::Idle);
        let unknown = CloseCode(VarInt::MAX);
        assert_eq!(DisconnectReason::from(unknown), DisconnectReason::Closed(CloseReason::Other));
    }
}
