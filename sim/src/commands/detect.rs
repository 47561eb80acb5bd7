//! `phin-sim detect` and `phin-sim sweep` run experiments and write reports; `phin-sim merge` joins shares.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{
    ValueEnum,
    builder::{PossibleValue, PossibleValuesParser, TypedValueParser},
};
use phin_sim::{
    Conditions, DataCase, Experiment, GrayCase, Job, Kill, LeaderCase, LiarCase, MassCase,
    MessageCase, Page, Point, ProtocolKind, RapidCase, SampleLine, Shard, StallCase, UNUSUAL,
    cores, illustrate, reports, run_jobs, scenario::ConfigSettings,
};

use super::{
    Error,
    conditions::{ConfigArgs, NetworkArgs, share},
    read,
};

#[derive(clap::Args)]
#[command(after_help = "Examples:
  phin-sim detect --sizes 32,128 --protocol phin,lifeguard
  phin-sim detect --kill process --delay 30ms --jitter 5ms --loss 2% --period 500ms --protocol phin
  phin-sim detect --network wan --protocol phin-wan --out report")]
pub(crate) struct DetectArgs {
    /// The kind of kill.
    #[arg(long, value_enum, default_value = "host")]
    kill: Kill,
    #[command(flatten)]
    common: Common,
}

#[derive(clap::Args)]
#[command(after_help = "Examples:
  phin-sim sweep loss --sizes 64 --loss 0,5%,20% --protocol phin
  phin-sim sweep survivors --sizes 32 --survivors 1,3,8 --kill process
  phin-sim sweep liars --sizes 9 --case accusations,clear --kill host
  phin-sim sweep mass --sizes 128 --case third,split --protocol phin,lifeguard
  phin-sim sweep pause --protocol phin,lifeguard --pause-tolerance 3s --out report")]
pub(crate) struct SweepArgs {
    /// The experiment.
    experiment: Experiment,
    /// The kind of kill in detection, loss, survivors and liars [default: host; for survivors and liars, process and host].
    #[arg(long, value_enum)]
    kill: Option<Kill>,
    /// The cases to measure, in data, messages, leadership, liars, stalls, mass, gray and rapid [default: all].
    #[arg(long, value_delimiter = ',', value_parser = case_names())]
    case: Vec<String>,
    /// How many members survive, in survivors [default: 1, 2, 3, 4, 8, 16 and so on, to half of the cluster].
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..MAX_SIZE))]
    survivors: Vec<u32>,
    #[command(flatten)]
    common: Common,
}

#[derive(clap::Args)]
struct Common {
    /// Cluster sizes, 2 or more; each experiment has defaults of its own.
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(2..=MAX_SIZE))]
    sizes: Vec<u32>,
    /// Lose this share of the packets, such as 0.02 or 2%; several in detection, loss, calm and liars.
    #[arg(long, value_delimiter = ',', value_parser = share)]
    loss: Vec<f64>,
    /// Which protocols to run [default: all; phin alone for survivors and liars, or with settings of phin; beside it
    /// lifeguard for stalls, mass, gray and rapid, and others].
    #[arg(long, value_delimiter = ',', value_parser = protocol_names())]
    protocol: Vec<String>,
    /// How many deaths to measure at each point; in experiments without deaths, how many runs.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    kills: Option<u32>,
    /// Start from this seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Run this many simulations at once.
    #[arg(long, default_value_t = cores())]
    threads: usize,
    /// Run only share I of N, and write samples instead of reports, for `phin-sim merge`.
    #[arg(long, value_name = "I/N", requires = "out")]
    shard: Option<Shard>,
    /// Write tables, CSV and plots to this folder [default: print the tables].
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    #[command(flatten)]
    network: NetworkArgs,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(clap::Args)]
pub(crate) struct MergeArgs {
    /// The sample files of all shares.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Write tables, CSV and plots to this folder [default: print the tables].
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

#[derive(clap::Args)]
pub(crate) struct RedrawArgs {
    /// The folders with reports.
    #[arg(required = true)]
    folders: Vec<PathBuf>,
}

pub(crate) fn redraw(args: &RedrawArgs) -> Result<ExitCode, Error> {
    for folder in &args.folders {
        for &experiment in Experiment::value_variants() {
            let name = experiment.as_str();
            let csv = folder.join(format!("{name}.csv"));
            if !csv.exists() {
                continue;
            }
            let text = read(&folder.join(format!("{name}.md")))?;
            let is_usual = !text.contains(UNUSUAL);
            let (pages, text) = illustrate(experiment, &read(&csv)?, &text, is_usual);
            for Page { name, text } in pages {
                writeln!(io::stdout(), "{}", write(folder, &name, &text)?.display())?;
            }
            write(folder, &format!("{name}.md"), &text)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn detect(args: &DetectArgs) -> Result<ExitCode, Error> {
    measure(Experiment::Detection, Some(args.kill), &[], &[], &args.common)
}

pub(crate) fn sweep(args: &SweepArgs) -> Result<ExitCode, Error> {
    measure(args.experiment, args.kill, &args.survivors, &args.case, &args.common)
}

pub(crate) fn merge(args: &MergeArgs) -> Result<ExitCode, Error> {
    let mut lines: Vec<SampleLine> = Vec::new();
    for file in &args.files {
        for line in read(file)?.lines() {
            lines.push(line.parse().map_err(|e| format!("{}: {e}: {line}", file.display()))?);
        }
    }
    report(&lines, true, args.out.as_deref())
}

fn measure(
    experiment: Experiment,
    kill: Option<Kill>,
    survivors: &[u32],
    cases: &[String],
    common: &Common,
) -> Result<ExitCode, Error> {
    let conditions = conditions(experiment, kill, survivors, common)?;
    let cases = cases_of(experiment, cases)?;
    let protocols = match experiment {
        // Only these have an expected distribution.
        Experiment::Distribution => vec![ProtocolKind::Phin],
        Experiment::Calm => ProtocolKind::CALM.to_vec(),
        Experiment::Data if common.protocol.is_empty() => {
            vec![ProtocolKind::Phin, ProtocolKind::Chitchat]
        }
        Experiment::Messages if common.protocol.is_empty() => {
            vec![ProtocolKind::Phin, ProtocolKind::Flood, ProtocolKind::Serf]
        }
        _ => protocols(experiment, &conditions, &common.protocol)?,
    };
    let mut jobs = Vec::new();
    for protocol in protocols {
        for (point, runs) in points(experiment, kill, survivors, &cases, common) {
            let can_run = can_run(experiment, protocol, &point);
            if can_run && point.count("n") <= protocol.max_nodes() {
                for seed in (common.seed..).take(runs as usize) {
                    let (point, conditions) = (point.clone(), conditions.clone());
                    jobs.push(Job { experiment, protocol, point, seed, conditions });
                }
            }
        }
    }
    if jobs.is_empty() {
        return Err("nothing to run: the protocols end below these sizes".into());
    }
    let lines = run_jobs(jobs, common.shard.unwrap_or(Shard::WHOLE), common.threads)?;
    let (Some(Shard { index, of }), Some(out)) = (common.shard, &common.out) else {
        return report(&lines, conditions.are_usual(), common.out.as_deref());
    };
    let name = format!("{}-{index}-of-{of}.samples", experiment.as_str());
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let file = write(out, &name, &text)?;
    writeln!(io::stdout(), "{}", file.display())?;
    Ok(ExitCode::SUCCESS)
}

/// The network and the settings. An option that the experiment would ignore is an error.
fn conditions(
    experiment: Experiment,
    kill: Option<Kill>,
    survivors: &[u32],
    common: &Common,
) -> Result<Conditions, Error> {
    let name = experiment.as_str();
    let kills = [Experiment::Detection, Experiment::Loss, Experiment::Survivors, Experiment::Liars];
    if kill.is_some() && !kills.contains(&experiment) {
        return Err(format!("{name} does not choose what to kill: leave out --kill").into());
    }
    if !survivors.is_empty() && experiment != Experiment::Survivors {
        return Err(format!("{name} has no survivors to count: leave out --survivors").into());
    }
    let mut conditions = Conditions::default();
    common.network.apply(&mut conditions.network);
    common.config.apply(&mut conditions.config);
    if conditions.config.signed_votes.is_some() && experiment == Experiment::Liars {
        return Err("liars measures both modes: leave out --signed-votes".into());
    }
    match (experiment, common.loss.as_slice()) {
        (Experiment::Detection | Experiment::Loss | Experiment::Calm | Experiment::Liars, _)
        | (_, []) => {}
        (_, [loss]) => conditions.network.loss.0 = *loss,
        _ => return Err(format!("{name} takes one --loss").into()),
    }
    Ok(conditions)
}

fn protocols(
    experiment: Experiment,
    conditions: &Conditions,
    names: &[String],
) -> Result<Vec<ProtocolKind>, Error> {
    if names.is_empty() {
        let is_of_phin = matches!(experiment, Experiment::Survivors | Experiment::Liars)
            || !conditions.config.is_empty();
        let (phin, evict) = (ProtocolKind::Phin, ProtocolKind::PhinEvict);
        let (lifeguard, swim) = (ProtocolKind::Lifeguard, ProtocolKind::Swim);
        return Ok(match experiment {
            _ if is_of_phin => vec![phin],
            Experiment::Stalls | Experiment::Mass => vec![phin, lifeguard],
            Experiment::Gray => vec![phin, evict, lifeguard],
            Experiment::Rapid => vec![phin, evict, lifeguard, swim],
            _ => ProtocolKind::ALL.to_vec(),
        });
    }
    let mut protocols = Vec::new();
    for name in names {
        match name.as_str() {
            "all" => protocols.extend(ProtocolKind::ALL),
            name => protocols.push(ProtocolKind::from_str(name, false)?),
        }
    }
    Ok(protocols)
}

fn protocol_names() -> impl TypedValueParser<Value = String> {
    let kinds = ProtocolKind::value_variants().iter().filter_map(ValueEnum::to_possible_value);
    let all = PossibleValue::new("all").help("phin and phin-fast beside the four others");
    PossibleValuesParser::new(kinds.chain([all]))
}

/// The points of an experiment, and the number of runs of each.
fn points(
    experiment: Experiment,
    kill: Option<Kill>,
    survivors: &[u32],
    cases: &[u8],
    common: &Common,
) -> Vec<(Point, u32)> {
    let sizes = |default: &[u32]| {
        if common.sizes.is_empty() { default.to_vec() } else { common.sizes.clone() }
    };
    let losses = |default: &[f64]| {
        if common.loss.is_empty() { default.to_vec() } else { common.loss.clone() }
    };
    let at = |n: u32| Point::default().with("n", n.into());
    let runs = |default: u32| common.kills.unwrap_or(default);
    let mut points = Vec::new();
    match experiment {
        Experiment::Detection | Experiment::Loss => {
            let (sizes, losses) = match experiment {
                Experiment::Loss => {
                    (sizes(&[128]), losses(&[0.001, 0.01, 0.05, 0.1, 0.15, 0.2, 0.25]))
                }
                _ => (sizes(&[8, 32, 128, 512, 2048]), losses(&[0.0])),
            };
            for n in sizes {
                for &loss in &losses {
                    // The same number of deaths at each size, in fewer runs if runs are long.
                    let kills = (n / 8).clamp(1, 20).min(runs(100));
                    let kind = f64::from(kill.unwrap_or(Kill::Host) as u8);
                    let point =
                        at(n).with("loss", loss).with("kills", kills.into()).with("kill", kind);
                    points.push((point, runs(100).div_ceil(kills)));
                }
            }
        }
        Experiment::Distribution => {
            for n in sizes(&[64]) {
                for kind in [Kill::Process, Kill::Host, Kill::Firewalled] {
                    let kills = (n / 8).clamp(1, 20).min(runs(800));
                    let point = at(n).with("loss", 0.0).with("kills", kills.into());
                    points.push((
                        point.with("kill", f64::from(kind as u8)),
                        runs(800).div_ceil(kills),
                    ));
                }
            }
        }
        Experiment::Slow => {
            for n in sizes(&[128]) {
                for slow in [1.0, 4.0, 8.0, 16.0, 32.0] {
                    for blocked in [0.128, 0.5, 2.0, 8.0, 32.0] {
                        for open in [0.064, 1.0, 4.0, 16.0] {
                            let point = at(n).with("c", slow).with("d", blocked).with("i", open);
                            points.push((point, runs(1)));
                        }
                    }
                }
            }
        }
        Experiment::Pause => {
            for n in sizes(&[64]) {
                for host in [0.0, 1.0] {
                    for seconds in [0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0] {
                        points.push((at(n).with("host", host).with("seconds", seconds), runs(30)));
                    }
                }
            }
        }
        Experiment::Bootstrap => {
            points.extend(sizes(&[8, 32, 128, 512, 1000]).into_iter().map(|n| (at(n), runs(10))));
        }
        Experiment::Calm => {
            for n in sizes(&[128]) {
                for &loss in &losses(&[0.0, 0.001, 0.01, 0.05]) {
                    points.push((at(n).with("loss", loss), runs(100)));
                }
            }
        }
        Experiment::Survivors => {
            let kinds = kill.map_or(vec![Kill::Process, Kill::Host], |kill| vec![kill]);
            for (n, kind) in
                sizes(&[32, 128, 512]).iter().flat_map(|n| kinds.iter().map(move |k| (*n, *k)))
            {
                let few = [1, 2, 3].into_iter().chain((2..31).map(|power| 1 << power));
                let numbers: Vec<u32> = match survivors {
                    [] => few.take_while(|&few| few <= n / 2).collect(),
                    given => given.to_vec(),
                };
                for survivors in numbers.into_iter().filter(|&survivors| survivors < n) {
                    let point = at(n).with("kill", f64::from(kind as u8));
                    points.push((point.with("survivors", survivors.into()), runs(5)));
                }
            }
        }
        Experiment::Data => {
            let calm = [DataCase::Change, DataCase::Heal, DataCase::Newcomer];
            for n in sizes(&[1_000]) {
                for &case in cases {
                    let kills = match calm.iter().any(|&calm| calm as u8 == case) {
                        true => 0,
                        false => KILLS_OF_A_RUN.min(runs(40)).min(n / 4),
                    };
                    let point = at(n).with("case", f64::from(case));
                    let runs = match kills {
                        0 => 2,
                        kills => runs(40).div_ceil(kills),
                    };
                    points.push((point.with("kills", kills.into()), runs));
                }
            }
        }
        Experiment::Messages => {
            for &case in cases {
                let is_of_deaths =
                    [MessageCase::Loaded, MessageCase::Idle].iter().any(|&c| c as u8 == case);
                let default: &[u32] = if is_of_deaths { &[32, 100] } else { &[100, 300, 1_000] };
                for n in sizes(default) {
                    let kills = if is_of_deaths { 4.min(n / 4) } else { 0 };
                    let point = at(n).with("case", f64::from(case)).with("kills", kills.into());
                    let runs = if is_of_deaths { runs(40).div_ceil(kills.max(1)) } else { runs(3) };
                    points.push((point, runs));
                }
            }
        }
        Experiment::Leadership => {
            for &case in cases {
                for n in sizes(&[3, 5, 9, 33]) {
                    points.push((at(n).with("case", f64::from(case)), runs(100)));
                }
            }
        }
        Experiment::Stalls => {
            for &case in cases {
                for n in sizes(StallCase::value_variants()[usize::from(case)].sizes()) {
                    // As in detection.
                    let kills = (n / 8).clamp(1, 20).min(runs(100));
                    let point = at(n).with("case", case.into()).with("kills", kills.into());
                    points.push((point, runs(100).div_ceil(kills)));
                }
            }
        }
        Experiment::Mass => {
            for &case in cases {
                for n in sizes(&[128, 1_000]) {
                    points
                        .push((at(n).with("case", case.into()), runs(if n < 500 { 5 } else { 2 })));
                }
            }
        }
        Experiment::Gray => {
            for &case in cases {
                for n in sizes(GrayCase::value_variants()[usize::from(case)].sizes()) {
                    let runs = runs(if n < 500 { 3 } else { 1 });
                    points.push((at(n).with("case", case.into()), runs));
                }
            }
        }
        Experiment::Rapid => {
            for &case in cases {
                let sizes = sizes(&[1_000]);
                points.extend(sizes.iter().map(|&n| (at(n).with("case", case.into()), runs(2))));
            }
        }
        Experiment::Liars => {
            let kinds = kill.map_or(vec![Kill::Process, Kill::Host], |kill| vec![kill]);
            let mut config = ConfigSettings::default();
            common.config.apply(&mut config);
            for n in sizes(&[5, 16, 64]) {
                let observers = LiarCase::observers(n, config.rings.unwrap_or(RINGS));
                for (&loss, &case) in
                    losses(&[0.01]).iter().flat_map(|loss| cases.iter().map(move |c| (loss, c)))
                {
                    let point = at(n).with("loss", loss).with("case", case.into());
                    let point = point.with("observers", observers.into());
                    let hides = LiarCase::value_variants()[usize::from(case)].hides();
                    let kinds: Vec<_> = match hides {
                        true => kinds.iter().map(|&kind| f64::from(kind as u8)).collect(),
                        false => vec![0.0],
                    };
                    // At least one healthy member is left beside the victim.
                    for liars in 0..=observers.min(n - 2) {
                        for (&kind, signed) in kinds.iter().flat_map(|k| [(k, 0.0), (k, 1.0)]) {
                            let point = point.clone().with("liars", liars.into());
                            let point = point.with("kill", kind).with("signed", signed);
                            points.push((point, runs(if n < 32 { 20 } else { 5 })));
                        }
                    }
                }
            }
        }
        Experiment::Partition => {
            for n in sizes(&[8, 50, 200]) {
                for seconds in [10.0, 120.0] {
                    points.push((at(n).with("seconds", seconds), runs(5)));
                }
            }
        }
    }
    points
}

fn report(lines: &[SampleLine], is_usual: bool, out: Option<&Path>) -> Result<ExitCode, Error> {
    let mut args: Vec<_> = std::env::args().skip(1).collect();
    args.insert(0, "phin-sim".to_owned());
    let mut stdout = io::stdout().lock();
    for Page { name, text } in reports(lines, &args.join(" "), is_usual) {
        match out {
            Some(out) => {
                let path = write(out, &name, &text)?;
                writeln!(stdout, "{}", path.display())?;
            }
            // A terminal shows no plots.
            None if name.ends_with(".md") => {
                let mut lines = text.lines().filter(|line| !line.starts_with("!["));
                lines.try_for_each(|line| writeln!(stdout, "{line}"))?;
            }
            None => {}
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn write(folder: &Path, name: &str, text: &str) -> Result<PathBuf, Error> {
    fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let path = folder.join(name);
    fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(path)
}

/// Some baselines have no failure detector here, and others neither data nor messages.
fn can_run(experiment: Experiment, protocol: ProtocolKind, point: &Point) -> bool {
    let is_phin = protocol.as_str().starts_with("phin");
    let is_single = point.get("case") == f64::from(MessageCase::Spaced as u8);
    let is_mute = [ProtocolKind::Chitchat, ProtocolKind::Flood, ProtocolKind::Serf];
    match (experiment, protocol) {
        (Experiment::Data, ProtocolKind::Chitchat) => point.count("kills") == 0,
        (Experiment::Messages, ProtocolKind::Flood | ProtocolKind::Serf) => is_single,
        (
            Experiment::Data | Experiment::Messages | Experiment::Leadership | Experiment::Liars,
            _,
        ) => is_phin,
        _ => !is_mute.contains(&protocol),
    }
}

/// The cases of an experiment by number, all unless some are given.
fn cases_of(experiment: Experiment, names: &[String]) -> Result<Vec<u8>, Error> {
    let all: Vec<_> = match experiment {
        Experiment::Data => all_cases::<DataCase>(|case| case as u8),
        Experiment::Messages => all_cases::<MessageCase>(|case| case as u8),
        Experiment::Leadership => all_cases::<LeaderCase>(|case| case as u8),
        Experiment::Liars => all_cases::<LiarCase>(|case| case as u8),
        Experiment::Stalls => all_cases::<StallCase>(|case| case as u8),
        Experiment::Mass => all_cases::<MassCase>(|case| case as u8),
        Experiment::Gray => all_cases::<GrayCase>(|case| case as u8),
        Experiment::Rapid => all_cases::<RapidCase>(|case| case as u8),
        _ if names.is_empty() => return Ok(Vec::new()),
        _ => return Err(format!("{} has no cases: leave out --case", experiment.as_str()).into()),
    };
    let number = |name: &String| {
        let found = all.iter().find(|(case, _)| case == name);
        let unknown = || format!("{} has no case {name}", experiment.as_str());
        found.map(|(_, number)| *number).ok_or_else(unknown)
    };
    match names {
        [] => Ok(all.iter().map(|(_, number)| *number).collect()),
        names => Ok(names.iter().map(number).collect::<Result<_, _>>()?),
    }
}

fn all_cases<C: ValueEnum>(number: impl Fn(C) -> u8) -> Vec<(String, u8)> {
    let cases = C::value_variants().iter();
    let name = |case: &C| Some(case.to_possible_value()?.get_name().to_owned());
    cases.filter_map(|case| Some((name(case)?, number(case.clone())))).collect()
}

fn case_names() -> impl TypedValueParser<Value = String> {
    fn of<C: ValueEnum>() -> Vec<PossibleValue> {
        C::value_variants().iter().filter_map(ValueEnum::to_possible_value).collect()
    }
    let calm = [of::<DataCase>(), of::<MessageCase>(), of::<LeaderCase>(), of::<LiarCase>()];
    let storms = [of::<StallCase>(), of::<MassCase>(), of::<GrayCase>(), of::<RapidCase>()];
    PossibleValuesParser::new(calm.concat().into_iter().chain(storms.concat()))
}

/// How many deaths are measured in one run, where members write meanwhile.
const KILLS_OF_A_RUN: u32 = 20;
/// The rings of the default profile.
const RINGS: u8 = 8;
/// The largest cluster size that can be requested.
const MAX_SIZE: i64 = 1 << 20;
