//! chitchat: Scuttlebutt with a phi-accrual detector at every node, over UDP in clear.

use std::{
    net::SocketAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use chitchat::{
    ChitchatConfig, ChitchatHandle, ChitchatId, FailureDetectorConfig, KeyChangeEvent,
    ProtocolVersion, spawn_chitchat, transport::UdpTransport,
};
use phin_bench::{Calling, DataNode, Node, Reporter, Spec, Starting, System, Told};

/// chitchat with one of two settings.
#[derive(Clone, Copy)]
pub(crate) enum Chitchat {
    /// As its documentation and its own tests set it; a gossip interval of 1 s is phin's period.
    Default,
    /// Expecting heartbeats at phin's period from the beginning, instead of every 5 s.
    Tuned,
}

impl Chitchat {
    fn detector(self) -> FailureDetectorConfig {
        let mut detector = FailureDetectorConfig::default();
        if let Self::Tuned = self {
            detector.initial_interval = INTERVAL;
        }
        detector
    }
}

impl System for Chitchat {
    fn name(&self) -> &'static str {
        match self {
            Self::Default => "chitchat",
            Self::Tuned => "chitchat-tuned",
        }
    }

    fn settings(&self) -> String {
        let detector = self.detector();
        format!(
            "chitchat 0.13.0, UDP in clear, wire V1; gossip every {INTERVAL:?} to 3, phi {}, window {}, initial \
             interval {:?}, max interval {:?}",
            detector.phi_threshold,
            detector.sampling_window_size,
            detector.initial_interval,
            detector.max_interval,
        )
    }

    fn data_settings(&self) -> Option<String> {
        Some("data noticed by subscribe_event".to_owned())
    }

    fn start(&'static self, spec: Spec, told: Told) -> Starting {
        Box::pin(async move {
            let addr = SocketAddr::new(spec.ip, spec.port);
            let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let config = ChitchatConfig {
                chitchat_id: ChitchatId::new(spec.name.as_str(), started.as_secs(), addr),
                cluster_id: spec.secret,
                gossip_interval: INTERVAL,
                listen_addr: addr,
                seed_nodes: spec.seed.iter().map(ToString::to_string).collect(),
                failure_detector_config: self.detector(),
                marked_for_deletion_grace_period: Duration::from_secs(15 * 60),
                catchup_callback: None,
                extra_liveness_predicate: None,
                protocol_version: ProtocolVersion::V1,
            };
            let handle = spawn_chitchat(config, Vec::new(), &UdpTransport).await;
            let handle = handle.map_err(|error| error.to_string())?;
            let mut live = handle.chitchat().lock().await.live_nodes_watcher();
            tokio::spawn(async move {
                while live.changed().await.is_ok() {
                    let mut names: std::collections::BTreeSet<String> =
                        live.borrow_and_update().keys().map(|id| id.node_id.to_string()).collect();
                    names.insert(spec.name.clone());
                    told.live(&names);
                }
            });
            Ok(Box::new(Started { addr, handle }) as Box<dyn Node>)
        })
    }
}

struct Started {
    addr: SocketAddr,
    handle: ChitchatHandle,
}

impl Node for Started {
    fn addr(&self) -> SocketAddr {
        self.addr
    }

    fn data(&self) -> Option<&dyn DataNode> {
        Some(self)
    }
}

impl DataNode for Started {
    fn follow(&self, reporter: Reporter) -> Calling<'_> {
        Box::pin(async move {
            // Called for the node's own changes, too, and while the state is locked, so no reader can be earlier.
            let report =
                move |event: KeyChangeEvent<'_>| reporter.value(&event.node.node_id, event.value);
            self.handle.chitchat().lock().await.subscribe_event(KEY, report).forever();
            Ok(())
        })
    }

    fn write(&self, value: String) -> Calling<'_> {
        Box::pin(async move {
            self.handle.chitchat().lock().await.self_node_state().set(KEY, value);
            Ok(())
        })
    }
}

/// The only key that members write.
const KEY: &str = "value";
const INTERVAL: Duration = Duration::from_secs(1);
