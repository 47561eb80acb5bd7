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

use clap::{
    ValueEnum,
    builder::{PossibleValue, PossibleValuesParser, TypedValueParser},
};
use phin_sim::{
    FaultKind, Shard, cores, random_scenario, random_signed_scenario, run_all,
    scenario::{Scenario, ScenarioError, Verdict},
};
use phin_swim::SignedVotes;

use super::Error;

#[derive(clap::Args)]
#[command(after_help = "Examples:
  phin-sim soak --seeds 0..2000 --minutes 30
  phin-sim soak --seeds 0..100 --faults none
  phin-sim soak --seeds 0..100 --faults liar --signed-votes require
  phin-sim soak --seeds 0..100 --avoid base --faults one-path")]
pub(crate) struct SoakArgs {
    /// Run these seeds, `A..B` without B.
    #[arg(long, value_parser = parse_seeds)]
    seeds: Range<u64>,
    /// Start no further runs after this many minutes.
    #[arg(long)]
    minutes: Option<u64>,
    #[command(flatten)]
    draw: Draw,
    /// Run this many simulations at once.
    #[arg(long, default_value_t = cores())]
    threads: usize,
    /// Run only this share of the seeds.
    #[arg(long, value_name = "I/N", default_value = "0/1")]
    shard: Shard,
}

/// The events and faults to draw.
#[derive(clap::Args)]
struct Draw {
    /// Leave out these kinds of events, such as `partition,deaf`; `base` leaves out all but the --faults, `data` what
    /// applications write, `messages` what they publish, `offices` what they stand for.
    #[arg(long, value_delimiter = ',')]
    avoid: Vec<String>,
    /// Draw one or two of these faults in each run, after its other events; `all` or `none` [default: all].
    #[arg(long, value_delimiter = ',', value_parser = fault_names())]
    faults: Vec<String>,
    /// Set whether votes are signed: off, sign or require [default: off]. With require, observers lie together, fewer
    /// than a majority, and may achieve nothing.
    #[arg(long, value_name = "MODE")]
    signed_votes: Option<SignedVotes>,
}

impl Draw {
    fn kinds(&self) -> Vec<FaultKind> {
        let kind = |name: &String| FaultKind::from_str(name, false).ok();
        if self.faults.is_empty() {
            return FaultKind::all().to_vec();
        }
        match self.faults.iter().any(|name| name == "all") {
            true => FaultKind::all().to_vec(),
            false => self.faults.iter().filter_map(kind).collect(),
        }
    }

    fn scenario(&self, seed: u64) -> Scenario {
        let kinds = self.kinds();
        match self.signed_votes {
            None => random_scenario(seed, &self.avoid, &kinds),
            Some(mode) => random_signed_scenario(seed, &self.avoid, &kinds, mode),
        }
    }

    /// The options that draw the same scenario again.
    fn options(&self) -> String {
        let option = |name: &str, values: &[String]| match values {
            [] => String::new(),
            values => format!(" --{name} {}", values.join(",")),
        };
        let mode: Vec<_> = self.signed_votes.iter().map(ToString::to_string).collect();
        option("avoid", &self.avoid)
            + &option("faults", &self.faults)
            + &option("signed-votes", &mode)
    }
}

fn fault_names() -> impl TypedValueParser<Value = String> {
    let kinds = FaultKind::all().iter().filter_map(ValueEnum::to_possible_value);
    PossibleValuesParser::new(kinds.chain(["all", "none"].map(PossibleValue::new)))
}

#[derive(clap::Args)]
pub(crate) struct ReplayArgs {
    /// The seed.
    seed: u64,
    #[command(flatten)]
    draw: Draw,
    /// Write all events.
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
        (!is_over).then(|| run_one(seed, &args.draw))
    });
    let mut out = io::stdout().lock();
    let (mut runs, mut failed, mut events) = (0, 0, 0);
    for result in results.into_iter().flatten() {
        let verdict: Verdict = result?;
        runs += 1;
        events += verdict.events;
        if !verdict.failures.is_empty() {
            failed += 1;
            report(&mut out, &verdict, &args.draw)?;
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    writeln!(out, "{runs} runs, {failed} failed, {events} events in {seconds:.0} s")?;
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs one seed. A panic is a failure of that seed, and does not end the others.
fn run_one(seed: u64, draw: &Draw) -> Result<Verdict, ScenarioError> {
    let run = AssertUnwindSafe(|| draw.scenario(seed).run(seed, None));
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

fn report(out: &mut impl Write, verdict: &Verdict, draw: &Draw) -> io::Result<()> {
    let (seed, options) = (verdict.seed, draw.options());
    writeln!(out, "FAILED  seed {seed}; replay: phin-sim replay {seed}{options} --trace")?;
    for failure in verdict.failures.iter().take(MAX_LINES) {
        writeln!(out, "        {failure}")?;
    }
    Ok(())
}

pub(crate) fn replay(args: &ReplayArgs) -> Result<ExitCode, Error> {
    let scenario = args.draw.scenario(args.seed);
    let mut out = io::stdout();
    writeln!(out, "{scenario:#?}")?;
    let trace = args.trace.then(|| Box::new(io::stdout()) as Box<dyn Write + Send>);
    let verdict: Result<_, ScenarioError> = scenario.run(args.seed, trace);
    let verdict = verdict?;
    writeln!(out, "{} events, trace {}", verdict.events, verdict.trace)?;
    write!(out, "{}", verdict.summary)?;
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

/// The maximum number of lines for each failure.
const MAX_LINES: usize = 4;
