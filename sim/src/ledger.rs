//! Records when each member learned of each death, and false verdicts.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    node::{Belief, Instant, NodeId, Notice},
    truth::{Life, Truth},
};

mod data;
mod messages;
mod offices;

pub use data::{DataLedger, Publication};
pub use messages::{MessageLedger, Published};
pub use offices::{OfficeLedger, OfficeTerm};

/// The records of a run.
#[derive(Clone, Debug)]
pub struct Ledger {
    /// Every death, in order.
    pub deaths: Vec<Death>,
    /// Every verdict on a member that was alive.
    pub false_deaths: Vec<FalseVerdict>,
    /// Suspicions of members that were alive and healthy, counted at each member that learned of them.
    pub false_suspicions: u64,
    /// When each member was first suspected by any node since its last fault began.
    pub first_suspected: Vec<(Instant, NodeId)>,
    /// When members became isolated.
    pub isolated: Vec<(Instant, NodeId)>,
    /// When the first member reported the second as degraded.
    pub degraded: Vec<(Instant, NodeId, NodeId)>,
    /// Those of these reports that no fault explains.
    pub wrongly_degraded: Vec<(Instant, NodeId, NodeId)>,
    /// When the gateway of a member forgot its flows: until others have dialled it, they do not reach it.
    pub flows_lost: Vec<(Instant, NodeId)>,
    /// When the first member reported the second as degraded no longer.
    pub recovered: Vec<(Instant, NodeId, NodeId)>,
    /// The time after a fault during which its consequences are excused.
    pub grace: Duration,
    /// Live members that a policy declares dead.
    pub evicted: BTreeSet<NodeId>,
    /// The data of members, as it became known.
    pub data: DataLedger,
    /// The messages to all members, and their deliveries.
    pub messages: MessageLedger,
    /// The holders of offices.
    pub offices: OfficeLedger,
}

/// A real death and how it became known.
#[derive(Clone, Debug)]
pub struct Death {
    /// The member that died.
    pub subject: NodeId,
    /// The moment.
    pub at: Instant,
    /// Whether it left, which is no death but must become known too.
    pub has_left: bool,
    /// The times after which members learned of it, in order.
    pub learnt: Vec<Duration>,
    /// The time after which a member first suspected it.
    pub suspected: Option<Duration>,
    /// The number of living members that do not know of it.
    pub unaware: usize,
    is_aware: Vec<bool>,
}

impl Death {
    /// The time until the first member knew.
    pub fn first(&self) -> Option<Duration> {
        self.learnt.first().copied()
    }

    /// The time until half of the members knew.
    pub fn median(&self) -> Option<Duration> {
        let half = (self.learnt.len() + self.unaware).div_ceil(2);
        self.learnt.get(half.checked_sub(1)?).copied()
    }

    /// The time until the last member knew, if all know.
    pub fn all(&self) -> Option<Duration> {
        self.learnt.last().copied().filter(|_| self.unaware == 0)
    }
}

/// A verdict on a member that was alive.
#[derive(Clone, Copy, Debug)]
pub struct FalseVerdict {
    /// The moment.
    pub at: Instant,
    /// The member that had the verdict.
    pub observer: NodeId,
    /// The member that was declared dead.
    pub subject: NodeId,
    /// Whether a fault of either of the two, or between them, excuses it.
    pub is_excused: bool,
    /// Whether the observer had no fault of its own.
    pub is_observer_healthy: bool,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            deaths: Vec::new(),
            false_deaths: Vec::new(),
            false_suspicions: 0,
            first_suspected: Vec::new(),
            isolated: Vec::new(),
            degraded: Vec::new(),
            wrongly_degraded: Vec::new(),
            flows_lost: Vec::new(),
            recovered: Vec::new(),
            grace: GRACE,
            evicted: BTreeSet::new(),
            data: DataLedger::default(),
            messages: MessageLedger::default(),
            offices: OfficeLedger::default(),
        }
    }
}

impl Ledger {
    pub(crate) fn record_death(&mut self, truth: &Truth, now: Instant, subject: NodeId) {
        let has_left = truth.node(subject).is_some_and(|node| node.life == Life::Left);
        self.forget_observer(subject);
        let mut is_aware = vec![true; truth.nodes().count()];
        let mut unaware = 0;
        for id in truth.running().filter(|&id| id != subject && !truth.is_liar(id)) {
            is_aware[id.index()] = false;
            unaware += 1;
        }
        let (learnt, suspected) = (Vec::new(), None);
        self.deaths.push(Death {
            subject,
            at: now,
            has_left,
            learnt,
            suspected,
            unaware,
            is_aware,
        });
    }

    /// Removes a member that died or restarted, which need not learn of anything.
    pub(crate) fn forget_observer(&mut self, observer: NodeId) {
        for death in &mut self.deaths {
            if let Some(is_aware) = death.is_aware.get_mut(observer.index())
                && !std::mem::replace(is_aware, true)
            {
                death.unaware -= 1;
            }
        }
    }

    /// Records that the process returned, so that no member needs to learn of its death.
    pub(crate) fn record_return(&mut self, subject: NodeId) {
        for death in self.deaths.iter_mut().filter(|death| death.subject == subject) {
            death.unaware = 0;
            death.is_aware.fill(true);
        }
    }

    pub(crate) fn record(&mut self, truth: &Truth, now: Instant, observer: NodeId, notice: Notice) {
        match notice.belief {
            Belief::Dead | Belief::Left => self.record_end(truth, now, observer, notice),
            Belief::Suspect => self.record_suspicion(truth, now, notice),
            Belief::Alive => {}
        }
    }

    fn record_suspicion(&mut self, truth: &Truth, now: Instant, notice: Notice) {
        let subject = notice.subject;
        if truth.is_healthy(subject, now, self.grace) {
            self.false_suspicions += 1;
        }
        // A member that a liar made up does not count.
        let is_known = truth.node(subject).is_some();
        if is_known && self.first_suspected.iter().all(|&(_, known)| known != subject) {
            self.first_suspected.push((now, subject));
        }
        let open = self.deaths.iter_mut().rev().find(|death| death.subject == subject);
        if let Some(death) = open {
            death.suspected.get_or_insert(now - death.at);
        }
    }

    fn record_end(&mut self, truth: &Truth, now: Instant, observer: NodeId, notice: Notice) {
        let subject = notice.subject;
        let Some(node) = truth.node(subject) else {
            return;
        };
        if node.life != Life::Running {
            let open = self.deaths.iter_mut().rev().find(|death| death.subject == subject);
            if let Some(death) = open
                && let Some(is_aware) = death.is_aware.get_mut(observer.index())
                && !std::mem::replace(is_aware, true)
            {
                death.unaware -= 1;
                death.learnt.push(now - death.at);
            }
            return;
        }
        let grace = self.grace;
        let is_of_this_run = notice.version.generation > node.former;
        if notice.belief == Belief::Dead && is_of_this_run {
            let is_observer_healthy = truth.is_healthy(observer, now, grace);
            // An observer that was stopped or cut off learns of earlier events late.
            let is_excused = !truth.is_healthy(subject, now, grace)
                || self.evicted.contains(&subject)
                || !is_observer_healthy
                || truth.are_separated(observer, subject, now, grace);
            let verdict =
                FalseVerdict { at: now, observer, subject, is_excused, is_observer_healthy };
            self.false_deaths.push(verdict);
        }
    }

    /// Records that a member is reported as degraded. Links are measured over a while, so faults explain it for longer than a
    /// verdict. If many others have faults, they may be most of the observers of one that has none. One that is stopped at this
    /// moment, as in a stall of several seconds, reaches nobody.
    pub(crate) fn record_degraded(
        &mut self,
        truth: &Truth,
        now: Instant,
        (observer, subject): (NodeId, NodeId),
        is_stopped: bool,
    ) {
        self.degraded.push((now, observer, subject));
        let running: Vec<_> = truth.running().collect();
        let lost = self.flows_lost.iter().filter(|(at, _)| now - *at < LINKS_MEASURED_OVER);
        let lost: Vec<_> = lost.map(|&(_, id)| id).collect();
        let is_healthy = |&id: &NodeId| {
            truth.is_healthy(id, now, LINKS_MEASURED_OVER)
                && !lost.contains(&id)
                && !truth.is_on_troubled_host(id, now, LINKS_MEASURED_OVER)
                && !truth.was_cut_off(id)
                && !truth.are_separated(id, subject, now, LINKS_MEASURED_OVER)
        };
        let healthy = running.iter().filter(|&id| is_healthy(id)).count();
        // A report of a member on itself harms nobody.
        let is_of_others = observer != subject;
        let is_explained = is_stopped || !is_healthy(&subject) || !is_healthy(&observer);
        if is_of_others && !is_explained && healthy * 8 >= running.len() * 7 {
            self.wrongly_degraded.push((now, observer, subject));
        }
    }

    /// False verdicts that no fault excuses.
    pub fn unexcused(&self) -> impl Iterator<Item = &FalseVerdict> {
        self.false_deaths.iter().filter(|verdict| !verdict.is_excused)
    }
}

/// How long a fault may show in what is known of links.
const LINKS_MEASURED_OVER: Duration = Duration::from_secs(120);
/// The default time after a fault during which its consequences are excused: a verdict made just before its end is
/// still under way.
const GRACE: Duration = Duration::from_secs(5);
