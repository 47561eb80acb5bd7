//! Logs to standard error, which nobody has to read: what finds no room is dropped and counted.

use std::{
    io::{self, IsTerminal, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

use crate::{lines::Lines, settings::LogFormat, settings::Settings};

/// What keeps the logs; flushed when the node ends.
#[derive(Clone)]
pub(crate) struct Log {
    lines: Lines,
    dropped: Arc<AtomicU64>,
}

/// One line on its way; tracing writes it in pieces.
pub(crate) struct LogLine {
    log: Log,
    text: Vec<u8>,
}

impl Log {
    /// Sets up logging for the whole process.
    pub(crate) fn start(settings: &Settings) -> Self {
        let log = Self { lines: Lines::start(io::stderr()), dropped: Arc::default() };
        let builder = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new(&settings.log))
            .with_writer(log.clone());
        // An error means that there is a subscriber already, and then that one logs.
        let _ = match settings.log_format {
            LogFormat::Json => builder.json().try_init(),
            LogFormat::Text => builder.with_ansi(is_colourful(&io::stderr())).try_init(),
        };
        log
    }

    /// Writes out what is queued, as far as that goes at once.
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
        let dropped = self.log.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let notice = format!("… {dropped} log lines dropped: nobody read them in time …\n");
            self.text.splice(0..0, notice.into_bytes());
        }
        if self.log.lines.try_send(std::mem::take(&mut self.text)).is_err() {
            self.log.dropped.fetch_add(dropped + 1, Ordering::Relaxed);
        }
    }
}

/// Whether colours are welcome: on a terminal, unless <https://no-color.org> says otherwise.
pub(crate) fn is_colourful(to: &impl IsTerminal) -> bool {
    to.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
