//! [`Refusal`]: why a voter does not grant a term.

use std::time::Duration;

use crate::Term;

/// Why a term is not granted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Why {
    /// The voter leaves the cluster.
    Leaving,
    /// The rules do not name the voter, or have not for long enough.
    NoVoter,
    /// The candidate is not alive here in this run, or takes no work.
    Unfit,
    /// The lease of another candidate runs.
    Held,
    /// The same, under other rules; or the lease asked for is longer than those of this voter.
    RulesDiffer,
    /// Leases may run that this voter does not know of, or the members still change.
    NotSettled,
    /// A term as high was granted.
    TermTooLow,
    /// The term is far beyond those known here.
    TermTooHigh,
    /// This voter knows more voters than the rules expect.
    TooManyVoters,
    /// The leases of as many offices run as this voter remembers.
    TooManyOffices,
    /// A reason of a later release.
    Unknown,
}

impl Why {
    const ALL: [Self; 10] = [
        Self::Leaving,
        Self::NoVoter,
        Self::Unfit,
        Self::Held,
        Self::RulesDiffer,
        Self::NotSettled,
        Self::TermTooLow,
        Self::TermTooHigh,
        Self::TooManyVoters,
        Self::TooManyOffices,
    ];

    /// Its number in messages; 0 stands for a grant.
    pub(crate) fn code(self) -> u8 {
        let place = (1..).zip(Self::ALL).find(|(_, why)| *why == self);
        place.map_or(u8::MAX, |(code, _)| code)
    }

    /// The reason with this number.
    pub(crate) fn of_code(code: u8) -> Self {
        let place = usize::from(code).checked_sub(1);
        place.and_then(|place| Self::ALL.get(place)).copied().unwrap_or(Self::Unknown)
    }
}

/// A refusal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Refusal {
    pub(crate) why: Why,
    /// The highest term that this voter granted.
    pub(crate) promised: Term,
    /// After how long it is of use to ask again, as far as that is known.
    pub(crate) remaining: Duration,
}
