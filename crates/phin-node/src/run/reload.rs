//! Reads the settings again while the node runs, and applies what can be applied.
//!
//! All of it is checked first. If anything cannot be used, nothing changes.

use std::{
    collections::BTreeMap,
    env,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use phin::{Cluster, ReplaceCredentialsError, Tags};
use serde::{Deserialize, Serialize};
use tokio::{sync::Mutex, task::spawn_blocking, time::sleep};
use tracing::{error, info};

use super::{expiry::Expiry, keys::Keys, programs::Programs};
use crate::{
    failure::with_causes,
    http::{Access, Guard},
    logging::LogFilter,
    program::Program,
    settings::{CREDENTIAL_FILES, Flags, Settings, flag},
    supervisor::Supervisor,
};

/// The outcome of a reload.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Reloaded {
    /// The settings that changed and are in effect, by the names of their flags.
    pub(crate) applied: Vec<String>,
    /// The settings that changed and take effect only at a restart.
    pub(crate) needs_restart: Vec<String>,
    /// The connections closed because the credentials of the other side are accepted no longer.
    pub(crate) connections_closed: usize,
}

/// Why nothing was reloaded.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("nothing was changed: {reason}")]
pub(crate) struct NotReloaded {
    pub(crate) reason: String,
}

/// The part of the settings that a reload applies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Scope {
    Everything,
    /// Keys, certificates, revocation lists and tokens.
    Credentials,
}

/// Reloads the settings of a running node, one request after the other.
pub(crate) struct Reloader {
    flags: Flags,
    cluster: Cluster,
    parts: Parts,
    /// The settings that are in effect, as far as they can change.
    running: Mutex<Settings>,
}

/// The parts of a running node that have settings.
pub(crate) struct Parts {
    pub(crate) guard: Arc<Guard>,
    pub(crate) programs: Arc<Mutex<Programs>>,
    pub(crate) log: LogFilter,
    pub(crate) admit: Option<Arc<RwLock<Program>>>,
    pub(crate) expiry: Arc<Expiry>,
    pub(crate) keys: Keys,
    pub(crate) supervisor: Arc<Supervisor>,
}

impl Reloader {
    pub(crate) fn new(flags: Flags, cluster: Cluster, parts: Parts, running: Settings) -> Self {
        Self { flags, cluster, parts, running: Mutex::new(running) }
    }

    /// The settings that are in effect, without secrets, and those of the protocol with their defaults.
    pub(crate) async fn shown(&self) -> (BTreeMap<String, String>, serde_json::Value) {
        let running = self.running.lock().await;
        let shown = running.shown.iter().map(|(name, text)| ((*name).to_owned(), text.clone()));
        let config = serde_json::to_value(&running.config.value);
        (shown.collect(), config.expect("a configuration is plain data"))
    }

    /// Reloads, and logs the outcome. It goes on if the future is dropped.
    pub(crate) async fn reload(
        self: &Arc<Self>,
        scope: Scope,
        asked_by: &'static str,
    ) -> Result<Reloaded, NotReloaded> {
        let this = Arc::clone(self);
        let task = tokio::spawn(async move { this.reload_now(scope).await });
        let stopped = || NotReloaded { reason: "the node stops".into() };
        let result = task.await.unwrap_or_else(|_| Err(stopped()));
        match &result {
            Ok(Reloaded { applied, needs_restart, connections_closed }) => {
                let (applied, needs_restart) = (applied.join(" "), needs_restart.join(" "));
                info!(
                    asked_by,
                    applied, needs_restart, connections_closed, "reloaded the settings"
                );
            }
            Err(NotReloaded { reason }) => {
                error!(asked_by, reason, "cannot reload the settings; nothing was changed");
            }
        }
        result
    }

    async fn reload_now(&self, scope: Scope) -> Result<Reloaded, NotReloaded> {
        let mut running = self.running.lock().await;
        self.parts.supervisor.reloading().await;
        let result = self.reload_to(&mut running, scope).await;
        self.parts.supervisor.reloaded().await;
        result
    }

    async fn reload_to(
        &self,
        running: &mut Settings,
        scope: Scope,
    ) -> Result<Reloaded, NotReloaded> {
        let flags = self.flags.clone();
        // Files may be slow.
        let read = spawn_blocking(move || Settings::resolve(&flags, env::vars_os())).await;
        let read = read.map_err(|_| refused("the node stops"))?;
        let mut read = read.map_err(|error| refused(with_causes(&error)))?;
        let mut changed = running.fingerprints.changed(&read.fingerprints);
        if scope == Scope::Credentials {
            changed.retain(|name| CREDENTIAL_FILES.contains(name));
            read.admission.keep_rule_for_ids(&running.admission);
        }
        let has_changed = |name: &str| changed.contains(&name);
        let config = config_to_apply(&running.config.value, &read.config.value, &changed);
        if let Some(config) = &config {
            config.check().map_err(|error| refused(with_causes(&error)))?;
        }
        let tags = match has_changed("tags") {
            true => Some(self.check_tags(&running.tags, &read.tags).await?),
            false => None,
        };
        let mut reloaded = Reloaded::default();
        // First, because only this can fail beside what was checked; it changes everything or nothing.
        if changed.iter().any(|name| ADMISSION.contains(name)) {
            let credentials = read.credentials();
            let replaced = self.cluster.replace_credentials(credentials).await;
            reloaded.connections_closed = replaced.map_err(|error| credentials_refused(&error))?;
            self.parts.expiry.set(&read.admission);
            self.parts.keys.set(&read.admission);
        }
        if let Some(tags) = tags {
            let changed = self.cluster.change_tags(tags).await;
            changed.map_err(|error| refused(with_causes(&error)))?;
        }
        if has_changed("join") {
            let set = self.cluster.set_seeds(&read.join).await;
            set.map_err(|error| refused(with_causes(&error)))?;
        }
        if let Some(config) = config {
            let applied = self.cluster.reconfigure(config.clone()).await;
            applied.map_err(|error| refused(with_causes(&error)))?;
            running.config.value = config;
        }
        self.apply(running, &read, &changed).await;
        let is_applied = |name: &&str| self.can_apply(name, running, &read);
        let (applied, needs_restart): (Vec<_>, Vec<_>) = changed.into_iter().partition(is_applied);
        let flags = |names: &[&str]| names.iter().map(|name| flag(name)).collect();
        (reloaded.applied, reloaded.needs_restart) = (flags(&applied), flags(&needs_restart));
        running.take_over(read, &applied);
        Ok(reloaded)
    }

    /// Applies what cannot fail.
    async fn apply(&self, running: &mut Settings, read: &Settings, changed: &[&'static str]) {
        let any = |names: &[&str]| changed.iter().any(|name| names.contains(name));
        if let Some(access) = access_to_apply(running, read)
            && let Some(http) = &mut running.http
        {
            take_over_access(&mut http.access, access, changed);
            self.parts.guard.set(http.access.clone());
        }
        if any(&["log"]) {
            self.parts.log.set(&read.log);
        }
        if any(&["admit"])
            && let (Some(admit), Some(program)) = (&self.parts.admit, &read.admit)
        {
            *admit.write().unwrap_or_else(PoisonError::into_inner) = program.value.clone();
        }
        if any(PROGRAMS) {
            self.parts.programs.lock().await.replace(&read.hooks).await;
        }
    }

    /// Whether a setting can take effect now.
    fn can_apply(&self, name: &str, running: &Settings, read: &Settings) -> bool {
        match name {
            name if HTTP.contains(&name) => access_to_apply(running, read).is_some(),
            // Whether newcomers are decided on is fixed.
            "admit" => self.parts.admit.is_some() && read.admit.is_some(),
            name => {
                ADMISSION.contains(&name)
                    || PROGRAMS.contains(&name)
                    || PROTOCOL.contains(&name)
                    || ["tags", "join", "log", "watch-files"].contains(&name)
            }
        }
    }

    /// The changes between two sets of tags, if the node's tags allow them. Tags that were changed while the node ran stay,
    /// unless the settings changed them too.
    async fn check_tags(
        &self,
        running: &Tags,
        read: &Tags,
    ) -> Result<BTreeMap<String, Option<String>>, NotReloaded> {
        let owned = |(key, value): (&str, &str)| (key.to_owned(), Some(value.to_owned()));
        let mut changes: BTreeMap<_, _> = running
            .iter()
            .filter(|(key, _)| read.get(key).is_none())
            .map(|(key, _)| (key.to_owned(), None))
            .collect();
        let set = read.iter().filter(|(key, value)| running.get(key) != Some(value));
        changes.extend(set.map(owned));
        let mut present =
            self.cluster.tags().await.map_err(|error| refused(with_causes(&error)))?;
        for key in changes.keys() {
            present.remove(key);
        }
        for (key, value) in &changes {
            if let Some(value) = value {
                let set = present.set(key, value);
                set.map_err(|error| refused(format!("--tag {key}: {error}")))?;
            }
        }
        Ok(changes)
    }
}

/// The configuration with those changes that can be applied, if there are any.
fn config_to_apply(
    running: &phin::Config,
    read: &phin::Config,
    changed: &[&'static str],
) -> Option<phin::Config> {
    let mut config = running.clone();
    for &name in changed.iter().filter(|name| PROTOCOL.contains(name)) {
        match name {
            "evict-degraded-after" => config.evict_degraded_after = read.evict_degraded_after,
            "flap-half-life" => config.flap_half_life = read.flap_half_life,
            // The default of the one is a part of the other.
            "flap-reuse" | "flap-suppress" => {
                config.flap_reuse = read.flap_reuse;
                config.flap_suppress = read.flap_suppress;
            }
            "max-data" => config.max_data_bytes = read.max_data_bytes,
            "max-publications-per-second" => {
                config.max_publications_per_second = read.max_publications_per_second;
            }
            "max-published-bytes-per-second" => {
                config.max_published_bytes_per_second = read.max_published_bytes_per_second;
            }
            "max-recent-publication-bytes" => {
                config.max_recent_publication_bytes = read.max_recent_publication_bytes;
            }
            "retention" => config.retention = read.retention,
            other => debug_assert!(false, "{other} is not applied"),
        }
    }
    (config != *running).then_some(config)
}

/// The rules of access to HTTP, if they are for the address at which the node listens. Those for another one might need no
/// token.
fn access_to_apply<'a>(running: &Settings, read: &'a Settings) -> Option<&'a Access> {
    let (running, read) = (running.http.as_ref()?, read.http.as_ref()?);
    (running.addr.value == read.addr.value).then_some(&read.access)
}

/// Takes over the rules whose settings have changed.
fn take_over_access(access: &mut Access, read: &Access, changed: &[&'static str]) {
    if changed.contains(&"http-token-file") {
        access.tokens.clone_from(&read.tokens);
    }
    if changed.contains(&"http-host") {
        access.hosts.clone_from(&read.hosts);
    }
    if changed.contains(&"http-allow-remote-writes") {
        access.remote_writes = read.remote_writes;
    }
}

fn refused(reason: impl Into<String>) -> NotReloaded {
    NotReloaded { reason: reason.into() }
}

fn credentials_refused(error: &ReplaceCredentialsError) -> NotReloaded {
    refused(with_causes(error))
}

/// Reloads the credentials when one of their files has other content: the symbolic link of a volume that Kubernetes swaps
/// changes no file in place.
pub(crate) async fn watch_files(reloader: Arc<Reloader>) {
    let mut last: Option<Seen> = None;
    loop {
        sleep(LOOK_INTERVAL).await;
        let (is_on, fingerprints) = {
            let running = reloader.running.lock().await;
            (running.watch_files, running.fingerprints.clone())
        };
        let looked = spawn_blocking(move || fingerprints.of_files_now()).await;
        let Ok((content, differs)) = looked else { return };
        let is_settled = last.as_ref().is_some_and(|last| last.content == content);
        if !is_settled {
            last = Some(Seen { content, is_tried: false });
            continue;
        }
        // Files are replaced one after the other: they are read once all of them have stayed the same.
        let seen = last.as_mut().expect("it is settled");
        if is_on && differs && !std::mem::replace(&mut seen.is_tried, true) {
            // If it is refused, only other content is tried again.
            let _ = reloader.reload(Scope::Credentials, "a changed file").await;
        }
    }
}

/// The content of the files when they were last looked at, and whether it was used or refused.
struct Seen {
    content: Vec<u64>,
    is_tried: bool,
}

/// The settings of credentials.
const ADMISSION: &[&str] = &["key-file", "ca", "cert", "key", "crl", "assigned-ids", "admin-key"];
/// The settings of access to HTTP.
const HTTP: &[&str] = &["http-token-file", "http-allow-remote-writes", "http-host"];
/// The settings of the protocol that can change while the node runs.
const PROTOCOL: &[&str] = &[
    "evict-degraded-after",
    "flap-half-life",
    "flap-reuse",
    "flap-suppress",
    "max-data",
    "max-publications-per-second",
    "max-published-bytes-per-second",
    "max-recent-publication-bytes",
    "retention",
];
const PROGRAMS: &[&str] = &["on", "answer", "hook-timeout"];
/// How often files are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_setting_of_the_protocol_is_taken_over() {
        let (running, mut read) = (phin::Config::lan(), phin::Config::lan());
        read.evict_degraded_after = Some(Duration::from_secs(77));
        read.flap_half_life *= 2;
        (read.flap_reuse, read.flap_suppress) = (1.5, 9.0);
        read.max_data_bytes += 1;
        read.max_publications_per_second += 1;
        read.max_published_bytes_per_second += 1;
        read.max_recent_publication_bytes += 1;
        read.retention *= 2;
        assert_eq!(config_to_apply(&running, &read, PROTOCOL), Some(read.clone()));
        assert_eq!(config_to_apply(&running, &read, &["period", "tags"]), None);
        for name in PROTOCOL {
            let config = config_to_apply(&running, &read, &[name]).unwrap();
            assert!(config != running && config != read, "{name}");
        }
    }
}
