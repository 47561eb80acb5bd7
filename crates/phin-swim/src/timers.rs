//! The one deadline queue. A timer names the fact it was set for, so that one firing late, twice, or for something
//! gone is recognised by whoever handles it; nothing depends on cancelling, which only saves waking for nothing.

use std::collections::BTreeSet;

use crate::{Instant, MemberId, PingId, Ticket, Version, query::request::QueryKey, wire::Sequence};

/// The purpose of a deadline; each variant says when it fires.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Timer {
    /// This protocol period of ours ends and the next begins.
    Period(u16),
    /// The member that this protocol period is for is to be pinged.
    Probe(u16),
    /// The reply to this ping is later than nearly all before it.
    ProbeTimeout(Sequence),
    /// Helpers asked about this ping would have sent a nack by now.
    NackTimeout(Sequence),
    /// A reply to this ping would come too late to matter.
    ProbeEnd(Sequence),
    /// A member that does not answer is pinged again.
    Retry(MemberId, Version),
    /// The silence of a member may have lasted long enough for a verdict.
    Judge(MemberId, Version),
    /// While many are silent: further members are to be looked at.
    Look,
    /// The time of a pending verdict on this member may be over.
    Pending(MemberId, Version),
    /// Urgent updates have waited long enough for others to share their datagrams.
    Push,
    /// A member that was too busy to let us in is asked again.
    JoinRetry(MemberId),
    /// Members that have not confirmed our departure are notified again.
    LeaveRetry,
    /// The penalty of a member that died too often has decayed.
    Release(MemberId),
    /// Data that this node wrote is to be published.
    PublishData,
    /// The time of a key of this node is over.
    ExpireData,
    /// New data of others has waited for more, to be announced together.
    AnnounceData,
    /// Members that were asked for data have not answered.
    RetryData,
    /// Subjects may lack the latest publications.
    AnnouncePublications,
    /// Publications that are lacking are to be asked for, or given up.
    RepairPublications,
    /// Publications that are kept for others are old.
    ExpirePublications,
    /// Answers to this query have waited for others, to be passed on together.
    PassReplies(QueryKey),
    /// The time of this query is over.
    QueryOver(QueryKey),
    /// Changes of what this node says of itself have waited for each other.
    Describe,
    /// Something is due for an office that this node stands for.
    Leadership,
    /// Members that died or left long ago are to be forgotten.
    Sweep,
    /// The answer to this message would come too late.
    SendDeadline(Ticket),
    /// Answers to this ping for an operator come too late from now on.
    PingEnd(PingId),
}

/// Deadlines in order; those of one moment in the order of `T`.
#[derive(Debug)]
pub(crate) struct Timers<T>(BTreeSet<(Instant, T)>);

impl<T: Copy + Ord> Timers<T> {
    pub(crate) const fn new() -> Self {
        Self(BTreeSet::new())
    }

    /// Sets a timer. The same timer at the same moment is set once.
    pub(crate) fn set(&mut self, at: Instant, timer: T) {
        self.0.insert((at, timer));
    }

    /// Takes back a timer whose fact is gone, unless it is due already: then it still says how late we are.
    pub(crate) fn cancel(&mut self, now: Instant, at: Instant, timer: T) {
        if now < at {
            self.0.remove(&(at, timer));
        }
    }

    /// Takes the earliest timer that is due.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<T> {
        let &(at, timer) = self.0.first()?;
        if at > now {
            return None;
        }
        self.0.pop_first();
        Some(timer)
    }

    /// When the earliest timer is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.0.first().map(|&(at, _)| at)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn timers_come_due_in_order_and_never_early() {
        let at = |millis| Instant::START + Duration::from_millis(millis);
        let mut timers = Timers::new();
        timers.set(at(20), 'b');
        timers.set(at(10), 'a');
        timers.set(at(20), 'b');
        assert_eq!(timers.next(), Some(at(10)));
        assert_eq!(timers.pop_due(at(9)), None);
        assert_eq!(timers.pop_due(at(30)), Some('a'));
        assert_eq!(timers.pop_due(at(30)), Some('b'));
        assert_eq!(timers.pop_due(at(30)), None);
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn a_cancelled_timer_wakes_nobody_but_one_that_is_due_tells_how_late_it_is() {
        let at = |millis| Instant::START + Duration::from_millis(millis);
        let mut timers = Timers::new();
        timers.set(at(10), 'a');
        timers.set(at(20), 'a');
        timers.cancel(at(10), at(10), 'a');
        timers.cancel(at(10), at(20), 'a');
        assert_eq!(timers.pop_due(at(30)), Some('a'));
        assert_eq!(timers.next(), None);
    }
}
