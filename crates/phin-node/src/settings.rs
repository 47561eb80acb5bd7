//! The settings of a node, from flags, environment and file, each with the place where it was set.
//!
//! Flags override the environment, which overrides the file. Unknown, invalid and contradictory settings are errors
//! that name the setting, its place, and the allowed values.

mod admission;
mod detector;
mod fingerprint;
mod flags;
mod hooks;
mod layers;
mod place;
mod table;
mod values;

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

pub(crate) use admission::Admission;
pub(crate) use fingerprint::{CREDENTIAL_FILES, Fingerprints};
pub(crate) use flags::{CredentialFlags, Flags};
pub(crate) use hooks::Hooks;
use layers::Layers;
use place::SettingsError;
pub(crate) use place::{Place, Placed};
use table::{In, setting};
pub(crate) use values::{Advertised, EventFormat, Http, LogFormat, log_filter};

use crate::{admin_key, program::Program, traces::Url};

/// All settings of `phin run`.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) name: Option<Placed<String>>,
    pub(crate) cluster: Option<Placed<String>>,
    pub(crate) bind: Placed<SocketAddr>,
    pub(crate) advertise: Option<Placed<Advertised>>,
    pub(crate) join: Vec<String>,
    pub(crate) tags: phin::Tags,
    pub(crate) serving: phin::ServingState,
    pub(crate) data_dir: Option<Placed<PathBuf>>,
    pub(crate) admission: Admission,
    /// The public admin keys, whose statements expel members.
    pub(crate) admin_keys: Vec<phin::AdminPublicKey>,
    /// The program that decides on newcomers.
    pub(crate) admit: Option<Placed<Program>>,
    /// The programs that run on events.
    pub(crate) hooks: Hooks,
    pub(crate) http: Option<Http>,
    /// How many watchers the node serves, if it is not the default.
    pub(crate) watchers: Option<usize>,
    pub(crate) config: Placed<phin::Config>,
    /// The closed port of members' hosts, if it is not the default.
    pub(crate) closed_port: Option<u16>,
    pub(crate) events: Option<EventFormat>,
    /// Whether files with credentials are watched.
    pub(crate) watch_files: bool,
    pub(crate) fingerprints: Fingerprints,
    /// Those that are given, as text, without secrets.
    pub(crate) shown: BTreeMap<&'static str, String>,
    /// The collector that receives a trace of each suspicion.
    pub(crate) otlp_traces: Option<Url>,
    pub(crate) log: String,
    pub(crate) log_format: LogFormat,
}

impl Settings {
    /// Reads and checks all layers.
    pub(crate) fn resolve(
        flags: &Flags,
        environment: impl IntoIterator<Item = (std::ffi::OsString, std::ffi::OsString)>,
    ) -> Result<Self, SettingsError> {
        let mut layers = Layers::read(flags, environment)?;
        let fingerprints = Fingerprints::take(layers.texts());
        let shown = layers.texts().filter_map(|(name, text)| Some((name, shown(name, text)?)));
        let shown = shown.collect();
        let admission = Admission::take(&mut layers)?;
        let http = values::take_http(&mut layers)?;
        let bind = values::take_bind(&mut layers)?;
        let mut config = detector::take_config(&mut layers)?;
        let closed_port = detector::take_closed_port(&mut layers, &mut config.value, &bind)?;
        let watchers = layers.take("watchers", |text| setting("watchers").kind.count(text))?;
        let watchers = watchers.and_then(|count| usize::try_from(count.value).ok());
        let hooks = Hooks::take(&mut layers, &config.value)?;
        let settings = Self {
            name: layers.take("name", values::member_name)?,
            cluster: layers.take("cluster", values::cluster_name)?,
            bind,
            advertise: layers.take("advertise", values::advertised)?,
            join: layers.take("join", values::seeds)?.map_or_else(Vec::new, |join| join.value),
            tags: layers.take("tags", values::tags)?.map(|tags| tags.value).unwrap_or_default(),
            serving: layers
                .word("serving")?
                .map_or_else(Default::default, |serving| values::serving(serving.value)),
            data_dir: layers.take("data-dir", values::data_dir)?,
            admission,
            admin_keys: layers
                .take("admin-key", admin_key::read_public)?
                .map_or_else(Vec::new, |keys| keys.value),
            admit: layers.take("admit", Program::new)?,
            hooks,
            http,
            watchers,
            config,
            closed_port,
            events: layers.word("events")?.map(|events| values::event_format(events.value)),
            watch_files: layers
                .take("watch-files", values::boolean)?
                .is_none_or(|watch| watch.value),
            fingerprints,
            shown,
            otlp_traces: layers.take("otlp-traces", str::parse)?.map(|url| url.value),
            log: layers.take("log", values::log_filter)?.map_or("info".into(), |log| log.value),
            log_format: layers
                .word("log-format")?
                .map_or(LogFormat::Text, |format| values::log_format(format.value)),
        };
        layers.assert_all_taken();
        Ok(settings)
    }
}

impl Settings {
    /// The credentials for the crate.
    pub(crate) fn credentials(&self) -> phin::Credentials {
        self.admission.credentials().admin_keys(self.admin_keys.iter().copied())
    }

    /// Takes over the values of these settings, which are in effect now.
    pub(crate) fn take_over(&mut self, read: Self, applied: &[&'static str]) {
        self.fingerprints.take_over(&read.fingerprints, applied);
        for &name in applied {
            match read.shown.get(name) {
                Some(text) => self.shown.insert(name, text.clone()),
                None => self.shown.remove(name),
            };
        }
        if applied.contains(&"tags") {
            self.tags = read.tags;
        }
        if applied.contains(&"watch-files") {
            self.watch_files = read.watch_files;
        }
    }

    /// The name of the node: the setting, or else the common name of its certificate.
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

/// A setting as others may see it: `None` for a secret. Programs are shown without their arguments, which may be secrets.
fn shown(name: &str, text: &str) -> Option<String> {
    if setting(name).layers == In::Variable {
        return None;
    }
    if !["on", "answer", "admit"].contains(&name) {
        return Some(text.to_owned());
    }
    let programs = text.lines().map(|line| match line.split_once(' ') {
        Some((program, _)) => format!("{program} (arguments left out)"),
        None => line.to_owned(),
    });
    Some(programs.collect::<Vec<_>>().join("\n"))
}

/// The flag or variable of a setting.
pub(crate) fn flag(name: &str) -> String {
    setting(name).flag()
}

/// The settings of a client that is no member.
#[derive(Debug)]
pub(crate) struct Credentials {
    pub(crate) cluster: Option<String>,
    pub(crate) admission: Admission,
}

impl Credentials {
    /// Reads them from the same layers as those of a node, whose other settings it leaves unread.
    pub(crate) fn resolve(
        flags: &CredentialFlags,
        environment: impl IntoIterator<Item = (std::ffi::OsString, std::ffi::OsString)>,
    ) -> Result<Self, SettingsError> {
        let mut layers = Layers::read(&flags.0, environment)?;
        let admission = Admission::take(&mut layers)?;
        let cluster = layers.take("cluster", values::cluster_name)?;
        Ok(Self { cluster: cluster.map(|cluster| cluster.value), admission })
    }
}

#[cfg(test)]
mod tests;
