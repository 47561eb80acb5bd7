//! Logs to standard error. Lines that do not fit the queue are dropped and counted, so a missing reader blocks nothing.

use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use serde_json::json;
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

use crate::{
    lines::Lines,
    settings::{LogFormat, Settings},
    text::{is_colourful, rfc3339},
};

/// The log writer. It is flushed when the node ends.
#[derive(Clone)]
pub(crate) struct Log {
    lines: Lines,
    format: LogFormat,
    dropped: Arc<AtomicU64>,
}

/// Changes which lines are logged, while the process runs.
#[derive(Clone)]
pub(crate) struct LogFilter(Arc<dyn Fn(EnvFilter) + Send + Sync>);

impl LogFilter {
    /// Logs what this setting selects from now on.
    pub(crate) fn set(&self, setting: &str) {
        (self.0)(EnvFilter::new(filters(setting)));
    }
}

/// One line in progress, because tracing writes it in pieces.
pub(crate) struct LogLine {
    log: Log,
    text: Vec<u8>,
}

impl Log {
    /// Sets up logging for the whole process.
    pub(crate) fn start(settings: &Settings) -> (Self, LogFilter) {
        let (lines, format) = (Lines::start(io::stderr()), settings.log_format);
        let log = Self { lines, format, dropped: Arc::default() };
        let builder = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new(filters(&settings.log)))
            .with_writer(log.clone());
        // This fails if there is a subscriber already, which then logs.
        let filter: LogFilter = match format {
            LogFormat::Json => {
                let builder = builder.json().with_filter_reloading();
                let handle = builder.reload_handle();
                let _ = builder.try_init();
                // Reloading fails only without a subscriber.
                LogFilter(Arc::new(move |filter| drop(handle.reload(filter))))
            }
            LogFormat::Text => {
                let builder = builder.with_ansi(is_colourful(&io::stderr()));
                let builder = builder.with_filter_reloading();
                let handle = builder.reload_handle();
                let _ = builder.try_init();
                LogFilter(Arc::new(move |filter| drop(handle.reload(filter))))
            }
        };
        (log, filter)
    }

    /// Writes the queued lines, as far as the reader takes them without delay.
    pub(crate) fn flush(&self) {
        let _ = self.lines.flush(Duration::from_millis(500));
    }
}

/// The filters for a setting. Dependencies log only errors, unless the setting asks for more: their warnings are
/// about single packets and connections, whose effects phin reports and counts. A filter in the setting that names a
/// dependency comes later and takes precedence.
fn filters(setting: &str) -> String {
    match setting {
        "debug" | "trace" | "off" => setting.to_owned(),
        _ => DEPENDENCIES.map(|name| format!("{name}=error,")).concat() + setting,
    }
}

/// The dependencies that log.
const DEPENDENCIES: [&str; 6] = ["h2", "hyper", "quinn", "quinn_proto", "quinn_udp", "rustls"];

impl<'a> MakeWriter<'a> for Log {
    type Writer = LogLine;

    fn make_writer(&'a self) -> LogLine {
        LogLine { log: self.clone(), text: Vec::new() }
    }
}

impl Write for LogLine {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for LogLine {
    fn drop(&mut self) {
        let dropped = self.log.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let notice = notice(self.log.format, dropped, SystemTime::now());
            self.text.splice(0..0, notice.into_bytes());
        }
        if self.log.lines.try_send(std::mem::take(&mut self.text)).is_err() {
            self.log.dropped.fetch_add(dropped + 1, Ordering::Relaxed);
        }
    }
}

/// The line that replaces dropped ones.
fn notice(format: LogFormat, dropped: u64, at: SystemTime) -> String {
    let message = "log lines dropped: nobody read them in time";
    match format {
        LogFormat::Text => format!("… {dropped} {message} …\n"),
        LogFormat::Json => {
            let fields = json!({ "message": message, "dropped": dropped });
            let (timestamp, target) = (rfc3339(at), "phin::logging");
            let line = json!({ "timestamp": timestamp, "level": "WARN", "fields": fields, "target": target });
            format!("{line}\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_for_dropped_lines_is_in_the_format_of_the_others() {
        let at = SystemTime::UNIX_EPOCH;
        let line = notice(LogFormat::Json, 7, at);
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["fields"]["dropped"], 7);
        assert_eq!(value["timestamp"], "1970-01-01T00:00:00.000000Z");
        assert!(notice(LogFormat::Text, 7, at).contains("7 log lines dropped"));
    }

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
}
