//! Every scenario file comes out as it says.

use std::{fs, io::Write, path::Path};

use phin_sim::{cores, run_all, scenario::Scenario};

#[test]
fn every_scenario_comes_out_as_its_file_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut jobs = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).unwrap();
        let scenario = Scenario::parse(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        match &scenario.needs {
            Some(needs) => {
                writeln!(std::io::stdout(), "{name} is skipped: phin needs {needs}").unwrap();
            }
            // One seed of each on every change; the others with `phin-sim run`.
            None => jobs.push((name, scenario)),
        }
    }
    assert!(jobs.len() > 20, "the files are there");
    // The longest first, so that none is left over at the end.
    let work = |scenario: &Scenario| scenario.lasts.0 * scenario.nodes;
    jobs.sort_by(|a, b| work(&b.1).cmp(&work(&a.1)).then(a.0.cmp(&b.0)));
    let verdicts = run_all(&jobs, cores(), "scenarios", |(_, scenario)| {
        scenario.run(scenario.seed, None).unwrap()
    });
    let mut failures = Vec::new();
    for ((name, _), verdict) in jobs.iter().zip(verdicts) {
        let seed = verdict.seed;
        failures.extend(verdict.failures.iter().take(4).map(|failure| {
            format!(
                "{name} (phin-sim run sim/scenarios/{name}.toml --seed {seed} --trace): {failure}"
            )
        }));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
