//! The protocols that can be compared, by name.

use std::{fmt, sync::Arc, time::Duration};

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
    /// phin, its period up to 2 s while nothing happens.
    PhinCalm2,
    /// phin, its period up to 4 s while nothing happens.
    PhinCalm4,
    /// phin, its period up to 8 s while nothing happens.
    PhinCalm8,
    /// phin, evicting members that are degraded for 20 s.
    PhinEvict,
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

    /// What shows how longer periods while nothing happens save and cost.
    pub const CALM: [Self; 4] = [Self::Phin, Self::PhinCalm2, Self::PhinCalm4, Self::PhinCalm8];

    /// The name in tables and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Phin => "phin",
            Self::PhinEager => "phin-eager",
            Self::PhinFast => "phin-fast",
            Self::PhinCalm2 => "phin-calm2",
            Self::PhinCalm4 => "phin-calm4",
            Self::PhinCalm8 => "phin-calm8",
            Self::PhinEvict => "phin-evict",
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
            Self::Phin
            | Self::PhinEager
            | Self::PhinFast
            | Self::PhinCalm2
            | Self::PhinCalm4
            | Self::PhinCalm8
            | Self::PhinEvict
            | Self::PhinWan => u32::MAX,
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
            Self::PhinCalm2 => phin(self, calm(secs(2)), seed, nodes),
            Self::PhinCalm4 => phin(self, calm(secs(4)), seed, nodes),
            Self::PhinCalm8 => phin(self, calm(secs(8)), seed, nodes),
            Self::PhinEvict => {
                let mut config = Config::lan();
                config.evict_degraded_after = Some(secs(20));
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

/// The LAN profile with periods up to so long.
fn calm(longest: Duration) -> Config {
    let mut config = Config::lan();
    config.max_protocol_period = Some(longest);
    config
}

fn phin(kind: ProtocolKind, config: Config, seed: u64, nodes: u32) -> Arc<dyn Protocol> {
    let protocol = Phin::new(kind.as_str(), config, seed, nodes);
    Arc::new(protocol.expect("the presets, and these changes of them, are sound"))
}
