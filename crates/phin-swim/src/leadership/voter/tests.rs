use super::*;
use crate::{
    OfficeRules,
    member::record::tests::{TestKeys, statement, version},
    member::transition::News,
    step::Source,
    testing::{Rooms, at, ms, peer},
};

fn ask(term: u64) -> LeadAsk {
    LeadAsk {
        office: "o".parse().unwrap(),
        term: Term(term),
        generation: Generation(0),
        sequence: Sequence(1),
        lease: ms(2_000),
        rules: OfficeRules::new("".parse().unwrap(), Some(3)),
        size: 3,
    }
}

fn of_office(name: &str, term: u64) -> LeadAsk {
    LeadAsk { office: name.parse().unwrap(), ..ask(term) }
}

fn release(term: u64) -> LeadRelease {
    LeadRelease { office: "o".parse().unwrap(), term: Term(term), generation: Generation(0) }
}

const KEEP: &str = r#"KeepPromise { office: Office(Topic("o")), term: Term(8) }"#;

#[test]
fn a_new_term_is_kept_before_it_is_answered_and_a_renewal_is_answered_at_once() {
    let mut rooms = Rooms::of(3);
    rooms.vote().handle_ask(peer(1), ask(8));
    assert_eq!(rooms.effects(), [KEEP]);
    assert_eq!(rooms.leadership.voter.promises().of[0].term, Term(8), "it can be kept");
    // It is asked again meanwhile: the last request is answered.
    rooms.vote().handle_ask(peer(1), LeadAsk { sequence: Sequence(2), ..ask(8) });
    assert_eq!(rooms.effects(), [""; 0]);
    let office = "o".parse().unwrap();
    rooms.vote().handle_kept(&office, Term(7));
    rooms.vote().handle_kept(&"other".parse().unwrap(), Term(8));
    assert_eq!(rooms.effects(), [""; 0]);
    rooms.vote().handle_kept(&office, Term(8));
    assert_eq!(rooms.effects(), ["to n1: lead-answer o 8 granted"]);
    rooms.vote().handle_kept(&office, Term(8));
    rooms.vote().handle_ask(peer(1), ask(8));
    assert_eq!(rooms.effects(), ["to n1: lead-answer o 8 granted"]);
}

#[test]
fn a_lease_runs_until_it_is_released_by_its_holder() {
    let mut rooms = Rooms::of(3);
    rooms.vote().handle_ask(peer(1), ask(8));
    rooms.effects();
    let refused = ["to n2: lead-answer o 9 refused: Held"];
    for (from, term) in [(2, 8), (1, 7), (1, 9)] {
        assert!(!rooms.vote().handle_release(peer(from).id, &release(term)));
        rooms.vote().handle_ask(peer(2), ask(9));
        assert_eq!(rooms.effects(), refused, "n{from} {term}");
    }
    assert_eq!(rooms.ctx.stats.office_releases_ignored, 3);
    assert!(rooms.vote().handle_release(peer(1).id, &release(8)));
    // A request that was delayed does not take it back.
    rooms.vote().handle_ask(peer(1), ask(8));
    assert_eq!(rooms.effects(), ["to n1: lead-answer o 8 refused: TermTooLow"]);
    rooms.vote().handle_ask(peer(2), ask(9));
    assert_eq!(rooms.effects().len(), 1);
    assert_eq!(rooms.leadership.voter.promised(&"o".parse().unwrap()), Term(9));
}

#[test]
fn a_lease_is_over_at_its_end_and_not_with_the_death_of_its_holder() {
    let mut rooms = Rooms::of(3);
    rooms.vote().handle_ask(peer(1), ask(8));
    rooms.put(1, MemberState::Dead, 10_000);
    for (millis, is_granted) in [(11_999, false), (12_000, true)] {
        rooms.effects();
        rooms.at(millis).vote().handle_ask(peer(2), ask(9));
        assert_eq!(
            rooms.effects() != ["to n2: lead-answer o 9 refused: Held"],
            is_granted,
            "{millis}"
        );
    }
}

#[test]
fn only_a_candidate_that_is_alive_in_the_run_that_asks_and_serves_is_granted_a_term() {
    use MemberState::{Alive, Dead, Left, Suspect};
    for (state, generation, expected) in [
        (Alive, 0, true),
        (Alive, 1, false),
        (Suspect, 0, false),
        (Dead, 0, false),
        (Left, 0, false),
    ] {
        let mut rooms = Rooms::of(3);
        rooms.put(1, state, 0);
        rooms.vote().handle_ask(peer(1), LeadAsk { generation: Generation(generation), ..ask(8) });
        assert_eq!(
            rooms.ctx.stats.office_asks_granted,
            u64::from(expected),
            "{state} {generation}"
        );
        assert_eq!(rooms.ctx.stats.office_refusals.unfit, u64::from(!expected));
    }
    let mut rooms = Rooms::of(3);
    rooms.vote().handle_ask(peer(9), ask(8));
    assert_eq!((rooms.effects(), rooms.ctx.stats.unknown_senders), (Vec::new(), 1));
    let mut draining = statement(1, version(0, 1));
    draining.profile.serving = ServingState::Draining;
    let record = crate::Record::sign(draining, &TestKeys(1));
    rooms.apply(News::Record { record, state: Alive }, Source::Ourselves);
    rooms.vote().handle_ask(peer(1), ask(8));
    assert_eq!(rooms.ctx.stats.office_refusals.unfit, 1);
}

#[test]
fn a_voter_that_was_just_started_grants_only_what_it_promised_before() {
    let promise = |term, candidate: u8| Promise {
        office: "o".parse().unwrap(),
        term: Term(term),
        candidate: peer(candidate).id,
        generation: Generation(0),
        lease: ms(2_000),
    };
    for restored in [None, Some(Promises { floor: Term(0), of: vec![promise(8, 1)] })] {
        let mut rooms = Rooms::of(3);
        rooms.leadership.voter = Voter::new(at(10_000));
        let has_promised = restored.is_some();
        restored.into_iter().for_each(|kept| rooms.leadership.voter.restore(at(10_000), kept));
        rooms.vote().handle_ask(peer(1), ask(8));
        let answer = if has_promised { "granted" } else { "refused: NotSettled" };
        assert_eq!(rooms.effects(), [format!("to n1: lead-answer o 8 {answer}")]);
        rooms.at(11_999).vote().handle_ask(peer(2), ask(9));
        assert_eq!(rooms.effects(), ["to n2: lead-answer o 9 refused: NotSettled"]);
        rooms.at(12_000).vote().handle_ask(peer(2), ask(8));
        let refused = rooms.effects() == ["to n2: lead-answer o 8 refused: TermTooLow"];
        assert_eq!(refused, has_promised);
        assert_eq!(rooms.ctx.stats.office_asks, 3);
    }
}

#[test]
fn what_gives_way_raises_the_floor_and_running_leases_do_not_give_way() {
    let mut rooms = Rooms::of(3);
    for number in 0..MAX_OFFICES {
        // As if asked over a long time.
        rooms.leadership.voter.asks = Budgets::default();
        rooms.vote().handle_ask(peer(1), of_office(&format!("o{number}"), 100 + number as u64));
    }
    rooms.effects();
    rooms.leadership.voter.asks = Budgets::default();
    rooms.vote().handle_ask(peer(1), of_office("one-more", 5_000));
    assert_eq!(rooms.effects(), ["to n1: lead-answer one-more 5000 refused: TooManyOffices"]);
    let first: Office = "o7".parse().unwrap();
    rooms.leadership.voter.offices.get_mut(&first).unwrap().until = at(9_000);
    rooms.vote().handle_ask(peer(1), of_office("one-more", 5_000));
    assert_eq!(rooms.ctx.stats.offices_forgotten, 1);
    let promises = rooms.leadership.voter.promises();
    assert_eq!((promises.floor, promises.of.len()), (Term(107), MAX_OFFICES));
    assert_eq!(rooms.leadership.voter.promised(&first), Term(107));
    let mut again = Voter::new(at(0));
    again.restore(at(0), promises.clone());
    assert_eq!(again.promises(), promises);
}

#[test]
fn a_candidate_that_asks_for_too_many_terms_is_not_answered() {
    let mut rooms = Rooms::of(3);
    for number in 0..300 {
        rooms.vote().handle_ask(peer(1), of_office(&format!("o{number}"), 1));
    }
    let stats = &rooms.ctx.stats;
    assert_eq!((stats.office_asks_granted, stats.office_asks_over_budget), (256, 44));
    // Renewals cost less than that.
    rooms.vote().handle_ask(peer(1), of_office("o1", 1));
    assert_eq!(rooms.ctx.stats.office_asks_granted, 257);
    rooms.vote().handle_ask(peer(2), of_office("o299", 1));
    assert_eq!(rooms.ctx.stats.office_asks_granted, 258);
}

#[test]
fn a_member_votes_once_the_rules_have_named_it_for_as_long_as_a_lease() {
    let mut rooms = Rooms::of(3);
    let mut tagged = statement(0, version(0, 1));
    tagged.profile.tags.set("role", "voter").unwrap();
    let record = crate::Record::sign(tagged, &TestKeys(0));
    let rules = OfficeRules::new("role=voter".parse().unwrap(), Some(3));
    let asks = || LeadAsk { rules: rules.clone(), ..ask(8) };
    rooms.vote().handle_ask(peer(1), asks());
    assert_eq!(rooms.effects(), ["to n1: lead-answer o 8 refused: NoVoter"]);
    rooms.apply(News::own(record), Source::Ourselves);
    rooms.effects();
    rooms.outputs.clear();
    for (millis, expected) in [(11_999, "to n1: lead-answer o 8 refused: NoVoter"), (12_000, KEEP)]
    {
        rooms.at(millis).vote().handle_ask(peer(1), asks());
        assert_eq!(rooms.effects(), [expected], "{millis}");
    }
}

#[test]
fn dead_voters_count_until_they_are_forgotten_and_those_that_left_do_not() {
    use MemberState::{Alive, Dead, Left, Suspect};
    for (state, expected) in [(Alive, 0), (Suspect, 0), (Dead, 0), (Left, 1)] {
        let mut rooms = Rooms::of(3);
        rooms.put(3, state, 0);
        rooms.vote().handle_ask(peer(1), ask(8));
        assert_eq!(rooms.ctx.stats.office_asks_granted, expected, "{state}");
        assert_eq!(rooms.ctx.stats.office_refusals.too_many_voters, 1 - expected);
    }
}

#[test]
fn without_a_number_of_voters_the_members_must_not_have_changed_lately() {
    let mut rooms = Rooms::of(3);
    let asks = || {
        let rules = OfficeRules::default();
        LeadAsk { rules, ..ask(8) }
    };
    let left = News::Forgotten(peer(2).id);
    rooms.put(2, MemberState::Dead, 0);
    rooms.apply(left, Source::Ourselves);
    rooms.effects();
    rooms.outputs.clear();
    for (millis, expected) in
        [(14_999, "to n1: lead-answer o 8 refused: NotSettled"), (15_000, KEEP)]
    {
        rooms.at(millis).vote().handle_ask(peer(1), asks());
        assert_eq!(rooms.effects(), [expected], "{millis}");
    }
}
