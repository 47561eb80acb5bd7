//! Member data: a small key-value map that each member writes for itself and all others read, as in chitchat's node state.
//!
//! The owner signs each revision of its whole map, so no relay can forge, mix or leave out anything. A map is replaced only by
//! a complete and verified later one. What is known of all members is compared by a fingerprint on pings and acks, and repaired
//! as the list is ([`spread`]).
//!
//! Data is as ephemeral as its owner: that of a member that left, or whose process was started anew, is gone at once. That of a
//! dead member stays readable until it returns or is forgotten.

pub(crate) mod map;
pub(crate) mod own;
pub(crate) mod spread;
pub(crate) mod store;

use crate::{
    Instant, MemberId, MemberState,
    ctx::Ctx,
    data::{
        own::Own,
        spread::Replication,
        store::{OwnerGone, Store},
    },
    member::transition::Transition,
};

/// What is known of all members' data, and how it spreads.
#[derive(Debug)]
pub(crate) struct DataRoom {
    pub(crate) store: Store,
    pub(crate) own: Own,
    pub(crate) replication: Replication,
}

impl DataRoom {
    pub(crate) fn new(now: Instant, me: MemberId) -> Self {
        Self { store: Store::new(me), own: Own::default(), replication: Replication::new(now) }
    }

    /// Follows a change of a member.
    pub(crate) fn react(&mut self, ctx: &mut Ctx, transition: &Transition) {
        let (id, state) = (transition.id(), transition.after.state);
        if transition.is_me {
            // The data is said again in this run.
            if transition.is_restart() && self.store.has(id) {
                self.own.touch(ctx);
            }
            return;
        }
        if transition.is_forgotten() {
            self.store.remove(ctx, id, OwnerGone::Forgotten);
        } else if state == MemberState::Left {
            self.store.remove(ctx, id, OwnerGone::Left);
        } else if transition.is_restart() {
            self.store.remove(ctx, id, OwnerGone::Restarted);
        } else if transition.is_death() {
            self.store.suspend(ctx, id);
        } else if transition.is_return() {
            self.store.resume(ctx, id);
        }
    }
}
