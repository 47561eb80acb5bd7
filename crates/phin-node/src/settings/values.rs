//! Parses the values of settings, and finds pairs of values that contradict each other.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use phin::{ClusterName, Name, ServingState, Tags};
use tracing_subscriber::EnvFilter;

use super::{
    layers::Layers,
    place::{Place, Placed, SettingsError},
};
use crate::{
    failure::with_causes,
    http::{Access, Addr},
    token::Tokens,
};

/// The format of changes on standard output.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum EventFormat {
    /// One JSON object per line.
    Json,
    /// Human-readable lines.
    Text,
}

/// The format of logs on standard error.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum LogFormat {
    /// One JSON object per line.
    Json,
    /// Human-readable lines.
    Text,
}

/// The address that the node advertises.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Advertised {
    Addr(SocketAddr),
    /// A host name, with a port or without.
    Name(String),
}

/// The address to listen on.
pub(super) fn take_bind(layers: &mut Layers) -> Result<Placed<SocketAddr>, SettingsError> {
    let bind = layers.take("bind", socket_addr)?;
    Ok(bind.unwrap_or_else(|| Placed { value: DEFAULT_BIND, place: Place::default("bind") }))
}

/// The HTTP interface.
#[derive(Debug)]
pub(crate) struct Http {
    pub(crate) addr: Placed<Addr>,
    pub(crate) access: Access,
    /// The file with the tokens, if they come from one.
    pub(crate) token_file: Option<PathBuf>,
}

/// Takes the HTTP address and its access rules. An address that other machines can reach needs a token and
/// `--http-allow-remote`.
pub(super) fn take_http(layers: &mut Layers) -> Result<Option<Http>, SettingsError> {
    let addr = layers.take("http", http_addr)?;
    let tokens = take_tokens(layers)?;
    let allow_remote = layers.take("http-allow-remote", boolean)?;
    let allow_writes = layers.take("http-allow-remote-writes", boolean)?;
    let hosts = layers.take("http-host", host_names)?;
    let is_allowed = |set: &Option<Placed<bool>>| set.as_ref().is_some_and(|set| set.value);
    let needs = |place: &Place, missing: &str| {
        Err(SettingsError::Incomplete { place: place.clone(), missing: missing.into() })
    };
    if let Some(writes) = allow_writes.as_ref().filter(|set| set.value)
        && !is_allowed(&allow_remote)
    {
        return needs(&writes.place, "--http-allow-remote");
    }
    let Some(addr) = addr else {
        let allowed = allow_remote.as_ref().filter(|set| set.value).map(|set| &set.place);
        let token = tokens.as_ref().map(|(tokens, _)| &tokens.place);
        return match allowed.or(token).or(hosts.as_ref().map(|set| &set.place)) {
            Some(place) => needs(place, "--http IP:PORT"),
            None => Ok(None),
        };
    };
    if addr.value.is_remote() {
        match allow_remote {
            Some(allowed) if !allowed.value => {
                return Err(SettingsError::Contradiction {
                    first: addr.place,
                    second: allowed.place,
                    why: "other machines reach this address",
                });
            }
            Some(_) if tokens.is_some() => {}
            Some(_) | None => {
                return Err(SettingsError::RemoteHttp { place: addr.place, addr: addr.value });
            }
        }
    }
    let (tokens, token_file) = tokens.map_or((None, None), |(tokens, file)| (Some(tokens), file));
    let access = Access {
        tokens: tokens.map(|tokens| tokens.value),
        hosts: hosts.map_or_else(Vec::new, |hosts| hosts.value),
        remote_writes: is_allowed(&allow_writes),
    };
    Ok(Some(Http { addr, access, token_file }))
}

/// The tokens, and the file that they come from if they do.
type PlacedTokens = (Placed<Tokens>, Option<PathBuf>);

fn take_tokens(layers: &mut Layers) -> Result<Option<PlacedTokens>, SettingsError> {
    let file = layers.take_text("http-token-file");
    let text = layers.take_text("http-token");
    let secret = |place: &Place, problem| SettingsError::Secret { place: place.clone(), problem };
    match (file, text) {
        (Some(file), Some(text)) => Err(SettingsError::Contradiction {
            first: file.place,
            second: text.place,
            why: "both give the token",
        }),
        (Some(Placed { value: path, place }), None) => {
            let path = std::path::absolute(path).map_err(|e| secret(&place, e.to_string()))?;
            let value = Tokens::read(&path).map_err(|e| secret(&place, with_causes(&e)))?;
            Ok(Some((Placed { value, place }, Some(path))))
        }
        (None, Some(Placed { value: text, place })) => {
            let value = Tokens::parse(&text).map_err(|e| secret(&place, e.to_string()))?;
            Ok(Some((Placed { value, place }, None)))
        }
        (None, None) => Ok(None),
    }
}

/// Parses host names, separated by commas.
fn host_names(text: &str) -> Result<Vec<String>, String> {
    let name = |name: &str| {
        let name = name.trim().trim_end_matches('.').to_ascii_lowercase();
        match name.split('.').all(is_label) {
            true => Ok(name),
            false => Err("expected a host name without port, such as phin-0.phin.svc".to_owned()),
        }
    };
    text.split(',').map(name).collect()
}

pub(super) fn member_name(text: &str) -> Result<String, String> {
    Name::try_from(text).map(|name| name.to_string()).map_err(|error| error.to_string())
}

pub(super) fn cluster_name(text: &str) -> Result<String, String> {
    match text.parse::<ClusterName>() {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

pub(super) fn data_dir(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if path.exists() && !path.is_dir() {
        return Err("it is not a directory".into());
    }
    Ok(path)
}

/// Parses seeds. They stay names, because they may resolve differently at each attempt.
pub(super) fn seeds(text: &str) -> Result<Vec<String>, String> {
    text.split(',').map(|seed| checked_seed(seed.trim())).collect()
}

/// Tags, a line each.
pub(super) fn tags(text: &str) -> Result<Tags, String> {
    let mut tags = Tags::new();
    for line in text.lines() {
        let (key, value) = line.split_once('=').ok_or("expected KEY=VALUE, such as role=web")?;
        if tags.get(key).is_some() {
            return Err(format!("the tag {key} is given twice"));
        }
        tags.set(key, value).map_err(|error| error.to_string())?;
    }
    Ok(tags)
}

pub(super) fn serving(word: &str) -> ServingState {
    match word {
        "serving" => ServingState::Serving,
        "draining" => ServingState::Draining,
        _ => ServingState::NotServing("starting".try_into().expect("it is a reason")),
    }
}

pub(super) fn event_format(word: &str) -> EventFormat {
    if word == "json" { EventFormat::Json } else { EventFormat::Text }
}

pub(super) fn log_format(word: &str) -> LogFormat {
    if word == "json" { LogFormat::Json } else { LogFormat::Text }
}

pub(crate) fn log_filter(text: &str) -> Result<String, String> {
    const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];
    let expected = "expected error, warn, info, debug, trace, off, or filters such as \
                    info,phin_swim=debug";
    // Tracing treats a single word as a module to log at every level, so a mistyped level would silence the node.
    let is_word = !text.contains(['=', ',']);
    if is_word && !LEVELS.contains(&text) {
        return Err(expected.into());
    }
    match EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("{expected} ({error})")),
    }
}

/// Parses the advertised address. Port 0 or no port means the bound port.
pub(super) fn advertised(text: &str) -> Result<Advertised, String> {
    match socket_addr_or_ip(text, 0) {
        Ok(addr) if addr.ip().is_unspecified() => {
            Err("no other node can reach this address; expected one that others can reach".into())
        }
        Ok(addr) => Ok(Advertised::Addr(addr)),
        Err(_) => advertised_name(text).map(Advertised::Name),
    }
}

fn advertised_name(text: &str) -> Result<String, String> {
    let (host, port) = text.rsplit_once(':').unwrap_or((text, "0"));
    let labels = host.strip_suffix('.').unwrap_or(host).split('.');
    // A name that ends in a number is a mistyped address.
    let is_number = labels.clone().next_back().is_some_and(|last| last.parse::<u64>().is_ok());
    let is_name = labels.clone().all(is_label) && !is_number;
    match is_name && port.parse::<u16>().is_ok() {
        true => Ok(text.to_owned()),
        false => {
            Err("expected IP[:PORT] or HOST[:PORT], such as 192.0.2.7:7646 or a.example".into())
        }
    }
}

/// Whether the text is a valid label of a host name.
fn is_label(label: &str) -> bool {
    !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
}

fn socket_addr(text: &str) -> Result<SocketAddr, String> {
    socket_addr_or_ip(text, phin::DEFAULT_PORT)
}

fn socket_addr_or_ip(text: &str, default_port: u16) -> Result<SocketAddr, String> {
    let ip = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, default_port));
    text.parse().or(ip).map_err(|_| "expected IP:PORT, such as 127.0.0.1:7646 or [::1]:7646".into())
}

/// Parses an HTTP address, also as a URL: clients read the same variable as a URL, and both accept both forms.
fn http_addr(text: &str) -> Result<Addr, String> {
    if let Some(path) = Addr::unix_path(text) {
        return path.map(Addr::Unix);
    }
    let addr = text.strip_prefix("http://").map_or(text, |rest| rest.trim_end_matches('/'));
    let loopback = addr.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    let addr = loopback.as_deref().unwrap_or(addr);
    let expected = "expected IP:PORT, such as 127.0.0.1:7647 or [::1]:7647, or unix:PATH";
    addr.parse().map(Addr::Tcp).map_err(|_| expected.into())
}

pub(super) fn boolean(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| "expected true or false".into())
}

fn checked_seed(seed: &str) -> Result<String, String> {
    let (host, port) = match seed.rsplit_once(':') {
        Some((host, port)) if !seed.ends_with(']') => (host, port.parse().unwrap_or(0)),
        _ => (seed, phin::DEFAULT_PORT),
    };
    let is_host = !host.is_empty() && (host.starts_with('[') || !host.contains(':'));
    match is_host && port != 0 {
        true => Ok(seed.to_owned()),
        false => Err("expected HOST or HOST:PORT, or several with commas, such as \
                      a.example:7646,[::1]:7646"
            .into()),
    }
}

/// The default address, which only this machine can reach.
const DEFAULT_BIND: SocketAddr =
    SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), phin::DEFAULT_PORT);
