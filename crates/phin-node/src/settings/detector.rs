//! How the node watches others: the profile's timings, and what was set in their place.

use std::{ops::RangeInclusive, time::Duration};

use phin::{Config, Detector};

use super::{
    Placed, SettingsError,
    layers::{Layers, Place},
    values::boolean,
};

/// The profile's timings, with what was given besides.
pub(super) fn take_config(layers: &mut Layers) -> Result<Placed<Config>, SettingsError> {
    let profile = layers.take("profile", profile)?;
    let mut config = profile
        .unwrap_or_else(|| Placed { value: Config::lan(), place: Place::default("profile") });
    if let Some(period) = layers.take("period", |text| duration(text, MIN_PERIOD..=MAX_PERIOD))? {
        config.value.protocol_period = period.value;
        // What must fit into a period shrinks with it, and what must hold part of one grows.
        config.value.prior_round_trip = config.value.prior_round_trip.min(period.value / 4);
        config.value.push_delay = config.value.push_delay.min(period.value);
        config.value.pause_tolerance = config.value.pause_tolerance.max(period.value / 10);
        config.value.hang_tolerance = config.value.hang_tolerance.max(period.value);
        config.place = period.place;
    }
    let allowed = config.value.protocol_period * 10..=MAX_RETENTION;
    if let Some(retention) = layers.take("retention", |text| duration(text, allowed))? {
        config.value.dead_retention = retention.value;
    }
    let allowed = config.value.protocol_period..=config.value.protocol_period * MAX_SLOWDOWN;
    if let Some(longest) = layers.take("max_period", |text| duration(text, allowed))? {
        config.value.max_protocol_period = Some(longest.value);
    }
    take_tolerances(layers, &mut config.value)?;
    take_damping(layers, &mut config.value)?;
    if let Some(detector) = layers.take("detector", detector)? {
        config.value.detector = detector.value;
    }
    let allowed = config.value.pause_tolerance..=MAX_EVICTION;
    let evict = |text: &str| match text {
        "never" => Ok(None),
        _ => duration(text, allowed).map(Some),
    };
    if let Some(after) = layers.take("evict_degraded_after", evict)? {
        config.value.evict_degraded_after = after.value;
    }
    if let Some(threshold) = layers.take("phi_threshold", threshold)? {
        config.value.phi_threshold = threshold.value;
    }
    Ok(config)
}

/// The port that hosts are asked for, unless they are not asked at all.
pub(super) fn take_closed_port(
    layers: &mut Layers,
    config: &mut Config,
    bound: &Placed<std::net::SocketAddr>,
) -> Result<Option<u16>, SettingsError> {
    let ask_hosts = layers.take("ask_hosts", boolean)?;
    let closed_port = layers.take("closed_port", port)?;
    let Some(closed_port) = closed_port else {
        config.ask_hosts = ask_hosts.is_none_or(|asked| asked.value);
        return Ok(None);
    };
    let contradiction = |second: &Place, why| SettingsError::Contradiction {
        first: closed_port.place.clone(),
        second: second.clone(),
        why,
    };
    match ask_hosts {
        Some(asked) if !asked.value => {
            return Err(contradiction(&asked.place, "then no host is asked for any port"));
        }
        Some(_) | None => config.ask_hosts = true,
    }
    if closed_port.value == bound.value.port() {
        return Err(contradiction(&bound.place, "a node listens there, so the port is not closed"));
    }
    Ok(Some(closed_port.value))
}

fn take_tolerances(layers: &mut Layers, config: &mut Config) -> Result<(), SettingsError> {
    let allowed = config.protocol_period / 10..=MAX_PAUSE_TOLERANCE;
    if let Some(pause) = layers.take("pause_tolerance", |text| duration(text, allowed))? {
        config.pause_tolerance = pause.value;
        // A process on a host that answers is given no less than one on a host that does not.
        config.hang_tolerance = config.hang_tolerance.max(pause.value);
    }
    let allowed = config.pause_tolerance..=MAX_HANG_TOLERANCE;
    if let Some(hang) = layers.take("hang_tolerance", |text| duration(text, allowed))? {
        config.hang_tolerance = hang.value;
    }
    Ok(())
}

fn take_damping(layers: &mut Layers, config: &mut Config) -> Result<(), SettingsError> {
    let suppress = layers.take("flap_suppress", |text| match text {
        "off" => Ok(f64::INFINITY),
        _ => number(text, 2.0..=MAX_FLAPS, "off, or a number from 2 to 1000"),
    })?;
    let default_reuse = config.flap_reuse / config.flap_suppress;
    if let Some(suppress) = suppress {
        config.flap_suppress = suppress.value;
        if suppress.value.is_finite() {
            config.flap_reuse = suppress.value * default_reuse;
        }
    }
    let highest = config.flap_suppress.min(MAX_FLAPS).next_down();
    let expected = format!("a number from 0.1 to below {}", config.flap_suppress.min(MAX_FLAPS));
    if let Some(reuse) = layers.take("flap_reuse", |text| number(text, 0.1..=highest, &expected))? {
        config.flap_reuse = reuse.value;
    }
    let allowed = Duration::from_secs(1)..=Duration::from_secs(24 * 60 * 60);
    if let Some(half_life) = layers.take("flap_half_life", |text| duration(text, allowed))? {
        config.flap_half_life = half_life.value;
    }
    Ok(())
}

fn profile(text: &str) -> Result<Config, String> {
    match text {
        "lan" => Ok(Config::lan()),
        "wan" => Ok(Config::wan()),
        "local" => Ok(Config::local()),
        _ => Err("expected lan, wan or local".into()),
    }
}

fn detector(text: &str) -> Result<Detector, String> {
    match text {
        "observers" => Ok(Detector::Observers),
        "classic" => Ok(Detector::Classic),
        _ => Err("expected observers or classic".into()),
    }
}

fn threshold(text: &str) -> Result<f64, String> {
    number(text, 1.0..=100.0, "a number from 1 to 100")
}

fn number(text: &str, allowed: RangeInclusive<f64>, expected: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if allowed.contains(&number) => Ok(number),
        Ok(_) | Err(_) => Err(format!("expected {expected}")),
    }
}

fn port(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(port) if port != 0 => Ok(port),
        Ok(_) | Err(_) => Err("expected a port, 1 to 65535".into()),
    }
}

fn duration(text: &str, allowed: RangeInclusive<Duration>) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text)
        .map_err(|error| format!("expected a duration such as 200ms or 1s ({error})"))?;
    if allowed.contains(&duration) {
        return Ok(duration);
    }
    let in_words = |bound: &Duration| match (bound.as_secs() / DAY, bound.as_secs() % DAY) {
        (days @ 1.., 0) => format!("{days}d"),
        _ => humantime::format_duration(*bound).to_string(),
    };
    let [least, most] = [allowed.start(), allowed.end()].map(in_words);
    Err(format!("allowed is {least} to {most}"))
}

/// These bounds are those of [`Config`]; checked here so that the error can name the setting's place.
const MIN_PERIOD: Duration = Duration::from_millis(10);
const MAX_PERIOD: Duration = Duration::from_secs(600);
const MAX_PAUSE_TOLERANCE: Duration = Duration::from_secs(600);
const MAX_RETENTION: Duration = Duration::from_secs(366 * 24 * 3_600);
const DAY: u64 = 24 * 3_600;
const MAX_FLAPS: f64 = 1_000.0;
const MAX_SLOWDOWN: u32 = 64;
const MAX_EVICTION: Duration = Duration::from_secs(24 * 60 * 60);
const MAX_HANG_TOLERANCE: Duration = Duration::from_secs(3_600);
