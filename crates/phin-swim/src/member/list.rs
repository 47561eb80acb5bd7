//! The membership list: everything this node believes about members, its fingerprint, and snapshots of it.

use std::{fmt, ops::Bound, sync::Arc};

use imbl::{
    OrdMap,
    ordmap::{DiffItem, Values},
    shared_ptr::DefaultSharedPtr,
};
use rand::{RngExt, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;

use crate::{
    Filter, Fingerprint, Generation, Instant, Member, MemberId, MemberState, Peer, Version,
    member::rings::Rings,
    wire::{BUCKETS, Entry, Part, SummaryLine},
};

/// An immutable snapshot of a membership list. Taking and cloning one is cheap: snapshots share what they have in
/// common.
#[derive(Clone)]
pub struct Members {
    /// `None` for the list of a client that is no member.
    me: Option<MemberId>,
    version: u64,
    fingerprint: Fingerprint,
    live: usize,
    members: OrdMap<MemberId, Arc<Member>>,
    /// How many live members have a name of each hash.
    names: OrdMap<u32, u32>,
    suppressed: OrdMap<MemberId, Suppression>,
}

/// A member that died and returned too often lately.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Suppression {
    pub(crate) until: Instant,
    /// Whether the application knows: from then on it receives no notice of the member.
    pub(crate) is_told: bool,
}

impl Members {
    /// The version of the list: the number of the last [`Event`](crate::Event) that it contains.
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// The fingerprint of the list: a hash over its live members and their versions.
    pub const fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// This node.
    ///
    /// # Panics
    /// If the list is that of a client that is no member, such as a `phin::Watcher`: see [`owner`](Self::owner).
    pub fn me(&self) -> &Arc<Member> {
        self.owner().expect("the list of a node contains it")
    }

    /// The node whose list this is; `None` if that is a client that is no member, such as a `phin::Watcher`.
    pub fn owner(&self) -> Option<&Arc<Member>> {
        self.get(self.me?)
    }

    /// The member with this id.
    pub fn get(&self, id: MemberId) -> Option<&Arc<Member>> {
        self.members.get(&id)
    }

    /// Every member, dead ones included, in the order of their ids.
    pub fn iter(&self) -> MembersIter<'_> {
        MembersIter(self.members.values())
    }

    /// The live members, in the order of their ids.
    ///
    /// **This node itself is included, and so are suspects**: members that do not answer and are not yet declared dead. To
    /// send requests to other members that answer, use [`others`](Self::others) and check that the state is
    /// [`Alive`](MemberState::Alive).
    pub fn live(&self) -> impl Iterator<Item = &Arc<Member>> {
        self.iter().filter(|member| member.state.is_live())
    }

    /// The live members other than this node, in the order of their ids. Suspects are included.
    pub fn others(&self) -> impl Iterator<Item = &Arc<Member>> {
        self.live().filter(|member| Some(member.id()) != self.me)
    }

    /// The members with this display name, in the order of their ids. Names can repeat: two live members may have the same
    /// one, and a member that starts without a data directory leaves its earlier runs in the list as dead or left.
    pub fn by_name(&self, name: &str) -> impl Iterator<Item = &Arc<Member>> {
        self.iter().filter(move |member| member.name() == name)
    }

    /// The members for which the filter holds, dead ones included, in the order of their ids.
    pub fn matching(&self, filter: &Filter) -> impl Iterator<Item = &Arc<Member>> {
        self.iter().filter(|member| filter.matches(member))
    }

    /// The other live members with this member's name, in the order of their ids. Names are meant to be unique, so this is a
    /// conflict. A member at one of this member's addresses is left out: it is an earlier run that is not found dead yet.
    pub fn namesakes(&self, member: &Member) -> Vec<&Arc<Member>> {
        let others = match self.names.get(&name_hash(member.name())) {
            Some(2..) => self.live(),
            _ => return Vec::new(),
        };
        let addrs: Vec<_> = member.record.addrs().collect();
        others
            .filter(|other| other.name() == member.name() && other.id() != member.id())
            .filter(|other| !other.record.addrs().any(|addr| addrs.contains(&addr)))
            .collect()
    }

    /// How many live members have [`namesakes`](Self::namesakes).
    pub fn name_conflicts(&self) -> usize {
        let is_shared = |member: &&Arc<Member>| !self.namesakes(member).is_empty();
        match self.names.values().any(|&members| members > 1) {
            true => self.live().filter(is_shared).count(),
            false => 0,
        }
    }

    /// Until when a member is suppressed, because it died and returned too often lately; `None` for all others. It stays in
    /// the list with its state, and takes part, but its changes are not reported. Applications should not rely on it.
    pub fn suppressed_until(&self, id: MemberId) -> Option<Instant> {
        self.suppression(id).map(|suppression| suppression.until)
    }

    /// How many members are suppressed.
    pub fn suppressed_len(&self) -> usize {
        self.suppressed.len()
    }

    /// The members that are suppressed, and until when.
    pub(crate) fn suppressed(&self) -> impl Iterator<Item = (MemberId, Instant)> {
        self.suppressed.iter().map(|(&id, suppression)| (id, suppression.until))
    }

    /// The members after this one, or all, in the order of their ids.
    pub(crate) fn after(&self, id: Option<MemberId>) -> impl Iterator<Item = &Arc<Member>> {
        let from = id.map_or(Bound::Unbounded, Bound::Excluded);
        self.members.range((from, Bound::Unbounded)).map(|(_, member)| member)
    }

    /// The members that are not the same in another list, in the order of their ids. Parts that the two lists share
    /// are not visited.
    pub(crate) fn changed_since(&self, earlier: &Self) -> impl Iterator<Item = MemberId> {
        earlier.members.diff(&self.members).map(|item| match item {
            DiffItem::Add(id, _) | DiffItem::Remove(id, _) => *id,
            DiffItem::Update { new: (id, _), .. } => *id,
        })
    }

    pub(crate) fn suppression(&self, id: MemberId) -> Option<Suppression> {
        self.suppressed.get(&id).copied()
    }

    /// How many members are alive or merely suspect, this node included.
    pub const fn live_len(&self) -> usize {
        self.live
    }

    /// The number of members in the list, dead ones included.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there is no member in the list. A node's list contains the node; that of a client that is no member is empty
    /// at first.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }
}

impl<'a> IntoIterator for &'a Members {
    type Item = &'a Arc<Member>;
    type IntoIter = MembersIter<'a>;

    /// Every member, dead ones included, in the order of their ids: as [`Members::iter`].
    fn into_iter(self) -> MembersIter<'a> {
        self.iter()
    }
}

impl fmt::Debug for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let states = self.iter().map(|member| (member.name(), member.state));
        f.debug_struct("Members")
            .field("version", &self.version)
            .field("live", &self.live)
            .field("members", &states.collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// The members of a list, in the order of their ids.
pub struct MembersIter<'a>(Values<'a, MemberId, Arc<Member>, DefaultSharedPtr>);

impl<'a> Iterator for MembersIter<'a> {
    type Item = &'a Arc<Member>;

    fn next(&mut self) -> Option<&'a Arc<Member>> {
        self.0.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl fmt::Debug for MembersIter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MembersIter").finish_non_exhaustive()
    }
}

/// The list itself, with what is derived from it. Clones share what they have in common.
#[derive(Clone, Debug)]
pub(crate) struct MembershipList {
    snapshot: Members,
    rings: Rings,
    buckets: [u64; BUCKETS],
}

impl MembershipList {
    pub(crate) fn new(me: Member, rings: u8) -> Self {
        let mut list = Self::empty(Some(me.id()), rings);
        list.put(me);
        list
    }

    /// The list of a client that is no member.
    pub(crate) fn without_owner() -> Self {
        Self::empty(None, 1)
    }

    fn empty(me: Option<MemberId>, rings: u8) -> Self {
        Self {
            snapshot: Members {
                me,
                version: 0,
                fingerprint: Fingerprint(0),
                live: 0,
                members: OrdMap::new(),
                names: OrdMap::new(),
                suppressed: OrdMap::new(),
            },
            rings: Rings::new(rings),
            buckets: [0; BUCKETS],
        }
    }

    /// The same list as another of its members has it.
    pub(crate) fn owned_by(mut self, me: MemberId) -> Self {
        self.snapshot.me = Some(me);
        self
    }

    /// Puts a member in place of what was known of it.
    pub(crate) fn put(&mut self, member: Member) -> Arc<Member> {
        let id = member.id();
        let member = Arc::new(member);
        let before = self.snapshot.members.insert(id, Arc::clone(&member));
        self.account(id, before.as_deref(), Some(&member));
        member
    }

    /// Takes a member out.
    pub(crate) fn remove(&mut self, id: MemberId) -> Option<Arc<Member>> {
        let before = self.snapshot.members.remove(&id);
        self.snapshot.suppressed.remove(&id);
        self.account(id, before.as_deref(), None);
        before
    }

    /// Holds a member back, or no longer.
    pub(crate) fn suppress(&mut self, id: MemberId, suppression: Option<Suppression>) {
        match suppression {
            Some(suppression) => drop(self.snapshot.suppressed.insert(id, suppression)),
            None => drop(self.snapshot.suppressed.remove(&id)),
        }
    }

    /// Holds a member back until then. Whether the application knows that it is suppressed remains as it is.
    pub(crate) fn suppress_until(&mut self, id: MemberId, until: Instant) {
        let is_told = self.snapshot.suppression(id).is_some_and(|suppression| suppression.is_told);
        self.suppress(id, Some(Suppression { until, is_told }));
    }

    /// Counts a change that is reported to the application, and returns the list's version with it.
    pub(crate) const fn next_version(&mut self) -> u64 {
        self.snapshot.version += 1;
        self.snapshot.version
    }

    pub(crate) fn get(&self, id: MemberId) -> Option<&Arc<Member>> {
        self.snapshot.get(id)
    }

    /// The member with this id, if it is alive or suspect.
    pub(crate) fn live(&self, id: MemberId) -> Option<&Arc<Member>> {
        self.get(id).filter(|member| member.state.is_live())
    }

    pub(crate) fn me(&self) -> &Arc<Member> {
        self.snapshot.me()
    }

    /// Where a member that is known is to be found.
    pub(crate) fn peer(&self, id: MemberId) -> Option<Peer> {
        Some(Peer { id, addr: self.get(id)?.addr() })
    }

    /// Where these members, as far as they are known, are to be found.
    pub(crate) fn peers(&self, ids: Vec<MemberId>) -> Vec<Peer> {
        ids.into_iter().filter_map(|id| self.peer(id)).collect()
    }

    pub(crate) fn state(&self, id: MemberId) -> Option<MemberState> {
        self.get(id).map(|member| member.state)
    }

    pub(crate) fn is_alive(&self, id: MemberId) -> bool {
        self.state(id) == Some(MemberState::Alive)
    }

    /// Whether a word of this run of the member's process is worth something: not after a later run was heard of.
    pub(crate) fn is_current(&self, id: MemberId, generation: Generation) -> bool {
        self.get(id).is_none_or(|member| generation >= member.generation())
    }

    /// Whether another live member has this one's address.
    pub(crate) fn is_address_taken(&self, id: MemberId) -> bool {
        let Some(known) = self.get(id) else {
            return false;
        };
        let mut live = self.snapshot.live();
        live.any(|member| member.id() != id && member.record.has_addr_of(&known.record))
    }

    /// This node's own record, as others are sent it.
    pub(crate) fn own_entry(&self) -> Part {
        Part::Entry(Entry::of(self.me()))
    }

    pub(crate) const fn snapshot(&self) -> &Members {
        &self.snapshot
    }

    pub(crate) const fn rings(&self) -> &Rings {
        &self.rings
    }

    pub(crate) const fn buckets(&self) -> &[u64; BUCKETS] {
        &self.buckets
    }

    /// The list in that bucket, dead members included.
    pub(crate) fn summary(&self, bucket: usize) -> Vec<SummaryLine> {
        let first = MemberId::from_u128((bucket as u128) << 122);
        let members = self.snapshot.members.range(first..).map(|(_, member)| member);
        let members = members.take_while(|member| self::bucket(member.id()) == bucket);
        members.map(|m| SummaryLine { id: m.id(), version: m.version(), state: m.state }).collect()
    }

    /// A uniformly random live member other than ourselves.
    pub(crate) fn random_other(&self, rng: &mut ChaCha8Rng) -> Option<MemberId> {
        let me = self.snapshot.me?;
        if self.rings.are_complete() {
            return self.rings.subjects(me).choose(rng).copied();
        }
        self.rings.at_or_after(rng.random()).filter(|&id| id != me)
    }

    /// Keeps fingerprints, names, rings and the count of live members in step with a change.
    fn account(&mut self, id: MemberId, before: Option<&Member>, after: Option<&Member>) {
        // The fingerprint covers live members: the dead are forgotten at each member's own time. Buckets are compared
        // only if lists differ, and then cover departed members too.
        self.buckets[bucket(id)] ^= full_hash(before) ^ full_hash(after);
        let (before, after) = (live(before), live(after));
        self.snapshot.fingerprint.0 ^= hash(before) ^ hash(after);
        self.snapshot.count_name(before, after);
        match (before, after) {
            (None, Some(_)) => self.rings.insert(id),
            (Some(_), None) => self.rings.remove(id),
            (Some(_), Some(_)) | (None, None) => {}
        }
        self.snapshot.live = self.rings.len();
    }
}

impl Members {
    /// Keeps the names of live members in step with a change of one.
    fn count_name(&mut self, before: Option<&Member>, after: Option<&Member>) {
        let [old, new] = [before, after].map(|live| live.map(|member| name_hash(member.name())));
        if old == new {
            return;
        }
        if let Some(name) = old {
            self.remove_name(name);
        }
        if let Some(name) = new {
            *self.names.entry(name).or_default() += 1;
        }
    }

    fn remove_name(&mut self, name: u32) {
        match self.names.get_mut(&name) {
            Some(members @ 2..) => *members -= 1,
            _ => drop(self.names.remove(&name)),
        }
    }
}

fn live(member: Option<&Member>) -> Option<&Member> {
    member.filter(|member| member.state.is_live())
}

/// The hash of a member's entry, whatever its state.
fn hash(member: Option<&Member>) -> u64 {
    member.map_or(0, |member| entry_hash(member.id(), member.version()))
}

/// The hash of a member's entry with how it departed.
fn full_hash(member: Option<&Member>) -> u64 {
    match member.map(|member| member.state) {
        Some(MemberState::Dead) => mix(hash(member)),
        Some(MemberState::Left) => mix(!hash(member)),
        Some(MemberState::Alive | MemberState::Suspect) | None => hash(member),
    }
}

/// The bit of the bucket that a member falls into.
pub(crate) const fn bucket_bit(id: MemberId) -> u64 {
    1 << bucket(id)
}

pub(crate) const fn bucket(id: MemberId) -> usize {
    (id.0[0] >> 2) as usize
}

/// A hash of one entry, so mixed (SplitMix64's finaliser) that combining them by exclusive or loses nothing.
fn entry_hash(id: MemberId, version: Version) -> u64 {
    let id = id.as_u128();
    let version = (u64::from(version.generation.0) << 32) | u64::from(version.incarnation.0);
    [(id >> 64) as u64, id as u64, version].into_iter().fold(0, |hash, word| mix(hash ^ word))
}

/// A hash of a name: few members share one without sharing the name.
fn name_hash(name: &str) -> u32 {
    let hash = name.bytes().fold(0, |hash, byte| mix(hash ^ u64::from(byte)));
    (hash >> 32) as u32
}

pub(crate) const fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests;
