use super::*;
use crate::{
    Change, Config, Expelling, Keys, MemberState, Name, Origin, Source,
    member::record::tests::{TestKeys, id, record, version},
    step::Channel,
    testing::{
        Rooms, at, ms,
        net::{Net, is_part},
        peer,
    },
    wire::Entry,
};

/// The keys of two administrators, which no node has.
const ADMIN: TestKeys = TestKeys(200);
const OTHER: TestKeys = TestKeys(201);
/// Milliseconds since 1970 at the start.
const WALL: u64 = 1_000_000;

fn statement(node: u8, standing: Standing, at: u64) -> AdminStatement {
    let statement = AdminStatement::new([0; 8], id(node), standing, at);
    AdminStatement { name: Some(Name::try_from("n").unwrap()), ..statement }.sign(&ADMIN)
}

fn expelled(node: u8, at: u64) -> AdminStatement {
    statement(node, Standing::Expelled, at)
}

fn readmitted(node: u8, at: u64) -> AdminStatement {
    statement(node, Standing::Readmitted, at)
}

/// The rooms of a node that follows `ADMIN`.
fn rooms(members: u8) -> Rooms {
    let mut rooms = Rooms::of(members);
    rooms.expulsions.set_wall_clock(at(0), WALL);
    rooms.expel().set_admin_keys(&[ADMIN.public_key()]);
    rooms
}

fn take(
    rooms: &mut Rooms,
    from: Option<u8>,
    statement: AdminStatement,
) -> Result<(), ExpelRefusal> {
    rooms.expel().handle_statement(from.map(peer), Arc::new(statement))
}

fn is_expelled(rooms: &Rooms, node: u8) -> bool {
    rooms.expulsions.is_expelled(id(node))
}

#[test]
fn only_what_an_admin_key_signed_for_this_cluster_counts() {
    let fresh = || AdminStatement::new([0; 8], id(2), Standing::Expelled, 5);
    let of_other = || fresh().sign(&OTHER);
    let (ours, key) = (expelled(2, 5), of_other().key);
    let elsewhere = AdminStatement { cluster: [1; 8], ..fresh() }.sign(&ADMIN);
    let over = AdminStatement { until: Some(WALL + 10_000), ..fresh() }.sign(&ADMIN);
    let cases = [
        (ours.clone(), Ok(())),
        (of_other(), Err(ExpelRefusal::UnknownKey { key })),
        // Another one signs in the name of the key.
        (AdminStatement { key: ours.key, ..of_other() }, Err(ExpelRefusal::Forged)),
        (AdminStatement { subject: id(3), ..ours.clone() }, Err(ExpelRefusal::Forged)),
        (AdminStatement { at: 6, ..ours.clone() }, Err(ExpelRefusal::Forged)),
        (elsewhere.clone(), Err(ExpelRefusal::OtherCluster)),
        (AdminStatement { cluster: [0; 8], ..elsewhere }, Err(ExpelRefusal::Forged)),
        (over, Err(ExpelRefusal::Over)),
    ];
    for (statement, expected) in cases {
        for from in [None, Some(1)] {
            let mut rooms = rooms(4);
            assert_eq!(take(&mut rooms, from, statement.clone()), expected, "{statement:?}");
            assert_eq!(is_expelled(&rooms, 2), expected.is_ok());
            assert_eq!(rooms.effects().is_empty(), expected.is_err(), "{statement:?}");
        }
    }
    let mut rooms = Rooms::of(4);
    assert_eq!(take(&mut rooms, None, ours), Err(ExpelRefusal::NoAdminKey));
}

#[test]
fn the_later_statement_counts_and_the_earlier_has_no_effect_again() {
    let mut rooms = rooms(4);
    let steps = [
        (expelled(2, 5), Ok(()), true),
        (expelled(2, 5), Ok(()), true),
        (readmitted(2, 4), Err(ExpelRefusal::Superseded { known: 5 }), true),
        (readmitted(2, 6), Ok(()), false),
        (expelled(2, 5), Err(ExpelRefusal::Superseded { known: 6 }), false),
        (expelled(2, 7), Ok(()), true),
    ];
    for (statement, expected, is_out) in steps {
        let text = format!("{statement:?}");
        assert_eq!(take(&mut rooms, Some(1), statement), expected, "{text}");
        assert_eq!(is_expelled(&rooms, 2), is_out, "{text}");
    }
    assert_eq!(rooms.ctx.stats.expulsions_taken, 3);
}

/// Of two statements of one moment, all choose the same.
#[test]
fn two_statements_of_one_moment_are_ordered() {
    let pair = [expelled(2, 5), readmitted(2, 5)];
    let winner = |order: [usize; 2]| {
        let mut rooms = rooms(4);
        order.into_iter().for_each(|index| _ = take(&mut rooms, None, pair[index].clone()));
        is_expelled(&rooms, 2)
    };
    assert_eq!(winner([0, 1]), winner([1, 0]));
}

#[test]
fn a_full_set_refuses_further_ids_and_none_gives_way() {
    let mut rooms = rooms(1);
    let of = |number: usize| {
        let subject = MemberId::from_u128(number as u128 + 1);
        AdminStatement::new([0; 8], subject, Standing::Expelled, 5).sign(&ADMIN)
    };
    for number in 0..MAX_STATEMENTS {
        assert_eq!(take(&mut rooms, None, of(number)), Ok(()));
    }
    assert_eq!(take(&mut rooms, None, of(MAX_STATEMENTS)), Err(ExpelRefusal::Full));
    assert_eq!(rooms.ctx.stats.expulsions_refused, 1);
    let mut again = of(0);
    (again.standing, again.at) = (Standing::Readmitted, 6);
    assert_eq!(take(&mut rooms, None, again.sign(&ADMIN)), Ok(()), "the id is known");
    assert!((1..MAX_STATEMENTS).all(|number| rooms.expulsions.is_expelled(of(number).subject)));
}

#[test]
fn forgeries_are_checked_within_the_budget_of_the_member_that_sends_them() {
    let mut rooms = rooms(4);
    let forged = |at| AdminStatement { at, ..expelled(2, 5) };
    let mut found = (0..1_000).map(|at| take(&mut rooms, Some(1), forged(10 + at)).unwrap_err());
    let checked = found.by_ref().take_while(|refusal| *refusal == ExpelRefusal::Forged).count();
    assert!((200..300).contains(&checked), "{checked}");
    assert!(found.all(|refusal| refusal == ExpelRefusal::OverBudget));
    assert_eq!(take(&mut rooms, Some(3), expelled(2, 5)), Ok(()), "another member may");
}

#[test]
fn a_statement_ends_at_its_time_or_with_its_key() {
    let mut rooms = rooms(4);
    let until = Some(WALL + 20_000);
    let limited = AdminStatement { until, ..expelled(2, 5) }.sign(&ADMIN);
    take(&mut rooms, None, limited).unwrap();
    take(&mut rooms, None, expelled(3, 5)).unwrap();
    for (millis, is_out) in [(10_000, true), (19_999, true), (20_000, false)] {
        rooms.at(millis);
        rooms.expel().expire();
        assert_eq!((is_expelled(&rooms, 2), is_expelled(&rooms, 3)), (is_out, true), "{millis}");
    }
    rooms.expel().set_admin_keys(&[OTHER.public_key(), ADMIN.public_key()]);
    assert!(is_expelled(&rooms, 3));
    rooms.expel().set_admin_keys(&[OTHER.public_key()]);
    assert!(!is_expelled(&rooms, 3));
    assert_eq!(rooms.expulsions.fingerprint, Fingerprint(0), "nothing is left");
}

#[test]
fn statements_of_an_earlier_run_are_checked_again() {
    let mut rooms = rooms(4);
    let forged = AdminStatement { subject: id(1), ..expelled(2, 5) };
    let of_other = AdminStatement::new([0; 8], id(3), Standing::Expelled, 5).sign(&OTHER);
    assert_eq!(rooms.expel().restore(vec![expelled(2, 5), forged, of_other]), 2);
    rooms.run();
    let found = (1..4).filter(|&node| rooms.list.get(id(node)).is_none());
    assert_eq!(found.collect::<Vec<_>>(), [2]);
}

#[test]
fn news_of_an_expelled_member_is_stopped() {
    let mut rooms = rooms(4);
    take(&mut rooms, None, expelled(2, 5)).unwrap();
    rooms.run();
    assert!(rooms.list.get(id(2)).is_none());
    let origin =
        Origin { peer: peer(1), channel: Channel::Datagram, source: Source::Gossip(peer(1)) };
    for (node, is_known) in [(2, false), (9, true)] {
        let entry = Entry { state: MemberState::Alive, record: record(node, version(7, 7)) };
        rooms.handle_part(origin, Part::Entry(entry));
        assert_eq!(rooms.list.get(id(node)).is_some(), is_known, "n{node}");
    }
    assert_eq!(rooms.ctx.stats.expelled_news, 1);
}

#[test]
fn a_node_that_is_expelled_stays_in_its_own_list_in_a_later_version() {
    let mut rooms = rooms(4);
    let before = rooms.list.me().version();
    take(&mut rooms, Some(1), expelled(0, 5)).unwrap();
    rooms.run();
    assert!(rooms.list.me().version() > before);
    assert!(rooms.list.live(id(0)).is_some());
}

/// So many nodes that follow `ADMIN`.
fn net(nodes: u8) -> Net {
    let mut net = Net::new(nodes);
    (0..nodes).for_each(|node| follow(&mut net, node));
    net
}

fn follow(net: &mut Net, node: u8) {
    let mut expelling = Expelling::of(&mut net.nodes[usize::from(node)], net.now);
    expelling.set_admin_keys(&[ADMIN.public_key()]);
    net.drain(node);
}

fn state(net: &mut Net, at: u8, statement: AdminStatement) {
    let result = Expelling::of(&mut net.nodes[usize::from(at)], net.now).state(statement);
    assert_eq!(result, Ok(()));
    net.drain(at);
}

/// The nodes in whose lists the member is.
fn list_it(net: &Net, node: u8) -> Vec<u8> {
    let lists = (0..).zip(&net.nodes);
    lists.filter(|(_, swim)| swim.members().get(id(node)).is_some()).map(|(at, _)| at).collect()
}

#[test]
fn all_expel_a_member_at_once_and_it_learns_why() {
    let mut net = net(8);
    state(&mut net, 3, expelled(5, 5));
    net.run(ms(100));
    assert_eq!(list_it(&net, 5), [5]);
    net.run(ms(3_000));
    let mine = Expelling::expulsion_of(&net.nodes[5], id(5)).cloned();
    assert_eq!(mine.as_deref(), Some(&expelled(5, 5)));
    // It stays out by all means.
    for through in [0, 3, 7] {
        net.nodes[5].join(net.now, peer(through));
        net.drain(5);
    }
    net.run(ms(10_000));
    assert_eq!(list_it(&net, 5), [5]);
    assert!((0..8).filter(|&node| node != 5).all(|node| {
        let lists = net.nodes[usize::from(node)].members();
        lists.live_len() == 7 && net.stats(node).pings_missed < 3
    }));
}

#[test]
fn a_member_that_missed_a_statement_asks_for_it() {
    let mut net = net(6);
    net.is_lost = Box::new(|_, to, payload| {
        to == 4 && is_part(payload, |part| matches!(part, Part::Expulsion(_)))
    });
    state(&mut net, 0, expelled(2, 5));
    net.run(ms(2_000));
    assert_eq!(list_it(&net, 2), [2, 4]);
    net.heal();
    net.run(ms(3_000));
    assert_eq!(list_it(&net, 2), [2]);
}

#[test]
fn a_newcomer_receives_the_statements_with_the_list() {
    let mut net = net(4);
    state(&mut net, 0, expelled(2, 5));
    net.run(ms(1_000));
    // It learns nothing in another way.
    net.is_lost = Box::new(|_, _, payload| {
        is_part(payload, |part| matches!(part, Part::ExpulsionsFingerprint(_)))
    });
    net.add(0, &Config::lan());
    follow(&mut net, 4);
    net.run(ms(10));
    let of_newcomer = Expelling::expulsion_of(&net.nodes[4], id(2)).cloned();
    assert_eq!(of_newcomer.as_deref(), Some(&expelled(2, 5)));
}

#[test]
fn a_readmitted_member_returns() {
    let mut net = net(5);
    state(&mut net, 0, expelled(2, 5));
    net.run(ms(5_000));
    assert_eq!(list_it(&net, 2), [2]);
    state(&mut net, 1, readmitted(2, 6));
    net.run(ms(1_000));
    net.nodes[2].join(net.now, peer(0));
    net.drain(2);
    net.run(ms(3_000));
    assert_eq!(list_it(&net, 2), [0, 1, 2, 3, 4]);
    // The statement that expelled it changes nothing any more.
    let replayed = Arc::new(expelled(2, 5));
    for to in 0..5 {
        let payload = Payload::of(&Part::Expulsion(Arc::clone(&replayed))).into_bytes();
        net.nodes[usize::from(to)].handle_datagram(net.now, peer((to + 1) % 5), &payload);
        net.drain(to);
    }
    net.run(ms(3_000));
    assert_eq!(list_it(&net, 2), [0, 1, 2, 3, 4]);
    let mine = Expelling::expulsion_of(&net.nodes[2], id(2));
    assert_eq!(mine, None, "it learnt that it was readmitted");
}

#[test]
fn members_with_other_admin_keys_ask_each_other_less_and_less() {
    let mut net = Net::new(3);
    let keys = [ADMIN, OTHER, OTHER];
    for (node, key) in (0..).zip(&keys) {
        Expelling::of(&mut net.nodes[node], net.now).set_admin_keys(&[key.public_key()]);
        net.drain(node as u8);
    }
    state(&mut net, 0, expelled(9, 5));
    net.run(ms(60_000));
    let ignored = net.stats(1).expulsions_foreign;
    assert!((3..15).contains(&ignored), "{ignored} in a minute");
    assert!(Expelling::statements(&net.nodes[1]).next().is_none());
}

#[test]
fn the_application_sees_a_death_and_an_expulsion() {
    let mut rooms = rooms(4);
    rooms.put(3, MemberState::Dead, 0);
    for (node, expected) in [(2, vec![Change::Dead, Change::Expelled]), (3, vec![Change::Expelled])]
    {
        take(&mut rooms, None, expelled(node, 5)).unwrap();
        rooms.run();
        let outputs = rooms.outputs.drain(..);
        let changes = outputs.filter_map(|output| match output {
            Output::Event(event) if event.member.id() == id(node) => Some(event.change),
            _ => None,
        });
        assert_eq!(changes.collect::<Vec<_>>(), expected, "n{node}");
    }
}
