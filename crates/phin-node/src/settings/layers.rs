//! The layers of settings: which text was given for which setting, and where.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fmt,
    sync::Arc,
};

use toml::de::{DeTable, DeValue};

use super::{Flags, Placed, SettingsError};
use crate::text_file;

/// The text given for each setting by the layer that counts, until the setting is taken.
pub(crate) struct Layers(BTreeMap<&'static str, Placed<String>>);

/// Where a setting was set, named as its layer names it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Place {
    key: &'static str,
    source: Source,
}

/// Which layer a value came from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Source {
    Default,
    File { path: Arc<str>, line: usize },
    Environment,
    Flag,
}

impl Place {
    pub(crate) fn default(key: &'static str) -> Self {
        Self { key, source: Source::Default }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Source::Default => write!(f, "{} (the default)", flag_of(self.key)),
            Source::File { path, line } => write!(f, "{path}:{line}: {}", self.key),
            Source::Environment => f.write_str(&variable_of(self.key)),
            Source::Flag => f.write_str(&flag_of(self.key)),
        }
    }
}

impl Layers {
    pub(crate) fn read(
        flags: &Flags,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, SettingsError> {
        let mut upper = read_environment(environment)?;
        for (key, value) in flags.given() {
            upper.insert(key, Placed { value, place: Place { key, source: Source::Flag } });
        }
        let mut layers = match upper.remove("config") {
            Some(config) => read_file(&config)?,
            None => BTreeMap::new(),
        };
        layers.extend(upper);
        match layers.values().find(|given| given.value.trim().is_empty()) {
            Some(given) => Err(SettingsError::Empty { place: given.place.clone() }),
            None => Ok(Self(layers)),
        }
    }

    /// Takes a setting and reads its text; `parse` says what is allowed where it cannot.
    pub(crate) fn take<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<Placed<T>>, SettingsError> {
        let Some(Placed { value: text, place }) = self.take_text(key) else {
            return Ok(None);
        };
        match parse(text.trim()) {
            Ok(value) => Ok(Some(Placed { value, place })),
            Err(problem) => Err(SettingsError::Invalid { place, value: text, problem }),
        }
    }

    /// Takes a setting as the text it was given as.
    pub(crate) fn take_text(&mut self, key: &'static str) -> Option<Placed<String>> {
        debug_assert!(is_key(key, &[KEYS, VARIABLES_ONLY]).is_some(), "{key} is no setting");
        self.0.remove(key)
    }
}

/// How a setting's flag is called.
pub(crate) fn flag_of(key: &str) -> String {
    match key {
        // A secret on a command line would be seen by every user of the machine.
        "cluster_key" => variable_of(key),
        _ => format!("--{}", key.replace('_', "-")),
    }
}

/// How a setting's environment variable is called.
pub(crate) fn variable_of(key: &str) -> String {
    format!("PHIN_{}", key.to_uppercase())
}

fn read_environment(
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<BTreeMap<&'static str, Placed<String>>, SettingsError> {
    let mut layer = BTreeMap::new();
    for (name, value) in environment {
        let Some(name) = name.to_str().filter(|name| name.starts_with("PHIN_")) else {
            continue;
        };
        let lower_case = name["PHIN_".len()..].to_lowercase();
        let known = is_key(&lower_case, &[KEYS, VARIABLES_ONLY]);
        let Some(key) = known.filter(|key| variable_of(key) == name) else {
            if is_service_link(name, &value) {
                continue;
            }
            let keys = KEYS.iter().chain(VARIABLES_ONLY).map(|key| variable_of(key));
            let hint = hint_for(name, &keys.collect::<Vec<_>>());
            return Err(SettingsError::UnknownVariable { name: name.to_owned(), hint });
        };
        let place = Place { key, source: Source::Environment };
        let Ok(value) = value.into_string() else {
            let problem = "expected text in UTF-8".to_owned();
            return Err(SettingsError::Secret { place, problem });
        };
        layer.insert(key, Placed { value, place });
    }
    Ok(layer)
}

/// Whether Kubernetes made this variable, as it does for each service of a namespace: with a service called `phin`,
/// every pod has a `PHIN_SERVICE_HOST`, a `PHIN_PORT` with a URL, and a `PHIN_PORT_7646_UDP_ADDR`.
fn is_service_link(name: &str, value: &OsStr) -> bool {
    let is_url = value.to_str().is_some_and(|value| value.contains("://"));
    name.contains("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || (name.ends_with("_PORT") && is_url)
        || name
            .split_once("_PORT_")
            .is_some_and(|(_, rest)| rest.starts_with(|c: char| c.is_ascii_digit()))
}

fn read_file(
    config: &Placed<String>,
) -> Result<BTreeMap<&'static str, Placed<String>>, SettingsError> {
    let path: Arc<str> = config.value.as_str().into();
    let text = text_file::read(&*path).map_err(|source| SettingsError::FileUnreadable {
        path: path.to_string(),
        place: config.place.clone(),
        source,
    })?;
    let line_at = |position: usize| 1 + text[..position].matches('\n').count();
    let malformed = |position, problem| SettingsError::FileMalformed {
        path: path.to_string(),
        line: line_at(position),
        problem,
    };
    let table = DeTable::parse(&text).map_err(|error| {
        let position = error.span().map_or(0, |span| span.start);
        let line = text.lines().nth(line_at(position) - 1).unwrap_or_default();
        let hint = if has_bare_text(line) { "; texts stand in quotes" } else { "" };
        malformed(position, format!("{}{hint}", error.message()))
    })?;
    let mut layer = BTreeMap::new();
    for (name, value) in table.into_inner() {
        let position = name.span().start;
        let Some(key) = is_key(name.get_ref(), &[KEYS]) else {
            let key = name.into_inner().into_owned();
            let hint = hint_for(&key, &KEYS.iter().map(ToString::to_string).collect::<Vec<_>>());
            let (path, line) = (path.to_string(), line_at(position));
            return Err(SettingsError::UnknownKey { path, line, key, hint });
        };
        let value = text_of(key, value.into_inner())
            .map_err(|expected| malformed(position, format!("{key}: expected {expected}")))?;
        let source = Source::File { path: Arc::clone(&path), line: line_at(position) };
        layer.insert(key, Placed { value, place: Place { key, source } });
    }
    Ok(layer)
}

/// What to do about a name that is no setting: the one that was probably meant, or else all of them.
fn hint_for(unknown: &str, known: &[String]) -> String {
    let distance = |known: &&String| strsim::damerau_levenshtein(unknown, known);
    match known.iter().min_by_key(distance) {
        Some(nearest) if distance(&nearest) <= (unknown.len() / 3).min(MAX_SLIPS) => {
            format!("did you mean {nearest}?")
        }
        _ => format!("allowed are {}", known.join(", ")),
    }
}

/// Whether a line of a settings file has a value that begins like a word, which only `true` and `false` may.
fn has_bare_text(line: &str) -> bool {
    let value = line.split_once('=').map_or("", |(_, value)| value.trim());
    value.starts_with(|c: char| c.is_alphabetic() || c == '/' || c == '.')
        && !matches!(value, "true" | "false")
}

/// A name that differs from a setting's in more letters, or in more than a third of its own, is no slip.
const MAX_SLIPS: usize = 3;

/// The text that a flag or variable would have for a value of the file, or what was expected instead.
fn text_of(key: &str, value: DeValue<'_>) -> Result<String, &'static str> {
    match (key, value) {
        (
            "ask_hosts" | "http_allow_remote" | "http_allow_remote_writes",
            DeValue::Boolean(value),
        ) => Ok(value.to_string()),
        ("ask_hosts" | "http_allow_remote" | "http_allow_remote_writes", _) => Err("true or false"),
        (
            "closed_port" | "flap_reuse" | "flap_suppress" | "phi_threshold",
            DeValue::Integer(number),
        ) => Ok(number.to_string()),
        ("flap_reuse" | "flap_suppress" | "phi_threshold", DeValue::Float(number)) => {
            Ok(number.to_string())
        }
        ("join" | "http_host", DeValue::Array(texts)) => {
            let texts = texts.iter().map(|text| text.get_ref().as_str().map(str::to_owned));
            let texts: Option<Vec<_>> = texts.collect();
            texts.map(|texts| texts.join(",")).ok_or("a text, or a list of texts")
        }
        (_, DeValue::String(text)) => Ok(text.into_owned()),
        ("join" | "http_host", _) => Err("a text, or a list of texts"),
        ("closed_port" | "flap_reuse" | "phi_threshold", _) => Err("a number"),
        ("flap_suppress", _) => Err("a number, or \"off\""),
        (_, _) => Err("a text in quotes"),
    }
}

fn is_key(name: &str, lists: &[&[&'static str]]) -> Option<&'static str> {
    lists.iter().copied().flatten().copied().find(|key| *key == name)
}

/// Every setting that a file can have; flags and variables have them too.
pub(super) const KEYS: &[&str] = &[
    "admit",
    "advertise",
    "ask_hosts",
    "bind",
    "ca",
    "cert",
    "closed_port",
    "cluster",
    "data_dir",
    "detector",
    "events",
    "flap_half_life",
    "flap_reuse",
    "flap_suppress",
    "evict_degraded_after",
    "hang_tolerance",
    "http",
    "http_allow_remote",
    "http_allow_remote_writes",
    "http_host",
    "join",
    "key",
    "key_file",
    "log",
    "log_format",
    "max_period",
    "name",
    "pause_tolerance",
    "period",
    "phi_threshold",
    "profile",
    "retention",
];
/// What the environment can tell besides: where the file is, and the key itself.
pub(super) const VARIABLES_ONLY: &[&str] = &["cluster_key", "config"];
