//! [`WeakCluster`]: a handle that does not keep the node running.

use std::sync::{Arc, Weak};

use crate::{Cluster, cluster::Shared};

/// A handle that does not keep the node running, from [`Cluster::downgrade`].
///
/// A node ends when its last [`Cluster`] is dropped. A task that only watches it should therefore hold a `WeakCluster`:
///
/// ```no_run
/// use phin::{Cluster, Notice};
///
/// fn watch(cluster: &Cluster) {
///     let (mut changes, node) = (cluster.subscribe(), cluster.downgrade());
///     tokio::spawn(async move {
///         // Ends with the node: neither a subscription nor a weak handle keeps it running.
///         while let Some(notice) = changes.next().await {
///             if let (Notice::Event { event, .. }, Some(node)) = (notice, node.upgrade()) {
///                 println!("{}: {} {}", node.name(), event.member.name(), event.change);
///             }
///         }
///     });
/// }
/// ```
#[derive(Clone, Debug)]
pub struct WeakCluster {
    shared: Weak<Shared>,
}

impl WeakCluster {
    /// A handle that keeps the node running, or `None` if all of these were dropped and the node ended.
    pub fn upgrade(&self) -> Option<Cluster> {
        self.shared.upgrade().map(|shared| Cluster { shared })
    }
}

impl Cluster {
    /// A handle that does not keep the node running, for tasks that only watch it.
    pub fn downgrade(&self) -> WeakCluster {
        WeakCluster { shared: Arc::downgrade(&self.shared) }
    }
}
