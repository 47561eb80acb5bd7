//! The score of a member for a key: weighted rendezvous hashing in integers, so that every platform and language
//! agrees.
//!
//! `docs/reference/placement.md` specifies it byte for byte. A change here moves keys in every cluster.

use std::cmp::Ordering;

use phin_swim::MemberId;
use twox_hash::XxHash64;

/// A member that can hold keys, prepared so that a key costs a few nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    /// The halves of the id after the first round of XXH64, which does not depend on the key.
    halves: [u64; 2],
    /// 1 to 1,000.
    weight: u64,
}

impl Candidate {
    pub(super) fn new(id: MemberId, weight: u16) -> Self {
        let half = |bytes| round(u64::from_le_bytes(bytes));
        let [a, b, c, d, e, f, g, h, rest @ ..] = id.0;
        Self { halves: [half([a, b, c, d, e, f, g, h]), half(rest)], weight: weight.into() }
    }

    /// The score of the member for a key. `index` is its place in the order of ids.
    pub(super) fn score(&self, key: KeyHash, index: usize) -> Score {
        self.score_of(self.hash(key), index)
    }

    /// The same, or `None` if it is certainly less than `best`. Of many members, only a few need a logarithm.
    pub(super) fn score_above(&self, best: &Score, key: KeyHash, index: usize) -> Option<Score> {
        let hash = self.hash(key);
        // -log₂(u) is at least 1 - u.
        let least = !hash >> 32;
        let may_win = least * best.weight <= best.log * self.weight;
        may_win.then(|| self.score_of(hash, index))
    }

    fn score_of(&self, hash: u64, index: usize) -> Score {
        Score { hash, log: minus_log2(hash), weight: self.weight, index }
    }

    /// XXH64 of the id, with the hash of the key as its seed.
    fn hash(&self, key: KeyHash) -> u64 {
        let mut hash = key.0.wrapping_add(PRIME_5).wrapping_add(16);
        for half in self.halves {
            hash = (hash ^ half).rotate_left(27).wrapping_mul(PRIME_1).wrapping_add(PRIME_4);
        }
        hash = (hash ^ (hash >> 33)).wrapping_mul(PRIME_2);
        hash = (hash ^ (hash >> 29)).wrapping_mul(PRIME_3);
        hash ^ (hash >> 32)
    }
}

/// How good a member is for a key; the greatest of all members holds the key.
///
/// With u = hash / 2⁶⁴, -log(u) / weight is exponentially distributed with the weight as its rate. So each member has the
/// least of all with a probability of its weight divided by the sum of weights (Efraimidis and Spirakis, 2006).
#[derive(Clone, Copy, Debug)]
pub(super) struct Score {
    pub(super) hash: u64,
    /// -log₂ of the hash / 2⁶⁴, times 2³²: 1 to 2³⁸.
    pub(super) log: u64,
    weight: u64,
    pub(super) index: usize,
}

impl Score {
    /// Less than the score of any member.
    pub(super) const NONE: Self = Self { hash: 0, log: 1 << 50, weight: 1, index: usize::MAX };

    /// Whether it is the score of a member.
    pub(super) const fn is_some(&self) -> bool {
        self.index != Self::NONE.index
    }
}

impl Ord for Score {
    fn cmp(&self, other: &Self) -> Ordering {
        // log / weight < other.log / other.weight, without a division; both products are below 2⁶⁰.
        let by_share = (other.log * self.weight).cmp(&(self.log * other.weight));
        by_share.then(self.hash.cmp(&other.hash)).then(other.index.cmp(&self.index))
    }
}

impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Score {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Score {}

/// The hash of a key.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeyHash(pub(super) u64);

impl KeyHash {
    pub(super) fn of(key: &[u8]) -> Self {
        Self(XxHash64::oneshot(0, key))
    }
}

/// A round of XXH64 with an empty accumulator.
const fn round(lane: u64) -> u64 {
    lane.wrapping_mul(PRIME_2).rotate_left(31).wrapping_mul(PRIME_1)
}

const PRIME_1: u64 = 0x9e37_79b1_85eb_ca87;
const PRIME_2: u64 = 0xc2b2_ae3d_27d4_eb4f;
const PRIME_3: u64 = 0x1656_67b1_9e37_79f9;
const PRIME_4: u64 = 0x85eb_ca77_c2b2_ae63;
const PRIME_5: u64 = 0x27d4_eb2f_1656_67c5;

/// -log₂(hash / 2⁶⁴) times 2³²: linear between 256 values in each octave, so at most 0.3 % too large.
fn minus_log2(hash: u64) -> u64 {
    // Zero has no logarithm.
    let odd = hash | 1;
    let octave = u64::from(odd.leading_zeros());
    let mantissa = odd << octave;
    let (step, rest) = ((mantissa >> 55) & 0xff, (mantissa >> 23) & 0xffff_ffff);
    let [low, high] = [LOG2[step as usize], LOG2[step as usize + 1]];
    ((octave + 1) << 32) - (low + (((high - low) * rest) >> 32))
}

/// ⌊2³² log₂(1 + i / 256)⌋.
const LOG2: [u64; 257] = {
    let mut table = [1 << 32; 257];
    let mut step = 0;
    while step < 256 {
        table[step] = log2_of(256 + step as u64);
        step += 1;
    }
    table
};

/// ⌊2³² log₂(number / 256)⌋ of a number from 256 to 511, bit by bit: the square of 2ˣ is 2²ˣ.
const fn log2_of(number: u64) -> u64 {
    let (mut power, mut log, mut bits) = ((number as u128) << 55, 0, 0);
    while bits < 32 {
        power = (power * power) >> 63;
        let bit = power >> 64;
        power >>= bit;
        log = log << 1 | bit as u64;
        bits += 1;
    }
    log
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_hashed_as_by_xxh64() {
        let mut seed = 1_u64;
        for _ in 0..1_000 {
            let id = [1, 2].map(|half| XxHash64::oneshot(seed, &[half]).to_be_bytes()).concat();
            let id = MemberId(id.try_into().unwrap());
            let expected = XxHash64::oneshot(seed, &id.0);
            assert_eq!(Candidate::new(id, 1).hash(KeyHash(seed)), expected, "{id} {seed}");
            seed = expected;
        }
    }

    #[test]
    fn the_table_has_the_logarithms() {
        for (step, found) in LOG2.into_iter().enumerate() {
            // No value is so close to an integer that a double could round it the wrong way.
            let expected = (1.0 + step as f64 / 256.0).log2() * 4_294_967_296.0;
            assert_eq!(found, expected.floor() as u64, "{step}");
        }
    }

    #[test]
    fn the_logarithm_falls_steadily_and_is_nearly_exact() {
        assert_eq!(minus_log2(u64::MAX), 1);
        assert_eq!((minus_log2(0), minus_log2(1)), (64 << 32, 64 << 32));
        assert_eq!(minus_log2(1 << 63), 1 << 32);
        let mut hash = u64::MAX;
        while hash > 1 << 20 {
            let next = hash - hash / 1_000;
            assert!(minus_log2(next) > minus_log2(hash), "{hash}");
            let exact = (64.0 - (next as f64).log2()) * 4_294_967_296.0;
            let found = minus_log2(next) as f64;
            assert!(
                (0.0..0.003).contains(&(found / exact - 1.0 + 1e-6)),
                "{next}: {found} {exact}"
            );
            hash = next;
        }
    }
}
