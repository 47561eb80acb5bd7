use super::*;
use crate::{
    Config, Silence,
    member::record::tests::{id, version},
    testing::{Rooms, at, ms, peer, vote},
    wire::Tally,
};

const FROM: u8 = 2;

type Ends = Option<u64>;
type Effects = &'static [&'static str];

fn source() -> Source {
    Source::Gossip(peer(FROM))
}

fn claim(node: u8) -> Claim {
    Claim { subject: id(node), version: version(0, 0), by: id(FROM) }
}

/// The verdict of these observers on node 1, silent since 9 s.
fn verdict(of: &[u8]) -> Verdict {
    let tally = |node| Tally::of(&vote(node, 9_000, Silence::Silent), at(10_000));
    let votes = of.iter().map(|&node| (id(node), tally(node))).collect();
    Verdict::unsigned(claim(1), votes)
}

/// A node that keeps a verdict pending on node 1, suspect since then.
fn pending(since: u64, stage: Stage) -> Rooms {
    let mut rooms = Rooms::of(6);
    rooms.senses.links.open(id(1), ms(10));
    rooms.put(1, MemberState::Suspect, since);
    let votes = vec![vote(2, 9_000, Silence::Silent)];
    let verdict = PendingVerdict::new(version(0, 0), votes, source(), stage);
    rooms.detector.pending.insert(id(1), verdict);
    rooms
}

fn is_pending(rooms: &Rooms) -> bool {
    rooms.detector.pending.on(id(1), version(0, 0)).is_some()
}

const ACCEPTED: &str = "apply n1 dead Gossip(n2)";

/// The moment of the only timer of a pending verdict, if there is one.
fn timer(rooms: &mut Rooms) -> Option<u64> {
    let next = rooms.ctx.timers.next()?;
    let is_ours = rooms.ctx.timers.pop_due(next) == Some(Timer::Pending(id(1), version(0, 0)));
    assert!(is_ours && rooms.ctx.timers.next().is_none());
    Some(next.since_start().as_millis() as u64)
}

#[test]
fn a_suspicion_counts_for_the_version_known_of_a_member_that_is_alive() {
    // The node's state, the version in the claim, how often the node refuted lately; what is asked for, and what is counted
    // as unknown and as ignored.
    let (apply, repeated) = ("apply n1 suspect Gossip(n2)", "Repeated { id: n1, by: n2 }");
    let cases = [
        (MemberState::Alive, version(0, 1), 0, apply, [0, 0]),
        (MemberState::Alive, version(0, 0), 0, "", [0, 0]),
        (MemberState::Alive, version(0, 2), 0, "", [1, 0]),
        (MemberState::Suspect, version(0, 1), 0, repeated, [0, 0]),
        (MemberState::Dead, version(0, 1), 0, "", [0, 0]),
        (MemberState::Alive, version(0, 1), 2, apply, [0, 0]),
        (MemberState::Alive, version(0, 1), 3, "", [0, 1]),
    ];
    for (state, version, refuted, asked_for, [unknown, ignored]) in cases {
        let mut rooms = Rooms::of(6);
        let record = crate::member::record::tests::record(1, self::version(0, 1));
        rooms.list.put(crate::Member { record, state, since: at(0) });
        (0..refuted).for_each(|_| rooms.detector.hearsay.record_refutation(at(9_000), id(1)));
        rooms.verdicts().handle_suspect(source(), Claim { version, ..claim(1) });
        assert_eq!(rooms.effects().join("\n"), asked_for, "{state} {version:?} {refuted}");
        let stats = &rooms.ctx.stats;
        assert_eq!([stats.unknown_subjects, stats.hearsay_ignored], [unknown, ignored]);
    }
    let mut rooms = Rooms::of(6);
    rooms.verdicts().handle_suspect(source(), claim(77));
    assert_eq!((rooms.effects().len(), rooms.ctx.stats.unknown_subjects), (0, 1));
}

#[test]
fn what_others_claim_of_this_node_is_refuted() {
    let mut rooms = Rooms::of(6);
    rooms.verdicts().handle_suspect(source(), claim(0));
    rooms.verdicts().handle_dead(source(), Verdict::unsigned(claim(0), Vec::new()));
    rooms.verdicts().handle_death_elsewhere(source(), claim(0));
    let found = rooms.effects();
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("Refute {") && found[1].starts_with("RefuteDeath {"), "{found:?}");
}

#[test]
fn a_verdict_is_accepted_where_a_majority_bears_it_out_and_else_pending() {
    let keep = ["apply n1 suspect Ourselves", "EndPending(", "WeighPending(n1)"];
    // The voters, the state of the subject; whether the verdict is accepted, or pending with these effects.
    let cases: [(&[u8], MemberState, bool, &[&str]); 5] = [
        (&[2, 3, 4], MemberState::Alive, true, &[ACCEPTED]),
        (&[2, 3, 4], MemberState::Suspect, true, &[ACCEPTED]),
        (&[2, 3], MemberState::Alive, false, &keep),
        (&[2, 3], MemberState::Suspect, false, &keep[1..]),
        (&[2, 3, 4], MemberState::Dead, false, &["Repeated {"]),
    ];
    for (of, state, is_accepted, asked_for) in cases {
        let mut rooms = Rooms::of(6);
        rooms.put(1, state, 0);
        rooms.verdicts().handle_dead(source(), verdict(of));
        let found = rooms.effects();
        assert_eq!(found.len(), asked_for.len(), "{found:?}");
        assert!(found.iter().zip(asked_for).all(|(f, a)| f.starts_with(a)), "{found:?}");
        assert_eq!(is_pending(&rooms), !is_accepted && state.is_live(), "{of:?} {state}");
        let report = rooms.detector.reports.get(id(1));
        assert_eq!(report.is_some(), is_accepted);
        assert!(report.is_none_or(|report| report.began_at == at(9_000)
            && matches!(&report.outcome, Outcome::Dead { votes } if votes.len() == 3)));
    }
}

#[test]
fn a_member_that_considers_an_earlier_version_dead_is_sent_the_later_one() {
    use MemberState::{Alive, Dead, Suspect};
    let correction = "to n2: entry n1 v0.1 alive";
    // The state and the version here, and the effects of the verdict of node 2 on version 0.0.
    let cases = [
        (Alive, 1, vec![correction]),
        (Suspect, 1, vec!["to n2: entry n1 v0.1 suspect"]),
        (Dead, 1, vec![]),
    ];
    for (state, incarnation, expected) in cases {
        let mut rooms = Rooms::of(10);
        let record = crate::member::record::tests::record(1, version(0, incarnation));
        rooms.list.put(crate::Member { record, state, since: at(0) });
        rooms.verdicts().handle_dead(source(), verdict(&[2, 3, 4]));
        assert_eq!(rooms.effects(), expected, "{state}");
        // One that repeats it is sent no more than so many.
        (0..100).for_each(|_| rooms.verdicts().handle_dead(source(), verdict(&[2, 3, 4])));
        assert_eq!(rooms.effects().len(), if state == Dead { 0 } else { 15 });
    }
}

#[test]
fn the_eviction_of_a_member_that_is_degraded_here_too_is_accepted() {
    // For how long it has been degraded here, with a policy of 4 s.
    for (degraded_since, is_accepted) in [(8_001, false), (8_000, true)] {
        let after = Some(ms(4_000));
        let mut rooms = Rooms::with(6, Config { evict_degraded_after: after, ..Config::lan() });
        let run = (id(1), version(0, 0).generation);
        rooms.detector.failing.update(at(degraded_since), run, &[], true);
        rooms.verdicts().handle_dead(source(), verdict(&[2]));
        assert_eq!(rooms.effects()[0] == ACCEPTED, is_accepted, "{degraded_since}");
    }
}

#[test]
fn a_suspect_that_is_connected_is_told_of_a_pending_verdict() {
    for is_connected in [false, true] {
        let mut rooms = Rooms::of(6);
        rooms.put(1, MemberState::Suspect, 9_000);
        if is_connected {
            rooms.senses.links.connect(id(1), 9);
        }
        rooms.verdicts().handle_dead(source(), verdict(&[2]));
        let told = rooms.effects()[0] == "to n1: suspect n1 v0.0 by=n0";
        assert_eq!(told, is_connected);
    }
}

#[test]
fn no_more_verdicts_are_pending_than_there_is_room_for() {
    let mut rooms = Rooms::of(6);
    for number in 0..4_096 {
        let of = MemberId::from_u128(number);
        rooms.detector.pending.keep(of, version(0, 0), Vec::new(), source());
    }
    rooms.verdicts().handle_dead(source(), verdict(&[2]));
    assert_eq!(rooms.effects(), ["WeighPending(n1)"]);
    assert_eq!((is_pending(&rooms), rooms.ctx.stats.verdicts_refused), (false, 1));
}

#[test]
fn a_verdict_on_a_member_that_refuted_lately_is_examined_first() {
    let look = "Ping { to: n1, purpose: Look }";
    let told = "to n1: suspect n1 v0.0 by=n2";
    // How often it refuted, when it was heard; what is asked for, and how many words were ignored.
    let cases: [(u8, Option<u64>, &[&str], u64); 6] = [
        (0, None, &[ACCEPTED], 0),
        (1, None, &[look, told], 0),
        (1, Some(9_501), &[], 1),
        (1, Some(9_500), &[look, told], 0),
        // It was suspected so often that this node looks quietly, and takes an older word.
        (3, Some(8_001), &[], 1),
        (3, Some(8_000), &[look], 0),
    ];
    for (refuted, heard_at, asked_for, ignored) in cases {
        let mut rooms = Rooms::of(6);
        rooms.senses.links.open(id(1), ms(10));
        heard_at
            .into_iter()
            .for_each(|heard| rooms.senses.links.record_known_alive(id(1), at(heard)));
        (0..refuted).for_each(|_| rooms.detector.hearsay.record_refutation(at(9_000), id(1)));
        rooms.verdicts().handle_dead(source(), verdict(&[2, 3, 4]));
        assert_eq!(rooms.effects(), asked_for, "{refuted} {heard_at:?}");
        assert_eq!(rooms.ctx.stats.hearsay_ignored, ignored);
        let is_examined = asked_for.contains(&look);
        let since = rooms.detector.pending.examined_since(id(1));
        assert_eq!(since, is_examined.then_some(at(10_000)));
        assert_eq!(rooms.ctx.stats.verdicts_examined, u64::from(is_examined));
        if is_examined {
            assert_eq!(timer(&mut rooms), Some(11_000));
            // While that lasts the same verdict is no news.
            rooms.verdicts().handle_dead(source(), verdict(&[2, 3, 4]));
            assert!(rooms.effects().is_empty());
        }
    }
}

#[test]
fn a_suspect_that_refuted_lately_is_not_examined_but_its_verdict_accepted() {
    let mut rooms = Rooms::of(6);
    rooms.put(1, MemberState::Suspect, 9_500);
    rooms.detector.hearsay.record_refutation(at(9_000), id(1));
    rooms.verdicts().handle_dead(source(), verdict(&[2, 3, 4]));
    assert_eq!(rooms.effects(), [ACCEPTED]);
}

#[test]
fn a_death_in_another_list_is_pending_as_a_verdict_without_votes() {
    let keep: &[&str] = &["apply n1 suspect Ourselves", "EndPending("];
    let look: &[&str] = &["Ping { to: n1, purpose: Look }", "to n1: suspect n1"];
    // Its state, the version in the other list, whether it refuted lately; what is asked for.
    for (state, version, has_refuted, asked_for) in [
        (MemberState::Alive, version(0, 0), false, keep),
        (MemberState::Alive, version(0, 0), true, look),
        (MemberState::Suspect, version(0, 0), false, &keep[1..]),
        (MemberState::Alive, version(0, 1), false, &[]),
        (MemberState::Dead, version(0, 0), false, &[]),
    ] {
        let mut rooms = Rooms::of(6);
        rooms.put(1, state, 0);
        if has_refuted {
            rooms.detector.hearsay.record_refutation(at(9_000), id(1));
        }
        rooms.verdicts().handle_death_elsewhere(source(), Claim { version, ..claim(1) });
        let found = rooms.effects();
        assert_eq!(found.len(), asked_for.len(), "{found:?}");
        assert!(found.iter().zip(asked_for).all(|(f, a)| f.starts_with(a)), "{found:?}");
    }
}

#[test]
fn a_suspect_has_two_periods_to_refute_from_when_it_was_last_told() {
    type Change = fn(&mut Rooms);
    let none: Change = |_| {};
    // The situation, the stage, the moment; whether the verdict is accepted, or when it can be.
    let (refutable, asked) = (Stage::Refutable, Stage::Asked(at(11_000)));
    let heard: Change = |r| r.detector.contacts.record_heard(id(1), at(9_700));
    let refuted: Change = |r| r.detector.contacts.record_other_refuted(at(9_000));
    let earlier: Change = |r| r.detector.contacts.record_other_refuted(at(8_999));
    let impaired: Change = |r| r.senses.health.record_silent_helpers(8);
    let cases: [(&str, Change, Stage, u64, Option<u64>); 9] = [
        ("not yet", none, refutable, 10_999, Some(11_000)),
        ("its time is over", none, refutable, 11_000, None),
        ("it was heard, and so told, since", heard, refutable, 11_000, Some(11_700)),
        ("and that is over as well", heard, refutable, 11_700, None),
        ("this node may not hear it", impaired, refutable, 11_500, Some(13_500)),
        ("another refuted since: it is asked once more", refuted, refutable, 11_000, Some(12_000)),
        ("another refuted before", earlier, refutable, 11_000, None),
        ("it was asked", refuted, asked, 11_999, Some(12_000)),
        ("and that ends", refuted, asked, 12_000, None),
    ];
    for (what, change, stage, now, ends_at) in cases {
        let mut rooms = pending(9_000, stage);
        change(&mut rooms);
        rooms.at(now).verdicts().end_pending(id(1), version(0, 0));
        assert_eq!(timer(&mut rooms), ends_at, "{what}");
        assert_eq!(is_pending(&rooms), ends_at.is_some(), "{what}");
        let found = rooms.effects();
        assert_eq!(found.contains(&ACCEPTED.to_owned()), ends_at.is_none(), "{what}");
        let is_first = what.contains("asked once more");
        let told = found.contains(&"to n1: suspect n1 v0.0 by=n0".to_owned());
        assert_eq!(told, is_first, "{what}: {found:?}");
    }
}

#[test]
fn a_pending_verdict_ends_with_the_version_it_is_about() {
    // The state of the member, or nothing if it is forgotten.
    let now =
        [Some((MemberState::Dead, version(0, 0))), Some((MemberState::Alive, version(0, 1))), None];
    for became in now {
        let mut rooms = pending(9_000, Stage::Refutable);
        rooms.list.remove(id(1));
        if let Some((state, version)) = became {
            let record = crate::member::record::tests::record(1, version);
            rooms.list.put(crate::Member { record, state, since: at(9_500) });
        }
        rooms.at(20_000).verdicts().end_pending(id(1), version(0, 0));
        assert!(!is_pending(&rooms) && rooms.effects().is_empty(), "{became:?}");
        assert_eq!(timer(&mut rooms), None);
    }
    let mut rooms = pending(9_000, Stage::Refutable);
    rooms.at(20_000).verdicts().end_pending(id(1), version(0, 1));
    assert!(is_pending(&rooms), "a timer of another verdict");
}

#[test]
fn an_examined_verdict_is_accepted_after_a_period_in_which_the_member_is_not_heard() {
    type Change = fn(&mut Rooms);
    let none: Change = |_| {};
    let alive: Change = |r| r.senses.links.record_known_alive(id(1), at(10_000));
    let heard: Change = |r| r.life_signs().record_heard(id(1), at(10_000));
    // A member that this node does not ping, and one of more than the contacts hold.
    let among_many: Change = |r| {
        r.senses.links = Default::default();
        (1..=200).for_each(|node| r.life_signs().record_heard(id(node), at(10_000)));
    };
    let heard_before: Change = |r| r.life_signs().record_heard(id(1), at(9_999));
    let before: Change = |r| r.senses.links.record_known_alive(id(1), at(9_999));
    let impaired: Change = |r| r.senses.health.record_silent_helpers(8);
    // The situation and the moment; the effects, the moment of the next call, and whether the member then counts as
    // one that refuted.
    let cases: [(&str, Change, u64, Effects, Ends, bool); 9] = [
        ("not yet", none, 10_999, &[], Some(11_499), false),
        ("not heard", none, 11_000, &[ACCEPTED], None, false),
        ("heard before", before, 11_000, &[ACCEPTED], None, false),
        ("known alive", alive, 11_000, &[], None, true),
        ("heard", heard, 11_000, &[], None, true),
        ("heard among many", among_many, 11_000, &[], None, true),
        ("heard before the look", heard_before, 11_000, &[ACCEPTED], None, false),
        ("early but heard", heard, 10_100, &[], None, true),
        ("this node may not hear it", impaired, 11_000, &[], Some(11_500), false),
    ];
    for (what, change, now, asked_for, again, has_refuted) in cases {
        let mut rooms = pending(9_000, Stage::Examined(at(10_000)));
        change(&mut rooms);
        rooms.at(now).verdicts().end_pending(id(1), version(0, 0));
        assert_eq!(rooms.effects(), asked_for, "{what}");
        assert_eq!(timer(&mut rooms), again, "{what}");
        assert_eq!(is_pending(&rooms), again.is_some(), "{what}");
        assert_eq!(rooms.detector.hearsay.has_refuted(at(now), id(1)), has_refuted, "{what}");
    }
}

#[test]
fn a_host_that_has_no_such_process_bears_out_a_verdict_that_is_examined() {
    for (stage, asked_for) in
        [(Stage::Examined(at(10_000)), vec![ACCEPTED]), (Stage::Refutable, vec![])]
    {
        let mut rooms = pending(9_000, stage);
        rooms.verdicts().confirm_gone(id(1));
        assert_eq!(rooms.effects(), asked_for, "{stage:?}");
    }
}

#[test]
fn a_member_that_sends_is_told_the_claim_against_it_four_times_in_a_period() {
    use MemberState::{Alive, Dead, Left, Suspect};
    let claim = |word: &str| format!("to n1: {word}");
    // Its state, when it sends, and the claim that it receives.
    let cases = [
        (Alive, 10_000, None),
        (Left, 10_001, None),
        (Suspect, 10_002, Some("suspect n1 v0.0 by=n0")),
        (Suspect, 10_251, None),
        (Suspect, 10_252, Some("suspect n1 v0.0 by=n0")),
        (Dead, 10_300, None),
        (Dead, 10_502, Some("dead n1 v0.0 by=n0 votes=0")),
    ];
    let mut rooms = Rooms::of(3);
    for (state, millis, told) in cases {
        rooms.put(1, state, millis);
        rooms.at(millis).verdicts().inform_accused(peer(1));
        assert_eq!(rooms.effects(), told.map(claim).into_iter().collect::<Vec<_>>(), "{millis}");
    }
}

#[test]
fn a_member_that_refuted_often_hears_now_and_then_of_what_is_ignored() {
    // Whether it is connected, when the claim comes; whether it is passed on. The last refutation was at 9 s.
    for (is_connected, millis, is_passed_on) in
        [(true, 13_999, false), (true, 14_000, true), (false, 14_000, false)]
    {
        let mut rooms = Rooms::of(6);
        (0..3).for_each(|_| rooms.detector.hearsay.record_refutation(at(9_000), id(1)));
        if is_connected {
            rooms.senses.links.connect(id(1), 9);
        }
        rooms.at(millis).verdicts().handle_suspect(source(), claim(1));
        let told: &[&str] = if is_passed_on { &["to n1: suspect n1 v0.0 by=n2"] } else { &[] };
        assert_eq!(rooms.effects(), told, "{is_connected} {millis}");
    }
}

#[test]
fn those_that_fell_together_have_their_time_to_refute_together() {
    // When the time of one begins, and the wave that it fell in; until when it may refute, in periods of a second.
    let cases = [
        (10_000, None, 12_000),
        // The first of a wave has as much as any.
        (10_000, Some(10_000), 12_000),
        (11_000, Some(10_000), 12_000),
        // The last one has half a period.
        (11_900, Some(10_000), 12_400),
        (15_000, Some(10_000), 15_500),
    ];
    for (begins_at, wave, expected) in cases {
        let found = time_to_refute(at(begins_at), wave.map(at), ms(1_000));
        assert_eq!(found, at(expected), "{begins_at} {wave:?}");
    }
}

#[test]
fn a_suspect_that_this_node_just_heard_is_sent_the_claim_that_others_repeat() {
    // Whether the claim is about the present version, when the suspect was heard; whether it is sent the claim at 10 s.
    for (is_present, heard_at, is_sent) in
        [(true, 8_001, true), (true, 8_000, false), (false, 9_000, false)]
    {
        let mut rooms = Rooms::of(6);
        rooms.put(1, MemberState::Suspect, 1_000);
        rooms.senses.links.open(id(1), ms(10));
        rooms.senses.links.record_heard_itself(id(1), at(heard_at));
        let version = if is_present { version(0, 0) } else { version(0, 1) };
        rooms.at(10_000).verdicts().handle_suspect(source(), Claim { version, ..claim(1) });
        let found = rooms.effects().iter().filter(|effect| effect.starts_with("to n1")).count();
        assert_eq!(found, usize::from(is_sent), "{is_present} {heard_at}");
    }
}

#[test]
fn what_others_repeat_is_noted_if_it_is_what_is_known() {
    use MemberState::{Dead, Left, Suspect};
    let note = "Repeated { id: n1, by: n2 }";
    // The state of the member; what a suspicion and a verdict of it ask for.
    let cases: [(MemberState, [&[&str]; 2]); 3] =
        [(Suspect, [&[note], &[]]), (Dead, [&[], &[note]]), (Left, [&[], &[]])];
    for (state, expected) in cases {
        let mut rooms = Rooms::of(6);
        rooms.put(1, state, 1_000);
        rooms.at(10_000).verdicts().handle_suspect(source(), claim(1));
        assert_eq!(rooms.effects(), expected[0], "{state}");
        if state != Suspect {
            rooms.at(10_000).verdicts().handle_dead(source(), verdict(&[2, 3]));
            assert_eq!(rooms.effects(), expected[1], "{state}");
        }
    }
}
