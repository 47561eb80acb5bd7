//! [`Expelling`]: the statements of administrators, for the driver.

use std::sync::Arc;

use crate::{
    AdminKeyId, AdminStatement, ExpelRefusal, Instant, MemberId, PublicKey, Swim, core::Core,
    expel::MAX_STATEMENTS,
};

/// Takes statements of administrators that expel and readmit members, at one moment.
///
/// A node that has no admin keys takes none. A driver keeps the statements between the runs of a node
/// ([`Output::Expulsion`](crate::Output::Expulsion)), and refuses connections to the members that are expelled.
pub struct Expelling<'a> {
    core: &'a mut Core,
}

impl<'a> Expelling<'a> {
    /// The number of ids that a node keeps statements about. Statements about further ids are refused.
    pub const MAX_STATEMENTS: usize = MAX_STATEMENTS;

    /// The statements of a node.
    pub fn of(swim: &'a mut Swim, now: Instant) -> Self {
        Self { core: swim.core.begin(now) }
    }

    /// Sets the wall clock, in milliseconds since 1970, by which statements end. Call it before any other method, and now and
    /// then, as the wall clock can be set.
    pub fn set_wall_clock(&mut self, millis: u64) {
        self.core.expulsions.set_wall_clock(self.core.ctx.now, millis);
    }

    /// Follows the statements of these keys from now on, and no others: those of keys that are gone end.
    pub fn set_admin_keys(&mut self, keys: &[PublicKey]) {
        self.core.expel().set_admin_keys(keys);
        self.core.run();
    }

    /// Restores the statements that an earlier run has kept. Call it after the admin keys are set, before any other input.
    /// Returns how many were left out, because their time is over or their key is no longer an admin key.
    pub fn restore(&mut self, statements: Vec<AdminStatement>) -> usize {
        let ignored = self.core.expel().restore(statements);
        self.core.run();
        ignored
    }

    /// Takes a statement, acts on it, and passes it on. A statement that is known already has no further effect.
    ///
    /// # Errors
    /// The statement is not signed by an admin key of this node for this cluster, a later one about the same id is known, its
    /// time is over, or there are too many.
    pub fn state(&mut self, statement: AdminStatement) -> Result<(), ExpelRefusal> {
        let result = self.core.expel().handle_statement(None, Arc::new(statement));
        self.core.run();
        result
    }

    /// The statements in effect at a node, in the order of the ids that they are about.
    pub fn statements(swim: &Swim) -> impl Iterator<Item = &Arc<AdminStatement>> {
        swim.core.expulsions.statements()
    }

    /// The statement by which a member is expelled at a node.
    pub fn expulsion_of(swim: &Swim, id: MemberId) -> Option<&Arc<AdminStatement>> {
        swim.core.expulsions.expulsion_of(id)
    }

    /// The ids of the admin keys of a node.
    pub fn admin_keys(swim: &Swim) -> impl Iterator<Item = AdminKeyId> {
        swim.core.expulsions.admin_keys()
    }
}

impl std::fmt::Debug for Expelling<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Expelling").finish_non_exhaustive()
    }
}
