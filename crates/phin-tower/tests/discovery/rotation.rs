//! [`Rotation`]: what a balancer has of a discovery, without a balancer.

use std::{
    collections::BTreeMap,
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures_core::Stream;
use phin::{Cluster, Member, MemberId};
use phin_tower::{ClusterExt, Discovery, Tracked};
use tokio::time::timeout;
use tower::discover::Change;

type Make = Box<dyn FnMut(&Member) -> Option<String>>;

/// The services that are inserted, each the name, generation and port of its member.
pub(crate) struct Rotation {
    discovery: Discovery<String, Make>,
    services: BTreeMap<MemberId, Tracked<String>>,
    /// How often a service was made.
    made: Arc<Mutex<usize>>,
    has_ended: bool,
}

impl Rotation {
    /// The members with the role `web`, if their port is known.
    pub(crate) fn of(cluster: &Cluster) -> Self {
        let made = Arc::new(Mutex::new(0));
        let counted = Arc::clone(&made);
        let make: Make = Box::new(move |member: &Member| {
            *counted.lock().unwrap() += 1;
            let port = member.tag("port")?;
            Some(format!("{}/{}:{port}", member.name(), member.generation().0))
        });
        let discovery = cluster.discover("role=web".parse().unwrap(), make);
        Self { discovery, services: BTreeMap::new(), made, has_ended: false }
    }

    /// Takes the changes that there are.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) {
        while let Poll::Ready(change) = Pin::new(&mut self.discovery).poll_next(context) {
            match change {
                Some(Ok(Change::Insert(id, service))) => {
                    let before = self.services.insert(id, service);
                    assert!(before.is_none(), "{before:?} is removed before it is inserted anew");
                }
                Some(Ok(Change::Remove(id))) => {
                    self.services.remove(&id).expect("only what was inserted is removed");
                }
                None => return self.has_ended = true,
            }
        }
    }

    /// The services now.
    pub(crate) fn now(&mut self) -> Vec<String> {
        self.poll(&mut Context::from_waker(Waker::noop()));
        self.services.values().map(|service| service.get_ref().clone()).collect()
    }

    /// The names of the members whose services are in rotation now.
    pub(crate) fn names(&mut self) -> String {
        let services = self.now();
        let mut names: Vec<_> = services.iter().filter_map(|text| text.split('/').next()).collect();
        names.sort();
        names.join(" ")
    }

    /// Waits until the services of these members are in rotation, woken by nothing but the discovery.
    pub(crate) async fn until(&mut self, names: &str) {
        let reached = poll_fn(|context| {
            self.poll(context);
            // The waker that was registered last is that of this task.
            let found = self.names();
            self.poll(context);
            if found == names { Poll::Ready(()) } else { Poll::Pending }
        });
        let reached = timeout(Duration::from_secs(60), reached).await;
        assert!(reached.is_ok(), "wanted {names:?}, found {:?}", self.names());
    }

    /// Drops the service of a member, as a balancer does if it fails.
    pub(crate) fn fail(&mut self, id: MemberId) {
        self.services.remove(&id).expect("it is in rotation");
    }

    /// Takes the service of a member out of the discovery's sight.
    pub(crate) fn take(&mut self, id: MemberId) -> String {
        self.services.remove(&id).expect("it is in rotation").into_inner()
    }

    pub(crate) fn made(&self) -> usize {
        *self.made.lock().unwrap()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.now();
        self.has_ended
    }
}
