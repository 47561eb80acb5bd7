//! Signals that make the node leave, or read its settings again.

use std::{
    fs,
    future::pending,
    io::{self, IsTerminal},
};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::Failure;

/// SIGTERM, SIGINT (Ctrl-C), and SIGHUP, which comes when the terminal closes. Once this exists, they no longer end the
/// process by default.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// `None` if SIGHUP was ignored at the start, as under `nohup`, or if that is unknown.
    hangup: Option<Signal>,
    /// Whether SIGHUP can mean that the terminal closes.
    has_terminal: bool,
}

/// The request of a signal to a node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Wanted {
    Leave(&'static str),
    /// SIGHUP to a process without a terminal.
    Reload,
}

impl Signals {
    pub(crate) fn new() -> Result<Self, Failure> {
        // Before listening, which changes the answer.
        let hangup = is_hangup_ignored() == Some(false);
        let listen = |kind| {
            signal(kind).map_err(|error| Failure::runtime("cannot listen for signals", &error))
        };
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: hangup.then(|| listen(SignalKind::hangup())).transpose()?,
            has_terminal: io::stdin().is_terminal(),
        })
    }

    /// Waits for the next signal and returns its name.
    pub(crate) async fn next(&mut self) -> &'static str {
        let Self { terminate, interrupt, hangup, .. } = self;
        let hung_up = async {
            match hangup {
                Some(hangup) => received(hangup).await,
                None => pending().await,
            }
        };
        tokio::select! {
            name = insistent(terminate, interrupt) => name,
            () = hung_up => "SIGHUP",
        }
    }

    /// The same for a node, which reads its settings again on SIGHUP if it has no terminal that closes.
    pub(super) async fn next_wanted(&mut self) -> Wanted {
        match self.next().await {
            "SIGHUP" if !self.has_terminal => Wanted::Reload,
            signal => Wanted::Leave(signal),
        }
    }

    /// The same after a first signal. SIGHUP does not count then: the terminal and the shell both send it, and
    /// systemd sends it after SIGTERM (`SendSIGHUP=`).
    pub(crate) async fn next_insistent(&mut self) -> &'static str {
        insistent(&mut self.terminate, &mut self.interrupt).await
    }
}

async fn insistent(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        () = received(terminate) => "SIGTERM",
        () = received(interrupt) => "SIGINT",
    }
}

async fn received(signal: &mut Signal) {
    if signal.recv().await.is_none() {
        // No further signal can arrive.
        pending::<()>().await;
    }
}

/// Whether SIGHUP is ignored, if the system reports it (proc(5), `SigIgn`).
fn is_hangup_ignored() -> Option<bool> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    let ignored = u64::from_str_radix(ignored.trim(), 16).ok()?;
    // The lowest bit is signal 1, SIGHUP.
    Some(ignored & 1 == 1)
}
