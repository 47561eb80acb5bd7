//! The options for the network and the settings of phin.

use phin_sim::scenario::{ConfigSettings, NetworkKind, NetworkSettings, Share, Span, Zones};
use phin_swim::SignedVotes;

#[derive(clap::Args)]
#[command(next_help_heading = "Network")]
pub(crate) struct NetworkArgs {
    /// Start from this kind of network [default: lan].
    #[arg(long, value_enum)]
    network: Option<NetworkKind>,
    /// Set the median one-way delay between hosts, or between zones if there are several, such as 30ms.
    #[arg(long, value_name = "TIME")]
    delay: Option<Span>,
    /// Set how much the delay varies: one packet in six takes longer than delay and jitter together.
    #[arg(long, value_name = "TIME")]
    jitter: Option<Span>,
    /// Place the hosts in this many zones in turn, 1 to 64.
    #[arg(long, value_name = "N")]
    zones: Option<Zones>,
    /// Set the median one-way delay within a zone [default: 250us].
    #[arg(long, value_name = "TIME")]
    zone_delay: Option<Span>,
}

impl NetworkArgs {
    /// Whether a kind of network is given, which has delays of its own.
    pub(crate) const fn has_kind(&self) -> bool {
        self.network.is_some()
    }

    /// Applies the options to the settings.
    pub(crate) fn apply(&self, network: &mut NetworkSettings) {
        network.kind = self.network.unwrap_or(network.kind);
        network.delay = self.delay.or(network.delay);
        network.jitter = self.jitter.or(network.jitter);
        network.zones = self.zones.or(network.zones);
        network.zone_delay = self.zone_delay.or(network.zone_delay);
    }
}

#[derive(clap::Args)]
#[command(next_help_heading = "Settings of phin")]
pub(crate) struct ConfigArgs {
    /// Set the protocol period, such as 500ms.
    #[arg(long, value_name = "TIME")]
    period: Option<Span>,
    /// Let the period grow up to this while nothing happens.
    #[arg(long, value_name = "TIME")]
    max_period: Option<Span>,
    /// Set the tolerated silence of a member whose host is silent too.
    #[arg(long, value_name = "TIME")]
    pause_tolerance: Option<Span>,
    /// Set the tolerated silence of a member whose host answers.
    #[arg(long, value_name = "TIME")]
    hang_tolerance: Option<Span>,
    /// Set the number of rings, and so of each member's observers.
    #[arg(long, value_name = "N")]
    rings: Option<u8>,
    /// Set the phi at which a member is declared dead.
    #[arg(long, value_name = "PHI")]
    phi_threshold: Option<f64>,
    /// Set whether votes are signed: off, sign or require.
    #[arg(long, value_name = "MODE")]
    signed_votes: Option<SignedVotes>,
    /// Declare a member dead after it was degraded for this time.
    #[arg(long, value_name = "TIME")]
    evict_degraded_after: Option<Span>,
    /// Set how long dead members are remembered.
    #[arg(long, value_name = "TIME")]
    retention: Option<Span>,
}

impl ConfigArgs {
    /// Applies the options to the settings.
    pub(crate) fn apply(&self, config: &mut ConfigSettings) {
        config.period = self.period.or(config.period);
        config.max_period = self.max_period.or(config.max_period);
        config.pause_tolerance = self.pause_tolerance.or(config.pause_tolerance);
        config.hang_tolerance = self.hang_tolerance.or(config.hang_tolerance);
        config.rings = self.rings.or(config.rings);
        config.phi_threshold = self.phi_threshold.or(config.phi_threshold);
        config.signed_votes = self.signed_votes.or(config.signed_votes);
        config.evict_degraded_after = self.evict_degraded_after.or(config.evict_degraded_after);
        config.retention = self.retention.or(config.retention);
    }
}

/// A share of packets, in scenario files and options alike.
pub(crate) fn share(text: &str) -> Result<f64, String> {
    text.parse::<Share>().map(|share| share.0)
}
