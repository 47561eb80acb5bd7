//! The troubles of members, and the orders of members.

use std::{
    cmp::Ordering,
    time::{Duration, SystemTime},
};

use jiff::Timestamp;
use phin::{MemberId, MemberState, ServingState};
use serde::Serialize;

use crate::{events::DetailedMember, links::KnownLink};

/// The worst that is known of a member, the worst first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Trouble {
    /// It does not answer, and no verdict exists.
    Suspect,
    /// It died lately.
    Dead,
    /// It lives, but its replies reach most of its observers late or not at all.
    Degraded,
    /// Some of its observers do not reach it.
    FailingLinks,
    /// A ping is missing for long enough to count as evidence.
    Evidence,
    /// It died and returned too often lately.
    Suppressed,
    /// Another live member has its name.
    NameConflict,
    /// It says that it cannot take work.
    NotServing,
    /// The link to it loses pings.
    Loss,
    /// It finishes its work and takes no more.
    Draining,
    None,
    /// It died a while ago.
    LongDead,
    Left,
}

/// The order of members on the screen.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub(crate) enum Sort {
    /// Those in trouble first
    Trouble,
    /// By name
    Name,
    /// Highest phi first
    Phi,
    /// Slowest first
    Rtt,
    /// Highest loss first
    Loss,
    /// Latest change of state first
    Since,
}

/// A member, with what the order needs.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) member: DetailedMember,
    /// The link to it, if the node knows any.
    pub(crate) link: Option<KnownLink>,
    /// When it entered its state.
    pub(crate) since: Option<SystemTime>,
    pub(crate) trouble: Trouble,
    /// It died or left, and a live or later member has its name.
    pub(crate) is_earlier_run: bool,
}

impl Trouble {
    /// The worst of a member that is in its state for this long.
    pub(crate) fn of(row: &Row, age: Duration) -> Self {
        let member = &row.member;
        match member.member.state {
            MemberState::Suspect => return Self::Suspect,
            MemberState::Dead if age < LATELY => return Self::Dead,
            MemberState::Dead => return Self::LongDead,
            MemberState::Left => return Self::Left,
            MemberState::Alive => {}
        }
        let failing = &member.failing;
        if failing.degraded_since.is_some() {
            Self::Degraded
        } else if !failing.failing_links.is_empty() {
            Self::FailingLinks
        } else if member.phi.is_some_and(|phi| phi >= EVIDENCE) {
            Self::Evidence
        } else if member.suppressed_until.is_some() {
            Self::Suppressed
        } else if !member.namesakes.is_empty() {
            Self::NameConflict
        } else if matches!(member.member.serving, ServingState::NotServing(_)) {
            Self::NotServing
        } else if row.is_lossy() {
            Self::Loss
        } else if member.member.serving == ServingState::Draining {
            Self::Draining
        } else {
            Self::None
        }
    }

    /// Whether an operator should look.
    pub(crate) fn is_any(self) -> bool {
        self < Self::None
    }
}

impl Row {
    pub(crate) fn new(member: DetailedMember, is_earlier_run: bool) -> Self {
        let since = member.since.parse::<Timestamp>().ok().map(SystemTime::from);
        Self { member, link: None, since, trouble: Trouble::None, is_earlier_run }
    }

    /// Takes over what the node knows now of its link to the member.
    pub(crate) fn set_link(&mut self, link: Option<KnownLink>) {
        self.member.phi = link.as_ref().and_then(|link| link.phi);
        self.member.rtt_ms = link.as_ref().and_then(|link| link.rtt_ms);
        self.member.failing = link.as_ref().map(|link| link.failing.clone()).unwrap_or_default();
        self.link = link;
    }

    pub(crate) fn loss(&self) -> Option<f64> {
        self.link.as_ref()?.loss
    }

    /// Whether the link loses a share of its pings that matters. Few samples show only the prior.
    pub(crate) fn is_lossy(&self) -> bool {
        let samples = self.link.as_ref().and_then(|link| link.rtt_samples).unwrap_or_default();
        samples >= FEW_SAMPLES && self.loss().is_some_and(|loss| loss >= MUCH_LOSS)
    }
}

impl Sort {
    /// The next order, in a circle.
    pub(crate) const fn next(self) -> Self {
        match self {
            Self::Trouble => Self::Name,
            Self::Name => Self::Phi,
            Self::Phi => Self::Rtt,
            Self::Rtt => Self::Loss,
            Self::Loss => Self::Since,
            Self::Since => Self::Trouble,
        }
    }

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Trouble => "trouble",
            Self::Name => "name",
            Self::Phi => "phi",
            Self::Rtt => "round trip",
            Self::Loss => "loss",
            Self::Since => "latest change",
        }
    }

    pub(crate) fn compare(self, a: &Row, b: &Row) -> Ordering {
        let order = match self {
            Self::Trouble => compare_troubles(a, b),
            Self::Name => Ordering::Equal,
            Self::Phi => descending(a.member.phi, b.member.phi),
            Self::Rtt => descending(a.member.rtt_ms, b.member.rtt_ms),
            Self::Loss => descending(a.loss(), b.loss()),
            Self::Since => b.since.cmp(&a.since),
        };
        order.then_with(|| name(a).cmp(&name(b)))
    }
}

fn name(row: &Row) -> (&str, MemberId) {
    (row.member.member.name.as_str(), row.member.member.id)
}

/// Within one trouble: the highest phi first, and the latest death.
fn compare_troubles(a: &Row, b: &Row) -> Ordering {
    let order = a.trouble.cmp(&b.trouble);
    order.then_with(|| match a.trouble {
        Trouble::Suspect | Trouble::Degraded | Trouble::FailingLinks | Trouble::Evidence => {
            descending(a.member.phi, b.member.phi)
        }
        Trouble::Dead | Trouble::LongDead | Trouble::Left => b.since.cmp(&a.since),
        Trouble::Loss => descending(a.loss(), b.loss()),
        Trouble::Suppressed
        | Trouble::NameConflict
        | Trouble::NotServing
        | Trouble::Draining
        | Trouble::None => Ordering::Equal,
    })
}

/// The larger first, and unknown values last.
fn descending(a: Option<f64>, b: Option<f64>) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => b.total_cmp(&a),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    }
}

/// How long a death is shown before the members that are well.
const LATELY: Duration = Duration::from_secs(600);
/// The phi from which on missing replies are shown as trouble: a silence of one in ten.
pub(crate) const EVIDENCE: f64 = 1.0;
/// The loss from which on a link is shown as lossy.
const MUCH_LOSS: f64 = 0.05;
/// Samples below which the loss is mostly the prior.
const FEW_SAMPLES: u32 = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::tests::{observed, row};

    #[test]
    fn each_trouble_is_found_and_the_worst_counts() {
        let minute = Duration::from_secs(60);
        let of = |change: fn(&mut Row), age| {
            let mut row = observed(1, "n1");
            change(&mut row);
            Trouble::of(&row, age)
        };
        let lossy = |row: &mut Row, samples| {
            let link = row.link.as_mut().unwrap();
            (link.loss, link.rtt_samples) = (Some(0.1), Some(samples));
        };
        assert_eq!(Trouble::of(&row(1, "n1"), minute), Trouble::None);
        type Case = (fn(&mut Row), Trouble);
        let cases: [Case; 9] = [
            (|_| {}, Trouble::None),
            (|row| row.member.member.state = MemberState::Suspect, Trouble::Suspect),
            (|row| row.member.member.state = MemberState::Dead, Trouble::Dead),
            (|row| row.member.member.state = MemberState::Left, Trouble::Left),
            (|row| row.member.failing.degraded_since = Some(String::new()), Trouble::Degraded),
            (|row| row.member.phi = Some(0.99), Trouble::None),
            (|row| row.member.phi = Some(1.0), Trouble::Evidence),
            (|row| row.member.member.serving = ServingState::Draining, Trouble::Draining),
            (|row| row.member.suppressed_until = Some(String::new()), Trouble::Suppressed),
        ];
        for (index, (change, trouble)) in cases.into_iter().enumerate() {
            assert_eq!(of(change, minute), trouble, "case {index}");
        }
        assert_eq!(
            of(|row| row.member.member.state = MemberState::Dead, LATELY),
            Trouble::LongDead
        );
        for (samples, trouble) in [(9, Trouble::None), (10, Trouble::Loss)] {
            let mut row = observed(1, "n1");
            lossy(&mut row, samples);
            assert_eq!(Trouble::of(&row, minute), trouble, "{samples} samples");
        }
        let both = |row: &mut Row| {
            row.member.member.serving = ServingState::Draining;
            row.member.phi = Some(3.0);
        };
        assert_eq!(of(both, minute), Trouble::Evidence);
    }

    #[test]
    fn unknown_values_come_last_in_each_order() {
        let mut rows = [row(1, "a"), row(2, "b"), row(3, "c")];
        rows[1].member.rtt_ms = Some(1.0);
        rows[2].member.rtt_ms = Some(2.0);
        rows.sort_by(|a, b| Sort::Rtt.compare(a, b));
        let names: Vec<_> = rows.iter().map(|row| row.member.member.name.to_string()).collect();
        assert_eq!(names, ["c", "b", "a"]);
    }
}
