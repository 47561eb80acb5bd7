use super::*;
use crate::{
    Config, MemberState,
    member::record::tests::{id, record, version},
    testing::{Rooms, at, ms, peer, vote},
};

/// A node that missed four pings of node 1, and was answered by others meanwhile.
fn accuser(members: u8) -> Rooms {
    let mut rooms = Rooms::of(members);
    rooms.measure(1);
    rooms.senses.health.record_answer(at(9_900));
    rooms.miss(1, &[9_000, 9_100, 9_200, 9_300]);
    rooms
}

/// The evidence that node 2 sends against node 1.
fn body(is_accusation: bool, silent_for: u64) -> VoteBody {
    let (silence, attempts, phi) = (Silence::Silent, 3, 4.0);
    let tally = Tally { phi, silent_for: ms(silent_for), silence, attempts };
    let (subject, version) = (id(1), version(0, 0));
    VoteBody { subject, version, is_accusation, is_observer: true, tally }
}

fn case(rooms: &Rooms) -> &Case {
    rooms.detector.cases.get(id(1)).unwrap()
}

fn edit(rooms: &mut Rooms) -> &mut Case {
    rooms.detector.cases.get_mut(id(1)).unwrap()
}

#[test]
fn evidence_goes_to_all_that_may_judge_and_the_subject_or_else_to_the_accusers() {
    let sent = |age: u64, phi, silence| Some(SentVote { at: at(10_000 - age), phi, silence });
    let accusation =
        |nodes: &[u8]| Some(Address::Accusation(nodes.iter().map(|&n| id(n)).collect()));
    let to_accusers = Some(Address::Vote(vec![id(2)]));
    let (silent, gone) = (Silence::Silent, Silence::Gone);
    // The case: time of the first miss, stage, accuser, the node that voted, the last vote sent, the host's answer.
    // Then the nodes that receive the evidence.
    let (watching, accused) = (Stage::Watching, Stage::Accused);
    let cases = [
        ("nobody accused yet", 9_000, watching, None, None, None, silent, accusation(&[2, 3, 1])),
        ("one accused", 9_000, watching, Some(2), None, None, silent, to_accusers),
        (
            "the accuser is dead",
            9_000,
            watching,
            Some(4),
            None,
            None,
            silent,
            accusation(&[2, 3, 1]),
        ),
        ("it takes long", 8_000, watching, Some(2), None, None, silent, accusation(&[2, 3, 1])),
        (
            "it was sent just now",
            9_000,
            watching,
            Some(2),
            None,
            sent(124, 2.0, silent),
            silent,
            None,
        ),
        (
            "not lately",
            9_000,
            watching,
            Some(2),
            None,
            sent(125, 2.0, silent),
            silent,
            Some(Address::Vote(vec![id(2)])),
        ),
        (
            "it was worth enough",
            9_000,
            watching,
            Some(2),
            None,
            sent(500, 4.0, silent),
            silent,
            None,
        ),
        (
            "it is of another kind",
            9_000,
            watching,
            Some(2),
            None,
            sent(10, 9.0, silent),
            gone,
            Some(Address::Vote(vec![id(2)])),
        ),
        ("accused just now", 9_000, accused, None, None, sent(249, 2.0, silent), silent, None),
        ("again", 9_000, accused, None, Some(3), sent(250, 2.0, silent), silent, accusation(&[2])),
        (
            "it is gone",
            9_000,
            accused,
            None,
            Some(3),
            sent(10, 2.0, silent),
            gone,
            accusation(&[2, 3]),
        ),
        ("gone, as was said", 9_000, accused, None, Some(3), sent(10, 2.0, gone), gone, None),
    ];
    for (what, first, stage, accuser, voter, sent, silence, expected) in cases {
        let mut rooms = Rooms::of(5);
        rooms.put(4, MemberState::Dead, 0);
        let case = rooms.miss(1, &[first]);
        (case.stage, case.sent, case.silence) = (stage, sent, silence);
        accuser.into_iter().for_each(|node| case.record_accuser(id(node)));
        voter.into_iter().for_each(|node| {
            case.record_vote(at(9_500), vote(node, 9_000, silent));
        });
        let others = vec![id(2), id(3)];
        let found = address(self::case(&rooms), rooms.see(), id(1), others);
        assert_eq!(found, expected, "{what}");
    }
}

#[test]
fn a_node_accuses_once_somebody_answered_it_and_one_lost_ping_is_nobodys_concern() {
    // The misses, when anyone answered last, an accuser; how many messages there are.
    let cases: [(&[u64], u64, Option<u8>, usize); 5] = [
        (&[9_000, 9_100], 9_001, None, 5),
        (&[9_000, 9_100], 9_000, None, 0),
        (&[9_000], 9_900, None, 0),
        (&[9_000], 9_900, Some(2), 1),
        (&[], 9_900, Some(2), 0),
    ];
    for (misses, answered_at, accuser, messages) in cases {
        let mut rooms = Rooms::of(6);
        rooms.senses.health.record_answer(at(answered_at));
        let case = rooms.miss(1, misses);
        accuser.into_iter().for_each(|node| case.record_accuser(id(node)));
        rooms.detect().accuse_or_vote(id(1), 3.0);
        let found = rooms.effects();
        assert_eq!(found.len(), messages, "{misses:?} {answered_at} {accuser:?}: {found:?}");
    }
}

#[test]
fn an_accusation_is_noted_with_those_that_were_asked_and_a_vote_is_not() {
    let mut rooms = accuser(4);
    rooms.detect().accuse_or_vote(id(1), 3.0);
    let accusation = |node| format!("to n{node}: accuse n1 v0.0 phi=3.0 silent_for=1s unknown");
    let mut sent = rooms.effects();
    sent.sort_unstable();
    assert_eq!(sent, [1, 2, 3].map(accusation), "the subject may hear it and answer");
    let Case { stage, accused_at, asked, sent, .. } = case(&rooms);
    assert_eq!((*stage, *accused_at), (Stage::Accused, Some(at(10_000))));
    assert_eq!(*asked, [1, 2, 3].map(id).into());
    assert_eq!(sent.map(|sent| (sent.at, sent.silence)), Some((at(10_000), Silence::Unknown)));
    assert_eq!(rooms.ctx.stats.accusations, 1);
    // Once more is no further accusation, and not to the subject.
    rooms.at(10_300).detect().accuse_or_vote(id(1), 3.0);
    assert_eq!(rooms.effects().len(), 2);
    assert_eq!(case(&rooms).accused_at, Some(at(10_000)));
    assert_eq!(rooms.ctx.stats.accusations, 1);
    // After a pause of two tolerances it is a new question.
    edit(&mut rooms).has_asked_subjects = true;
    for (millis, accused_at) in [(12_299, 10_000), (14_298, 10_000), (16_298, 16_298)] {
        rooms.at(millis).detect().accuse_or_vote(id(1), 3.0);
        assert_eq!(case(&rooms).accused_at, Some(at(accused_at)), "{millis}");
    }
    let mut rooms = accuser(4);
    edit(&mut rooms).record_accuser(id(2));
    rooms.detect().accuse_or_vote(id(1), 3.0);
    assert_eq!(rooms.effects(), ["to n2: vote n1 v0.0 phi=3.0 silent_for=1s unknown"]);
    assert_eq!((case(&rooms).stage, case(&rooms).accused_at), (Stage::Watching, None));
    assert!(case(&rooms).asked.is_empty());
}

#[test]
fn those_that_the_subject_pings_are_asked_once_before_a_verdict() {
    // When the first miss was, what the host says; how many members that do not observe the subject are asked.
    for (first, silence, is_asked) in [
        (9_500, Silence::Silent, true),
        (9_501, Silence::Silent, false),
        (9_000, Silence::Gone, false),
    ] {
        let mut rooms = Rooms::with(40, Config { rings: 2, ..Config::lan() });
        rooms.senses.health.record_answer(at(9_900));
        let subject = rooms.list.rings().subjects(id(0))[0];
        let node = (1..40).find(|&node| id(node) == subject).unwrap();
        let case = rooms.miss(node, &[first, 9_600]);
        (case.stage, case.silence) = (Stage::Accused, silence);
        let observers = rooms.list.rings().observers(subject);
        let pinged: Vec<_> = rooms.list.rings().subjects(subject);
        assert!(pinged.iter().all(|id| !observers.contains(id) && *id != self::id(0)));
        rooms.detect().accuse_or_vote(subject, 3.0);
        let case = rooms.detector.cases.get(subject).unwrap();
        let asked = pinged.iter().filter(|id| case.asked.contains(id)).count();
        assert_eq!(asked, if is_asked { pinged.len() } else { 0 }, "{first} {silence:?}");
        assert_eq!(case.has_asked_subjects, is_asked);
        let votes = |effects: Vec<String>| effects.iter().filter(|e| e.contains("vote")).count();
        assert_eq!(votes(rooms.effects()), asked, "they need not look for themselves");
        if is_asked {
            rooms.at(10_400).detect().accuse_or_vote(subject, 3.0);
            assert_eq!(votes(rooms.effects()), 0, "once for each case");
        }
    }
}

#[test]
fn a_voter_that_is_behind_is_told_what_settles_it() {
    let mut rooms = Rooms::of(6);
    rooms.list.put(crate::Member {
        record: record(1, version(0, 2)),
        state: MemberState::Alive,
        since: at(0),
    });
    rooms.put(3, MemberState::Dead, 9_000);
    rooms.senses.links.open(id(4), ms(10));
    rooms.senses.links.record_heard(id(4), at(9_700));
    rooms.detector.contacts.record_heard(id(5), at(9_600));
    let of = |node, incarnation| (id(node), version(0, incarnation));
    // The subject and its version in the vote, and what the voter receives.
    let cases = [
        (of(0, 0), "to n2: clear n0 v0.0 age=0ns"),
        (of(1, 1), "to n2: entry n1 v0.2 alive"),
        (of(3, 0), "to n2: dead n3 v0.0 by=n0 votes=0"),
        (of(4, 0), "to n2: clear n4 v0.0 age=300ms"),
        (of(5, 0), "to n2: clear n5 v0.0 age=400ms"),
        (of(5, 1), ""),
        (of(99, 0), ""),
    ];
    for ((subject, version), told) in cases {
        let body = VoteBody { subject, version, ..body(true, 1_000) };
        rooms.detect().handle_vote(peer(2), body, None);
        assert_eq!(rooms.effects().join("\n"), told);
        assert!(!rooms.detector.cases.is_open(subject), "{told}");
    }
    assert_eq!(rooms.ctx.stats.unknown_subjects, 2);
}

#[test]
fn an_accusation_of_a_member_that_seems_well_has_this_node_look_for_itself() {
    // Whether it is an accusation, how long the subject is silent, what is asked for, and how many accusers there are then.
    for (is_accusation, heard_at, asked_for, accusers) in [
        (true, 8_999, "Ping { to: n1, purpose: Retry }", 1),
        // A sign of life at that moment is older than the silence.
        (true, 9_000, "Ping { to: n1, purpose: Retry }", 1),
        (true, 9_001, "to n2: clear n1 v0.0 age=999ms", 0),
        (false, 8_999, "", 0),
    ] {
        let mut rooms = Rooms::of(6);
        rooms.detector.contacts.record_heard(id(1), at(heard_at));
        rooms.detect().handle_vote(peer(2), body(is_accusation, 1_000), None);
        assert_eq!(rooms.effects().join("\n"), asked_for, "{is_accusation} {heard_at}");
        let case = rooms.detector.cases.get(id(1));
        assert_eq!(case.map_or(0, |case| case.accusers.len()), accusers);
        assert_eq!(case.is_some(), !asked_for.contains("clear"));
    }
}

#[test]
fn a_node_that_doubts_itself_abstains_and_keeps_the_vote() {
    let mut rooms = Rooms::of(6);
    rooms.senses.health.record_silent_helpers(8);
    rooms.detect().handle_vote(peer(2), body(true, 1_000), None);
    assert_eq!(rooms.effects(), ["to n2: abstain n1 v0.0"]);
    assert_eq!(case(&rooms).votes.len(), 1);
}

#[test]
fn one_member_has_others_looked_at_within_its_budget() {
    let mut rooms = Rooms::of(200);
    let accuse = |rooms: &mut Rooms, node: u8, subject: u8| {
        rooms.detect().handle_vote(
            peer(node),
            VoteBody { subject: id(subject), ..body(true, 1_000) },
            None,
        );
        rooms.effects().len()
    };
    let pinged: usize = (10..190).map(|subject| accuse(&mut rooms, 2, subject)).sum();
    assert_eq!((pinged, rooms.ctx.stats.hearsay_ignored), (128, 52));
    assert_eq!(accuse(&mut rooms, 3, 180), 1, "another member has its own");
    accuse(&mut rooms, 2, 180);
    assert_eq!(rooms.ctx.stats.hearsay_ignored, 52, "what others suspect costs nothing");
}

#[test]
fn the_vote_of_an_observer_counts_and_no_word_of_another_is_worth_more_than_six() {
    let tally = |phi| Tally { phi, ..body(true, 1_000).tally };
    let mut rooms = Rooms::with(40, Config { rings: 2, ..Config::lan() });
    let (observers, is_near) = (rooms.list.rings().observers(id(1)), |node: &u8| {
        rooms.list.rings().is_near_predecessor(id(*node), id(1))
    });
    let find = |is: &dyn Fn(&u8) -> bool| (2..40).find(is).unwrap();
    let observer = find(&|&node| observers.contains(&id(node)));
    // It observes the subject in a list that has one member less.
    let next = find(&|node| is_near(node) && !observers.contains(&id(*node)));
    let other = find(&|node| !is_near(node));
    // Which node votes, whether it says that it observes, phi; what is kept of it.
    let cases = [
        (observer, true, 4.0, Some(4.0)),
        (observer, false, 60.0, Some(6.0)),
        (observer, true, -1.0, Some(0.0)),
        (next, true, 4.0, Some(4.0)),
        (next, false, 4.0, None),
        (other, true, 4.0, None),
    ];
    for (from, is_observer, phi, kept) in cases {
        rooms.detector.cases.close(id(1));
        let body = VoteBody { is_observer, tally: tally(phi), ..body(true, 1_000) };
        rooms.detect().handle_vote(peer(from), body, None);
        let votes = &case(&rooms).votes;
        assert_eq!(votes.get(&id(from)).map(|vote| vote.phi), kept, "n{from} {is_observer} {phi}");
        assert_eq!(case(&rooms).accusers.len(), votes.len(), "nobody else collects votes");
    }
}

#[test]
fn a_vote_is_sent_again_to_an_accuser_that_asks_again() {
    let vote = "to n2: vote n1 v0.0 phi=";
    // When the last vote was sent, if one was; whether node 2 is sent one now.
    for (sent_at, is_sent) in [(None, true), (Some(9_990), true), (Some(9_000), true)] {
        let mut rooms = accuser(6);
        let case = edit(&mut rooms);
        case.record_accuser(id(2));
        case.sent =
            sent_at.map(|sent_at| SentVote { at: at(sent_at), phi: 9.0, silence: case.silence });
        rooms.detect().handle_vote(peer(2), body(true, 1_000), None);
        let votes = rooms.effects().iter().filter(|effect| effect.starts_with(vote)).count();
        assert_eq!(votes, usize::from(is_sent), "{sent_at:?}");
    }
    // An accuser has sent all its evidence, and small evidence is withheld.
    for (stage, misses) in [(Stage::Accused, 4), (Stage::Asked, 1)] {
        let mut rooms = accuser(6);
        // On a link that was never measured one miss is worth little.
        rooms.senses.links.remove(id(1));
        rooms.senses.links.open(id(1), ms(10));
        let case = edit(&mut rooms);
        case.misses.truncate(misses);
        (case.stage, case.sent) =
            (stage, Some(SentVote { at: at(9_990), phi: 9.0, silence: case.silence }));
        rooms.detect().handle_vote(peer(2), body(true, 1_000), None);
        assert!(!rooms.effects().iter().any(|effect| effect.starts_with(vote)), "{stage:?}");
    }
}

#[test]
fn a_process_that_hung_is_asked_about_again_once_another_finds_it_gone() {
    // The answer of its host to this node, the finding of another; whether the host is asked.
    for (silence, found, is_asked) in [
        (Silence::Hung, Silence::Gone, true),
        (Silence::Hung, Silence::Hung, false),
        (Silence::Gone, Silence::Gone, false),
    ] {
        let mut rooms = Rooms::of(6);
        let case = rooms.miss(1, &[9_000]);
        (case.silence, case.host_asked_at) = (silence, Some(at(9_990)));
        let tally = Tally { silence: found, ..body(false, 1_000).tally };
        rooms.detect().handle_vote(peer(2), VoteBody { tally, ..body(false, 1_000) }, None);
        let is_question = |effect: &String| effect == "ask host of n1: Silence";
        assert_eq!(rooms.effects().iter().any(is_question), is_asked, "{silence:?} {found:?}");
    }
}

#[test]
fn an_observer_that_abstains_takes_its_vote_back() {
    // The version it speaks of, and whether that counts.
    for (version, counts) in [(version(0, 0), true), (version(0, 1), false)] {
        let mut rooms = Rooms::of(6);
        rooms.miss(1, &[9_000]).record_vote(at(9_500), vote(2, 9_000, Silence::Silent));
        rooms.detect().handle_abstain(id(2), id(1), version);
        assert_eq!(case(&rooms).votes.is_empty(), counts);
        assert_eq!(case(&rooms).abstaining.contains(&id(2)), counts);
    }
}

#[test]
fn a_vote_makes_the_period_as_short_as_it_can_be() {
    let longest = Some(ms(4_000));
    let mut rooms = Rooms::with(6, Config { max_period: longest, ..Config::lan() });
    (0..8).for_each(|_| rooms.senses.rounds.slow_down(&rooms.ctx.params));
    assert_eq!(rooms.senses.rounds.period(&rooms.ctx.params), ms(2_000));
    rooms.detect().handle_vote(peer(2), body(true, 1_000), None);
    assert_eq!(rooms.senses.rounds.period(&rooms.ctx.params), ms(1_000));
}

#[test]
fn a_node_that_looks_past_its_own_subjects_leaves_accusations_to_the_observers() {
    // Whether the node observes the member, the member's state, when the node began to look; whether it leaves it to others.
    use MemberState::{Alive, Suspect};
    let cases = [
        (false, Alive, 9_600, true),
        (false, Alive, 9_500, false),
        (false, Suspect, 9_000, true),
        (true, Alive, 9_600, false),
        (true, Suspect, 9_000, false),
    ];
    for (observes, state, opened_at, expected) in cases {
        let mut rooms = Rooms::of(60);
        let observers = |node: u8| rooms.list.rings().observers(id(node));
        let subject = (1..60).find(|&node| observers(node).contains(&id(0)) == observes).unwrap();
        rooms.put(subject, state, 9_000);
        rooms.miss(subject, &[9_000, 9_100]).opened_at = at(opened_at);
        let view = rooms.view(at(10_000));
        let case = view.case(id(subject)).unwrap();
        let found = is_left_to_observers(case, view, id(subject));
        assert_eq!(found, expected, "{observes} {state} {opened_at}");
    }
}
