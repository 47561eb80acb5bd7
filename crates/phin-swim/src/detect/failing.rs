//! Failing links, and members that most of their observers do not reach.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use crate::{
    Change, Flaws, Generation, Instant, MemberId,
    detect::finding::{Finding, Observed, is_most},
};

/// A member that is degraded, or that some of its observers cannot reach.
#[derive(Clone, Debug, PartialEq)]
pub struct Unreached {
    /// The member.
    pub id: MemberId,
    /// Since when it is degraded: it states flaws, or most of its observers do not reach it or find flaws, as far as this
    /// member knows. `None` while it is not.
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
    /// Its flaws: those that it states in its record, and those that most of its observers report to this node.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Flaws::is_empty"))]
    pub flaws: Flaws,
    /// The observers that get no direct reply from it, in the order of their ids. Known to its observers and to itself.
    pub unreached_by: Vec<MemberId>,
    /// How many of its observers are alive.
    pub observers: usize,
    /// Whether the member is this node itself, and gets no direct reply from most of the members that it observes: it does
    /// not receive, rather than not being received.
    pub is_deaf: bool,
}

impl Degradation {
    /// Whether this is enough: a single failing link is not.
    pub(crate) fn is_degraded(&self) -> bool {
        let is_unreached = is_most(self.unreached_by.len(), self.observers);
        self.is_deaf || is_unreached || !self.flaws.is_empty()
    }
}

/// The reason in words, such as `loss: 3 of 5 observers get no direct reply from it`.
impl fmt::Display for Degradation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unreached = self.unreached_by.len();
        let flaws = if self.flaws.is_empty() { String::new() } else { format!("{}: ", self.flaws) };
        if self.is_deaf {
            write!(f, "{flaws}it gets no direct reply from most of the members that it observes")
        } else if unreached == 0 {
            write!(f, "{flaws}most of its observers measure it")
        } else {
            let observers = self.observers;
            write!(f, "{flaws}{unreached} of {observers} observers get no direct reply from it")
        }
    }
}

/// The known failing and flawed links, by the member to which they lead.
#[derive(Debug, Default)]
pub(crate) struct Failing {
    subjects: BTreeMap<MemberId, Subject>,
    /// Until when this member does not refute, as its own policy has it evicted.
    held_until: Option<Instant>,
}

/// The failing and flawed links to one run of a member, as reported by their observers.
#[derive(Debug)]
struct Subject {
    generation: Generation,
    reported: BTreeMap<MemberId, ReportedLink>,
    /// The flaws of links, as their observers reported them, and when.
    flawed: BTreeMap<MemberId, (Flaws, Instant)>,
    finding: Finding,
    degraded_since: Option<Instant>,
}

/// An observer's word that its link to a member fails.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReportedLink {
    pub(crate) link: FailingLink,
    pub(crate) heard_at: Instant,
}

impl Subject {
    fn new(generation: Generation) -> Self {
        let (reported, flawed) = (BTreeMap::new(), BTreeMap::new());
        Self { generation, reported, flawed, finding: Finding::default(), degraded_since: None }
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
        let known = self.run(subject);
        known.reported.remove(&from);
        let reported = links.map(|link| (link.observer, ReportedLink { link, heard_at: now }));
        known.reported.extend(reported);
    }

    /// Replaces the flaws of its link to this run of a member that `from` reported before.
    pub(crate) fn record_flaws(
        &mut self,
        now: Instant,
        from: MemberId,
        subject: (MemberId, Generation),
        flaws: Flaws,
    ) {
        let flawed = &mut self.run(subject).flawed;
        match flaws.is_empty() {
            true => _ = flawed.remove(&from),
            false => _ = flawed.insert(from, (flaws, now)),
        }
    }

    /// All that is known of one run of a member. Links to an earlier one say nothing of it: it may be elsewhere.
    fn run(&mut self, (id, generation): (MemberId, Generation)) -> &mut Subject {
        let known = self.subjects.entry(id).or_insert_with(|| Subject::new(generation));
        if known.generation != generation {
            *known = Subject::new(generation);
        }
        known
    }

    /// The flaws of the links to this run of a member that others reported, and when.
    pub(crate) fn flawed(
        &self,
        id: MemberId,
        generation: Generation,
    ) -> impl Iterator<Item = (MemberId, Flaws, Instant)> {
        let known = self.subjects.get(&id).filter(|known| known.generation == generation);
        let flawed = known.into_iter().flat_map(|known| &known.flawed);
        flawed.map(|(&observer, &(flaws, heard_at))| (observer, flaws, heard_at))
    }

    /// The flaws of a member that its observers find together, as of when they were last looked at.
    pub(crate) fn found(&self, id: MemberId) -> Flaws {
        self.subjects.get(&id).map_or(Flaws::NONE, |known| known.finding.flaws())
    }

    /// Finds the flaws of this run of a member anew.
    pub(crate) fn find(
        &mut self,
        now: Instant,
        subject: (MemberId, Generation),
        observed: &Observed,
    ) -> Flaws {
        let known = self.run(subject);
        known.flawed.retain(|observer, _| observed.by.contains_key(observer));
        known.finding.update(now, observed)
    }

    /// Takes note of the links that fail by now, and whether the member is degraded. Returns the change, if that is one.
    pub(crate) fn update(
        &mut self,
        now: Instant,
        subject: (MemberId, Generation),
        links: &[FailingLink],
        is_degraded: bool,
    ) -> Option<Change> {
        let known = self.run(subject);
        let change = known.update(now, links, is_degraded);
        if links.is_empty() && !is_degraded && known.flawed.is_empty() {
            self.subjects.remove(&subject.0);
        }
        change
    }

    pub(crate) fn forget(&mut self, id: MemberId) {
        self.subjects.remove(&id);
    }

    /// Whether this member stays away, as its own policy has it evicted.
    pub(crate) const fn is_held(&self) -> bool {
        self.held_until.is_some()
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
