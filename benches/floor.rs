//! Measures the cost of a calm node's packets without phin: the same number and lengths, over plain UDP and tokio.
//! Each period a node sends a ping, which is answered, and the answer is acknowledged, as in QUIC. Nothing is
//! encrypted, stored or judged, so this is a lower bound for any membership with the same traffic. Compare `cargo
//! bench -p phin-benches --bench floor` with `cargo run --release -p phin --example bootstrap -- --nodes 64 --runs 1
//! --steady 60`.

use std::{
    error::Error,
    io::{self, Write},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use phin_bench::cpu_millis;
use tokio::{
    net::UdpSocket,
    runtime,
    time::{Instant, sleep, sleep_until},
};

fn main() -> Result<(), Box<dyn Error>> {
    let is_measured = std::env::args().any(|argument| argument == "--bench");
    let (nodes, time) = if is_measured { (64, MEASURED) } else { (2, PERIOD / 100) };
    let mut out = io::stdout().lock();
    writeln!(out, "{:>7}  {:>24}", "threads", "CPU ms a node and second")?;
    for threads in [1, 2] {
        let runtime =
            runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
        let millis = runtime.block_on(measure(nodes, time))?;
        writeln!(out, "{threads:>7}  {millis:>24.3}")?;
    }
    Ok(())
}

async fn measure(nodes: usize, time: Duration) -> io::Result<f64> {
    let mut sockets = Vec::new();
    for _ in 0..nodes {
        sockets.push(UdpSocket::bind("127.0.0.1:0").await?);
    }
    let addrs: Arc<[_]> = sockets.iter().map(UdpSocket::local_addr).collect::<io::Result<_>>()?;
    for (index, socket) in sockets.into_iter().enumerate() {
        tokio::spawn(node(socket, index, addrs.clone()));
    }
    sleep(time / 10).await;
    let before = cpu_millis(&[std::process::id()]);
    sleep(time).await;
    Ok((cpu_millis(&[std::process::id()]) - before) / time.as_secs_f64() / nodes as f64)
}

/// Pings its neighbours in turn, at moments spread over the period, and answers what comes.
async fn node(socket: UdpSocket, index: usize, addrs: Arc<[SocketAddr]>) -> io::Result<()> {
    let offset = PERIOD * u32::try_from(index).unwrap_or_default();
    let mut next = Instant::now() + offset / u32::try_from(addrs.len()).unwrap_or(1);
    let (mut turn, mut packet) = (0, [0; 1_500]);
    loop {
        tokio::select! {
            () = sleep_until(next) => {
                next += PERIOD;
                turn = turn % NEIGHBOURS + 1;
                // A full buffer loses the packet, as a network may.
                let _ = socket.try_send_to(&[PING; MESSAGE_BYTES], addrs[(index + turn) % addrs.len()]);
            }
            received = socket.recv_from(&mut packet) => {
                let (_, from) = received?;
                let _ = match packet[0] {
                    PING => socket.try_send_to(&[ANSWER; MESSAGE_BYTES], from),
                    ANSWER => socket.try_send_to(&[ACKNOWLEDGEMENT; ACKNOWLEDGEMENT_BYTES], from),
                    _ => Ok(0),
                };
            }
        }
    }
}

const PERIOD: Duration = Duration::from_secs(1);
const MEASURED: Duration = Duration::from_secs(30);
/// As many as there are rings.
const NEIGHBOURS: usize = 8;
const PING: u8 = 0;
const ANSWER: u8 = 1;
const ACKNOWLEDGEMENT: u8 = 2;
/// As QUIC's packets are on the wire, headers of IP and UDP left out.
const MESSAGE_BYTES: usize = 54;
const ACKNOWLEDGEMENT_BYTES: usize = 30;
