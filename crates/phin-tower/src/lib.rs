//! Load balancing with [tower](https://docs.rs/tower) over the members of a phin cluster.
//!
//! [`ClusterExt::discover`] returns a [`Discovery`]: a tower `Discover`, which inserts a service for each member that takes
//! requests, and removes it when the member is suspect, drains, leaves or dies. Give it to a balancer, such as
//! `tower::balance::p2c::Balance`:
//!
//! ```
//! use std::{convert::Infallible, future::ready, net::SocketAddr};
//!
//! use phin::{Cluster, Filter, Member};
//! use phin_tower::ClusterExt;
//! use tower::{balance::p2c::Balance, load::Constant, service_fn};
//!
//! /// Where a member serves requests: its tag `port` says so.
//! fn service_addr(member: &Member) -> Option<SocketAddr> {
//!     Some(SocketAddr::new(member.addr().ip(), member.tag("port")?.parse().ok()?))
//! }
//!
//! fn balance(cluster: &Cluster, filter: Filter) {
//!     let services = cluster.discover(filter, |member| {
//!         let addr = service_addr(member)?;
//!         // In place of a client that connects to the address.
//!         let client = service_fn(move |request: String| {
//!             ready(Ok::<_, Infallible>(format!("{addr} answers {request}")))
//!         });
//!         Some(Constant::new(client, 1))
//!     });
//!     let balance = Balance::new(services);
//!     # let _: Balance<_, String> = balance;
//! }
//! ```
//!
//! # Rules
//! - A member is used if the filter holds for it, it is alive, [serving](phin::ServingState::Serving), neither
//!   [suppressed](phin::Members::suppressed_until) nor [degraded](phin::Change::Degraded), and `make` returns a service for it.
//! - If no such member is left, those are used that are suspect or degraded and otherwise fit. So the set is empty only if no
//!   member is alive or suspect.
//! - While this node is [isolated](phin::Cluster::is_isolated), the set stays as it was: the fault is on its own side, so the node
//!   suspects nobody.
//! - If a member restarts, or changes its addresses or tags, its service is removed and made anew.
//! - A balancer drops a service that fails. The service is inserted again after a delay, if the member is still to be used: after
//!   [`MIN_BACKOFF`], and twice as long each time up to [`MAX_BACKOFF`]. A service that lasted as long as [`MAX_BACKOFF`] starts
//!   anew with [`MIN_BACKOFF`].
//! - After a shutdown of the node, the stream ends, and a balancer keeps the services that it has.
//!
//! This node itself is one of the members. Leave it out with a filter, or by returning `None` for it.

mod backoff;
mod discovery;
mod tracked;
mod usable;

use phin::{Cluster, Filter, Member};

pub use backoff::{MAX_BACKOFF, MIN_BACKOFF};
pub use discovery::Discovery;
pub use tower::discover::Change;
pub use tracked::Tracked;

/// Discovery of services for [`Cluster`].
pub trait ClusterExt {
    /// Returns a tower `Discover` over the members for which `filter` holds. The [rules](crate#rules) say when a service is inserted
    /// and removed.
    ///
    /// `make` makes the service of a member. It is called again whenever the member is inserted. `None` leaves the member out until
    /// it changes its addresses or tags. The discovery is polled by the balancer and needs no task of its own. It keeps the node
    /// running, as any handle does.
    fn discover<S, M>(&self, filter: Filter, make: M) -> Discovery<S, M>
    where
        M: FnMut(&Member) -> Option<S>;
}

impl ClusterExt for Cluster {
    fn discover<S, M>(&self, filter: Filter, make: M) -> Discovery<S, M>
    where
        M: FnMut(&Member) -> Option<S>,
    {
        Discovery::new(self.clone(), filter, make)
    }
}

/// Compiles the example of this crate's README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct PackageReadme;

/// Compiles the examples of the guide.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide/balance-requests.md")]
struct Guide;
