//! `phin-sim detect` and `phin-sim sweep`: experiments and their reports; `phin-sim merge`: shares joined.

use std::{
    fs,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::ValueEnum;
use phin_sim::{
    Experiment, Job, Kill, Point, ProtocolKind, SampleLine, Shard, cores, run_jobs, write_reports,
};

use super::Error;

#[derive(clap::Args)]
pub(crate) struct DetectArgs {
    /// What is killed.
    #[arg(long, value_enum, default_value = "host")]
    kill: Kill,
    #[command(flatten)]
    common: Common,
}

#[derive(clap::Args)]
pub(crate) struct SweepArgs {
    /// What is measured.
    experiment: Experiment,
    /// What to kill [default: host; for survivors, process and host].
    #[arg(long, value_enum)]
    kill: Option<Kill>,
    /// For survivors: how many members survive [default: 1, 2, 3, 4, 8, 16 and so on, to half of the cluster].
    #[arg(long, value_delimiter = ',')]
    survivors: Vec<u32>,
    #[command(flatten)]
    common: Common,
}

#[derive(clap::Args)]
struct Common {
    /// Cluster sizes; each experiment has its own.
    #[arg(long, value_delimiter = ',')]
    sizes: Vec<u32>,
    /// Shares of packets lost, 0 to 1.
    #[arg(long, value_delimiter = ',')]
    loss: Vec<f64>,
    /// Protocols by name, or `all` [default: all; for survivors, phin].
    #[arg(long, value_delimiter = ',')]
    protocol: Vec<String>,
    /// How many deaths at each point; for experiments without, how many runs.
    #[arg(long)]
    kills: Option<u32>,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Runs at once.
    #[arg(long, default_value_t = cores())]
    threads: usize,
    /// This machine's share of the sweep: only samples are written, for `merge`.
    #[arg(long, default_value = "0/1")]
    shard: Shard,
    /// Where reports go.
    #[arg(long, default_value = "docs/benchmarks")]
    out: PathBuf,
}

#[derive(clap::Args)]
pub(crate) struct MergeArgs {
    /// The samples of all shares.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Where reports go.
    #[arg(long, default_value = "docs/benchmarks")]
    out: PathBuf,
}

pub(crate) fn detect(args: &DetectArgs) -> Result<ExitCode, Error> {
    measure(Experiment::Detection, Some(args.kill), &[], &args.common)
}

pub(crate) fn sweep(args: &SweepArgs) -> Result<ExitCode, Error> {
    measure(args.experiment, args.kill, &args.survivors, &args.common)
}

pub(crate) fn merge(args: &MergeArgs) -> Result<ExitCode, Error> {
    let mut lines: Vec<SampleLine> = Vec::new();
    for file in &args.files {
        for line in fs::read_to_string(file)?.lines() {
            lines.push(line.parse().map_err(|e| format!("{}: {e}: {line}", file.display()))?);
        }
    }
    report(&lines, &args.out)
}

fn measure(
    experiment: Experiment,
    kill: Option<Kill>,
    survivors: &[u32],
    common: &Common,
) -> Result<ExitCode, Error> {
    let mut jobs = Vec::new();
    let protocols = match experiment {
        // What is expected is that of these alone.
        Experiment::Distribution => vec![ProtocolKind::Phin],
        Experiment::Calm => ProtocolKind::CALM.to_vec(),
        Experiment::Survivors if common.protocol.is_empty() => vec![ProtocolKind::Phin],
        _ if common.protocol.is_empty() => ProtocolKind::ALL.to_vec(),
        _ => protocols(&common.protocol)?,
    };
    for protocol in protocols {
        for (point, runs) in points(experiment, kill, survivors, common) {
            if point.count("n") <= protocol.max_nodes() {
                for seed in (common.seed..).take(runs as usize) {
                    jobs.push(Job { experiment, protocol, point: point.clone(), seed });
                }
            }
        }
    }
    let lines = run_jobs(jobs, common.shard, common.threads);
    if common.shard == Shard::WHOLE {
        return report(&lines, &common.out);
    }
    fs::create_dir_all(&common.out)?;
    let Shard { index, of } = common.shard;
    let file = common.out.join(format!("{}-{index}-of-{of}.samples", experiment.as_str()));
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    fs::write(&file, text)?;
    writeln!(io::stdout(), "{}", file.display())?;
    Ok(ExitCode::SUCCESS)
}

fn protocols(names: &[String]) -> Result<Vec<ProtocolKind>, Error> {
    let mut protocols = Vec::new();
    for name in names {
        match name.as_str() {
            "all" => protocols.extend(ProtocolKind::ALL),
            name => protocols.push(ProtocolKind::from_str(name, false)?),
        }
    }
    Ok(protocols)
}

/// The points of an experiment, and how many runs each gets.
fn points(
    experiment: Experiment,
    kill: Option<Kill>,
    survivors: &[u32],
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
                    // As many at each size, in few runs where runs are long.
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

fn report(lines: &[SampleLine], out: &std::path::Path) -> Result<ExitCode, Error> {
    let mut args: Vec<_> = std::env::args().skip(1).collect();
    args.insert(0, "phin-sim".to_owned());
    let files = write_reports(lines, &args.join(" "), out)?;
    let mut stdout = io::stdout().lock();
    for file in &files {
        let path = out.join(file);
        if file.ends_with(".md") {
            writeln!(stdout, "{}", fs::read_to_string(&path)?)?;
        }
        writeln!(stdout, "{}", path.display())?;
    }
    Ok(ExitCode::SUCCESS)
}
