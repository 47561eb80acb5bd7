//! Member data: the values that each member writes for itself and all others read, and changes of them.

use std::{
    collections::BTreeSet,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_core::Stream;
use phin_swim::{Data, DataEvent, DataUpdate, Filter, MemberId, Members};
use tokio::sync::watch;

use crate::{
    Cluster, PutDataError, Stopped,
    feed::{Follower, Next, Versioned},
};

/// Member data: a small key-value map that each member writes for itself and all others read.
///
/// A change is known to all members within some 100 ms on a LAN. It is signed by its owner, and readers see each revision whole
/// or not at all. Data is for what a member says about itself, such as its load, or the port of a service: at most 256 keys, 8 KiB
/// in each value, and 16 KiB together ([`Config::max_data_bytes`](crate::Config::max_data_bytes)). The data of a member that left,
/// or was restarted, is gone at once. With a data directory, a restarted node says its own data again.
///
/// There is no compare-and-set, no transaction, and no key that several members write: members may disagree for
/// moments, and for as long as a network is split. Values that members must agree on belong in a consensus system.
///
/// ```
/// # use std::time::Duration;
/// # use phin::{Cluster, ClusterKey};
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let node = Cluster::builder().key(ClusterKey::generate()).local().start().await?;
/// node.put_data("cache/state", "warm").await?;
/// // A lease: gone in ten seconds unless it is set again.
/// node.put_data_for("lease/reports", "mine", Duration::from_secs(10)).await?;
/// for (member, data) in node.data().iter() {
///     println!("{member}: {} keys, {:?}", data.len(), data.get("cache/state"));
/// }
/// # assert_eq!(node.data().get(node.id(), "cache/state").map(|value| &value[..]), Some(&b"warm"[..]));
/// # Ok(())
/// # }
/// ```
impl Cluster {
    /// A snapshot of the data of all members, this node's included. It never changes, and reading it never waits.
    pub fn data(&self) -> Data {
        self.shared.data.snapshot()
    }

    /// Sets a key of this node's data until it is deleted. [`data`](Self::data) has it when this returns; others receive it with
    /// what is written within [`Config::data_delay`](crate::Config::data_delay).
    ///
    /// # Errors
    /// The key or the value is too long, there are too many, or the node has been shut down. Nothing changes then.
    pub async fn put_data(&self, key: &str, value: impl AsRef<[u8]>) -> Result<(), PutDataError> {
        self.write_data(key, value.as_ref(), None).await
    }

    /// Sets a key of this node's data for so long. Setting it to the same value again only extends the time, without any
    /// traffic. This node measures the time; others see the key expire.
    ///
    /// # Errors
    /// As [`put_data`](Self::put_data).
    pub async fn put_data_for(
        &self,
        key: &str,
        value: impl AsRef<[u8]>,
        time_to_live: Duration,
    ) -> Result<(), PutDataError> {
        self.write_data(key, value.as_ref(), Some(time_to_live)).await
    }

    async fn write_data(
        &self,
        key: &str,
        value: &[u8],
        time_to_live: Option<Duration>,
    ) -> Result<(), PutDataError> {
        let (key, value) = (key.to_owned(), value.to_vec());
        let written = self.ask(move |node, now| {
            let result = node.swim().put_data(now, &key, &value, time_to_live);
            node.settle();
            result
        });
        Ok(written.await??)
    }

    /// Deletes a key of this node's data. Returns whether it was there.
    ///
    /// # Errors
    /// The node has been shut down.
    pub async fn delete_data(&self, key: &str) -> Result<bool, Stopped> {
        let key = key.to_owned();
        self.ask(move |node, now| {
            let was_there = node.swim().delete_data(now, &key);
            node.settle();
            was_there
        })
        .await
    }

    /// Announces how busy this node is, in parts of a thousand; more counts as 1,000. This is the key
    /// [`Data::LOAD`](phin_swim::Data::LOAD), as a decimal number, which [`Data::load`](phin_swim::Data::load) reads.
    ///
    /// # Errors
    /// As [`put_data`](Self::put_data).
    pub async fn set_load(&self, per_mille: u16) -> Result<(), PutDataError> {
        self.put_data(Data::LOAD, per_mille.min(1_000).to_string()).await
    }

    /// Subscribes to the data of all members: a snapshot first, then every change.
    pub fn subscribe_data(&self) -> DataSubscription {
        DataSubscription {
            follower: self.shared.data.follow(),
            prefix: String::new(),
            filter: Filter::default(),
            members: self.shared.source.watch(),
            selected: BTreeSet::new(),
        }
    }
}

/// A notice to a subscriber of data.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum DataNotice {
    /// The data when the subscription began. Always the first notice, and never a later one.
    Snapshot(Data),
    /// The next change. Changes of one key come in the order in which its owner made them; of several quick ones, the last may
    /// come alone.
    Update {
        /// The member whose data it is.
        owner: MemberId,
        /// The change.
        update: DataUpdate,
    },
    /// The subscriber fell behind by more than the buffer. The current data replaces the changes that it missed.
    Missed {
        /// The number of changes of all data that it missed.
        events: u64,
        /// The data that contains all of them.
        data: Data,
    },
}

/// The data of all members, or of some, and each change of it in order. It does not keep the node running.
#[derive(Debug)]
pub struct DataSubscription {
    follower: Follower<Data, DataEvent>,
    prefix: String,
    filter: Filter,
    members: watch::Receiver<Members>,
    /// The members of which the subscriber knows something: it learns that these are gone.
    selected: BTreeSet<MemberId>,
}

impl DataSubscription {
    /// Leaves out keys that do not begin with this.
    #[must_use]
    pub fn with_prefix(self, prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into(), ..self }
    }

    /// Leaves out members for whose tags this does not hold when a change of their data arrives.
    #[must_use]
    pub fn of_members(self, filter: Filter) -> Self {
        Self { filter, ..self }
    }

    /// Returns the next notice, or `None` once the node has been shut down and everything before has been
    /// delivered. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<DataNotice> {
        poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }

    /// The part of a snapshot that the subscriber sees.
    fn select(&mut self, data: &Data) -> Data {
        let members = self.members.borrow().clone();
        let data = data.select(&self.prefix, |owner| matches(&members, &self.filter, owner));
        self.selected = data.iter().map(|(owner, _)| owner).collect();
        data
    }

    /// Whether the subscriber is to see a change.
    fn selects(&mut self, event: &DataEvent) -> bool {
        let key = match &event.update {
            DataUpdate::OwnerGone(_) => return self.selected.remove(&event.owner),
            DataUpdate::Put { key, .. }
            | DataUpdate::Delete { key }
            | DataUpdate::Expire { key } => key,
            // A later release may report more.
            _ => return true,
        };
        let is_selected = key.starts_with(&self.prefix)
            && matches(&self.members.borrow(), &self.filter, event.owner);
        if is_selected {
            self.selected.insert(event.owner);
        }
        is_selected
    }
}

fn matches(members: &Members, filter: &Filter, owner: MemberId) -> bool {
    filter.is_empty() || members.get(owner).is_some_and(|member| filter.matches(member))
}

impl Stream for DataSubscription {
    type Item = DataNotice;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<DataNotice>> {
        loop {
            let Some(next) = ready!(self.follower.poll_next(context)) else {
                return Poll::Ready(None);
            };
            let notice = match next {
                Next::First(data) => DataNotice::Snapshot(self.select(&data)),
                Next::Missed(events, data) => {
                    DataNotice::Missed { events, data: self.select(&data) }
                }
                Next::Event(event) if self.selects(&event) => {
                    let DataEvent { owner, update, .. } = event;
                    DataNotice::Update { owner, update }
                }
                Next::Event(_) => continue,
            };
            return Poll::Ready(Some(notice));
        }
    }
}

impl Versioned for Data {
    fn version(&self) -> u64 {
        Self::version(self)
    }
}

impl Versioned for DataEvent {
    fn version(&self) -> u64 {
        self.version
    }
}
