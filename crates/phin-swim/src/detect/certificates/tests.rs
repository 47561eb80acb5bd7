use super::*;
use crate::{
    Part, Silence,
    detect::{
        reports::{Outcome, Report},
        signed::tests::{of, rooms, signed, verdict},
    },
    member::record::tests::{id, version},
    testing::{Rooms, at, peer, vote},
    wire::Tally,
};

/// A node that has declared node 1 dead, on the votes of these nodes, all signed.
fn with_verdict(of: &[u8]) -> Rooms {
    with_verdict_in(rooms(), of)
}

fn with_verdict_in(mut rooms: Rooms, of: &[u8]) -> Rooms {
    rooms.put(1, MemberState::Dead, 9_900);
    let votes: Vec<_> = of.iter().map(|&node| vote(node, 9_000, Silence::Silent)).collect();
    let (began_at, ended_at) = (at(9_000), at(9_900));
    let outcome = Outcome::Dead { votes: votes.into() };
    let report = Report { version: version(0, 0), began_at, ended_at, outcome };
    rooms.detector.reports.keep(id(1), report, of.iter().map(|&node| signed(node)).collect());
    rooms
}

/// A member sends the digest of a verdict.
fn announce(rooms: &mut Rooms, from: u8, claim: Claim, digest: u64) -> Vec<String> {
    let source = Source::Gossip(peer(from));
    rooms.verdicts().handle_certified(peer(from), source, claim, digest);
    rooms.effects()
}

#[test]
fn a_digest_names_the_votes_in_any_order() {
    let digest = SignedVote::digest(&[signed(2), signed(3)]);
    assert_eq!(digest, SignedVote::digest(&[signed(3), signed(2)]));
    assert_ne!(digest, SignedVote::digest(&[signed(2), signed(4)]));
    assert_ne!(digest, SignedVote::digest(&[signed(2), signed(3), signed(4)]));
}

#[test]
fn only_signed_votes_are_sent_as_a_digest() {
    let claim = verdict(&[], Vec::new()).claim;
    let unsigned = Part::Dead(verdict(&[2, 3], Vec::new()));
    assert_eq!(unsigned.brief(), unsigned);
    let digest = SignedVote::digest(&[signed(2)]);
    let brief = Part::Dead(verdict(&[2, 3], vec![signed(2)])).brief();
    assert_eq!(brief, Part::Certified { claim, digest });
}

#[test]
fn a_verdict_is_asked_for_where_it_is_not_known() {
    let claim = verdict(&[], Vec::new()).claim;
    const ASKS: &str = "by stream to n3: verdict-want n1 v0.0";
    // The state of the subject here, the version that the claim is about, and what follows.
    let cases = [
        (MemberState::Alive, (0, 0), ASKS),
        (MemberState::Suspect, (0, 0), ASKS),
        (MemberState::Alive, (0, 1), ""),
        (MemberState::Left, (0, 0), ""),
        (MemberState::Dead, (0, 0), "Repeated { id: n1, by: n3 }"),
    ];
    for (state, (generation, incarnation), expected) in cases {
        let mut rooms = rooms();
        rooms.put(1, state, 9_000);
        let claim = Claim { version: version(generation, incarnation), ..claim };
        let found = announce(&mut rooms, 3, claim, 7).join(", ");
        assert_eq!(found, expected, "{state} {generation}.{incarnation}");
    }
    let found = announce(&mut rooms(), 3, Claim { subject: id(0), ..claim }, 7).join(", ");
    assert!(found.starts_with("RefuteDeath"), "{found}");
}

#[test]
fn the_same_votes_are_asked_for_once_in_half_a_period_and_others_at_once() {
    let (mut rooms, claim) = (rooms(), verdict(&[], Vec::new()).claim);
    // When, from whom, which digest; whether it is asked for.
    for (millis, from, digest, expected) in [
        (10_000, 3, 7, true),
        (10_001, 4, 7, false),
        (10_001, 4, 8, true),
        (10_499, 3, 7, false),
        (10_500, 3, 7, true),
    ] {
        let asks = !announce(rooms.at(millis), from, claim, digest).is_empty();
        assert_eq!(asks, expected, "{digest} from n{from} at {millis} ms");
    }
    assert_eq!(rooms.ctx.stats.verdicts_requested, 3);
}

#[test]
fn invented_digests_use_up_the_budget_of_their_sender_alone() {
    let (mut rooms, claim) = (rooms(), verdict(&[], Vec::new()).claim);
    let asked = (0..1_000).filter(|&digest| !announce(&mut rooms, 3, claim, digest).is_empty());
    assert_eq!(asked.count(), 256);
    assert!(!announce(&mut rooms, 4, claim, 2_000).is_empty());
}

#[test]
fn late_votes_count_only_where_votes_are_signed() {
    let mut rooms = with_verdict_in(of(6, SignedVotes::Off), &[2, 3]);
    let tally = Tally::of(&vote(4, 9_000, Silence::Silent), at(10_000));
    let (subject, version) = (id(1), version(0, 0));
    let body = VoteBody { subject, version, is_accusation: false, is_observer: true, tally };
    rooms.verdicts().complete(id(4), &body, &signed(4));
    assert_eq!(rooms.effects(), [""; 0]);
}

#[test]
fn what_is_asked_has_a_limit_until_it_is_old() {
    let mut asked = Asked::default();
    let half = Duration::from_millis(500);
    for digest in 0..MAX_ASKED as u64 {
        assert!(asked.may_ask(at(0), (id(1), digest), half));
    }
    assert!(!asked.may_ask(at(499), (id(1), u64::MAX), half));
    assert!(asked.may_ask(at(500), (id(1), u64::MAX), half));
    assert_eq!(asked.0.len(), 1);
}

#[test]
fn a_verdict_is_sent_to_those_that_ask_within_their_budget() {
    let mut rooms = with_verdict(&[2, 3]);
    rooms.verdicts().handle_verdict_want(peer(4), id(1), version(0, 0));
    assert_eq!(rooms.effects(), ["by stream to n4: dead n1 v0.0 by=n0 votes=2 signed=2"]);
    // Another version, a live member, and one that is unknown.
    for (node, incarnation) in [(1, 1), (2, 0), (77, 0)] {
        rooms.verdicts().handle_verdict_want(peer(4), id(node), version(0, incarnation));
        assert_eq!(rooms.effects(), [""; 0], "n{node}");
    }
    let sent = (0..3_000).filter(|_| {
        rooms.verdicts().handle_verdict_want(peer(4), id(1), version(0, 0));
        !rooms.effects().is_empty()
    });
    assert_eq!(sent.count(), 1_023);
    rooms.verdicts().handle_verdict_want(peer(5), id(1), version(0, 0));
    assert_eq!(rooms.effects().len(), 1, "another one has a budget of its own");
}

#[test]
fn late_votes_complete_a_verdict_which_is_then_spread_again() {
    let body = |tally_of: Silence| {
        let (subject, version) = (id(1), version(0, 0));
        let tally = Tally::of(&vote(4, 9_000, tally_of), at(10_000));
        VoteBody { subject, version, is_accusation: false, is_observer: true, tally }
    };
    let (body, other) = (body(Silence::Silent), body(Silence::Gone));
    let forged = SignedVote { signature: signed(9).signature, ..signed(4) };
    let later = VoteBody { version: version(0, 1), ..body };
    // The votes of the verdict so far, the voter, the vote; how many are signed then, and whether it is spread. The observers
    // are nodes 0 and 2 to 5, so three are more than half.
    let cases = [
        (&[2, 3][..], 4, &body, signed(4), 3, true),
        (&[2], 4, &body, signed(4), 2, false),
        (&[2, 3, 5], 4, &body, signed(4), 3, false),
        (&[2, 4], 4, &body, signed(4), 2, false),
        (&[2, 3], 5, &body, signed(4), 2, false),
        (&[2, 3], 4, &body, forged, 2, false),
        (&[2, 3], 4, &other, signed(4), 2, false),
        (&[2, 3], 4, &later, signed(4), 2, false),
    ];
    for (of, voter, body, vote, expected, is_spread) in cases {
        let mut rooms = with_verdict(of);
        rooms.verdicts().complete(id(voter), body, &vote);
        let found = rooms.detector.reports.signed(id(1), version(0, 0));
        assert_eq!(found, Some(expected), "{of:?} n{voter} {body:?} {vote:?}");
        assert_eq!(!rooms.effects().is_empty(), is_spread, "{of:?} n{voter} {body:?}");
    }
}
