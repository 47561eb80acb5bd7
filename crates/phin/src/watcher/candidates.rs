//! Which addresses a watcher tries, and in which order.

use std::{collections::BTreeSet, net::SocketAddr};

use phin_swim::{MemberState, Members};

use crate::random::Random;

/// The addresses to try in one round: those of members that are alive, and between them those of seeds; then those of
/// suspects, then of others. Random within each group, so that many watchers spread over the members. The address that was
/// lost last comes last.
///
/// Seeds come early because members behind a gateway may be reached at these alone.
pub(super) fn candidates(
    members: &Members,
    seeds: &[SocketAddr],
    lost: Option<SocketAddr>,
    random: &Random,
) -> Vec<SocketAddr> {
    let of = |states: &[MemberState]| {
        let listed = members.iter().filter(|member| states.contains(&member.state()));
        shuffled(listed.map(|member| member.addr()), random)
    };
    let alive = of(&[MemberState::Alive]);
    let known: BTreeSet<_> = members.iter().map(|member| member.addr()).collect();
    let mut others =
        shuffled(seeds.iter().copied().filter(|addr| !known.contains(addr)), random).into_iter();
    let mut ordered = Vec::new();
    for pair in alive.chunks(2) {
        ordered.extend(pair);
        ordered.extend(others.next());
    }
    ordered.extend(others);
    ordered.extend(of(&[MemberState::Suspect]));
    ordered.extend(of(&[MemberState::Dead, MemberState::Left]));
    let mut seen = BTreeSet::new();
    ordered.retain(|addr| seen.insert(*addr) && Some(*addr) != lost);
    ordered.truncate(MAX_CANDIDATES);
    ordered.extend(lost.filter(|lost| seen.contains(lost)));
    ordered
}

fn shuffled(addrs: impl Iterator<Item = SocketAddr>, random: &Random) -> Vec<SocketAddr> {
    let mut addrs: Vec<_> = addrs.collect();
    random.shuffle(&mut addrs);
    addrs
}

/// Addresses tried in one round. The next round has others.
const MAX_CANDIDATES: usize = 64;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use phin_quic::Identity;
    use phin_swim::{Config, Generation, Instant, Local, Swim};

    use super::*;
    use crate::keys::NodeKeys;

    /// The list of a node that is alone, at this address.
    fn list_of(addr: SocketAddr) -> Members {
        let keys = Arc::new(NodeKeys::new(Arc::new(Identity::generate())));
        let local = Local::new("n1".try_into().unwrap(), vec![addr], Generation(1));
        Swim::new(Instant::START, local, Config::lan(), keys, 1).unwrap().members()
    }

    #[test]
    fn each_address_is_tried_once_and_the_one_that_was_lost_last() {
        let addr = |port| SocketAddr::from(([10, 0, 0, 1], port));
        let members = list_of(addr(1));
        let seeds: Vec<_> = (1..=3).map(addr).collect();
        let random = Random::new(7);
        for lost in [None, Some(addr(1)), Some(addr(3))] {
            let ordered = candidates(&members, &seeds, lost, &random);
            assert_eq!(
                ordered.iter().copied().collect::<BTreeSet<_>>(),
                seeds.iter().copied().collect()
            );
            assert_eq!(ordered.len(), 3);
            match lost {
                Some(lost) => assert_eq!(ordered.last(), Some(&lost)),
                None => assert_eq!(ordered[0], addr(1), "a member that is alive comes first"),
            }
        }
        // An address that neither the list nor the seeds have any more is not tried.
        assert!(!candidates(&members, &seeds, Some(addr(9)), &random).contains(&addr(9)));
        let many: Vec<_> = (1..1_000).map(addr).collect();
        assert_eq!(candidates(&members, &many, Some(addr(1)), &random).len(), MAX_CANDIDATES + 1);
    }
}
