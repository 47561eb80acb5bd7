//! Clusters whose members write: first all of them, then nobody, then one at a time, then all at intervals.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::{
    DataOptions, DataReport, DataRow, Launcher, Machine, Network, Spread, System,
    cluster::Cluster,
    machine::{millis_between, resident_kib},
    progress::say,
    protocol::Medium,
    spread::{SpreadBench, schedule, sleep_until},
    systems,
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
    let settings = systems::settings(systems, "member data", |system| system.data_settings())?;
    let mut machine = Machine::this(network.is_own());
    let spread =
        SpreadBench::new((launcher, network), &options.common, Medium::Data, options.bytes);
    let mut bench = Bench { options, spread };
    let rows = systems::rows(systems, &options.sizes, |(system, size)| bench.row(system, size));
    machine.finish();
    let (bytes, every) = (options.bytes, options.every.as_secs_f64());
    Ok(DataReport { command: String::new(), bytes, every, machine, settings, rows })
}

struct Bench<'a> {
    options: &'a DataOptions,
    spread: SpreadBench<'a>,
}

impl Bench<'_> {
    fn row(&mut self, system: &str, members: usize) -> DataRow {
        let mut row = DataRow { system: system.to_owned(), members, ..DataRow::default() };
        if let Err(failure) = self.measure(&mut row) {
            say(system, members, &format!("failed: {failure}"));
            row.failure = Some(failure);
        }
        row
    }

    fn measure(&mut self, row: &mut DataRow) -> Result<(), String> {
        let (system, members) = (&*row.system.clone(), row.members);
        let mut cluster = self.spread.start(system, members, members)?;
        row.first_values_ms = Some(self.write_first_values(&mut cluster, members)?);
        say(system, members, "all know the first values");
        thread::sleep(self.options.common.settle);
        row.idle = Some(self.spread.idle(&cluster, members));
        say(system, members, "its cost without changes is known");
        let (single, _) =
            self.spread.one_at_a_time(&mut cluster, (system, members), self.options.changes)?;
        row.single = Some(single);
        if self.options.load > Duration::ZERO {
            row.loaded = Some(self.load(&mut cluster, members)?);
            say(system, members, "its cost while all write is known");
        }
        row.false_deaths = cluster.survivors.false_deaths()?;
        row.resident_kib = Some(resident_kib(&cluster.processes()) / members as f64);
        Ok(())
    }

    /// Has each member write for the first time. Returns how long it took until all knew all.
    fn write_first_values(&self, cluster: &mut Cluster, members: usize) -> Result<f64, String> {
        (0..members).try_for_each(|node| self.spread.write(cluster, node))?;
        let (changes, _) = self.spread.spread(cluster)?;
        if !changes.iter().all(|change| change.known.len() == members) {
            let patience = self.options.common.patience;
            return Err(format!("not all values were known to all in {patience:?}"));
        }
        let first = changes.iter().map(|change| change.written).min();
        let last = changes.iter().flat_map(|change| &change.known).max();
        Ok(first.zip(last).map_or(0.0, |(first, &last)| millis_between(first, last)))
    }

    /// Has all members write at intervals. The first interval is not measured: the system is then at its usual load.
    fn load(&self, cluster: &mut Cluster, members: usize) -> Result<Spread, String> {
        let every = self.options.every;
        let rounds = self.options.load.as_nanos().div_ceil(every.as_nanos());
        let rounds = u32::try_from(rounds).map_err(|_| "nobody can write that often".to_owned())?;
        let writes = schedule(members, every, rounds + 1);
        let (first, measured) = writes.split_at(members);
        let began = Instant::now();
        self.write_all(cluster, began, first)?;
        sleep_until(began + every);
        let before = self.spread.reading(cluster);
        self.write_all(cluster, began, measured)?;
        sleep_until(began + every * (rounds + 1));
        let cost = self.spread.reading(cluster).since(&before, members);
        let (changes, _) = self.spread.spread(cluster)?;
        let mut spread = Spread { cost, ..Spread::default() };
        changes[first.len()..].iter().for_each(|change| spread.add(change, members));
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
            self.spread.write(cluster, node)?;
        }
        Ok(())
    }
}
