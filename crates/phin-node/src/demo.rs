//! `phin demo`: runs a cluster of real processes on this machine, kills one, and makes one leave.

mod fleet;
mod report;

use std::{
    collections::BTreeSet,
    io::{self, Write},
    time::{Duration, Instant},
};

use phin::Change;
use tokio::{runtime, time::timeout};

use crate::{
    client::{Client, member_path},
    events::{Changed, Own, What},
    failure::Failure,
    run::Signals,
    suspicion::Why,
};
use fleet::{Fleet, Seen};
use report::{Killed, Left, Report, Timeline, Told};

/// Show how a cluster of processes on this machine notices a death and a departure
///
/// Starts real nodes on 127.0.0.1 with a fresh key, waits until each knows all others, kills one with SIGKILL, has
/// another one leave, and shows when each of the others noticed. All processes that it starts end with it.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  phin demo\n  phin demo --nodes 16 --profile lan --json")]
pub(crate) struct Args {
    /// Number of nodes
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(3..=64))]
    nodes: u8,
    /// Timings of the nodes: local, lan or wan
    #[arg(long, default_value = "local", value_parser = ["local", "lan", "wan"])]
    profile: String,
    /// Show the logs of the nodes on standard error, from this level up
    #[arg(long, value_name = "LEVEL", value_parser = ["info", "debug", "trace"])]
    log: Option<String>,
    /// Print one JSON object with the times in milliseconds, and nothing else
    #[arg(long)]
    json: bool,
}

/// Prints the progress; nothing with `--json`.
struct Narrator {
    is_silent: bool,
}

pub(crate) fn demo(args: &Args) -> Result<(), Failure> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::runtime("cannot start the runtime", &error))?;
    runtime.block_on(async {
        let mut signals = Signals::new()?;
        let mut fleet = Fleet::new(&args.profile, args.log.as_deref())?;
        let narrator = Narrator { is_silent: args.json };
        let result = tokio::select! {
            result = play(&mut fleet, args, &narrator) => result,
            signal = signals.next() => Err(Failure::Runtime(format!("ended by {signal}"))),
        };
        fleet.end().await;
        let report = result?;
        if args.json {
            let json = serde_json::to_string(&report).expect("a report is plain data");
            io::stdout().write_all(format!("{json}\n").as_bytes())?;
        } else {
            narrator.tell("\nEnded all nodes.\n")?;
        }
        Ok(())
    })
}

async fn play(fleet: &mut Fleet, args: &Args, narrator: &Narrator) -> Result<Report, Failure> {
    let nodes = args.nodes.into();
    narrator.tell(&format!(
        "Starting {nodes} nodes, all on this machine (127.0.0.1), with the timings of --profile {} …\n",
        args.profile
    ))?;
    let converged = within("all nodes know all", converge(fleet, nodes)).await?;
    let converged_ms = milliseconds(converged);
    narrator.tell(&format!("All know all, {converged_ms} ms after the start.\n\n"))?;
    narrator.tell(&report::member_table(fleet))?;
    settle(fleet, args, narrator).await?;
    let killed = within("all know of the death", kill(fleet, nodes - 1, narrator)).await?;
    let left = within("all know of the departure", leave(fleet, nodes - 2, narrator)).await?;
    Ok(Report { nodes, converged_ms, killed, left })
}

/// Starts the nodes, and returns the time until each knew every other.
async fn converge(fleet: &mut Fleet, nodes: usize) -> Result<Duration, Failure> {
    let start = Instant::now();
    fleet.start_node(None)?;
    while fleet.nodes()[0].live() == 0 {
        fleet.next().await?;
    }
    let seed = fleet.nodes()[0].addr();
    for _ in 1..nodes {
        fleet.start_node(seed)?;
    }
    while fleet.nodes().iter().any(|node| node.live() < nodes) {
        fleet.next().await?;
    }
    Ok(start.elapsed())
}

/// Lets the cluster run for a while. New links are not measured yet, so a death now would not be typical of a running
/// cluster.
async fn settle(fleet: &mut Fleet, args: &Args, narrator: &Narrator) -> Result<(), Failure> {
    let config = match args.profile.as_str() {
        "wan" => phin::Config::wan(),
        "lan" => phin::Config::lan(),
        _ => phin::Config::local(),
    };
    let settling = config.period * SETTLING_PERIODS;
    narrator.tell(&format!("\nLetting them ping each other for {settling:?}.\n"))?;
    let unasked_end = async {
        loop {
            fleet.next().await?;
        }
    };
    timeout(settling, unasked_end).await.unwrap_or(Ok(()))
}

/// Kills a node, and waits until all others know.
async fn kill(fleet: &mut Fleet, victim: usize, narrator: &Narrator) -> Result<Killed, Failure> {
    let name = fleet.nodes()[victim].name().to_owned();
    narrator.tell(&format!("\nKilling {name} with SIGKILL.\n"))?;
    let mut timeline = Timeline::start(format!("{name} is killed"));
    let mut waiting = fleet.others_than(victim);
    fleet.kill(victim)?;
    while !waiting.is_empty() {
        let Seen { node, at, what } = fleet.next().await?;
        let What::Changed(Changed { event, .. }) = what else { continue };
        let told = match event.change {
            Change::Suspect => Told::Suspects,
            Change::Dead => Told::Dead,
            Change::Alive => Told::Alive,
            _ => continue,
        };
        timeline.add(at, fleet.nodes()[node].name(), told, event.member.name.as_str());
        if told == Told::Dead && fleet.is_id_of(victim, event.member.id) {
            waiting.remove(&node);
        }
    }
    narrator.tell(&timeline.text())?;
    let first_ms = milliseconds(timeline.first(Told::Dead, &name));
    let all_ms = milliseconds(timeline.last(Told::Dead, &name));
    let verdict = format!("All know that {name} is dead, {all_ms} ms after its death.\n");
    narrator.tell(&verdict)?;
    if !narrator.is_silent {
        narrator.tell(&why(fleet, victim).await?)?;
    }
    Ok(Killed { name, first_ms, all_ms })
}

/// Asks the first node for the reason of a death.
async fn why(fleet: &mut Fleet, victim: usize) -> Result<String, Failure> {
    let client = Client::at(fleet.http().await?)?;
    let victim = &fleet.nodes()[victim];
    // By id, which is unique across restarts and members.
    let asked = victim.me().map_or_else(|| victim.name().to_owned(), |me| me.id.to_string());
    let path = member_path(&asked, "why");
    let asked = tokio::task::spawn_blocking(move || client.get::<Why>(&path)).await;
    let why = asked.map_err(|error| Failure::runtime("asking why", &error))??;
    Ok(report::reason(&why, fleet.nodes()[0].name()))
}

/// Asks a node to leave, and waits until all others know and the node has ended.
async fn leave(fleet: &mut Fleet, leaver: usize, narrator: &Narrator) -> Result<Left, Failure> {
    let name = fleet.nodes()[leaver].name().to_owned();
    narrator.tell(&format!("\nAsking {name} to leave, with SIGTERM.\n"))?;
    let mut timeline = Timeline::start(format!("{name} is asked to leave"));
    let mut waiting: BTreeSet<usize> = fleet.others_than(leaver);
    let mut departed = None;
    fleet.terminate(leaver)?;
    while !waiting.is_empty() || departed.is_none() {
        let Seen { node, at, what } = fleet.next().await?;
        match what {
            What::Changed(Changed { event, .. })
                if event.change == Change::Left
                    && fleet.is_id_of(leaver, event.member.id)
                    && waiting.remove(&node) =>
            {
                timeline.add(at, fleet.nodes()[node].name(), Told::Left, &name);
            }
            What::Own(Own::Departed(departure)) if node == leaver => departed = Some(departure),
            _ => {}
        }
    }
    fleet.wait_until_ended(leaver).await?;
    let (confirmed, asked) =
        departed.map_or((0, 0), |departed| (departed.confirmed, departed.asked));
    narrator.tell(&timeline.text())?;
    let all_ms = milliseconds(timeline.last(Told::Left, &name));
    narrator.tell(&format!(
        "All know that {name} left, {all_ms} ms after it was asked to; {confirmed} of {asked} \
         confirmed it.\n"
    ))?;
    Ok(Left { name, confirmed, all_ms })
}

async fn within<T>(
    what: &str,
    step: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let too_long = || Failure::Runtime(format!("timed out after {MAX_STEP:?}: {what}"));
    timeout(MAX_STEP, step).await.map_err(|_| too_long())?
}

impl Narrator {
    fn tell(&self, text: &str) -> Result<(), Failure> {
        if self.is_silent {
            return Ok(());
        }
        let mut stdout = io::stdout();
        Ok(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush())?)
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The protocol periods that the cluster runs before the first action.
const SETTLING_PERIODS: u32 = 8;
/// The longest that each step may take, also on a busy machine.
const MAX_STEP: Duration = Duration::from_secs(90);
