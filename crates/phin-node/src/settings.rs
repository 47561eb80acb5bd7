//! What a node is told: every setting, from flags, environment and file, with the place where it was set.
//!
//! Flags override the environment, which overrides the file. What no layer knows, what cannot be used, and what
//! contradicts something else is an error that names the setting, its place, and what is allowed.

mod admission;
mod detector;
mod layers;
mod values;

use std::{net::SocketAddr, path::PathBuf};

pub(crate) use admission::Admission;
use layers::Layers;
pub(crate) use layers::Place;
pub(crate) use values::{Advertised, EventFormat, LogFormat};

use crate::{http::Access, private_file::PrivateFileError};

/// Everything `phin run` needs to know.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) name: Option<Placed<String>>,
    pub(crate) cluster: Option<Placed<String>>,
    pub(crate) bind: Placed<SocketAddr>,
    pub(crate) advertise: Option<Placed<Advertised>>,
    pub(crate) join: Vec<String>,
    pub(crate) data_dir: Option<Placed<PathBuf>>,
    pub(crate) admission: Admission,
    /// The program that decides on newcomers.
    pub(crate) admit: Option<Placed<PathBuf>>,
    pub(crate) http: Option<Placed<SocketAddr>>,
    pub(crate) http_access: Access,
    pub(crate) config: Placed<phin::Config>,
    /// The port that members' hosts are asked for, where it is not the usual one.
    pub(crate) closed_port: Option<u16>,
    pub(crate) events: Option<EventFormat>,
    pub(crate) log: String,
    pub(crate) log_format: LogFormat,
}

/// A value, and where it was set.
#[derive(Clone, Debug)]
pub(crate) struct Placed<T> {
    pub(crate) value: T,
    pub(crate) place: Place,
}

/// Every flag of `phin run` that is a setting. They are text here; environment and file are read by the same rules.
///
/// The field names are the keys of the file; `--data-dir`, `PHIN_DATA_DIR` and `data_dir` are one setting.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Flags {
    /// Read settings from this TOML file; its keys are the long flags with `_` for `-`
    #[arg(long, value_name = "FILE")]
    config: Option<String>,
    /// The node's display name [default: the common name of its certificate, else `node-` and the start of its id]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The cluster's name; nodes of other clusters are refused [default: phin]
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// The UDP address to listen on; port 0 takes a free one [default: 127.0.0.1:7646]
    #[arg(long, value_name = "IP[:PORT]")]
    bind: Option<String>,
    /// The address or name under which others reach this node; port 0 is the bound one [default: found out]
    ///
    /// A name is resolved again every 10 s, and the node advertises the address that it has then. One that does not
    /// resolve within 10 s of the start ends the start.
    #[arg(long, value_name = "HOST[:PORT]")]
    advertise: Option<String>,
    /// A member to join through, tried until one lets us in; may be repeated, or several with commas
    #[arg(long, value_name = "HOST[:PORT]")]
    join: Vec<String>,
    /// Keep identity, generation and known peers here, so that a restart is the same member and finds back
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// A file with the cluster's key, which its owner alone may read: see `phin key new`. Further
    /// keys in it admit their holders too, while one key takes the place of another
    #[arg(long, value_name = "FILE")]
    key_file: Option<String>,
    /// The CA that admits members (PEM), in place of a cluster key: see `phin cert`
    #[arg(long, value_name = "FILE")]
    ca: Option<String>,
    /// This node's certificate (PEM)
    #[arg(long, value_name = "FILE")]
    cert: Option<String>,
    /// The certificate's private key (PEM), which its owner alone may read
    #[arg(long, value_name = "FILE")]
    key: Option<String>,
    /// A program that decides on each newcomer: success admits it, else its first line of output is the reason
    ///
    /// It is run as `PROGRAM ID NAME SEEN-AT ADDR[,ADDR]`, by the member through which the newcomer joins; so give it to
    /// every node. It is given 5 s, and up to 64 newcomers at once.
    #[arg(long, value_name = "PROGRAM")]
    admit: Option<String>,
    /// Answer operators over HTTP here [default: off; `phin members` expects 127.0.0.1:7647]
    #[arg(long, value_name = "IP:PORT")]
    http: Option<String>,
    /// Allow --http to be an address that other machines reach; they can read everything, and change nothing
    #[arg(long)]
    http_allow_remote: bool,
    /// Allow other machines to make requests that change something, such as /v1/leave, without authentication
    #[arg(long, requires = "http_allow_remote")]
    http_allow_remote_writes: bool,
    /// A host name under which this node may be asked over HTTP; may be repeated, or several with commas
    ///
    /// IP addresses and localhost need not be allowed. /livez and /readyz answer under any name, and so does /metrics
    /// on an address that other machines reach.
    #[arg(long, value_name = "NAME")]
    http_host: Vec<String>,
    /// Timings for a data centre, continents, or one machine: lan, wan, local [default: lan]
    #[arg(long, value_name = "PROFILE")]
    profile: Option<String>,
    /// How often a member probes another, such as 200ms [default: as the profile says]
    #[arg(long, value_name = "DURATION")]
    period: Option<String>,
    /// How long a member that died or left is remembered; the shortest of the cluster counts [default: 24h]
    #[arg(long, value_name = "DURATION")]
    retention: Option<String>,
    /// Up to how long a period becomes while nothing happens, which saves messages [default: never longer]
    ///
    /// The first death after a calm is noticed later, by half a period of that length in the median.
    #[arg(long, value_name = "DURATION", help_heading = DETECTOR)]
    max_period: Option<String>,
    /// How long a member whose host is silent too may be silent before it is dead [default: as the profile says]
    ///
    /// Three times as long where nothing is known of its host.
    #[arg(long, value_name = "DURATION", help_heading = DETECTOR)]
    pause_tolerance: Option<String>,
    /// How long a member whose host still answers may be silent before it is dead [default: as the profile says]
    #[arg(long, value_name = "DURATION", help_heading = DETECTOR)]
    hang_tolerance: Option<String>,
    /// After how long a member is evicted that lives but that most of its observers do not reach [default: never]
    ///
    /// Set it alike at all nodes: those without it bring an evicted member back.
    #[arg(long, value_name = "DURATION", help_heading = DETECTOR)]
    evict_degraded_after: Option<String>,
    /// How improbable a member's silence must be before it is dead: 8 is one mistake in 10^8 [default: 8]
    #[arg(long, value_name = "PHI", help_heading = DETECTOR)]
    phi_threshold: Option<String>,
    /// Whether to ask the hosts of silent members what became of them: true, false [default: true]
    #[arg(long, value_name = "BOOL", help_heading = DETECTOR)]
    ask_hosts: Option<String>,
    /// A UDP port that nobody uses on any member's host, to ask for [default: 9]
    #[arg(long, value_name = "PORT", help_heading = DETECTOR)]
    closed_port: Option<String>,
    /// From how many deaths within a half life on a member's returns are held back: a number, or off [default: 10]
    ///
    /// Each death, or start before anyone noticed one, counts one. A member held back is listed and probed as ever,
    /// but no event tells of it until the count has decayed, unless it leaves.
    #[arg(long, value_name = "DEATHS", help_heading = DETECTOR)]
    flap_suppress: Option<String>,
    /// To what that must have decayed for the member to be told of again [default: 0.3 of --flap-suppress]
    #[arg(long, value_name = "DEATHS", help_heading = DETECTOR)]
    flap_reuse: Option<String>,
    /// In which time what a member's deaths count halves [default: 10m]
    #[arg(long, value_name = "DURATION", help_heading = DETECTOR)]
    flap_half_life: Option<String>,
    /// How suspicion becomes a verdict: observers, or, for comparison, classic SWIM [default: observers]
    #[arg(long, value_name = "DETECTOR", help_heading = DETECTOR)]
    detector: Option<String>,
    /// Write each change of the membership to standard output, a line each: json, text
    ///
    /// `joined`, `suspect`, `alive`, `dead`, `left`, `updated` and `forgotten` tell of a `member`, numbered by `version`;
    /// `suspect` and `dead` with its `silence` where the node knows it: gone, hung, silent, unknown (see `phin why --help`). Of the
    /// node itself, without a member, tell `isolated` (it hears no other member, and declares nobody dead),
    /// `reconnected` (it does again) and, last, `departed`. A reader too slow is told `missed`, then a `snapshot`.
    #[arg(long, value_name = "FORMAT")]
    events: Option<String>,
    /// What to log to standard error: error, warn, info, debug, trace, or filters [default: info]
    #[arg(long, value_name = "LEVEL")]
    log: Option<String>,
    /// How to log: text, json [default: text]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
}

impl Settings {
    /// Reads and checks all layers.
    pub(crate) fn resolve(
        flags: &Flags,
        environment: impl IntoIterator<Item = (std::ffi::OsString, std::ffi::OsString)>,
    ) -> Result<Self, SettingsError> {
        let mut layers = Layers::read(flags, environment)?;
        let admission = Admission::take(&mut layers)?;
        let (http, http_access) = values::take_http(&mut layers)?;
        let bind = values::take_bind(&mut layers)?;
        let mut config = detector::take_config(&mut layers)?;
        let closed_port = detector::take_closed_port(&mut layers, &mut config.value, &bind)?;
        Ok(Self {
            name: layers.take("name", values::member_name)?,
            cluster: layers.take("cluster", values::cluster_name)?,
            bind,
            advertise: layers.take("advertise", values::advertised)?,
            join: layers.take("join", values::seeds)?.map_or_else(Vec::new, |join| join.value),
            data_dir: layers.take("data_dir", values::data_dir)?,
            admission,
            admit: layers.take("admit", values::program)?,
            http,
            http_access,
            config,
            closed_port,
            events: layers.take("events", values::event_format)?.map(|events| events.value),
            log: layers.take("log", values::log_filter)?.map_or("info".into(), |log| log.value),
            log_format: layers
                .take("log_format", values::log_format)?
                .map_or(LogFormat::Text, |format| format.value),
        })
    }
}

impl Settings {
    /// The node's name: as set, or else the common name of its certificate.
    pub(crate) fn name(&self) -> Option<String> {
        match (&self.name, &self.admission) {
            (Some(name), _) => Some(name.value.clone()),
            (None, Admission::Certificates(pem)) => {
                let described = phin::certificates::describe(&pem.cert.value).ok()?;
                let subject = &described.first()?.subject;
                let name = subject.split(", ").find_map(|part| part.strip_prefix("CN="))?;
                values::member_name(name).ok()
            }
            (None, Admission::Keys(_)) => None,
        }
    }
}

impl Flags {
    /// Each flag that was given, by the key of its setting.
    fn given(&self) -> impl Iterator<Item = (&'static str, String)> {
        let join = (!self.join.is_empty()).then(|| self.join.join(","));
        let http_host = (!self.http_host.is_empty()).then(|| self.http_host.join(","));
        let given = |flag: bool| flag.then(|| "true".to_owned());
        [
            ("admit", self.admit.clone()),
            ("advertise", self.advertise.clone()),
            ("ask_hosts", self.ask_hosts.clone()),
            ("bind", self.bind.clone()),
            ("ca", self.ca.clone()),
            ("cert", self.cert.clone()),
            ("closed_port", self.closed_port.clone()),
            ("cluster", self.cluster.clone()),
            ("config", self.config.clone()),
            ("data_dir", self.data_dir.clone()),
            ("detector", self.detector.clone()),
            ("events", self.events.clone()),
            ("flap_half_life", self.flap_half_life.clone()),
            ("flap_reuse", self.flap_reuse.clone()),
            ("flap_suppress", self.flap_suppress.clone()),
            ("evict_degraded_after", self.evict_degraded_after.clone()),
            ("hang_tolerance", self.hang_tolerance.clone()),
            ("http", self.http.clone()),
            ("http_allow_remote", given(self.http_allow_remote)),
            ("http_allow_remote_writes", given(self.http_allow_remote_writes)),
            ("http_host", http_host),
            ("join", join),
            ("key", self.key.clone()),
            ("key_file", self.key_file.clone()),
            ("log", self.log.clone()),
            ("log_format", self.log_format.clone()),
            ("max_period", self.max_period.clone()),
            ("name", self.name.clone()),
            ("pause_tolerance", self.pause_tolerance.clone()),
            ("period", self.period.clone()),
            ("phi_threshold", self.phi_threshold.clone()),
            ("profile", self.profile.clone()),
            ("retention", self.retention.clone()),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?)))
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

/// The heading in `--help` of what few clusters need to set.
const DETECTOR: &str = "Detector (the defaults fit most clusters)";

#[cfg(test)]
mod tests;
