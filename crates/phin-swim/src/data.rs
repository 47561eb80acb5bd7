//! Member data: a small key-value map that each member writes for itself and all others read, as in chitchat's node state.
//!
//! The owner signs each revision of its whole map, so no relay can forge, mix or leave out anything. A map is replaced
//! only by a complete and verified later one. Members compare the data that they know by a fingerprint on pings and
//! acks, and repair differences as they repair the list ([`spread`]).
//!
//! Data is as ephemeral as its owner: that of a member that left, or whose process was restarted, is gone at once.
//! That of a dead member stays readable until it returns or is forgotten.

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

/// The known data of all members, and its dissemination.
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
        let id = transition.id();
        if transition.is_me {
            self.follow_own(ctx, transition);
        } else if let Some(why) = why_removed(transition) {
            self.store.remove(ctx, id, why);
        } else if transition.is_death() {
            self.store.suspend(ctx, id);
        } else if transition.is_return() {
            self.store.resume(ctx, id);
        }
    }
}

impl DataRoom {
    /// In another generation this node says its data again: that of the one before is gone everywhere.
    fn follow_own(&mut self, ctx: &mut Ctx, transition: &Transition) {
        if transition.is_restart() && self.store.has(transition.id()) {
            self.own.touch(ctx);
        }
    }
}

/// Why nothing is left of the data of a member after a change of it, if so.
fn why_removed(transition: &Transition) -> Option<OwnerGone> {
    if transition.is_forgotten() {
        return Some(OwnerGone::Forgotten);
    }
    if transition.after.state == MemberState::Left {
        return Some(OwnerGone::Left);
    }
    transition.is_restart().then_some(OwnerGone::Restarted)
}
