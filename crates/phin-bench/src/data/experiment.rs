//! Clusters whose members write: first all of them, then nobody, then one at a time, then all at intervals.

use std::{
    io::{self, Write},
    thread,
    time::{Duration, Instant},
};

use rand::{RngExt, distr::Alphanumeric};

use crate::{
    Cost, DataOptions, DataReport, DataRow, Launcher, Machine, Network, Spread, System,
    children::Child,
    cluster::{Cluster, Laboratory},
    cost::Reading,
    machine::{millis_between, resident_kib},
    protocol::{Change, Command, Reply},
};

/// Measures the member data of all systems at all sizes, one after the other, and reports the progress on standard error.
///
/// # Errors
/// One of the systems has no member data. Failures on the way are in the report.
pub fn measure_data(
    systems: &[&'static dyn System],
    options: &DataOptions,
    launcher: &Launcher,
    network: Network,
) -> Result<DataReport, String> {
    let settings = |system: &&'static dyn System| {
        let (name, of_data) = (system.name(), system.data_settings());
        let of_data = of_data.ok_or_else(|| format!("{name} has no member data"))?;
        Ok((name.to_owned(), format!("{}; {of_data}", system.settings())))
    };
    let settings = systems.iter().map(settings).collect::<Result<_, String>>()?;
    let mut machine = Machine::this(network.is_own());
    let mut bench = Bench { options, lab: Laboratory { launcher, network } };
    let mut rows = Vec::new();
    for system in systems {
        for &size in &options.sizes {
            rows.push(bench.row(system.name(), size.into()));
        }
    }
    machine.finish();
    let (bytes, every) = (options.bytes, options.every.as_secs_f64());
    Ok(DataReport { command: String::new(), bytes, every, machine, settings, rows })
}

struct Bench<'a> {
    options: &'a DataOptions,
    lab: Laboratory<'a>,
}

impl Bench<'_> {
    fn row(&mut self, system: &str, members: usize) -> DataRow {
        let mut row = DataRow { system: system.to_owned(), members, ..DataRow::default() };
        if let Err(failure) = self.measure(&mut row) {
            self.say(&row, &format!("failed: {failure}"));
            row.failure = Some(failure);
        }
        row
    }

    fn measure(&mut self, row: &mut DataRow) -> Result<(), String> {
        let mut cluster = self.start(row)?;
        row.first_values_ms = Some(self.write_first_values(&mut cluster, row)?);
        self.say(row, "all know the first values");
        thread::sleep(self.options.common.settle);
        row.idle = Some(self.idle(&cluster, row));
        self.say(row, "its cost without changes is known");
        row.single = Some(self.change_one_at_a_time(&mut cluster, row)?);
        if self.options.load > Duration::ZERO {
            row.loaded = Some(self.load(&mut cluster, row)?);
            self.say(row, "its cost while all write is known");
        }
        row.false_deaths = cluster.survivors.false_deaths()?;
        row.resident_kib = Some(resident_kib(&cluster.processes()) / row.members as f64);
        Ok(())
    }

    /// Starts the nodes one after the other at random moments: nodes that start at once would be in step with each other
    /// ever after, in systems that have a period.
    fn start(&mut self, row: &DataRow) -> Result<Cluster, String> {
        let mut cluster = Cluster::start(&mut self.lab, &row.system, 1, row.members)?;
        for _ in 1..row.members {
            thread::sleep(rand::rng().random_range(Duration::ZERO..MAX_PAUSE / 4));
            cluster.add(&mut self.lab)?;
        }
        let patience = self.options.common.patience;
        let complete = cluster.complete(row.members, patience)?;
        complete.ok_or_else(|| format!("not all lists were complete in {patience:?}"))?;
        cluster.survivors.follow()?;
        Ok(cluster)
    }

    /// Has each member write for the first time. Returns how long it took until all knew all.
    fn write_first_values(&self, cluster: &mut Cluster, row: &DataRow) -> Result<f64, String> {
        for node in 0..row.members {
            cluster.survivors.write(node, self.value())?;
        }
        let patience = self.options.common.patience;
        let changes = cluster.survivors.spread(patience)?;
        if !changes.iter().all(|change| change.known.len() == row.members) {
            return Err(format!("not all values were known to all in {patience:?}"));
        }
        let first = changes.iter().map(|change| change.written).min();
        let last = changes.iter().flat_map(|change| &change.known).max();
        Ok(first.zip(last).map_or(0.0, |(first, &last)| millis_between(first, last)))
    }

    fn idle(&self, cluster: &Cluster, row: &DataRow) -> Cost {
        let before = self.reading(cluster);
        thread::sleep(self.options.common.idle);
        self.reading(cluster).since(&before, row.members)
    }

    /// Has random members write at random moments, each after the change before is known to all.
    fn change_one_at_a_time(&self, cluster: &mut Cluster, row: &DataRow) -> Result<Spread, String> {
        let mut spread = Spread::default();
        let before = self.reading(cluster);
        for number in 1..=self.options.changes {
            thread::sleep(rand::rng().random_range(Duration::ZERO..MAX_PAUSE));
            cluster.survivors.write(rand::rng().random_range(0..row.members), self.value())?;
            for change in cluster.survivors.spread(self.options.common.patience)? {
                spread.add(&change, row.members);
            }
            self.say(row, &format!("change {number} of {}", self.options.changes));
        }
        // Traffic after the last change counts, too, such as acknowledgements.
        thread::sleep(MAX_PAUSE);
        spread.cost = self.reading(cluster).since(&before, row.members);
        Ok(spread)
    }

    /// Has all members write at intervals. The first interval is not measured: the system is then at its usual load.
    fn load(&self, cluster: &mut Cluster, row: &DataRow) -> Result<Spread, String> {
        let every = self.options.every;
        let rounds = self.options.load.as_nanos().div_ceil(every.as_nanos());
        let rounds = u32::try_from(rounds).map_err(|_| "nobody can write that often".to_owned())?;
        let writes = schedule(row.members, every, rounds + 1);
        let (first, measured) = writes.split_at(row.members);
        let began = Instant::now();
        self.write_all(cluster, began, first)?;
        sleep_until(began + every);
        let before = self.reading(cluster);
        self.write_all(cluster, began, measured)?;
        sleep_until(began + every * (rounds + 1));
        let cost = self.reading(cluster).since(&before, row.members);
        let changes = cluster.survivors.spread(self.options.common.patience)?;
        let mut spread = Spread { cost, ..Spread::default() };
        changes[first.len()..].iter().for_each(|change| spread.add(change, row.members));
        Ok(spread)
    }

    fn write_all(
        &self,
        cluster: &mut Cluster,
        began: Instant,
        writes: &[(Duration, usize)],
    ) -> Result<(), String> {
        for &(due, node) in writes {
            sleep_until(began + due);
            cluster.survivors.write(node, self.value())?;
        }
        Ok(())
    }

    /// A random value: letters and digits.
    fn value(&self) -> String {
        let letters = rand::rng().sample_iter(Alphanumeric).map(char::from);
        letters.take(self.options.bytes.into()).collect()
    }

    fn reading(&self, cluster: &Cluster) -> Reading {
        Reading::now(&self.lab.network, &cluster.processes())
    }

    fn say(&self, row: &DataRow, what: &str) {
        let line = format!("{} with {} members: {what}\n", row.system, row.members);
        // With standard error closed there is nobody to tell.
        let _ = io::stderr().write_all(line.as_bytes());
    }
}

/// When which node writes: each at a random moment of the interval, the same in every round.
fn schedule(nodes: usize, every: Duration, rounds: u32) -> Vec<(Duration, usize)> {
    let moment = |_| rand::rng().random_range(Duration::ZERO..every);
    let moments: Vec<Duration> = (0..nodes).map(moment).collect();
    let of_round = |round| moments.iter().map(move |&moment| every * round + moment).zip(0..);
    let mut writes: Vec<_> = (0..rounds).flat_map(of_round).collect();
    writes.sort_unstable();
    writes
}

fn sleep_until(moment: Instant) {
    thread::sleep(moment.saturating_duration_since(Instant::now()));
}

impl Child {
    /// Has its nodes report the data that they know.
    fn follow(&mut self) -> Result<(), String> {
        match self.ask(&Command::Follow)? {
            Reply::Following => Ok(()),
            reply => Err(format!("unexpected: {reply:?}")),
        }
    }

    /// Has one of its nodes write.
    fn write(&mut self, node: usize, value: String) -> Result<(), String> {
        match self.ask(&Command::Write { node, value })? {
            Reply::Written => Ok(()),
            reply => Err(format!("unexpected: {reply:?}")),
        }
    }

    /// Waits until its nodes know all that was written since the last call.
    fn spread(&mut self, within: Duration) -> Result<Vec<Change>, String> {
        match self.ask(&Command::Spread { within })? {
            Reply::Spread { changes } => Ok(changes),
            reply => Err(format!("unexpected: {reply:?}")),
        }
    }
}

/// The longest pause between two changes: a period of most systems.
const MAX_PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_node_writes_once_in_every_round() {
        let every = Duration::from_secs(5);
        let writes = schedule(7, every, 3);
        assert!(writes.is_sorted());
        for (round, writes) in (0..).zip(writes.chunks(7)) {
            let interval = every * round..every * (round + 1);
            assert!(writes.iter().all(|(due, _)| interval.contains(due)), "{writes:?}");
            let mut nodes: Vec<_> = writes.iter().map(|(_, node)| *node).collect();
            nodes.sort_unstable();
            assert_eq!(nodes, (0..7).collect::<Vec<_>>());
        }
    }
}
