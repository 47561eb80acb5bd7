//! A balancer of `phin-tower` on one host, and services on four others. One of them is cut off in one direction: it leaves
//! rotation, no request fails from then on, and it returns once the cut heals.

use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    thread,
    time::{Duration, Instant},
};

use phin_tower::ClusterExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};
use tower::{Service, ServiceExt, balance::p2c::Balance, load::Constant};

use crate::{
    cluster::Cluster,
    lan::{Family, Lan},
    node::{KEY, PATIENCE, PORT},
};

/// Hosts 1 to 4 serve, host 5 asks.
const SERVICES: usize = 4;
const CLIENT: usize = SERVICES + 1;
/// The service that is cut off.
const CUT_OFF: usize = 2;
const SERVICE_PORT: u16 = 7700;
const REQUEST_INTERVAL: Duration = Duration::from_millis(5);
/// When the client gives a request or a connection up.
const TIMEOUT: Duration = Duration::from_millis(300);
/// A service gets none of so many requests only if it is out of rotation: otherwise that happens once in 10³⁷ tests.
const QUIET: usize = 300;

#[derive(Clone, Copy, Debug)]
enum Client {
    /// Its services are always ready, so only phin takes them out of rotation.
    TrustsPhin,
    /// Its services connect before they are ready, and fail with their connections.
    Connects,
}

#[test]
fn a_service_that_is_cut_off_one_way_leaves_rotation_until_the_cut_heals() {
    let arguments = ["--tag", "role=web", "--tag", &format!("port={SERVICE_PORT}")];
    let Some(mut cluster) = Cluster::start(Family::V4, SERVICES, &arguments) else { return };
    cluster.lan.add_host().unwrap();
    let cuts: [(&str, Cut); 2] = [("sends nothing", mute), ("receives nothing", deafen)];
    let cuts_of_client: [(&str, Cut); 2] =
        [("is not heard by the client", unheard), ("hears all but the client", unheard_of)];
    for (client, all) in [
        (Client::TrustsPhin, &cuts[..]),
        (Client::Connects, &cuts),
        (Client::Connects, &cuts_of_client),
    ] {
        let log = Log::default();
        with_client(&cluster.lan, client, &log, || {
            all.iter().for_each(|(what, cut)| {
                check(&cluster.lan, &log, &format!("{client:?}: a service that {what}"), *cut);
            });
        });
    }
}

type Cut = fn(&Lan);

fn mute(lan: &Lan) {
    lan.mute(CUT_OFF);
}

fn deafen(lan: &Lan) {
    lan.deafen(CUT_OFF);
}

fn unheard(lan: &Lan) {
    lan.cut_one_way(CUT_OFF, CLIENT);
}

fn unheard_of(lan: &Lan) {
    lan.cut_one_way(CLIENT, CUT_OFF);
}

fn check(lan: &Lan, log: &Log, what: &str, cut: Cut) {
    log.until("all are asked", |requests| {
        (1..=SERVICES).all(|number| requests.iter().any(|request| request.succeeded(number)))
    });
    log.clear();
    let began = Instant::now();
    cut(lan);
    log.until("out of rotation", |requests| {
        let last = requests.iter().rev().take(QUIET).filter(|request| request.to != CUT_OFF);
        last.count() == QUIET
    });
    let last = log.lock().iter().filter(|request| request.to == CUT_OFF).map(|r| r.sent).max();
    let removed = last.unwrap_or(began);
    log.until("some more", |requests| {
        requests.iter().filter(|r| r.sent > removed).count() > 2 * QUIET
    });
    let healed = Instant::now();
    lan.heal();
    log.until("in rotation again", |requests| {
        requests.iter().any(|request| request.sent > healed && request.succeeded(CUT_OFF))
    });
    let requests = log.lock();
    let failed = |r: &&Request| r.ended == Some(false);
    let before = requests.iter().filter(|r| r.sent <= removed).filter(failed).count();
    let late: Vec<_> = requests.iter().filter(|r| r.sent > removed).filter(failed).collect();
    let early = requests.iter().find(|r| r.sent > removed && r.sent < healed && r.to == CUT_OFF);
    assert!(late.is_empty() && early.is_none(), "{what}: failed {late:?}, asked {early:?}");
    let wrong = requests.iter().find(|request| !request.was_alive);
    assert!(wrong.is_none(), "{what}: {wrong:?} goes to a suspect");
    let took = removed.saturating_duration_since(began);
    let line = format!("{what} is asked last {took:.0?} after the cut; {before} requests fail\n");
    io::Write::write_all(&mut io::stderr(), line.as_bytes()).unwrap();
}

/// A request that was sent.
#[derive(Clone, Copy, Debug)]
struct Request {
    to: usize,
    sent: Instant,
    /// Whether the client held the member for alive then.
    was_alive: bool,
    /// Whether it succeeded, once it ended.
    ended: Option<bool>,
}

impl Request {
    fn succeeded(&self, to: usize) -> bool {
        self.to == to && self.ended == Some(true)
    }
}

/// All requests in the order in which they were sent.
#[derive(Clone, Default)]
struct Log(Arc<(Mutex<Vec<Request>>, Condvar)>);

impl Log {
    fn lock(&self) -> MutexGuard<'_, Vec<Request>> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn clear(&self) {
        self.lock().clear();
    }

    fn begin(&self, to: usize, was_alive: bool) -> Instant {
        let sent = Instant::now();
        self.lock().push(Request { to, sent, was_alive, ended: None });
        sent
    }

    fn end(&self, to: usize, sent: Instant, is_ok: bool) {
        let mut requests = self.lock();
        if let Some(request) = requests.iter_mut().find(|r| (r.to, r.sent) == (to, sent)) {
            request.ended = Some(is_ok);
        }
        drop(requests);
        self.0.1.notify_all();
    }

    fn until(&self, what: &str, is_so: impl Fn(&[Request]) -> bool) {
        let began = Instant::now();
        let mut requests = self.lock();
        while !is_so(&requests) {
            let left = PATIENCE.checked_sub(began.elapsed()).filter(|left| !left.is_zero());
            let left = left
                .unwrap_or_else(|| panic!("not {what} among {:?}", requests.iter().rev().take(20)));
            requests =
                self.0.1.wait_timeout(requests, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Runs the services and the client on their hosts while `work` does something to their network.
fn with_client(lan: &Lan, client: Client, log: &Log, work: impl FnOnce()) {
    let (stop, stopped) = watch::channel(());
    let seed = SocketAddr::from((lan.ip(1), PORT));
    thread::scope(|scope| {
        // Dropped when `work` returns or fails. All threads end then.
        let _stop = stop;
        for number in 1..=CLIENT {
            let (host, ip, mut stopped) = (lan.host(number), lan.ip(number), stopped.clone());
            let log = log.clone();
            let task = async move {
                let work = async {
                    match number {
                        CLIENT => ask(client, log, ip, seed).await,
                        _ => serve(ip).await,
                    }
                };
                tokio::select! {
                    result = work => result.unwrap(),
                    _ = stopped.changed() => {}
                }
            };
            scope.spawn(move || {
                host.run(|| {
                    let runtime =
                        tokio::runtime::Builder::new_current_thread().enable_all().build();
                    runtime.unwrap().block_on(task);
                });
            });
        }
        work();
    });
}

/// Answers each byte on each connection.
async fn serve(ip: IpAddr) -> io::Result<()> {
    let listener = TcpListener::bind((ip, SERVICE_PORT)).await?;
    let mut connections = JoinSet::new();
    loop {
        let (mut stream, _) = listener.accept().await?;
        connections.spawn(async move {
            while let Ok(byte) = stream.read_u8().await
                && stream.write_u8(byte).await.is_ok()
            {}
        });
    }
}

/// Sends requests for ever.
async fn ask(client: Client, log: Log, ip: IpAddr, seed: SocketAddr) -> io::Result<()> {
    let key: phin::ClusterKey = KEY.parse().map_err(io::Error::other)?;
    let builder = phin::Cluster::builder().name("client").key(key).bind((ip, PORT).into());
    let cluster = builder.seeds([seed]).start().await.map_err(io::Error::other)?;
    let filter = "role=web".parse().map_err(io::Error::other)?;
    let known = cluster.clone();
    let services = cluster.discover(filter, move |member| {
        let addr = SocketAddr::new(member.addr().ip(), member.tag("port")?.parse().ok()?);
        let number = member.name().strip_prefix('n')?.parse().ok()?;
        let of = Of { cluster: known.clone(), id: member.id(), number, addr };
        Some(Constant::new(Backend::new(client, of, log.clone()), 1))
    });
    let mut balance = Balance::new(services);
    let (mut ticks, mut requests) = (interval(REQUEST_INTERVAL), JoinSet::new());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let request = balance.ready().await.map_err(io::Error::other)?.call(());
        requests.spawn(request);
        while requests.try_join_next().is_some() {}
    }
}

/// A member that serves, as a client knows it.
struct Of {
    cluster: phin::Cluster,
    id: phin::MemberId,
    number: usize,
    addr: SocketAddr,
}

impl Of {
    fn is_alive(&self) -> bool {
        let members = self.cluster.members();
        members.get(self.id).is_some_and(|member| member.state() == phin::MemberState::Alive)
    }
}

/// The service of one member.
struct Backend {
    of: Of,
    log: Log,
    connection: Connection,
}

enum Connection {
    /// One for each request.
    Each,
    Opening(Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>),
    /// One for all requests, and whether it failed.
    Open(Arc<tokio::sync::Mutex<TcpStream>>, Arc<AtomicBool>),
}

impl Backend {
    fn new(client: Client, of: Of, log: Log) -> Self {
        let connection = match client {
            Client::TrustsPhin => Connection::Each,
            Client::Connects => Connection::Opening(Box::pin(open(of.addr))),
        };
        Self { of, log, connection }
    }
}

impl Service<()> for Backend {
    type Response = ();
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Connection::Opening(opening) = &mut self.connection {
            let stream = ready!(opening.as_mut().poll(context))?;
            self.connection = Connection::Open(Arc::new(stream.into()), Arc::default());
        }
        let has_failed = match &self.connection {
            Connection::Each | Connection::Opening(_) => false,
            Connection::Open(_, has_failed) => has_failed.load(Ordering::Relaxed),
        };
        let failed = io::ErrorKind::ConnectionAborted;
        Poll::Ready(if has_failed { Err(failed.into()) } else { Ok(()) })
    }

    fn call(&mut self, (): ()) -> Self::Future {
        let (log, number, addr) = (self.log.clone(), self.of.number, self.of.addr);
        let open_one = match &self.connection {
            Connection::Open(stream, has_failed) => Some((stream.clone(), has_failed.clone())),
            Connection::Each | Connection::Opening(_) => None,
        };
        let sent = log.begin(number, self.of.is_alive());
        Box::pin(async move {
            let exchange = async {
                match &open_one {
                    Some((stream, _)) => exchange(&mut *stream.lock().await).await,
                    None => exchange(&mut open(addr).await?).await,
                }
            };
            let result = in_time(exchange).await;
            if let (Err(_), Some((_, has_failed))) = (&result, &open_one) {
                has_failed.store(true, Ordering::Relaxed);
            }
            log.end(number, sent, result.is_ok());
            result
        })
    }
}

async fn open(addr: SocketAddr) -> io::Result<TcpStream> {
    in_time(TcpStream::connect(addr)).await
}

async fn exchange(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_u8(1).await?;
    stream.read_u8().await.map(drop)
}

async fn in_time<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(TIMEOUT, work).await?
}
