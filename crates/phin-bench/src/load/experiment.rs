//! Clusters in which members die in turn while all publish, and while nobody does.

use std::{thread, time::Duration};

use crate::{
    Detection, Launcher, LoadOptions, LoadReport, LoadRow, Machine, Network, Step, System,
    cluster::Cluster,
    machine::cores,
    progress::say,
    protocol::{Command, Counts, Medium, Reply},
    spread::{SpreadBench, pause},
    systems,
};

/// Measures all systems at all sizes, one after the other, and reports the progress on standard error.
///
/// # Errors
/// One of the systems has no messages. Failures on the way are in the report.
pub fn measure_load(
    systems: &[&'static dyn System],
    options: &LoadOptions,
    launcher: &Launcher,
    network: Network,
) -> Result<LoadReport, String> {
    let settings = systems::settings(systems, "messages", |system| system.message_settings())?;
    let mut machine = Machine::this(network.is_own());
    let spread =
        SpreadBench::new((launcher, network), &options.common, Medium::Messages, options.bytes);
    let mut bench = Bench { options, spread };
    let rows = systems::rows(systems, &options.sizes, |(system, size)| bench.row(system, size));
    machine.finish();
    let (kill, bytes) = (options.kill.as_str().to_owned(), options.bytes);
    Ok(LoadReport { command: String::new(), kill, bytes, machine, settings, rows })
}

struct Bench<'a> {
    options: &'a LoadOptions,
    spread: SpreadBench<'a>,
}

impl Bench<'_> {
    fn row(&mut self, system: &str, members: usize) -> LoadRow {
        let mut row = LoadRow { system: system.to_owned(), members, ..LoadRow::default() };
        if let Err(failure) = self.measure(&mut row) {
            say(system, members, &format!("failed: {failure}"));
            row.failure = Some(failure);
        }
        row
    }

    fn measure(&mut self, row: &mut LoadRow) -> Result<(), String> {
        let at_once = (row.members / 8).clamp(1, 8);
        let survivors = row.members - at_once;
        let mut cluster = self.spread.start(&row.system, survivors, row.members)?;
        let (mut killed, all) = (0, 2 * self.options.kills);
        while killed < all {
            cluster.add_victims(&mut self.spread.lab, at_once)?;
            self.spread.complete(&mut cluster, row.members)?;
            cluster.follow_with_victims(at_once)?;
            thread::sleep(self.options.common.settle);
            if killed == 0 {
                self.find_rate(&mut cluster, row)?;
            }
            for _ in 0..at_once.min(all - killed) {
                self.death(&mut cluster, row, killed % 2 == 0)?;
                killed += 1;
                say(&row.system, row.members, &format!("death {killed} of {all}"));
            }
        }
        row.false_deaths += cluster.survivors.false_deaths()?;
        Ok(())
    }

    /// Finds the highest rate at which the nodes do not use too much of the machine, supposing that each message needs as much.
    fn find_rate(&self, cluster: &mut Cluster, row: &mut LoadRow) -> Result<(), String> {
        if let Some(rate) = self.options.rate {
            row.rate = rate;
            row.steps = vec![self.step(cluster, row, rate)?];
            return Ok(());
        }
        let allowed = f64::from(self.options.cpu) / 100.0;
        let idle = self.step(cluster, row, 0.0)?;
        row.steps.push(idle);
        let mut rate = FIRST_RATE;
        for _ in 0..MAX_STEPS {
            let step = self.step(cluster, row, rate)?;
            row.steps.push(step);
            let is_allowed = step.cpu <= allowed;
            if is_allowed && rate > row.rate {
                row.rate = rate;
            }
            if is_allowed && (step.cpu > allowed - TOLERANCE || rate >= LIMIT) {
                break;
            }
            let for_each = ((step.cpu - idle.cpu) / rate).max(f64::EPSILON);
            rate =
                ((allowed - TOLERANCE / 2.0 - idle.cpu) / for_each).clamp(rate / 4.0, rate * 4.0);
            rate = rate.min(LIMIT);
        }
        match row.rate > 0.0 {
            true => Ok(()),
            false => Err("the nodes use too much of the machine without any load".to_owned()),
        }
    }

    /// Has all nodes publish so much for a while.
    fn step(&self, cluster: &mut Cluster, row: &LoadRow, rate: f64) -> Result<Step, String> {
        let before = cluster.messages()?;
        cluster.publish(rate, self.options.bytes.into())?;
        // The first messages of all publishers go to more members than the later ones.
        thread::sleep(WARM_UP);
        let (published, cpu) = self.watch(cluster, || thread::sleep(STEP))?;
        cluster.publish(0.0, 0)?;
        thread::sleep(WARM_UP);
        let end = cluster.messages()?;
        let sent = (end.sent - before.sent) as f64;
        let delivered = (end.received - before.received) as f64 / row.members as f64;
        let step = Step {
            rate,
            published,
            refused: end.refused - before.refused,
            delivered: if sent > 0.0 { delivered / sent } else { 1.0 },
            cpu,
        };
        say(&row.system, row.members, &format!("{step:?}"));
        Ok(step)
    }

    /// Kills a member, while all publish or while nobody does.
    fn death(
        &self,
        cluster: &mut Cluster,
        row: &mut LoadRow,
        is_loaded: bool,
    ) -> Result<(), String> {
        let rate = if is_loaded { row.rate } else { 0.0 };
        cluster.publish(rate, self.options.bytes.into())?;
        // The victim's messages and time are known only while it lives.
        let (published, cpu) = self.watch(cluster, || thread::sleep(WARM_UP))?;
        pause();
        let (kill, patience) = (self.options.kill, self.options.common.patience);
        let death = cluster.bereave(&self.spread.lab, kill, patience)?;
        cluster.publish(0.0, 0)?;
        row.false_deaths += death.false_deaths;
        let detection = if is_loaded { &mut row.loaded } else { &mut row.idle };
        detection.first_ms.extend(death.known_ms.first());
        match death.known_ms.len() == death.witnesses {
            true => detection.all_ms.extend(death.known_ms.last()),
            false => detection.unnoticed += 1,
        }
        detection.cpu.push(cpu);
        detection.published.push(published);
        Ok(())
    }

    /// Returns how many messages a second each node published meanwhile, and the share of all cores that the nodes used.
    fn watch(&self, cluster: &mut Cluster, meanwhile: impl FnOnce()) -> Result<(f64, f64), String> {
        let nodes = cluster.nodes_present() as f64;
        let (before, sent) = (self.spread.reading(cluster), cluster.messages()?.sent);
        meanwhile();
        let cost = self.spread.reading(cluster).since(&before, 1);
        let sent = cluster.messages()?.sent - sent;
        let cpu = cost.cpu_ms_per_second / 1e3 / cores() as f64;
        Ok((sent as f64 / cost.seconds / nodes, cpu))
    }
}

impl Detection {
    /// The mean of what was measured at each death.
    pub(crate) fn mean(values: &[f64]) -> f64 {
        values.iter().sum::<f64>() / values.len() as f64
    }
}

impl Cluster {
    /// Has all nodes publish so many messages of so many bytes a second each, from now on.
    fn publish(&mut self, rate: f64, bytes: usize) -> Result<(), String> {
        for reply in self.ask_all(&Command::Publish { rate, bytes })? {
            let Reply::Publishing = reply else { return Err(format!("unexpected: {reply:?}")) };
        }
        Ok(())
    }

    /// How many messages all nodes published and received.
    fn messages(&mut self) -> Result<Counts, String> {
        let mut all = Counts::default();
        for reply in self.ask_all(&Command::Messages)? {
            let Reply::Messages(counts) = reply else {
                return Err(format!("unexpected: {reply:?}"));
            };
            all.sent += counts.sent;
            all.refused += counts.refused;
            all.received += counts.received;
        }
        Ok(all)
    }
}

/// How long messages flow before anything is measured, and how long those on the way are waited for.
const WARM_UP: Duration = Duration::from_secs(2);
/// How long the effect of a rate is measured.
const STEP: Duration = Duration::from_secs(5);
/// The most rates that are tried.
const MAX_STEPS: usize = 6;
/// The first rate that is tried, in messages a second of each node.
const FIRST_RATE: f64 = 1.0;
/// How many messages a second a node may publish by default.
const LIMIT: f64 = 256.0;
/// How much less than allowed nodes may use, as a share of all cores.
const TOLERANCE: f64 = 0.06;
