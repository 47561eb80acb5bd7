use super::*;
use crate::{
    Filter, OfficeRules,
    testing::{at, ms, peer},
    wire::Sequence,
};

const NOW: u64 = 100_000;

/// The request of candidate 1 in these tests, unless another is given.
fn ask() -> LeadAsk {
    LeadAsk {
        office: "o".parse().unwrap(),
        term: Term(8),
        generation: Generation(0),
        sequence: Sequence(1),
        lease: ms(2_000),
        rules: OfficeRules::new(Filter::default(), Some(3)),
        size: 3,
    }
}

/// A term granted to this candidate, whose lease runs for another 500 ms.
fn held(candidate: u8, term: u64) -> Held {
    let LeadAsk { office, generation, lease, rules, .. } = ask();
    let candidate = peer(candidate).id;
    let promise = Promise { office, term: Term(term), candidate, generation, lease };
    Held { promise, until: at(NOW + 500), rules: Some(rules), is_released: false }
}

fn view(held: Option<&Held>) -> View<'_> {
    View {
        now: at(NOW),
        held,
        floor: Term(5),
        candidate: Fitness::Fit,
        voter: Standing::Voter,
        settled_at: at(NOW),
        known_voters: 3,
        has_room: true,
        max_lease: ms(2_000),
    }
}

/// The grant, or why not, the highest term granted, and how many milliseconds to wait.
type Decided = Result<Grant, (Why, u64, u64)>;

fn decided(ask: &LeadAsk, view: &View<'_>) -> Decided {
    decide(peer(1).id, ask, view).map_err(|refusal| {
        (refusal.why, refusal.promised.0, u64::try_from(refusal.remaining.as_millis()).unwrap())
    })
}

type Change = fn(&mut LeadAsk, &mut Held, &mut View<'_>);

/// The decision on a request like this, if this voter granted that.
fn changed(before: Option<Held>, change: Change) -> Decided {
    let mut ask = ask();
    let has_held = before.is_some();
    let mut held = before.unwrap_or_else(|| held(9, 0));
    let mut other = view(None);
    change(&mut ask, &mut held, &mut other);
    decided(&ask, &View { held: has_held.then_some(&held), ..other })
}

#[test]
fn each_refusal_has_its_reason() {
    let over = |mut held: Held| {
        held.until = at(NOW);
        Some(held)
    };
    let runs = Some;
    let (new, renewed) = (Ok(Grant::New), Ok(Grant::Renewed));
    let cases: [(&str, Option<Held>, Change, Decided); 32] = [
        ("nothing was granted", None, |_, _, _| {}, new),
        ("a lease is over", over(held(2, 7)), |_, _, _| {}, new),
        ("it leaves", None, |_, _, v| v.voter = Standing::Leaving, Err((Why::Leaving, 5, 0))),
        ("no voter", None, |_, _, v| v.voter = Standing::NoVoter, Err((Why::NoVoter, 5, 0))),
        ("just started", None, |_, _, v| v.settled_at = at(NOW + 9), Err((Why::NotSettled, 5, 9))),
        ("unfit", None, |_, _, v| v.candidate = Fitness::Unfit, Err((Why::Unfit, 5, 0))),
        ("suspect", None, |_, _, v| v.candidate = Fitness::Doubtful, Err((Why::Unfit, 5, 0))),
        ("a lease runs", runs(held(2, 7)), |_, _, _| {}, Err((Why::Held, 7, 500))),
        (
            "of a former run",
            runs(held(1, 7)),
            |a, _, _| a.generation.0 = 1,
            Err((Why::Held, 7, 500)),
        ),
        ("just over", runs(held(2, 7)), |_, h, _| h.until = at(NOW), new),
        (
            "just not over",
            runs(held(2, 7)),
            |_, h, _| h.until = at(NOW + 1),
            Err((Why::Held, 7, 1)),
        ),
        (
            "other rules",
            runs(held(2, 7)),
            |a, _, _| a.rules.expected = Some(4),
            Err((Why::RulesDiffer, 7, 500)),
        ),
        ("rules not known", runs(held(2, 7)), |_, h, _| h.rules = None, Err((Why::Held, 7, 500))),
        ("long lease", None, |a, _, _| a.lease = ms(2_001), Err((Why::RulesDiffer, 5, 0))),
        ("as high as the floor", None, |a, _, _| a.term.0 = 5, Err((Why::TermTooLow, 5, 0))),
        ("above the floor", None, |a, _, _| a.term.0 = 6, new),
        ("low term", over(held(2, 9)), |_, _, _| {}, Err((Why::TermTooLow, 9, 0))),
        ("the same term of another", over(held(2, 8)), |_, _, _| {}, Err((Why::TermTooLow, 8, 0))),
        (
            "of a former run",
            over(held(1, 8)),
            |a, _, _| a.generation.0 = 1,
            Err((Why::TermTooLow, 8, 0)),
        ),
        (
            "released",
            over(held(1, 8)),
            |_, h, _| h.is_released = true,
            Err((Why::TermTooLow, 8, 0)),
        ),
        ("far", None, |a, _, _| a.term.0 = 5 + MAX_TERM_STEP, new),
        ("too far", None, |a, _, _| a.term.0 = 6 + MAX_TERM_STEP, Err((Why::TermTooHigh, 5, 0))),
        ("voters", None, |_, _, v| v.known_voters = 4, Err((Why::TooManyVoters, 5, 0))),
        (
            "voters known to the candidate",
            None,
            |a, _, v| (a.size, v.known_voters) = (4, 4),
            Err((Why::TooManyVoters, 5, 0)),
        ),
        (
            "counted voters",
            None,
            |a, _, _| (a.rules.expected, a.size) = (None, 2),
            Err((Why::TooManyVoters, 5, 0)),
        ),
        ("as many counted", None, |a, _, _| a.rules.expected = None, new),
        ("no room", None, |_, _, v| v.has_room = false, Err((Why::TooManyOffices, 5, 0))),
        ("room of its own", over(held(2, 7)), |_, _, v| v.has_room = false, new),
        ("renewal", runs(held(1, 8)), |_, _, _| {}, renewed),
        ("the next term", runs(held(1, 7)), |_, _, _| {}, new),
        ("lapsed", over(held(1, 8)), |_, _, _| {}, renewed),
        (
            "lapsed, suspect",
            over(held(1, 8)),
            |_, _, v| v.candidate = Fitness::Doubtful,
            Err((Why::Unfit, 8, 0)),
        ),
    ];
    for (name, held, change, expected) in cases {
        assert_eq!(changed(held, change), expected, "{name}");
    }
}

#[test]
fn the_holder_needs_to_be_no_more_than_live() {
    // Whether a renewal is granted after such a change.
    let cases: [(Change, bool); 7] = [
        (|_, _, v| v.candidate = Fitness::Doubtful, true),
        (|_, _, v| v.known_voters = 9, true),
        (|_, _, v| v.settled_at = at(NOW + 9), true),
        (|_, _, v| v.candidate = Fitness::Unfit, false),
        (|_, _, v| v.voter = Standing::NoVoter, false),
        (|_, _, v| v.voter = Standing::Leaving, false),
        (|a, _, _| a.lease = ms(2_001), false),
    ];
    for (number, (change, expected)) in cases.into_iter().enumerate() {
        assert_eq!(changed(Some(held(1, 8)), change).is_ok(), expected, "{number}");
    }
}
