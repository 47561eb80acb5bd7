//! [`Store`]: the data of all members, as far as it is known here, and what changes in it.

use std::{collections::BTreeSet, sync::Arc};

use imbl::OrdMap;

use crate::{
    Fingerprint, MemberId, Office, Output,
    ctx::Ctx,
    data::map::{Head, MemberData},
    member::list::{bucket, mix},
    step::Step,
    wire::{BUCKETS, DataLine},
};

/// A snapshot of the data of all members, as one node knows it. Clones share memory.
#[derive(Clone, Debug, Default)]
pub struct Data {
    version: u64,
    members: OrdMap<MemberId, Arc<MemberData>>,
}

impl Data {
    /// The data of a member, if it has any. That of a dead member is what it was last.
    pub fn of(&self, member: MemberId) -> Option<&Arc<MemberData>> {
        self.members.get(&member)
    }

    /// The value of a member's key.
    pub fn get(&self, member: MemberId, key: &str) -> Option<&Arc<[u8]>> {
        self.of(member)?.get(key)
    }

    /// All members that have data, in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = (MemberId, &Arc<MemberData>)> {
        self.members.iter().map(|(id, data)| (*id, data))
    }

    /// The key by which members announce their load, as a decimal number of parts of a thousand.
    pub const LOAD: &str = "load";

    /// The load of a member, in parts of a thousand: its key [`LOAD`](Self::LOAD). `None` if the key is missing, or is
    /// not a number up to 1,000.
    pub fn load(&self, member: MemberId) -> Option<u16> {
        let text = str::from_utf8(self.get(member, Self::LOAD)?).ok()?;
        text.parse().ok().filter(|&load| load <= 1_000)
    }

    /// The same without the keys that do not begin with `prefix`, without some owners, and without those that have no key then.
    pub fn select(&self, prefix: &str, is_selected: impl Fn(MemberId) -> bool) -> Self {
        let owners = self.members.iter().filter(|(id, _)| is_selected(**id));
        let members = owners.map(|(id, data)| match prefix {
            "" => (*id, Arc::clone(data)),
            _ => (*id, Arc::new(data.with_prefix(prefix))),
        });
        let members = members.filter(|(_, data)| !data.is_empty());
        Self { version: self.version, members: members.collect() }
    }

    /// The version of the snapshot. Each [`DataEvent`] raises it by one.
    pub const fn version(&self) -> u64 {
        self.version
    }
}

/// A change of a member's data, numbered by the version of [`Data`] after it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DataEvent {
    /// The version of the snapshot that contains this change and all before it.
    pub version: u64,
    /// The member whose data it is.
    pub owner: MemberId,
    /// The change.
    pub update: DataUpdate,
}

/// A change of a member's data.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum DataUpdate {
    /// A key has a new value.
    Put {
        /// The key.
        key: Arc<str>,
        /// Its value.
        value: Arc<[u8]>,
    },
    /// The owner deleted a key.
    Delete {
        /// The key.
        key: Arc<str>,
    },
    /// The time to live of a key is over.
    Expire {
        /// The key.
        key: Arc<str>,
    },
    /// The owner is gone. Its data is no longer there, except after [`OwnerGone::Dead`].
    OwnerGone(OwnerGone),
}

impl DataUpdate {
    /// The key that changed, if one did.
    fn key(&self) -> Option<&str> {
        match self {
            Self::Put { key, .. } | Self::Delete { key } | Self::Expire { key } => Some(key),
            Self::OwnerGone(_) => None,
        }
    }
}

/// Why the data of a member is gone, or no longer kept up to date.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum OwnerGone {
    /// It is dead. Its data stays readable; if it returns in the same run, each key is reported again.
    Dead,
    /// It left.
    Left,
    /// Its process was restarted.
    Restarted,
    /// It was removed from the list.
    Forgotten,
}

/// The data of all members, with fingerprints of that of live ones. Clones share memory.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    me: MemberId,
    snapshot: Data,
    /// The dead members among the owners: they are not compared.
    dead: BTreeSet<MemberId>,
    buckets: [u64; BUCKETS],
    /// The bytes of all maps.
    bytes: usize,
}

impl Store {
    pub(crate) fn new(me: MemberId) -> Self {
        let (snapshot, dead) = Default::default();
        Self { me, snapshot, dead, buckets: [0; BUCKETS], bytes: 0 }
    }

    pub(crate) const fn snapshot(&self) -> &Data {
        &self.snapshot
    }

    pub(crate) fn of(&self, id: MemberId) -> Option<&Arc<MemberData>> {
        self.snapshot.of(id)
    }

    pub(crate) fn has(&self, id: MemberId) -> bool {
        self.of(id).is_some()
    }

    /// Which data of a member is known.
    pub(crate) fn head(&self, id: MemberId) -> Head {
        self.of(id).map_or(Head::default(), |data| data.head)
    }

    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) const fn buckets(&self) -> &[u64; BUCKETS] {
        &self.buckets
    }

    /// A hash of the heads of all live members; zero if there is no data at all.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        Fingerprint(self.buckets.iter().fold(0, |sum, bucket| sum ^ bucket))
    }

    /// The heads of the live members in that bucket.
    pub(crate) fn summary(&self, bucket: usize) -> impl Iterator<Item = DataLine> {
        let first = MemberId::from_u128((bucket as u128) << 122);
        let members = self.snapshot.members.range(first..);
        let members = members.take_while(move |(id, _)| self::bucket(**id) == bucket);
        let live = members.filter(|(id, data)| !self.dead.contains(id) && data.is_published());
        live.map(|(id, data)| DataLine { owner: *id, head: data.head })
    }

    /// Replaces the data of a member by later data of it, and reports what differs.
    pub(crate) fn replace(&mut self, ctx: &mut Ctx, owner: MemberId, after: MemberData) {
        let none = MemberData::new();
        let before = self.of(owner).cloned();
        let before = before.as_deref().unwrap_or(&none);
        for (key, value) in after.differences(before) {
            self.report(ctx, owner, update_of(&after, key, value));
        }
        self.account(owner, before, &after);
        self.snapshot.members.insert(owner, Arc::new(after));
    }

    /// Adds the data of a member, of which nothing is reported: for a store that no node has yet.
    pub(crate) fn put(&mut self, owner: MemberId, data: MemberData) {
        self.account(owner, &MemberData::new(), &data);
        self.snapshot.members.insert(owner, Arc::new(data));
    }

    /// The same data at another node.
    pub(crate) fn owned_by(self, me: MemberId) -> Self {
        Self { me, ..self }
    }

    /// Removes the data of a member.
    pub(crate) fn remove(&mut self, ctx: &mut Ctx, owner: MemberId, why: OwnerGone) {
        if let Some(before) = self.snapshot.members.remove(&owner) {
            self.account(owner, &before, &MemberData::new());
            self.dead.remove(&owner);
            self.report(ctx, owner, DataUpdate::OwnerGone(why));
        }
    }

    /// A member died: its data stays, and is no longer compared.
    pub(crate) fn suspend(&mut self, ctx: &mut Ctx, owner: MemberId) {
        if let Some(data) = self.of(owner).cloned() {
            self.buckets[bucket(owner)] ^= hash(owner, data.head);
            self.dead.insert(owner);
            self.report(ctx, owner, DataUpdate::OwnerGone(OwnerGone::Dead));
        }
    }

    /// A dead member is back in the same run, and its data with it.
    pub(crate) fn resume(&mut self, ctx: &mut Ctx, owner: MemberId) {
        if !self.dead.remove(&owner) {
            return;
        }
        if let Some(data) = self.of(owner).cloned() {
            self.buckets[bucket(owner)] ^= hash(owner, data.head);
            for (key, value) in data.iter() {
                let (key, value) = (key.into(), Arc::clone(value));
                self.report(ctx, owner, DataUpdate::Put { key, value });
            }
        }
    }

    fn account(&mut self, owner: MemberId, before: &MemberData, after: &MemberData) {
        self.bytes = self.bytes - before.bytes() + after.bytes();
        if !self.dead.contains(&owner) {
            self.buckets[bucket(owner)] ^= hash(owner, before.head) ^ hash(owner, after.head);
        }
    }

    fn report(&mut self, ctx: &mut Ctx, owner: MemberId, update: DataUpdate) {
        // This node knows its own announcements.
        let announced = update.key().and_then(Office::of_data_key);
        if let Some(office) = announced.filter(|_| owner != self.me) {
            ctx.then(Step::HolderAnnounced(office));
        }
        self.snapshot.version += 1;
        let version = self.snapshot.version;
        ctx.output(Output::Data(DataEvent { version, owner, update }));
    }

    pub(crate) const fn me(&self) -> MemberId {
        self.me
    }
}

/// The change of a key that differs from before and has this value now.
fn update_of(after: &MemberData, key: &Arc<str>, value: Option<&Arc<[u8]>>) -> DataUpdate {
    let key = Arc::clone(key);
    match value.cloned() {
        Some(value) => DataUpdate::Put { key, value },
        None if after.has_expired(&key) => DataUpdate::Expire { key },
        None => DataUpdate::Delete { key },
    }
}

/// A hash of the head of a member's data, to be combined by exclusive or; zero where there is none.
fn hash(owner: MemberId, Head { generation, revision }: Head) -> u64 {
    if revision.0 == 0 {
        return 0;
    }
    let id = owner.as_u128();
    let words = [(id >> 64) as u64, id as u64, generation.0.into(), revision.0];
    words.into_iter().fold(0, |hash, word| mix(hash ^ word))
}
