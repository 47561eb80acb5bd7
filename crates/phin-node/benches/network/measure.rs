//! The trials, and their table.

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, SystemTime},
};

use phin_report::Samples;
use rustix::process::Signal;
use serde_json::Value;

use crate::{
    cluster::{Cluster, Mark},
    lan::Family,
    node::moment,
};

/// A fault of a member.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Fate {
    /// Its host's packets are dropped, both ways.
    Silent,
    /// Its process is killed.
    Killed,
    /// Its process is killed as another member leaves.
    KilledAmidNews,
    /// Its process is stopped, and killed when all suspect it.
    KilledWhileStopped,
    /// Its process is stopped for [`PAUSE`].
    Stopped,
}

/// One row of the table.
struct Row {
    size: usize,
    profile: &'static str,
    what: &'static str,
    trials: Vec<Trial>,
}

/// The result of one fault, from the events of all other members.
struct Trial {
    /// The times until each of them knew, in order.
    known_after: Vec<Duration>,
    /// The kinds of silence that they reported, and how many reported each.
    silences: BTreeMap<String, usize>,
    /// Reported deaths of members that had not died.
    false_deaths: usize,
}

pub(crate) fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let value_of = |flag: &str, default: &str| {
        let at = arguments.iter().position(|argument| argument == flag);
        at.map_or(default.to_owned(), |at| arguments[at + 1].clone())
    };
    let sizes = value_of("--sizes", "8,16,32");
    let sizes: Vec<usize> = sizes.split(',').map(|size| size.parse().unwrap()).collect();
    let trials = value_of("--trials", "20").parse().unwrap();
    println!("{HEAD}");
    for size in sizes {
        for profile in ["lan", "local"] {
            // A member dies more often here than flap suppression allows.
            let arguments = ["--profile", profile, "--flap-suppress", "off"];
            let Some(mut cluster) = Cluster::start(Family::V4, size, &arguments) else {
                return;
            };
            let row = |what, trials| println!("{}", Row { size, profile, what, trials }.markdown());
            let deaths =
                [Fate::Silent, Fate::Killed, Fate::KilledAmidNews, Fate::KilledWhileStopped];
            for fate in deaths {
                row(
                    fate.as_str(),
                    (0..trials).map(|trial| fate.befalls(&mut cluster, trial)).collect(),
                );
            }
            if profile == "lan" {
                // Each split takes long, and gives as many samples as many deaths.
                let splits = (0..trials).step_by(4).map(|_| split(&cluster)).collect();
                row("split for 15 s: whole again", splits);
                let fate = Fate::Stopped;
                row(
                    fate.as_str(),
                    (0..trials).map(|trial| fate.befalls(&mut cluster, trial)).collect(),
                );
            }
        }
    }
}

impl Fate {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Silent => "host silent",
            Self::Killed => "process killed",
            Self::KilledAmidNews => "process killed as another leaves",
            Self::KilledWhileStopped => "process killed while stopped",
            Self::Stopped => "stopped for 5 s: suspect",
        }
    }

    /// Applies the fault to one member after the other, never to the first, and repairs it.
    fn befalls(self, cluster: &mut Cluster, trial: usize) -> Trial {
        let size = cluster.lan.hosts().count();
        let subject = 2 + trial % (size - 1);
        let leaver = (self == Self::KilledAmidNews).then(|| 2 + (trial + 1) % (size - 1));
        let others = match leaver {
            Some(leaver) => cluster.all_but(&[subject, leaver]),
            None => cluster.all_but(&[subject]),
        };
        // Spread the faults evenly over a period, and let the cluster settle after the previous one.
        thread::sleep(Duration::from_secs(3) + Duration::from_millis(97 * trial as u64 % 1_000));
        let (mark, mut at) = (cluster.mark(), SystemTime::now());
        let known = match self {
            Self::Silent => {
                cluster.lan.split(&[subject]);
                cluster.await_event(&others, "dead", subject, &mark)
            }
            Self::Killed | Self::KilledAmidNews => {
                cluster.node_mut(subject).kill();
                leaver.iter().for_each(|&leaver| cluster.node(leaver).signal(Signal::TERM));
                cluster.await_event(&others, "dead", subject, &mark)
            }
            Self::KilledWhileStopped => {
                cluster.node(subject).signal(Signal::STOP);
                cluster.await_event(&others, "suspect", subject, &mark);
                at = SystemTime::now();
                cluster.node_mut(subject).kill();
                cluster.await_event(&others, "dead", subject, &mark)
            }
            Self::Stopped => {
                cluster.node(subject).signal(Signal::STOP);
                let known = cluster.await_event(&others, "suspect", subject, &mark);
                thread::sleep(PAUSE.saturating_sub(at.elapsed().unwrap()));
                known
            }
        };
        let mut false_deaths = count_deaths(cluster, &others, &others, &mark);
        if self == Self::Stopped {
            cluster.node(subject).signal(Signal::CONT);
            cluster.await_event(&others, "alive", subject, &mark);
            false_deaths += count_deaths(cluster, &others, &[subject], &mark);
        }
        let healed = cluster.mark();
        match self {
            Self::Silent => {
                cluster.lan.heal();
                cluster.await_event(&others, "alive", subject, &healed);
            }
            Self::Killed | Self::KilledAmidNews | Self::KilledWhileStopped => {
                for anew in [Some(subject), leaver].into_iter().flatten() {
                    cluster.restart(anew);
                    cluster.await_event(&others, "joined", anew, &healed);
                }
            }
            Self::Stopped => {}
        }
        Trial::of(&known, at, false_deaths)
    }
}

/// Splits the cluster into two halves and heals it. Measures from then until each member has reported all members of
/// the other side as alive.
fn split(cluster: &Cluster) -> Trial {
    let all = cluster.all_but(&[]);
    let (one, other) = all.split_at(all.len() / 2);
    let mark = cluster.mark();
    cluster.lan.split(one);
    thread::sleep(SPLIT);
    let mut false_deaths =
        count_deaths(cluster, one, one, &mark) + count_deaths(cluster, other, other, &mark);
    let (healed, at) = (cluster.mark(), SystemTime::now());
    cluster.lan.heal();
    let mut known = Vec::new();
    for (by, of) in [(one, other), (other, one)] {
        for &subject in of {
            known.extend(cluster.await_event(by, "alive", subject, &healed));
        }
    }
    false_deaths += count_deaths(cluster, &all, &all, &healed);
    Trial::of(&known, at, false_deaths)
}

impl Trial {
    fn of(known: &[Value], at: SystemTime, false_deaths: usize) -> Self {
        let mut known_after: Vec<_> =
            known.iter().map(|event| moment(event).duration_since(at).unwrap()).collect();
        known_after.sort_unstable();
        let mut silences = BTreeMap::new();
        for event in known {
            let told = event["silence"].as_str().or(event["event"].as_str()).unwrap_or("?");
            *silences.entry(told.to_owned()).or_default() += 1;
        }
        Self { known_after, silences, false_deaths }
    }
}

fn count_deaths(cluster: &Cluster, by: &[usize], of: &[usize], since: &Mark) -> usize {
    let names: Vec<String> = of.iter().map(|number| format!("n{number}")).collect();
    let is_counted = |(event, name): &&(String, String)| event == "dead" && names.contains(name);
    by.iter().map(|&number| cluster.told(number, since).iter().filter(is_counted).count()).sum()
}

impl Row {
    fn markdown(&self) -> String {
        let Self { size, profile, what, trials } = self;
        let of = |pick: fn(&Trial) -> Duration| Samples::of_millis(trials.iter().map(pick));
        let first = of(|trial| trial.known_after[0]);
        let all = of(|trial| trial.known_after[trial.known_after.len() - 1]);
        let spread =
            of(|trial| trial.known_after[trial.known_after.len() - 1] - trial.known_after[0]);
        let false_deaths: usize = trials.iter().map(|trial| trial.false_deaths).sum();
        let mut silences = BTreeMap::<_, usize>::new();
        for (silence, count) in trials.iter().flat_map(|trial| &trial.silences) {
            *silences.entry(silence.as_str()).or_default() += count;
        }
        let silences: Vec<_> =
            silences.iter().map(|(silence, count)| format!("{count} {silence}")).collect();
        let cells = [
            size.to_string(),
            (*profile).to_owned(),
            (*what).to_owned(),
            trials.len().to_string(),
            millis(first.quantile(0.5)),
            millis(all.quantile(0.5)),
            millis(all.quantile(0.99)),
            millis(spread.quantile(0.5)),
            millis(spread.max()),
            silences.join(", "),
            false_deaths.to_string(),
        ];
        format!("| {} |", cells.join(" | "))
    }
}

fn millis(value: f64) -> String {
    format!("{value:.0} ms")
}

const PAUSE: Duration = Duration::from_secs(5);
const SPLIT: Duration = Duration::from_secs(15);
const HEAD: &str = "\
| members | profile | what happened | trials | first knows, median | all know, median | all know, p99 | from first to all, median | from first to all, max | told as | false deaths |
| ---: | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | --- | ---: |";
