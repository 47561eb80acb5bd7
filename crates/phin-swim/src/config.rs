//! Configuration, checked once by changing its type: [`Config`] has public fields, the core holds `Params`.

use std::{
    fmt::{self, Display},
    ops::RangeInclusive,
    str::FromStr,
    time::Duration,
};

use crate::MemberData;

/// The settings of the protocol. Start from a profile, and change what differs.
///
/// ```
/// use std::time::Duration;
/// let mut config = phin_swim::Config::lan();
/// config.period = Duration::from_millis(200);
/// ```
///
/// With the feature `serde` it is read from the keys of the settings of `phin run` (`period = "200ms"`); what is left out is
/// that of [`Config::lan`].
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Deserialize, serde::Serialize),
    serde(default, deny_unknown_fields)
)]
#[non_exhaustive]
pub struct Config {
    /// The interval in which each member probes one other member (SWIM §3.1). A shorter one detects failures sooner and
    /// sends proportionally more messages. Default 1 s; 10 ms to 10 min.
    #[cfg_attr(feature = "serde", serde(with = "crate::info::duration"))]
    pub period: Duration,
    /// The longest protocol period. The period doubles after eight periods without a failed probe or a change of the list, up
    /// to this limit, and is `period` again at the next such event. A longer one saves messages in a calm cluster. The
    /// first death after a calm is then noticed later, in the median by half of the longer period. Default: the period does
    /// not grow; one to 64 times the protocol period.
    #[cfg_attr(feature = "serde", serde(with = "crate::info::duration_or_off"))]
    pub max_period: Option<Duration>,
    /// The round-trip time assumed for a link that was never measured. If it is too short, new members are probed indirectly
    /// for nothing; if it is too long, their first failure is noticed later. Default 50 ms; at most half the protocol period.
    #[cfg_attr(feature = "serde", serde(with = "crate::info::duration"))]
    pub prior_round_trip: Duration,
    /// The number of rings, and so of observers of each member. More make verdicts more certain, and need about two more
    /// connections each. Default 8; 1 to 32.
    pub rings: u8,
    /// The phi at which a member is declared dead, all votes together: −log10 of the probability of a mistake. Default 8; 1 to
    /// 100.
    pub phi_threshold: f64,
    /// How long a member may be silent if its host is silent too; three times as long if nothing is known of its host. A
    /// longer tolerance forgives longer pauses and detects failures later. Default 1 s; a tenth of the period to 10 min.
    #[cfg_attr(feature = "serde", serde(with = "crate::info::duration"))]
    pub pause_tolerance: Duration,
    /// How long a member may be silent if its host answers: the process is stopped, swapping or starved. Default 10 s; at
    /// least the pause tolerance, at most an hour.
    #[cfg_attr(feature = "serde", serde(with = "crate::info::duration"))]
    pub hang_tolerance: Duration,
    /// How long a member may be degraded (it lives, but most of its observers do not reach it, or find flaws in it) before it is
    /// evicted, that is, declared dead. It stays away for as long again before it tries once more. Set this alike on all members: those
    /// without it bring an evicted member back. Default: never; at least the pause tolerance, at most a day.
    #[cfg_attr(feature = "serde", serde(with = "crate::info::duration_or_off"))]
    pub evict_degraded_after: Option<Duration>,
    /// Whether observers sign their votes, and whether verdicts of others need them. Raise it on all members step by step:
    /// [`SignedVotes::Sign`] on each before the first [`SignedVotes::Require`]. Default: not.
    pub signed_votes: SignedVotes,
    /// Whether to ask the hosts of silent members whether their process is there. Default `true`.
    pub ask_hosts: bool,
    /// Whether the application decides on newcomers ([`Output::Newcomer`](crate::Output::Newcomer)). The crate `phin` sets it
    /// if there is a hook. Default `false`: every authenticated node is admitted.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub ask_application: bool,
    /// How many helpers are asked to ping a member that does not answer (the *k* of SWIM §3.1). Default 3; at most 16.
    pub indirect_probes: u8,
    /// The retransmit multiplier (λ of SWIM §4.1): after its push, an update is piggybacked this often for each power of ten of
    /// the cluster's size. Default 1; 1 to 64.
    pub retransmit_multiplier: u8,
    /// How long an update waits for others, to share its datagrams. Default 2 ms; at most the protocol period.
    #[cfg_attr(feature = "serde", serde(with = "crate::info::duration"))]
    pub push_delay: Duration,
    /// The largest datagram that is built. Longer content is divided, or goes by stream. Default 1,100, which fits the smallest
    /// packet that QUIC allows; 512 to 65,000.
    pub max_datagram_bytes: usize,
    /// How long a write to this node's data waits for others, to be sent with them. Default 50 ms; at most the protocol
    /// period.
    pub data_delay: Duration,
    /// The most bytes of a member's data, keys included. It should be the same everywhere: data of others that exceeds it is
    /// dropped and counted. Default 16 KiB; at most 256 KiB ([`MemberData::MAX_BYTES`](crate::MemberData::MAX_BYTES)).
    pub max_data_bytes: usize,
    /// The most bytes of the data of all members. Data beyond it is dropped and counted. Default 256 MiB.
    pub max_total_data_bytes: usize,
    /// How many messages this node publishes in a second. Further ones are refused at the call. It should be the same
    /// everywhere: members drop and count what others publish far beyond it. Default 256; 1 to 65,536.
    pub max_publications_per_second: u32,
    /// How many bytes this node publishes in a second; as before. Default 1 MiB; 1 KiB to 1 GiB.
    pub max_published_bytes_per_second: usize,
    /// The most bytes of publications that are kept for up to 30 s, for members that did not receive them. Beyond it,
    /// the oldest are dropped and counted. Default 16 MiB; at least 64 KiB.
    pub max_recent_publication_bytes: usize,
    /// How long a voter grants an office to no other member after a request of its holder. After the holder's death, another
    /// follows about so much later. A shorter lease needs more messages, and pauses of the holder cost it the office sooner:
    /// after nine tenths of the lease. It should be the same everywhere: voters do not grant leases longer than their own.
    /// Default 2 s; 1 s to 60 s.
    #[cfg_attr(feature = "serde", serde(with = "crate::info::duration"))]
    pub leadership_lease: Duration,
    /// The most members in the list, dead ones included. Further ones are refused and counted. Default 65,536; 2 to
    /// 1,000,000.
    pub max_members: usize,
    /// The flap penalty from which on a member's returns are suppressed (RFC 2439). Each death or restart adds one, and the
    /// penalty halves in each half-life. A smaller value hides flapping members sooner, and unlucky ones too. Default 10; at
    /// least 2; infinite turns suppression off.
    #[cfg_attr(feature = "serde", serde(with = "crate::info::number_or_off"))]
    pub flap_suppress: f64,
    /// The flap penalty below which a member is reported again. Default 3; at least 0.1, below `flap_suppress`.
    pub flap_reuse: f64,
    /// The half-life of the flap penalty. Default 10 min, so a member is suppressed for at most 28 min after its last death;
    /// 1 s to 24 h.
    #[cfg_attr(feature = "serde", serde(with = "crate::info::duration"))]
    pub flap_half_life: Duration,
    /// How long a member that died or left stays in the list. A longer time recognises later returns and costs memory.
    /// Default 24 h; at least ten protocol periods.
    #[cfg_attr(feature = "serde", serde(with = "crate::info::duration"))]
    pub retention: Duration,
}

/// The use of signed votes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Deserialize, serde::Serialize),
    serde(rename_all = "lowercase")
)]
#[non_exhaustive]
pub enum SignedVotes {
    /// Votes are not signed, and verdicts of others are accepted on their word, within limits.
    #[default]
    Off,
    /// This node signs its votes, and accepts verdicts of others as before.
    Sign,
    /// A verdict of others is accepted at once only with the signed votes of more than half of the observers of its
    /// subject. Without them, this node looks at the member itself.
    Require,
}

impl SignedVotes {
    /// The name in settings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Sign => "sign",
            Self::Require => "require",
        }
    }
}

impl FromStr for SignedVotes {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let known = [Self::Off, Self::Sign, Self::Require];
        known.into_iter().find(|known| known.as_str() == text).ok_or_else(|| ConfigError {
            setting: "signed_votes",
            value: text.to_owned(),
            allowed: "off, sign or require".to_owned(),
        })
    }
}

impl fmt::Display for SignedVotes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Config {
    /// Members in one data centre: the default.
    pub const fn lan() -> Self {
        Self {
            period: Duration::from_secs(1),
            max_period: None,
            prior_round_trip: Duration::from_millis(50),
            rings: 8,
            phi_threshold: 8.0,
            pause_tolerance: Duration::from_secs(1),
            hang_tolerance: Duration::from_secs(10),
            evict_degraded_after: None,
            signed_votes: SignedVotes::Off,
            ask_hosts: true,
            ask_application: false,
            indirect_probes: 3,
            retransmit_multiplier: 1,
            push_delay: Duration::from_millis(2),
            max_datagram_bytes: 1_100,
            data_delay: Duration::from_millis(50),
            max_data_bytes: 16 * 1_024,
            max_total_data_bytes: 256 * 1_024 * 1_024,
            max_publications_per_second: 256,
            max_published_bytes_per_second: 1_024 * 1_024,
            max_recent_publication_bytes: 16 * 1_024 * 1_024,
            leadership_lease: Duration::from_secs(2),
            max_members: 65_536,
            flap_suppress: 10.0,
            flap_reuse: 3.0,
            flap_half_life: Duration::from_secs(600),
            retention: Duration::from_secs(24 * 60 * 60),
        }
    }

    /// Members on several continents: round trips of hundreds of milliseconds, more loss.
    pub const fn wan() -> Self {
        Self {
            period: Duration::from_secs(3),
            prior_round_trip: Duration::from_millis(300),
            pause_tolerance: Duration::from_secs(3),
            hang_tolerance: Duration::from_secs(20),
            push_delay: Duration::from_millis(10),
            ..Self::lan()
        }
    }

    /// Members on one machine: tests, demonstrations.
    pub const fn local() -> Self {
        Self {
            period: Duration::from_millis(200),
            prior_round_trip: Duration::from_millis(20),
            pause_tolerance: Duration::from_millis(300),
            push_delay: Duration::from_millis(1),
            data_delay: Duration::from_millis(10),
            ..Self::lan()
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::lan()
    }
}

/// A setting that is out of bounds.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{setting} is {value}; allowed is {allowed}")]
pub struct ConfigError {
    /// The field of [`Config`].
    pub setting: &'static str,
    /// The value found.
    pub value: String,
    /// The bounds that it violates.
    pub allowed: String,
}

/// A configuration known to be sound; only the conversion from [`Config`] makes one.
#[derive(Clone, Debug)]
pub(crate) struct Params(Config);

impl std::ops::Deref for Params {
    type Target = Config;

    fn deref(&self) -> &Config {
        &self.0
    }
}

impl Config {
    /// Checks the bounds of all settings, as the start of a node does.
    ///
    /// # Errors
    /// A setting is out of bounds.
    pub fn check(&self) -> Result<(), ConfigError> {
        Params::try_from(self.clone()).map(drop)
    }

    /// Takes over the settings of another configuration that can change while a node runs.
    fn take_over_running(&mut self, from: &Self) {
        self.max_members = from.max_members;
        self.retention = from.retention;
        self.evict_degraded_after = from.evict_degraded_after;
        self.flap_suppress = from.flap_suppress;
        self.flap_reuse = from.flap_reuse;
        self.flap_half_life = from.flap_half_life;
        self.max_data_bytes = from.max_data_bytes;
        self.max_total_data_bytes = from.max_total_data_bytes;
        self.max_publications_per_second = from.max_publications_per_second;
        self.max_published_bytes_per_second = from.max_published_bytes_per_second;
        self.max_recent_publication_bytes = from.max_recent_publication_bytes;
    }
}

impl Params {
    /// This configuration instead of the present one of a running node.
    pub(crate) fn changed_to(&self, config: Config) -> Result<Self, ConfigError> {
        let mut possible = self.0.clone();
        possible.take_over_running(&config);
        match possible == config {
            true => config.try_into(),
            false => Err(ConfigError {
                setting: "config",
                value: "another one in what cannot change".to_owned(),
                allowed: "a change of limits, retention and flapping while the node runs"
                    .to_owned(),
            }),
        }
    }
}

impl TryFrom<Config> for Params {
    type Error = ConfigError;

    fn try_from(config: Config) -> Result<Self, ConfigError> {
        let period = config.period;
        // The limits of others are multiples of it, which could overflow if it were out of bounds.
        check_duration("period", period, Duration::from_millis(10)..=LONG)?;
        let longest = config.max_period.unwrap_or(period);
        let (pause, hang) = (config.pause_tolerance, config.hang_tolerance);
        let evict_after = config.evict_degraded_after.unwrap_or(pause);
        let (round_trip, half_life) = (config.prior_round_trip, config.flap_half_life);
        let (suppress, reuse) = (config.flap_suppress, config.flap_reuse);
        let of_reuse = format!("0.1 to below flap_suppress, {suppress}");
        let checks = [
            check_duration("max_period", longest, period..=period * 64),
            check_duration("prior_round_trip", round_trip, Duration::from_micros(1)..=period / 2),
            check_duration("push_delay", config.push_delay, Duration::ZERO..=period),
            check_duration("data_delay", config.data_delay, Duration::ZERO..=period),
            check_duration("retention", config.retention, period * 10..=Duration::MAX),
            check_duration("pause_tolerance", pause, period / 10..=LONG),
            check_duration("hang_tolerance", hang, pause..=LONG * 6),
            check_number("phi_threshold", config.phi_threshold, 1.0..=100.0, "1 to 100"),
            check_number("flap_suppress", suppress, 2.0..=f64::INFINITY, "at least 2"),
            check_number("flap_reuse", reuse, 0.1..=suppress.next_down(), &of_reuse),
            check_duration("flap_half_life", half_life, Duration::from_secs(1)..=DAY),
            check_duration("evict_degraded_after", evict_after, pause..=DAY),
            check_count("rings", config.rings.into(), 1..=32),
            check_count("indirect_probes", config.indirect_probes.into(), 0..=16),
            check_count("retransmit_multiplier", config.retransmit_multiplier.into(), 1..=64),
            check_count("max_datagram_bytes", config.max_datagram_bytes, 512..=65_000),
            check_count("max_data_bytes", config.max_data_bytes, 0..=MemberData::MAX_BYTES),
            check_count(
                "max_total_data_bytes",
                config.max_total_data_bytes,
                0..=isize::MAX as usize,
            ),
            check_count(
                "max_publications_per_second",
                config.max_publications_per_second as usize,
                1..=65_536,
            ),
            check_count(
                "max_published_bytes_per_second",
                config.max_published_bytes_per_second,
                1_024..=1_024 * 1_024 * 1_024,
            ),
            check_count(
                "max_recent_publication_bytes",
                config.max_recent_publication_bytes,
                64 * 1_024..=isize::MAX as usize,
            ),
            check_duration("leadership_lease", config.leadership_lease, LEASES),
            check_count("max_members", config.max_members, 2..=1_000_000),
        ];
        checks.into_iter().collect::<Result<(), _>>()?;
        Ok(Self(config))
    }
}

/// The upper bound of the protocol period and the pause tolerance.
const LONG: Duration = Duration::from_secs(600);
/// The shortest and the longest lease of an office.
const LEASES: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

type Checked = Result<(), ConfigError>;

fn check_count(setting: &'static str, value: usize, range: RangeInclusive<usize>) -> Checked {
    let allowed = format!("{} to {}", range.start(), range.end());
    check(setting, &value, &range, &value, &allowed)
}

fn check_number(
    setting: &'static str,
    value: f64,
    range: RangeInclusive<f64>,
    allowed: &str,
) -> Checked {
    check(setting, &value, &range, &value, allowed)
}

fn check_duration(
    setting: &'static str,
    value: Duration,
    range: RangeInclusive<Duration>,
) -> Checked {
    let allowed = match (range.start(), *range.end()) {
        (min, Duration::MAX) => format!("at least {min:?}"),
        (min, max) => format!("{min:?} to {max:?}"),
    };
    check(setting, &value, &range, &format_args!("{value:?}"), &allowed)
}

/// Refuses a value out of range.
fn check<T: PartialOrd>(
    setting: &'static str,
    value: &T,
    range: &RangeInclusive<T>,
    shown: &dyn Display,
    allowed: &str,
) -> Checked {
    if range.contains(value) {
        return Ok(());
    }
    Err(ConfigError { setting, value: shown.to_string(), allowed: allowed.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_are_sound() {
        for config in [Config::lan(), Config::wan(), Config::local()] {
            assert!(Params::try_from(config).is_ok());
        }
    }

    #[test]
    fn an_unusable_setting_is_named_with_what_is_allowed() {
        let mut config = Config::lan();
        config.prior_round_trip = Duration::from_millis(501);
        let error = Params::try_from(config).unwrap_err();
        assert_eq!(error.to_string(), "prior_round_trip is 501ms; allowed is 1µs to 500ms");
        let mut config = Config::lan();
        config.rings = 0;
        let error = Params::try_from(config).unwrap_err();
        assert_eq!(error.to_string(), "rings is 0; allowed is 1 to 32");
    }
}
