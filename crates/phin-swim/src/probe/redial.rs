//! Healing: dead members are pinged now and then, so that the parts of a split network find each other again.
//!
//! A ping to a dead member tells it that it is held for dead; if it lives it refutes, and the lists that differ are
//! compared. One contact between two parts heals both. All members together redial one member every
//! [`PERIODS_PER_REDIAL`] periods, whatever their number, so this costs next to nothing.
//!
//! What is redialled is an address. A node without a data directory is another member at each start, so many of the dead
//! may have been at one address, and another part of the network may have replaced who is dead to us by one that we do
//! not know. Whoever answers there is the one to meet.

use std::collections::{BTreeMap, BTreeSet};

use rand::RngExt;

use crate::{MemberId, MemberState, Peer, Swim, step::Purpose};

impl Swim {
    /// Redials a dead member, if it is our turn.
    pub(crate) fn redial(&mut self) {
        let list = self.list.snapshot();
        if list.len() == list.live_len() {
            return;
        }
        // Who hears nobody has nobody to share the work with.
        let sharers = if self.health.is_isolated() { 1 } else { list.live_len() as u32 };
        if self.ctx.rng.random_range(0..sharers * PERIODS_PER_REDIAL) != 0 {
            return;
        }
        if let Some(peer) = self.choose_dead().and_then(|id| self.peer(id)) {
            self.ctx.stats.redials += 1;
            if self.ctx.stats.redials.is_multiple_of(REDIALS_PER_REVIEW) {
                self.exchanges.plan_review();
            }
            self.ping(peer, Purpose::Redial);
        }
    }

    /// Another member answered at the address of this one.
    pub(crate) fn found_instead(&mut self, sought: MemberId, found: Peer) {
        let state = |id| self.list.get(id).map(|member| member.state());
        if state(sought) != Some(MemberState::Dead) || self.departure.is_some() {
            return;
        }
        match state(found.id) {
            // It is of a part of the cluster that we know nothing of.
            None => self.ask_to_join(found),
            Some(MemberState::Dead | MemberState::Left) => self.ping(found, Purpose::Redial),
            Some(MemberState::Alive | MemberState::Suspect) => {}
        }
    }

    /// A dead member of chance: every other time one of those that died lately, which are the likeliest to return. Of
    /// those at one address it is the last; where a live one is by now, none of them is.
    fn choose_dead(&mut self) -> Option<MemberId> {
        let now = self.ctx.now;
        let list = self.list.snapshot();
        let taken: BTreeSet<_> = list.live().map(|member| member.addr()).collect();
        let mut last_at = BTreeMap::new();
        for member in list.iter().filter(|member| member.state() == MemberState::Dead) {
            let died = (member.since(), member.id());
            let last = last_at.entry(member.addr()).or_insert(died);
            *last = died.max(*last);
        }
        let dead = last_at.into_iter().filter(|(addr, _)| !taken.contains(addr));
        let mut dead: Vec<_> = dead.map(|(_, (since, id))| (now - since, id)).collect();
        // In the order of ids, which is one of chance, unlike that of addresses.
        dead.sort_unstable_by_key(|&(_, id)| id);
        if self.ctx.rng.random() && dead.len() > RECENT {
            dead.select_nth_unstable(RECENT);
            dead.truncate(RECENT);
        }
        let choice = (!dead.is_empty()).then(|| self.ctx.rng.random_range(0..dead.len()))?;
        Some(dead[choice].1)
    }
}

/// In how many protocol periods all members together redial one dead member, so that two parts find each other within
/// a few.
const PERIODS_PER_REDIAL: u32 = 2;
/// After how many redials what is known of the departed is compared too.
const REDIALS_PER_REVIEW: u64 = 4;
/// How many of those that died last get half of the redials.
const RECENT: usize = 32;

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, sync::Arc, time::Duration};

    use super::*;
    use crate::{
        Config, Generation, Instant, Local, Member, Name, Record,
        member::record::{
            Statement,
            tests::{TestKeys, addr, id, version},
        },
    };

    fn statement(node: u8, at: u8) -> Statement {
        let name = Name::try_from(format!("n{node}").as_str()).unwrap();
        Statement { name, addrs: vec![addr(at)], version: version(0, 0), has_left: false }
    }

    /// Puts one that was at this address, since so many seconds in that state.
    fn put(swim: &mut Swim, node: u8, at: u8, state: MemberState, since: u64) {
        let record = Record::sign(statement(node, at), &TestKeys(node));
        let since = Instant::START + Duration::from_secs(since);
        swim.list.put(Member { record, state, since });
    }

    #[test]
    fn addresses_are_redialled_and_each_for_the_last_that_died_there() {
        let Statement { name, addrs, .. } = statement(0, 0);
        let me = Local { name, addrs, generation: Generation(0) };
        let keys = Arc::new(TestKeys(0));
        let mut swim = Swim::new(Instant::START, me, Config::lan(), keys, 1).unwrap();
        for node in 1..100 {
            put(&mut swim, node, 100, MemberState::Dead, u64::from(200 - node));
        }
        put(&mut swim, 101, 101, MemberState::Dead, 5);
        // Where a live one is, and where we are, no dead one can be.
        put(&mut swim, 102, 102, MemberState::Dead, 5);
        put(&mut swim, 103, 102, MemberState::Alive, 6);
        put(&mut swim, 104, 0, MemberState::Dead, 5);
        let now = Instant::START + Duration::from_secs(300);
        let chosen: BTreeSet<_> = (0..100).filter_map(|_| swim.at(now).choose_dead()).collect();
        assert_eq!(chosen, BTreeSet::from([id(1), id(101)]));
    }
}
