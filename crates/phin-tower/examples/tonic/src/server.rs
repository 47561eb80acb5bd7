//! [`Server`]: a server that is a member, and how it stops without failing a call.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use phin::{Builder, Cluster, ServingState};
use tokio::{
    net::TcpListener,
    sync::oneshot,
    task::JoinHandle,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Response, Status};

use crate::{
    ADDR_TAG, Error,
    echo::{Echo, EchoServer, Reply, Request},
};

/// A draining server that got no call for this long is known to drain.
const QUIET: Duration = Duration::from_millis(500);
/// A draining server stops after this time, even if there are still calls.
const MAX_DRAIN: Duration = Duration::from_secs(30);
/// How long a server waits for others to know that it leaves.
const LEAVE: Duration = Duration::from_secs(2);

/// A gRPC server, and its node.
#[derive(Debug)]
pub struct Server {
    node: Cluster,
    addr: SocketAddr,
    last_call: LastCall,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), tonic::transport::Error>>,
}

impl Server {
    /// Serves on `listen`, and starts the node that says so.
    ///
    /// # Errors
    /// The address cannot be bound, or the node cannot be started.
    pub async fn start(builder: Builder, listen: SocketAddr) -> Result<Self, Error> {
        let listener = TcpListener::bind(listen).await?;
        let addr = listener.local_addr()?;
        // Clients learn of a server that already listens.
        let node = builder.tag("role", "echo").tag(ADDR_TAG, addr.to_string()).start().await?;
        let last_call = LastCall::default();
        let service = Service { name: node.name().to_owned(), last_call: last_call.clone() };
        let (stop, stopped) = oneshot::channel();
        let server = tonic::transport::Server::builder().add_service(EchoServer::new(service));
        let incoming = TcpListenerStream::new(listener);
        let task = tokio::spawn(server.serve_with_incoming_shutdown(incoming, async move {
            // A server that is dropped stops, too.
            let _ = stopped.await;
        }));
        Ok(Self { node, addr, last_call, stop, task })
    }

    /// Where it serves gRPC.
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its node.
    pub const fn node(&self) -> &Cluster {
        &self.node
    }

    /// Stops without failing a call: has the clients send no more, finishes the calls under way, and leaves the cluster.
    ///
    /// # Errors
    /// The server or its node has failed.
    pub async fn drain(self) -> Result<(), Error> {
        self.node.set_serving(ServingState::Draining).await?;
        let drained = self.last_call.quiet_since(Instant::now());
        // Calls that come in later end as those of a server that dies.
        let _ = timeout(MAX_DRAIN, drained).await;
        let _ = self.stop.send(());
        self.task.await??;
        self.node.leave(LEAVE).await?;
        Ok(())
    }
}

/// When the last call came.
#[derive(Clone, Debug, Default)]
struct LastCall(Arc<Mutex<Option<Instant>>>);

impl LastCall {
    fn note(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Waits until no call came for [`QUIET`], counted from `since` if none came after that.
    async fn quiet_since(&self, since: Instant) {
        loop {
            let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let quiet_at = last.map_or(since, |last| last.max(since)) + QUIET;
            if quiet_at <= Instant::now() {
                return;
            }
            sleep_until(quiet_at).await;
        }
    }
}

/// The service.
#[derive(Debug)]
struct Service {
    name: String,
    last_call: LastCall,
}

#[tonic::async_trait]
impl Echo for Service {
    async fn echo(&self, request: tonic::Request<Request>) -> Result<Response<Reply>, Status> {
        self.last_call.note();
        let Request { text, work_millis } = request.into_inner();
        sleep(Duration::from_millis(work_millis.into())).await;
        Ok(Response::new(Reply { text, server: self.name.clone() }))
    }
}
