//! The protocols to compare, by name.

use std::{fmt, sync::Arc};

use phin_swim::{Config, ConfigError};

use crate::{
    baselines::{Chitchat, FailureRule, Flood, Heartbeat, Serf, SwimConfig, SwimProtocol},
    node::{Protocol, millis, secs},
    phin::Phin,
    settings::ConfigSettings,
};

/// The name of a protocol.
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
    /// The data of chitchat, without a failure detector: for `sweep data` alone.
    Chitchat,
    /// Messages flooded on all rings, without a failure detector: for `sweep messages` alone.
    Flood,
    /// The user events of serf, without a failure detector: for `sweep messages` alone.
    Serf,
}

impl ProtocolKind {
    /// The protocols that are compared by default.
    pub const ALL: [Self; 6] = [
        Self::Phin,
        Self::PhinFast,
        Self::Lifeguard,
        Self::Swim,
        Self::HeartbeatPhi,
        Self::Heartbeat,
    ];

    /// The protocols of the experiment on longer periods while nothing happens.
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
            Self::Chitchat => "chitchat",
            Self::Flood => "flood",
            Self::Serf => "serf",
        }
    }

    /// The largest simulated cluster. Beyond it, all-to-all traffic makes runs too long.
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
            Self::Lifeguard | Self::Swim | Self::Flood | Self::Serf => 8_192,
            Self::Chitchat => 1_500,
            Self::HeartbeatPhi | Self::Heartbeat => 512,
        }
    }

    /// The names of all protocols, for an error.
    pub fn names() -> String {
        let kinds = <Self as clap::ValueEnum>::value_variants().iter();
        kinds.map(|kind| kind.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// The profile of phin, or `None` for other protocols.
    pub(crate) fn config(self) -> Option<Config> {
        let mut config = Config::lan();
        match self {
            Self::Phin => {}
            Self::PhinEager => config.pause_tolerance = millis(300),
            Self::PhinFast => {
                config.period = millis(200);
                config.pause_tolerance = millis(300);
            }
            Self::PhinCalm2 => config.max_period = Some(secs(2)),
            Self::PhinCalm4 => config.max_period = Some(secs(4)),
            Self::PhinCalm8 => config.max_period = Some(secs(8)),
            Self::PhinEvict => config.evict_degraded_after = Some(secs(20)),
            Self::PhinWan => config = Config::wan(),
            Self::Lifeguard
            | Self::Swim
            | Self::HeartbeatPhi
            | Self::Heartbeat
            | Self::Chitchat
            | Self::Flood
            | Self::Serf => return None,
        }
        Some(config)
    }

    /// Creates the protocol for a run with this seed that starts with `nodes` members.
    pub fn make(self, seed: u64, nodes: u32) -> Arc<dyn Protocol> {
        let made = self.make_with(&ConfigSettings::default(), seed, nodes);
        made.expect("the presets, and these changes of them, are sound")
    }

    /// Creates the protocol with these settings instead of its own.
    ///
    /// # Errors
    /// If the protocol has no such settings, or if they are invalid.
    pub fn make_with(
        self,
        settings: &ConfigSettings,
        seed: u64,
        nodes: u32,
    ) -> Result<Arc<dyn Protocol>, SettingsError> {
        if self.config().is_some() {
            return Ok(Arc::new(Phin::of(self, settings, seed, nodes)?));
        }
        if !settings.is_empty() {
            return Err(SettingsError::NotOfPhin(self));
        }
        Ok(match self {
            Self::Lifeguard => Arc::new(SwimProtocol { nodes, config: SwimConfig::MEMBERLIST }),
            Self::Swim => Arc::new(SwimProtocol { nodes, config: SwimConfig::PAPER }),
            Self::Chitchat => Arc::new(Chitchat { nodes, keys: 0, bytes: 0 }),
            Self::Flood => Arc::new(Flood { nodes, seed }),
            Self::Serf => Arc::new(Serf { nodes }),
            Self::HeartbeatPhi => Arc::new(Heartbeat { nodes, rule: FailureRule::Phi(8.0) }),
            _heartbeat => Arc::new(Heartbeat { nodes, rule: FailureRule::Timeout(secs(5)) }),
        })
    }
}

/// Why a protocol cannot be created with some settings.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// phin does not accept them.
    #[error(transparent)]
    Refused(#[from] ConfigError),
    /// The protocol is not phin, and these are settings of phin.
    #[error("period, tolerances, rings and threshold are settings of phin, and not of {0}")]
    NotOfPhin(ProtocolKind),
}

impl fmt::Display for ProtocolKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
