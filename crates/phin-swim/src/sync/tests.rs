use super::*;
use crate::{
    Version,
    member::record::tests::{id, record, version},
    testing::{Rooms, at, member, ms, peer},
};

/// The rooms that anti-entropy works on.
struct Lists {
    rooms: Rooms,
    forgotten: Forgotten,
    budget: ListBudget,
    exchanges: Exchanges,
}

impl Lists {
    fn new(members: u8) -> Self {
        let rooms = Rooms::of(members);
        let budget = ListBudget::new(rooms.ctx.now);
        Self { rooms, forgotten: Forgotten::new(id(0)), budget, exchanges: Exchanges::default() }
    }

    fn sync(&mut self) -> AntiEntropy<'_> {
        let Self { rooms, forgotten, budget, exchanges } = self;
        AntiEntropy { ctx: &mut rooms.ctx, list: &rooms.list, forgotten, budget, own: exchanges }
    }

    fn fingerprint(&self) -> Fingerprint {
        self.rooms.list.snapshot().fingerprint()
    }

    fn put(&mut self, node: u8, version: Version, state: MemberState) {
        self.rooms.list.put(Member { record: record(node, version), state, since: at(0) });
    }

    fn effects(&mut self) -> Vec<String> {
        self.rooms.effects()
    }
}

fn line(node: u8, incarnation: u32, state: MemberState) -> SummaryLine {
    SummaryLine { id: id(node), version: version(0, incarnation), state }
}

#[test]
fn what_either_list_lacks_depends_on_versions_and_states() {
    use MemberState::{Alive, Dead, Left, Suspect};
    const RECORD: Option<Lack> = Some(Lack::Record);
    // The entries of this list (incarnation, state), those of the other; the entries that this one lacks, and whether
    // the other lacks any.
    let cases = [
        (None, Some((0, Alive)), RECORD, false),
        (None, Some((0, Suspect)), RECORD, false),
        (None, Some((0, Dead)), None, false),
        (None, Some((0, Left)), None, false),
        (Some((0, Alive)), None, None, true),
        (Some((0, Suspect)), None, None, true),
        (Some((0, Dead)), None, None, false),
        (Some((0, Left)), None, None, false),
        (Some((0, Alive)), Some((0, Alive)), None, false),
        (Some((0, Alive)), Some((0, Suspect)), None, false),
        (Some((0, Alive)), Some((0, Dead)), Some(Lack::Death), false),
        (Some((0, Suspect)), Some((0, Dead)), Some(Lack::Death), false),
        (Some((0, Left)), Some((0, Dead)), None, false),
        (Some((0, Dead)), Some((0, Alive)), None, true),
        (Some((0, Dead)), Some((0, Suspect)), None, true),
        (Some((0, Dead)), Some((0, Left)), None, false),
        (Some((0, Dead)), Some((0, Dead)), None, false),
        (Some((0, Dead)), Some((1, Alive)), RECORD, false),
        (Some((0, Alive)), Some((1, Left)), RECORD, false),
        (Some((1, Alive)), Some((0, Dead)), None, true),
        (Some((1, Left)), Some((0, Alive)), None, true),
    ];
    for (ours, theirs, expected, is_news_there) in cases {
        let case = format!("{ours:?} {theirs:?}");
        let ours = ours.map(|(incarnation, state)| {
            let record = record(1, version(0, incarnation));
            Member { record, state, since: at(0) }
        });
        let theirs = theirs.map(|(incarnation, state)| line(1, incarnation, state));
        let found = theirs.as_ref().and_then(|theirs| lack(ours.as_ref(), theirs));
        assert_eq!(found, expected, "{case}");
        let found = ours.is_some_and(|ours| knows_better(&ours, theirs.as_ref()));
        assert_eq!(found, is_news_there, "{case}");
    }
}

#[test]
fn lists_that_differ_are_compared_once_news_had_time_to_arrive() {
    let period = ms(1_000);
    // When the list last changed, when fingerprints were found to differ, whether they are compared then.
    let cases: &[(u64, &[(u64, bool)])] = &[
        (10_000, &[(10_249, false), (10_250, true)]),
        (10_000, &[(10_100, false), (10_200, false), (10_300, true)]),
        // The list changes all the time.
        (12_099, &[(10_100, false), (12_099, false), (12_100, true)]),
    ];
    for &(last_change, asked) in cases {
        let mut exchanges = Exchanges::default();
        exchanges.record_change(at(last_change));
        for &(now, expected) in asked {
            let found = exchanges.is_comparison_due(at(now), period);
            assert_eq!(found, expected, "{last_change} {now}");
        }
    }
}

#[test]
fn lists_that_agree_are_compared_with_members_that_returned_and_now_and_then() {
    let mut lists = Lists::new(4);
    let same = lists.fingerprint();
    let compares = |lists: &mut Lists, node: u8| {
        lists.exchanges.asked.clear();
        lists.sync().handle_fingerprint(peer(node), same);
        lists.effects() == [format!("by stream to n{node}: compare")]
    };
    assert!(!compares(&mut lists, 1));
    lists.exchanges.record_return(id(1));
    assert!(!compares(&mut lists, 2) && compares(&mut lists, 1) && !compares(&mut lists, 1));
    lists.exchanges.plan_review();
    assert!(compares(&mut lists, 2) && !compares(&mut lists, 2));
}

#[test]
fn fingerprints_that_agree_once_end_a_difference() {
    let mut lists = Lists::new(2);
    let (same, other) = (lists.fingerprint(), Fingerprint(1));
    for (now, theirs, expected) in [
        (10_000, other, 0),
        (11_000, same, 0),
        (12_000, other, 0),
        (13_999, other, 0),
        (14_000, other, 1),
    ] {
        lists.rooms.at(now);
        // The list changes all the time.
        lists.exchanges.record_change(at(now));
        lists.sync().handle_fingerprint(peer(1), theirs);
        assert_eq!(lists.effects().len(), expected, "{now}");
    }
}

#[test]
fn returned_members_are_remembered_once_and_the_first_gives_way() {
    let mut exchanges = Exchanges::default();
    (0..=64).chain([1]).for_each(|node| exchanges.record_return(id(node)));
    assert_eq!(exchanges.returned.len(), MAX_RETURNED);
    assert_eq!(exchanges.returned.front(), Some(&id(2)));
    assert_eq!(exchanges.returned.back(), Some(&id(1)));
}

#[test]
fn few_exchanges_are_under_way_and_one_with_each_member_until_it_times_out() {
    let mut lists = Lists::new(8);
    // At which moment, with which member, whether the lists are compared.
    let cases = [
        (0, 1, true),
        (0, 1, false),
        (1, 2, true),
        (2, 3, true),
        (3, 4, true),
        (4, 5, false),
        (4_999, 5, false),
        (5_000, 5, true),
        (5_000, 6, false),
    ];
    for (after, node, expected) in cases {
        lists.rooms.at(10_000 + after).ctx.stats = crate::Stats::default();
        lists.sync().start(peer(node));
        assert_eq!(!lists.effects().is_empty(), expected, "n{node} after {after} ms");
        let is_refused = !expected && node != 1;
        assert_eq!(lists.rooms.ctx.stats.exchanges_refused, u64::from(is_refused));
        assert_eq!(lists.rooms.ctx.stats.exchanges_started, u64::from(expected));
    }
}

#[test]
fn a_comparison_is_answered_with_the_buckets_that_differ_and_the_forgotten_in_them() {
    let mut lists = Lists::new(2);
    let gone = Arc::new(member(1, MemberState::Dead, 0));
    lists.forgotten.remember(&mut lists.rooms.ctx, gone);
    let mut theirs = *lists.rooms.list.buckets();
    lists.sync().handle_compare(peer(1), &theirs);
    assert_eq!(lists.effects(), ["by stream to n1: summary buckets=0 lines=0"]);
    let bucket = bucket_bit(id(1)).trailing_zeros() as usize;
    theirs[bucket] ^= 1;
    lists.sync().handle_compare(peer(1), &theirs);
    let answer = "by stream to n1: summary buckets=1 lines=1; forget n1 v0.0 by=n0";
    assert_eq!(lists.effects(), [answer]);
    lists.budget.spend(lists.rooms.ctx.now, usize::MAX / 1_000_000_000);
    lists.sync().handle_compare(peer(1), &theirs);
    assert_eq!((lists.effects().len(), lists.rooms.ctx.stats.exchanges_refused), (0, 1));
}

#[test]
fn a_summary_is_answered_with_what_is_known_better_and_what_is_wanted() {
    use MemberState::{Alive, Dead};
    let mut lists = Lists::new(2);
    lists.sync().handle_summary(peer(1), u64::MAX, &[line(9, 0, Alive)]);
    assert_eq!((lists.effects().len(), lists.rooms.ctx.stats.misdirected_messages), (0, 1));
    lists.put(2, version(0, 3), Alive);
    lists.put(3, version(0, 0), Alive);
    let gone = Arc::new(member(4, Dead, 0));
    lists.forgotten.remember(&mut lists.rooms.ctx, gone);
    // The lines of the other list, beside the two first nodes; the answer.
    let cases: &[(&[SummaryLine], &str, bool)] = &[
        (&[line(2, 3, Alive), line(3, 0, Alive)], "", true),
        (&[line(2, 2, Alive), line(3, 0, Alive)], "entry n2 v0.3 alive", true),
        (&[line(3, 0, Alive)], "entry n2 v0.3 alive", true),
        (&[line(2, 3, Alive), line(3, 1, Alive)], "want n3", false),
        (&[line(2, 3, Alive), line(3, 0, Alive), line(9, 0, Alive)], "want n9", false),
        (&[line(2, 3, Alive), line(3, 0, Alive), line(4, 0, Dead)], "forget n4 v0.0 by=n0", true),
        (&[line(2, 2, Alive), line(3, 1, Dead)], "entry n2 v0.3 alive; want n3", false),
    ];
    for &(theirs, expected, is_last) in cases {
        lists.sync().start(peer(1));
        lists.effects();
        let theirs = [&[line(0, 0, Alive), line(1, 0, Alive)], theirs].concat();
        lists.sync().handle_summary(peer(1), u64::MAX, &theirs);
        let mut found = lists.effects();
        assert_eq!(found.remove(0), format!("TurnPage {{ of: n1, is_last: {is_last} }}"));
        let found = found.join("");
        let found = found.strip_prefix("by stream to n1: ").unwrap_or(&found);
        assert_eq!(found, expected, "{theirs:?}");
    }
    // Buckets that were not compared say nothing.
    lists.sync().start(peer(1));
    lists.effects();
    lists.sync().handle_summary(peer(1), 0, &[]);
    assert_eq!(lists.effects(), ["TurnPage { of: n1, is_last: true }"]);
}

#[test]
fn a_death_known_elsewhere_is_examined() {
    let mut lists = Lists::new(2);
    lists.sync().start(peer(1));
    lists.effects();
    lists.sync().handle_summary(peer(1), 0, &[line(1, 0, MemberState::Dead)]);
    let found = lists.effects().remove(0);
    assert!(found.starts_with("DeathElsewhere { source: Gossip(n1)"), "{found}");
}

#[test]
fn where_more_is_wanted_than_one_page_holds_the_next_is_asked_for() {
    let many: Vec<_> = (0..=MAX_WANTED as u32)
        .map(|number| SummaryLine {
            id: MemberId::from_u128(u128::from(number) + 1),
            version: version(0, 0),
            state: MemberState::Alive,
        })
        .collect();
    for (wanted, expected) in [(MAX_WANTED, false), (MAX_WANTED + 1, true)] {
        let mut lists = Lists::new(1);
        lists.sync().start(peer(1));
        lists.sync().handle_summary(peer(1), 0, &many[..wanted]);
        lists.effects();
        lists.sync().ask_for_next_page(peer(2));
        assert_eq!(lists.effects().len(), 0, "another member's page");
        for expected in [expected, false] {
            lists.exchanges.asked.clear();
            lists.sync().ask_for_next_page(peer(1));
            assert_eq!(!lists.effects().is_empty(), expected, "{wanted}");
        }
    }
}

#[test]
fn records_that_are_known_are_sent_once_within_the_budget() {
    let mut lists = Lists::new(3);
    lists.sync().handle_want(peer(1), &[id(2), id(9), id(2)]);
    assert_eq!(lists.effects(), ["by stream to n1: entry n2 v0.0 alive"]);
    lists.sync().handle_want(peer(1), &[id(9)]);
    assert_eq!(lists.effects(), [""; 0]);
    lists.budget.spend(lists.rooms.ctx.now, usize::MAX / 1_000_000_000);
    lists.sync().handle_want(peer(1), &[id(2)]);
    assert_eq!((lists.effects().len(), lists.rooms.ctx.stats.exchanges_refused), (0, 1));
}
