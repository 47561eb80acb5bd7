//! Replicas in different zones.

use std::collections::BTreeMap;

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
