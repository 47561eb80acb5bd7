//! The pings under way: to which member, why, and which helpers were asked about it.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    Instant, MemberId, Purpose, Sequence, Transition,
    link::{Links, Reply},
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
    /// Whether it counts as lost on the link. A reply that comes all the same takes that back.
    pub(crate) is_lost: bool,
    /// Whether the member answered it by stream, where it was repeated.
    pub(crate) is_answered: bool,
    pub(crate) purpose: Purpose,
    /// The helpers that were asked to ping the member too.
    helpers: Vec<MemberId>,
    /// Those of them that have sent nothing yet.
    silent_helpers: Vec<MemberId>,
}

/// How far a helper's answer on a ping counts.
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
        Self {
            target,
            sent_at,
            timeout,
            is_sample,
            is_overdue: false,
            is_lost: false,
            is_answered: false,
            purpose,
            helpers: Vec::new(),
            silent_helpers: Vec::new(),
        }
    }

    /// Its reply, if one arrives now.
    pub(crate) const fn reply(&self) -> Reply {
        let Self { sent_at, timeout, is_sample, is_overdue, purpose, .. } = *self;
        let is_probe = matches!(purpose, Purpose::Probe);
        Reply { sent_at, timeout, is_sample, is_overdue, is_probe }
    }

    pub(crate) fn record_helpers(&mut self, helpers: Vec<MemberId>) {
        self.helpers.extend(&helpers);
        self.silent_helpers = helpers;
    }

    /// This helper sent something.
    pub(crate) fn record_helper_heard(&mut self, helper: MemberId) {
        self.silent_helpers.retain(|&silent| silent != helper);
    }

    /// How many helpers have sent nothing; they are counted once.
    pub(crate) fn take_silent_helpers(&mut self) -> usize {
        std::mem::take(&mut self.silent_helpers).len()
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

    /// The ping that this member answers by stream, if it is the first such answer. The reply by datagram may still come.
    pub(crate) fn answer_by_stream(&mut self, sequence: Sequence, by: MemberId) -> Option<Ping> {
        let ping = self.pings.get_mut(&sequence).filter(|ping| ping.target == by)?;
        let before = ping.clone();
        (ping.is_answered, ping.is_lost) = (true, true);
        (!before.is_answered).then_some(before)
    }

    /// The reply to this ping is overdue.
    pub(crate) fn mark_overdue(&mut self, sequence: Sequence) -> Option<&Ping> {
        let ping = self.pings.get_mut(&sequence).filter(|ping| !ping.is_overdue)?;
        ping.is_overdue = true;
        Some(ping)
    }

    /// The ping that this member was asked to help with. Answers of others do not count.
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
        let is_relay = |ping: &&Ping| ping.purpose.is_relay() && !ping.is_answered;
        self.pings.values().filter(is_relay).count()
    }

    /// When the first ping of a member was sent that still waits for its reply, and is not overdue. One that was
    /// followed by a sign of life was lost on its way.
    pub(crate) fn waiting_since(&self, id: MemberId, heard_at: Option<Instant>) -> Option<Instant> {
        let waiting = self.pings.values().filter(|ping| ping.target == id);
        let waiting = waiting.filter(|ping| !ping.is_overdue && heard_at < Some(ping.sent_at));
        waiting.map(|ping| ping.sent_at).min()
    }

    /// Others heard the member at `until`: what is overdue since before that was lost on the link, unless its reply is late.
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

    /// Follows the change of another member: what was under way to a run that ended says nothing.
    pub(crate) fn react(&mut self, transition: &Transition) {
        if transition.ends_run() {
            self.forget(transition.id());
        }
    }

    /// Forgets the pings to a member that is gone, or whose process is another one now.
    pub(crate) fn forget(&mut self, target: MemberId) {
        self.pings.retain(|_, ping| ping.target != target);
    }

    /// Forgets the pings of which it is no longer known whether a reply would have come in time. Returns the members that were
    /// probed, and still had time to reply.
    pub(crate) fn forget_unanswered(&mut self) -> Vec<MemberId> {
        let forgotten =
            self.pings.extract_if(.., |_, ping| ping.is_overdue || !ping.purpose.is_relay());
        let probes = forgotten.map(|(_, ping)| ping);
        let probes =
            probes.filter(|ping| !ping.is_overdue && matches!(ping.purpose, Purpose::Probe));
        probes.map(|ping| ping.target).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        member::record::tests::id,
        testing::{at, ms, peer},
    };

    fn ping(target: u8, sent_at: u64, purpose: Purpose) -> Ping {
        Ping::new(id(target), at(sent_at), ms(100), true, purpose)
    }

    fn relay() -> Purpose {
        Purpose::Relay { requester: peer(9), sequence: Some(Sequence(1)) }
    }

    /// Pings 1 and 2 of node 1, ping 3 of node 2, and ping 4 of node 1 for another.
    fn pings() -> Pings {
        let mut pings = Pings::default();
        let all = [
            ping(1, 10, Purpose::Probe),
            ping(1, 20, Purpose::Retry),
            ping(2, 30, Purpose::Probe),
            ping(1, 40, relay()),
        ];
        for ping in all {
            let sequence = pings.next_sequence();
            pings.insert(sequence, ping);
        }
        pings
    }

    fn left(pings: &Pings) -> Vec<u32> {
        pings.pings.keys().map(|sequence| sequence.0).collect()
    }

    #[test]
    fn a_reply_ends_the_ping_of_the_member_that_it_is_from() {
        let mut pings = pings();
        assert!(pings.take_answered(Sequence(1), id(2)).is_none());
        assert!(pings.take_answered(Sequence(9), id(1)).is_none());
        assert!(pings.take_answered(Sequence(1), id(1)).is_some());
        assert!(pings.take_answered(Sequence(1), id(1)).is_none(), "once");
        assert_eq!(left(&pings), [2, 3, 4]);
    }

    #[test]
    fn a_ping_waits_until_it_is_overdue_or_the_member_is_heard_after_it() {
        // Which pings are overdue, when the member was heard; since when the first of the others waits.
        let cases: [(&[u32], Option<u64>, Option<u64>); 6] = [
            (&[], None, Some(10)),
            (&[1], None, Some(20)),
            (&[1, 2, 4], None, None),
            (&[], Some(9), Some(10)),
            (&[], Some(10), Some(20)),
            (&[2], Some(39), Some(40)),
        ];
        for (overdue, heard_at, waiting) in cases {
            let mut pings = pings();
            overdue.iter().for_each(|&sequence| _ = pings.mark_overdue(Sequence(sequence)));
            let found = pings.waiting_since(id(1), heard_at.map(at));
            assert_eq!(found, waiting.map(at), "{overdue:?} {heard_at:?}");
        }
    }

    #[test]
    fn what_is_overdue_since_before_the_member_was_heard_is_lost_on_the_link_once() {
        let (mut pings, mut links) = (pings(), Links::default());
        links.open(id(1), ms(10));
        [1, 2, 3].into_iter().for_each(|sequence| _ = pings.mark_overdue(Sequence(sequence)));
        // Until when the member is known to live; whether that shows a loss.
        for (until, is_loss) in [(9, false), (10, true), (10, false), (100, true), (100, false)] {
            let loss = |links: &Links| links.get(id(1)).unwrap().estimator.loss();
            let before = loss(&links);
            pings.record_lost(&mut links, id(1), at(until));
            assert_eq!(loss(&links) > before, is_loss, "{until}");
        }
        let is_lost = |sequence| pings.pings[&Sequence(sequence)].is_lost;
        assert_eq!([1, 2, 3, 4].map(is_lost), [true, true, false, false]);
    }

    #[test]
    fn a_ping_answered_by_stream_waits_for_its_datagram_and_counts_once() {
        let mut pings = pings();
        assert!(pings.answer_by_stream(Sequence(4), id(3)).is_none(), "not its ping");
        assert!(pings.answer_by_stream(Sequence(4), id(1)).is_some());
        assert!(pings.answer_by_stream(Sequence(4), id(1)).is_none());
        assert_eq!((pings.relays(), pings.get_mut(Sequence(4)).unwrap().is_lost), (0, true));
        assert!(pings.take_answered(Sequence(4), id(1)).unwrap().is_answered);
    }

    #[test]
    fn the_word_of_a_helper_counts_if_it_was_asked() {
        let mut pings = pings();
        pings.get_mut(Sequence(1)).unwrap().record_helpers(vec![id(3), id(4)]);
        assert!(matches!(pings.helped_by(id(3), Sequence(1)), Helped::Asked(_)));
        assert!(matches!(pings.helped_by(id(5), Sequence(1)), Helped::Unasked));
        assert!(matches!(pings.helped_by(id(3), Sequence(9)), Helped::TooLate));
        let ping = pings.get_mut(Sequence(1)).unwrap();
        ping.record_helper_heard(id(3));
        ping.record_helper_heard(id(3));
        assert_eq!(ping.silent_helpers.len(), 1);
        // Asked for a second time, it still counts as asked the first time.
        ping.record_helpers(vec![id(5)]);
        assert_eq!(ping.silent_helpers.len(), 1);
        assert!(matches!(pings.helped_by(id(3), Sequence(1)), Helped::Asked(_)));
    }

    #[test]
    fn pings_are_forgotten_with_their_member_or_when_it_is_not_known_what_their_silence_means() {
        let mut pings = pings();
        assert_eq!(pings.relays(), 1);
        pings.forget_unanswered();
        assert_eq!(left(&pings), [4], "what others asked for is still answered");
        pings.mark_overdue(Sequence(4));
        pings.forget_unanswered();
        assert!(left(&pings).is_empty());
        let mut pings = self::pings();
        pings.forget(id(1));
        assert_eq!(left(&pings), [3]);
    }

    #[test]
    fn sequences_begin_anew_after_the_last() {
        let mut pings = Pings { last_sequence: Sequence(u32::MAX - 1), ..Pings::default() };
        assert_eq!([u32::MAX, 0, 1].map(|_| pings.next_sequence().0), [u32::MAX, 0, 1]);
    }
}
