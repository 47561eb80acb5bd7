//! The trials, and their table.

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, SystemTime},
};

use phin_report::Samples;
use rustix::process::Signal;

use crate::{
    cluster::{Cluster, Mark},
    lan::Family,
    node::moment,
};

/// What is done to a member.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Fate {
    /// Its host's packets are dropped, both ways.
    Silent,
    /// Its process is killed.
    Killed,
    /// Its process is stopped for [`PAUSE`].
    Stopped,
}

/// One row of the table to be.
struct Row {
    size: usize,
    profile: &'static str,
    fate: Fate,
    trials: Vec<Trial>,
}

/// What became of one member, as all others told it.
struct Trial {
    /// Until each of them knew, in order.
    known_after: Vec<Duration>,
    /// Which silences they told, and how many of them.
    silences: BTreeMap<String, usize>,
    /// Deaths told of anybody who had not died.
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
        for (profile, fates) in [
            ("lan", &[Fate::Silent, Fate::Killed, Fate::Stopped][..]),
            ("local", &[Fate::Silent, Fate::Killed]),
        ] {
            let Some(mut cluster) = Cluster::start(Family::V4, size, &["--profile", profile])
            else {
                return;
            };
            for &fate in fates {
                let trials = (0..trials).map(|trial| fate.befalls(&mut cluster, trial)).collect();
                println!("{}", Row { size, profile, fate, trials }.markdown());
            }
        }
    }
}

impl Fate {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Silent => "host silent",
            Self::Killed => "process killed",
            Self::Stopped => "stopped for 5 s",
        }
    }

    /// Does it to one member after the other, never to the first, and mends it.
    fn befalls(self, cluster: &mut Cluster, trial: usize) -> Trial {
        let size = cluster.lan.hosts().count();
        let subject = 2 + trial % (size - 1);
        let others = cluster.all_but(&[subject]);
        // The moments of a period at which it happens are spread evenly; and what was mended before is at rest.
        thread::sleep(Duration::from_secs(3) + Duration::from_millis(97 * trial as u64 % 1_000));
        let (mark, at) = (cluster.mark(), SystemTime::now());
        let known = match self {
            Self::Silent => {
                cluster.lan.split(&[subject]);
                cluster.await_event(&others, "dead", subject, &mark)
            }
            Self::Killed => {
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
            Self::Killed => {
                cluster.restart(subject);
                cluster.await_event(&others, "joined", subject, &healed);
            }
            Self::Stopped => {}
        }
        let mut known_after: Vec<_> =
            known.iter().map(|event| moment(event).duration_since(at).unwrap()).collect();
        known_after.sort_unstable();
        let mut silences = BTreeMap::new();
        for event in &known {
            let silence = event["silence"].as_str().unwrap_or("?");
            *silences.entry(silence.to_owned()).or_default() += 1;
        }
        Trial { known_after, silences, false_deaths }
    }
}

fn count_deaths(cluster: &Cluster, by: &[usize], of: &[usize], since: &Mark) -> usize {
    let names: Vec<String> = of.iter().map(|number| format!("n{number}")).collect();
    let is_counted = |(event, name): &&(String, String)| event == "dead" && names.contains(name);
    by.iter().map(|&number| cluster.told(number, since).iter().filter(is_counted).count()).sum()
}

impl Row {
    fn markdown(&self) -> String {
        let Self { size, profile, fate, trials } = self;
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
            profile.to_string(),
            fate.as_str().to_owned(),
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
const HEAD: &str = "\
| members | profile | what happened | trials | first knows, median | all know, median | all know, p99 | from first to all, median | from first to all, max | told as | false deaths |
| ---: | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | --- | ---: |";
