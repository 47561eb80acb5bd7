//! Healing: dead members are pinged now and then, so that the parts of a split network find each other again.
//!
//! A ping to a dead member carries the claim that it is dead. If it lives it refutes, and the lists that differ are
//! compared. One contact between two parts heals both. All members together redial one member every
//! [`PERIODS_PER_REDIAL`] periods, whatever their number, so this costs next to nothing.
//!
//! Redials go to addresses. A node without a data directory is another member at each start, so many dead members may
//! have had one address, and another part of the network may have replaced a member that is dead to this node by one
//! that it does not know. The member that answers there is the one to contact.

use std::collections::{BTreeMap, BTreeSet};

use rand::RngExt;

use crate::{Ctx, Instant, MemberId, MemberState, Members, MembershipList, Stats};

/// The member to redial in this period, if it is this node's turn. An isolated node has nobody to share the work
/// with.
pub(crate) fn choose(ctx: &mut Ctx, list: &MembershipList, is_isolated: bool) -> Option<MemberId> {
    let members = list.snapshot();
    if members.len() == members.live_len() {
        return None;
    }
    let live = u32::try_from(members.live_len()).unwrap_or(u32::MAX / PERIODS_PER_REDIAL);
    let sharers = if is_isolated { 1 } else { live };
    if ctx.rng.random_range(0..sharers * PERIODS_PER_REDIAL) != 0 {
        return None;
    }
    choose_dead(ctx, list)
}

/// Counts one redial; says whether what is known of the departed is to be compared too.
pub(crate) const fn is_review_due(stats: &mut Stats) -> bool {
    stats.redials += 1;
    stats.redials.is_multiple_of(REDIALS_PER_REVIEW)
}

/// The reaction to a member that answered at the address of another one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Found {
    /// It is of a part of the cluster that this node knows nothing of.
    Unknown,
    /// It may have returned.
    Departed,
    Nothing,
}

/// The reaction if `found` answered where `sought` was dialled.
pub(crate) fn found_instead(list: &MembershipList, sought: MemberId, found: MemberId) -> Found {
    if list.state(sought) != Some(MemberState::Dead) {
        return Found::Nothing;
    }
    match list.state(found) {
        None => Found::Unknown,
        Some(MemberState::Dead | MemberState::Left) => Found::Departed,
        Some(MemberState::Alive | MemberState::Suspect) => Found::Nothing,
    }
}

/// The dead members that may be found, with when each died: of those at one address the last; where a live one is by now,
/// none of them is.
fn candidates(list: &Members) -> Vec<(Instant, MemberId)> {
    let taken: BTreeSet<_> = list.live().map(|member| member.addr()).collect();
    let mut last_at = BTreeMap::new();
    for member in list.iter().filter(|member| member.state() == MemberState::Dead) {
        let died = (member.since(), member.id());
        let last = last_at.entry(member.addr()).or_insert(died);
        *last = died.max(*last);
    }
    last_at.into_iter().filter(|(addr, _)| !taken.contains(addr)).map(|(_, died)| died).collect()
}

/// A random dead member: every other time one of those that died lately, which are the likeliest to return.
fn choose_dead(ctx: &mut Ctx, list: &MembershipList) -> Option<MemberId> {
    let now = ctx.now;
    let dead = candidates(list.snapshot()).into_iter();
    let mut dead: Vec<_> = dead.map(|(since, id)| (now - since, id)).collect();
    // In the order of ids, which is a random one, unlike that of addresses.
    dead.sort_unstable_by_key(|&(_, id)| id);
    if ctx.rng.random() && dead.len() > RECENT {
        dead.select_nth_unstable(RECENT);
        dead.truncate(RECENT);
    }
    let choice = (!dead.is_empty()).then(|| ctx.rng.random_range(0..dead.len()))?;
    Some(dead[choice].1)
}

/// In how many protocol periods all members together redial one dead member, so that two parts find each other within
/// a few.
const PERIODS_PER_REDIAL: u32 = 2;
/// After how many redials what is known of the departed is compared too.
const REDIALS_PER_REVIEW: u64 = 4;
/// How many of those that died last get half of the redials.
const RECENT: usize = 32;

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, time::Duration};

    use super::*;
    use crate::{
        Member, Record,
        member::record::{
            Statement,
            tests::{TestKeys, addr, id, statement, version},
        },
    };

    /// A member that was at this address, since so many seconds in that state.
    fn member(node: u8, at: u8, state: MemberState, since: u64) -> Member {
        let statement = Statement { addrs: vec![addr(at)], ..statement(node, version(0, 0)) };
        let record = Record::sign(statement, &TestKeys(node.into()));
        Member { record, state, since: Instant::START + Duration::from_secs(since) }
    }

    fn list() -> MembershipList {
        MembershipList::new(member(0, 0, MemberState::Alive, 0), 8)
    }

    #[test]
    fn addresses_are_redialled_and_each_for_the_last_that_died_there() {
        let mut list = list();
        for node in 1..100 {
            list.put(member(node, 100, MemberState::Dead, u64::from(200 - node)));
        }
        list.put(member(101, 101, MemberState::Dead, 5));
        // Where a live one is, and where we are, no dead one can be.
        list.put(member(102, 102, MemberState::Dead, 5));
        list.put(member(103, 102, MemberState::Alive, 6));
        list.put(member(104, 0, MemberState::Dead, 5));
        let found: BTreeSet<_> =
            candidates(list.snapshot()).into_iter().map(|(_, id)| id).collect();
        assert_eq!(found, BTreeSet::from([id(1), id(101)]));
    }

    #[test]
    fn only_where_a_dead_member_was_sought_does_another_matter() {
        use MemberState::{Alive, Dead, Left, Suspect};
        let mut list = list();
        for (node, state) in [(1, Dead), (2, Alive), (3, Suspect), (4, Left), (5, Dead)] {
            list.put(member(node, node, state, 1));
        }
        let cases = [
            (1, 9, Found::Unknown),
            (1, 5, Found::Departed),
            (1, 4, Found::Departed),
            (1, 2, Found::Nothing),
            (1, 3, Found::Nothing),
            (2, 9, Found::Nothing),
            (4, 9, Found::Nothing),
        ];
        for (sought, found, expected) in cases {
            assert_eq!(found_instead(&list, id(sought), id(found)), expected, "{sought} {found}");
        }
    }
}
