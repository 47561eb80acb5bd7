//! The address of the HTTP interface: TCP, or a Unix socket that only its owner can use.

use std::{
    fmt,
    fs::{self, File},
    io,
    net::SocketAddr,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::{fs::Mode, process::umask};
use tokio::{
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    time::timeout,
};

/// An address to listen on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Addr {
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

/// A bound listener. Dropping it removes its Unix socket.
pub(crate) struct Listener {
    addr: Addr,
    socket: Socket,
}

enum Socket {
    Tcp(TcpListener),
    Unix { listener: UnixListener, _file: SocketFile },
}

/// A connection of a client.
pub(super) enum Accepted {
    Tcp(TcpStream, SocketAddr),
    Unix(UnixStream),
}

/// The file of a Unix socket, which is removed with this.
struct SocketFile {
    path: PathBuf,
    /// Device and inode. The file may have been replaced by that of another process.
    id: (u64, u64),
}

impl Addr {
    /// Parses the path of `unix:PATH`. `None` if the text has another form.
    pub(crate) fn unix_path(text: &str) -> Option<Result<PathBuf, String>> {
        let path = text.strip_prefix(UNIX)?;
        let path = match path.is_empty() {
            true => Err("expected the path of a socket, such as unix:/run/phin/n1.sock".to_owned()),
            false => std::path::absolute(path).map_err(|error| error.to_string()),
        };
        Some(path)
    }

    /// Whether other machines can reach it.
    pub(crate) fn is_remote(&self) -> bool {
        match self {
            Self::Tcp(addr) => !addr.ip().is_loopback(),
            Self::Unix(_) => false,
        }
    }
}

impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => addr.fmt(f),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

impl Listener {
    /// Binds the listener, before the node is visible to others.
    pub(crate) async fn bind(addr: &Addr) -> io::Result<Self> {
        match addr {
            Addr::Tcp(addr) => {
                let listener = TcpListener::bind(addr).await?;
                let addr = Addr::Tcp(listener.local_addr()?);
                Ok(Self { addr, socket: Socket::Tcp(listener) })
            }
            Addr::Unix(path) => {
                let bound = timeout(MAX_BIND_TIME, bind_unix(path)).await;
                let (listener, _file) = bound.map_err(|_| io::ErrorKind::TimedOut)??;
                Ok(Self { addr: addr.clone(), socket: Socket::Unix { listener, _file } })
            }
        }
    }

    /// The bound address.
    pub(crate) fn addr(&self) -> &Addr {
        &self.addr
    }

    pub(super) async fn accept(&self) -> io::Result<Accepted> {
        match &self.socket {
            Socket::Tcp(listener) => {
                listener.accept().await.map(|(stream, from)| Accepted::Tcp(stream, from))
            }
            Socket::Unix { listener, .. } => {
                listener.accept().await.map(|(stream, _)| Accepted::Unix(stream))
            }
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if file_id(&self.path).is_ok_and(|id| id == self.id) {
            // If it cannot be removed, the next node to bind it finds that nobody listens.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Binds a socket with mode 0600. Replaces one on which nobody listens, which a killed process leaves behind.
async fn bind_unix(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    let directory = path.parent().unwrap_or(Path::new("/")).to_owned();
    // Two processes that found the same stale socket would each remove that of the other.
    let turn = tokio::task::spawn_blocking(move || {
        let directory = File::open(directory)?;
        directory.lock().map(|()| directory)
    });
    let turn = turn.await.map_err(io::Error::other)??;
    remove_stale(path).await?;
    // With the mode from the beginning, so that at no moment another user can connect.
    let before = umask(Mode::from_raw_mode(0o177));
    let bound = UnixListener::bind(path);
    umask(before);
    let listener = bound?;
    drop(turn);
    let file = SocketFile { path: path.to_owned(), id: file_id(path)? };
    Ok((listener, file))
}

async fn remove_stale(path: &Path) -> io::Result<()> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !metadata.file_type().is_socket() {
        let error = "the file exists and is not a socket";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, error));
    }
    match UnixStream::connect(path).await {
        Ok(_) => Err(in_use()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        // The queue of its listener is full.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(in_use()),
        Err(error) => Err(error),
    }
}

fn in_use() -> io::Error {
    io::Error::new(io::ErrorKind::AddrInUse, "another process listens on it")
}

fn file_id(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

/// The prefix of a path in the place of an address.
const UNIX: &str = "unix:";
/// The time that other processes that bind a socket in the same directory have.
const MAX_BIND_TIME: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn a_socket_is_for_its_owner_and_goes_with_its_listener() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("n1.sock");
        let addr = Addr::Unix(path.clone());
        let listener = Listener::bind(&addr).await.unwrap();
        assert_eq!((listener.addr(), mode(&path)), (&addr, 0o600));
        let second = Listener::bind(&addr).await.err().unwrap();
        assert_eq!(second.kind(), io::ErrorKind::AddrInUse, "{second}");
        UnixStream::connect(&path).await.expect("the first still listens");
        drop(listener);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn only_a_socket_without_a_listener_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("n1.sock");
        let addr = Addr::Unix(path.clone());
        // As a killed process leaves it.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let listener = Listener::bind(&addr).await.unwrap();
        assert_eq!(mode(&path), 0o600);
        // Another one that took the path is not removed.
        fs::remove_file(&path).unwrap();
        let other = Listener::bind(&addr).await.unwrap();
        drop(listener);
        assert!(path.exists());
        drop(other);
        fs::write(&path, "data").unwrap();
        let file = Listener::bind(&addr).await.err().unwrap();
        assert!(file.to_string().contains("not a socket"), "{file}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "data");
    }
}
