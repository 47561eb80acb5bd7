//! `phin-sim run`: scenario files.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use phin_sim::{
    Summary, cores, run_all,
    scenario::{Scenario, Verdict},
};

use super::{
    Error,
    conditions::{ConfigArgs, NetworkArgs, share},
    read,
};

#[derive(clap::Args)]
#[command(after_help = "Examples:
  phin-sim run sim/scenarios/*.toml
  phin-sim run my.toml --delay 30ms --jitter 5ms --loss 2% --pause-tolerance 2s
  phin-sim run my.toml --seed 7 --trace

docs/reference/simulator.md explains the files, with an example.")]
pub(crate) struct Args {
    /// The scenario files.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Run only with this seed.
    #[arg(long)]
    seed: Option<u64>,
    /// Write all events; needs one file and one seed.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Report the results of each file; always on with one file.
    #[arg(long)]
    report: bool,
    /// Run this many simulations at once.
    #[arg(long, default_value_t = cores())]
    threads: usize,
    /// Lose this share of the packets, such as 0.02 or 2%.
    #[arg(long, value_parser = share)]
    loss: Option<f64>,
    #[command(flatten)]
    network: NetworkArgs,
    #[command(flatten)]
    config: ConfigArgs,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode, Error> {
    if args.trace && args.files.len() > 1 {
        return Err("--trace wants one file".into());
    }
    let mut jobs = Vec::new();
    for file in &args.files {
        let mut scenario = Scenario::parse(&read(file)?)
            .map_err(|error| format!("{}: {error}", file.display()))?;
        args.network.apply(&mut scenario.network);
        args.config.apply(&mut scenario.config);
        scenario.network.loss.0 = args.loss.unwrap_or(scenario.network.loss.0);
        let seeds = match args.seed {
            Some(seed) => seed..seed.saturating_add(1),
            None => scenario.seed..scenario.seed.saturating_add(scenario.runs),
        };
        jobs.extend(seeds.map(|seed| (file, scenario.clone(), seed)));
    }
    let results = run_all(&jobs, args.threads, "run", |(_, scenario, seed)| {
        scenario.run(*seed, args.trace.then(|| Box::new(io::stdout()) as Box<dyn Write + Send>))
    });
    let mut out = io::stdout().lock();
    let mut code = ExitCode::SUCCESS;
    let mut happened: Option<Summary> = None;
    for (number, ((file, scenario, seed), result)) in jobs.iter().zip(results).enumerate() {
        let result = result.map_err(|error| format!("{}: {error}", file.display()))?;
        let Verdict { failures, trace, events, summary, .. } = result;
        match &mut happened {
            Some(happened) => happened.add(summary),
            None => happened = Some(summary),
        }
        let name = file.display();
        match (failures.as_slice(), &scenario.needs) {
            ([], _) => writeln!(out, "ok      {name} seed {seed}: {events} events, trace {trace}")?,
            (_, Some(needs)) => writeln!(out, "waits   {name} seed {seed}: needs {needs}")?,
            (_, None) => {
                code = ExitCode::FAILURE;
                let again = format!("phin-sim run {name} --seed {seed} --trace{}", overrides());
                writeln!(out, "FAILED  {name} seed {seed}; replay: {again}")?;
            }
        }
        for failure in failures {
            writeln!(out, "        {failure}")?;
        }
        let is_last = jobs.get(number + 1).is_none_or(|(next, ..)| next != file);
        if is_last
            && let Some(happened) = happened.take()
            && (args.report || args.files.len() == 1)
        {
            write!(out, "\n{happened}")?;
        }
    }
    Ok(code)
}

/// The options that override the files, to be repeated when a run is replayed.
fn overrides() -> String {
    let args: Vec<_> = std::env::args().skip(2).collect();
    let own = ["--seed", "--threads"];
    let flags = ["--report", "--trace"];
    let mut overrides = String::new();
    let mut words = args.iter();
    while let Some(word) = words.next() {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (word.as_str(), None),
        };
        if !name.starts_with("--") || flags.contains(&name) {
            continue;
        }
        let value = value.or_else(|| words.next().cloned()).unwrap_or_default();
        if !own.contains(&name) {
            overrides += &format!(" {name} {value}");
        }
    }
    overrides
}
