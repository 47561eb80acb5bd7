//! phin as one of the systems that are measured.

use phin::{
    Change, Cluster, ClusterKey, Config, Data, DataNotice, DataSubscription, DataUpdate,
    IncomingQuery, MemberId, Notice, Query, QueryOutcome, QueryReply, Subscription, Topic,
    TopicNotice, WeakCluster,
};

use crate::{
    Answers, Calling, Counting, DataNode, MessageNode, Node, Reporter, Spec, Starting, System,
    Told, holds,
};

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

    fn message_settings(&self) -> Option<String> {
        Some(
            "messages received by subscribe_topic, queries asked and answered by query and answer"
                .to_owned(),
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
            let topic = TOPIC.parse().map_err(|error: phin::TopicError| error.to_string())?;
            Ok(Box::new(Started { node, topic }) as Box<dyn Node>)
        })
    }
}

struct Started {
    node: Cluster,
    topic: Topic,
}

impl Node for Started {
    fn addr(&self) -> std::net::SocketAddr {
        self.node.local_addr()
    }

    fn connections(&self) -> Counting<'_> {
        Box::pin(async {
            let transport = self.node.stats().await.ok()?.transport;
            Some(transport.connections + transport.connections_draining)
        })
    }

    fn data(&self) -> Option<&dyn DataNode> {
        Some(self)
    }

    fn messages(&self) -> Option<&dyn MessageNode> {
        Some(self)
    }
}

impl DataNode for Started {
    fn follow(&self, reporter: Reporter) -> Calling<'_> {
        tokio::spawn(follow(self.node.subscribe_data(), self.node.downgrade(), reporter));
        Box::pin(std::future::ready(Ok(())))
    }

    fn write(&self, value: String) -> Calling<'_> {
        Box::pin(
            async move { self.node.put_data(KEY, value).await.map_err(|error| error.to_string()) },
        )
    }
}

impl MessageNode for Started {
    fn follow(&self, reporter: Reporter) -> Calling<'_> {
        let name = self.node.name().to_owned();
        let answers = self.node.answer(&self.topic, move |query: IncomingQuery| {
            let is_held = holds(&query.body, &name);
            async move {
                if is_held {
                    std::future::pending::<()>().await;
                }
                Ok(query.body)
            }
        });
        let mut messages = self.node.subscribe_topic(&self.topic);
        tokio::spawn(async move {
            while let Some(notice) = messages.next().await {
                match notice {
                    TopicNotice::Message(message) => reporter.message(&message.body),
                    TopicNotice::Missed { count, .. } | TopicNotice::Lagged { count } => {
                        reporter.missed(count);
                    }
                    _ => {}
                }
            }
            drop(answers);
        });
        Box::pin(std::future::ready(Ok(())))
    }

    fn publish(&self, text: String) -> Calling<'_> {
        Box::pin(async move {
            let published = self.node.publish(&self.topic, text).await;
            published.map(|_| ()).map_err(|error| error.to_string())
        })
    }

    fn query<'a>(&'a self, text: String, answers: &'a mut Answers) -> Calling<'a> {
        Box::pin(async move {
            let members = self.node.members();
            let replies = self.node.query(Query::new(&self.topic, text)).await;
            let mut replies = replies.map_err(|error| error.to_string())?;
            while let Some(QueryReply { member, outcome, .. }) = replies.next().await {
                match outcome {
                    QueryOutcome::Reply(_) => answers.reply(),
                    outcome => {
                        let name = members.get(member).map(|member| member.name());
                        answers.other(name.unwrap_or_default(), outcome.as_str());
                    }
                }
            }
            Ok(())
        })
    }
}

async fn follow(mut changes: DataSubscription, node: WeakCluster, reporter: Reporter) {
    let report = |owner: MemberId, value: &[u8]| {
        let Some(node) = node.upgrade() else { return };
        // Data of a member arrives after its record.
        if let Some(owner) = node.members().get(owner) {
            reporter.value(owner.name(), value);
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

/// The topic of all messages.
const TOPIC: &str = "bench";
/// The only key that members write.
const KEY: &str = "value";
