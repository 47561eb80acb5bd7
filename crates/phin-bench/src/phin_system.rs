//! phin as one of the systems that are measured.

use phin::{
    Change, Cluster, ClusterKey, Config, Data, DataNotice, DataSubscription, DataUpdate, MemberId,
    Notice, Subscription, WeakCluster,
};

use crate::{Counting, DataNode, DataReporter, Node, Spec, Starting, System, Told, Writing};

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

    fn data_settings(&self) -> Option<String> {
        let delay = self.config().data_delay;
        Some(format!(
            "data is published up to {delay:?} after a write, and noticed by subscribe_data"
        ))
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

    fn data(&self) -> Option<&dyn DataNode> {
        Some(self)
    }
}

impl DataNode for Started {
    fn follow(&self, reporter: DataReporter) -> Writing<'_> {
        tokio::spawn(follow(self.0.subscribe_data(), self.0.downgrade(), reporter));
        Box::pin(std::future::ready(Ok(())))
    }

    fn write(&self, value: String) -> Writing<'_> {
        Box::pin(
            async move { self.0.put_data(KEY, value).await.map_err(|error| error.to_string()) },
        )
    }
}

async fn follow(mut changes: DataSubscription, node: WeakCluster, reporter: DataReporter) {
    let report = |owner: MemberId, value: &[u8]| {
        let Some(node) = node.upgrade() else { return };
        // Data of a member arrives after its record.
        if let Some(owner) = node.members().get(owner) {
            reporter.report(owner.name(), value);
        }
    };
    let report_all = |data: &Data| {
        data.iter()
            .filter_map(|(owner, data)| Some((owner, data.get(KEY)?)))
            .for_each(|(owner, value)| report(owner, value));
    };
    while let Some(notice) = changes.next().await {
        match notice {
            DataNotice::Snapshot(data) | DataNotice::Missed { data, .. } => report_all(&data),
            DataNotice::Update { owner, update: DataUpdate::Put { value, .. } } => {
                report(owner, &value);
            }
            _ => {}
        }
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

/// The only key that members write.
const KEY: &str = "value";
