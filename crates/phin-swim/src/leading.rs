//! [`Leading`]: the offices that this node stands for, and the promises of its votes.

use crate::{
    Office, OfficeRules, OfficeState, Promises, StandError, Term, core::Core,
    leadership::Leadership,
};

/// Stands for offices, and handles what was kept of the votes of this node, at one moment ([`Swim::leading`](crate::Swim::leading)).
pub struct Leading<'a> {
    pub(crate) core: &'a mut Core,
}

impl Leading<'_> {
    /// Stands for an office: this node takes it whenever no other member holds it, and a majority of the voters grants it.
    /// [`Output::Office`](crate::Output::Office) reports what becomes of it. Standing again with the same rules has no effect;
    /// with others, this node resigns first.
    ///
    /// # Errors
    /// The rules exceed a limit, the node stands for too many offices, or it has left the cluster.
    pub fn stand(self, office: Office, rules: OfficeRules) -> Result<(), StandError> {
        let result = self.core.candidate().stand(office, rules);
        self.core.run();
        result
    }

    /// Stands for an office no longer, and gives it up if this node holds it. Returns whether it stood for it.
    pub fn resign(self, office: &Office) -> bool {
        let has_stood = self.core.candidate().resign(office);
        self.core.run();
        has_stood
    }

    /// Handles that the promises of this node are kept, this term among them
    /// ([`Output::KeepPromise`](crate::Output::KeepPromise)).
    pub fn handle_kept(self, office: &Office, term: Term) {
        self.core.vote().handle_kept(office, term);
        self.core.run();
    }

    /// Restores the promises that an earlier run of this node has kept. Call it before any other input.
    pub fn restore(self, promises: Promises) {
        self.core.leadership.voter.restore(self.core.ctx.now, promises);
    }
}

/// The known offices, and the promises of this node as a voter ([`Swim::offices`](crate::Swim::offices)).
pub struct Offices<'a> {
    pub(crate) leadership: &'a Leadership,
}

impl Offices<'_> {
    /// The state of each office that this node stands for or that a member announced, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&Office, OfficeState)> {
        self.leadership.states()
    }

    /// The state of an office.
    pub fn get(&self, office: &Office) -> OfficeState {
        self.leadership.state(office)
    }

    /// The promises of this node's votes, to be kept between its runs ([`Output::KeepPromise`](crate::Output::KeepPromise)).
    pub fn promises(&self) -> Promises {
        self.leadership.voter.promises()
    }
}

impl std::fmt::Debug for Offices<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl std::fmt::Debug for Leading<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Leading").finish_non_exhaustive()
    }
}
