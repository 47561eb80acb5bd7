//! The pings under way: to which member, why, and which helpers were asked about it.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    Instant, MemberId,
    link::{Links, Reply},
    step::Purpose,
    wire::Sequence,
};

/// The pings under way.
#[derive(Debug, Default)]
pub(crate) struct Pings {
    last_sequence: Sequence,
    pings: BTreeMap<Sequence, Ping>,
}

#[derive(Clone, Debug)]
pub(crate) struct Ping {
    pub(crate) target: MemberId,
    pub(crate) sent_at: Instant,
    /// After how long a reply is overdue.
    pub(crate) timeout: Duration,
    /// Whether the reply's time is the link's: not if a handshake comes first.
    is_sample: bool,
    is_overdue: bool,
    /// Whether it is known that no reply will come.
    is_lost: bool,
    pub(crate) purpose: Purpose,
    /// The helpers that were asked to ping the member too.
    helpers: Vec<MemberId>,
    /// Those of them that have sent nothing yet.
    silent_helpers: Vec<MemberId>,
}

/// What the word of a helper on a ping is worth.
#[derive(Debug)]
pub(crate) enum Helped<'a> {
    /// The ping has ended.
    TooLate,
    /// This member was not asked.
    Unasked,
    Asked(&'a mut Ping),
}

impl Ping {
    pub(crate) fn new(
        target: MemberId,
        sent_at: Instant,
        timeout: Duration,
        is_sample: bool,
        purpose: Purpose,
    ) -> Self {
        let (helpers, silent_helpers, is_overdue, is_lost) = (Vec::new(), Vec::new(), false, false);
        Self {
            target,
            sent_at,
            timeout,
            is_sample,
            is_overdue,
            is_lost,
            purpose,
            helpers,
            silent_helpers,
        }
    }

    /// Its reply, if one arrives now.
    pub(crate) const fn reply(&self) -> Reply {
        let Self { sent_at, timeout, is_sample, is_overdue, .. } = *self;
        Reply { sent_at, timeout, is_sample, is_overdue }
    }

    /// Whether it is known already that no reply will come.
    pub(crate) const fn is_lost(&self) -> bool {
        self.is_lost
    }

    pub(crate) fn record_helpers(&mut self, helpers: Vec<MemberId>) {
        self.helpers.extend(&helpers);
        self.silent_helpers = helpers;
    }

    /// This helper sent something.
    pub(crate) fn record_helper_heard(&mut self, helper: MemberId) {
        self.silent_helpers.retain(|&silent| silent != helper);
    }

    pub(crate) const fn silent_helpers(&self) -> usize {
        self.silent_helpers.len()
    }
}

impl Pings {
    pub(crate) fn next_sequence(&mut self) -> Sequence {
        self.last_sequence.0 = self.last_sequence.0.wrapping_add(1);
        self.last_sequence
    }

    pub(crate) fn insert(&mut self, sequence: Sequence, ping: Ping) {
        self.pings.insert(sequence, ping);
    }

    pub(crate) fn get(&self, sequence: Sequence) -> Option<&Ping> {
        self.pings.get(&sequence)
    }

    pub(crate) fn get_mut(&mut self, sequence: Sequence) -> Option<&mut Ping> {
        self.pings.get_mut(&sequence)
    }

    pub(crate) fn remove(&mut self, sequence: Sequence) -> Option<Ping> {
        self.pings.remove(&sequence)
    }

    /// Takes the ping that a reply of this member ends.
    pub(crate) fn take_answered(&mut self, sequence: Sequence, by: MemberId) -> Option<Ping> {
        let is_answer = self.pings.get(&sequence).is_some_and(|ping| ping.target == by);
        if is_answer { self.pings.remove(&sequence) } else { None }
    }

    /// The reply to this ping is overdue.
    pub(crate) fn mark_overdue(&mut self, sequence: Sequence) -> Option<&Ping> {
        let ping = self.pings.get_mut(&sequence)?;
        ping.is_overdue = true;
        Some(ping)
    }

    /// The ping that this member was asked to help with. Nobody else's word on it counts.
    pub(crate) fn helped_by(&mut self, helper: MemberId, sequence: Sequence) -> Helped<'_> {
        match self.pings.get_mut(&sequence) {
            None => Helped::TooLate,
            Some(ping) if ping.helpers.contains(&helper) => Helped::Asked(ping),
            Some(_) => Helped::Unasked,
        }
    }

    /// One of the helpers reached the member: it no longer matters whether the others are there.
    pub(crate) fn forgive_helpers(&mut self, sequence: Sequence) {
        if let Some(ping) = self.pings.get_mut(&sequence) {
            ping.silent_helpers.clear();
        }
    }

    /// How many are for others.
    pub(crate) fn relays(&self) -> usize {
        self.pings.values().filter(|ping| ping.purpose.is_relay()).count()
    }

    /// When the first ping of a member was sent that still waits for its reply, and is not overdue. One that was
    /// followed by a sign of life was lost on its way.
    pub(crate) fn waiting_since(&self, id: MemberId, heard_at: Option<Instant>) -> Option<Instant> {
        let waiting = self.pings.values().filter(|ping| ping.target == id);
        let waiting = waiting.filter(|ping| !ping.is_overdue && heard_at < Some(ping.sent_at));
        waiting.map(|ping| ping.sent_at).min()
    }

    /// Others heard the member at `until`: what is overdue since before that was lost on the link.
    pub(crate) fn record_lost(&mut self, links: &mut Links, id: MemberId, until: Instant) {
        let Some(link) = links.get_mut(id) else {
            return;
        };
        let pings = self.pings.values_mut().filter(|ping| ping.target == id);
        for ping in pings.filter(|ping| ping.is_overdue && !ping.is_lost && ping.sent_at <= until) {
            ping.is_lost = true;
            link.estimator.record_miss();
        }
    }

    /// Forgets the pings to a member that is gone, or whose process is another one now.
    pub(crate) fn forget(&mut self, target: MemberId) {
        self.pings.retain(|_, ping| ping.target != target);
    }

    /// Forgets the pings of which it is no longer known whether a reply would have come in time.
    pub(crate) fn forget_unanswered(&mut self) {
        self.pings.retain(|_, ping| !ping.is_overdue && ping.purpose.is_relay());
    }
}
