//! Decides which of two connections to one peer is used. Both ends decide the same without a message.

use std::time::Duration;

use tokio::time::Instant;

use crate::identity::PeerId;

/// The side that dialled.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Initiator {
    Us,
    Peer,
}

/// The inputs of the rule.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    pub(crate) initiator: Initiator,
    /// The run of the peer's process at the other end, from its hello.
    pub(crate) peer_instance: u64,
    /// The number of the connection among those that the accepting side accepted, from its hello.
    pub(crate) number: u64,
    /// When the connection was established on this side.
    pub(crate) established: Instant,
}

impl Standing {
    /// Whether to use this connection, which was established later, instead of `old`.
    ///
    /// - A peer that restarted has only the new one.
    /// - If one side made both, the count of the other side shows the newer one, which wins.
    /// - If each side made one, they dialled at the same time, and the one that the lower id made wins. Such dials
    ///   end within about one handshake timeout of each other. If the old connection is older, the peer has lost it,
    ///   and the new one wins.
    pub(crate) fn supersedes(
        &self,
        old: &Self,
        own: PeerId,
        peer: PeerId,
        handshake_timeout: Duration,
    ) -> bool {
        if self.peer_instance != old.peer_instance {
            return true;
        }
        match (self.initiator, old.initiator) {
            (Initiator::Us, Initiator::Us) | (Initiator::Peer, Initiator::Peer) => {
                self.number > old.number
            }
            (Initiator::Us, Initiator::Peer) | (Initiator::Peer, Initiator::Us) => {
                let age = self.established.saturating_duration_since(old.established);
                let is_by_lower_id = (self.initiator == Initiator::Us) == (own < peer);
                age > 2 * handshake_timeout || is_by_lower_id
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOW: PeerId = PeerId::from_bytes([1; 16]);
    const HIGH: PeerId = PeerId::from_bytes([2; 16]);
    const TIMEOUT: Duration = Duration::from_secs(3);

    fn standing(initiator: Initiator, peer_instance: u64, number: u64) -> Standing {
        Standing { initiator, peer_instance, number, established: Instant::now() }
    }

    /// Whether the second of two is used, at a node with this id.
    fn second_wins(own: PeerId, first: Standing, second: Standing) -> bool {
        let peer = if own == LOW { HIGH } else { LOW };
        second.supersedes(&first, own, peer, TIMEOUT)
    }

    #[test]
    fn of_simultaneous_dials_the_lower_ids_wins_in_either_order_at_either_end() {
        let (ours, theirs) = (standing(Initiator::Us, 1, 7), standing(Initiator::Peer, 1, 0));
        assert!(!second_wins(LOW, ours, theirs));
        assert!(second_wins(LOW, theirs, ours));
        assert!(second_wins(HIGH, ours, theirs));
        assert!(!second_wins(HIGH, theirs, ours));
    }

    #[test]
    fn of_two_by_one_side_the_one_accepted_later_wins_in_either_order() {
        for initiator in [Initiator::Us, Initiator::Peer] {
            let (older, newer) = (standing(initiator, 1, 4), standing(initiator, 1, 5));
            for own in [LOW, HIGH] {
                assert!(second_wins(own, older, newer));
                assert!(!second_wins(own, newer, older), "although it came up here first");
            }
        }
    }

    #[test]
    fn a_peer_started_anew_has_only_the_new_connection() {
        for (old, new) in [
            (standing(Initiator::Us, 1, 0), standing(Initiator::Peer, 2, 0)),
            (standing(Initiator::Us, 1, 9), standing(Initiator::Us, 2, 0)),
            (standing(Initiator::Peer, 1, 0), standing(Initiator::Us, 2, 0)),
        ] {
            assert!(second_wins(LOW, old, new) && second_wins(HIGH, old, new));
        }
    }

    #[test]
    fn a_peer_that_dials_long_after_has_lost_the_old_connection() {
        let old = standing(Initiator::Us, 1, 0);
        let mut new = standing(Initiator::Peer, 1, 0);
        new.established = old.established + 2 * TIMEOUT;
        assert!(!second_wins(LOW, old, new));
        new.established += Duration::from_millis(1);
        assert!(second_wins(LOW, old, new));
    }
}
