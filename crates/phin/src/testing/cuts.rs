//! Which nodes do not reach each other.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The cuts of one network, shared by all its nodes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cuts(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// The lower address first.
    pairs: BTreeSet<(SocketAddr, SocketAddr)>,
    /// Where the host is switched off.
    off: BTreeSet<SocketAddr>,
}

impl Cuts {
    /// Cuts the ways between two addresses, in both directions.
    pub(crate) fn cut(&self, one: SocketAddr, other: SocketAddr) {
        self.state().pairs.insert(ordered(one, other));
    }

    /// Undoes every cut. Hosts that are off stay off.
    pub(crate) fn heal(&self) {
        self.state().pairs.clear();
    }

    pub(crate) fn switch_off(&self, host: SocketAddr) {
        self.state().off.insert(host);
    }

    pub(crate) fn switch_on(&self, host: SocketAddr) {
        self.state().off.remove(&host);
    }

    pub(crate) fn is_cut(&self, one: SocketAddr, other: SocketAddr) -> bool {
        let state = self.state();
        state.pairs.contains(&ordered(one, other))
            || [one, other].iter().any(|host| state.off.contains(host))
    }

    pub(crate) fn is_off(&self, host: SocketAddr) -> bool {
        self.state().off.contains(&host)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn ordered(one: SocketAddr, other: SocketAddr) -> (SocketAddr, SocketAddr) {
    (one.min(other), one.max(other))
}
