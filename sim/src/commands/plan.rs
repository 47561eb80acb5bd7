//! `phin-sim plan`: what a cluster will do, by arithmetic.

use std::{
    fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use phin_sim::{
    cores,
    plan::{CheckSettings, Inputs, LiveNode, Stalls, check},
    scenario::{ConfigSettings, NetworkKind, NetworkSettings, Span},
};
use phin_swim::Config;

use super::{
    Error,
    conditions::{ConfigArgs, NetworkArgs, share},
};

#[derive(clap::Args)]
#[command(after_help = "Examples:
  phin-sim plan --members 500 --loss 1% --rtt 0.5ms --pause p50=20ms,p99=300ms
  phin-sim plan --members 60 --profile wan --zones 3 --delay 40ms --check
  curl -s http://127.0.0.1:7647/metrics | phin-sim plan --metrics -")]
pub(crate) struct Args {
    /// The number of members, 2 to 1048576; needed unless the metrics have it.
    #[arg(long, value_name = "N", required_unless_present = "metrics")]
    members: Option<u32>,
    /// The profile of `phin run` to start from.
    #[arg(long, value_enum, default_value = "lan")]
    profile: Profile,
    /// Lose this share of the packets, such as 0.02 or 2% [default: none].
    #[arg(long, value_parser = share)]
    loss: Option<f64>,
    /// Set the median round trip between hosts: twice --delay.
    #[arg(long, value_name = "TIME", conflicts_with = "delay")]
    rtt: Option<Span>,
    /// Set quantiles of the stalls of members, such as p50=20ms,p99=300ms.
    #[arg(long, value_name = "QUANTILES")]
    pause: Option<Stalls>,
    /// Set how many stalls a member has in an hour [default: 60].
    #[arg(long, value_name = "NUMBER", requires = "pause", value_parser = rate)]
    pauses_per_hour: Option<f64>,
    /// Read what a live node knows from its metrics, a file or - for standard input. Options take precedence.
    #[arg(long, value_name = "FILE")]
    metrics: Option<PathBuf>,
    /// Write JSON.
    #[arg(long)]
    json: bool,
    /// Simulate the same, and report the deviations.
    #[arg(long)]
    check: bool,
    /// How many deaths of each kind to simulate.
    #[arg(long, default_value_t = 128, requires = "check", value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    deaths: u32,
    /// Start from this seed.
    #[arg(long, default_value_t = 1, requires = "check")]
    seed: u64,
    /// Run this many simulations at once.
    #[arg(long, default_value_t = cores(), requires = "check")]
    threads: usize,
    #[command(flatten)]
    network: NetworkArgs,
    #[command(flatten)]
    config: ConfigArgs,
}

/// The profiles of `phin run`.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Profile {
    /// One data centre.
    Lan,
    /// Several continents.
    Wan,
    /// One machine.
    Local,
}

impl Profile {
    const fn config(self) -> Config {
        match self {
            Self::Lan => Config::lan(),
            Self::Wan => Config::wan(),
            Self::Local => Config::local(),
        }
    }

    const fn network(self) -> NetworkKind {
        match self {
            Self::Lan => NetworkKind::Lan,
            Self::Wan => NetworkKind::Wan,
            Self::Local => NetworkKind::Local,
        }
    }
}

/// An input, its value, and the source of it.
struct Source {
    what: &'static str,
    value: String,
    from: String,
}

pub(crate) fn plan(args: &Args) -> Result<ExitCode, Error> {
    let mut config = args.profile.config();
    let mut settings = ConfigSettings::default();
    args.config.apply(&mut settings);
    settings.apply(&mut config);
    let live = match &args.metrics {
        Some(file) => {
            let metrics = LiveNode::parse(&read_metrics(file)?, config.period);
            metrics.map_err(|error| format!("{}: {error}", file.display()))?
        }
        None => LiveNode::default(),
    };
    let (inputs, sources) = inputs(args, config, live)?;
    let plan = phin_sim::plan::plan(&inputs)?;
    let settings = CheckSettings { deaths: args.deaths, seed: args.seed, threads: args.threads };
    let checked = args.check.then(|| check(&plan, settings));
    let mut out = io::stdout().lock();
    if args.json {
        write!(out, "{}", plan.to_json(checked.as_ref()))?;
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(out, "For")?;
    for Source { what, value, from } in sources {
        writeln!(out, "  {what:<12} {value} ({from})")?;
    }
    writeln!(out, "\n{}", plan.to_text(checked.as_ref()).trim_end())?;
    Ok(ExitCode::SUCCESS)
}

/// The inputs of the model: options first, then the metrics of a live node, then assumptions.
fn inputs(args: &Args, config: Config, live: LiveNode) -> Result<(Inputs, Vec<Source>), Error> {
    let mut sources = Vec::new();
    let mut note = |what, value: String, from: &str| {
        sources.push(Source { what, value, from: from.to_owned() });
    };
    let from = |is_given: bool, is_live: bool| match (is_given, is_live) {
        (true, _) => "given",
        (false, true) => "metrics",
        (false, false) => "assumed",
    };
    let members = args.members.or(live.members);
    let members = members.ok_or("the metrics have no number of members: give --members")?;
    note("members", members.to_string(), from(args.members.is_some(), true));
    let mut network = NetworkSettings { kind: args.profile.network(), ..Default::default() };
    args.network.apply(&mut network);
    let is_delay_given = network.delay.is_some() || args.network.has_kind();
    if let Some(Span(rtt)) = args.rtt {
        network.delay = Some(Span(rtt / 2));
    } else if !is_delay_given {
        network.delay = live.round_trip.map(|rtt| Span(rtt / 2));
    }
    let loss = args.loss.or(live.loss);
    network.loss.0 = loss.unwrap_or(0.0);
    note(
        "loss",
        format!("{:.2} %", network.loss.0 * 100.0),
        from(args.loss.is_some(), loss.is_some()),
    );
    let network = network.config();
    let delays: Vec<_> = network.latency[0].iter().map(|latency| latency.median * 2).collect();
    let (first, last) = (delays[0], delays[delays.len() - 1]);
    let trips = match first == last {
        true => millis(last),
        false => {
            format!("{} between {} zones, {} within", millis(last), delays.len(), millis(first))
        }
    };
    let is_given = args.rtt.is_some() || is_delay_given;
    note("round trip", trips, from(is_given, live.round_trip.is_some()));
    let mut stalls = args.pause.clone();
    if let (Some(stalls), Some(rate)) = (&mut stalls, args.pauses_per_hour) {
        stalls.per_hour = rate;
    }
    let from_stalls = match (&stalls, args.pauses_per_hour, &live.stalls) {
        (Some(_), Some(_), _) => "given".to_owned(),
        (Some(_), None, _) => "given; how often: assumed".to_owned(),
        (None, _, Some(_)) => format!("metrics: {}", live.stalls_from),
        (None, _, None) => "assumed".to_owned(),
    };
    let stalls = stalls.or(live.stalls);
    let described = stalls.as_ref().map_or("unknown".to_owned(), |stalls| {
        let points = stalls.points().iter().map(|(share, seconds)| {
            format!("p{} {}", trimmed(share * 100.0), millis(Duration::from_secs_f64(*seconds)))
        });
        let points: Vec<_> = points.collect();
        format!("{}, {} an hour and member", points.join(", "), trimmed(stalls.per_hour))
    });
    note("stalls", described, &from_stalls);
    let Config { period, pause_tolerance, hang_tolerance, rings, .. } = &config;
    let times = [period, pause_tolerance, hang_tolerance].map(|time| millis(*time));
    let [period, pause, hang] = times;
    let profile = format!("profile {}", format!("{:?}", args.profile).to_lowercase());
    let settings =
        format!("period {period}, pause tolerance {pause}, hang tolerance {hang}, {rings} rings");
    note("settings", settings, &profile);
    Ok((Inputs { members, config, network, stalls }, sources))
}

/// Reads a file, or standard input, up to a length that no metrics have.
fn read_metrics(file: &Path) -> Result<String, Error> {
    let named = |error: io::Error| format!("{}: {error}", file.display());
    let reader: Box<dyn Read> = match file.as_os_str() == "-" {
        true => Box::new(io::stdin().lock()),
        false => Box::new(fs::File::open(file).map_err(named)?),
    };
    let mut text = String::new();
    reader.take(MAX_METRICS).read_to_string(&mut text).map_err(named)?;
    Ok(text)
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse::<f64>().ok().filter(|rate| (0.0..=1e6).contains(rate));
    rate.ok_or_else(|| format!("{text:?} is not a number from 0 to 1000000"))
}

fn millis(duration: Duration) -> String {
    match duration.as_secs_f64() {
        seconds if seconds >= 1.0 => format!("{} s", trimmed(seconds)),
        seconds => format!("{} ms", trimmed(seconds * 1e3)),
    }
}

/// A number with up to three decimals.
fn trimmed(number: f64) -> String {
    let text = format!("{number:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A little more than the metrics that are accepted, so that longer ones are noticed.
const MAX_METRICS: u64 = 17 * 1_024 * 1_024;
