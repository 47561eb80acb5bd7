//! [`Placement`]: which members hold a key, computed from a snapshot of the membership list.

mod score;
mod spread;
mod two;

use std::{collections::BinaryHeap, iter, sync::Arc};

use phin_swim::{Filter, Member, Members, ServingState};

use self::{
    score::{Candidate, KeyHash, Score},
    spread::{Zones, first_few},
};

/// Which members hold a key: weighted rendezvous hashing over the members of one snapshot.
///
/// Every node with the same list computes the same placement, without any message. A change of one member moves only the keys
/// that it gains or loses: of n equal members, 1/n of all keys on average. [`Member::weight`] sets the share of a member. The
/// [reference](https://github.com/phin-rs/phin/blob/main/docs/reference/placement.md) specifies the computation for other
/// languages.
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use phin::{Placement, testing::TestCluster};
///
/// let cluster = TestCluster::start(3).await;
/// let placement = Placement::of(&cluster.node(0).members(), &"".parse()?);
/// let owner = placement.choose("user-17").ok_or("no member takes work")?;
/// // Every node chooses the same member.
/// let elsewhere = Placement::of(&cluster.node(1).members(), &"".parse()?);
/// assert_eq!(elsewhere.choose("user-17").map(|member| member.id()), Some(owner.id()));
/// # Ok(())
/// # }
/// ```
///
/// # Eligible members
/// A member is eligible if the filter holds for it, it is alive or suspect, it is [serving](ServingState::Serving), it is not
/// [suppressed](Members::suppressed_until), and its weight is not 0. This node is one of them.
///
/// A suspect keeps its place, so a suspicion that is refuted moves no key. To give something to a member for the first time,
/// take the first *alive* member: `placement.rank(key).find(|member| member.state() == MemberState::Alive)`.
///
/// # Not an agreement
/// Two nodes whose lists differ can choose different members, for moments, or for as long as a network is split. Suppression is
/// each node's own judgement and can differ for minutes. Work that must have one owner at a time needs a [leader](crate::Cluster::stand) or a consensus system.
#[derive(Clone, Debug)]
pub struct Placement {
    /// The eligible members, in the order of their ids.
    members: Vec<Arc<Member>>,
    candidates: Vec<Candidate>,
    zones: Option<Zones>,
}

/// The change for one key between two placements.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Moved<K> {
    /// The key.
    pub key: K,
    /// The members that hold it only afterwards, in the order of the ranking.
    pub gained: Vec<Arc<Member>>,
    /// The members that held it only before, in the order of the ranking before.
    pub lost: Vec<Arc<Member>>,
}

impl Placement {
    /// Prepares the placement over the eligible members of a snapshot for which `filter` holds. Make one after each change of the
    /// list, and use it for many keys.
    pub fn of(members: &Members, filter: &Filter) -> Self {
        let eligible = members
            .matching(filter)
            .filter_map(|member| Some((member, eligible_weight(members, member)?)));
        let (members, candidates) = eligible
            .map(|(member, weight)| (Arc::clone(member), Candidate::new(member.id(), weight)))
            .unzip();
        Self { members, candidates, zones: None }
    }

    /// Has [`replicas`](Self::replicas) choose members with different values of this tag, such as `zone`, as far as there are
    /// enough values. Members without the tag count as one further value.
    #[must_use = "the placement is changed by value"]
    pub fn spread_by(self, tag: &str) -> Self {
        let zones = Zones::new(self.members.iter().map(|member| member.tag(tag)));
        Self { zones: Some(zones), ..self }
    }

    /// The eligible members, in the order of their ids.
    pub fn members(&self) -> impl ExactSizeIterator<Item = &Arc<Member>> {
        self.members.iter()
    }

    /// The number of eligible members.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether no member is eligible.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The member that holds a key: the first of its ranking. `None` if no member is eligible.
    pub fn choose(&self, key: impl AsRef<[u8]>) -> Option<&Arc<Member>> {
        let key = KeyHash::of(key.as_ref());
        let mut best = Score::NONE;
        for (index, candidate) in self.candidates.iter().enumerate() {
            if let Some(score) =
                candidate.score_above(&best, key, index).filter(|score| *score > best)
            {
                best = score;
            }
        }
        self.members.get(best.index)
    }

    /// All eligible members, the best one for the key first. If a member goes away, the others keep their order.
    pub fn rank(&self, key: impl AsRef<[u8]>) -> impl Iterator<Item = &Arc<Member>> {
        self.ranking(key.as_ref()).map(|index| &self.members[index])
    }

    /// The `n` members that hold a key and its copies, or all eligible members if they are fewer. The first is that of
    /// [`choose`](Self::choose).
    ///
    /// These are the first of the ranking. After [`spread_by`](Self::spread_by), they are the best member for each value of the
    /// tag, then the second best for each value, and so on.
    pub fn replicas(&self, key: impl AsRef<[u8]>, n: usize) -> Vec<&Arc<Member>> {
        self.holders(key.as_ref(), n).into_iter().map(|index| &self.members[index]).collect()
    }

    /// The keys whose `n` replicas differ in the placement `after`, with the members that gain and lose each of them.
    ///
    /// Large sets of keys are best divided into a fixed number of shares, with the number of the share as the key: hash a key
    /// to its share, and place the shares.
    ///
    /// ```
    /// # use phin::{Filter, Members, Placement};
    /// /// The shares of 1,024 that come to this node.
    /// fn shares_gained(before: &Members, after: &Members, filter: &Filter) -> Vec<String> {
    ///     let [old, new] = [before, after].map(|members| Placement::of(members, filter));
    ///     let moved = old.moved(&new, 1, (0..1_024).map(|share: u32| share.to_string()));
    ///     let me = after.me().id();
    ///     moved.filter(|moved| moved.gained.iter().any(|to| to.id() == me)).map(|moved| moved.key).collect()
    /// }
    /// ```
    pub fn moved<K: AsRef<[u8]>>(
        &self,
        after: &Self,
        n: usize,
        keys: impl IntoIterator<Item = K>,
    ) -> impl Iterator<Item = Moved<K>> {
        keys.into_iter().filter_map(move |key| {
            let [old, new] = [self, after].map(|placement| placement.replicas(&key, n));
            let (gained, lost) = (without(&new, &old), without(&old, &new));
            let has_moved = !gained.is_empty() || !lost.is_empty();
            has_moved.then_some(Moved { key, gained, lost })
        })
    }

    fn holders(&self, key: &[u8], n: usize) -> Vec<usize> {
        match &self.zones {
            Some(zones) if n <= FEW => zones.first_few(&self.candidates, KeyHash::of(key), n),
            None if n <= FEW => first_few(&self.candidates, KeyHash::of(key), n),
            Some(zones) => zones.spread(self.ranking(key), n).collect(),
            None => self.ranking(key).take(n).collect(),
        }
    }

    /// The members by their scores, the best first. Nobody reads all of a long ranking, so it is sorted as it is read.
    fn ranking(&self, key: &[u8]) -> impl Iterator<Item = usize> + use<> {
        let mut scores: BinaryHeap<_> = self.scores(key).collect();
        iter::from_fn(move || scores.pop().map(|score| score.index))
    }

    fn scores(&self, key: &[u8]) -> impl Iterator<Item = Score> {
        let key = KeyHash::of(key);
        let candidates = self.candidates.iter().enumerate();
        candidates.map(move |(index, candidate)| candidate.score(key, index))
    }
}

/// The weight of a member that is eligible, whatever its tags; it is not 0.
fn eligible_weight(members: &Members, member: &Member) -> Option<u16> {
    let is_eligible = member.state().is_live()
        && member.serving() == ServingState::Serving
        && members.suppressed_until(member.id()).is_none();
    Some(member.weight()).filter(|&weight| is_eligible && weight > 0)
}

/// The members of `all` that are not among `known`.
fn without(all: &[&Arc<Member>], known: &[&Arc<Member>]) -> Vec<Arc<Member>> {
    let is_known = |member: &Member| known.iter().any(|known| known.id() == member.id());
    all.iter().filter(|member| !is_known(member)).map(|member| Arc::clone(member)).collect()
}

/// Up to so many replicas are found faster without a ranking of all members.
const FEW: usize = 16;

#[cfg(test)]
mod tests;
