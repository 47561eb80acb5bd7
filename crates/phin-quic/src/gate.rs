//! Limits the cost of unknown addresses: a gate before QUIC, and a budget of failed handshakes.
//!
//! QUIC derives keys and decrypts before it knows anything of a client's first packet, and answers every packet of an
//! unknown version. Both cost tens of microseconds. So the gate counts these packets by source as they arrive, and
//! drops those over the limits unread. All other packets pass, because finding that no connection has their ID costs
//! only a look-up.
//!
//! Three kinds of source have separate budgets, so that a flood of one kind takes nothing from the others.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    io::IoSliceMut,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use quinn::udp::{RecvMeta, Transmit};

use crate::{
    peer::canonical,
    rates::{Limit, Limits, Rates},
    stats::{Counters, add},
};

/// The knowledge about the source address of a handshake.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Source {
    /// The address may be forged.
    Unproven,
    /// The client answered a Retry, so it receives at the address (RFC 9000 §8.1.2).
    Proven,
    /// This node dials the address, or a member connected from it.
    Known,
}

/// The budgets of one transport.
pub(crate) struct Gate {
    start: Instant,
    hasher: RandomState,
    counters: Arc<Counters>,
    state: Mutex<State>,
}

struct State {
    /// Retries sent, by destination and connection ID.
    retried: Marks,
    known: Marks,
    unproven_packets: Rates,
    proven_packets: Rates,
    known_packets: Rates,
    unproven_handshakes: Rates,
    proven_handshakes: Rates,
}

impl Gate {
    pub(crate) fn new(counters: Arc<Counters>) -> Arc<Self> {
        Arc::new(Self {
            start: Instant::now(),
            hasher: RandomState::new(),
            counters,
            state: Mutex::new(State {
                retried: Marks::new(MAX_RETRIED),
                known: Marks::new(MAX_KNOWN),
                unproven_packets: Rates::new(UNPROVEN_PACKETS),
                proven_packets: Rates::new(PROVEN_PACKETS),
                known_packets: Rates::new(KNOWN_PACKETS),
                unproven_handshakes: Rates::new(FAILED_HANDSHAKES),
                proven_handshakes: Rates::new(FAILED_HANDSHAKES),
            }),
        })
    }

    /// Remembers an address that a member uses, or that this node dials.
    pub(crate) fn know(&self, addr: SocketAddr) {
        let mark = self.address_mark(addr);
        self.state().known.insert(mark);
    }

    /// Classifies the source address of a handshake.
    pub(crate) fn source(&self, addr: SocketAddr, is_validated: bool) -> Source {
        if self.state().known.has(self.address_mark(addr)) {
            Source::Known
        } else if is_validated {
            Source::Proven
        } else {
            Source::Unproven
        }
    }

    /// Counts a handshake as failed until it is completed. Returns `false` if too many have failed. Handshakes of known
    /// addresses are limited only by their first packets.
    pub(crate) fn begin_handshake(&self, source: Source, addr: SocketAddr) -> bool {
        let now = self.start.elapsed();
        match source {
            Source::Unproven => self.state().unproven_handshakes.take(addr, now),
            Source::Proven => self.state().proven_handshakes.take(addr, now),
            Source::Known => true,
        }
    }

    /// Records that a handshake led to a connection, so that it does not count as failed.
    pub(crate) fn complete_handshake(&self, source: Source, addr: SocketAddr) {
        match source {
            Source::Unproven => self.state().unproven_handshakes.give_back(addr),
            Source::Proven => self.state().proven_handshakes.give_back(addr),
            Source::Known => {}
        }
    }

    /// Whether a received packet may pass to QUIC. Counts it if not.
    fn admits(&self, from: SocketAddr, packet: &[u8], now: Duration) -> bool {
        let Some(first) = FirstPacket::parse(packet) else { return true };
        let mut state = self.state();
        let (rates, dropped) = if state.known.has(self.address_mark(from)) {
            (&mut state.known_packets, &self.counters.first_packets_dropped_known)
        } else if first.answers_retry.is_some_and(|id| state.retried.has(self.retry_mark(from, id)))
        {
            (&mut state.proven_packets, &self.counters.first_packets_dropped_proven)
        } else {
            (&mut state.unproven_packets, &self.counters.first_packets_dropped_unproven)
        };
        let is_admitted = rates.take(from, now);
        if !is_admitted {
            add(dropped, 1);
        }
        is_admitted
    }

    /// Remembers a packet that is sent, if it is a Retry.
    pub(crate) fn sent(&self, transmit: &Transmit<'_>) {
        if let Some(id) = retry_id(transmit.contents) {
            let mark = self.retry_mark(canonical(transmit.destination), id);
            self.state().retried.insert(mark);
        }
    }

    /// Removes the packets that are not admitted from the received buffers. Empty buffers stay, because QUIC counts
    /// them as work done and so yields in time.
    pub(crate) fn received(&self, bufs: &mut [IoSliceMut<'_>], meta: &mut [RecvMeta]) {
        let now = self.start.elapsed();
        for (buf, meta) in bufs.iter_mut().zip(meta) {
            self.filter(buf, meta, now);
        }
    }

    /// Removes the packets that are not admitted from a received buffer, which has one packet every `stride` bytes.
    fn filter(&self, buf: &mut [u8], meta: &mut RecvMeta, now: Duration) {
        let (from, stride) = (canonical(meta.addr), meta.stride.max(1));
        let (mut begin, mut kept) = (0, 0);
        while begin < meta.len {
            let end = meta.len.min(begin.saturating_add(stride));
            if self.admits(from, &buf[begin..end], now) {
                buf.copy_within(begin..end, kept);
                kept += end - begin;
            }
            begin = end;
        }
        meta.len = kept;
    }

    fn address_mark(&self, addr: SocketAddr) -> u64 {
        self.hasher.hash_one((addr.ip(), addr.port()))
    }

    fn retry_mark(&self, addr: SocketAddr, id: &[u8]) -> u64 {
        self.hasher.hash_one((addr.ip(), addr.port(), id))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic leaves no change half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").finish_non_exhaustive()
    }
}

/// A set of hashes of constant size. A new hash replaces the one in its place.
struct Marks(Box<[u64]>);

impl Marks {
    fn new(places: usize) -> Self {
        Self(vec![0; places].into())
    }

    fn insert(&mut self, mark: u64) {
        let place = self.place(mark);
        self.0[place] = mark;
    }

    fn has(&self, mark: u64) -> bool {
        self.0[self.place(mark)] == mark
    }

    fn place(&self, mark: u64) -> usize {
        // The remainder is less than a length, so it fits a `usize`.
        usize::try_from(mark % crate::stats::count(self.0.len())).unwrap_or(0)
    }
}

/// A packet that is expensive to QUIC: an Initial, or any packet of another version (RFC 8999 §5.1).
#[derive(Debug, Eq, PartialEq)]
struct FirstPacket<'a> {
    /// The connection ID of the Retry that the packet claims to answer.
    answers_retry: Option<&'a [u8]>,
}

impl<'a> FirstPacket<'a> {
    fn parse(packet: &'a [u8]) -> Option<Self> {
        let header = LongHeader::parse(packet)?;
        match (header.version, header.kind) {
            // Version negotiation is for clients, and belongs to existing connections.
            (0, _) => None,
            (VERSION, INITIAL) => {
                let has_token = header.rest.first().is_some_and(|&length| length != 0);
                Some(Self { answers_retry: has_token.then_some(header.destination_id) })
            }
            (VERSION, _) => None,
            _ => Some(Self { answers_retry: None }),
        }
    }
}

/// The connection ID that a client must use after this Retry; `None` for other packets.
fn retry_id(packet: &[u8]) -> Option<&[u8]> {
    let header = LongHeader::parse(packet)?;
    (header.version == VERSION && header.kind == RETRY).then_some(header.source_id)
}

struct LongHeader<'a> {
    /// The packet type of version 1.
    kind: u8,
    version: u32,
    destination_id: &'a [u8],
    source_id: &'a [u8],
    rest: &'a [u8],
}

impl<'a> LongHeader<'a> {
    fn parse(packet: &'a [u8]) -> Option<Self> {
        let (&first, rest) = packet.split_first()?;
        if first & 0x80 == 0 {
            return None;
        }
        let (version, rest) = rest.split_first_chunk::<4>()?;
        let (destination_id, rest) = split_id(rest)?;
        let (source_id, rest) = split_id(rest)?;
        let (kind, version) = (first >> 4 & 0b11, u32::from_be_bytes(*version));
        Some(Self { kind, version, destination_id, source_id, rest })
    }
}

fn split_id(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&length, rest) = bytes.split_first()?;
    rest.split_at_checked(usize::from(length))
}

/// The only supported QUIC version (RFC 9000).
pub(crate) const VERSION: u32 = 1;
const INITIAL: u8 = 0b00;
const RETRY: u8 = 0b11;

/// First packets of one address: a dial sends up to ten in its three seconds.
const ADDRESS_PACKETS: Limit = Limit { per_second: 16, burst: 32 };
/// First packets of unproven addresses: most are answered with a Retry, at 20 to 30 µs each.
const UNPROVEN_PACKETS: Limits = Limits {
    address: ADDRESS_PACKETS,
    network: Limit { per_second: 1_000, burst: 2_000 },
    total: Limit { per_second: 2_000, burst: 4_000 },
};
/// First packets of proven addresses: fewer, because each may begin a handshake. The burst lets a few hundred nodes
/// join at once.
const PROVEN_PACKETS: Limits = Limits {
    address: ADDRESS_PACKETS,
    network: Limit { per_second: 500, burst: 1_000 },
    total: Limit { per_second: 1_000, burst: 2_000 },
};
/// First packets of known addresses: like proven ones, but one network may use the total, because members often share a
/// machine.
const KNOWN_PACKETS: Limits = Limits { network: PROVEN_PACKETS.total, ..PROVEN_PACKETS };
/// Handshakes that may fail. A refused one costs about half a millisecond. One that is not continued occupies one of
/// [`MAX_HANDSHAKES`](crate::accept::MAX_HANDSHAKES) places for `handshake_timeout`: with the default of 3 s, proven
/// addresses occupy at most 184 of the 256 places, and unproven ones 64.
const FAILED_HANDSHAKES: Limits = Limits {
    address: Limit { per_second: 2, burst: 32 },
    network: Limit { per_second: 20, burst: 48 },
    total: Limit { per_second: 40, burst: 64 },
};
/// Known addresses. A new one replaces the one in its place.
const MAX_KNOWN: usize = 2_048;
/// Retries remembered. A new one replaces the one in its place, whose client counts as unproven again.
const MAX_RETRIED: usize = 4_096;

#[cfg(test)]
mod tests;
