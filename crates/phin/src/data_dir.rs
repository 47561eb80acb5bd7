//! State that a node keeps between its runs: its identity, how often it has started, and the peers it knew.

use std::{
    fs::{self, DirBuilder, File, TryLockError},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use phin_quic::{Identity, IdentityError};
use phin_swim::{AdminStatement, Generation, Promises};
use tracing::warn;

use crate::{
    StartError,
    kept_data::{self, KeptEntry},
    kept_expulsions, kept_promises,
    peers::{self, KnownPeer},
    sealed::checksum,
};

/// A data directory that this node alone uses, for as long as the value lives. Every method blocks.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    /// Locked; the system unlocks it when it is closed, also when the process is killed.
    _lock: File,
}

impl DataDir {
    /// Makes the directory if it does not exist, readable by its owner alone, and locks it.
    pub(crate) fn open(path: PathBuf) -> Result<Self, StartError> {
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&path).map_err(at(&path))?;
        let lock_path = path.join(LOCK);
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(at(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(StartError::DataDirInUse { path }),
            Err(TryLockError::Error(source)) => {
                Err(StartError::DataDir { path: lock_path, source })
            }
        }
    }

    /// The node's identity, made at its first start. One that cannot be read is set aside: the node
    /// is then a new member, and the old one is found to be gone.
    pub(crate) fn identity(&self) -> Result<Arc<Identity>, StartError> {
        let identity = match Identity::load_or_create(&self.path) {
            Err(IdentityError::Corrupt { path, reason }) => {
                warn!(path = %path.display(), reason, "the identity cannot be read");
                set_aside(&path).map_err(at(&path))?;
                Identity::load_or_create(&self.path)?
            }
            loaded => loaded?,
        };
        Ok(Arc::new(identity))
    }

    /// Counts one more start, and keeps the count before it returns. A count that cannot be read is
    /// set aside and begins anew; the members that knew this node tell it the rest.
    ///
    /// # Errors
    /// When the file cannot be read or written, or its count is the highest there is.
    pub(crate) fn next_generation(&self) -> Result<Generation, StartError> {
        let path = self.generation_path();
        let last = match read_at_most(&path, MAX_GENERATION_BYTES) {
            Ok(content) => match decode_generation(&content) {
                Some(last) => last,
                None => {
                    set_aside(&path).map_err(at(&path))?;
                    Generation(0)
                }
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Generation(0),
            Err(source) => return Err(StartError::DataDir { path, source }),
        };
        // Members ignore a generation that is not higher than the one they know, so the last one cannot be exceeded.
        let Some(next) = last.0.checked_add(1).map(Generation) else {
            return Err(StartError::LastGeneration { path });
        };
        self.keep_generation(next).map_err(at(&path))?;
        Ok(next)
    }

    /// Replaces the kept generation; after a crash the file holds the old or the new one, whole.
    pub(crate) fn keep_generation(&self, generation: Generation) -> io::Result<()> {
        self.replace(GENERATION, GENERATION_NEW, &encode_generation(generation))
    }

    pub(crate) fn generation_path(&self) -> PathBuf {
        self.path.join(GENERATION)
    }

    /// The peers that the last run knew. Where they cannot be read they are set aside; the node can do without.
    pub(crate) fn peers(&self) -> Vec<KnownPeer> {
        read_or_set_aside(&self.peers_path(), peers::MAX_FILE_BYTES, peers::decode)
    }

    /// The last run's entry about itself, as [`peers`](Self::peers).
    pub(crate) fn data(&self) -> Vec<KeptEntry> {
        read_or_set_aside(&self.data_path(), kept_data::MAX_FILE_BYTES, kept_data::decode)
    }

    /// Replaces the kept data, as [`keep_generation`](Self::keep_generation) does.
    pub(crate) fn keep_data(&self, data: &[KeptEntry]) -> io::Result<()> {
        self.replace(DATA, DATA_NEW, &kept_data::encode(data))
    }

    pub(crate) fn data_path(&self) -> PathBuf {
        self.path.join(DATA)
    }

    /// The promises of earlier runs as voters. To lose them could give an office to two members, so a file that cannot
    /// be read is an error; a damaged one is set aside, as its promises are lost in any case.
    pub(crate) fn promises(&self) -> Result<Promises, StartError> {
        let path = self.promises_path();
        match read_at_most(&path, kept_promises::MAX_FILE_BYTES) {
            Ok(content) => match kept_promises::decode(&content) {
                Some(promises) => Ok(promises),
                None => {
                    set_aside(&path).map_err(at(&path))?;
                    Ok(Promises::default())
                }
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Promises::default()),
            Err(source) => Err(StartError::DataDir { path, source }),
        }
    }

    /// Replaces the kept promises, as [`keep_generation`](Self::keep_generation) does.
    pub(crate) fn keep_promises(&self, promises: &Promises) -> io::Result<()> {
        self.replace(PROMISES, PROMISES_NEW, &kept_promises::encode(promises))
    }

    pub(crate) fn promises_path(&self) -> PathBuf {
        self.path.join(PROMISES)
    }

    /// The statements of administrators that the last run had. To lose them could let an expelled member in again until
    /// another member sends them, so a file that cannot be read is an error; a damaged one is set aside.
    pub(crate) fn expulsions(&self) -> Result<Vec<AdminStatement>, StartError> {
        let path = self.expulsions_path();
        match read_at_most(&path, kept_expulsions::MAX_FILE_BYTES) {
            Ok(content) => match kept_expulsions::decode(&content) {
                Some(statements) => Ok(statements),
                None => {
                    set_aside(&path).map_err(at(&path))?;
                    Ok(Vec::new())
                }
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(source) => Err(StartError::DataDir { path, source }),
        }
    }

    /// Replaces the kept statements, as [`keep_generation`](Self::keep_generation) does.
    pub(crate) fn keep_expulsions(&self, statements: &[Arc<AdminStatement>]) -> io::Result<()> {
        self.replace(EXPULSIONS, EXPULSIONS_NEW, &kept_expulsions::encode(statements))
    }

    pub(crate) fn expulsions_path(&self) -> PathBuf {
        self.path.join(EXPULSIONS)
    }

    /// Replaces the kept peers, as [`keep_generation`](Self::keep_generation) does.
    pub(crate) fn keep_peers(&self, peers: &[KnownPeer]) -> io::Result<()> {
        self.replace(PEERS, PEERS_NEW, &peers::encode(peers))
    }

    pub(crate) fn peers_path(&self) -> PathBuf {
        self.path.join(PEERS)
    }

    fn replace(&self, name: &str, new_name: &str, content: &str) -> io::Result<()> {
        let new = self.path.join(new_name);
        let mut file = File::create(&new)?;
        file.write_all(content.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, self.path.join(name))?;
        sync_dir(&self.path)
    }
}

/// The content of a file that the node can do without: nothing if it cannot be read, and then it is set aside.
fn read_or_set_aside<T: Default>(path: &Path, max_bytes: u64, decode: fn(&[u8]) -> Option<T>) -> T {
    let content = match read_at_most(path, max_bytes) {
        Ok(content) => content,
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                warn!(path = %path.display(), %error, "a file of the last run cannot be read");
            }
            return T::default();
        }
    };
    decode(&content).unwrap_or_else(|| {
        if let Err(error) = set_aside(path) {
            warn!(path = %path.display(), %error, "a damaged file cannot be set aside");
        }
        T::default()
    })
}

/// One line: what it is and its format, the number, and a checksum over both.
fn encode_generation(generation: Generation) -> String {
    let text = format!("{FORMAT} {}", generation.0);
    format!("{text} {:016x}\n", checksum(text.as_bytes()))
}

/// The generation in a file that is whole and exactly as [`encode_generation`] makes it.
fn decode_generation(content: &[u8]) -> Option<Generation> {
    let text = std::str::from_utf8(content).ok()?;
    let number = text.strip_prefix(FORMAT)?.split(' ').nth(1)?;
    let generation = Generation(number.parse().ok()?);
    (text == encode_generation(generation)).then_some(generation)
}

/// The content of a file; of one that is longer, or is no file, enough to be found damaged.
fn read_at_most(path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    // Reading a pipe would wait for whoever writes.
    if fs::metadata(path)?.is_file() {
        File::open(path)?.take(max_bytes + 1).read_to_end(&mut content)?;
    }
    Ok(content)
}

/// Renames a file that cannot be read to the first free `<name>.corrupt-N`.
fn set_aside(path: &Path) -> io::Result<()> {
    for number in 1_u32.. {
        let mut aside = path.as_os_str().to_owned();
        aside.push(format!(".corrupt-{number}"));
        let aside = PathBuf::from(aside);
        if !aside.try_exists()? {
            warn!(path = %path.display(), aside = %aside.display(), "a damaged file was set aside");
            return fs::rename(path, aside);
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Makes a rename in the directory last.
fn sync_dir(path: &Path) -> io::Result<()> {
    // Windows cannot open directories so; there the rename itself is written through.
    if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> StartError {
    move |source| StartError::DataDir { path: path.to_owned(), source }
}

const LOCK: &str = "lock";
const GENERATION: &str = "generation";
/// Longer than any file of [`encode_generation`].
const MAX_GENERATION_BYTES: u64 = 256;
const GENERATION_NEW: &str = "generation.new";
const PEERS: &str = "peers";
const PEERS_NEW: &str = "peers.new";
const PROMISES: &str = "promises";
const PROMISES_NEW: &str = "promises.new";
const EXPULSIONS: &str = "expulsions";
const EXPULSIONS_NEW: &str = "expulsions.new";
const DATA: &str = "data";
const DATA_NEW: &str = "data.new";
const FORMAT: &str = "phin-generation 1";

#[cfg(test)]
mod tests;
