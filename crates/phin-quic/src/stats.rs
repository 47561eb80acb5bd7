//! Counters of the traffic, and one for every kind of item that is dropped.

use std::sync::atomic::{AtomicU64, Ordering};

use quinn::ConnectionStats;

use crate::refusal::Refusal;

/// Defines the live counters and their snapshot together, so that they always have the same fields.
macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// The counters of a transport since it was bound, from [`Transport::stats`](crate::Transport::stats).
        #[derive(Clone, Debug, Default, Eq, PartialEq)]
        #[non_exhaustive]
        pub struct TransportStats {
            $($(#[doc = $doc])+ pub $name: u64,)+
            /// Handshakes that either side refused, by reason. Both sides count.
            pub refusals: RefusalStats,
            /// Peers that have a connection now.
            pub connections: u64,
            /// Further connections, which lost to another one to the same peer and are ending.
            pub connections_draining: u64,
            /// Watchers that are served now.
            pub watchers: u64,
        }

        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: AtomicU64,)+
            refusals: RefusalCounters,
        }

        impl Counters {
            pub(crate) fn snapshot(&self) -> TransportStats {
                TransportStats {
                    $($name: self.$name.load(Ordering::Relaxed),)+
                    refusals: self.refusals.snapshot(),
                    connections: 0,
                    connections_draining: 0,
                    watchers: 0,
                }
            }
        }
    };
}

counters! {
    /// Datagrams passed to QUIC.
    datagrams_sent,
    /// Bytes in these messages.
    datagram_bytes_sent,
    /// Datagrams received, including those that the receive queue then dropped.
    datagrams_received,
    /// Bytes in these messages.
    datagram_bytes_received,
    /// Streams started by this node.
    streams_sent,
    /// Bytes in these messages.
    stream_bytes_sent,
    /// Streams received completely.
    streams_received,
    /// Bytes in these messages.
    stream_bytes_received,
    /// Messages too large for a datagram, sent as a stream instead.
    datagrams_sent_as_streams,
    /// Dials started.
    dials,
    /// Dials that did not reach the intended peer.
    dials_failed,
    /// Connections that peers dialled.
    connections_accepted,
    /// Connections that this node dialled.
    connections_dialled,
    /// Connections that lost to another one to the same peer.
    connections_superseded,
    /// Incoming connections turned away beyond
    /// [`TransportConfig::max_connections`](crate::TransportConfig::max_connections).
    connections_turned_away,
    /// Connections, watchers' included, closed because the peer's certificate was accepted no longer.
    connections_disowned,
    /// Watchers that were given a place.
    watchers_accepted,
    /// Watchers refused beyond [`TransportConfig::max_watchers`](crate::TransportConfig::max_watchers).
    watchers_refused,
    /// Watchers closed because they sent something other than one short request in time.
    watchers_misused,
    /// Watchers closed because they did not read for
    /// [`TransportConfig::stream_timeout`](crate::TransportConfig::stream_timeout).
    watchers_stalled,
    /// Incoming handshakes that did not end in time or broke off.
    handshakes_abandoned,
    /// Connections given up because no reply came, a gateway refused the packets, or this host's address changed.
    paths_lost,
    /// Packets that a host refused because no process has the port.
    ports_refused,
    /// Refusals ignored because they quote no recent packet: forged, or very late.
    ports_refused_doubtful,
    /// Incoming connections asked to prove their address, because many were under way.
    retries_demanded,
    /// First packets dropped unread, because addresses that have not proved themselves sent too many. Includes
    /// packets of unknown QUIC versions.
    first_packets_dropped_unproven,
    /// First packets dropped unread, because addresses that answered a Retry sent too many.
    first_packets_dropped_proven,
    /// First packets dropped unread, because addresses of members, or that this node dials, sent too many.
    first_packets_dropped_known,
    /// Incoming handshakes ignored, because too many failed from that address, from its network, or in total.
    handshakes_over_budget,
    /// Oldest datagrams dropped because the receive queue was full.
    datagrams_dropped_receive_queue,
    /// Oldest datagrams dropped because the connection's receive buffer was full.
    datagrams_dropped_receive_buffer,
    /// Oldest datagrams dropped because the connection's send buffer was full.
    datagrams_dropped_send_buffer,
    /// Oldest datagrams dropped because too many waited for a dial.
    datagrams_dropped_pending,
    /// Datagrams dropped because their dial failed or was backing off, or the peer was closed.
    datagrams_dropped_unreachable,
    /// Datagrams dropped because their connection broke while they were sent.
    datagrams_dropped_connection_lost,
    /// Streams to a peer that failed. Each was reported by a `SendFailed`.
    streams_failed,
    /// Incoming streams stopped because they were too long.
    streams_too_long,
    /// Incoming streams stopped because they took too long.
    streams_timed_out,
    /// Incoming streams that the peer broke off.
    streams_broken_off,
    /// Messages and events dropped because the transport was closed.
    dropped_after_close,
    /// Events dropped because the receiver was far behind.
    events_dropped,
    /// UDP packets sent on established connections, ended ones included.
    udp_packets_sent,
    /// Bytes in these packets, without headers of IP and UDP.
    udp_bytes_sent,
    /// UDP packets received on established connections, ended ones included.
    udp_packets_received,
    /// Bytes in these packets, without headers of IP and UDP.
    udp_bytes_received,
}

/// Refused handshakes, by reason.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct RefusalStats {
    /// Refused with [`Refusal::WrongKey`].
    pub wrong_key: u64,
    /// Refused with [`Refusal::OtherCluster`].
    pub other_cluster: u64,
    /// Refused with [`Refusal::CertificateExpired`].
    pub certificate_expired: u64,
    /// Refused with [`Refusal::CertificateNotYetValid`].
    pub certificate_not_yet_valid: u64,
    /// Refused with [`Refusal::CertificateRevoked`].
    pub certificate_revoked: u64,
    /// Refused with [`Refusal::IdNotAssigned`].
    pub id_not_assigned: u64,
    /// Refused with [`Refusal::Expelled`].
    pub expelled: u64,
    /// Refused with [`Refusal::NotPhin`].
    pub not_phin: u64,
    /// Refused with [`Refusal::Full`].
    pub full: u64,
    /// Refused with [`Refusal::Other`].
    pub other: u64,
}

#[derive(Debug, Default)]
struct RefusalCounters {
    wrong_key: AtomicU64,
    other_cluster: AtomicU64,
    certificate_expired: AtomicU64,
    certificate_not_yet_valid: AtomicU64,
    certificate_revoked: AtomicU64,
    id_not_assigned: AtomicU64,
    expelled: AtomicU64,
    not_phin: AtomicU64,
    full: AtomicU64,
    other: AtomicU64,
}

impl RefusalCounters {
    fn snapshot(&self) -> RefusalStats {
        RefusalStats {
            wrong_key: self.wrong_key.load(Ordering::Relaxed),
            other_cluster: self.other_cluster.load(Ordering::Relaxed),
            certificate_expired: self.certificate_expired.load(Ordering::Relaxed),
            certificate_not_yet_valid: self.certificate_not_yet_valid.load(Ordering::Relaxed),
            certificate_revoked: self.certificate_revoked.load(Ordering::Relaxed),
            id_not_assigned: self.id_not_assigned.load(Ordering::Relaxed),
            expelled: self.expelled.load(Ordering::Relaxed),
            not_phin: self.not_phin.load(Ordering::Relaxed),
            full: self.full.load(Ordering::Relaxed),
            other: self.other.load(Ordering::Relaxed),
        }
    }
}

impl TransportStats {
    /// Adds the UDP traffic of a connection.
    pub(crate) fn add_udp(&mut self, stats: &ConnectionStats) {
        self.udp_packets_sent += stats.udp_tx.datagrams;
        self.udp_bytes_sent += stats.udp_tx.bytes;
        self.udp_packets_received += stats.udp_rx.datagrams;
        self.udp_bytes_received += stats.udp_rx.bytes;
    }
}

impl Counters {
    /// Adds the UDP traffic of a connection that has ended.
    pub(crate) fn add_udp(&self, stats: &ConnectionStats) {
        add(&self.udp_packets_sent, stats.udp_tx.datagrams);
        add(&self.udp_bytes_sent, stats.udp_tx.bytes);
        add(&self.udp_packets_received, stats.udp_rx.datagrams);
        add(&self.udp_bytes_received, stats.udp_rx.bytes);
    }

    pub(crate) fn record_refusal(&self, refusal: &Refusal) {
        add(
            match refusal {
                Refusal::WrongKey => &self.refusals.wrong_key,
                Refusal::OtherCluster => &self.refusals.other_cluster,
                Refusal::CertificateExpired => &self.refusals.certificate_expired,
                Refusal::CertificateNotYetValid => &self.refusals.certificate_not_yet_valid,
                Refusal::CertificateRevoked => &self.refusals.certificate_revoked,
                Refusal::IdNotAssigned => &self.refusals.id_not_assigned,
                Refusal::Expelled => &self.refusals.expelled,
                Refusal::NotPhin => &self.refusals.not_phin,
                Refusal::Full => &self.refusals.full,
                Refusal::Other(_) => &self.refusals.other,
            },
            1,
        );
    }
}

/// Adds to a counter. Counters wrap around, after centuries.
pub(crate) fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}

/// Converts a length to the type of the counters.
pub(crate) fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
