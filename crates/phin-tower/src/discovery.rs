//! [`Discovery`]: the services of members, as a stream of changes.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    convert::Infallible,
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_core::Stream;
use phin::{
    Cluster, Filter, Fingerprint, Member, MemberId, Members, Notice, Stopped, Subscription,
    Unreached,
};
use tokio::time::{Instant, Sleep, sleep_until};
use tower::discover::Change;
use tracing::debug;

use crate::{
    Tracked,
    backoff::Backoff,
    tracked::{Drops, Fate, Life},
    usable::{has_same_target, usable},
};

/// The services of a cluster's members: a tower `Discover` with members' ids as keys.
///
/// [`ClusterExt::discover`](crate::ClusterExt::discover) makes it. Each poll compares the services that were inserted with the
/// newest membership list, so a balancer that was idle does not use an old one.
#[must_use = "a discovery does nothing unless a balancer polls it"]
pub struct Discovery<S, M> {
    cluster: Cluster,
    changes: Subscription,
    /// The question which members are degraded.
    asked: Option<Asked<Vec<Unreached>>>,
    degraded: BTreeSet<MemberId>,
    filter: Filter,
    make: M,
    services: BTreeMap<MemberId, Known>,
    /// Changes that the balancer has not taken yet. It is empty before more are added.
    queue: VecDeque<Change<MemberId, Tracked<S>>>,
    drops: Arc<Drops>,
    /// When the first of the services that are out is to be inserted again.
    retry: Option<Pin<Box<Sleep>>>,
    /// The list that the services were compared with.
    compared: Option<Look>,
    state: State,
}

/// The marks of a list: version, fingerprint, and number of suppressed members.
type Look = (u64, Fingerprint, usize);
type Asked<T> = Pin<Box<dyn Future<Output = Result<T, Stopped>> + Send>>;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// Something changed since the services were compared with the list.
    Stale,
    Current,
    /// The node was shut down.
    Ended,
}

/// A member that has a service, or is to have one.
struct Known {
    /// The member as the service was made for it.
    member: Arc<Member>,
    service: Service,
    backoff: Backoff,
}

enum Service {
    Inserted {
        fate: Fate,
        at: Instant,
    },
    /// The balancer dropped it.
    Out {
        until: Instant,
    },
    /// There is none for this member.
    None,
}

impl<S, M: FnMut(&Member) -> Option<S>> Discovery<S, M> {
    pub(crate) fn new(cluster: Cluster, filter: Filter, make: M) -> Self {
        Self {
            changes: cluster.subscribe(),
            asked: Some(ask_degraded(cluster.clone())),
            cluster,
            degraded: BTreeSet::new(),
            filter,
            make,
            services: BTreeMap::new(),
            queue: VecDeque::new(),
            drops: Arc::default(),
            retry: None,
            compared: None,
            state: State::Stale,
        }
    }

    /// Returns the next change, or `None` once the node has been shut down. Dropping the future loses nothing.
    ///
    /// A discovery is a stream, too, and with it a tower `Discover`.
    pub async fn next(&mut self) -> Option<Change<MemberId, Tracked<S>>> {
        let change = poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await?;
        let Ok(change) = change;
        Some(change)
    }

    /// Notes everything that happened, and has the task woken by what happens next.
    fn observe(&mut self, context: &mut Context<'_>) {
        // First the answer, because it is older than the events that follow it.
        self.poll_degraded(context);
        self.poll_changes(context);
        self.poll_degraded(context);
        // A list is published before its events.
        if self.compared != Some(look(&self.changes.members())) {
            self.mark_stale();
        }
        if self.drops.poll(context) {
            self.handle_drops();
        }
        if let Some(Poll::Ready(())) = poll(&mut self.retry, context) {
            self.retry = None;
            self.mark_stale();
        }
    }

    fn mark_stale(&mut self) {
        if self.state != State::Ended {
            self.state = State::Stale;
        }
    }

    fn poll_degraded(&mut self, context: &mut Context<'_>) {
        if let Some(Poll::Ready(unreached)) = poll(&mut self.asked, context) {
            self.asked = None;
            let degraded = unreached.into_iter().flatten().filter(|of| of.degraded_since.is_some());
            self.degraded = degraded.map(|of| of.id).collect();
            self.mark_stale();
        }
    }

    fn poll_changes(&mut self, context: &mut Context<'_>) {
        while let Poll::Ready(notice) = Pin::new(&mut self.changes).poll_next(context) {
            match notice {
                Some(notice) => self.handle_notice(&notice),
                None => return self.state = State::Ended,
            }
        }
    }

    fn handle_notice(&mut self, notice: &Notice) {
        self.mark_stale();
        if let Notice::Event { event, .. } = notice
            && event.change == phin::Change::Degraded
        {
            self.degraded.insert(event.member.id());
        }
        // The end of a degradation by a death, a restart or a change of observers has no event of its own.
        if !self.degraded.is_empty() || matches!(notice, Notice::Missed { .. }) {
            self.asked = Some(ask_degraded(self.cluster.clone()));
        }
    }

    /// Notes which services the balancer dropped. Those that it was told to remove are no longer known.
    fn handle_drops(&mut self) {
        let now = Instant::now();
        for Known { member, service, backoff } in self.services.values_mut() {
            if let Service::Inserted { fate, at } = service
                && fate.is_dropped()
            {
                let delay = backoff.fail(now - *at);
                debug!(member = %member.id(), name = member.name(), ?delay, "a balancer dropped a service");
                *service = Service::Out { until: now + delay };
            }
        }
        self.mark_stale();
    }

    /// Compares the services with the newest list, and queues what the balancer is to change.
    fn reconcile(&mut self) {
        let members = self.changes.members();
        self.compared = Some(look(&members));
        let wanted = usable(&members, &self.filter, &self.degraded);
        let wanted: BTreeMap<_, _> =
            wanted.into_iter().map(|member| (member.id(), member)).collect();
        let queue = &mut self.queue;
        self.services.retain(|id, known| {
            let is_right =
                wanted.get(id).is_some_and(|member| has_same_target(member, &known.member));
            if !is_right && matches!(known.service, Service::Inserted { .. }) {
                queue.push_back(Change::Remove(*id));
            }
            is_right
        });
        let now = Instant::now();
        for (id, member) in wanted {
            let known = self.services.entry(id).or_insert_with(|| Known {
                member,
                service: Service::Out { until: now },
                backoff: Backoff::default(),
            });
            if matches!(known.service, Service::Out { until } if until <= now) {
                known.service = match (self.make)(&known.member) {
                    Some(service) => {
                        let (life, fate) = Life::start(&self.drops);
                        self.queue.push_back(Change::Insert(id, Tracked::new(service, life)));
                        Service::Inserted { fate, at: now }
                    }
                    None => Service::None,
                };
            }
        }
        let outs = self.services.values().filter_map(|known| match known.service {
            Service::Out { until } => Some(until),
            Service::Inserted { .. } | Service::None => None,
        });
        self.retry = outs.min().map(|until| Box::pin(sleep_until(until)));
        self.state = State::Current;
    }
}

impl<S, M: FnMut(&Member) -> Option<S>> Stream for Discovery<S, M> {
    type Item = Result<Change<MemberId, Tracked<S>>, Infallible>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if let Some(change) = this.queue.pop_front() {
                return Poll::Ready(Some(Ok(change)));
            }
            if this.state != State::Ended {
                this.observe(context);
            }
            match this.state {
                State::Stale => this.reconcile(),
                State::Current => return Poll::Pending,
                State::Ended => return Poll::Ready(None),
            }
        }
    }
}

// Nothing in it is pinned: services and closure are moved.
impl<S, M> Unpin for Discovery<S, M> {}

impl<S, M> fmt::Debug for Discovery<S, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Discovery")
            .field("filter", &self.filter.to_string())
            .field("members", &self.services.keys())
            .finish_non_exhaustive()
    }
}

fn look(members: &Members) -> Look {
    (members.version(), members.fingerprint(), members.suppressed_len())
}

/// Polls a future, if there is one.
fn poll<F: Future + ?Sized>(
    future: &mut Option<Pin<Box<F>>>,
    context: &mut Context<'_>,
) -> Option<Poll<F::Output>> {
    future.as_mut().map(|future| future.as_mut().poll(context))
}

fn ask_degraded(cluster: Cluster) -> Asked<Vec<Unreached>> {
    Box::pin(async move { cluster.unreached().await })
}
