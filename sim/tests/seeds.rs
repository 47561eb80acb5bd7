//! Random scenarios of fixed seeds: some of every kind, and by name those that once failed.

use phin_sim::{cores, random_scenario, run_all};

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
];

#[test]
fn fixed_seeds_run_clean() {
    let fixed = (0..40).map(|seed| (seed, "fixed"));
    let seeds: Vec<_> = fixed.chain(REGRESSIONS.iter().copied()).collect();
    let verdicts = run_all(&seeds, cores(), "seeds", |&(seed, _)| {
        random_scenario(seed, &[]).run(seed, None).unwrap()
    });
    let mut failures = Vec::new();
    for ((seed, why), verdict) in seeds.iter().zip(verdicts) {
        failures.extend(verdict.failures.iter().take(3).map(|failure| {
            format!("seed {seed} ({why}; phin-sim replay {seed} --trace): {failure}")
        }));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
