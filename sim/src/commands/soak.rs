//! `phin-sim soak` and `phin-sim replay`: random scenarios.
//!
//! tidy: allow clock: the user bounds how long a soak takes

use std::{
    io::{self, Write},
    ops::Range,
    panic::{self, AssertUnwindSafe},
    process::ExitCode,
    time::{Duration, Instant},
};

use phin_sim::{
    Shard, cores, random_scenario, run_all,
    scenario::{ScenarioError, Verdict},
};

use super::Error;

#[derive(clap::Args)]
pub(crate) struct SoakArgs {
    /// The seeds, `A..B` without B.
    #[arg(long, value_parser = parse_seeds)]
    seeds: Range<u64>,
    /// Begins no more runs after so many minutes.
    #[arg(long)]
    minutes: Option<u64>,
    /// Kinds of events that do not happen, such as `partition,deaf`.
    #[arg(long, value_delimiter = ',')]
    avoid: Vec<String>,
    /// Runs at once.
    #[arg(long, default_value_t = cores())]
    threads: usize,
    /// This machine's share of the seeds.
    #[arg(long, default_value = "0/1")]
    shard: Shard,
}

#[derive(clap::Args)]
pub(crate) struct ReplayArgs {
    /// The seed.
    seed: u64,
    /// Kinds of events that do not happen, as they were avoided.
    #[arg(long, value_delimiter = ',')]
    avoid: Vec<String>,
    /// Writes everything that happens.
    #[arg(long)]
    trace: bool,
}

pub(crate) fn soak(args: &SoakArgs) -> Result<ExitCode, Error> {
    let numbered = (0..).zip(args.seeds.clone());
    let seeds: Vec<_> = numbered.filter(|&(i, _)| args.shard.has(i)).map(|(_, s)| s).collect();
    let began = Instant::now();
    let limit = args.minutes.map(|minutes| Duration::from_secs(60 * minutes));
    let results = run_all(&seeds, args.threads, "soak", |&seed| {
        let is_over = limit.is_some_and(|limit| began.elapsed() >= limit);
        (!is_over).then(|| run_one(seed, &args.avoid))
    });
    let mut out = io::stdout().lock();
    let (mut runs, mut failed, mut events) = (0, 0, 0);
    for result in results.into_iter().flatten() {
        let verdict: Verdict = result?;
        runs += 1;
        events += verdict.events;
        if !verdict.failures.is_empty() {
            failed += 1;
            report(&mut out, &verdict, &args.avoid)?;
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    writeln!(out, "{runs} runs, {failed} failed, {events} events in {seconds:.0} s")?;
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A panic in a run is a failure of its seed, and not the end of the others.
fn run_one(seed: u64, avoid: &[String]) -> Result<Verdict, ScenarioError> {
    let run = AssertUnwindSafe(|| random_scenario(seed, avoid).run(seed, None));
    panic::catch_unwind(run).unwrap_or_else(|_| {
        let failures = vec!["panicked".to_owned()];
        Ok(Verdict {
            seed,
            failures,
            trace: Default::default(),
            events: 0,
            summary: Default::default(),
        })
    })
}

fn report(out: &mut impl Write, verdict: &Verdict, avoid: &[String]) -> io::Result<()> {
    let avoid =
        if avoid.is_empty() { String::new() } else { format!(" --avoid {}", avoid.join(",")) };
    let seed = verdict.seed;
    writeln!(out, "FAILED  seed {seed}; replay: phin-sim replay {seed}{avoid} --trace")?;
    for failure in verdict.failures.iter().take(MAX_LINES) {
        writeln!(out, "        {failure}")?;
    }
    Ok(())
}

pub(crate) fn replay(args: &ReplayArgs) -> Result<ExitCode, Error> {
    let scenario = random_scenario(args.seed, &args.avoid);
    let mut out = io::stdout();
    writeln!(out, "{scenario:#?}")?;
    let trace = args.trace.then(|| Box::new(io::stdout()) as Box<dyn Write + Send>);
    let verdict: Result<_, ScenarioError> = scenario.run(args.seed, trace);
    let verdict = verdict?;
    writeln!(out, "{} events, trace {}", verdict.events, verdict.trace)?;
    for failure in &verdict.failures {
        writeln!(out, "{failure}")?;
    }
    Ok(if verdict.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn parse_seeds(text: &str) -> Result<Range<u64>, String> {
    let range = text.split_once("..").and_then(|(from, to)| {
        Some(from.trim().parse::<u64>().ok()?..to.trim().parse::<u64>().ok()?)
    });
    range.ok_or_else(|| format!("{text:?} is not A..B"))
}

/// How much is told of each failure.
const MAX_LINES: usize = 4;
