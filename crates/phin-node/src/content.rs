//! Bytes that applications store or send: as text where they are UTF-8, else as base64.

use base64::prelude::{BASE64_STANDARD, Engine};
use serde::{Deserialize, Serialize};

use crate::text::escaped;

/// Bytes in JSON: the field `text` if they are UTF-8, else `base64`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Content {
    Text(String),
    Base64(String),
}

impl Content {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        match str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Base64(BASE64_STANDARD.encode(bytes)),
        }
    }

    /// Without a line feed at the end, which programs that print lines add.
    pub(crate) fn trimmed(&self) -> Self {
        match self {
            Self::Text(text) => Self::Text(text.strip_suffix('\n').unwrap_or(text).to_owned()),
            Self::Base64(_) => self.clone(),
        }
    }

    /// The content on one line, as so many characters at most; of bytes only how many there are.
    pub(crate) fn shown(&self, bytes: usize, max_chars: usize) -> String {
        match self {
            Self::Text(text) => {
                let cut = if text.chars().nth(max_chars).is_some() { "…" } else { "" };
                let text: String = text.chars().take(max_chars).collect();
                escaped(&text) + cut
            }
            Self::Base64(_) => format!("({bytes} bytes)"),
        }
    }
}
