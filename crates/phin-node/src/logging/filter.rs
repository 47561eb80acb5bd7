//! [`LogFilter`]: which lines are logged. The settings decide for good, and an operator for a while.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{
    task::AbortHandle,
    time::{Instant, sleep_until},
};
use tracing::info;
use tracing_subscriber::EnvFilter;

use crate::text::printable;

/// Changes which lines are logged, while the process runs.
#[derive(Clone)]
pub(crate) struct LogFilter(Arc<Shared>);

struct Shared {
    apply: Box<dyn Fn(EnvFilter) + Send + Sync>,
    state: Mutex<State>,
}

struct State {
    /// The filter of the settings.
    setting: String,
    /// The one of an operator, which takes precedence until its time is over.
    temporary: Option<Temporary>,
    /// How many temporary ones there have been.
    number: u64,
}

struct Temporary {
    filter: String,
    until: Instant,
    number: u64,
    /// The task that ends it.
    end: AbortHandle,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        self.end.abort();
    }
}

/// Which lines a node logs.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct LogStatus {
    /// The filter in effect.
    #[serde(deserialize_with = "printable")]
    pub(crate) filter: String,
    /// The filter of the settings.
    #[serde(deserialize_with = "printable")]
    pub(crate) setting: String,
    /// After how many seconds the filter of the settings takes effect again; `None` if it is in effect.
    pub(crate) remaining_s: Option<f64>,
}

impl LogFilter {
    /// The filter of the settings is in effect already; `apply` replaces it.
    pub(super) fn new(setting: &str, apply: impl Fn(EnvFilter) + Send + Sync + 'static) -> Self {
        let state = State { setting: setting.to_owned(), temporary: None, number: 0 };
        Self(Arc::new(Shared { apply: Box::new(apply), state: Mutex::new(state) }))
    }

    /// The settings have changed: logs what this one selects from now on, also if an operator chose another for a while.
    pub(crate) fn set(&self, setting: &str) {
        let mut state = self.state();
        setting.clone_into(&mut state.setting);
        state.temporary = None;
        self.apply(setting);
    }

    /// Logs what this filter selects for so long. It replaces an earlier temporary one.
    pub(crate) fn set_for(&self, filter: &str, duration: Duration) -> LogStatus {
        info!(filter, seconds = duration.as_secs(), "the log filter is changed for a while");
        let mut state = self.state();
        state.number += 1;
        let (until, number, this) = (Instant::now() + duration, state.number, self.clone());
        let end = tokio::spawn(async move {
            sleep_until(until).await;
            this.end(number);
        });
        let filter = filter.to_owned();
        self.apply(&filter);
        let end = end.abort_handle();
        state.temporary = Some(Temporary { filter, until, number, end });
        state.status()
    }

    /// Logs what the settings select again.
    pub(crate) fn reset(&self) -> LogStatus {
        let mut state = self.state();
        if state.temporary.take().is_some() {
            self.apply(&state.setting);
            info!(filter = state.setting, "the log filter is that of the settings again");
        }
        state.status()
    }

    pub(crate) fn status(&self) -> LogStatus {
        self.state().status()
    }

    /// The time of a temporary filter is over.
    fn end(&self, number: u64) {
        let is_present = self.state().temporary.as_ref().map(|last| last.number) == Some(number);
        if is_present {
            self.reset();
        }
    }

    fn apply(&self, setting: &str) {
        (self.0.apply)(EnvFilter::new(filters(setting)));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn status(&self) -> LogStatus {
        let remaining = |last: &Temporary| last.until.saturating_duration_since(Instant::now());
        let temporary = self.temporary.as_ref();
        LogStatus {
            filter: temporary.map_or(&self.setting, |last| &last.filter).clone(),
            setting: self.setting.clone(),
            remaining_s: temporary.map(|last| remaining(last).as_secs_f64()),
        }
    }
}

/// The filters for a setting. Dependencies log only errors, unless the setting asks for more: their warnings are
/// about single packets and connections, whose effects phin reports and counts. A filter in the setting that names a
/// dependency comes later and takes precedence.
pub(super) fn filters(setting: &str) -> String {
    match setting {
        "debug" | "trace" | "off" => setting.to_owned(),
        _ => DEPENDENCIES.map(|name| format!("{name}=error,")).concat() + setting,
    }
}

/// The dependencies that log.
const DEPENDENCIES: [&str; 6] = ["h2", "hyper", "quinn", "quinn_proto", "quinn_udp", "rustls"];
/// How long a temporary filter is in effect, unless the operator says otherwise: a node must not log everything for ever
/// by accident.
pub(crate) const DEFAULT_FOR: Duration = Duration::from_secs(600);
pub(crate) const MIN_FOR: Duration = Duration::from_secs(1);
pub(crate) const MAX_FOR: Duration = Duration::from_secs(24 * 3_600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_log_errors_only_unless_more_is_asked_for() {
        let shown = |setting: &str| EnvFilter::new(filters(setting)).to_string();
        for setting in ["info", "warn", "info,phin_swim=debug"] {
            assert!(shown(setting).contains("quinn=error"), "{}", shown(setting));
        }
        assert_eq!(shown("debug"), "debug");
        let asked = shown("info,quinn=debug");
        assert!(asked.contains("quinn=debug") && !asked.contains("quinn=error"), "{asked}");
    }

    /// A filter, and those that were applied.
    fn filter() -> (LogFilter, Arc<Mutex<Vec<String>>>) {
        let applied = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&applied);
        let apply = move |filter: EnvFilter| record.lock().unwrap().push(filter.to_string());
        (LogFilter::new("off", apply), applied)
    }

    /// Lets so many seconds pass.
    async fn pass(seconds: u64) {
        // tidy: allow sleep: time is the subject, and the clock is paused
        sleep_until(Instant::now() + Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_temporary_filter_ends_by_itself_or_by_a_later_one_or_by_a_change_of_the_setting() {
        let (filter, applied) = filter();
        let seen = || std::mem::take(&mut *applied.lock().unwrap());
        let status = filter.set_for("debug", Duration::from_secs(60));
        let (shown, setting) = ("debug".to_owned(), "off".to_owned());
        assert_eq!(status, LogStatus { filter: shown, setting, remaining_s: Some(60.0) });
        pass(59).await;
        assert_eq!(seen(), ["debug"]);
        // The earlier one's time is over, but this one's is not.
        filter.set_for("trace", Duration::from_secs(60));
        pass(59).await;
        assert_eq!((seen(), filter.status().remaining_s), (vec!["trace".to_owned()], Some(1.0)));
        pass(2).await;
        assert_eq!((seen(), filter.status().remaining_s), (vec!["off".to_owned()], None));

        filter.set_for("trace", Duration::from_secs(60));
        filter.set("debug");
        assert_eq!(filter.status().filter, "debug");
        pass(61).await;
        assert_eq!(seen(), ["trace", "debug"], "nothing is left of the temporary one");
        filter.set_for("trace", Duration::from_secs(60));
        assert_eq!(filter.reset().filter, "debug");
        filter.reset();
        assert_eq!(seen(), ["trace", "debug"]);
    }
}
