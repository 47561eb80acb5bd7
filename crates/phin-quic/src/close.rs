//! How connections end: the codes that the two sides send each other, and what they mean.

use quinn::{ConnectionError, VarInt};

/// What a node says when it closes a connection.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum CloseReason {
    /// It stops: everything of this process is closed.
    Shutdown,
    /// It takes the peer to be dead.
    Dead,
    /// It knows that the peer has left.
    Left,
    /// It wants no connection to the peer.
    Unwanted,
    /// There is another connection between the two.
    Superseded,
    /// Something this release does not know.
    Other,
}

/// How a connection ended.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum DisconnectReason {
    /// No message for a while; either side may have closed it. Says nothing about the peer.
    Idle,
    /// The peer closed it. Only [`CloseReason::Shutdown`] means that the peer is gone.
    Closed(CloseReason),
    /// The peer's address answered with a stateless reset: the peer was started anew.
    Reset,
    /// Nothing came from the peer although something was due.
    TimedOut,
    /// This node gave up the way that the connection took, and looks for another. Says nothing about the peer.
    PathLost,
    /// This node closed it on request.
    Local,
    /// One side broke the rules of QUIC; the text says how.
    Error(String),
}

/// An application error code of QUIC, as phin uses them.
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
    const OTHER: Self = Self(VarInt::from_u32(0));
}

impl From<CloseReason> for CloseCode {
    fn from(reason: CloseReason) -> Self {
        match reason {
            CloseReason::Shutdown => Self::SHUTDOWN,
            CloseReason::Dead => Self::DEAD,
            CloseReason::Left => Self::LEFT,
            CloseReason::Unwanted => Self::UNWANTED,
            CloseReason::Superseded => Self::SUPERSEDED,
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
        ];
        let known = reasons.into_iter().find(|reason| CloseCode::from(*reason) == code);
        Self::Closed(known.unwrap_or(CloseReason::Other))
    }
}

/// Text from a peer, fit for a log: short, and without control characters.
pub(crate) fn readable(text: &str) -> String {
    // Reasons are English; anything else could reorder or hide what a terminal shows.
    text.chars().filter(|&c| c == ' ' || c.is_ascii_graphic()).take(MAX_REASON_CHARS).collect()
}

/// How much of a text from a peer is kept.
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
