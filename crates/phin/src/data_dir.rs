//! What a node keeps between its runs: its identity and how often it has started.

use std::{
    fs::{self, DirBuilder, File, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use phin_quic::{Identity, IdentityError};
use phin_swim::Generation;
use tracing::warn;

use crate::StartError;

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
    pub(crate) fn next_generation(&self) -> Result<Generation, StartError> {
        let path = self.generation_path();
        let last = match fs::read(&path) {
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
        let next = Generation(last.0.saturating_add(1));
        self.keep_generation(next).map_err(at(&path))?;
        Ok(next)
    }

    /// Replaces the kept generation; after a crash the file holds the old or the new one, whole.
    pub(crate) fn keep_generation(&self, generation: Generation) -> io::Result<()> {
        let new = self.path.join(GENERATION_NEW);
        let mut file = File::create(&new)?;
        file.write_all(encode_generation(generation).as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, self.generation_path())?;
        sync_dir(&self.path)
    }

    pub(crate) fn generation_path(&self) -> PathBuf {
        self.path.join(GENERATION)
    }
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

/// FNV-1a, 64 bits: it is to find torn files, not forged ones.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
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
const GENERATION_NEW: &str = "generation.new";
const FORMAT: &str = "phin-generation 1";

#[cfg(test)]
mod tests;
