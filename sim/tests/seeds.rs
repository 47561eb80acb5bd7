//! Random scenarios of fixed seeds: some of every kind, and by name those that once failed.

use phin_sim::{FaultKind, cores, random_scenario, random_signed_scenario, run_all};
use phin_swim::SignedVotes;

/// Seeds that found something, and what. They stay.
const REGRESSIONS: &[(u64, &str)] = &[
    (140, "a clear that voided nothing was passed on and went round among accusers for ever"),
    (376, "the same, started by one deaf member"),
    (238, "a verdict of the other side of a split was believed through members that hear both"),
    (396, "the same, on two members of nineteen"),
    (429, "the same, at the loss of a tenth"),
    (493, "one lost ping and the votes of the other side were a verdict"),
    (577, "a refutation that reached nobody was not repeated to who repeated the claim"),
    (647, "verdicts of the other side arrived before the refutations when a split healed"),
    (701, "the same, between two large parts"),
    (
        516,
        "members that both sides of a split hear passed rumours and refutations round without end",
    ),
    (988, "the same, by a single member"),
    (351, "a refutation was not sent to who told of the suspicion, as it was new to the suspect"),
    (765, "the same, as it was no subject of the suspect"),
    (1499, "the same, in a split of four and seventy-three"),
    (
        529,
        "a refutation was not taken, as its author was not heard here and had just refuted before",
    ),
    (892, "data of an earlier run stayed, as a dead member that nobody heard had changed its run"),
];

/// Those that found something with the faults that have demands of their own.
const FAULT_REGRESSIONS: &[(u64, &str)] =
    &[(56, "a member that one observer reaches was dead before it was suspect and could refute")];

/// Those that found something with everything that is drawn.
const WHOLE_REGRESSIONS: &[(u64, &str)] = &[
    (51, "all observers of a member had just joined, and it asked only these for what they lacked"),
    (338, "a member remembered four announcers of a message, and reached only a fifth"),
    (352, "a member that only one observer hears published, and acks announced nothing"),
    (391, "a member had new observers in a split, which announced nothing from before"),
    (577, "in a split with bridges, a member heard of four of many publishers on a ping"),
    (128, "the only publisher had left, which is no scenario without messages"),
    (154, "the messages of members that died counted for the two that survived"),
    (248, "a new member on the host of an earlier one was paused with the host, without excuse"),
    (593, "a cut between the only two members was no split"),
    (565, "newcomers asked for so many messages that others were refused the one that they lacked"),
    (1572, "an accuser that was answered collected votes on a member that one other hears"),
    (1578, "observers that were dead, and not known to be, made a member degraded"),
    (1611, "honest observers passed the word of a liar on as if they had heard the dead member"),
    (2046, "the numbers of an earlier run counted for the next one of a dead member never heard"),
];

/// Events that were drawn later than these seeds were found.
const AVOIDED: &[&str] = &["data", "messages"];

#[test]
fn fixed_seeds_run_clean() {
    let fixed = (0..10).map(|seed| (seed, "fixed"));
    run_clean(fixed.collect(), &[], &[], "--faults none");
}

#[test]
fn seeds_that_found_something_run_clean() {
    run_clean(REGRESSIONS.to_vec(), AVOIDED, &[], "--avoid data,messages --faults none");
}

#[test]
fn seeds_that_found_something_in_all_run_clean() {
    run_clean(WHOLE_REGRESSIONS.to_vec(), &[], FaultKind::all(), "");
}

#[test]
fn fixed_seeds_with_faults_run_clean() {
    let options = "--avoid data,messages --faults all";
    run_clean(FAULT_REGRESSIONS.to_vec(), AVOIDED, FaultKind::all(), options);
}

fn run_clean(seeds: Vec<(u64, &str)>, avoid: &[&str], faults: &[FaultKind], options: &str) {
    let avoid: Vec<_> = avoid.iter().copied().map(str::to_owned).collect();
    let verdicts = run_all(&seeds, cores(), "seeds", |&(seed, _)| {
        random_scenario(seed, &avoid, faults).run(seed, None).expect("a random scenario is valid")
    });
    let mut failures = Vec::new();
    for ((seed, why), verdict) in seeds.iter().zip(verdicts) {
        failures.extend(verdict.failures.iter().take(3).map(|failure| {
            format!("seed {seed} ({why}; phin-sim replay {seed} {options} --trace): {failure}")
        }));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn faults_with_demands_of_their_own_run_clean() {
    let kinds = FaultKind::all().iter().flat_map(|&kind| (0..10).map(move |seed| (seed, kind)));
    let jobs: Vec<_> = kinds.collect();
    let avoid = ["base", "data", "messages"].map(str::to_owned);
    let verdicts = run_all(&jobs, cores(), "faults", |&(seed, kind)| {
        random_scenario(seed, &avoid, &[kind]).run(seed, None).unwrap()
    });
    let mut failures = Vec::new();
    for ((seed, kind), verdict) in jobs.iter().zip(verdicts) {
        failures.extend(verdict.failures.iter().take(3).map(|f| format!("{kind:?} {seed}: {f}")));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn liars_in_a_minority_achieve_nothing_where_votes_are_signed() {
    let seeds: Vec<_> = (0..8).collect();
    let avoid = ["base", "data", "messages", "offices"].map(str::to_owned);
    let verdicts = run_all(&seeds, cores(), "liars", |&seed| {
        let scenario =
            random_signed_scenario(seed, &avoid, &[FaultKind::Liar], SignedVotes::Require);
        scenario.run(seed, None).unwrap()
    });
    let failures = verdicts.iter().flat_map(|verdict| {
        verdict.failures.iter().take(3).map(|f| format!("{}: {f}", verdict.seed))
    });
    let failures: Vec<_> = failures.collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn signed_votes_change_only_the_lies_of_a_seed() {
    let text = |seed, mode: Option<SignedVotes>| match mode {
        None => format!("{:#?}", random_scenario(seed, &[], FaultKind::all())),
        Some(mode) => format!("{:#?}", random_signed_scenario(seed, &[], FaultKind::all(), mode)),
    };
    let events = |text: String| {
        let (_, events) = text.split_once("event: [\n").expect("there are events");
        let (events, _) = events.split_once("\n    ],\n    expect").expect("their end");
        events.to_owned()
    };
    let (mut helped, mut combined) = (0, 0);
    for seed in 0..60 {
        let plain = events(text(seed, None));
        assert_eq!(events(text(seed, Some(SignedVotes::Sign))), plain, "seed {seed}");
        let required = events(text(seed, Some(SignedVotes::Require)));
        assert_eq!(plain.contains("Lie {"), required.contains("helpers: Some("), "seed {seed}");
        helped += u32::from(required != plain);
        combined += u32::from(["Accusations", "SignsOfLife"].iter().any(|l| required.contains(l)));
        let count = |text: &str| text.matches("at: Span(").count();
        assert_eq!(count(&plain), count(&required), "seed {seed}");
    }
    assert!(helped > 5 && combined > 0, "{helped} {combined}");
}

#[test]
fn other_events_of_a_seed_do_not_depend_on_the_faults() {
    let avoid = ["data", "messages", "offices"].map(str::to_owned);
    let events = |seed, faults: &[FaultKind]| {
        let text = format!("{:#?}", random_scenario(seed, &avoid, faults));
        let (_, events) = text.split_once("event: [\n").expect("there are events");
        let (events, _) = events.split_once("\n    ],\n    expect").expect("their end");
        events.to_owned()
    };
    let mut drawn = 0;
    for seed in 0..40 {
        let (without, with) = (events(seed, &[]), events(seed, FaultKind::all()));
        assert!(with.starts_with(&without), "seed {seed}");
        drawn += u32::from(with != without);
    }
    assert!(drawn > 20, "{drawn} of 40");
}

#[test]
fn other_events_of_a_seed_do_not_depend_on_what_applications_do() {
    let events = |seed, avoid: &[&str]| {
        let avoid: Vec<_> = avoid.iter().copied().map(str::to_owned).collect();
        let text = format!("{:#?}", random_scenario(seed, &avoid, FaultKind::all()));
        let (_, events) = text.split_once("event: [\n").expect("there are events");
        let (events, rest) = events.split_once("\n    ],\n    expect").expect("their end");
        // The limit of messages grows with those that are published at one moment.
        let rest = rest.lines().filter(|line| !line.contains("max_mean_messages"));
        (events.to_owned(), rest.collect::<Vec<_>>().join("\n"))
    };
    let mut drawn = [0; 3];
    for seed in 0..40 {
        let kinds = ["data", "messages", "offices"];
        let (mut before, rest) = events(seed, &kinds);
        for (kind, drawn) in drawn.iter_mut().enumerate() {
            let (with, same) = events(seed, &kinds[kind + 1..]);
            assert!(with.starts_with(&before) && rest == same, "seed {seed}, {}", kinds[kind]);
            *drawn += u32::from(with != before);
            before = with;
        }
    }
    assert!(drawn.iter().all(|&drawn| drawn > 20), "{drawn:?} of 40");
}
