//! Reasons why a connection to a peer failed, and the log of refused handshakes.

use std::{
    collections::HashMap,
    fmt,
    net::{IpAddr, SocketAddr},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use quinn::{ConnectionError, TransportErrorCode};

use crate::{
    close::{CloseCode, readable, statement_in},
    identity::PeerId,
};

/// Why a handshake refused a node.
#[derive(Clone, Debug, Eq, Hash, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Its certificate was issued with another cluster key or by another CA.
    #[error("the certificate was issued with another cluster key or by another CA")]
    WrongKey,
    /// Its cluster has another name, or it does not speak phin.
    #[error("the cluster has another name")]
    OtherCluster,
    /// Its certificate or the CA's has expired.
    #[error("the certificate has expired")]
    CertificateExpired,
    /// Its certificate or the CA's is not yet valid, or a clock is wrong.
    #[error("the certificate is not yet valid")]
    CertificateNotYetValid,
    /// Its certificate is in a revocation list.
    #[error("the certificate is revoked")]
    CertificateRevoked,
    /// Its certificate assigns no id, and assigned ids are required.
    #[error("the certificate assigns no id, and assigned ids are required")]
    IdNotAssigned,
    /// It is expelled from the cluster.
    #[error("expelled from the cluster")]
    Expelled,
    /// It speaks QUIC but not phin.
    #[error("the peer does not speak phin")]
    NotPhin,
    /// The refusing side has as many connections as it allows.
    #[error("the peer has no room for another connection")]
    Full,
    /// Another reason, in the words of the side that refused.
    #[error("{0}")]
    Other(String),
}

impl Refusal {
    /// Extracts the refusal, and the side that refused, from an error of a handshake; `None` for other errors.
    pub(crate) fn from_connection_error(error: &ConnectionError) -> Option<(Self, RefusedBy)> {
        match error {
            ConnectionError::TransportError(error) => {
                Some((Self::from_code(error.code, &error.reason), RefusedBy::Us))
            }
            // The peer's transport was closed during the handshake (RFC 9000 §10.2.3), which is no refusal.
            ConnectionError::ConnectionClosed(close)
                if close.error_code == TransportErrorCode::APPLICATION_ERROR =>
            {
                None
            }
            ConnectionError::ConnectionClosed(close) => {
                let reason = String::from_utf8_lossy(&close.reason);
                Some((Self::from_code(close.error_code, &reason), RefusedBy::Peer))
            }
            ConnectionError::VersionMismatch => Some((Self::NotPhin, RefusedBy::Us)),
            error @ ConnectionError::ApplicationClosed(_) if statement_in(error).is_some() => {
                Some((Self::Expelled, RefusedBy::Peer))
            }
            ConnectionError::ApplicationClosed(_)
            | ConnectionError::Reset
            | ConnectionError::TimedOut
            | ConnectionError::LocallyClosed
            | ConnectionError::CidsExhausted => None,
        }
    }

    /// TLS alerts are transport errors 0x100 to 0x1ff (RFC 9001 §4.8). TLS has one alert for
    /// expired and not yet valid, so [`NOT_YET_VALID`] is found in the text.
    fn from_code(code: TransportErrorCode, reason: &str) -> Self {
        if code == TransportErrorCode::CONNECTION_REFUSED {
            return Self::Full;
        }
        match u64::from(code) {
            0x130 => Self::WrongKey,
            0x178 => Self::OtherCluster,
            0x12c => Self::CertificateRevoked,
            0x12d => Self::CertificateExpired,
            0x12e if reason.contains(NOT_YET_VALID) => Self::CertificateNotYetValid,
            0x12e if reason.contains(ID_NOT_ASSIGNED) => Self::IdNotAssigned,
            0x12e if reason.contains(ID_NOT_SIGNED) => {
                Self::Other("none of the CAs assigned the id in the certificate".to_owned())
            }
            0x12e if reason.contains(NOT_ED25519) => {
                Self::Other("the certificate's key is not Ed25519".to_owned())
            }
            _ => Self::Other(readable(&format!("{code}: {reason}"))),
        }
    }

    /// A number for each kind of refusal, by which the log limits them.
    fn kind(&self) -> u8 {
        match self {
            Self::WrongKey => 0,
            Self::OtherCluster => 1,
            Self::CertificateExpired => 2,
            Self::CertificateNotYetValid => 3,
            Self::NotPhin => 4,
            Self::Full => 5,
            Self::Other(_) => 6,
            Self::CertificateRevoked => 7,
            Self::Expelled => 8,
            Self::IdNotAssigned => 9,
        }
    }
}

/// The side of a handshake that refused the other.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum RefusedBy {
    /// This node refused the peer.
    Us,
    /// The peer refused this node.
    Peer,
}

impl fmt::Display for RefusedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Us => "us",
            Self::Peer => "peer",
        })
    }
}

/// Why a dial did not lead to a connection to the intended peer.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// One side refused the other in the handshake.
    #[error("refused by {by}: {refusal}")]
    Refused {
        /// The reason.
        refusal: Refusal,
        /// The side that refused.
        by: RefusedBy,
    },
    /// Another node of the cluster answered at the address. The connection to it stays.
    #[error("expected {expected} at this address, found {found}")]
    WrongPeer {
        /// The intended peer.
        expected: PeerId,
        /// The node that answered.
        found: PeerId,
    },
    /// The address leads to this node itself.
    #[error("this node itself is at this address")]
    OwnIdentity,
    /// Another process proved this node's own identity, so it has a copy of the key.
    #[error("another process runs with this node's key at this address")]
    IdentityInUse,
    /// No QUIC endpoint answered within
    /// [`TransportConfig::handshake_timeout`](crate::TransportConfig::handshake_timeout).
    #[error("no answer within the handshake timeout")]
    TimedOut,
    /// The host answered that no process listens on the port.
    #[error("no process listens on this port")]
    PortClosed,
    /// There is no route to the address.
    #[error("the address cannot be reached: {reason}")]
    Unreachable {
        /// The error of the operating system or of QUIC.
        reason: String,
    },
    /// The peer closed the connection during the handshake.
    #[error("closed by the peer while connecting")]
    Closed,
    /// A dial to this address failed recently, and the next attempt is not due.
    #[error("backing off after a failed dial")]
    BackingOff,
    /// [`TransportConfig::max_dials`](crate::TransportConfig::max_dials) are under way.
    #[error("too many dials under way")]
    TooManyDials,
    /// This transport was closed, or closed this peer.
    #[error("given up by this node")]
    GivenUp,
}

impl DialError {
    pub(crate) fn from_connection_error(error: &ConnectionError) -> Self {
        if let Some((refusal, by)) = Refusal::from_connection_error(error) {
            return Self::Refused { refusal, by };
        }
        match error {
            ConnectionError::TimedOut => Self::TimedOut,
            ConnectionError::LocallyClosed => Self::GivenUp,
            ConnectionError::ApplicationClosed(close)
                if CloseCode(close.error_code) == CloseCode::OWN_IDENTITY =>
            {
                Self::OwnIdentity
            }
            ConnectionError::ApplicationClosed(close)
                if CloseCode(close.error_code) == CloseCode::IDENTITY_IN_USE =>
            {
                Self::IdentityInUse
            }
            ConnectionError::ApplicationClosed(_)
            | ConnectionError::ConnectionClosed(_)
            | ConnectionError::Reset => Self::Closed,
            ConnectionError::CidsExhausted
            | ConnectionError::VersionMismatch
            | ConnectionError::TransportError(_) => Self::Unreachable { reason: error.to_string() },
        }
    }
}

/// Logs refusals at a limited rate, because unauthenticated nodes can cause them: one of each kind per address and
/// interval, and a limited number of addresses. The next line has the number of those suppressed.
#[derive(Debug, Default)]
pub(crate) struct RefusalLog {
    logged: Mutex<HashMap<(IpAddr, u8), Logged>>,
}

#[derive(Debug)]
struct Logged {
    at: Instant,
    suppressed: u64,
}

impl RefusalLog {
    pub(crate) fn log(&self, addr: SocketAddr, refusal: &Refusal, by: RefusedBy, now: Instant) {
        if let Some(suppressed) = self.admit(addr.ip(), refusal, now) {
            // As a string, so that the log quotes it.
            let reason = refusal.to_string();
            tracing::warn!(
                peer_addr = %addr, reason, refused_by = %by, suppressed,
                "handshake refused"
            );
        }
    }

    /// Returns the number of lines suppressed before, if this one is to be logged.
    fn admit(&self, ip: IpAddr, refusal: &Refusal, now: Instant) -> Option<u64> {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = logged.get_mut(&(ip, refusal.kind())) {
            if now.saturating_duration_since(last.at) < LOG_INTERVAL {
                last.suppressed = last.suppressed.saturating_add(1);
                return None;
            }
            last.at = now;
            return Some(std::mem::take(&mut last.suppressed));
        }
        if logged.len() >= MAX_LOGGED_ADDRS {
            logged.retain(|_, last| now.saturating_duration_since(last.at) < LOG_INTERVAL);
        }
        if logged.len() >= MAX_LOGGED_ADDRS {
            return None;
        }
        logged.insert((ip, refusal.kind()), Logged { at: now, suppressed: 0 });
        Some(0)
    }
}

/// The text of the error for a certificate that is not yet valid, by which both sides recognise it.
pub(crate) const NOT_YET_VALID: &str = "CertificateNotYetValid";
/// The same for a key of another algorithm.
pub(crate) const NOT_ED25519: &str = "CertificateKeyNotEd25519";
/// The same for a certificate without an assigned id, where that is required.
pub(crate) const ID_NOT_ASSIGNED: &str = "CertificateIdNotAssigned";
/// The same for an id that none of the CAs assigned to the key.
pub(crate) const ID_NOT_SIGNED: &str = "CertificateIdNotSigned";
const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// Addresses logged within [`LOG_INTERVAL`]. Refusals of further ones are only counted.
const MAX_LOGGED_ADDRS: usize = 256;

#[cfg(test)]
mod tests {
    use quinn::ConnectionClose;

    use super::*;
    use crate::close::MAX_REASON_CHARS;

    #[test]
    fn logs_one_of_a_kind_and_counts_the_rest() {
        let log = RefusalLog::default();
        let start = Instant::now();
        let ip = IpAddr::from([127, 0, 0, 1]);
        assert_eq!(log.admit(ip, &Refusal::WrongKey, start), Some(0));
        assert_eq!(log.admit(ip, &Refusal::WrongKey, start), None);
        assert_eq!(log.admit(ip, &Refusal::WrongKey, start), None);
        assert_eq!(log.admit(ip, &Refusal::OtherCluster, start), Some(0));
        assert_eq!(log.admit(ip, &Refusal::WrongKey, start + LOG_INTERVAL), Some(2));
        assert_eq!(log.admit(ip, &Refusal::WrongKey, start + 2 * LOG_INTERVAL), Some(0));
    }

    #[test]
    fn remembers_a_bounded_number_of_addresses() {
        let log = RefusalLog::default();
        let start = Instant::now();
        let logged = (0..10_000_u32)
            .filter(|n| log.admit(IpAddr::from(n.to_be_bytes()), &Refusal::Full, start).is_some());
        assert_eq!(logged.count(), MAX_LOGGED_ADDRS);
        assert_eq!(log.logged.lock().unwrap().len(), MAX_LOGGED_ADDRS);
        let later = start + LOG_INTERVAL;
        assert!(log.admit(IpAddr::from([9, 9, 9, 9]), &Refusal::Full, later).is_some());
    }

    #[test]
    fn who_shuts_down_during_a_handshake_refuses_nobody() {
        let closed = |error_code| {
            let reason = Default::default();
            ConnectionError::ConnectionClosed(ConnectionClose {
                error_code,
                frame_type: None,
                reason,
            })
        };
        let shut_down = closed(TransportErrorCode::APPLICATION_ERROR);
        assert_eq!(DialError::from_connection_error(&shut_down), DialError::Closed);
        let refused = closed(TransportErrorCode::CONNECTION_REFUSED);
        let expected = DialError::Refused { refusal: Refusal::Full, by: RefusedBy::Peer };
        assert_eq!(DialError::from_connection_error(&refused), expected);
    }

    #[test]
    fn the_words_of_a_peer_are_cut_and_cleaned() {
        let code = TransportErrorCode::PROTOCOL_VIOLATION;
        let Refusal::Other(text) = Refusal::from_code(code, &"\x1b[31m\n".repeat(1000)) else {
            panic!("a protocol violation is none of the known refusals");
        };
        assert!(text.len() <= MAX_REASON_CHARS && !text.contains(['\x1b', '\n']));
    }
}
