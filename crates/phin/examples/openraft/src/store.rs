//! [`LogStore`] and [`StateMachine`]: the Raft log, vote and snapshot in one file; the values in memory.
//!
//! Each change of log, vote or snapshot is on the disk when the call returns. The values are not: a node that starts begins with its
//! snapshot, and openraft applies the log after it anew.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    io::Cursor,
    ops::{Bound, RangeBounds},
    path::Path,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use openraft::{
    AnyError, EmptyNode, Entry, EntryPayload, LogId, LogState, OptionalSend, RaftLogId,
    RaftLogReader, RaftSnapshotBuilder, Snapshot, SnapshotMeta, StorageIOError, StoredMembership,
    Vote,
    storage::{LogFlushed, RaftLogStorage, RaftStateMachine},
};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::task::spawn_blocking;

use crate::{Error, NodeId, TypeConfig, bootstrap::FirstVoters};

type StorageError = openraft::StorageError<NodeId>;
type Result<T, E = StorageError> = std::result::Result<T, E>;

/// The entries of the log, by index.
const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
/// Single values, by name.
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const PROMISE: &str = "promise";
const PURGED: &str = "purged";
const SNAPSHOT: &str = "snapshot";
const VOTE: &str = "vote";

/// The file.
#[derive(Clone)]
pub struct Store(Arc<Database>);

impl Store {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// It cannot be read or written, it is damaged, or another process has it open.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let database = Database::create(path)?;
        let writing = database.begin_write()?;
        writing.open_table(LOG)?;
        writing.open_table(META)?;
        writing.commit()?;
        Ok(Self(Arc::new(database)))
    }

    /// Keeps whose log this is, and the first voters, for ever.
    ///
    /// # Errors
    /// The file belongs to another node, or other first voters were kept before.
    pub fn promise(&self, id: NodeId, voters: &FirstVoters) -> Result<(), Error> {
        match get::<(NodeId, FirstVoters)>(&self.0, PROMISE)? {
            None => put(&self.0, PROMISE, &(id, voters)),
            Some((owner, _)) if owner != id => Err(format!("the log belongs to {owner}").into()),
            Some((_, kept)) if kept != *voters => {
                Err(format!("this node was started with --voters {kept} before").into())
            }
            Some(_) => Ok(()),
        }
    }

    /// The parts that openraft asks for.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn split(self) -> Result<(LogStore, StateMachine), Error> {
        let values = match get::<StoredSnapshot>(&self.0, SNAPSHOT)? {
            Some(snapshot) => serde_json::from_slice(&snapshot.data)?,
            None => Values::default(),
        };
        let values = Arc::new(RwLock::new(values));
        Ok((LogStore(self.0.clone()), StateMachine { database: self.0, values }))
    }
}

fn get<T: DeserializeOwned>(database: &Database, name: &str) -> Result<Option<T>, Error> {
    let value = database.begin_read()?.open_table(META)?.get(name)?;
    Ok(value.map(|value| serde_json::from_slice(value.value())).transpose()?)
}

fn put<T: Serialize>(database: &Database, name: &str, value: &T) -> Result<(), Error> {
    let writing = database.begin_write()?;
    writing.open_table(META)?.insert(name, &*serde_json::to_vec(value)?)?;
    Ok(writing.commit()?)
}

/// Runs what blocks where it blocks no other task.
async fn blocking<T: Send + 'static>(
    database: &Arc<Database>,
    work: impl FnOnce(&Database) -> Result<T, Error> + Send + 'static,
) -> Result<T, AnyError> {
    let database = Arc::clone(database);
    let done = spawn_blocking(move || work(&database)).await;
    let done = done.map_err(|error| AnyError::new(&error))?;
    done.map_err(|error| AnyError::from_dyn(&*error, None))
}

/// The Raft log, and the vote.
#[derive(Clone)]
pub struct LogStore(Arc<Database>);

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Result<Vec<Entry<TypeConfig>>> {
        let range: (Bound<u64>, Bound<u64>) =
            (range.start_bound().cloned(), range.end_bound().cloned());
        let read = blocking(&self.0, move |database| {
            let log = database.begin_read()?.open_table(LOG)?;
            let entries = log.range(range)?.map(|entry| {
                let (_, entry) = entry?;
                Ok(serde_json::from_slice(entry.value())?)
            });
            entries.collect::<Result<_, Error>>()
        });
        read.await.map_err(|error| StorageIOError::read_logs(error).into())
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>> {
        let read = blocking(&self.0, |database| {
            let last_purged_log_id = get(database, PURGED)?;
            let log = database.begin_read()?.open_table(LOG)?;
            let last = match log.last()? {
                Some((_, entry)) => {
                    let entry: Entry<TypeConfig> = serde_json::from_slice(entry.value())?;
                    Some(entry.log_id)
                }
                None => last_purged_log_id,
            };
            Ok(LogState { last_purged_log_id, last_log_id: last })
        });
        read.await.map_err(|error| StorageIOError::read_logs(error).into())
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote<NodeId>) -> Result<()> {
        let vote = *vote;
        let written = blocking(&self.0, move |database| put(database, VOTE, &vote));
        written.await.map_err(|error| StorageIOError::write_vote(error).into())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote<NodeId>>> {
        let read = blocking(&self.0, |database| get(database, VOTE));
        read.await.map_err(|error| StorageIOError::read_vote(error).into())
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<TypeConfig>) -> Result<()>
    where
        I: IntoIterator<Item = Entry<TypeConfig>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<_> = entries.into_iter().collect();
        let written = blocking(&self.0, move |database| {
            let writing = database.begin_write()?;
            let mut log = writing.open_table(LOG)?;
            for entry in &entries {
                log.insert(entry.get_log_id().index, &*serde_json::to_vec(entry)?)?;
            }
            drop(log);
            Ok(writing.commit()?)
        });
        written.await.map_err(StorageIOError::write_logs)?;
        callback.log_io_completed(Ok(()));
        Ok(())
    }

    async fn truncate(&mut self, log_id: LogId<NodeId>) -> Result<()> {
        let written = blocking(&self.0, move |database| {
            let writing = database.begin_write()?;
            writing.open_table(LOG)?.retain_in(log_id.index.., |_, _| false)?;
            Ok(writing.commit()?)
        });
        written.await.map_err(|error| StorageIOError::write_logs(error).into())
    }

    async fn purge(&mut self, log_id: LogId<NodeId>) -> Result<()> {
        let written = blocking(&self.0, move |database| {
            let writing = database.begin_write()?;
            writing.open_table(META)?.insert(PURGED, &*serde_json::to_vec(&log_id)?)?;
            writing.open_table(LOG)?.retain_in(..=log_id.index, |_, _| false)?;
            Ok(writing.commit()?)
        });
        written.await.map_err(|error| StorageIOError::write_logs(error).into())
    }
}

/// The keys and their values.
#[derive(Clone)]
pub struct StateMachine {
    database: Arc<Database>,
    values: Arc<RwLock<Values>>,
}

/// The result of the log's entries that were applied.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
struct Values {
    last_applied: Option<LogId<NodeId>>,
    membership: StoredMembership<NodeId, EmptyNode>,
    values: BTreeMap<String, String>,
}

#[derive(Deserialize, Serialize)]
struct StoredSnapshot {
    meta: SnapshotMeta<NodeId, EmptyNode>,
    data: Vec<u8>,
}

impl From<StoredSnapshot> for Snapshot<TypeConfig> {
    fn from(StoredSnapshot { meta, data }: StoredSnapshot) -> Self {
        Self { meta, snapshot: Box::new(Cursor::new(data)) }
    }
}

impl StateMachine {
    /// The value of a key, as far as this node has applied the log.
    pub fn get(&self, key: &str) -> Option<String> {
        self.read().values.get(key).cloned()
    }

    fn read(&self) -> RwLockReadGuard<'_, Values> {
        self.values.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Values> {
        self.values.write().unwrap_or_else(PoisonError::into_inner)
    }

    async fn keep(&self, snapshot: StoredSnapshot) -> Result<StoredSnapshot> {
        let signature = snapshot.meta.signature();
        let written = blocking(&self.database, move |database| {
            put(database, SNAPSHOT, &snapshot).map(|()| snapshot)
        });
        written.await.map_err(|error| StorageIOError::write_snapshot(Some(signature), error).into())
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotBuilder = Self;

    async fn applied_state(
        &mut self,
    ) -> Result<(Option<LogId<NodeId>>, StoredMembership<NodeId, EmptyNode>)> {
        let values = self.read();
        Ok((values.last_applied, values.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Option<String>>>
    where
        I: IntoIterator<Item = Entry<TypeConfig>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut values = self.write();
        let applied = entries.into_iter().map(|entry| {
            values.last_applied = Some(entry.log_id);
            match entry.payload {
                EntryPayload::Blank => None,
                EntryPayload::Normal(set) => values.values.insert(set.key, set.value),
                EntryPayload::Membership(membership) => {
                    values.membership = StoredMembership::new(Some(entry.log_id), membership);
                    None
                }
            }
        });
        Ok(applied.collect())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta<NodeId, EmptyNode>,
        snapshot: Box<Cursor<Vec<u8>>>,
    ) -> Result<()> {
        let snapshot = StoredSnapshot { meta: meta.clone(), data: snapshot.into_inner() };
        let values = serde_json::from_slice(&snapshot.data).map_err(|error| {
            StorageIOError::read_snapshot(Some(meta.signature()), AnyError::new(&error))
        })?;
        self.keep(snapshot).await?;
        *self.write() = values;
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<TypeConfig>>> {
        let read = blocking(&self.database, |database| get::<StoredSnapshot>(database, SNAPSHOT));
        let snapshot = read.await.map_err(|error| StorageIOError::read_snapshot(None, error))?;
        Ok(snapshot.map(Snapshot::from))
    }
}

impl RaftSnapshotBuilder<TypeConfig> for StateMachine {
    async fn build_snapshot(&mut self) -> Result<Snapshot<TypeConfig>> {
        let values = self.read().clone();
        let data = serde_json::to_vec(&values);
        let data =
            data.map_err(|error| StorageIOError::read_state_machine(AnyError::new(&error)))?;
        let last = values.last_applied;
        let snapshot_id = last.map_or_else(String::new, |last| last.to_string());
        let meta =
            SnapshotMeta { last_log_id: last, last_membership: values.membership, snapshot_id };
        Ok(self.keep(StoredSnapshot { meta, data }).await?.into())
    }
}

#[cfg(test)]
mod tests {
    use openraft::testing::{StoreBuilder, Suite};
    use tempfile::TempDir;

    use super::*;

    impl From<u64> for NodeId {
        fn from(number: u64) -> Self {
            Self(phin::MemberId(u128::from(number).to_be_bytes()))
        }
    }

    struct InFolder;

    impl StoreBuilder<TypeConfig, LogStore, StateMachine, TempDir> for InFolder {
        async fn build(&self) -> Result<(TempDir, LogStore, StateMachine)> {
            let folder = tempfile::tempdir().expect("a folder can be made");
            let store = Store::open(&folder.path().join("store")).expect("it is new");
            let (log, values) = store.split().expect("it can be read");
            Ok((folder, log, values))
        }
    }

    #[test]
    fn the_store_does_what_openraft_asks_of_a_store() {
        Suite::test_all(InFolder).expect("the suite passes");
    }
}
