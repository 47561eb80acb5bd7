//! A `p2c` balancer over nodes and services on loopback sockets.

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use phin::{Member, MemberState, Members, ServingState, testing::TestCluster};
use phin_tower::{ClusterExt, Discovery};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};
use tower::{
    Service, ServiceExt,
    balance::p2c::Balance,
    load::{Constant, Load},
    service_fn,
};

/// Answers each connection with its number.
struct Server {
    addr: SocketAddr,
    served: Arc<AtomicUsize>,
    tasks: JoinSet<()>,
}

impl Server {
    async fn start(number: u8, addr: SocketAddr) -> Self {
        let listener = TcpListener::bind(addr).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let served = Arc::new(AtomicUsize::new(0));
        let (counted, mut tasks) = (Arc::clone(&served), JoinSet::new());
        tasks.spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0];
                if stream.read_exact(&mut request).await.is_ok() {
                    counted.fetch_add(1, Ordering::Relaxed);
                    // A client that went away reads no answer.
                    let _ = stream.write_all(&[number]).await;
                }
            }
        });
        Self { addr, served, tasks }
    }

    /// Closes the port.
    async fn stop(&mut self) {
        self.tasks.shutdown().await;
    }
}

/// A request on a connection of its own.
async fn request(addr: SocketAddr) -> io::Result<u8> {
    let mut stream = TcpStream::connect(addr).await?;
    stream.write_all(b"?").await?;
    stream.read_u8().await
}

fn service_addr(member: &Member) -> Option<SocketAddr> {
    Some(SocketAddr::new(member.addr().ip(), member.tag("port")?.parse().ok()?))
}

/// Sends so many requests. Returns the numbers of the servers that answered, or an error.
async fn calls<S, M>(
    balance: &mut Balance<Discovery<S, M>, ()>,
    count: usize,
) -> io::Result<BTreeSet<u8>>
where
    S: Service<(), Response = u8, Error = io::Error> + Load<Metric = u32>,
    M: FnMut(&Member) -> Option<S> + Unpin,
{
    let mut answers = BTreeSet::new();
    for _ in 0..count {
        let ready = timeout(Duration::from_secs(60), balance.ready()).await.expect("one is ready");
        let answer = ready.map_err(io::Error::other)?.call(()).await;
        answers.insert(answer.map_err(io::Error::other)?);
    }
    Ok(answers)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_fail_nowhere_after_a_death_is_noticed_nor_while_all_restart() {
    const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let mut servers = Vec::new();
    for number in 0..4 {
        servers.push(Server::start(number, (LOCALHOST, 0).into()).await);
    }
    let ports: Vec<_> = servers.iter().map(|server| server.addr.port().to_string()).collect();
    let builder =
        TestCluster::builder().on_sockets().configure(move |number, builder| match number {
            0 => builder.name("client"),
            _ => builder.tag("role", "web").tag("port", &*ports[number]),
        });
    let mut cluster = builder.start(4).await;
    let client = cluster.node(0).clone();
    let services = client.discover("role=web".parse().unwrap(), |member| {
        let addr = service_addr(member)?;
        Some(Constant::new(service_fn(move |(): ()| request(addr)), 1))
    });
    let mut balance = Balance::new(services);
    until_all_answer(&mut balance, [1, 2, 3]).await;

    // Each drains, is restarted at the same address, and is used again: no request fails at any time.
    for number in [1, 2, 3] {
        let id = cluster.node(number).id();
        cluster.node(number).set_serving(ServingState::Draining).await.unwrap();
        let drains = |member: &Member| member.serving() == ServingState::Draining;
        client.wait_until(|members| members.get(id).is_some_and(|m| drains(m))).await.unwrap();
        let answers = calls(&mut balance, 60).await.unwrap();
        assert!(!answers.contains(&(number as u8)), "{number}: {answers:?}");
        servers[number].stop().await;
        servers[number] = Server::start(number as u8, servers[number].addr).await;
        cluster.restart(number).await;
        until_all_answer(&mut balance, [1, 2, 3]).await;
    }

    // Once the client has noticed a death or a hung process, no request goes there.
    for (number, others) in [(2, &[1, 3][..]), (1, &[3])] {
        let id = cluster.node(number).id();
        match number {
            2 => {
                servers[2].stop().await;
                cluster.kill(2);
            }
            _ => cluster.pause(number),
        }
        let is_alive = |members: &Members| {
            members.get(id).is_some_and(|member| member.state() == MemberState::Alive)
        };
        client.wait_until(|members| !is_alive(members)).await.unwrap();
        let served = servers[number].served.load(Ordering::Relaxed);
        let answers = calls(&mut balance, 100).await.unwrap();
        assert!(answers.iter().all(|answer| others.contains(answer)), "{number}: {answers:?}");
        assert_eq!(servers[number].served.load(Ordering::Relaxed), served);
    }
}

/// Sends requests until each of these servers has answered one.
async fn until_all_answer<S, M>(balance: &mut Balance<Discovery<S, M>, ()>, servers: [u8; 3])
where
    S: Service<(), Response = u8, Error = io::Error> + Load<Metric = u32>,
    M: FnMut(&Member) -> Option<S> + Unpin,
{
    let mut missing = BTreeSet::from(servers);
    while !missing.is_empty() {
        for answer in calls(balance, 10).await.unwrap() {
            missing.remove(&answer);
        }
    }
}
