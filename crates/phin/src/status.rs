//! The present status of the node, which the driver reports beside the list.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use phin_swim::AdminStatement;
use tokio::{sync::watch, time::Instant};

use crate::{leadership::Offices, refusals::Refusals};

/// The statements of administrators that a node has.
pub(crate) type Statements = Vec<Arc<AdminStatement>>;

/// The side of the driver.
pub(crate) struct Status {
    pub(crate) joined: watch::Sender<bool>,
    pub(crate) isolated: watch::Sender<bool>,
    pub(crate) converged: watch::Sender<bool>,
    pub(crate) identity_conflict: watch::Sender<Option<IdentityConflict>>,
    /// Members whose handshakes with this node are refused.
    pub(crate) refusals: watch::Sender<Refusals>,
    /// The statements of administrators in effect.
    pub(crate) expulsions: watch::Sender<Statements>,
    /// The offices that this node knows, and their holders.
    pub(crate) offices: watch::Sender<Offices>,
    /// Where a member sees this node behind a NAT, while no address to advertise was given.
    pub(crate) nat_addr: watch::Sender<Option<SocketAddr>>,
}

/// The side of the handles.
#[derive(Clone)]
pub(crate) struct StatusView {
    pub(crate) joined: watch::Receiver<bool>,
    pub(crate) isolated: watch::Receiver<bool>,
    pub(crate) converged: watch::Receiver<bool>,
    pub(crate) identity_conflict: watch::Receiver<Option<IdentityConflict>>,
    pub(crate) refusals: watch::Receiver<Refusals>,
    pub(crate) expulsions: watch::Receiver<Statements>,
    pub(crate) offices: watch::Receiver<Offices>,
    pub(crate) nat_addr: watch::Receiver<Option<SocketAddr>>,
}

impl Status {
    pub(crate) fn new(is_joined: bool) -> Self {
        Self {
            joined: watch::Sender::new(is_joined),
            isolated: watch::Sender::new(false),
            converged: watch::Sender::new(true),
            identity_conflict: watch::Sender::new(None),
            refusals: watch::Sender::new(Refusals::default()),
            expulsions: watch::Sender::new(Statements::default()),
            offices: watch::Sender::new(Offices::default()),
            nat_addr: watch::Sender::new(None),
        }
    }

    pub(crate) fn view(&self) -> StatusView {
        StatusView {
            joined: self.joined.subscribe(),
            isolated: self.isolated.subscribe(),
            converged: self.converged.subscribe(),
            identity_conflict: self.identity_conflict.subscribe(),
            refusals: self.refusals.subscribe(),
            expulsions: self.expulsions.subscribe(),
            offices: self.offices.subscribe(),
            nat_addr: self.nat_addr.subscribe(),
        }
    }
}

/// Another process that runs with this node's key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IdentityConflict {
    /// Where it was seen.
    pub(crate) addr: SocketAddr,
    at: Instant,
}

impl IdentityConflict {
    pub(crate) fn now(addr: SocketAddr) -> Self {
        Self { addr, at: Instant::now() }
    }

    /// Whether it was seen so lately that it is probably still there.
    pub(crate) fn is_recent(&self) -> bool {
        self.at.elapsed() < CONFLICT_REMEMBERED
    }
}

/// How long after it was last seen another process with this node's key counts as there. A node that is alone dials its
/// seeds, and members gossip, several times in it.
const CONFLICT_REMEMBERED: Duration = Duration::from_secs(60);
