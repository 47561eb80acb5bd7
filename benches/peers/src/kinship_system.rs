//! kinship: SWIM and Lifeguard over UDP and TCP, encrypted with a key that all nodes share.

use std::{net::SocketAddr, sync::Arc};

use kinship::{Cluster, Config, Event, Events, Key};
use phin_bench::{Node, Spec, Starting, System, Told};

/// kinship as its documentation sets it for a LAN: `Config::lan` with a key. Its period is phin's.
pub(crate) struct Kinship;

impl Kinship {
    fn config() -> Config {
        // A TCP connection over the loopback has its target's address as its source, so nodes that join at once count
        // as one host. The limit for a host (16) would drop their joins: a start of 32 took 1.4 s instead of 0.4 s, and
        // two of three starts of 128 were not complete after 40 s. On a LAN it drops nothing, so it is not used.
        Config::lan().with_max_inbound_streams_per_ip(MAX_INBOUND_STREAMS)
    }
}

impl System for Kinship {
    fn name(&self) -> &'static str {
        "kinship"
    }

    fn settings(&self) -> String {
        let config = Self::config();
        let core = config.core();
        format!(
            "kinship 0.5.0, UDP and TCP, encrypted; Config::lan(): period {:?}, probe timeout {:?}, gossip every {:?} to \
             {}, push-pull every {:?}, suspicion multiplier {} and at most {} times that; {MAX_INBOUND_STREAMS} inbound \
             streams per address, not 16, as all connections over the loopback seem to come from one",
            core.probe_interval,
            core.probe_timeout,
            core.gossip_interval,
            core.gossip_nodes,
            core.push_pull_interval,
            core.suspicion_mult,
            core.suspicion_max_mult,
        )
    }

    fn start(&'static self, spec: Spec, told: Told) -> Starting {
        Box::pin(async move {
            let key = key(&spec.secret).ok_or("the secret is not 32 bytes in hexadecimal")?;
            let config = Self::config()
                .with_name(spec.name)
                .with_bind((spec.ip, spec.port).into())
                .with_keys([key])
                .with_seeds(spec.seed);
            let node = Cluster::start(config).await.map_err(|error| error.to_string())?;
            let node = Arc::new(node);
            tokio::spawn(tell(Arc::clone(&node), node.events(), told));
            Ok(Box::new(Started(node)) as Box<dyn Node>)
        })
    }
}

/// The start includes the join, and events are those after it: the list comes first.
async fn tell(node: Arc<Cluster>, mut events: Events, told: Told) {
    let tell_all = || told.live(&node.members().into_iter().map(|member| member.name).collect());
    tell_all();
    while let Some(event) = events.recv().await {
        match event {
            Event::MemberJoined(member) => told.up(&member.name),
            Event::MemberDead(member) | Event::MemberLeft(member) => told.down(&member.name),
            Event::EventsLost(_) => tell_all(),
            _ => {}
        }
    }
}

fn key(secret: &str) -> Option<Key> {
    let byte = |at| u8::from_str_radix(secret.get(at..at + 2)?, 16).ok();
    let bytes: Option<Vec<u8>> = (0..secret.len()).step_by(2).map(byte).collect();
    Some(Key::from_bytes(bytes?.try_into().ok()?))
}

struct Started(Arc<Cluster>);

impl Node for Started {
    fn addr(&self) -> SocketAddr {
        self.0.local_addr()
    }
}

/// kinship's limit for all hosts together.
const MAX_INBOUND_STREAMS: usize = 64;
