//! Members with which this node completes no handshake, because one side refuses the other.

use std::{net::SocketAddr, time::SystemTime};

use phin_quic::{Refusal, RefusedBy};
use phin_swim::MemberId;

/// A handshake with a member that one side refused, and that none has succeeded since.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct RefusedHandshake {
    /// Why, such as an expired certificate: the member's if this node refused, else this node's.
    pub refusal: Refusal,
    /// Which side refused the other.
    pub by: RefusedBy,
    /// Where the member was dialled.
    pub addr: SocketAddr,
    /// Since when each dial was refused for this reason.
    pub since: SystemTime,
}

/// The last refusal of each member; at most [`MAX_REFUSALS`], the latest last.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Vec<(MemberId, RefusedHandshake)>);

impl Refusals {
    /// Records a refusal. It keeps the time of an earlier one for the same reason.
    pub(crate) fn add(&mut self, id: MemberId, mut refused: RefusedHandshake) {
        if let Some(known) = self.remove(id).filter(|known| {
            (&known.refusal, known.by, known.addr) == (&refused.refusal, refused.by, refused.addr)
        }) {
            refused.since = known.since;
        }
        if self.0.len() >= MAX_REFUSALS {
            // The refusal that was not repeated for the longest time is most likely over.
            self.0.remove(0);
        }
        self.0.push((id, refused));
    }

    /// Forgets a member's refusal, and returns it.
    pub(crate) fn remove(&mut self, id: MemberId) -> Option<RefusedHandshake> {
        let place = self.0.iter().position(|(known, _)| *known == id)?;
        Some(self.0.remove(place).1)
    }

    pub(crate) fn of(&self, id: MemberId) -> Option<&RefusedHandshake> {
        self.0.iter().find_map(|(known, refused)| (*known == id).then_some(refused))
    }
}

/// The number of members whose refusal is remembered. A fault of this node's certificate concerns all members, and
/// then any of them shows it.
const MAX_REFUSALS: usize = 256;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn refused(refusal: Refusal, seconds: u64) -> RefusedHandshake {
        let since = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        RefusedHandshake { refusal, by: RefusedBy::Us, addr: ([10, 0, 0, 1], 1).into(), since }
    }

    #[test]
    fn a_repeated_refusal_keeps_its_beginning_and_another_one_has_its_own() {
        let (id, mut refusals) = (MemberId([1; 16]), Refusals::default());
        for (refusal, at, since) in [
            (Refusal::CertificateExpired, 1, 1),
            (Refusal::CertificateExpired, 2, 1),
            (Refusal::WrongKey, 3, 3),
        ] {
            refusals.add(id, refused(refusal.clone(), at));
            assert_eq!(refusals.of(id), Some(&refused(refusal, since)));
        }
        assert_eq!(refusals.0.len(), 1);
        refusals.remove(id);
        assert_eq!(refusals.of(id), None);
    }

    #[test]
    fn the_refusal_that_was_not_repeated_for_longest_makes_room() {
        let mut refusals = Refusals::default();
        let id = |number: usize| MemberId((number as u128).to_be_bytes());
        for number in 0..MAX_REFUSALS {
            refusals.add(id(number), refused(Refusal::WrongKey, 1));
        }
        refusals.add(id(0), refused(Refusal::WrongKey, 2));
        refusals.add(id(MAX_REFUSALS), refused(Refusal::WrongKey, 3));
        assert_eq!(refusals.0.len(), MAX_REFUSALS);
        assert!(refusals.of(id(0)).is_some() && refusals.of(id(1)).is_none());
    }
}
