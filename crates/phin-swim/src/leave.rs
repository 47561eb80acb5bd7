//! Leaving: this node announces its departure to the members that would miss it, until each of them has confirmed.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    Ctx, MemberId, MemberState, MembershipList, Output, Part, Payload, Peer, Sequence, Step, Timer,
    identity::restate, member::record::Statement, probe::pings::Pings,
};

/// The departure of this node, if it is leaving or has left.
#[derive(Debug, Default)]
pub(crate) struct Departure(Option<Announcement>);

/// The announcement, and its receivers.
#[derive(Debug)]
struct Announcement {
    sequence: Sequence,
    /// The members that have not confirmed yet, and where each was at the start.
    unconfirmed: BTreeMap<MemberId, Peer>,
    /// How many members were asked to confirm.
    asked: usize,
    attempts: u32,
}

impl Departure {
    pub(crate) const fn is_under_way(&self) -> bool {
        self.0.is_some()
    }

    /// Starts to leave, and returns how many members are asked to confirm. `joining` are the members that have yet to
    /// answer a join of this node.
    pub(crate) fn start(
        &mut self,
        ctx: &mut Ctx,
        list: &MembershipList,
        pings: &mut Pings,
        joining: impl Iterator<Item = Peer>,
    ) -> usize {
        if let Some(announcement) = &self.0 {
            return announcement.asked;
        }
        let Some(statement) = next_statement(list, true) else {
            return 0;
        };
        // A member that has yet to answer a join may admit this node after it has gone.
        let unconfirmed = neighbours(list).chain(joining).map(|peer| (peer.id, peer));
        let unconfirmed: BTreeMap<_, _> = unconfirmed.collect();
        let (asked, sequence) = (unconfirmed.len(), pings.next_sequence());
        self.0 = Some(Announcement { sequence, unconfirmed, asked, attempts: 0 });
        restate(ctx, statement);
        // The announcement contains the record as it is after that step.
        ctx.then(Step::AnnounceDeparture);
        asked
    }

    /// Sends the announcement to each member that has not confirmed, and plans to repeat it.
    pub(crate) fn announce(&mut self, ctx: &mut Ctx, list: &MembershipList) {
        let Some(announcement) = &mut self.0 else {
            return;
        };
        let Announcement { sequence, ref unconfirmed, ref mut attempts, .. } = *announcement;
        if unconfirmed.is_empty() || *attempts == MAX_LEAVE_ATTEMPTS {
            return;
        }
        *attempts += 1;
        // Each member receives the record with the announcement: it may not have arrived by gossip yet, and without it the
        // announcement would be a claim of anybody.
        for (&id, &peer) in unconfirmed {
            let mut payload = Payload::of(&Part::Leave { sequence });
            payload.push(&list.own_entry());
            // A member may have moved since the start, or have been forgotten.
            ctx.send_datagram(list.peer(id).unwrap_or(peer), payload);
        }
        ctx.timers.set(ctx.now + LEAVE_RETRY * *attempts, Timer::LeaveRetry);
    }

    /// Another member confirms this departure.
    pub(crate) fn handle_leave_ack(&mut self, ctx: &mut Ctx, from: MemberId, sequence: Sequence) {
        if self.0.as_ref().is_some_and(|announcement| announcement.sequence == sequence) {
            self.confirm(ctx, from);
        }
    }

    /// This member does not, or no longer, consider this node a member of the cluster.
    pub(crate) fn confirm(&mut self, ctx: &mut Ctx, by: MemberId) {
        let announcement = self.0.as_mut();
        if announcement.is_some_and(|known| known.unconfirmed.remove(&by).is_some()) {
            ctx.output(Output::LeaveConfirmed(by));
        }
    }

    /// Returns this node to the cluster, if it has left.
    pub(crate) fn undo(&mut self, ctx: &mut Ctx, list: &MembershipList) {
        if list.me().state != MemberState::Left {
            return;
        }
        self.0 = None;
        if let Some(statement) = next_statement(list, false) {
            restate(ctx, statement);
        }
    }
}

/// Confirms the departure of another member once it is in the list.
pub(crate) fn handle_leave(ctx: &mut Ctx, list: &MembershipList, from: Peer, sequence: Sequence) {
    if list.state(from.id) == Some(MemberState::Left) {
        ctx.send(from, &Part::LeaveAck { sequence });
    }
}

/// The members next to this one in the rings: those that probe it, and those that it probes.
fn neighbours(list: &MembershipList) -> impl Iterator<Item = Peer> {
    let (me, rings) = (list.me().id(), list.rings());
    let neighbours = rings.subjects(me).into_iter().chain(rings.observers(me));
    neighbours.filter_map(|id| list.peer(id))
}

/// The statement of this node when it leaves or returns; `None` if it has no later version left.
fn next_statement(list: &MembershipList, has_left: bool) -> Option<Statement> {
    let statement = list.me().record.statement();
    let version = statement.version.next()?;
    Some(Statement { version, has_left, ..statement })
}

/// The wait before the announcement is repeated; longer each time.
const LEAVE_RETRY: Duration = Duration::from_millis(100);
/// How often the announcement is sent at most: over about 20 s.
const MAX_LEAVE_ATTEMPTS: u32 = 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        member::record::tests::id,
        testing::{Rooms, peer},
    };

    fn start(rooms: &mut Rooms, departure: &mut Departure, joining: &[Peer]) -> usize {
        let Rooms { ctx, list, senses, .. } = rooms;
        departure.start(ctx, list, &mut senses.pings, joining.iter().copied())
    }

    #[test]
    fn neighbours_and_members_that_have_yet_to_answer_a_join_are_asked_once() {
        // How many members, which joins are not answered, how many are asked.
        let cases: &[(u8, &[u8], usize)] =
            &[(1, &[], 0), (3, &[], 2), (3, &[2], 2), (3, &[9], 3), (1, &[9], 1)];
        for &(members, joining, expected) in cases {
            let (mut rooms, mut departure) = (Rooms::of(members), Departure::default());
            let joining: Vec<_> = joining.iter().map(|&node| peer(node)).collect();
            assert_eq!(start(&mut rooms, &mut departure, &joining), expected, "{joining:?}");
            assert_eq!(rooms.effects(), ["apply n0 v0.1 left", "AnnounceDeparture"]);
            assert!(departure.is_under_way());
            // A second call returns the same number, and starts nothing.
            assert_eq!(start(&mut rooms, &mut departure, &[]), expected);
            assert_eq!(rooms.effects(), [""; 0]);
        }
    }

    #[test]
    fn the_announcement_is_repeated_at_growing_intervals_until_all_have_confirmed() {
        let (mut rooms, mut departure) = (Rooms::of(3), Departure::default());
        start(&mut rooms, &mut departure, &[]);
        rooms.effects();
        for (attempt, (confirms, expected)) in
            [(None, vec![1, 2]), (Some(2), vec![1, 2]), (None, vec![1]), (Some(1), vec![1])]
                .into_iter()
                .enumerate()
        {
            let before = rooms.ctx.now;
            departure.announce(&mut rooms.ctx, &rooms.list);
            let mut sent = rooms.effects();
            sent.sort_unstable();
            let leave = |node| format!("to n{node}: leave seq=1; entry n0 v0.0 alive");
            assert_eq!(sent, expected.into_iter().map(leave).collect::<Vec<_>>());
            rooms.ctx.now = rooms.ctx.timers.next().unwrap();
            assert_eq!(rooms.ctx.timers.pop_due(rooms.ctx.now), Some(Timer::LeaveRetry));
            assert_eq!(rooms.ctx.now - before, LEAVE_RETRY * (attempt as u32 + 1));
            if let Some(node) = confirms {
                departure.handle_leave_ack(&mut rooms.ctx, id(node), Sequence(1));
                assert_eq!(rooms.effects(), [format!("LeaveConfirmed(n{node})")]);
            }
        }
        departure.announce(&mut rooms.ctx, &rooms.list);
        assert_eq!((rooms.effects(), rooms.ctx.timers.next()), (Vec::new(), None));
    }

    #[test]
    fn members_that_never_confirm_are_told_so_often() {
        let (mut rooms, mut departure) = (Rooms::of(2), Departure::default());
        start(&mut rooms, &mut departure, &[]);
        rooms.effects();
        let attempts = (0..100).filter(|_| {
            departure.announce(&mut rooms.ctx, &rooms.list);
            !rooms.effects().is_empty()
        });
        assert_eq!(attempts.count(), 20);
    }

    #[test]
    fn a_confirmation_counts_once_and_only_for_this_departure() {
        let (mut rooms, mut departure) = (Rooms::of(3), Departure::default());
        departure.handle_leave_ack(&mut rooms.ctx, id(1), Sequence(1));
        start(&mut rooms, &mut departure, &[]);
        rooms.effects();
        // By which member, of which announcement, whether it counts.
        let cases = [(1, 7, false), (9, 1, false), (1, 1, true), (1, 1, false), (2, 1, true)];
        for (node, sequence, expected) in cases {
            departure.handle_leave_ack(&mut rooms.ctx, id(node), Sequence(sequence));
            assert_eq!(!rooms.effects().is_empty(), expected, "n{node} {sequence}");
        }
    }

    #[test]
    fn only_a_node_that_has_left_returns() {
        for (state, expected) in [(MemberState::Alive, true), (MemberState::Left, false)] {
            let (mut rooms, mut departure) = (Rooms::of(3), Departure::default());
            start(&mut rooms, &mut departure, &[]);
            rooms.effects();
            rooms.put(0, state, 0);
            departure.undo(&mut rooms.ctx, &rooms.list);
            assert_eq!(departure.is_under_way(), expected, "{state}");
            assert_eq!(!rooms.effects().is_empty(), !expected);
        }
    }

    #[test]
    fn a_departure_is_confirmed_once_it_is_in_the_list() {
        use MemberState::{Alive, Dead, Left, Suspect};
        for (state, expected) in [(Alive, 0), (Suspect, 0), (Dead, 0), (Left, 1)] {
            let mut rooms = Rooms::of(3);
            rooms.put(1, state, 0);
            handle_leave(&mut rooms.ctx, &rooms.list, peer(1), Sequence(4));
            assert_eq!(rooms.effects(), vec!["to n1: leave-ack seq=4"; expected], "{state}");
        }
        let mut rooms = Rooms::of(1);
        handle_leave(&mut rooms.ctx, &rooms.list, peer(1), Sequence(4));
        assert_eq!(rooms.effects(), [""; 0]);
    }
}
