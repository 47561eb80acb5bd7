//! Counts of sent messages.

use std::ops;

use crate::node::{Channel, NodeId};

/// Messages and bytes sent, in total and by each member.
#[derive(Clone, Debug, Default)]
pub struct Traffic {
    /// Messages: datagrams and complete streams.
    pub messages: u64,
    /// Bytes on the wire: payloads, handshakes, and the headers of IP, UDP and QUIC or TCP for each packet. QUIC's own
    /// acknowledgements are not counted.
    pub bytes: u64,
    /// Handshakes begun.
    pub handshakes: u64,
    /// Packets the network lost.
    pub lost: u64,
    by_node: Vec<(u64, u64)>,
    /// The content of messages, if it is counted.
    pub parts: PartBytes,
}

/// The content of messages: bytes of payload, or their number.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct PartBytes {
    /// Bytes of announcements of data.
    pub announced: u64,
    /// Bytes of requests for data.
    pub asked: u64,
    /// Bytes of changes of data.
    pub changes: u64,
    /// Bytes of fingerprints of data.
    pub fingerprints: u64,
    /// How many pings and acks.
    pub pings: u64,
    /// How many times messages to all members were passed on.
    pub publications: u64,
    /// Their bytes.
    pub published: u64,
    /// How many announcements of messages, requests for them, and requests to stop there were.
    pub controls: u64,
    /// Their bytes.
    pub controlled: u64,
}

impl ops::AddAssign for PartBytes {
    fn add_assign(&mut self, other: Self) {
        self.announced += other.announced;
        self.asked += other.asked;
        self.changes += other.changes;
        self.fingerprints += other.fingerprints;
        self.pings += other.pings;
        self.publications += other.publications;
        self.published += other.published;
        self.controls += other.controls;
        self.controlled += other.controlled;
    }
}

impl ops::Sub for PartBytes {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self {
            announced: self.announced - other.announced,
            asked: self.asked - other.asked,
            changes: self.changes - other.changes,
            fingerprints: self.fingerprints - other.fingerprints,
            pings: self.pings - other.pings,
            publications: self.publications - other.publications,
            published: self.published - other.published,
            controls: self.controls - other.controls,
            controlled: self.controlled - other.controlled,
        }
    }
}

impl Traffic {
    pub(crate) fn record(&mut self, from: NodeId, channel: Channel, payload: usize, header: usize) {
        let packets = match channel {
            Channel::Datagram => 1,
            Channel::Stream => payload.div_ceil(PACKET_PAYLOAD).max(1),
        };
        let bytes = (payload + packets * header) as u64;
        self.messages += 1;
        self.bytes += bytes;
        self.charge(from, 1, bytes);
    }

    pub(crate) fn record_handshake(&mut self, from: NodeId) {
        self.handshakes += 1;
        self.bytes += HANDSHAKE_BYTES;
        self.charge(from, 0, HANDSHAKE_BYTES);
    }

    /// Messages and bytes that one member sent.
    pub fn of(&self, node: NodeId) -> (u64, u64) {
        self.by_node.get(node.index()).copied().unwrap_or_default()
    }

    fn charge(&mut self, from: NodeId, messages: u64, bytes: u64) {
        if self.by_node.len() <= from.index() {
            self.by_node.resize(from.index() + 1, (0, 0));
        }
        let sent = &mut self.by_node[from.index()];
        *sent = (sent.0 + messages, sent.1 + bytes);
    }
}

/// The bytes of a payload that fit one packet.
pub(crate) const PACKET_PAYLOAD: usize = 1_160;
/// IP (20), UDP (8), QUIC short header with an 8-byte connection id and packet number (11), AEAD tag (16), frame (3).
pub(crate) const QUIC_HEADER: usize = 58;
/// IP (20) and UDP (8).
pub(crate) const UDP_HEADER: usize = 28;
/// IP (20) and TCP with timestamps (32).
pub(crate) const TCP_HEADER: usize = 52;
/// A mutually authenticated QUIC handshake, both directions (measured for quinn: 4.4 kB).
const HANDSHAKE_BYTES: u64 = 4_400;
