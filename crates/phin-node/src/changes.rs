//! All changes that a node reports: of the membership, and of its isolation.

use phin::{Cluster, Filter, Notice, Subscription};

/// A subscription to all changes.
pub(crate) struct Changes {
    cluster: Cluster,
    subscription: Subscription,
    is_isolated: bool,
}

/// One change.
pub(crate) enum Told {
    /// The list, or a change of it.
    Notice(Notice),
    /// The node became isolated, or is no longer.
    Isolated(bool),
}

impl Changes {
    pub(crate) fn new(cluster: &Cluster) -> Self {
        let subscription = cluster.subscribe();
        Self { cluster: cluster.clone(), subscription, is_isolated: false }
    }

    /// Only changes of members that match before or after are reported.
    pub(crate) fn matching(self, filter: Filter) -> Self {
        Self { subscription: self.subscription.matching(filter), ..self }
    }

    pub(crate) fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Waits for the next change, the list first. Returns `None` once the node has stopped. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<Told> {
        let isolation = async {
            let changed = match self.is_isolated {
                true => self.cluster.reconnected().await,
                false => self.cluster.isolated().await,
            };
            match changed {
                Ok(()) => !self.is_isolated,
                // The node has stopped. The subscription yields its remaining notices, then ends.
                Err(phin::Stopped) => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            notice = self.subscription.next() => Some(Told::Notice(notice?)),
            is_isolated = isolation => {
                self.is_isolated = is_isolated;
                Some(Told::Isolated(is_isolated))
            }
        }
    }
}
