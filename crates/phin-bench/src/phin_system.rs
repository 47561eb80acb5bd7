//! phin as one of the systems that are measured.

use phin::{Change, Cluster, ClusterKey, Config, Notice, Subscription};

use crate::{Counting, Node, Spec, Starting, System, Told};

/// phin with one of its presets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Phin {
    /// [`Config::lan`], the default.
    Lan,
    /// [`Config::local`]: a period of 0.2 s, and a pause tolerance of 0.3 s.
    Fast,
    /// [`Config::wan`].
    Wan,
}

impl Phin {
    /// All of them.
    pub const ALL: [&'static dyn System; 3] = [&Self::Lan, &Self::Fast, &Self::Wan];

    fn config(self) -> Config {
        match self {
            Self::Lan => Config::lan(),
            Self::Fast => Config::local(),
            Self::Wan => Config::wan(),
        }
    }
}

impl System for Phin {
    fn name(&self) -> &'static str {
        match self {
            Self::Lan => "phin",
            Self::Fast => "phin-fast",
            Self::Wan => "phin-wan",
        }
    }

    fn settings(&self) -> String {
        let config = self.config();
        format!(
            "phin {}, QUIC, encrypted; preset of period {:?}, pause tolerance {:?}, hang tolerance {:?}, {} rings",
            env!("CARGO_PKG_VERSION"),
            config.period,
            config.pause_tolerance,
            config.hang_tolerance,
            config.rings,
        )
    }

    fn start(&'static self, spec: Spec, told: Told) -> Starting {
        Box::pin(async move {
            let key = spec.secret.parse::<ClusterKey>().map_err(|error| error.to_string())?;
            let builder = Cluster::builder().key(key).name(spec.name).config(self.config());
            let builder = builder.bind((spec.ip, spec.port).into());
            let builder = builder.seeds(spec.seed.map(|seed| seed.to_string()));
            let node = builder.start().await.map_err(|error| error.to_string())?;
            tokio::spawn(tell(node.subscribe(), told));
            Ok(Box::new(Started(node)) as Box<dyn Node>)
        })
    }
}

struct Started(Cluster);

impl Node for Started {
    fn addr(&self) -> std::net::SocketAddr {
        self.0.local_addr()
    }

    fn connections(&self) -> Counting<'_> {
        Box::pin(async {
            let transport = self.0.stats().await.ok()?.transport;
            Some(transport.connections + transport.connections_draining)
        })
    }
}

async fn tell(mut changes: Subscription, told: Told) {
    while let Some(notice) = changes.next().await {
        match notice {
            Notice::Snapshot(members) | Notice::Missed { members, .. } => {
                told.live(&members.live().map(|member| member.name().to_owned()).collect());
            }
            Notice::Event { event, .. } => match event.change {
                Change::Joined | Change::Alive => told.up(event.member.name()),
                Change::Dead | Change::Left => told.down(event.member.name()),
                _ => {}
            },
            _ => {}
        }
    }
}
