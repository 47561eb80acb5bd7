//! foca: SWIM as a library without I/O, here over tokio's UDP sockets in clear, one task for each node.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    net::SocketAddr,
    num::NonZeroU32,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use foca::{
    AccumulatingRuntime, Config, NoCustomBroadcast, OwnedNotification, PostcardCodec, Timer,
};
use phin_bench::{Node, Spec, Starting, System, Told};
use rand::{SeedableRng, rngs::StdRng};
use serde::{Deserialize, Serialize};
use tokio::{
    net::UdpSocket,
    time::{Instant, sleep_until},
};

/// foca with one of its presets.
#[derive(Clone, Copy)]
pub(crate) enum Foca {
    /// `Config::new_lan`: memberlist's timings. Its period is phin's.
    Lan,
    /// `Config::simple`: SWIM without extensions.
    Simple,
}

impl Foca {
    fn config(self, members: usize) -> Config {
        let members = u32::try_from(members).ok().and_then(NonZeroU32::new);
        match self {
            Self::Lan => Config::new_lan(members.unwrap_or(NonZeroU32::MIN)),
            Self::Simple => Config::simple(),
        }
    }
}

impl System for Foca {
    fn name(&self) -> &'static str {
        match self {
            Self::Lan => "foca",
            Self::Simple => "foca-simple",
        }
    }

    fn settings(&self) -> String {
        let config = self.config(64);
        let (preset, gossip) = match self {
            Self::Lan => ("new_lan(members)", "gossip every 200 ms to 3"),
            Self::Simple => ("simple()", "no periodic gossip"),
        };
        format!(
            "foca 2.0.0, UDP in clear, postcard; {preset}: period {:?}, probe_rtt {:?}, {gossip}, suspect to down after \
             {:?} with 64 members",
            config.probe_period, config.probe_rtt, config.suspect_to_down_after,
        )
    }

    fn start(&'static self, spec: Spec, told: Told) -> Starting {
        Box::pin(async move {
            let socket = UdpSocket::bind((spec.ip, spec.port)).await;
            let socket = Arc::new(socket.map_err(|error| error.to_string())?);
            let addr = socket.local_addr().map_err(|error| error.to_string())?;
            let number = spec.name.trim_start_matches('n').parse::<u32>();
            let number = number.map_err(|error| error.to_string())?;
            let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let identity = Identity { addr, number, bump: started.as_secs() };
            let seed = spec.seed.map(|addr| Identity { addr, number: 0, bump: 0 });
            let config = self.config(spec.members);
            tokio::spawn(run(config, identity, seed, socket, told));
            Ok(Box::new(Started { addr }) as Box<dyn Node>)
        })
    }
}

struct Started {
    addr: SocketAddr,
}

impl Node for Started {
    fn addr(&self) -> SocketAddr {
        self.addr
    }
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
struct Identity {
    addr: SocketAddr,
    number: u32,
    bump: u64,
}

impl foca::Identity for Identity {
    type Addr = SocketAddr;

    fn renew(&self) -> Option<Self> {
        Some(Self { bump: self.bump.wrapping_add(1), ..self.clone() })
    }

    fn addr(&self) -> SocketAddr {
        self.addr
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        self.bump > adversary.bump
    }
}

/// A timer, in the order in which timers are due.
type Due = Reverse<(Instant, Timer<Identity>)>;

async fn run(
    config: Config,
    identity: Identity,
    seed: Option<Identity>,
    socket: Arc<UdpSocket>,
    told: Told,
) {
    let mut buffer = vec![0; config.max_packet_size.get()];
    let mut foca = foca::Foca::<_, _, _, NoCustomBroadcast>::new(
        identity,
        config,
        StdRng::from_rng(&mut rand::rng()),
        PostcardCodec,
    );
    let mut runtime = AccumulatingRuntime::new();
    let mut timers = BinaryHeap::<Due>::new();
    // Errors of foca are datagrams that it does not like, or timers of its past; it goes on after any.
    if let Some(seed) = seed {
        let _ = foca.announce(seed, &mut runtime);
    }
    loop {
        while let Some((to, payload)) = runtime.to_send() {
            let _ = socket.send_to(&payload, to.addr).await;
        }
        let now = Instant::now();
        while let Some((delay, timer)) = runtime.to_schedule() {
            timers.push(Reverse((now + delay, timer)));
        }
        while let Some(notification) = runtime.to_notify() {
            match notification {
                OwnedNotification::MemberUp(member) => told.up(&name(&member)),
                OwnedNotification::MemberDown(member) => told.down(&name(&member)),
                _ => {}
            }
        }
        let due = timers.peek().map(|Reverse((due, _))| *due);
        tokio::select! {
            biased;
            received = socket.recv_from(&mut buffer) => {
                if let Ok((length, _)) = received {
                    let _ = foca.handle_data(&buffer[..length], &mut runtime);
                }
            }
            () = sleep_until(due.unwrap_or(now + Duration::from_secs(3600))), if due.is_some() => {
                if let Some(Reverse((_, timer))) = timers.pop() {
                    let _ = foca.handle_timer(timer, &mut runtime);
                }
            }
        }
    }
}

fn name(member: &Identity) -> String {
    format!("n{}", member.number)
}
