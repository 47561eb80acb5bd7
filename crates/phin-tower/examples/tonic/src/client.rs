//! [`channel`]: a balanced channel over the members that serve.

use std::{
    fmt,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use phin::{Cluster, Filter, Member, MemberId};
use phin_tower::ClusterExt;
use tonic::{
    Status,
    body::Body,
    transport::{Channel, Endpoint},
};
use tower::{
    Service, ServiceBuilder, ServiceExt,
    balance::p2c::Balance,
    load::{CompleteOnResponse, PendingRequestsDiscover},
    timeout::error::Elapsed,
    util::BoxCloneSyncService,
};

use crate::{ADDR_TAG, Error};

/// A channel for generated clients. Clones share its connections.
pub type BalancedChannel = BoxCloneSyncService<http::Request<Body>, http::Response<Body>, Status>;

/// How long a call may take, the wait for a server included.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may take to come up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How many calls wait for a server at most. Further ones wait for room, without a place in the queue.
const MAX_WAITING: usize = 1_024;

/// A change of the servers in rotation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Rotation {
    /// This member is to be sent calls.
    In(MemberId),
    /// This member is no longer sent calls.
    Out(MemberId),
}

/// Balances calls over the members for which `filter` holds and which say where they serve. `report` learns each change.
///
/// A server is in rotation while it is alive and serving, by the rules of [`phin_tower`], and its connection is up. Of two such
/// servers, chosen at random, the one with fewer calls under way gets the next call.
pub fn channel(
    cluster: &Cluster,
    filter: Filter,
    report: impl Fn(Rotation) + Send + Sync + 'static,
) -> BalancedChannel {
    let report: Report = Arc::new(report);
    let discovery = cluster.discover(filter, move |member| {
        Some(Connection::new(grpc_addr(member)?, member.id(), Arc::clone(&report)))
    });
    let discovery = PendingRequestsDiscover::new(discovery, CompleteOnResponse::default());
    // Without a deadline, a call would wait for as long as there is no server.
    let service = ServiceBuilder::new()
        .timeout(CALL_TIMEOUT)
        .buffer(MAX_WAITING)
        .service(Balance::new(discovery));
    BoxCloneSyncService::new(service.map_err(|error: Error| match error.is::<Elapsed>() {
        true => Status::deadline_exceeded("no server answered in time"),
        false => Status::from_error(error),
    }))
}

/// Where a member serves, if it says so.
fn grpc_addr(member: &Member) -> Option<SocketAddr> {
    member.tag(ADDR_TAG)?.parse().ok()
}

/// One connection to one server, for a balancer: not ready until it is up, and failed for good once it broke.
///
/// A [`Channel`] is always ready: it connects again by itself, and fails the calls that it gets meanwhile, so a balancer never
/// drops it. This drops the broken connection, and the discovery opens another one after a delay, if the member is still there.
pub struct Connection {
    state: State,
    is_broken: Arc<AtomicBool>,
    server: MemberId,
    report: Report,
}

enum State {
    Opening(Pin<Box<dyn Future<Output = Result<Channel, tonic::transport::Error>> + Send>>),
    Open(Channel),
}

type Report = Arc<dyn Fn(Rotation) + Send + Sync>;

impl Connection {
    /// It is opened when a balancer first asks for it.
    fn new(addr: SocketAddr, server: MemberId, report: Report) -> Self {
        let opening = async move {
            let endpoint = Endpoint::from_shared(format!("http://{addr}"))?;
            endpoint.connect_timeout(CONNECT_TIMEOUT).connect().await
        };
        let (state, is_broken) = (State::Opening(Box::pin(opening)), Arc::default());
        Self { state, is_broken, server, report }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let State::Open(_) = self.state {
            (self.report)(Rotation::Out(self.server));
        }
    }
}

impl Service<http::Request<Body>> for Connection {
    type Response = http::Response<Body>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if self.is_broken.load(Ordering::Acquire) {
            return Poll::Ready(Err("the connection broke".into()));
        }
        if let State::Opening(opening) = &mut self.state {
            self.state = State::Open(ready!(opening.as_mut().poll(context))?);
            (self.report)(Rotation::In(self.server));
        }
        match &mut self.state {
            State::Open(channel) => channel.poll_ready(context).map_err(Into::into),
            State::Opening(_) => Poll::Pending,
        }
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let State::Open(channel) = &mut self.state else {
            panic!("a service is called only when it is ready");
        };
        let (answer, is_broken) = (channel.call(request), Arc::clone(&self.is_broken));
        Box::pin(async move {
            // An answer of the server, whatever its status, is a response. An error is the connection's.
            answer
                .await
                .inspect_err(|_| is_broken.store(true, Ordering::Release))
                .map_err(Into::into)
        })
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_open = matches!(self.state, State::Open(_));
        f.debug_struct("Connection")
            .field("server", &self.server)
            .field("is_open", &is_open)
            .finish_non_exhaustive()
    }
}
