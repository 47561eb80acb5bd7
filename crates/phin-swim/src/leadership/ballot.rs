//! [`Ballot`]: the votes for one term of one candidate, and until when they are worth something.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use crate::{
    Generation, Instant, MemberId, Term,
    leadership::refusal::Refusal,
    wire::{LeadAnswer, Sequence},
};

/// The votes for a term.
#[derive(Debug)]
pub(crate) struct Ballot {
    pub(crate) term: Term,
    /// The run of this node that asks.
    pub(crate) generation: Generation,
    /// When the last requests were sent: at most [`MAX_ASKS`].
    asks: VecDeque<(Sequence, Instant)>,
    /// When the latest request was sent that each voter granted.
    granted: BTreeMap<MemberId, Instant>,
    refused: BTreeMap<MemberId, Refusal>,
}

impl Ballot {
    pub(crate) fn new(term: Term, generation: Generation) -> Self {
        let (asks, granted, refused) = Default::default();
        Self { term, generation, asks, granted, refused }
    }

    /// Requests are sent now.
    pub(crate) fn record_ask(&mut self, sequence: Sequence, now: Instant) {
        if self.asks.len() >= MAX_ASKS {
            self.asks.pop_front();
        }
        self.asks.push_back((sequence, now));
    }

    /// A voter answers; `false` if it was not asked so.
    pub(crate) fn record(&mut self, from: MemberId, answer: &LeadAnswer) -> bool {
        let asked = self.asks.iter().find(|(sequence, _)| *sequence == answer.sequence);
        let Some(&(_, sent_at)) = asked.filter(|_| answer.term == self.term) else {
            return false;
        };
        match answer.result {
            Ok(()) => self.record_grant(from, sent_at),
            Err(refusal) => _ = self.refused.insert(from, refusal),
        }
        true
    }

    fn record_grant(&mut self, from: MemberId, sent_at: Instant) {
        // Answers overtake each other.
        let granted = self.granted.entry(from).or_insert(sent_at);
        *granted = sent_at.max(*granted);
        self.refused.remove(&from);
    }

    pub(crate) fn granted(&self) -> usize {
        self.granted.len()
    }

    pub(crate) fn refusals(&self) -> impl Iterator<Item = &Refusal> {
        self.refused.values()
    }

    /// Whether a voter is to be asked: it granted nothing that was sent within `age`.
    pub(crate) fn lacks(&self, voter: MemberId, now: Instant, age: Duration) -> bool {
        self.granted.get(&voter).is_none_or(|&sent_at| now - sent_at >= age)
    }

    /// Whether a voter has not answered.
    pub(crate) fn is_open(&self, voter: MemberId) -> bool {
        !self.granted.contains_key(&voter) && !self.refused.contains_key(&voter)
    }

    /// Until when the office is held: `needed` voters grant it to no other until then. Each counts its lease from when it
    /// receives a request, which is after it was sent. A tenth is left for clocks that run at different speeds.
    pub(crate) fn valid_until(&self, needed: usize, lease: Duration) -> Option<Instant> {
        let mut sent: Vec<_> = self.granted.values().copied().collect();
        sent.sort_unstable_by(|a, b| b.cmp(a));
        let oldest = *sent.get(needed.checked_sub(1)?)?;
        Some(oldest + lease * 9 / 10)
    }
}

/// How many requests can be answered. Those before are of no use: their leases are over.
const MAX_ASKS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        leadership::refusal::Why,
        testing::{at, ms, peer},
    };

    fn answer(term: u64, sequence: u32, result: Result<(), Refusal>) -> LeadAnswer {
        let office = "o".parse().unwrap();
        LeadAnswer { office, term: Term(term), sequence: Sequence(sequence), result }
    }

    #[test]
    fn a_lease_counts_from_the_oldest_request_of_the_majority() {
        let mut ballot = Ballot::new(Term(7), Generation(0));
        ballot.record_ask(Sequence(1), at(1_000));
        ballot.record_ask(Sequence(2), at(1_500));
        ballot.record_ask(Sequence(3), at(1_600));
        let lease = ms(2_000);
        // Which voter grants which request, and until when two and three of them give the office.
        let steps = [
            (1, 2, None, None),
            (2, 1, Some(2_800), None),
            (3, 3, Some(3_300), Some(2_800)),
            // A late answer to an earlier request takes nothing back.
            (3, 1, Some(3_300), Some(2_800)),
            (2, 3, Some(3_400), Some(3_300)),
        ];
        for (node, sequence, two, three) in steps {
            assert!(ballot.record(peer(node).id, &answer(7, sequence, Ok(()))));
            assert_eq!(ballot.valid_until(2, lease), two.map(at), "n{node} {sequence}");
            assert_eq!(ballot.valid_until(3, lease), three.map(at), "n{node} {sequence}");
        }
        assert_eq!(ballot.valid_until(0, lease), None);
    }

    #[test]
    fn an_answer_to_no_request_of_the_term_counts_for_nothing() {
        let mut ballot = Ballot::new(Term(7), Generation(0));
        (1..=17).for_each(|number| ballot.record_ask(Sequence(number), at(0)));
        for (term, sequence, expected) in
            [(7, 18, false), (6, 5, false), (8, 5, false), (7, 1, false), (7, 2, true)]
        {
            assert_eq!(ballot.record(peer(1).id, &answer(term, sequence, Ok(()))), expected);
        }
    }

    #[test]
    fn a_refusal_closes_and_a_grant_reopens_nothing() {
        let mut ballot = Ballot::new(Term(7), Generation(0));
        ballot.record_ask(Sequence(1), at(0));
        let refusal = Refusal { why: Why::Held, promised: Term(6), remaining: ms(5) };
        assert!(ballot.is_open(peer(1).id));
        ballot.record(peer(1).id, &answer(7, 1, Err(refusal)));
        assert!(!ballot.is_open(peer(1).id) && ballot.lacks(peer(1).id, at(0), ms(9)));
        ballot.record(peer(1).id, &answer(7, 1, Ok(())));
        assert_eq!((ballot.granted(), ballot.refusals().count()), (1, 0));
        assert!(!ballot.lacks(peer(1).id, at(8), ms(9)) && ballot.lacks(peer(1).id, at(9), ms(9)));
    }
}
