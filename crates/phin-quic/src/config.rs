//! What can be chosen about a transport, and the checks on it.

use std::{
    net::{Ipv6Addr, SocketAddr},
    ops::Deref,
    time::Duration,
};

/// What can be chosen about a [`Transport`](crate::Transport).
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct TransportConfig {
    /// The UDP address to listen on and to dial from. `[::]` serves IPv6 and IPv4, where the
    /// system can; port 0 lets the system choose. Default `[::]:0`.
    pub bind: SocketAddr,
    /// A connection on which no message was sent or received for so long is closed. Longer saves
    /// handshakes, shorter saves memory at both ends. Default 30 s.
    pub idle_timeout: Duration,
    /// How long a handshake may take before it is given up. Longer tolerates worse networks,
    /// shorter notices sooner that nobody is there. Default 3 s.
    pub handshake_timeout: Duration,
    /// The round-trip time assumed before one was measured; a lost first packet is repeated after
    /// three times as much. Shorter repairs sooner, longer repeats less over slow paths. QUIC's
    /// own default, 333 ms, leaves one repetition within the handshake timeout. Default 100 ms.
    pub initial_rtt: Duration,
    /// How many connections of peers are served at once, those in their handshake included. The
    /// next one is turned away. A connection costs some 40 kB when idle. Default 1,024.
    pub max_connections: usize,
    /// How many dials may be under way at once; further ones fail at once. Default 256.
    pub max_dials: usize,
    /// The longest message that is sent or received as a stream. A longer one that arrives is
    /// stopped and counted. Default 16 MiB.
    pub max_stream_bytes: usize,
    /// How many streams of one peer are received at once; its next one waits at the peer.
    /// Default 8.
    pub max_streams_per_peer: u32,
    /// How long one message may take as a stream, sent or received, before it is given up.
    /// Default 10 s.
    pub stream_timeout: Duration,
    /// How many messages wait for a dial to one peer. When there are more, the oldest datagram is
    /// dropped; a stream that finds no room fails. Default 64.
    pub max_pending_messages: usize,
    /// How many bytes wait for a dial to one peer, with the same victims; one stream may always
    /// wait, whatever its length. Default 1 MiB.
    pub max_pending_bytes: usize,
    /// How many received datagrams wait for [`Receiver`](crate::Receiver). When there are more,
    /// the oldest is dropped, because newer news supersedes older; but while one peer has sent
    /// more than half of them, the oldest of that peer's. Default 4,096.
    pub max_received_datagrams: usize,
    /// How many bytes of streams, complete or arriving, wait for the receiver. When there are
    /// more, streams stop being read, so that their senders wait, and run into their timeout; but
    /// one message may always be completed. One peer may hold a quarter. Default 64 MiB.
    pub max_received_stream_bytes: usize,
    /// The first wait after a failed dial; it doubles with each failure. Default 100 ms.
    pub min_backoff: Duration,
    /// The longest wait after a failed dial. Default 5 s.
    pub max_backoff: Duration,
    /// The largest UDP payload that is tried without knowing the path. 1,200 passes everywhere.
    /// Default 1,200.
    pub initial_mtu: u16,
    /// The largest UDP payload to search the path for, or `None` to stay at the initial one: the
    /// search costs more bytes than most connections ever send. Default `None`.
    pub max_discovered_mtu: Option<u16>,
}

impl TransportConfig {
    /// The defaults, on this address.
    pub fn new(bind: SocketAddr) -> Self {
        Self {
            bind,
            idle_timeout: Duration::from_secs(30),
            handshake_timeout: Duration::from_secs(3),
            initial_rtt: Duration::from_millis(100),
            max_connections: 1024,
            max_dials: 256,
            max_stream_bytes: 16 * 1024 * 1024,
            max_streams_per_peer: 8,
            stream_timeout: Duration::from_secs(10),
            max_pending_messages: 64,
            max_pending_bytes: 1024 * 1024,
            max_received_datagrams: 4096,
            max_received_stream_bytes: 64 * 1024 * 1024,
            min_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(5),
            initial_mtu: 1200,
            max_discovered_mtu: None,
        }
    }
}

impl Default for TransportConfig {
    fn default() -> Self {
        Self::new(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)))
    }
}

/// Why a [`TransportConfig`] cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A number or a time that must be more than nothing is zero.
    #[error("{field} must be more than zero")]
    Zero {
        /// The field of [`TransportConfig`].
        field: &'static str,
    },
    /// A number or a time is too large.
    #[error("{field} must be at most {limit}")]
    TooLarge {
        /// The field of [`TransportConfig`].
        field: &'static str,
        /// The largest value.
        limit: String,
    },
    /// An MTU is below what QUIC needs (RFC 9000 §14).
    #[error("{field} must be at least 1200")]
    MtuTooSmall {
        /// The field of [`TransportConfig`].
        field: &'static str,
    },
    /// The first back-off is longer than the longest.
    #[error("min_backoff must be at most max_backoff")]
    BackoffReversed,
    /// A message of the longest length would never fit among the received ones.
    #[error("max_received_stream_bytes must be at least max_stream_bytes and {overhead} more")]
    ReceivedBytesTooFew {
        /// What each stream is charged besides its bytes.
        overhead: usize,
    },
}

/// A configuration that was checked.
#[derive(Debug)]
pub(crate) struct Params(TransportConfig);

impl Deref for Params {
    type Target = TransportConfig;

    fn deref(&self) -> &TransportConfig {
        &self.0
    }
}

impl TryFrom<TransportConfig> for Params {
    type Error = ConfigError;

    fn try_from(config: TransportConfig) -> Result<Self, ConfigError> {
        check_times(&config)?;
        check_numbers(&config)?;
        let mtus = [
            ("initial_mtu", Some(config.initial_mtu)),
            ("max_discovered_mtu", config.max_discovered_mtu),
        ];
        for (field, mtu) in mtus {
            if mtu.is_some_and(|mtu| mtu < 1200) {
                return Err(ConfigError::MtuTooSmall { field });
            }
        }
        Ok(Self(config))
    }
}

fn check_times(config: &TransportConfig) -> Result<(), ConfigError> {
    let times = [
        ("idle_timeout", config.idle_timeout),
        ("handshake_timeout", config.handshake_timeout),
        ("initial_rtt", config.initial_rtt),
        ("stream_timeout", config.stream_timeout),
        ("min_backoff", config.min_backoff),
        ("max_backoff", config.max_backoff),
    ];
    for (field, time) in times {
        if time.is_zero() {
            return Err(ConfigError::Zero { field });
        }
        if time > MAX_TIME {
            return Err(ConfigError::TooLarge { field, limit: "a day".to_owned() });
        }
    }
    match config.min_backoff > config.max_backoff {
        true => Err(ConfigError::BackoffReversed),
        false => Ok(()),
    }
}

fn check_numbers(config: &TransportConfig) -> Result<(), ConfigError> {
    let streams = usize::try_from(config.max_streams_per_peer).unwrap_or(usize::MAX);
    let numbers = [
        ("max_connections", config.max_connections, MAX_NUMBER),
        ("max_dials", config.max_dials, MAX_NUMBER),
        ("max_stream_bytes", config.max_stream_bytes, MAX_BYTES),
        ("max_streams_per_peer", streams, MAX_NUMBER),
        ("max_pending_messages", config.max_pending_messages, MAX_NUMBER),
        ("max_pending_bytes", config.max_pending_bytes, MAX_BYTES),
        ("max_received_datagrams", config.max_received_datagrams, MAX_NUMBER),
        ("max_received_stream_bytes", config.max_received_stream_bytes, MAX_BYTES),
    ];
    for (field, number, limit) in numbers {
        if number == 0 {
            return Err(ConfigError::Zero { field });
        }
        if number > limit {
            return Err(ConfigError::TooLarge { field, limit: limit.to_string() });
        }
    }
    match config.max_received_stream_bytes < config.max_stream_bytes + STREAM_OVERHEAD {
        true => Err(ConfigError::ReceivedBytesTooFew { overhead: STREAM_OVERHEAD }),
        false => Ok(()),
    }
}

/// What a received stream is charged besides its bytes, so that empty ones are bounded, too.
pub(crate) const STREAM_OVERHEAD: usize = 256;
const MAX_TIME: Duration = Duration::from_secs(24 * 3600);
const MAX_NUMBER: usize = 1 << 20;
/// What a semaphore can count on every platform.
const MAX_BYTES: usize = 1 << 28;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        assert!(Params::try_from(TransportConfig::default()).is_ok());
    }

    #[test]
    fn nonsense_is_refused() {
        let refused = |change: fn(&mut TransportConfig)| {
            let mut config = TransportConfig::default();
            change(&mut config);
            Params::try_from(config).unwrap_err()
        };
        let zero = refused(|c| c.idle_timeout = Duration::ZERO);
        assert_eq!(zero, ConfigError::Zero { field: "idle_timeout" });
        assert!(matches!(refused(|c| c.max_connections = 0), ConfigError::Zero { .. }));
        assert!(matches!(
            refused(|c| c.idle_timeout = Duration::MAX),
            ConfigError::TooLarge { .. }
        ));
        assert!(matches!(
            refused(|c| c.max_stream_bytes = usize::MAX),
            ConfigError::TooLarge { .. }
        ));
        assert!(matches!(refused(|c| c.initial_mtu = 1199), ConfigError::MtuTooSmall { .. }));
        assert_eq!(refused(|c| c.min_backoff = MAX_TIME), ConfigError::BackoffReversed);
        let few = refused(|c| c.max_received_stream_bytes = c.max_stream_bytes);
        assert!(matches!(few, ConfigError::ReceivedBytesTooFew { .. }));
    }
}
