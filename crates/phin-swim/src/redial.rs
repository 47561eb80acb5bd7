//! Healing: dead members are pinged now and then, so that the parts of a split network find each other again.
//!
//! A ping to a dead member tells it that it is held for dead; if it lives it refutes, and the lists that differ are
//! compared. One contact between two parts heals both. All members together redial one member every
//! [`PERIODS_PER_REDIAL`] periods, whatever their number, so this costs next to nothing.

use rand::RngExt;

use crate::{Instant, MemberId, MemberState, Swim, probe::Purpose};

impl Swim {
    /// Redials a dead member, if it is our turn.
    pub(crate) fn redial(&mut self, now: Instant) {
        let list = self.list.snapshot();
        if list.len() == list.live_len() {
            return;
        }
        // Who hears nobody has nobody to share the work with.
        let sharers = if self.is_isolated() { 1 } else { list.live_len() as u32 };
        if self.rng.random_range(0..sharers * PERIODS_PER_REDIAL) != 0 {
            return;
        }
        if let Some(peer) = self.choose_dead(now).and_then(|id| self.peer(id)) {
            self.stats.redials += 1;
            if self.stats.redials.is_multiple_of(REDIALS_PER_REVIEW) {
                self.exchanges.plan_review();
            }
            self.ping(now, peer, Purpose::Redial);
        }
    }

    /// A dead member of chance: every other time one of those that died lately, which are the likeliest to return.
    fn choose_dead(&mut self, now: Instant) -> Option<MemberId> {
        let dead = self.list.snapshot().iter().filter(|m| m.state() == MemberState::Dead);
        let mut dead: Vec<_> = dead.map(|member| (now - member.since(), member.id())).collect();
        if self.rng.random() && dead.len() > RECENT {
            dead.select_nth_unstable(RECENT);
            dead.truncate(RECENT);
        }
        let choice = (!dead.is_empty()).then(|| self.rng.random_range(0..dead.len()))?;
        Some(dead[choice].1)
    }
}

/// In how many protocol periods all members together redial one dead member, so that two parts find each other within
/// a few.
const PERIODS_PER_REDIAL: u32 = 2;
/// After how many redials what is known of the departed is compared too.
const REDIALS_PER_REVIEW: u64 = 4;
/// How many of those that died last get half of the redials.
const RECENT: usize = 32;
