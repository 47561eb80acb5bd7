//! Failing links, and members that most of their observers do not reach.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use crate::{Change, Generation, Instant, MemberId};

/// A member that some of its observers cannot reach.
#[derive(Clone, Debug, PartialEq)]
pub struct Unreached {
    /// The member.
    pub id: MemberId,
    /// Since when most of its observers have not reached it, as far as this member knows; `None` while most do.
    pub degraded_since: Option<Instant>,
    /// The links to it that fail, in the order of their observers.
    pub links: Vec<FailingLink>,
}

/// A link on which a member that lives is not reached.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FailingLink {
    /// The observer that does not reach the member.
    pub observer: MemberId,
    /// When the first ping was sent that was not answered.
    pub since: Instant,
    /// How many pings were not answered, up to 255.
    pub attempts: u8,
}

/// Why a member is degraded, as far as this member knows.
#[derive(Clone, Debug, Eq, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[non_exhaustive]
pub struct Degradation {
    /// The observers that get no direct reply from it, in the order of their ids.
    pub unreached_by: Vec<MemberId>,
    /// How many of its observers are alive.
    pub observers: usize,
    /// Whether the member is this node itself, and gets no direct reply from most of the members that it observes: it does
    /// not receive, rather than not being received.
    pub is_deaf: bool,
}

impl Degradation {
    /// Whether this is enough: a single failing link is not.
    pub(crate) fn is_most(&self) -> bool {
        let unreached = self.unreached_by.len();
        self.is_deaf || (unreached >= 2 && unreached * 2 > self.observers)
    }
}

/// The reason in words, such as `3 of 5 observers get no direct reply from it`.
impl fmt::Display for Degradation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_deaf {
            return f
                .write_str("it gets no direct reply from most of the members that it observes");
        }
        let unreached = self.unreached_by.len();
        write!(f, "{unreached} of {} observers get no direct reply from it", self.observers)
    }
}

/// The known failing links, by the member to which they lead.
#[derive(Debug, Default)]
pub(crate) struct Failing {
    subjects: BTreeMap<MemberId, Subject>,
    /// Until when this member does not refute, as its own policy has it evicted.
    held_until: Option<Instant>,
}

/// The failing links to one run of a member, as reported by their observers.
#[derive(Debug)]
struct Subject {
    generation: Generation,
    reported: BTreeMap<MemberId, ReportedLink>,
    degraded_since: Option<Instant>,
}

/// An observer's word that its link to a member fails.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReportedLink {
    pub(crate) link: FailingLink,
    pub(crate) heard_at: Instant,
}

impl Subject {
    const fn new(generation: Generation) -> Self {
        Self { generation, reported: BTreeMap::new(), degraded_since: None }
    }

    fn update(&mut self, now: Instant, links: &[FailingLink], is_degraded: bool) -> Option<Change> {
        self.reported.retain(|observer, _| links.iter().any(|link| link.observer == *observer));
        if self.degraded_since.is_some() == is_degraded {
            return None;
        }
        self.degraded_since = is_degraded.then_some(now);
        Some(if is_degraded { Change::Degraded } else { Change::Recovered })
    }
}

impl Failing {
    pub(crate) fn subjects(&self) -> BTreeSet<MemberId> {
        self.subjects.keys().copied().collect()
    }

    pub(crate) fn contains(&self, id: MemberId) -> bool {
        self.subjects.contains_key(&id)
    }

    pub(crate) fn degraded_since(&self, id: MemberId) -> Option<Instant> {
        self.subjects.get(&id)?.degraded_since
    }

    /// The links to this run of a member that others reported.
    pub(crate) fn reported(
        &self,
        id: MemberId,
        generation: Generation,
    ) -> impl Iterator<Item = &ReportedLink> {
        let known = self.subjects.get(&id).filter(|known| known.generation == generation);
        known.into_iter().flat_map(|known| known.reported.values())
    }

    /// Replaces the link to this run of a member that `from` reported before.
    pub(crate) fn record(
        &mut self,
        now: Instant,
        from: MemberId,
        subject: (MemberId, Generation),
        links: impl Iterator<Item = FailingLink>,
    ) {
        let (id, generation) = subject;
        let known = self.subjects.entry(id).or_insert(Subject::new(generation));
        known.reported.remove(&from);
        let reported = links.map(|link| (link.observer, ReportedLink { link, heard_at: now }));
        known.reported.extend(reported);
    }

    /// Takes note of the links that fail by now, and whether the member is degraded. Returns the change, if that is one.
    pub(crate) fn update(
        &mut self,
        now: Instant,
        subject: (MemberId, Generation),
        links: &[FailingLink],
        is_degraded: bool,
    ) -> Option<Change> {
        let (id, generation) = subject;
        let known = self.subjects.entry(id).or_insert(Subject::new(generation));
        // Links to an earlier run of the process say nothing of this one: it may be elsewhere.
        if known.generation != generation {
            *known = Subject::new(generation);
        }
        let change = known.update(now, links, is_degraded);
        if links.is_empty() && !is_degraded {
            self.subjects.remove(&id);
        }
        change
    }

    pub(crate) fn forget(&mut self, id: MemberId) {
        self.subjects.remove(&id);
    }

    /// Whether a claim that this member is suspect or dead is left to stand for now: by the policy a degraded member stays
    /// away for as long as it was given, before it tries again. `eviction` is how long, if it agrees to its eviction.
    pub(crate) fn holds_off(&mut self, now: Instant, me: MemberId, eviction: Eviction) -> bool {
        let Some(held_until) = self.held_until else {
            if let Eviction::Agreed(after) = eviction {
                self.held_until = Some(now + after);
            }
            return self.held_until.is_some();
        };
        let is_held = now < held_until;
        if !is_held {
            self.held_until = None;
            self.subjects.remove(&me);
        }
        is_held
    }
}

/// Whether the policy has a member evicted, and for how long it stays away.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Eviction {
    No,
    Agreed(std::time::Duration),
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const ID: MemberId = MemberId([1; 16]);

    fn at(seconds: u64) -> Instant {
        Instant::START + Duration::from_secs(seconds)
    }

    fn link(observer: u8) -> FailingLink {
        FailingLink { observer: MemberId([observer; 16]), since: at(0), attempts: 3 }
    }

    #[test]
    fn only_a_change_is_a_turn() {
        let mut failing = Failing::default();
        let subject = (ID, Generation(0));
        /// At which second, which links fail, whether that is degraded; which change it is, since when it is degraded.
        type Step = (u64, &'static [u8], bool, Option<Change>, Option<u64>);
        let steps: [Step; 6] = [
            (1, &[2], false, None, None),
            (2, &[2, 3], true, Some(Change::Degraded), Some(2)),
            (3, &[2, 3, 4], true, None, Some(2)),
            (4, &[2], false, Some(Change::Recovered), None),
            (5, &[2, 3], true, Some(Change::Degraded), Some(5)),
            (6, &[], false, Some(Change::Recovered), None),
        ];
        for (second, observers, is_degraded, turn, since) in steps {
            let links: Vec<_> = observers.iter().map(|&observer| link(observer)).collect();
            failing.record(at(second), MemberId([9; 16]), subject, links.iter().copied());
            assert_eq!(
                failing.update(at(second), subject, &links, is_degraded),
                turn,
                "{second} s"
            );
            assert_eq!(failing.degraded_since(ID), since.map(at), "{second} s");
        }
        assert!(!failing.contains(ID), "nothing is kept of a member that all reach");
    }

    #[test]
    fn a_later_run_of_a_member_begins_without_failing_links() {
        let mut failing = Failing::default();
        let links = [link(2), link(3)];
        failing.record(at(0), MemberId([2; 16]), (ID, Generation(0)), links.into_iter());
        failing.update(at(0), (ID, Generation(0)), &links, true);
        assert_eq!(failing.reported(ID, Generation(1)).count(), 0);
        assert_eq!(failing.update(at(1), (ID, Generation(1)), &links[..1], false), None);
        assert_eq!(failing.reported(ID, Generation(1)).count(), 0);
    }

    #[test]
    fn an_evicted_member_stays_away_for_as_long_as_its_policy_says_and_then_tries_again() {
        let mut failing = Failing::default();
        let agreed = Eviction::Agreed(Duration::from_secs(10));
        let answers =
            [(0, Eviction::No), (1, agreed), (2, agreed), (11, agreed), (12, Eviction::No)]
                .map(|(second, eviction)| failing.holds_off(at(second), ID, eviction));
        assert_eq!(answers, [false, true, true, false, false]);
    }
}
