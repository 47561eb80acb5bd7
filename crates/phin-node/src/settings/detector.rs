//! The settings of the failure detector: the timings of the profile, and the settings that override them.

use std::time::Duration;

use phin::{Config, SignedVotes};

use super::{
    layers::Layers,
    place::{Place, Placed, SettingsError},
    table::{MAX_FLAPS, setting},
    values::boolean,
};

/// Takes the profile and the settings that override its timings.
pub(super) fn take_config(layers: &mut Layers) -> Result<Placed<Config>, SettingsError> {
    let (mut config, mut place) = match layers.word("profile")? {
        Some(Placed { value, place }) => (profile(value), place),
        None => (Config::lan(), Place::default("profile")),
    };
    if let Some(Placed { value: Some(period), place: set }) = layers.duration("period", &config)? {
        config.period = period;
        // Values that must fit into a period shrink with it, and values that must hold part of one grow.
        config.prior_round_trip = config.prior_round_trip.min(period / 4);
        config.push_delay = config.push_delay.min(period);
        config.data_delay = config.data_delay.min(period);
        config.pause_tolerance = config.pause_tolerance.max(period / 10);
        config.hang_tolerance = config.hang_tolerance.max(period);
        place = set;
    }
    if let Some(retention) = take_duration(layers, "retention", &config)? {
        config.retention = retention;
    }
    if let Some(lease) = take_duration(layers, "leadership-lease", &config)? {
        config.leadership_lease = lease;
    }
    take_user_limits(layers, &mut config)?;
    if let Some(longest) = take_duration(layers, "max-period", &config)? {
        config.max_period = Some(longest);
    }
    if let Some(pause) = take_duration(layers, "pause-tolerance", &config)? {
        config.pause_tolerance = pause;
        // A process whose host answers gets at least as much time as one whose host does not.
        config.hang_tolerance = config.hang_tolerance.max(pause);
    }
    if let Some(hang) = take_duration(layers, "hang-tolerance", &config)? {
        config.hang_tolerance = hang;
    }
    if let Some(after) = layers.duration("evict-degraded-after", &config)? {
        config.evict_degraded_after = after.value;
    }
    if let Some(mode) = layers.take("signed-votes", signed_votes)? {
        config.signed_votes = mode.value;
    }
    take_damping(layers, &mut config)?;
    if let Some(threshold) = layers.number("phi-threshold")?.flatten() {
        config.phi_threshold = threshold;
    }
    Ok(Placed { value: config, place })
}

/// Takes what applications may store and publish.
fn take_user_limits(layers: &mut Layers, config: &mut Config) -> Result<(), SettingsError> {
    let mut take_bytes = |name, limit: &mut usize| {
        let most = layers.take(name, |text| setting(name).kind.bytes(text))?;
        *limit = most.map_or(*limit, |most| most.value);
        Ok(())
    };
    take_bytes("max-data", &mut config.max_data_bytes)?;
    take_bytes("max-published-bytes-per-second", &mut config.max_published_bytes_per_second)?;
    take_bytes("max-recent-publication-bytes", &mut config.max_recent_publication_bytes)?;
    let name = "max-publications-per-second";
    if let Some(most) = layers.take(name, |text| setting(name).kind.count(text))? {
        config.max_publications_per_second = most.value;
    }
    Ok(())
}

/// Takes a duration that cannot be a word.
fn take_duration(
    layers: &mut Layers,
    name: &'static str,
    config: &Config,
) -> Result<Option<Duration>, SettingsError> {
    Ok(layers.duration(name, config)?.and_then(|duration| duration.value))
}

/// Takes the closed port; `None` if hosts are not asked.
pub(super) fn take_closed_port(
    layers: &mut Layers,
    config: &mut Config,
    bound: &Placed<std::net::SocketAddr>,
) -> Result<Option<u16>, SettingsError> {
    let ask_hosts = layers.take("ask-hosts", boolean)?;
    let closed_port = layers.take("closed-port", port)?;
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
            return Err(contradiction(&asked.place, "hosts are not asked, so no port is needed"));
        }
        Some(_) | None => config.ask_hosts = true,
    }
    if closed_port.value == bound.value.port() {
        return Err(contradiction(&bound.place, "a node listens there, so the port is not closed"));
    }
    Ok(Some(closed_port.value))
}

fn take_damping(layers: &mut Layers, config: &mut Config) -> Result<(), SettingsError> {
    let default_reuse = config.flap_reuse / config.flap_suppress;
    match layers.number("flap-suppress")? {
        Some(Some(suppress)) => {
            config.flap_suppress = suppress;
            config.flap_reuse = suppress * default_reuse;
        }
        Some(None) => config.flap_suppress = f64::INFINITY,
        None => {}
    }
    let limit = config.flap_suppress.min(MAX_FLAPS);
    let reuse = |text: &str| match setting("flap-reuse").kind.number(text) {
        Ok(Some(reuse)) if reuse < limit => Ok(reuse),
        Ok(_) | Err(_) => Err(format!("expected a number from 0.1 to below {limit}")),
    };
    if let Some(reuse) = layers.take("flap-reuse", reuse)? {
        config.flap_reuse = reuse.value;
    }
    if let Some(half_life) = take_duration(layers, "flap-half-life", config)? {
        config.flap_half_life = half_life;
    }
    Ok(())
}

fn signed_votes(word: &str) -> Result<SignedVotes, String> {
    word.parse().map_err(|_| "expected off, sign or require".into())
}

fn profile(word: &str) -> Config {
    match word {
        "wan" => Config::wan(),
        "local" => Config::local(),
        _ => Config::lan(),
    }
}

fn port(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(port) if port != 0 => Ok(port),
        Ok(_) | Err(_) => Err("expected a port, 1 to 65535".into()),
    }
}
