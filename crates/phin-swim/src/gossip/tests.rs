use super::*;
use crate::{
    detect::pending::{PendingVerdict, Stage},
    member::record::tests::{id, version},
    testing::{Rooms, at, peer},
};

/// The pushes of a node among so many that learned from node 2 that these are suspect, and then from others as well, when
/// its budget is spent or not.
fn pushed(members: u8, suspects: &[u8], also_from: &[u8], is_spent: bool) -> Vec<String> {
    let mut rooms = Rooms::of(members);
    if is_spent {
        let (now, period) = (rooms.ctx.now, rooms.ctx.params.period);
        rooms.dissemination.spend(&[Some(Kind::Fall)], 100, now, period);
    }
    for &node in suspects {
        rooms.put(node, MemberState::Suspect, 9_000);
        rooms.gossip().spread(id(node), Source::Gossip(peer(2)));
        also_from.iter().for_each(|&by| rooms.dissemination.record_repeated(id(node), id(by)));
    }
    rooms.effects();
    rooms.at(12_000).gossip().push_updates();
    rooms.effects()
}

#[test]
fn news_beyond_the_budget_that_several_sent_meanwhile_is_left_to_them() {
    // The members that sent it besides the first, whether the budget is spent, and whether it is pushed.
    for (also_from, is_spent, expected) in [
        (&[][..], true, true),
        (&[3], true, true),
        (&[3, 3, 3], true, true),
        (&[3, 4], true, false),
        (&[3, 4, 5], false, true),
    ] {
        let pushed = pushed(30, &[1], also_from, is_spent);
        assert_eq!(!pushed.is_empty(), expected, "{also_from:?} {is_spent}: {pushed:?}");
        assert!(pushed.len() <= if is_spent { FEW } else { 8 });
    }
}

#[test]
fn a_suspect_hears_of_it_from_its_neighbours_and_in_a_small_cluster_from_all() {
    for members in [16, 40] {
        let rooms = Rooms::of(members);
        let rings = rooms.list.rings();
        let is_neighbour = |node| {
            rings.observers(id(0)).contains(&id(node)) || rings.subjects(id(0)).contains(&id(node))
        };
        for node in 3..members {
            let mut rooms = Rooms::of(members);
            rooms.put(node, MemberState::Suspect, 9_000);
            rooms.gossip().spread(id(node), Source::Gossip(peer(2)));
            let informs =
                rooms.effects().iter().any(|line| line.starts_with(&format!("to n{node}:")));
            assert_eq!(informs, members == 16 || is_neighbour(node), "n{node} of {members}");
        }
        assert!((3..members).any(|node| !is_neighbour(node)), "{members}");
    }
}

#[test]
fn nobody_is_sent_the_news_that_it_sent() {
    let receivers = |also_from: &[u8]| {
        let pushed = pushed(5, &[1], also_from, false);
        pushed.iter().map(|line| line[3..5].to_owned()).collect::<Vec<_>>()
    };
    let sorted = |mut names: Vec<String>| {
        names.sort();
        names
    };
    assert_eq!(sorted(receivers(&[])), ["n3", "n4"]);
    assert_eq!(sorted(receivers(&[3])), ["n4"]);
}

#[test]
fn much_news_goes_to_few_by_stream() {
    // How many are suspect, how many receive that, and whether by stream.
    for (suspects, receivers, is_stream) in [(1, 8, false), (20, 8, false), (60, FEW, true)] {
        let suspects: Vec<_> = (100..100 + suspects).collect();
        let pushed = pushed(200, &suspects, &[], false);
        assert!(pushed.len() <= receivers && pushed.len() >= receivers / 2, "{pushed:?}");
        let streams = pushed.iter().filter(|line| line.starts_with("by stream to")).count();
        assert_eq!(streams, if is_stream { pushed.len() } else { 0 }, "{pushed:?}");
    }
}

#[test]
fn a_few_receive_the_signed_votes_of_a_verdict_and_all_others_their_digest() {
    use crate::{
        Silence,
        detect::{
            reports::{Outcome, Report},
            signed::tests::signed,
        },
        member::record::tests::version,
        testing::{at, vote},
    };
    let mut rooms = Rooms::of(40);
    rooms.put(1, MemberState::Dead, 9_000);
    let votes = [vote(2, 9_000, Silence::Silent)].into();
    let (version, began_at, ended_at) = (version(0, 0), at(9_000), at(9_900));
    let report = Report { version, began_at, ended_at, outcome: Outcome::Dead { votes } };
    rooms.detector.reports.keep(id(1), report, vec![signed(2)]);
    rooms.gossip().spread(id(1), Source::Ourselves);
    rooms.effects();
    rooms.at(12_000).gossip().push_updates();
    let pushed = rooms.effects();
    let of_kind = |kind: &str| pushed.iter().filter(|line| line.contains(kind)).count();
    let subjects = rooms.list.rings().subjects(id(0)).len();
    assert_eq!(of_kind("dead n1"), WHOLE);
    assert_eq!(of_kind("certified n1"), subjects - WHOLE);

    let mut payload = Payload::new();
    rooms.gossip().piggyback(&mut payload, id(2));
    let said = crate::wire::describe(&payload.into_bytes(), &*rooms.ctx.keys, &|_| "n".to_owned());
    assert_eq!(said, ["certified n v0.0 by=n"]);
}

#[test]
fn news_sent_to_a_member_that_is_silent_or_looked_for_is_not_counted() {
    type Change = fn(&mut Rooms);
    let silent: Change = |rooms| _ = rooms.miss(2, &[9_000]);
    let looked_for: Change = |rooms| {
        let (version, stage) = (version(0, 0), Stage::Examined(at(9_000)));
        let verdict = PendingVerdict::new(version, Vec::new(), Source::Ourselves, stage);
        rooms.detector.pending.insert(id(2), verdict);
    };
    let answered: Change = |rooms| {
        rooms.miss(2, &[9_000]);
        rooms.life_signs().record_heard(id(2), at(9_500));
    };
    // The receiver, and whether the news of node 1 is still to be sent after a hundred pings.
    let cases: [(&str, Change, bool); 4] = [
        ("heard", |_| (), false),
        ("silent", silent, true),
        ("looked for", looked_for, true),
        ("it answered", answered, false),
    ];
    for (what, change, is_left) in cases {
        let mut rooms = Rooms::of(6);
        rooms.put(1, MemberState::Suspect, 9_000);
        rooms.gossip().spread(id(1), Source::Ourselves);
        change(&mut rooms);
        for _ in 0..100 {
            rooms.gossip().piggyback(&mut Payload::new(), id(2));
        }
        let left = rooms.dissemination.queue.in_order();
        assert_eq!(left.contains(&id(1)), is_left, "{what}");
    }
}
