//! The places of settings, and the errors of settings.

use std::{fmt, sync::Arc};

use super::table::setting;
use crate::{http::Addr, private_file::PrivateFileError};

/// A value and the place where it was set.
#[derive(Clone, Debug)]
pub(crate) struct Placed<T> {
    pub(crate) value: T,
    pub(crate) place: Place,
}

/// The place where a setting was set, with the name that its layer uses.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Place {
    pub(super) name: &'static str,
    pub(super) source: Source,
}

/// The layer of a value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Source {
    Default,
    File { path: Arc<str>, line: usize },
    Environment,
    Flag,
}

impl Place {
    pub(crate) fn default(name: &'static str) -> Self {
        Self { name, source: Source::Default }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let setting = setting(self.name);
        match &self.source {
            Source::Default => write!(f, "{} (the default)", setting.flag()),
            Source::File { path, line } => write!(f, "{path}:{line}: {}", setting.file_key()),
            Source::Environment => f.write_str(&setting.variable()),
            Source::Flag => f.write_str(&setting.flag()),
        }
    }
}

/// An invalid setting: its place and the allowed values.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    #[error("cannot read the settings file {path} ({place})")]
    FileUnreadable { path: String, place: Place, source: std::io::Error },
    #[error("{path}:{line}: {problem}")]
    FileMalformed { path: String, line: usize, problem: String },
    #[error("{path}:{line}: unknown setting {key:?}; {hint}")]
    UnknownKey { path: String, line: usize, key: String, hint: String },
    #[error("unknown setting {name} in the environment; {hint}")]
    UnknownVariable { name: String, hint: String },
    #[error("{place} is empty; give it a value or remove it")]
    Empty { place: Place },
    #[error("{place} is {value:?}: {problem}")]
    Invalid { place: Place, value: String, problem: String },
    #[error("{place}: {problem}")]
    Secret { place: Place, problem: String },
    #[error("{place}: {source}")]
    SecretFile { place: Place, source: PrivateFileError },
    #[error("{first} and {second} contradict each other: {why}")]
    Contradiction { first: Place, second: Place, why: &'static str },
    #[error("{place} needs {missing} as well")]
    Incomplete { place: Place, missing: String },
    #[error(
        "{place} is {addr}, which other machines can reach; to let those that have a token read the membership and \
         metrics, set --http-token-file (`phin key token` makes one) and --http-allow-remote as well"
    )]
    RemoteHttp { place: Place, addr: Addr },
    #[error(
        "no key or certificate is set; make a key with `phin key new --out cluster.key` and \
         give each node --key-file cluster.key or its content in PHIN_CLUSTER_KEY, or give each \
         --ca, --cert and --key (see `phin cert`)"
    )]
    NoAdmission,
}
