//! Measures a balancer over ten services on loopback under 200 requests per second: a rolling restart in which each service drains
//! first, then kills. `cargo run -p phin-tower --example rolling_restart`
#![expect(clippy::print_stdout, reason = "an example shows what happens")]

use std::{
    error::Error,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use phin::{Cluster, Member, MemberState, ServingState, testing::TestCluster};
use phin_tower::ClusterExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{Instant, interval, sleep},
};
use tower::{Service, ServiceExt, balance::p2c::Balance, load::Constant, service_fn};

const SERVICES: usize = 10;
const REQUESTS_PER_SECOND: u32 = 200;
/// How long a request takes at the service.
const WORK: Duration = Duration::from_millis(20);
const KILLS: usize = 8;

/// A service: it answers each connection after some work.
struct Server {
    addr: SocketAddr,
    tasks: JoinSet<()>,
}

impl Server {
    async fn start(addr: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut requests = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                requests.spawn(answer(stream));
                while requests.try_join_next().is_some() {}
            }
        });
        Ok(Self { addr, tasks })
    }

    /// Breaks all connections and closes the port.
    async fn kill(&mut self) {
        self.tasks.shutdown().await;
    }
}

async fn answer(mut stream: TcpStream) -> io::Result<()> {
    stream.read_u8().await?;
    sleep(WORK).await;
    stream.write_all(b"!").await
}

async fn request(addr: SocketAddr) -> io::Result<u8> {
    let mut stream = TcpStream::connect(addr).await?;
    stream.write_all(b"?").await?;
    stream.read_u8().await
}

/// The requests so far.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<(Instant, bool)>>>);

impl Log {
    fn note(&self, sent: Instant, is_ok: bool) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((sent, is_ok));
    }

    /// How many requests were sent since then, and when those that failed were sent.
    fn since(&self, since: Instant) -> (usize, Vec<Duration>) {
        let requests = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sent: Vec<_> = requests.iter().filter(|(at, _)| *at >= since).collect();
        let failed = sent.iter().filter(|(_, is_ok)| !is_ok).map(|(at, _)| *at - since);
        (sent.len(), failed.collect())
    }
}

/// Sends requests through a balancer, for ever.
async fn send(cluster: Cluster, log: Log) -> Result<(), Box<dyn Error + Send + Sync>> {
    let services = cluster.discover("role=web".parse()?, |member: &Member| {
        let addr = SocketAddr::new(member.addr().ip(), member.tag("port")?.parse().ok()?);
        Some(Constant::new(service_fn(move |(): ()| request(addr)), 1))
    });
    let mut balance = Balance::new(services);
    let mut ticks = interval(Duration::from_secs(1) / REQUESTS_PER_SECOND);
    loop {
        ticks.tick().await;
        let (sent, log) = (Instant::now(), log.clone());
        let answer = balance.ready().await?.call(());
        tokio::spawn(async move { log.note(sent, answer.await.is_ok()) });
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut servers = Vec::new();
    for _ in 0..SERVICES {
        servers.push(Server::start((Ipv4Addr::LOCALHOST, 0).into()).await?);
    }
    let ports: Vec<_> = servers.iter().map(|server| server.addr.port().to_string()).collect();
    // Timings of a LAN, although all is on one machine.
    let builder = TestCluster::builder().on_sockets().configure(move |number, builder| match ports
        .get(number)
    {
        Some(port) => builder.lan().tag("role", "web").tag("port", &**port),
        None => builder.lan().name("client"),
    });
    let mut cluster = builder.start(SERVICES + 1).await;
    let client = cluster.node(SERVICES).clone();
    let log = Log::default();
    let sending = tokio::spawn(send(client.clone(), log.clone()));
    sleep(Duration::from_secs(1)).await;

    let began = Instant::now();
    for (number, server) in servers.iter_mut().enumerate() {
        cluster.node(number).set_serving(ServingState::Draining).await?;
        // So long that all members know, and that requests under way are done.
        sleep(Duration::from_millis(500) + WORK * 2).await;
        server.kill().await;
        *server = Server::start(server.addr).await?;
        cluster.restart(number).await;
        sleep(Duration::from_millis(500)).await;
    }
    let (sent, failed) = log.since(began);
    println!("rolling restart of {SERVICES} services: {sent} requests, {} failed", failed.len());

    for (number, server) in servers.iter_mut().enumerate().take(KILLS) {
        cluster.converged().await;
        sleep(Duration::from_secs(2)).await;
        let (id, killed) = (cluster.node(number).id(), Instant::now());
        cluster.kill(number);
        server.kill().await;
        client
            .wait_until(|members| members.get(id).is_none_or(|m| m.state() != MemberState::Alive))
            .await?;
        let removed = killed.elapsed();
        sleep(Duration::from_secs(3)).await;
        let (sent, failed) = log.since(killed);
        let after = failed.iter().filter(|&&at| at > removed).count();
        println!(
            "kill {number}: out of rotation after {removed:.0?}; of {sent} requests, {} failed before and {after} after",
            failed.len() - after,
        );
        *server = Server::start(server.addr).await?;
        cluster.restart(number).await;
    }
    sending.abort();
    Ok(())
}
