//! Messages to all members, spread as in Plumtree (Leitão, Pereira, Rodrigues, SRDS 2007) on the rings.
//!
//! The publisher signs and numbers each publication. It goes at once to the next members in some rings, which pass it
//! on; each ring alone reaches all. A member that receives one twice asks the second sender to stop
//! ([`Part::PublicationPrune`]), so a tree for each publisher remains. The other next members learn the number a
//! little later ([`Part::PublicationNews`]), and ask for publications that were not pushed to them
//! ([`Part::PublicationWant`]); a member that had to ask more than once makes the one that answers a branch of the
//! tree.
//!
//! [`publisher`] puts the publications of one member into order, [`recent`] keeps them for those that ask; the rules
//! are in [`broadcast`] and [`repair`].
//!
//! [`Part::PublicationPrune`]: crate::Part::PublicationPrune
//! [`Part::PublicationNews`]: crate::Part::PublicationNews
//! [`Part::PublicationWant`]: crate::Part::PublicationWant

pub(crate) mod broadcast;
pub(crate) mod own;
pub(crate) mod publication;
pub(crate) mod publisher;
pub(crate) mod recent;
pub(crate) mod repair;

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    Instant, MemberId,
    ctx::Ctx,
    limit::Budgets,
    member::transition::Transition,
    publish::{own::Own, publisher::Publisher, recent::Recent},
    sync::budget::ListBudget,
};

/// The publications of this node, and the known publications of others.
#[derive(Debug)]
pub(crate) struct Publishing {
    pub(crate) own: Own,
    /// The members that published in their present run, at most as many as are in the list.
    publishers: BTreeMap<MemberId, Publisher>,
    recent: Recent,
    /// The publishers whose latest publication some subjects may lack. Emptied when it is announced.
    unannounced: BTreeSet<MemberId>,
    /// When it is announced.
    announce_at: Option<Instant>,
    /// The members of whose publications something is lacking.
    lacking: BTreeSet<MemberId>,
    /// When that is looked at next.
    repair_at: Option<Instant>,
    /// When what is kept is looked at next.
    expire_at: Option<Instant>,
    /// When this node was last alone. Shortly after that it is a newcomer.
    alone_at: Instant,
    /// When this node learnt that a member joined, or runs anew, if that was lately: an earlier publication is not for it. At
    /// most as many as are in the list.
    joined: BTreeMap<MemberId, Instant>,
    /// How many publications each member may still publish, in number and in bytes.
    numbers: Budgets,
    bytes: Budgets,
    /// How many signatures are checked for each member that passes publications on.
    checks: Budgets,
    /// How many bytes are still sent to each member that asks.
    answers: Budgets,
    /// The budget for answers to requests of all members.
    budget: ListBudget,
}

impl Publishing {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            own: Own::new(),
            publishers: BTreeMap::new(),
            recent: Recent::default(),
            unannounced: BTreeSet::new(),
            announce_at: None,
            lacking: BTreeSet::new(),
            repair_at: None,
            expire_at: None,
            alone_at: now,
            joined: BTreeMap::new(),
            numbers: Budgets::default(),
            bytes: Budgets::default(),
            checks: Budgets::default(),
            answers: Budgets::default(),
            budget: ListBudget::new(now),
        }
    }

    /// Follows a change of a member. In another run its numbers start again.
    pub(crate) fn react(&mut self, ctx: &Ctx, transition: &Transition, live_len: usize) {
        if live_len <= 2 && !transition.is_me {
            self.alone_at = ctx.now;
        }
        if transition.is_restart() || transition.is_forgotten() {
            self.forget(transition.id());
        }
        if transition.is_join() || transition.is_restart() {
            self.joined.insert(transition.id(), ctx.now);
        }
        if transition.is_me && transition.is_restart() {
            self.own.restart();
        }
    }

    fn forget(&mut self, id: MemberId) {
        self.recent.forget(id);
        self.publishers.remove(&id);
        self.joined.remove(&id);
        self.unannounced.remove(&id);
        self.lacking.remove(&id);
    }
}
