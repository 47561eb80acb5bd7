//! Which members are sent requests.

use std::{collections::BTreeSet, sync::Arc};

use phin::{Filter, Member, MemberId, MemberState, Members, ServingState};

/// The members to send requests to, in the order of their ids. `degraded` are those that live and are of little use.
pub(crate) fn usable(
    members: &Members,
    filter: &Filter,
    degraded: &BTreeSet<MemberId>,
) -> Vec<Arc<Member>> {
    let matching = members.matching(filter);
    let fitting: Vec<_> = matching.filter(|member| fits(members, member)).cloned().collect();
    let is_good = |member: &&Arc<Member>| {
        member.state() == MemberState::Alive && !degraded.contains(&member.id())
    };
    let good: Vec<_> = fitting.iter().filter(is_good).cloned().collect();
    // A request to a member that may be dead is better than none.
    if good.is_empty() { fitting } else { good }
}

fn fits(members: &Members, member: &Member) -> bool {
    member.state().is_live()
        && member.serving() == ServingState::Serving
        && members.suppressed_until(member.id()).is_none()
}

/// Whether a service that was made for one of these is also right for the other.
pub(crate) fn has_same_target(one: &Member, other: &Member) -> bool {
    one.generation() == other.generation()
        && one.record().addrs().eq(other.record().addrs())
        && one.tags().eq(other.tags())
}
