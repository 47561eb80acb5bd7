use super::*;
use crate::{
    Claim, Config, Member, MemberState, Source, Verdict, VoteBody,
    member::record::tests::{TestKeys, id, record, version},
    testing::{Rooms, at, member, peer, vote},
    wire::Tally,
};

/// A node among six, which all observe one another, that requires signed votes.
pub(crate) fn rooms() -> Rooms {
    of(6, SignedVotes::Require)
}

pub(crate) fn of(members: u8, signed_votes: SignedVotes) -> Rooms {
    let mut rooms = Rooms::with(members, Config { signed_votes, ..Config::lan() });
    (1..members).for_each(|node| rooms.measure(node));
    let now = rooms.ctx.now;
    rooms.senses.health.record_answer(now);
    rooms.effects();
    rooms
}

fn about(node: u8) -> Subject {
    (id(node), version(0, 0))
}

/// The signed vote of a member on node 1, of this round.
fn signed_in(node: u8, round: u16, silence: Silence) -> SignedVote {
    let keys = TestKeys(node.into());
    SignedVote::sign(&keys, about(1), (id(node), Generation(0)), (Round(round), silence))
}

pub(crate) fn signed(node: u8) -> SignedVote {
    signed_in(node, 0, Silence::Silent)
}

/// The verdict of these observers on node 1, silent since 9 s, with these signed votes.
pub(crate) fn verdict(of: &[u8], signed: Vec<SignedVote>) -> Verdict {
    let claim = Claim { subject: id(1), version: version(0, 0), by: id(2) };
    let tally = |node| Tally::of(&vote(node, 9_000, Silence::Silent), at(10_000));
    Verdict { claim, votes: of.iter().map(|&node| (id(node), tally(node))).collect(), signed }
}

const ACCEPTED: &str = "apply n1 dead Gossip(n2)";
const LOOKS: [&str; 2] = ["Ping { to: n1, purpose: Look }", "to n1: suspect n1 v0.0 by=n2"];

#[test]
fn a_signature_covers_everything_that_a_vote_says() {
    let (keys, key) = (TestKeys(3), TestKeys(3).public_key());
    let vote = signed(3);
    assert!(vote.is_authentic(&keys, about(1), &key));
    let changed = [
        SignedVote { voter: id(4), ..vote.clone() },
        SignedVote { generation: Generation(1), ..vote.clone() },
        SignedVote { round: Round(1), ..vote.clone() },
        SignedVote { silence: Silence::Gone, ..vote.clone() },
    ];
    for changed in changed {
        assert!(!changed.is_authentic(&keys, about(1), &key), "{changed:?}");
    }
    for subject in [about(2), (id(1), version(1, 0)), (id(1), version(0, 1))] {
        assert!(!vote.is_authentic(&keys, subject, &key), "{subject:?}");
    }
    assert!(!vote.is_authentic(&keys, about(1), &TestKeys(4).public_key()));
}

#[test]
fn a_vote_counts_for_thirty_rounds_and_of_live_observers_in_their_present_run() {
    // The round of the vote, by a node in round 100; whether it counts.
    for (round, counts) in [(69, false), (70, true), (100, true), (102, true), (103, false)] {
        let mut rooms = rooms();
        rooms.senses.rounds = crate::probe::rounds::Rounds::in_round(at(10_000), Round(100));
        let vote = signed_in(2, round, Silence::Silent);
        assert_eq!(vote.may_count(rooms.see(), &[id(2)]), counts, "round {round}");
    }
    // The state of the voter, its generation, whether it observes the subject; whether the vote counts.
    let cases = [
        (MemberState::Alive, 0, true, true),
        (MemberState::Suspect, 0, true, true),
        (MemberState::Dead, 0, true, false),
        (MemberState::Alive, 1, true, false),
        (MemberState::Alive, 0, false, false),
    ];
    for (state, generation, observes, counts) in cases {
        let mut rooms = rooms();
        rooms.list.put(Member { record: record(2, version(generation, 0)), ..member(2, state, 0) });
        let observers = if observes { vec![id(2)] } else { vec![id(3)] };
        assert_eq!(signed(2).may_count(rooms.see(), &observers), counts, "{state} {generation}");
    }
}

#[test]
fn a_verdict_is_accepted_with_the_signed_votes_of_more_than_half_of_the_observers() {
    let forged = |node: u8| SignedVote { signature: signed(9).signature, ..signed(node) };
    let other = |node: u8| {
        let (keys, subject) = (TestKeys(node.into()), (id(1), version(0, 1)));
        let round = (Round(0), Silence::Silent);
        SignedVote::sign(&keys, subject, (id(node), Generation(0)), round)
    };
    // The observers of node 1 are this node and nodes 2 to 5, so three are more than half. The votes, those of them that are
    // signed, whether the verdict is accepted.
    let all = [2, 3, 4, 5];
    let cases = [
        (&all[..], vec![signed(2), signed(3), signed(4)], true),
        (&all[..], vec![signed(2), signed(3)], false),
        (&all[..], vec![], false),
        (&all[..], vec![signed(2), signed(2), signed(2)], false),
        (&all[..], vec![signed(2), signed(3), forged(4)], false),
        (&all[..], vec![signed(2), signed(3), other(4)], false),
        // The verdict itself does not name the voter.
        (&all[..2], vec![signed(2), signed(3), signed(4)], false),
    ];
    for (votes, signed, is_accepted) in cases {
        let mut rooms = rooms();
        let what = format!("{votes:?} {signed:?}");
        rooms.verdicts().handle_dead(Source::Gossip(peer(2)), verdict(votes, signed));
        let expected: &[&str] = if is_accepted { &[ACCEPTED] } else { &LOOKS };
        assert_eq!(rooms.effects(), expected, "{what}");
    }
}

#[test]
fn a_member_that_was_heard_since_is_not_dead_whatever_is_signed() {
    let mut rooms = rooms();
    rooms.detector.contacts.record_heard(id(1), at(9_900));
    let votes = vec![signed(2), signed(3), signed(4)];
    rooms.verdicts().handle_dead(Source::Gossip(peer(2)), verdict(&[2, 3, 4], votes));
    // It learns of the claim all the same: others may believe it.
    assert_eq!(rooms.effects(), [LOOKS[1]]);
    assert_eq!(rooms.ctx.stats.verdicts_unsigned, 1);
}

#[test]
fn a_member_that_refuted_its_death_lately_is_looked_at_before_a_signed_verdict_on_it() {
    let mut rooms = rooms();
    rooms.detector.hearsay.record_refuted_death(at(9_000), id(1));
    let votes = vec![signed(2), signed(3), signed(4)];
    rooms.verdicts().handle_dead(Source::Gossip(peer(2)), verdict(&[2, 3, 4], votes));
    assert_eq!(rooms.effects(), LOOKS);
    // One period of silence is enough, as it is for any verdict after a refutation.
    rooms.at(11_000).hear_anyone();
    rooms.effects();
    rooms.verdicts().end_pending(id(1), version(0, 0));
    assert_eq!(rooms.effects(), [ACCEPTED]);
    // That of a suspicion shows nothing against a majority that signed a verdict.
    let mut rooms = self::rooms();
    rooms.detector.hearsay.record_refutation(at(9_000), id(1));
    let votes = vec![signed(2), signed(3), signed(4)];
    rooms.verdicts().handle_dead(Source::Gossip(peer(2)), verdict(&[2, 3, 4], votes));
    assert_eq!(rooms.effects(), [ACCEPTED]);
}

#[test]
fn each_signature_is_checked_once_and_forgeries_cost_their_sender() {
    let mut rooms = rooms();
    let forged = SignedVote { signature: signed(9).signature, ..signed(4) };
    let votes = vec![signed(2), signed(3), forged];
    for _ in 0..3 {
        rooms.detector.pending.end(id(1));
        rooms.verdicts().handle_dead(Source::Gossip(peer(2)), verdict(&[2, 3, 4], votes.clone()));
    }
    assert_eq!(rooms.ctx.stats.forged_votes, 1);
    assert_eq!(rooms.detector.checked.0.len(), 3);
}

#[test]
fn the_results_of_checks_have_a_limit() {
    let mut checked = Checked::default();
    for round in 0..=u16::try_from(MAX_CHECKED).unwrap() {
        let vote = signed_in(2, round, Silence::Silent);
        checked.record(about(1), &vote, true);
    }
    assert_eq!(checked.0.len(), MAX_CHECKED);
}

#[test]
fn a_death_in_the_list_of_another_is_looked_into() {
    let mut rooms = rooms();
    let claim = verdict(&[], Vec::new()).claim;
    rooms.verdicts().handle_death_elsewhere(Source::Gossip(peer(2)), claim);
    // The other is asked for the votes, which its list does not contain.
    assert_eq!(rooms.effects(), [LOOKS[0], LOOKS[1], "by stream to n2: verdict-want n1 v0.0"]);
    assert_eq!(rooms.list.state(id(1)), Some(MemberState::Alive));
}

#[test]
fn a_look_takes_as_long_as_an_observer_alone_waits() {
    // The answer of the member's host, whether there is a connection, when the member was heard, and when the verdict is
    // accepted: the look begins at 10 s.
    let cases = [
        (Silence::Unknown, true, None, Some(13_000)),
        (Silence::Silent, true, None, Some(11_000)),
        (Silence::Silent, false, None, Some(12_000)),
        (Silence::Gone, true, None, Some(10_500)),
        (Silence::Gone, false, None, Some(10_500)),
        (Silence::Hung, true, None, Some(20_000)),
        (Silence::Silent, true, Some(10_400), None),
    ];
    for (host, is_connected, heard_at, expected) in cases {
        let mut rooms = rooms();
        if !is_connected {
            rooms.senses.links.disconnect(id(1));
        }
        let unsigned = verdict(&[2, 3, 4], Vec::new());
        rooms.verdicts().handle_dead(Source::Gossip(peer(2)), unsigned);
        match host {
            Silence::Gone => rooms.verdicts().confirm_gone(id(1)),
            _ => rooms.detector.pending.record_host(id(1), host),
        }
        heard_at.into_iter().for_each(|heard| {
            rooms.at(heard);
            rooms.life_signs().record_heard(id(1), at(heard));
        });
        let mut accepted = None;
        while let Some(due) = rooms.ctx.timers.next()
            && accepted.is_none()
        {
            rooms.now(due).ctx.timers.pop_due(due);
            rooms.hear_anyone();
            rooms.effects();
            rooms.verdicts().end_pending(id(1), version(0, 0));
            let is_accepted = rooms.effects().contains(&ACCEPTED.to_owned());
            accepted = is_accepted.then(|| due.since_start().as_millis() as u64);
        }
        assert_eq!(accepted, expected, "{host:?} {is_connected} {heard_at:?}");
    }
}

#[test]
fn others_shorten_the_silence_that_a_node_has_seen_by_a_quarter_of_the_tolerance() {
    // The misses of this node, the beginning of the silence by another vote, when the member was last known alive here; when
    // the silence began that this node vouches for.
    let cases = [
        (&[9_500, 9_700][..], None, 0, Some(9_500)),
        (&[9_500, 9_700], Some(9_400), 0, Some(9_400)),
        (&[9_500, 9_700], Some(1_000), 0, Some(9_250)),
        (&[9_500, 9_700], Some(1_000), 9_450, Some(9_450)),
        (&[], Some(1_000), 0, None),
    ];
    for (misses, voted, alive, expected) in cases {
        let mut rooms = rooms();
        rooms.senses.links.record_known_alive(id(1), at(alive));
        let case = rooms.miss(1, misses);
        voted.into_iter().for_each(|since| {
            case.record_vote(at(9_900), vote(2, since, Silence::Silent));
        });
        let view = rooms.see();
        let found = silence_began(view.case(id(1)).unwrap(), view, id(1));
        assert_eq!(found, expected.map(at), "{misses:?} {voted:?} {alive}");
    }
}

#[test]
fn a_node_signs_once_its_own_evidence_suffices_for_a_verdict() {
    // The mode, the moment, the misses of this node; whether it signs then.
    let cases = [
        (SignedVotes::Require, 10_000, &[9_000, 9_300][..], true),
        (SignedVotes::Sign, 10_000, &[9_000, 9_300], true),
        (SignedVotes::Off, 10_000, &[9_000, 9_300], false),
        (SignedVotes::Require, 9_999, &[9_000, 9_300], false),
        (SignedVotes::Require, 10_000, &[9_000], false),
        (SignedVotes::Require, 10_000, &[], false),
    ];
    for (mode, now, misses, signs) in cases {
        let mut rooms = of(6, mode);
        rooms.at(now);
        let case = rooms.miss(1, misses);
        case.silence = Silence::Silent;
        case.record_accuser(id(2));
        case.record_vote(at(9_900), vote(2, 9_000, Silence::Silent));
        rooms.detect().conclude(id(1));
        let effects = rooms.effects();
        let is_sent =
            effects.iter().any(|effect| effect.starts_with("by stream to n2: signed-vote n1"));
        assert_eq!(is_sent, signs, "{mode} at {now} {misses:?}: {effects:?}");
        // It is not signed again.
        rooms.detect().conclude(id(1));
        assert_eq!(rooms.ctx.stats.votes_signed, u64::from(signs));
    }
}

#[test]
fn a_signed_vote_counts_if_its_voter_sent_and_signed_it() {
    let body = |silence| {
        let tally = Tally::of(&vote(2, 9_000, silence), at(10_000));
        let (subject, version) = about(1);
        VoteBody { subject, version, is_accusation: false, is_observer: true, tally }
    };
    let forged = SignedVote { signature: signed(9).signature, ..signed(2) };
    // The signed vote that node 2 sends, with which kind of silence; whether it is kept.
    let cases = [
        (signed(2), Silence::Silent, true),
        (signed(3), Silence::Silent, false),
        (forged, Silence::Silent, false),
        (signed(2), Silence::Gone, false),
    ];
    for (vote, silence, is_kept) in cases {
        let mut rooms = rooms();
        rooms.detect().handle_vote(peer(2), body(silence), Some(vote.clone()));
        let case = rooms.detector.cases.get(id(1)).unwrap();
        assert!(case.votes.contains_key(&id(2)), "it is a vote in any case");
        assert_eq!(case.signed.contains_key(&id(2)), is_kept, "{vote:?} {silence:?}");
    }
}

#[test]
fn signatures_are_checked_only_where_votes_are_signed() {
    for (mode, checked) in [(SignedVotes::Off, 0), (SignedVotes::Sign, 1)] {
        let mut rooms = of(6, mode);
        let tally = Tally::of(&vote(2, 9_000, Silence::Silent), at(10_000));
        let (subject, version) = about(1);
        let body = VoteBody { subject, version, is_accusation: false, is_observer: true, tally };
        rooms.detect().handle_vote(peer(2), body, Some(signed(2)));
        assert_eq!(rooms.detector.checked.0.len(), checked, "{mode}");
    }
}

#[test]
fn a_sign_of_life_voids_signed_votes() {
    let mut rooms = rooms();
    let case = rooms.miss(1, &[9_000, 9_300]);
    case.record_vote(at(9_500), vote(2, 9_000, Silence::Silent));
    case.record_vote(at(9_500), vote(3, 9_400, Silence::Silent));
    for node in [0, 2, 3] {
        case.signed.insert(id(node), signed(node));
    }
    case.void(at(9_200));
    assert_eq!(case.signed.keys().copied().collect::<Vec<_>>(), [id(3)]);
}

#[test]
fn the_time_given_depends_on_who_signed_and_not_on_who_says_so() {
    use Silence::{Gone, Hung, Silent, Unknown};
    // The answer of the host to this node, the kinds of silence that others signed; the kind found and the seconds given. There
    // are five observers.
    let cases = [
        (Silent, vec![], (Silent, 1_000), 1),
        (Silent, vec![Silent, Silent], (Silent, 1_000), 3),
        (Unknown, vec![Silent, Silent], (Unknown, 3_000), 3),
        (Hung, vec![Silent, Silent], (Hung, 10_000), 3),
        (Unknown, vec![Silent, Silent, Hung], (Unknown, 0), 4),
        (Silent, vec![Gone, Gone], (Silent, 1_000), 3),
        (Silent, vec![Gone, Gone, Gone], (Gone, 0), 4),
        (Gone, vec![Gone, Gone], (Gone, 0), 3),
        (Gone, vec![Gone], (Silent, 1_000), 2),
    ];
    for (own, others, (silence, millis), votes) in cases {
        let mut rooms = rooms();
        let case = rooms.miss(1, &[9_000, 9_300]);
        case.silence = own;
        for (node, &silence) in (2..).zip(&others) {
            case.signed.insert(id(node), signed_in(node, 0, silence));
        }
        let view = rooms.see();
        let case = view.case(id(1)).unwrap();
        let agreed = Agreed::on(case, view, id(1));
        let of = |silence| tolerance(case, view, id(1), silence);
        let found = agreed.tolerance(case, of);
        let expected = (silence, Duration::from_millis(millis));
        assert_eq!((found, agreed.votes, agreed.able), (expected, votes, 5), "{own:?} {others:?}");
    }
}
