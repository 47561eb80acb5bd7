//! Counters: what was carried, and one for every way in which something is dropped silently.

use std::sync::atomic::{AtomicU64, Ordering};

use quinn::ConnectionStats;

use crate::refusal::Refusal;

/// Defines the live counters and their snapshot together, so that neither can lack one.
macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// What a transport has done since it was bound.
        #[derive(Clone, Debug, Default, Eq, PartialEq)]
        #[non_exhaustive]
        pub struct TransportStats {
            $($(#[doc = $doc])+ pub $name: u64,)+
            /// Handshakes that one side refused, by reason; both sides count.
            pub refusals: RefusalStats,
            /// Peers with a connection now.
            pub connections: u64,
            /// Connections besides these that lost to another one and are kept a moment longer.
            pub connections_draining: u64,
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
                }
            }
        }
    };
}

counters! {
    /// Datagrams given to QUIC.
    datagrams_sent,
    /// Bytes in them.
    datagram_bytes_sent,
    /// Datagrams received, whether or not the receive queue had room for them.
    datagrams_received,
    /// Bytes in them.
    datagram_bytes_received,
    /// Streams begun.
    streams_sent,
    /// Bytes in them.
    stream_bytes_sent,
    /// Streams received whole.
    streams_received,
    /// Bytes in them.
    stream_bytes_received,
    /// Messages given as datagrams that were too large for one and went as a stream.
    datagrams_sent_as_streams,
    /// Dials begun.
    dials,
    /// Dials that did not lead to the peer that was meant.
    dials_failed,
    /// Connections that peers made to this node.
    connections_accepted,
    /// Connections this node made.
    connections_dialled,
    /// Connections that lost to another one to the same peer.
    connections_superseded,
    /// Incoming connections turned away because there were too many.
    connections_turned_away,
    /// Incoming handshakes that did not end in time or broke off.
    handshakes_abandoned,
    /// Connections given up to dial the peer's advertised address, or because this host's address changed.
    paths_lost,
    /// Packets that a host refused because nobody has the port.
    ports_refused,
    /// Refusals that quote no packet sent lately, and so count for nothing: forged, or very late.
    ports_refused_doubtful,
    /// Incoming connections asked to prove their address first, because many were under way.
    retries_demanded,
    /// First packets of connections dropped unread, because addresses that proved nothing sent too
    /// many; packets of unknown QUIC versions included.
    first_packets_dropped_unproven,
    /// First packets dropped unread, because addresses that had answered a Retry sent too many.
    first_packets_dropped_proven,
    /// First packets dropped unread, because addresses of members, or that we dial, sent too many.
    first_packets_dropped_known,
    /// Incoming handshakes not begun, because too many from that address, its network, or all
    /// unknown addresses had failed.
    handshakes_over_budget,
    /// Datagrams dropped because the receive queue was full: the oldest.
    datagrams_dropped_receive_queue,
    /// Datagrams dropped because the connection's receive buffer was full: the oldest.
    datagrams_dropped_receive_buffer,
    /// Datagrams dropped because the connection's send buffer was full: the oldest.
    datagrams_dropped_send_buffer,
    /// Datagrams dropped because too many waited for a dial: the oldest.
    datagrams_dropped_pending,
    /// Datagrams dropped because their dial failed or was backing off, or the peer was closed.
    datagrams_dropped_unreachable,
    /// Datagrams dropped because their connection broke at that moment.
    datagrams_dropped_connection_lost,
    /// Streams this node began, or was asked to begin, that failed; each was reported.
    streams_failed,
    /// Incoming streams stopped because they were longer than allowed.
    streams_too_long,
    /// Incoming streams stopped because they did not end in time.
    streams_timed_out,
    /// Incoming streams that the peer broke off.
    streams_broken_off,
    /// Messages and events dropped because this transport was closed.
    dropped_after_close,
    /// Events dropped because the receiver fell far behind.
    events_dropped,
    /// UDP packets sent by connections that are established or were.
    udp_packets_sent,
    /// Bytes in them, without headers of IP and UDP.
    udp_bytes_sent,
    /// UDP packets received by connections that are established or were.
    udp_packets_received,
    /// Bytes in them, without headers of IP and UDP.
    udp_bytes_received,
}

/// How many handshakes were refused, by reason.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct RefusalStats {
    /// [`Refusal::WrongKey`].
    pub wrong_key: u64,
    /// [`Refusal::OtherCluster`].
    pub other_cluster: u64,
    /// [`Refusal::CertificateExpired`].
    pub certificate_expired: u64,
    /// [`Refusal::CertificateNotYetValid`].
    pub certificate_not_yet_valid: u64,
    /// [`Refusal::NotPhin`].
    pub not_phin: u64,
    /// [`Refusal::Full`].
    pub full: u64,
    /// [`Refusal::Other`].
    pub other: u64,
}

#[derive(Debug, Default)]
struct RefusalCounters {
    wrong_key: AtomicU64,
    other_cluster: AtomicU64,
    certificate_expired: AtomicU64,
    certificate_not_yet_valid: AtomicU64,
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
            not_phin: self.not_phin.load(Ordering::Relaxed),
            full: self.full.load(Ordering::Relaxed),
            other: self.other.load(Ordering::Relaxed),
        }
    }
}

impl TransportStats {
    /// Adds what a connection has sent and received.
    pub(crate) fn add_udp(&mut self, stats: &ConnectionStats) {
        self.udp_packets_sent += stats.udp_tx.datagrams;
        self.udp_bytes_sent += stats.udp_tx.bytes;
        self.udp_packets_received += stats.udp_rx.datagrams;
        self.udp_bytes_received += stats.udp_rx.bytes;
    }
}

impl Counters {
    /// Keeps what a connection sent and received in all, when it has ended.
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
                Refusal::NotPhin => &self.refusals.not_phin,
                Refusal::Full => &self.refusals.full,
                Refusal::Other(_) => &self.refusals.other,
            },
            1,
        );
    }
}

/// Adds to a counter. They wrap around, after centuries.
pub(crate) fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}

/// A length as a counter takes it.
pub(crate) fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
