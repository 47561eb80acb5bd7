//! Budgets of news, in messages. Each kind of news that can come in masses has its own, so that neither waits for the
//! other.

use std::time::Duration;

use crate::{Incarnation, Instant, Member, MemberState};

/// The kinds of news that there can be much of at once.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// Suspicions and deaths.
    Fall,
    Refutation,
}

/// The burst of messages; afterwards [`MESSAGES_PER_PERIOD`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    at_once: u32,
    /// Up to when it is spent.
    spent_until: Instant,
}

impl Kind {
    pub(crate) const ALL: [Self; 2] = [Self::Fall, Self::Refutation];

    /// The kind of news that a member's present state is; `None` for one that joins, returns or leaves, of which others
    /// hear at once.
    pub(crate) fn of(member: &Member) -> Option<Self> {
        match member.state {
            MemberState::Suspect | MemberState::Dead => Some(Self::Fall),
            MemberState::Alive if member.incarnation() > Incarnation(0) => Some(Self::Refutation),
            MemberState::Alive | MemberState::Left => None,
        }
    }
}

impl Budget {
    pub(crate) fn new(now: Instant, rings: u8) -> Self {
        Self { at_once: u32::from(rings) * PUSHES_AT_ONCE, spent_until: now }
    }

    /// How long it takes until so many messages can be sent.
    pub(crate) fn wait(self, messages: usize, now: Instant, period: Duration) -> Duration {
        let messages = u32::try_from(messages).unwrap_or(u32::MAX);
        let backlog = self.spent_until.saturating_since(now);
        (backlog + gap(period).saturating_mul(messages)).saturating_sub(gap(period) * self.at_once)
    }

    pub(crate) fn take(&mut self, messages: u32, now: Instant, period: Duration) {
        self.spent_until = self.spent_until.max(now) + gap(period).saturating_mul(messages);
    }
}

/// The cost of one message.
fn gap(period: Duration) -> Duration {
    period / MESSAGES_PER_PERIOD
}

/// How many pushes to all subjects a kind of news has at once, as many as a death takes.
const PUSHES_AT_ONCE: u32 = 2;
/// How many messages in a protocol period then, where no single push takes more; none waits longer than a period.
const MESSAGES_PER_PERIOD: u32 = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_allows_a_burst_and_then_a_rate() {
        let at = |millis| Instant::START + Duration::from_millis(millis);
        let (period, mut budget) = (Duration::from_millis(1_200), Budget::new(at(0), 2));
        // Four messages at once, then one in each 100 ms. When, how many are taken, and how long the next one waits.
        let steps =
            [(0, 3, 0), (0, 1, 100), (50, 0, 50), (100, 0, 0), (100, 2, 200), (10_000, 4, 100)];
        for (now, taken, wait) in steps {
            budget.take(taken, at(now), period);
            let found = budget.wait(1, at(now), period);
            assert_eq!(found, Duration::from_millis(wait), "{taken} at {now} ms");
        }
    }

    #[test]
    fn falls_and_refutations_are_news_of_a_kind_and_nothing_else_is() {
        use crate::member::record::tests::{record, version};
        let cases = [
            (MemberState::Suspect, 0, Some(Kind::Fall)),
            (MemberState::Dead, 3, Some(Kind::Fall)),
            (MemberState::Alive, 0, None),
            (MemberState::Alive, 1, Some(Kind::Refutation)),
            (MemberState::Left, 1, None),
        ];
        for (state, incarnation, expected) in cases {
            let record = record(1, version(0, incarnation));
            let found = Kind::of(&Member { record, state, since: Instant::START });
            assert_eq!(found, expected, "{state} {incarnation}");
        }
    }
}
