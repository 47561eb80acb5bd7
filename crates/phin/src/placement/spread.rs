//! Replicas in different zones.

use std::collections::BTreeMap;

use super::score::{Candidate, KeyHash, Score};

/// The zone of each member, and how many zones there are.
#[derive(Clone, Debug, Default)]
pub(super) struct Zones {
    /// The number of the zone of each member.
    of: Vec<usize>,
    /// How many zones have more members than the index.
    larger: Vec<usize>,
    count: usize,
}

impl Zones {
    /// Members with the same value are in one zone, and so are those without a value.
    pub(super) fn new<'a>(values: impl Iterator<Item = Option<&'a str>>) -> Self {
        let (mut numbers, mut sizes) = (BTreeMap::new(), Vec::new());
        let mut zones = Self::default();
        for value in values {
            let zone = *numbers.entry(value).or_insert(sizes.len());
            if zone == sizes.len() {
                sizes.push(0);
            }
            if sizes[zone] == zones.larger.len() {
                zones.larger.push(0);
            }
            zones.larger[sizes[zone]] += 1;
            sizes[zone] += 1;
            zones.of.push(zone);
        }
        Self { count: sizes.len(), ..zones }
    }

    /// The first `wanted` of a ranking after it was sorted by rounds: the best member of each zone, then the second best of
    /// each, and so on. So the numbers of replicas in two zones differ by more than one only where a zone has no more members.
    pub(super) fn spread(
        &self,
        ranking: impl Iterator<Item = usize>,
        wanted: usize,
    ) -> impl Iterator<Item = usize> {
        let mut taken = vec![0; self.count];
        let mut rounds: Vec<Vec<usize>> = Vec::new();
        for member in ranking {
            let round = &mut taken[self.of[member]];
            if *round == rounds.len() {
                rounds.push(Vec::new());
            }
            rounds[*round].push(member);
            *round += 1;
            if self.is_settled(&rounds, wanted) {
                break;
            }
        }
        rounds.into_iter().flatten().take(wanted)
    }

    /// The same as [`spread`](Self::spread) of the ranking for a key, without a ranking: only a few scores are kept while all
    /// members are read once. The time grows with `wanted`, at most with its square.
    pub(super) fn first_few(
        &self,
        candidates: &[Candidate],
        key: KeyHash,
        wanted: usize,
    ) -> Vec<usize> {
        let wanted = wanted.min(candidates.len());
        match self.rounds(wanted) {
            1 => self.first_of_round(candidates, key, wanted),
            rounds => self.first_of_rounds(candidates, key, wanted, rounds),
        }
    }

    /// The best members of the zones in which they are the best. There are at least as many zones as are wanted.
    fn first_of_round(&self, candidates: &[Candidate], key: KeyHash, wanted: usize) -> Vec<usize> {
        let last = wanted - 1;
        let mut best = vec![(Score::NONE, usize::MAX); wanted];
        for ((index, candidate), &zone) in candidates.iter().enumerate().zip(&self.of) {
            let Some(score) = candidate.score_above(&best[last].0, key, index) else {
                continue;
            };
            // A zone has one place.
            let place = best.iter().position(|(_, other)| *other == zone).unwrap_or(last);
            if score > best[place].0 {
                best[place] = (score, zone);
                let higher = best.partition_point(|(other, _)| *other > score);
                best[higher..=place].rotate_right(1);
            }
        }
        best.into_iter().map(|(score, _)| score.index).collect()
    }

    /// The best members of each zone by rounds. There are fewer zones than are wanted.
    fn first_of_rounds(
        &self,
        candidates: &[Candidate],
        key: KeyHash,
        wanted: usize,
        rounds: usize,
    ) -> Vec<usize> {
        let mut best = vec![Score::NONE; self.count * rounds];
        for ((index, candidate), zone) in candidates.iter().enumerate().zip(&self.of) {
            keep_best(&mut best[zone * rounds..][..rounds], candidate, key, index);
        }
        let mut first = Vec::with_capacity(self.count * rounds);
        for round in 0..rounds {
            let of_round = best.iter().skip(round).step_by(rounds).filter(|score| score.is_some());
            let mut of_round: Vec<_> = of_round.collect();
            of_round.sort_unstable_by(|a, b| b.cmp(a));
            first.extend(of_round.into_iter().map(|score| score.index));
        }
        first.truncate(wanted);
        first
    }

    /// How many rounds have the first `wanted`.
    fn rounds(&self, wanted: usize) -> usize {
        let mut missing = wanted;
        let needed = self.larger.iter().take_while(|&&zones| {
            let is_needed = missing > 0;
            missing = missing.saturating_sub(zones);
            is_needed
        });
        needed.count()
    }

    /// Whether nothing that follows in the ranking changes the first `wanted`.
    fn is_settled(&self, rounds: &[Vec<usize>], wanted: usize) -> bool {
        let mut missing = wanted;
        for (round, &zones) in rounds.iter().zip(&self.larger) {
            if round.len() >= missing {
                return true;
            }
            if round.len() < zones {
                return false;
            }
            missing -= round.len();
        }
        false
    }
}

/// The first `wanted` of all members, as [`Zones::first_few`] of a single zone.
pub(super) fn first_few(candidates: &[Candidate], key: KeyHash, wanted: usize) -> Vec<usize> {
    let mut best = vec![Score::NONE; wanted.min(candidates.len())];
    for (index, candidate) in candidates.iter().enumerate() {
        keep_best(&mut best, candidate, key, index);
    }
    best.into_iter().map(|score| score.index).collect()
}

/// Puts the score of a member into its place among the best ones, the greatest first, if it is one of them. The least gives way.
fn keep_best(best: &mut [Score], candidate: &Candidate, key: KeyHash, index: usize) {
    let score = best.last().and_then(|least| candidate.score_above(least, key, index));
    let Some(score) = score else {
        return;
    };
    let place = best.partition_point(|other| *other > score);
    if let Some(after @ [_, ..]) = best.get_mut(place..) {
        after.rotate_right(1);
        after[0] = score;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_zone_gives_its_best_before_any_gives_its_second() {
        // The zones of the members in the order of the ranking, how many are wanted, and which they are.
        let cases: &[(&str, usize, &[usize])] = &[
            ("aab", 2, &[0, 2]),
            ("aaab", 3, &[0, 3, 1]),
            ("aabbcc", 3, &[0, 2, 4]),
            ("aabbcc", 4, &[0, 2, 4, 1]),
            ("aaaab", 5, &[0, 4, 1, 2, 3]),
            // Members without a zone are in one.
            ("  ab", 3, &[0, 2, 3]),
            ("abc", 9, &[0, 1, 2]),
            ("abc", 0, &[]),
            ("", 3, &[]),
        ];
        for &(zones, wanted, expected) in cases {
            let values: Vec<_> = zones.split("").filter(|zone| !zone.is_empty()).collect();
            let values = values.iter().map(|zone| Some(*zone).filter(|zone| *zone != " "));
            let found: Vec<_> = Zones::new(values).spread(0..zones.len(), wanted).collect();
            assert_eq!(found, expected, "{wanted} of {zones:?}");
        }
    }

    #[test]
    fn a_ranking_is_read_no_further_than_needed() {
        let zones = Zones::new(["a", "b", "a", "b", "a", "b"].into_iter().map(Some));
        let mut read = 0;
        let found: Vec<_> = zones.spread((0..6).inspect(|_| read += 1), 3).collect();
        assert_eq!((found, read), (vec![0, 1, 2], 3));
    }
}
