//! Logs to standard error. Lines that do not fit the queue are dropped and counted, so a missing reader blocks nothing.
//! The last ones are kept.

mod filter;
mod recent;

use std::{
    io::{self, Write},
    sync::{
        Arc, Mutex, PoisonError,
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
use filter::filters;
pub(crate) use filter::{DEFAULT_FOR, LogFilter, LogStatus, MAX_FOR, MIN_FOR};
use recent::RecentLines;

/// The log writer. It is flushed when the node ends.
#[derive(Clone)]
pub(crate) struct Log {
    lines: Lines,
    format: LogFormat,
    dropped: Arc<AtomicU64>,
    recent: Arc<Mutex<RecentLines>>,
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
        let (dropped, recent) = (Arc::default(), Arc::default());
        let log = Self { lines, format, dropped, recent };
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
                LogFilter::new(&settings.log, move |filter| drop(handle.reload(filter)))
            }
            LogFormat::Text => {
                let builder = builder.with_ansi(is_colourful(&io::stderr()));
                let builder = builder.with_filter_reloading();
                let handle = builder.reload_handle();
                let _ = builder.try_init();
                LogFilter::new(&settings.log, move |filter| drop(handle.reload(filter)))
            }
        };
        (log, filter)
    }

    /// The last lines, also those that were dropped because nobody read them.
    pub(crate) fn recent_lines(&self) -> String {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner).to_text()
    }

    /// Writes the queued lines, as far as the reader takes them without delay.
    pub(crate) fn flush(&self) {
        let _ = self.lines.flush(Duration::from_millis(500));
    }
}

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
        self.log.recent.lock().unwrap_or_else(PoisonError::into_inner).push(&self.text);
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
}
