//! Notifications to the service manager that started this process, as systemd understands them (sd_notify(3)).
//!
//! A notification is one datagram to the socket named in the environment. No crate is needed for that.

use std::{
    env,
    ffi::OsStr,
    io,
    os::unix::{
        ffi::OsStrExt,
        net::{SocketAddr, UnixDatagram},
    },
    process,
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};
use tokio::time::sleep;
use tracing::{debug, warn};

/// The service manager, if one started this process and wants notifications.
#[derive(Debug, Default)]
pub(crate) struct Supervisor {
    socket: Option<SocketAddr>,
    watchdog: Option<Duration>,
}

/// Why the environment names no usable service manager.
#[derive(Debug, thiserror::Error)]
enum EnvironmentError {
    #[error("NOTIFY_SOCKET is neither an absolute path nor an abstract socket (@NAME)")]
    OtherSocket,
    #[error("NOTIFY_SOCKET is no usable address")]
    Socket(#[source] io::Error),
    #[error("WATCHDOG_USEC is no number of microseconds from 1 on")]
    Watchdog,
}

impl Supervisor {
    /// The service manager of the environment. One that cannot be used is logged and ignored: the node matters more.
    pub(crate) fn from_env() -> Self {
        let variable = |name| env::var_os(name).filter(|value| !value.is_empty());
        let [socket, usec, pid] = VARIABLES.map(variable);
        Self::new(socket.as_deref(), usec.as_deref(), pid.as_deref()).unwrap_or_else(|error| {
            warn!(
                error = crate::failure::with_causes(&error),
                "the service manager is not notified"
            );
            Self::default()
        })
    }

    /// The service manager of these variables, in the order of [`VARIABLES`].
    fn new(
        socket: Option<&OsStr>,
        usec: Option<&OsStr>,
        pid: Option<&OsStr>,
    ) -> Result<Self, EnvironmentError> {
        let Some(socket) = socket else {
            return Ok(Self::default());
        };
        let is_ours = |pid: &OsStr| pid.to_str() == Some(&process::id().to_string());
        // The variables of a parent process that did not remove them are not for this one.
        let usec = usec.filter(|_| pid.is_none_or(is_ours));
        let watchdog = usec.map(|usec| {
            let usec = usec.to_str().and_then(|usec| usec.parse().ok()).filter(|usec| *usec > 0);
            usec.map(Duration::from_micros).ok_or(EnvironmentError::Watchdog)
        });
        Ok(Self { socket: Some(address(socket)?), watchdog: watchdog.transpose()? })
    }

    /// One at this path that demands a sign of life within this time.
    #[cfg(test)]
    pub(crate) fn at(path: &std::path::Path, watchdog: Duration) -> Self {
        let socket = address(path.as_os_str()).expect("it is an absolute path");
        Self { socket: Some(socket), watchdog: Some(watchdog) }
    }

    pub(crate) fn is_there(&self) -> bool {
        self.socket.is_some()
    }

    /// The time after which the service manager ends this process if it hears nothing.
    pub(crate) fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Reports this state: lines of the form `NAME=VALUE`. A service manager that does not read holds this up for a second
    /// at most, and then misses it.
    pub(crate) async fn notify(&self, state: &str) {
        let Some(addr) = &self.socket else {
            return;
        };
        for _ in 0..MAX_TRIES {
            match send(addr, state) {
                Ok(()) => return debug!(state, "notified the service manager"),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(RETRY_DELAY).await,
                Err(error) => return warn!(%error, state, "cannot notify the service manager"),
            }
        }
        warn!(state, "cannot notify the service manager: it does not read");
    }

    /// Reports that a reload begins. [`reloaded`](Self::reloaded) has to follow.
    pub(crate) async fn reloading(&self) {
        let now = Duration::try_from(clock_gettime(ClockId::Monotonic)).unwrap_or_default();
        // systemd compares the time with that of its request.
        self.notify(&format!("RELOADING=1\nMONOTONIC_USEC={}", now.as_micros())).await;
    }

    /// Reports the end of a reload, whatever became of it.
    pub(crate) async fn reloaded(&self) {
        self.notify("READY=1").await;
    }
}

/// The address of a socket: a path, or an abstract name that begins with `@`.
fn address(socket: &OsStr) -> Result<SocketAddr, EnvironmentError> {
    match socket.as_bytes() {
        [b'/', ..] => SocketAddr::from_pathname(socket).map_err(EnvironmentError::Socket),
        #[cfg(target_os = "linux")]
        [b'@', name @ ..] => {
            use std::os::linux::net::SocketAddrExt;
            SocketAddr::from_abstract_name(name).map_err(EnvironmentError::Socket)
        }
        _ => Err(EnvironmentError::OtherSocket),
    }
}

/// Sends one datagram without waiting. Each has a socket of its own, so that a service manager may create its own anew.
fn send(to: &SocketAddr, state: &str) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.send_to_addr(state.as_bytes(), to).map(drop)
}

/// The variables of the service manager. They are for this process alone: a child that had them could keep the watchdog fed.
pub(crate) const VARIABLES: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];
/// How often a notification is tried if the queue of the socket is full, and the delay in between.
const MAX_TRIES: u32 = 50;
const RETRY_DELAY: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    fn of(socket: &str, usec: Option<&str>, pid: Option<&str>) -> Result<Supervisor, String> {
        let supervisor =
            Supervisor::new(Some(socket.as_ref()), usec.map(OsStr::new), pid.map(OsStr::new));
        supervisor.map_err(|error| error.to_string())
    }

    #[test]
    fn the_watchdog_is_that_of_this_process() {
        let own = process::id().to_string();
        let (other, two) = ((process::id() + 1).to_string(), Some(Duration::from_secs(2)));
        let cases = [
            (None, None, None),
            (Some("2000000"), None, two),
            (Some("2000000"), Some(&*own), two),
            (Some("2000000"), Some(&*other), None),
            (Some("2000000"), Some("x"), None),
            (Some("x"), Some(&*other), None),
        ];
        for (usec, pid, expected) in cases {
            let watchdog = of("/run/notify", usec, pid).unwrap().watchdog();
            assert_eq!(watchdog, expected, "{usec:?} {pid:?}");
        }
        for usec in ["0", "-1", "1s", "18446744073709551616"] {
            assert!(of("/run/notify", Some(usec), None).unwrap_err().contains("WATCHDOG_USEC"));
        }
        assert!(!Supervisor::new(None, Some("1".as_ref()), None).unwrap().is_there());
    }

    #[test]
    fn sockets_are_paths_or_abstract() {
        assert!(of("/run/systemd/notify", None, None).unwrap().is_there());
        for socket in ["notify", "vsock:2:1", &format!("/{}", "x".repeat(200))] {
            assert!(of(socket, None, None).unwrap_err().contains("NOTIFY_SOCKET"), "{socket}");
        }
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn an_abstract_socket_is_notified() {
        use std::os::linux::net::SocketAddrExt;
        let name = format!("phin-test-{}", process::id());
        let addr = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&addr).unwrap();
        of(&format!("@{name}"), None, None).unwrap().notify("READY=1").await;
        let mut buffer = [0; 64];
        let length = socket.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"READY=1");
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_manager_that_does_not_read_holds_nothing_up() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let supervisor = of(path.to_str().unwrap(), None, None).unwrap();
        // The queue of a socket is bounded (`net.unix.max_dgram_qlen`).
        let addr = SocketAddr::from_pathname(&path).unwrap();
        while send(&addr, "STATUS=full").is_ok() {}
        let started = tokio::time::Instant::now();
        supervisor.notify("READY=1").await;
        assert_eq!(started.elapsed(), RETRY_DELAY * MAX_TRIES);
        drop(socket);
        supervisor.notify("READY=1").await;
        assert_eq!(started.elapsed(), RETRY_DELAY * MAX_TRIES, "an error is not tried again");
    }
}
