//! The layers of settings: the text of each setting, and its place.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    sync::Arc,
    time::Duration,
};

use toml::de::{DeTable, DeValue};

use super::{
    flags::Flags,
    place::{Place, Placed, SettingsError, Source},
    table::{In, Kind, Range, SETTINGS, Setting, setting},
};
use crate::text_file;

/// The text of each setting from the layer that takes precedence, until the setting is taken.
pub(crate) struct Layers(BTreeMap<&'static str, Placed<String>>);

impl Layers {
    pub(crate) fn read(
        flags: &Flags,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, SettingsError> {
        let mut upper = read_environment(environment)?;
        for (name, value) in flags.given() {
            upper.insert(name, Placed { value, place: Place { name, source: Source::Flag } });
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

    /// Takes a setting and parses its text. The error of `parse` says what is allowed.
    pub(crate) fn take<T>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<Placed<T>>, SettingsError> {
        let Some(Placed { value: text, place }) = self.take_text(name) else {
            return Ok(None);
        };
        match parse(text.trim()) {
            Ok(value) => Ok(Some(Placed { value, place })),
            Err(problem) => Err(SettingsError::Invalid { place, value: text, problem }),
        }
    }

    /// The settings that are given, as text.
    pub(crate) fn texts(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.iter().map(|(name, given)| (*name, given.value.as_str()))
    }

    /// Takes a setting as text.
    pub(crate) fn take_text(&mut self, name: &'static str) -> Option<Placed<String>> {
        debug_assert_eq!(setting(name).name, name);
        self.0.remove(name)
    }

    /// Takes a setting whose value is one of several words.
    pub(crate) fn word(
        &mut self,
        name: &'static str,
    ) -> Result<Option<Placed<&'static str>>, SettingsError> {
        self.take(name, |text| setting(name).kind.word(text))
    }

    /// Takes a number within its bounds. The inner `None` is the word that may replace it.
    pub(crate) fn number(
        &mut self,
        name: &'static str,
    ) -> Result<Option<Option<f64>>, SettingsError> {
        Ok(self.take(name, |text| setting(name).kind.number(text))?.map(|number| number.value))
    }

    /// Takes a duration within the bounds of this configuration. The inner `None` is the word that may replace it.
    pub(crate) fn duration(
        &mut self,
        name: &'static str,
        config: &phin::Config,
    ) -> Result<Option<Placed<Option<Duration>>>, SettingsError> {
        self.take(name, |text| setting(name).kind.duration(text, config))
    }

    /// Asserts that every setting of the table was taken. A setting that is not taken would be ignored.
    pub(crate) fn assert_all_taken(&self) {
        debug_assert!(self.0.is_empty(), "nobody takes {:?}", self.0.keys());
    }
}

fn read_environment(
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<BTreeMap<&'static str, Placed<String>>, SettingsError> {
    let mut layer = BTreeMap::new();
    for (name, value) in environment {
        let Some(name) = name.to_str().filter(|name| name.starts_with("PHIN_")) else {
            continue;
        };
        let Some(known) = SETTINGS.iter().find(|setting| setting.variable() == name) else {
            if is_service_link(name, &value) {
                continue;
            }
            let known: Vec<_> = SETTINGS.iter().map(Setting::variable).collect();
            let hint = hint_for(name, &known);
            return Err(SettingsError::UnknownVariable { name: name.to_owned(), hint });
        };
        let place = Place { name: known.name, source: Source::Environment };
        let Ok(value) = value.into_string() else {
            let problem = "expected text in UTF-8".to_owned();
            return Err(SettingsError::Secret { place, problem });
        };
        let value = if let Kind::Tags = known.kind { tag_lines(&value) } else { value };
        layer.insert(known.name, Placed { value, place });
    }
    Ok(layer)
}

/// Tags with commas between them, a line each. A comma is part of a value unless a key and `=` follow: `role=web,api,zone=a`
/// is two tags.
fn tag_lines(text: &str) -> String {
    let mut lines = String::new();
    for part in text.split(',') {
        let key = part.split_once('=').map(|(key, _)| key.trim());
        let begins = key.is_some_and(|key| !key.is_empty() && !key.contains(char::is_whitespace));
        let (separator, part) = if begins { ("\n", part.trim_start()) } else { (",", part) };
        if !lines.is_empty() {
            lines.push_str(separator);
        }
        lines.push_str(part);
    }
    lines
}

/// Whether Kubernetes set this variable. It sets some for each service of a namespace: with a service called `phin`,
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
        let hint = if has_bare_text(line) { "; put texts in quotes" } else { "" };
        malformed(position, format!("{}{hint}", error.message()))
    })?;
    let mut layer = BTreeMap::new();
    for (name, value) in table.into_inner() {
        let position = name.span().start;
        let Some(known) = in_file().find(|setting| setting.file_key() == *name.get_ref()) else {
            let key = name.into_inner().into_owned();
            let hint = hint_for(&key, &in_file().map(Setting::file_key).collect::<Vec<_>>());
            let (path, line) = (path.to_string(), line_at(position));
            return Err(SettingsError::UnknownKey { path, line, key, hint });
        };
        let value = text_of(known.kind, value.into_inner()).map_err(|expected| {
            malformed(position, format!("{}: expected {expected}", known.file_key()))
        })?;
        let source = Source::File { path: Arc::clone(&path), line: line_at(position) };
        layer.insert(known.name, Placed { value, place: Place { name: known.name, source } });
    }
    Ok(layer)
}

fn in_file() -> impl Iterator<Item = &'static Setting> {
    SETTINGS.iter().filter(|setting| setting.layers == In::All)
}

/// The hint for an unknown setting: the probable name, or else all names.
fn hint_for(unknown: &str, known: &[String]) -> String {
    let distance = |known: &&String| strsim::damerau_levenshtein(unknown, known);
    match known.iter().min_by_key(distance) {
        Some(nearest) if distance(&nearest) <= (unknown.len() / 3).min(MAX_SLIPS) => {
            format!("did you mean {nearest}?")
        }
        _ => format!("allowed are {}", known.join(", ")),
    }
}

/// Whether a line of a settings file has an unquoted text as its value.
fn has_bare_text(line: &str) -> bool {
    let value = line.split_once('=').map_or("", |(_, value)| value.trim());
    value.starts_with(|c: char| c.is_alphabetic() || c == '/' || c == '.')
        && !matches!(value, "true" | "false")
}

/// A name with more wrong letters, or with more than a third of its letters wrong, gets no suggestion.
const MAX_SLIPS: usize = 3;

/// Converts a value of the file to the text of a flag or variable. The error says what was expected.
fn text_of(kind: Kind, value: DeValue<'_>) -> Result<String, String> {
    match (kind, value) {
        (Kind::Switch | Kind::Boolean, DeValue::Boolean(value)) => Ok(value.to_string()),
        (Kind::Switch | Kind::Boolean, _) => Err("true or false".to_owned()),
        (
            Kind::Port | Kind::Bytes(_) | Kind::Count(_) | Kind::Number(_),
            DeValue::Integer(number),
        ) => Ok(number.to_string()),
        (Kind::Number(_), DeValue::Float(number)) => Ok(number.to_string()),
        (Kind::Texts, DeValue::Array(texts)) => {
            let texts = texts.iter().map(|text| text.get_ref().as_str().map(str::to_owned));
            let texts: Option<Vec<_>> = texts.collect();
            texts.map(|texts| texts.join(",")).ok_or_else(|| LIST.to_owned())
        }
        (Kind::Tags | Kind::Lines, DeValue::Array(texts)) => {
            let texts: Option<Vec<_>> = texts.iter().map(|text| text.get_ref().as_str()).collect();
            let expected = if let Kind::Tags = kind { TAGS } else { LIST };
            texts.map(|texts| texts.join("\n")).ok_or_else(|| expected.to_owned())
        }
        (Kind::Tags, DeValue::Table(tags)) => {
            let tags = tags.iter().map(|(key, value)| {
                Some(format!("{}={}", key.get_ref(), value.get_ref().as_str()?))
            });
            let tags: Option<Vec<_>> = tags.collect();
            tags.map(|tags| tags.join("\n")).ok_or_else(|| TAGS.to_owned())
        }
        (Kind::Tags, DeValue::String(text)) => Ok(tag_lines(&text)),
        (_, DeValue::String(text)) => Ok(text.into_owned()),
        (Kind::Tags, _) => Err(TAGS.to_owned()),
        (Kind::Texts | Kind::Lines, _) => Err(LIST.to_owned()),
        (Kind::Number(Range { or: Some(word), .. }), _) => Err(format!("a number, or {word:?}")),
        (Kind::Port | Kind::Count(_) | Kind::Number(_), _) => Err("a number".to_owned()),
        (Kind::Bytes(_), _) => Err("a number of bytes, or a text such as \"16KiB\"".to_owned()),
        (Kind::Text | Kind::Word(_) | Kind::Duration(_), _) => Err("a text in quotes".to_owned()),
    }
}

const TAGS: &str = "a table of texts, such as { role = \"web\", zone = \"a\" }";
const LIST: &str = "a text, or a list of texts";
