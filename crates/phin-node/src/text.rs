//! Formats of times, ids, and texts of other nodes.

use std::{io::IsTerminal, time::SystemTime};

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};

/// A time as RFC 3339 in UTC with microseconds.
pub(crate) fn rfc3339(at: SystemTime) -> String {
    // Only a clock that is wrong by thousands of years is out of range.
    let at = Timestamp::try_from(at).unwrap_or(Timestamp::UNIX_EPOCH);
    format!("{at:.6}")
}

/// A time to the millisecond. Programs get all digits from JSON.
pub(crate) fn readable(at: &str) -> String {
    match at.char_indices().nth("2026-01-02T03:04:05.678".len()) {
        Some((end, _)) => format!("{}Z", &at[..end]),
        None => at.to_owned(),
    }
}

/// A time, as [`readable`] shows it.
pub(crate) fn readable_time(at: SystemTime) -> String {
    readable(&rfc3339(at))
}

/// The first digits of an id, as tables show it. Programs get the whole id with `--json`.
pub(crate) fn short(id: &str) -> String {
    id.chars().take(8).collect()
}

/// Deserializes a text so that it is safe to print on a terminal: escapes invisible characters, refuses control
/// characters.
pub(crate) fn printable<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    match text.chars().find(|c| c.is_control()) {
        None => Ok(escaped(&text)),
        Some(found) => Err(serde::de::Error::custom(format!("{found:?} in a text"))),
    }
}

/// [`printable`] for a text that may be missing.
pub(crate) fn printable_option<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    struct Text(#[serde(deserialize_with = "printable")] String);
    Ok(Option::<Text>::deserialize(deserializer)?.map(|Text(text)| text))
}

/// Escapes invisible characters and those that a terminal interprets.
pub(crate) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match phin::is_printable(c) {
            true => escaped.push(c),
            false => escaped.extend(c.escape_unicode()),
        }
    }
    escaped
}

/// Whether to print colours: on a terminal, unless `NO_COLOR` is set (<https://no-color.org>).
pub(crate) fn is_colourful(to: &impl IsTerminal) -> bool {
    to.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
