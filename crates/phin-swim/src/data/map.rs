//! [`MemberData`]: the map of one member, as its owner signed it, and the deltas between its revisions.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    Generation, Keys, MemberId, PublicKey, Signature, is_printable,
    wire::{Content, DataChange, Delta, bytes::Blob},
};

/// Counts the changes of a member's data in one run of its process. Several changes can be one revision.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
)]
pub struct Revision(pub u64);

/// Which data of a member is meant: the latest has the highest head.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub(crate) struct Head {
    pub(crate) generation: Generation,
    pub(crate) revision: Revision,
}

/// The data of one member: a small map from keys to values, which the member alone writes.
#[derive(Clone, Debug)]
pub struct MemberData {
    pub(crate) head: Head,
    entries: BTreeMap<Arc<str>, Entry>,
    /// Keys that were removed. A member that lacks only what came later receives these.
    removed: BTreeMap<Arc<str>, Removal>,
    /// The removals after this revision are known.
    complete_since: Revision,
    /// The bytes of all keys and values.
    bytes: usize,
    signature: Signature,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Entry {
    value: Arc<[u8]>,
    revision: Revision,
}

#[derive(Clone, Copy, Debug)]
struct Removal {
    revision: Revision,
    is_expired: bool,
}

impl MemberData {
    /// The most keys of a member.
    pub const MAX_KEYS: usize = 256;
    /// The longest key, in bytes of UTF-8.
    pub const MAX_KEY_BYTES: usize = 128;
    /// The longest value, in bytes.
    pub const MAX_VALUE_BYTES: usize = 8 * 1_024;
    /// The prefix of the keys that phin itself writes.
    pub const RESERVED_PREFIX: &str = "phin/";
    /// The most bytes that keys and values can have together, whatever the configuration.
    pub const MAX_BYTES: usize = 256 * 1_024;

    /// The data of a member that has none.
    pub(crate) const fn new() -> Self {
        Self {
            head: Head { generation: Generation(0), revision: Revision(0) },
            entries: BTreeMap::new(),
            removed: BTreeMap::new(),
            complete_since: Revision(0),
            bytes: 0,
            signature: Signature([0; 64]),
        }
    }

    /// The run of the owner's process that wrote it.
    pub const fn generation(&self) -> Generation {
        self.head.generation
    }

    /// The revision that is known.
    pub const fn revision(&self) -> Revision {
        self.head.revision
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Arc<[u8]>> {
        self.entries.get(key).map(|entry| &entry.value)
    }

    /// All keys and values, in the order of the keys.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Arc<[u8]>)> {
        self.entries.iter().map(|(key, entry)| (&**key, &entry.value))
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether the owner has signed any revision of it.
    pub(crate) const fn is_published(&self) -> bool {
        self.head.revision.0 > 0
    }

    /// The bytes of all keys and values together.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The same without the keys that do not begin with `prefix`: for readers, as nobody signed it.
    pub(crate) fn with_prefix(&self, prefix: &str) -> Self {
        let entries = self.entries.iter().filter(|(key, _)| key.starts_with(prefix));
        let entries: BTreeMap<_, _> =
            entries.map(|(key, entry)| (Arc::clone(key), entry.clone())).collect();
        let bytes = entries.iter().map(|(key, entry)| key.len() + entry.value.len()).sum();
        Self { head: self.head, entries, bytes, ..Self::new() }
    }

    /// Sets a key in this revision; `false` where that changes nothing.
    ///
    /// # Errors
    /// The key or the value is not allowed, or the map exceeds `max_bytes` or [`MAX_KEYS`](Self::MAX_KEYS) with it.
    pub(crate) fn put(
        &mut self,
        key: &str,
        value: &Arc<[u8]>,
        revision: Revision,
        max_bytes: usize,
    ) -> Result<bool, DataError> {
        if self.get(key) == Some(value) {
            return Ok(false);
        }
        self.set(key, value, revision, max_bytes).map(|()| true)
    }

    fn set(
        &mut self,
        key: &str,
        value: &Arc<[u8]>,
        revision: Revision,
        max_bytes: usize,
    ) -> Result<(), DataError> {
        check(key, value)?;
        let known = self.entries.get(key).map(|entry| &entry.value);
        // The replaced value no longer counts: a map at its limit can still be changed.
        let freed = known.map(|known| key.len() + known.len());
        if freed.is_none() && self.entries.len() == Self::MAX_KEYS {
            return Err(DataError::TooManyKeys);
        }
        let bytes = self.bytes - freed.unwrap_or(0) + key.len() + value.len();
        if bytes > max_bytes {
            return Err(DataError::TooLong { bytes, max_bytes });
        }
        self.bytes = bytes;
        self.removed.remove(key);
        self.entries.insert(key.into(), Entry { value: Arc::clone(value), revision });
        Ok(())
    }

    /// Removes a key in this revision; `false` where there is none.
    pub(crate) fn remove(&mut self, key: &str, revision: Revision, is_expired: bool) -> bool {
        let Some((key, entry)) = self.entries.remove_entry(key) else {
            return false;
        };
        self.bytes -= key.len() + entry.value.len();
        self.record_removal(key, Removal { revision, is_expired });
        true
    }

    fn record_removal(&mut self, key: Arc<str>, removal: Removal) {
        self.removed.insert(key, removal);
        if self.removed.len() > MAX_REMOVED {
            let oldest = self.removed.iter().min_by_key(|(_, removal)| removal.revision);
            let (key, revision) =
                oldest.map(|(key, of)| (Arc::clone(key), of.revision)).expect("many");
            self.removed.remove(&key);
            self.complete_since = self.complete_since.max(revision);
        }
    }

    /// Whether the last removal of a key was its expiry.
    pub(crate) fn has_expired(&self, key: &str) -> bool {
        self.removed.get(key).is_some_and(|removal| removal.is_expired)
    }

    /// Signs what is there as the data of this owner, in this revision.
    pub(crate) fn publish(&mut self, owner: MemberId, head: Head, keys: &dyn Keys) {
        self.head = head;
        self.signature = keys.sign(&self.signed_message(owner));
    }

    /// Continues after a revision with other content. A member that has that revision needs the whole map.
    pub(crate) fn resume_after(&mut self, head: Head) {
        self.head = head;
        self.complete_since = Revision(head.revision.0.saturating_add(1));
    }

    /// Whether the owner, whose key this is, signed it.
    fn is_authentic(&self, owner: MemberId, key: &PublicKey, keys: &dyn Keys) -> bool {
        keys.verify(key, &self.signed_message(owner), &self.signature)
    }

    /// Everything that a reader may see of it: no relay can leave out, add or mix anything.
    fn signed_message(&self, owner: MemberId) -> Vec<u8> {
        let entries: Vec<_> = self
            .entries
            .iter()
            .map(|(key, entry)| (&**key, entry.revision, Blob(&entry.value)))
            .collect();
        let mut message = b"phin data 1\0".to_vec();
        (owner, self.head, entries)
            .serialize(&mut rmp_serde::Serializer::new(&mut message))
            .expect("writing to a vector cannot fail");
        message
    }

    /// The delta for a member that has the data up to this head.
    pub(crate) fn delta_since(&self, owner: MemberId, known: Head) -> Delta {
        let is_known = known.generation == self.head.generation
            && (self.complete_since..=self.head.revision).contains(&known.revision);
        let base = if is_known { known.revision } else { Revision(0) };
        // A receiver of the whole map has nothing to remove.
        let removed = self.removed_since(base).filter(|_| base > Revision(0));
        let changes = self.put_since(base).chain(removed).collect();
        Delta { owner, base, head: self.head, changes, signature: self.signature }
    }

    fn put_since(&self, base: Revision) -> impl Iterator<Item = DataChange> {
        let later = self.entries.iter().filter(move |(_, entry)| entry.revision > base);
        later.map(|(key, Entry { value, revision })| DataChange {
            key: (**key).to_owned(),
            revision: *revision,
            content: Content::Value(Arc::clone(value)),
        })
    }

    fn removed_since(&self, base: Revision) -> impl Iterator<Item = DataChange> {
        let later = self.removed.iter().filter(move |(_, removal)| removal.revision > base);
        later.map(|(key, &Removal { revision, is_expired })| {
            let content = if is_expired { Content::Expired } else { Content::Deleted };
            DataChange { key: (**key).to_owned(), revision, content }
        })
    }

    /// The data after a delta, verified. `self` is what is known of the owner.
    ///
    /// # Errors
    /// The delta does not fit what is known, or is not what the owner signed.
    pub(crate) fn apply(
        &self,
        delta: &Delta,
        max_bytes: usize,
        (key, keys): (&PublicKey, &dyn Keys),
    ) -> Result<Self, Refusal> {
        let mut after = self.base_of(delta).ok_or(Refusal::OtherBase)?;
        (after.head, after.signature) = (delta.head, delta.signature);
        // Removals are not signed: a relay must not make others keep and pass on removals that never happened, such as
        // those of later revisions.
        let mut revisions = delta.changes.iter().map(|change| change.revision);
        if !revisions.all(|revision| delta.base < revision && revision <= delta.head.revision) {
            return Err(Refusal::Forged);
        }
        delta.changes.iter().try_for_each(|change| after.change(change, max_bytes))?;
        let is_authentic = after.is_authentic(delta.owner, key, keys);
        is_authentic.then_some(after).ok_or(Refusal::Forged)
    }

    /// Applies a delta to its base: to an empty map, or to the known one.
    fn base_of(&self, delta: &Delta) -> Option<Self> {
        if delta.base == Revision(0) {
            return Some(Self { complete_since: delta.head.revision, ..Self::new() });
        }
        let base = Head { generation: delta.head.generation, revision: delta.base };
        (base == self.head).then(|| self.clone())
    }

    fn change(&mut self, change: &DataChange, max_bytes: usize) -> Result<(), Refusal> {
        let DataChange { key, revision, content } = change;
        if let Content::Value(value) = content {
            let is_set = self.set(key, value, *revision, max_bytes);
            return is_set.map_err(|_| Refusal::OverLimit);
        }
        let is_expired = *content == Content::Expired;
        if !self.remove(key, *revision, is_expired) {
            self.record_removal(key.as_str().into(), Removal { revision: *revision, is_expired });
        }
        Ok(())
    }

    /// The keys that differ between two revisions, with their present values.
    pub(crate) fn differences<'a>(
        &'a self,
        before: &'a Self,
    ) -> impl Iterator<Item = (&'a Arc<str>, Option<&'a Arc<[u8]>>)> {
        let gone = before.entries.keys().filter(|key| !self.entries.contains_key(*key));
        let put =
            self.entries.iter().filter(|(key, entry)| before.entries.get(*key) != Some(entry));
        gone.map(|key| (key, None)).chain(put.map(|(key, entry)| (key, Some(&entry.value))))
    }
}

/// Why a delta is not taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Refusal {
    /// It is known, or of another run of its owner than the one that is known.
    NotNew,
    /// It is the difference to another revision than the one that is known.
    OtherBase,
    /// The owner did not sign the result.
    Forged,
    /// The result exceeds a limit.
    OverLimit,
}

fn check(key: &str, value: &[u8]) -> Result<(), DataError> {
    check_data_key(key)?;
    match value.len() {
        0..=MemberData::MAX_VALUE_BYTES => Ok(()),
        bytes => Err(DataError::ValueTooLong { bytes }),
    }
}

/// Whether a text can be a key of a member's data.
pub(crate) fn check_data_key(key: &str) -> Result<(), DataError> {
    if key.is_empty() || key.len() > MemberData::MAX_KEY_BYTES {
        return Err(DataError::KeyLength { bytes: key.len() });
    }
    match key.chars().find(|&c| c.is_whitespace() || !is_printable(c)) {
        Some(character) => Err(DataError::KeyCharacter { character }),
        None => Ok(()),
    }
}

/// Why data cannot be written.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The key is empty, or longer than [`MemberData::MAX_KEY_BYTES`].
    #[error("a key has 1 to {} bytes, not {bytes}", MemberData::MAX_KEY_BYTES)]
    KeyLength {
        /// The length of the key given.
        bytes: usize,
    },
    /// The key has a space, a control character or an invisible one ([`is_printable`]).
    #[error("a key cannot contain {character:?}")]
    KeyCharacter {
        /// The first such character.
        character: char,
    },
    /// The key begins with [`MemberData::RESERVED_PREFIX`].
    #[error("keys that begin with {} are reserved", MemberData::RESERVED_PREFIX)]
    KeyReserved,
    /// The value is longer than [`MemberData::MAX_VALUE_BYTES`].
    #[error("a value has at most {} bytes, not {bytes}", MemberData::MAX_VALUE_BYTES)]
    ValueTooLong {
        /// The length of the value given.
        bytes: usize,
    },
    /// More than [`MemberData::MAX_KEYS`].
    #[error("a member has at most {} keys", MemberData::MAX_KEYS)]
    TooManyKeys,
    /// More than `max_data_bytes` of the configuration.
    #[error("the data of a member has at most {max_bytes} bytes, keys included, not {bytes}")]
    TooLong {
        /// The bytes that it would have.
        bytes: usize,
        /// The bytes that it may have.
        max_bytes: usize,
    },
}

/// How many removed keys are remembered for each member. A member that lacks older ones receives the whole map.
const MAX_REMOVED: usize = 256;

#[cfg(test)]
mod tests;
