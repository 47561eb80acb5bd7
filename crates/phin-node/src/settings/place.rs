//! Where a setting was set, and what is wrong with it there.

use std::{fmt, net::SocketAddr, sync::Arc};

use super::table::setting;
use crate::private_file::PrivateFileError;

/// A value, and where it was set.
#[derive(Clone, Debug)]
pub(crate) struct Placed<T> {
    pub(crate) value: T,
    pub(crate) place: Place,
}

/// Where a setting was set, named as its layer names it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Place {
    pub(super) name: &'static str,
    pub(super) source: Source,
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

/// Which setting cannot be used, where it was set, and what is allowed.
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
    #[error("{place} is set to nothing; give it a value or take it away")]
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
        "{place} is {addr}, which other machines can reach, and HTTP has no authentication; to let them read \
         the membership and metrics, set --http-allow-remote as well"
    )]
    RemoteHttp { place: Place, addr: SocketAddr },
    #[error(
        "nothing says who may be in the cluster; make a key with `phin key new --out cluster.key` and \
         give each node --key-file cluster.key or its content in PHIN_CLUSTER_KEY, or give each \
         --ca, --cert and --key (see `phin cert`)"
    )]
    NoAdmission,
}
