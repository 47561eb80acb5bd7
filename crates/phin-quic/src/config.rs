//! The configuration of a transport, and its checks.

use std::{
    net::{Ipv6Addr, SocketAddr},
    ops::Deref,
    time::Duration,
};

/// The configuration of a [`Transport`](crate::Transport).
///
/// Start from [`TransportConfig::new`] and change fields. [`Transport::bind`](crate::Transport::bind) checks the
/// values.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct TransportConfig {
    /// The UDP address to listen on and to dial from. `[::]` serves IPv6 and, if the system supports it, IPv4. Port 0
    /// lets the system choose a port. Default: `[::]:0`.
    pub bind: SocketAddr,
    /// The time without messages after which a connection is closed. A longer time saves handshakes; a shorter one
    /// saves memory on both sides. Default: 30 s.
    pub idle_timeout: Duration,
    /// The time after which a handshake fails. A longer time tolerates worse networks; a shorter one finds absent peers
    /// sooner. Default: 3 s.
    pub handshake_timeout: Duration,
    /// The round-trip time assumed before the first measurement. A lost first packet is repeated after three times as
    /// much. A shorter time repairs sooner; a longer one repeats less on slow paths. QUIC's own default of 333 ms
    /// leaves only one repetition within the handshake timeout. Default: 100 ms.
    pub initial_rtt: Duration,
    /// The maximum number of incoming connections, including those in their handshake. Further ones are turned away.
    /// An idle connection costs about 40 kB. Default: 1,024.
    pub max_connections: usize,
    /// The maximum number of watchers served at once. They have places of their own, so they take none of
    /// `max_connections` once their handshake is complete. Further ones are refused. Zero serves none. An idle watcher
    /// costs about 40 kB. Default: 1,024.
    pub max_watchers: usize,
    /// The maximum number of dials under way. Further ones fail immediately. Default: 256.
    pub max_dials: usize,
    /// The maximum length of a message, sent or received. A longer one that arrives is stopped and counted. Default:
    /// 16 MiB and 64 KiB.
    pub max_stream_bytes: usize,
    /// The maximum number of streams received from one peer at once. Further ones wait at the peer. Default: 8.
    pub max_streams_per_peer: u32,
    /// The time after which a stream fails, sent or received. Default: 10 s.
    pub stream_timeout: Duration,
    /// The maximum number of messages that wait for a dial to one peer. Beyond it, the oldest datagram is dropped,
    /// and a stream fails if there is no datagram to drop. Default: 64.
    pub max_pending_messages: usize,
    /// The maximum number of bytes that wait for a dial to one peer, with the same victims. One stream of any length
    /// may always wait. Bulk messages may have `max_stream_bytes` besides. Default: 1 MiB.
    pub max_pending_bytes: usize,
    /// The maximum number of received datagrams that wait for the [`Receiver`](crate::Receiver). Beyond it, the
    /// oldest is dropped, because newer messages replace older ones. If one peer sent more than half of them, the
    /// oldest of that peer is dropped. Default: 4,096.
    pub max_received_datagrams: usize,
    /// The maximum number of bytes of streams, complete or arriving, that wait for the receiver. Beyond it, streams
    /// are not read, so their senders wait, and may time out. One message may always complete. One peer may hold a
    /// quarter. Default: 128 MiB.
    pub max_received_stream_bytes: usize,
    /// The back-off after the first failed dial. It doubles with each failure. Default: 100 ms.
    pub min_backoff: Duration,
    /// The longest back-off after a failed dial. Default: 5 s.
    pub max_backoff: Duration,
    /// The largest UDP payload sent before the path is measured, in bytes. 1,200 works on every path. Default: 1,200.
    pub initial_mtu: u16,
    /// The largest UDP payload that path MTU discovery tries, or `None` to stay at the initial one. Discovery costs
    /// more bytes than most connections ever send. Default: `None`.
    pub max_discovered_mtu: Option<u16>,
}

impl TransportConfig {
    /// Creates a configuration with the defaults, on this address.
    pub fn new(bind: SocketAddr) -> Self {
        Self {
            bind,
            idle_timeout: Duration::from_secs(30),
            handshake_timeout: Duration::from_secs(3),
            initial_rtt: Duration::from_millis(100),
            max_connections: 1024,
            max_watchers: 1024,
            max_dials: 256,
            max_stream_bytes: 16 * 1024 * 1024 + 64 * 1024,
            max_streams_per_peer: 8,
            stream_timeout: Duration::from_secs(10),
            max_pending_messages: 64,
            max_pending_bytes: 1024 * 1024,
            max_received_datagrams: 4096,
            max_received_stream_bytes: 128 * 1024 * 1024,
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
    /// A number or a duration is zero and must not be.
    #[error("{field} must be more than zero")]
    Zero {
        /// The name of the field of [`TransportConfig`].
        field: &'static str,
    },
    /// A number or a duration is too large.
    #[error("{field} must be at most {limit}")]
    TooLarge {
        /// The name of the field of [`TransportConfig`].
        field: &'static str,
        /// The largest value.
        limit: String,
    },
    /// An MTU is below the minimum of QUIC (RFC 9000 §14).
    #[error("{field} must be at least 1200")]
    MtuTooSmall {
        /// The name of the field of [`TransportConfig`].
        field: &'static str,
    },
    /// `min_backoff` is longer than `max_backoff`.
    #[error("min_backoff must be at most max_backoff")]
    BackoffReversed,
    /// A message of the maximum length would not fit into `max_received_stream_bytes`.
    #[error("max_received_stream_bytes must be at least max_stream_bytes and {overhead} more")]
    ReceivedBytesTooFew {
        /// The bytes charged to each stream in addition to its message.
        overhead: usize,
    },
}

/// A checked configuration.
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
    if config.max_watchers > MAX_NUMBER {
        return Err(ConfigError::TooLarge { field: "max_watchers", limit: MAX_NUMBER.to_string() });
    }
    match config.max_received_stream_bytes < config.max_stream_bytes + STREAM_OVERHEAD {
        true => Err(ConfigError::ReceivedBytesTooFew { overhead: STREAM_OVERHEAD }),
        false => Ok(()),
    }
}

/// The bytes charged to a received stream in addition to its message, so that empty streams are limited too.
pub(crate) const STREAM_OVERHEAD: usize = 256;
const MAX_TIME: Duration = Duration::from_secs(24 * 3600);
const MAX_NUMBER: usize = 1 << 20;
/// The largest count of a semaphore on every platform.
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
