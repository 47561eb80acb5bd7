//! The protocols that can be compared, by name.

use std::{fmt, sync::Arc};

use phin_swim::Config;

use crate::{
    baselines::{FailureRule, Heartbeat, SwimConfig, SwimProtocol},
    node::{Protocol, millis, secs},
    phin::Phin,
};

/// A protocol by its name.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, clap::ValueEnum)]
pub enum ProtocolKind {
    /// phin, LAN profile: T = 1 s, P = 1 s.
    Phin,
    /// phin with P = 0.3 s.
    PhinEager,
    /// phin, fast profile: T = 0.2 s, P = 0.3 s.
    PhinFast,
    /// phin, WAN profile.
    PhinWan,
    /// SWIM with Lifeguard, memberlist's LAN constants.
    Lifeguard,
    /// SWIM as in the paper of 2002.
    Swim,
    /// All-to-all heartbeats, each judged by phi-accrual at 8.
    HeartbeatPhi,
    /// All-to-all heartbeats with a timeout of five intervals.
    Heartbeat,
}

impl ProtocolKind {
    /// What is compared when all are.
    pub const ALL: [Self; 6] = [
        Self::Phin,
        Self::PhinFast,
        Self::Lifeguard,
        Self::Swim,
        Self::HeartbeatPhi,
        Self::Heartbeat,
    ];

    /// The name in tables and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Phin => "phin",
            Self::PhinEager => "phin-eager",
            Self::PhinFast => "phin-fast",
            Self::PhinWan => "phin-wan",
            Self::Lifeguard => "lifeguard",
            Self::Swim => "swim",
            Self::HeartbeatPhi => "heartbeat-phi",
            Self::Heartbeat => "heartbeat",
        }
    }

    /// The largest cluster that is simulated with it: beyond, all-to-all traffic makes runs endless.
    pub const fn max_nodes(self) -> u32 {
        match self {
            Self::Phin | Self::PhinEager | Self::PhinFast | Self::PhinWan => u32::MAX,
            Self::Lifeguard | Self::Swim => 8_192,
            Self::HeartbeatPhi | Self::Heartbeat => 512,
        }
    }

    /// Makes it, for a run of this seed that begins with so many members.
    pub fn make(self, seed: u64, nodes: u32) -> Arc<dyn Protocol> {
        match self {
            Self::Phin => phin(self, Config::lan(), seed, nodes),
            Self::PhinEager => {
                let mut config = Config::lan();
                config.pause_tolerance = millis(300);
                phin(self, config, seed, nodes)
            }
            Self::PhinFast => {
                let mut config = Config::lan();
                config.protocol_period = millis(200);
                config.pause_tolerance = millis(300);
                phin(self, config, seed, nodes)
            }
            Self::PhinWan => phin(self, Config::wan(), seed, nodes),
            Self::Lifeguard => Arc::new(SwimProtocol { nodes, config: SwimConfig::MEMBERLIST }),
            Self::Swim => Arc::new(SwimProtocol { nodes, config: SwimConfig::PAPER }),
            Self::HeartbeatPhi => Arc::new(Heartbeat { nodes, rule: FailureRule::Phi(8.0) }),
            Self::Heartbeat => Arc::new(Heartbeat { nodes, rule: FailureRule::Timeout(secs(5)) }),
        }
    }
}

impl fmt::Display for ProtocolKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn phin(kind: ProtocolKind, config: Config, seed: u64, nodes: u32) -> Arc<dyn Protocol> {
    let protocol = Phin::new(kind.as_str(), config, seed, nodes);
    Arc::new(protocol.expect("the presets, and these changes of them, are sound"))
}
