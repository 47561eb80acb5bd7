//! Rate limits by source: per address, per network, and in total.

use std::{
    hash::{BuildHasher, Hash, RandomState},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

/// A rate limit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    pub(crate) per_second: u32,
    /// Events allowed at once after a quiet time.
    pub(crate) burst: u32,
}

/// The limits of one kind of event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The limit for one IP address and port.
    pub(crate) address: Limit,
    /// The limit for one IPv4 address, or one IPv6 `/64`.
    pub(crate) network: Limit,
    pub(crate) total: Limit,
}

/// Counts one kind of event against its [`Limits`].
///
/// Memory is constant: sources are hashed with a random key into a fixed number of cells, and sources in one cell
/// share its limit. Because the key is random, an attacker cannot choose to share the cell of a victim.
#[derive(Debug)]
pub(crate) struct Rates {
    hasher: RandomState,
    address: Level,
    network: Level,
    total: Level,
}

impl Rates {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            hasher: RandomState::new(),
            address: Level::new(limits.address, ADDRESS_CELLS),
            network: Level::new(limits.network, NETWORK_CELLS),
            total: Level::new(limits.total, 1),
        }
    }

    /// Counts one event, unless that would exceed a limit. An event that one limit refuses counts for none, so a
    /// flood from one address does not use up the limits of others.
    pub(crate) fn take(&mut self, source: SocketAddr, now: Duration) -> bool {
        let (address, network) = self.keys(source);
        let is_within = self.address.has_room(address, now)
            && self.network.has_room(network, now)
            && self.total.has_room(0, now);
        if is_within {
            self.address.charge(address, now);
            self.network.charge(network, now);
            self.total.charge(0, now);
        }
        is_within
    }

    /// Uncounts one event of this source.
    pub(crate) fn give_back(&mut self, source: SocketAddr) {
        let (address, network) = self.keys(source);
        self.address.give_back(address);
        self.network.give_back(network);
        self.total.give_back(0);
    }

    fn keys(&self, source: SocketAddr) -> (u64, u64) {
        let network = match source.ip() {
            IpAddr::V4(ip) => u128::from(ip.to_bits()),
            IpAddr::V6(ip) => ip.to_bits() >> 64,
        };
        (self.hash((source.ip(), source.port())), self.hash((source.is_ipv4(), network)))
    }

    fn hash(&self, key: impl Hash) -> u64 {
        self.hasher.hash_one(key)
    }
}

/// Token buckets of one size, kept as the moment at which each is full again (GCRA).
#[derive(Debug)]
struct Level {
    interval: u64,
    /// A bucket has no token left if it is full again later than this from now.
    tolerance: u64,
    /// Nanoseconds since the start.
    full_at: Box<[u64]>,
}

impl Level {
    fn new(limit: Limit, cells: usize) -> Self {
        let interval = NANOS_PER_SECOND / u64::from(limit.per_second.max(1));
        let tolerance = interval * u64::from(limit.burst.saturating_sub(1));
        Self { interval, tolerance, full_at: vec![0; cells].into() }
    }

    fn has_room(&self, key: u64, now: Duration) -> bool {
        self.full_at[self.cell(key)] <= nanos(now).saturating_add(self.tolerance)
    }

    fn charge(&mut self, key: u64, now: Duration) {
        let cell = self.cell(key);
        self.full_at[cell] = self.full_at[cell].max(nanos(now)).saturating_add(self.interval);
    }

    fn give_back(&mut self, key: u64) {
        let cell = self.cell(key);
        self.full_at[cell] = self.full_at[cell].saturating_sub(self.interval);
    }

    fn cell(&self, key: u64) -> usize {
        // The remainder is less than a length, so it fits a `usize`.
        usize::try_from(key % crate::stats::count(self.full_at.len())).unwrap_or(0)
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

const NANOS_PER_SECOND: u64 = 1_000_000_000;
const ADDRESS_CELLS: usize = 1_024;
const NETWORK_CELLS: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        address: Limit { per_second: 2, burst: 4 },
        network: Limit { per_second: 10, burst: 20 },
        total: Limit { per_second: 20, burst: 40 },
    };

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn granted(
        rates: &mut Rates,
        sources: impl Iterator<Item = SocketAddr>,
        at: Duration,
    ) -> usize {
        sources.filter(|source| rates.take(*source, at)).count()
    }

    #[test]
    fn one_address_has_its_burst_and_then_its_rate() {
        let (mut rates, one) = (Rates::new(LIMITS), addr("192.0.2.1:7"));
        let many = || std::iter::repeat_n(one, 100);
        assert_eq!(granted(&mut rates, many(), Duration::ZERO), 4);
        assert_eq!(granted(&mut rates, many(), Duration::from_millis(499)), 0);
        assert_eq!(granted(&mut rates, many(), Duration::from_millis(500)), 1);
        assert_eq!(granted(&mut rates, many(), Duration::from_secs(60)), 4);
        assert!(
            rates.take(addr("192.0.2.1:8"), Duration::from_secs(60)),
            "another port is another"
        );
    }

    #[test]
    fn a_network_leaves_room_for_others_and_all_have_a_total() {
        let mut rates = Rates::new(LIMITS);
        let of = |ip: &str| {
            let ip = ip.parse().unwrap();
            (1..=500).map(move |port| SocketAddr::new(ip, port))
        };
        assert_eq!(granted(&mut rates, of("192.0.2.1"), Duration::ZERO), 20);
        // Seldom, two networks share a cell.
        let cell =
            |rates: &Rates, ip: &str| rates.network.cell(rates.keys(of(ip).next().unwrap()).1);
        let others = (1..).map(|network| format!("2001:db8:{network}::1"));
        let other = others.into_iter().find(|ip| cell(&rates, ip) != cell(&rates, "192.0.2.1"));
        assert_eq!(granted(&mut rates, of(&other.unwrap()), Duration::ZERO), 20);
        assert_eq!(granted(&mut rates, of("192.0.2.3"), Duration::ZERO), 0, "the total is spent");
        // Addresses of one /64 are one network.
        let mut rates = Rates::new(LIMITS);
        assert_eq!(granted(&mut rates, of("2001:db8::1"), Duration::ZERO), 20);
        assert_eq!(granted(&mut rates, of("2001:db8::2"), Duration::ZERO), 0);
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let (mut rates, one) = (Rates::new(LIMITS), addr("192.0.2.1:7"));
        for _ in 0..1000 {
            assert!(rates.take(one, Duration::ZERO));
            rates.give_back(one);
        }
    }
}
