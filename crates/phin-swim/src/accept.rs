//! Accepting a record: the only way in which members appear, change, return and leave. Claims of others are verified
//! before they are believed; only statements that a member signed count.

use crate::{
    Claim, Ctx, Entry, Member, MemberState, MembershipList, News, Record, Source, Step,
    detect::hearsay::Hearsay, identity::Identity, member::supersedes, newcomers::Newcomers,
};

/// The rules for records, with what they work on.
pub(crate) struct Records<'a> {
    pub(crate) ctx: &'a mut Ctx,
    pub(crate) list: &'a mut MembershipList,
    pub(crate) hearsay: &'a mut Hearsay,
    pub(crate) newcomers: &'a mut Newcomers,
    pub(crate) identity: &'a mut Identity,
}

/// The state that a member is in by this record of it, if the record is news. `claimed` is what the sender considers it.
fn news_of(known: Option<&Member>, record: &Record, claimed: MemberState) -> Option<MemberState> {
    let own = record.own_state();
    match known {
        Some(known) if supersedes((record.version(), own), (known.version(), known.state)) => {
            Some(own)
        }
        Some(_) => None,
        // Only the death of an unknown member can be known; a suspicion of it cannot.
        None if claimed == MemberState::Dead => Some(MemberState::Dead),
        None => Some(own),
    }
}

/// The claim about its subject that comes with a record.
const fn claim_in(source: Source, record: &Record) -> Claim {
    Claim { subject: record.id(), version: record.version(), by: source.from() }
}

impl Records<'_> {
    /// A member's record arrives, with the state that the sender considers it to be in.
    pub(crate) fn handle_entry(&mut self, source: Source, entry: Entry) {
        let Entry { state, record } = entry;
        let claim = claim_in(source, &record);
        if record.id() == self.list.me().id() {
            return self.handle_own_record(source, &record, state);
        }
        let known = self.list.get(record.id()).map(|known| &**known);
        let news = news_of(known, &record, state);
        let is_same =
            known.is_some_and(|known| (known.version(), known.state) == (record.version(), state));
        if let Some(by) = source.teller().filter(|_| is_same) {
            self.ctx.then(Step::Repeated { id: record.id(), by });
        }
        let is_settled = news.is_none_or(|news| self.take(source, record, news));
        if is_settled && state == MemberState::Dead {
            self.ctx.then(Step::DeathElsewhere { source, claim });
        }
    }

    /// Takes a record that is news, if nothing speaks against it.
    fn take(&mut self, source: Source, record: Record, state: MemberState) -> bool {
        let list = self.list.snapshot();
        if list.get(record.id()).is_none() && list.len() >= self.ctx.params.max_members {
            self.ctx.stats.members_refused += 1;
            return false;
        }
        let is_taken = self.is_authentic(source, &record)
            && self.is_of_latest_key(&record)
            && self.newcomers.takes_news(self.ctx, self.list, source, &record, state);
        if is_taken {
            self.ctx.apply(News::Record { record, state }, source);
        }
        is_taken
    }

    /// Whether no later key is known for the id. Otherwise an earlier holder of it could take it back, through others.
    fn is_of_latest_key(&mut self, record: &Record) -> bool {
        let known = self.list.get(record.id());
        let is_latest =
            known.is_none_or(|known| record.holder().may_follow(&known.record.holder()));
        self.ctx.stats.records_of_earlier_keys += u64::from(!is_latest);
        is_latest
    }

    /// Hears what this node is said to have said, and what others consider it to be.
    fn handle_own_record(&mut self, source: Source, record: &Record, claimed: MemberState) {
        let mine = &self.list.me().record;
        let is_later = record.version() >= mine.version() && record != mine;
        if is_later && self.is_authentic(source, record) {
            self.identity.exceed(self.ctx, self.list, record);
        }
        let claim = claim_in(source, record);
        match claimed {
            MemberState::Dead => self.ctx.then(Step::RefuteDeath { source, claim }),
            MemberState::Suspect => self.ctx.then(Step::Refute { source, claim }),
            MemberState::Alive | MemberState::Left => {}
        }
    }

    /// Checks the id and the signature of a record, within the budget of the member that sent it.
    fn is_authentic(&mut self, source: Source, record: &Record) -> bool {
        let (now, teller) = (self.ctx.now, source.teller());
        if teller.is_some_and(|teller| !self.hearsay.may_check(now, teller)) {
            self.ctx.stats.records_over_budget += 1;
            return false;
        }
        if !record.has_accepted_id(&*self.ctx.keys) {
            // The sender may accept ids of keys, or those of a CA that is being replaced, and believe it.
            self.ctx.stats.ids_not_accepted += 1;
            return false;
        }
        let is_authentic = record.is_signed(&*self.ctx.keys);
        if !is_authentic {
            self.ctx.stats.forged_records += 1;
            teller.into_iter().for_each(|teller| self.hearsay.record_forgery(now, teller));
        }
        is_authentic
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use crate::{
        Instant,
        member::record::tests::{CA, CaKeys, assign, ca_keys, id_of, record, statement, version},
        testing::{Rooms, peer},
    };

    /// A record of the id 77, which was assigned to the key of this number.
    fn of_77(member: u8, generation: u32, assigned_at_ms: u64) -> Record {
        let keys = ca_keys(member.into(), 77, assigned_at_ms);
        Record::sign(statement(member, version(generation, 0)), &keys)
    }

    fn rooms(is_required: bool) -> Rooms {
        let mut rooms = Rooms::of(3);
        let keys = CaKeys { member: 0, ca: CA, assigned: None, is_required };
        rooms.ctx.keys = Arc::new(keys);
        rooms
    }

    fn hear(rooms: &mut Rooms, record: Record) {
        let entry = Entry { state: MemberState::Alive, record };
        rooms.records().handle_entry(Source::Gossip(peer(1)), entry);
        rooms.run();
    }

    #[test]
    fn a_record_without_an_assigned_id_is_no_forgery_where_one_is_required() {
        let mut rooms = rooms(true);
        hear(&mut rooms, record(9, version(0, 0)));
        let of_other_ca = CaKeys { assigned: Some(assign(CA + 1, 8, 78, 1)), ..ca_keys(8, 78, 1) };
        hear(&mut rooms, Record::sign(statement(8, version(0, 0)), &of_other_ca));
        hear(&mut rooms, of_77(7, 0, 1));
        let stats = &rooms.ctx.stats;
        assert_eq!((stats.ids_not_accepted, stats.forged_records), (2, 0));
        assert_eq!(rooms.list.snapshot().len(), 4);
        assert!(rooms.list.get(id_of(77)).is_some());
    }

    #[test]
    fn the_key_to_which_an_id_was_assigned_last_keeps_it() {
        let mut rooms = rooms(false);
        let holder = |rooms: &Rooms| {
            let known = rooms.list.get(id_of(77)).unwrap();
            (known.record.name().to_owned(), known.version().generation.0)
        };
        // The key, its generation and when it got the id; who has it then.
        let steps = [
            (7, 3, 10, ("n7", 3)),
            // A later key needs a later generation too: its node takes one when it hears of the former.
            (8, 1, 20, ("n7", 3)),
            (8, 4, 20, ("n8", 4)),
            (7, 9, 10, ("n8", 4)),
            (9, 9, 20, ("n8", 4)),
            // A renewed certificate of the same key.
            (8, 5, 30, ("n8", 5)),
            (8, 6, 20, ("n8", 6)),
        ];
        for (step, (key, generation, assigned_at, (name, known))) in (1..).zip(steps) {
            // Others announce so many versions at a time only.
            rooms.at(step * 100_000);
            hear(&mut rooms, of_77(key, generation, assigned_at));
            assert_eq!(holder(&rooms), (name.to_owned(), known), "{key} {generation}");
        }
        assert_eq!(rooms.ctx.stats.records_of_earlier_keys, 2);
    }

    #[test]
    fn only_what_a_member_signed_counts_but_for_the_death_of_one_unknown() {
        use MemberState::{Alive, Dead, Left, Suspect};
        // The known incarnation and state; the received incarnation and the state claimed by the sender; the resulting
        // news.
        let cases = [
            (None, (0, Alive), Some(Alive)),
            (None, (0, Suspect), Some(Alive)),
            (None, (0, Dead), Some(Dead)),
            (Some((0, Alive)), (0, Alive), None),
            (Some((0, Alive)), (0, Dead), None),
            (Some((0, Alive)), (1, Dead), Some(Alive)),
            (Some((1, Alive)), (0, Alive), None),
            (Some((0, Dead)), (0, Alive), None),
            (Some((0, Dead)), (1, Alive), Some(Alive)),
            (Some((0, Left)), (0, Alive), None),
        ];
        for (known, (incarnation, claimed), expected) in cases {
            let known = known.map(|(incarnation, state)| {
                let record = record(1, version(0, incarnation));
                Member { record, state, since: Instant::START }
            });
            let found = news_of(known.as_ref(), &record(1, version(0, incarnation)), claimed);
            assert_eq!(found, expected, "{known:?} {incarnation} {claimed}");
        }
    }
}
