//! [`Tracked`]: a service that reports when a balancer drops it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use futures_util::task::AtomicWaker;
use tower::{Service, load::Load};

/// The service of a member, as `make` returned it. Its [`Discovery`](crate::Discovery) notices when it is dropped.
#[derive(Debug)]
pub struct Tracked<S> {
    service: S,
    life: Life,
}

impl<S> Tracked<S> {
    pub(crate) const fn new(service: S, life: Life) -> Self {
        Self { service, life }
    }

    /// The service.
    pub const fn get_ref(&self) -> &S {
        &self.service
    }

    /// The service alone. The discovery does not notice when it is dropped, and so does not insert it again. For balancers that
    /// replace failed connections themselves, such as tonic's.
    pub fn into_inner(self) -> S {
        let Self { service, mut life } = self;
        life.is_watched = false;
        service
    }
}

impl<S: Service<Request>, Request> Service<Request> for Tracked<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> S::Future {
        self.service.call(request)
    }
}

impl<S: Load> Load for Tracked<S> {
    type Metric = S::Metric;

    fn load(&self) -> S::Metric {
        self.service.load()
    }
}

/// Whether one service was dropped.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fate(Arc<AtomicBool>);

impl Fate {
    pub(crate) fn is_dropped(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// The state to which all services of a discovery report.
#[derive(Debug, Default)]
pub(crate) struct Drops {
    has_new: AtomicBool,
    waker: AtomicWaker,
}

impl Drops {
    /// Whether a service was dropped since the last call. If not, the task of the context is woken when one is.
    pub(crate) fn poll(&self, context: &Context<'_>) -> bool {
        // First the waker: a service that is dropped in between wakes it.
        self.waker.register(context.waker());
        self.has_new.swap(false, Ordering::AcqRel)
    }
}

/// Lives as long as a service.
#[derive(Debug)]
pub(crate) struct Life {
    fate: Fate,
    drops: Arc<Drops>,
    is_watched: bool,
}

impl Life {
    pub(crate) fn start(drops: &Arc<Drops>) -> (Self, Fate) {
        let fate = Fate::default();
        (Self { fate: fate.clone(), drops: Arc::clone(drops), is_watched: true }, fate)
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        if self.is_watched {
            self.fate.0.store(true, Ordering::Release);
            self.drops.has_new.store(true, Ordering::Release);
            self.drops.waker.wake();
        }
    }
}
