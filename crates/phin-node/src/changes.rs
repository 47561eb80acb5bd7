//! Everything that a node tells as it happens: changes of the membership, and whether it hears anyone.

use phin::{Cluster, Filter, Notice, Subscription};

/// A subscription to all of it.
pub(crate) struct Changes {
    cluster: Cluster,
    subscription: Subscription,
    is_isolated: bool,
}

/// What happened.
pub(crate) enum Told {
    /// The list, or a change to it.
    Notice(Notice),
    /// The node hears no other member any more, or one again.
    Isolated(bool),
}

impl Changes {
    pub(crate) fn new(cluster: &Cluster) -> Self {
        let subscription = cluster.subscribe();
        Self { cluster: cluster.clone(), subscription, is_isolated: false }
    }

    /// Of changes only those of members that match, before or after.
    pub(crate) fn matching(self, filter: Filter) -> Self {
        Self { subscription: self.subscription.matching(filter), ..self }
    }

    pub(crate) fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The next news: the list first; `None` once the node has stopped. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Option<Told> {
        let isolation = async {
            match self.cluster.isolation_changed(self.is_isolated).await {
                Ok(is_isolated) => is_isolated,
                // What the subscription still has is told first; its end is the end.
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
