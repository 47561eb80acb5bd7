//! `phin-sim run`: scenario files.

use std::{
    fs,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use phin_sim::{
    cores, run_all,
    scenario::{Scenario, Verdict},
};

use super::Error;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Scenario files.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// The only seed to run them with.
    #[arg(long)]
    seed: Option<u64>,
    /// Writes everything that happens; wants one file and one seed.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Runs at once.
    #[arg(long, default_value_t = cores())]
    threads: usize,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode, Error> {
    let mut jobs = Vec::new();
    for file in &args.files {
        let scenario = Scenario::parse(&fs::read_to_string(file)?)
            .map_err(|error| format!("{}: {error}", file.display()))?;
        let seeds = match args.seed {
            Some(seed) => seed..seed + 1,
            None => scenario.seed..scenario.seed + scenario.runs,
        };
        jobs.extend(seeds.map(|seed| (file, scenario.clone(), seed)));
    }
    let results = run_all(&jobs, args.threads, "run", |(_, scenario, seed)| {
        scenario.run(*seed, args.trace.then(|| Box::new(io::stdout()) as Box<dyn Write + Send>))
    });
    let mut out = io::stdout().lock();
    let mut code = ExitCode::SUCCESS;
    for ((file, scenario, seed), result) in jobs.iter().zip(results) {
        let Verdict { failures, trace, events, .. } = result?;
        let file = file.display();
        if failures.is_empty() {
            writeln!(out, "ok      {file} seed {seed}: {events} events, trace {trace}")?;
            continue;
        }
        match &scenario.needs {
            Some(needs) => writeln!(out, "waits   {file} seed {seed}: needs {needs}")?,
            None => {
                code = ExitCode::FAILURE;
                let again = format!("phin-sim run {file} --seed {seed} --trace");
                writeln!(out, "FAILED  {file} seed {seed}; replay: {again}")?;
            }
        }
        for failure in failures {
            writeln!(out, "        {failure}")?;
        }
    }
    Ok(code)
}
