use super::*;
use crate::{
    Config, Member, MemberState, Record,
    detect::case::Retry,
    member::record::{
        Statement,
        tests::{TestKeys, id, statement, version},
    },
    step::Purpose,
    testing::{Rooms, at, peer},
};

/// A node that pings node 1, whether that is silent, and whether node 2 is at its address.
fn rooms(is_open: bool, is_taken: bool) -> Rooms {
    let mut rooms = Rooms::of(6);
    rooms.measure(1);
    if is_open {
        rooms.miss(1, &[9_000]);
    }
    if is_taken {
        let addrs = vec![peer(1).addr];
        let statement = Statement { addrs, ..statement(2, version(0, 0)) };
        let record = Record::sign(statement, &TestKeys(2));
        rooms.list.put(Member { record, state: MemberState::Alive, since: at(0) });
    }
    rooms
}

fn says(node: u8, silence: &str) -> String {
    format!("HostSays {{ id: n{node}, silence: {silence} }}")
}

#[test]
fn what_a_host_answers_is_a_kind_of_silence() {
    use HostAnswer::{Answers, Nothing, PortRefused, Unknown};
    let free = "PortFree(n1)".to_owned();
    // Whether node 1 is silent, whether another has its address, whether its host answered before, the answer; what is asked
    // for, and whether the host answers.
    let cases = [
        (true, false, false, PortRefused, vec![free.clone(), says(1, "Gone")], true),
        (true, false, false, Answers, vec![says(1, "Hung")], true),
        (true, true, false, Answers, vec![says(1, "Gone")], true),
        // Only a silent member is judged by it.
        (false, true, false, Answers, vec![says(1, "Hung")], true),
        (true, false, true, Nothing, vec![says(1, "Silent")], true),
        (true, false, false, Nothing, vec![says(1, "Unknown")], false),
        (true, false, true, Unknown, vec![says(1, "Unknown")], true),
    ];
    for (is_open, is_taken, answered, answer, asked_for, answers) in cases {
        let mut rooms = rooms(is_open, is_taken);
        rooms.senses.links.get_mut(id(1)).unwrap().host_answers = answered;
        rooms.detect().handle_host_answer(id(1), answer);
        assert_eq!(rooms.effects(), asked_for, "{is_open} {is_taken} {answered} {answer:?}");
        assert_eq!(rooms.senses.links.get(id(1)).unwrap().host_answers, answers);
        let is_new = matches!(answer, PortRefused | Answers);
        assert_eq!(
            rooms.senses.health.last_answer() == at(10_000),
            is_new,
            "somebody hears this node"
        );
        assert_eq!(rooms.senses.health.last_refusal.is_some(), answer == PortRefused);
    }
}

#[test]
fn a_refused_port_has_the_member_looked_at_even_if_nothing_is_overdue() {
    for ask_hosts in [true, false] {
        let mut rooms = Rooms::with(6, Config { ask_hosts, ..Config::lan() });
        rooms.measure(1);
        rooms.detect().handle_host_answer(id(1), HostAnswer::PortRefused);
        assert_eq!(rooms.detector.cases.is_open(id(1)), ask_hosts);
        rooms.effects();
        // For a member that is not pinged, only an answer that its port is free matters.
        rooms.detect().handle_host_answer(id(2), HostAnswer::PortRefused);
        rooms.detect().handle_host_answer(id(3), HostAnswer::Answers);
        assert_eq!(rooms.effects(), ["PortFree(n2)"]);
        assert!(!rooms.detector.cases.is_open(id(2)));
    }
}

#[test]
fn a_connection_that_its_process_ended_has_the_member_looked_at() {
    use Disconnection::{Closed, Idle, Lost, Reset};
    let look = "Ping { to: n1, purpose: Retry }".to_owned();
    for (reason, asked_for) in [
        (Closed, vec![look.clone(), says(1, "Gone")]),
        (Reset, vec![look, says(1, "Gone")]),
        (Idle, vec![]),
        (Lost, vec![]),
    ] {
        let mut rooms = rooms(false, false);
        rooms.detect().handle_disconnected(id(1), reason);
        assert_eq!(rooms.effects(), asked_for, "{reason:?}");
        assert!(!rooms.senses.links.is_connected(id(1)));
    }
}

#[test]
fn a_dial_that_finds_nobody_or_another_says_that_the_member_is_gone() {
    use Unreachable::{NoAnswer, NotAdmitted, OtherIdentity, Refused};
    for (reason, asked_for) in [
        (Refused, vec!["PortFree(n1)".to_owned()]),
        (OtherIdentity, vec![says(1, "Gone"), "Gone(n1)".to_owned()]),
        (NoAnswer, vec![]),
        (NotAdmitted, vec![]),
    ] {
        let mut rooms = rooms(false, false);
        handle_unreachable(&mut rooms.ctx, id(1), reason);
        assert_eq!(rooms.effects(), asked_for, "{reason:?}");
    }
}

#[test]
fn where_a_port_is_free_all_silent_members_at_that_address_are_gone() {
    let mut rooms = rooms(true, true);
    rooms.silence(&[2, 3]);
    record_port_free(&mut rooms.ctx, &rooms.list, &rooms.detector.cases, id(1));
    let mut found = rooms.effects();
    found.sort_unstable();
    assert_eq!(found, [says(1, "Gone"), says(2, "Gone")], "not node 3, nor one that is not silent");
}

#[test]
fn what_says_less_changes_nothing_and_what_says_more_is_acted_on() {
    use Silence::{Gone, Hung, Silent, Unknown};
    // The known kind of silence, the new answer of the host; the kind that is known then.
    for (before, says, after) in [
        (Unknown, Gone, Gone),
        (Unknown, Silent, Silent),
        (Silent, Hung, Hung),
        (Hung, Silent, Hung),
        (Gone, Hung, Gone),
        (Hung, Unknown, Hung),
    ] {
        let mut rooms = rooms(true, false);
        rooms.miss(1, &[]).silence = before;
        rooms.detect().record_silence(id(1), says);
        let case = rooms.detector.cases.get(id(1)).unwrap();
        assert_eq!(case.silence, after, "{before:?} {says:?}");
        // The code that follows plans the next ping.
        let is_planned = case.retry != Retry::None;
        assert_eq!(is_planned, before < says, "{before:?} {says:?}");
    }
}

#[test]
fn a_host_that_answered_and_then_does_not_three_times_in_a_row_is_down() {
    use Silence::{Hung, Silent, Unknown};
    // The answers in turn, and the kind of silence in the end.
    for (answers, expected) in [
        (&[Hung, Silent, Silent][..], Hung),
        (&[Hung, Silent, Silent, Silent], Silent),
        (&[Hung, Silent, Silent, Hung, Silent], Hung),
        // Its quota was spent.
        (&[Hung, Silent, Unknown, Silent, Unknown, Unknown], Hung),
        (&[Hung, Silent, Unknown, Silent, Silent], Silent),
        (&[Silent, Silent, Silent, Hung], Hung),
        (&[Hung, Silent, Silent, Silent, Hung], Hung),
    ] {
        let mut rooms = rooms(true, false);
        rooms.miss(1, &[]);
        answers.iter().for_each(|&answer| rooms.detect().record_silence(id(1), answer));
        let case = rooms.detector.cases.get(id(1)).unwrap();
        assert_eq!(case.silence, expected, "{answers:?}");
    }
}

#[test]
fn a_ping_under_way_need_not_be_sent_again_for_what_a_host_says() {
    // Whether a ping is under way, whether one was missed; whether another is planned.
    for (is_waiting, has_missed, is_planned) in
        [(true, false, false), (true, true, true), (false, false, true)]
    {
        let mut rooms = rooms(false, false);
        if is_waiting {
            rooms.at(9_999).probe().ping(peer(1), Purpose::Probe);
        }
        rooms.at(10_000).miss(1, if has_missed { &[9_000] } else { &[] });
        rooms.detect().record_silence(id(1), Silence::Gone);
        let case = rooms.detector.cases.get(id(1)).unwrap();
        let found = case.retry != Retry::None;
        assert_eq!(found, is_planned, "{is_waiting} {has_missed}");
    }
}
