//! Clusters in which some members publish while packets are lost.

use std::{thread, time::Instant};

use crate::{
    Launcher, LossOptions, LossReport, LossRow, Machine, Network, System,
    document::quantile,
    machine::millis_between,
    progress::say,
    protocol::Medium,
    spread::{SpreadBench, schedule, sleep_until},
    systems,
};

/// Measures all systems at all sizes, one after the other, and reports the progress on standard error.
///
/// # Errors
/// One of the systems has no messages, or no packets can be lost on this machine. Failures on the way are in the report.
pub fn measure_loss(
    systems: &[&'static dyn System],
    options: &LossOptions,
    launcher: &Launcher,
    network: Network,
) -> Result<LossReport, String> {
    if let Network::Shared { reason } = &network {
        return Err(format!("no packets can be lost without a network of its own: {reason}"));
    }
    let settings = systems::settings(systems, "messages", |system| system.message_settings())?;
    let mut machine = Machine::this(network.is_own());
    let spread =
        SpreadBench::new((launcher, network), &options.common, Medium::Messages, options.bytes);
    let mut bench = Bench { options, spread };
    let rows = systems::rows(systems, &options.sizes, |(system, size)| bench.row(system, size));
    machine.finish();
    let LossOptions { percent, publishers, messages, bytes, .. } = *options;
    let every = options.every.as_secs_f64();
    let command = String::new();
    Ok(LossReport { command, percent, publishers, messages, every, bytes, machine, settings, rows })
}

struct Bench<'a> {
    options: &'a LossOptions,
    spread: SpreadBench<'a>,
}

impl Bench<'_> {
    fn row(&mut self, system: &str, members: usize) -> LossRow {
        let mut row = LossRow { system: system.to_owned(), members, ..LossRow::default() };
        if let Err(failure) = self.measure(&mut row) {
            say(system, members, &format!("failed: {failure}"));
            // An error means that packets were not lost yet.
            let _ = self.spread.lab.network.heal();
            row.failure = Some(failure);
        }
        row
    }

    fn measure(&mut self, row: &mut LossRow) -> Result<(), String> {
        let members = row.members;
        let mut cluster = self.spread.start(&row.system, members, members)?;
        thread::sleep(self.options.common.settle);
        let network = &self.spread.lab.network;
        network.lose(self.options.percent).map_err(|error| error.to_string())?;
        say(&row.system, members, "packets are lost");
        // By then all links have lost some.
        thread::sleep(self.options.common.settle);
        let before = self.spread.reading(&cluster);
        let publishers = self.options.publishers.min(members);
        let began = Instant::now();
        for (due, node) in schedule(publishers, self.options.every, self.options.messages) {
            sleep_until(began + due);
            self.spread.write(&mut cluster, node)?;
        }
        say(&row.system, members, "all is published");
        let (changes, faults) = self.spread.spread(&mut cluster)?;
        row.spread.cost = self.spread.reading(&cluster).since(&before, members);
        row.lost = network.heal().map_err(|error| error.to_string())?;
        row.faults = faults;
        let mut deliveries = Vec::new();
        for change in &changes {
            row.spread.add(change, members);
            row.missing += members - change.known.len();
            deliveries.extend(change.known.iter().map(|&at| millis_between(change.written, at)));
        }
        row.deliveries_ms = SHARES.map(|share| quantile(&deliveries, share)).to_vec();
        row.false_deaths = cluster.survivors.false_deaths()?;
        Ok(())
    }
}

/// The quantiles of deliveries that are reported.
const SHARES: [f64; 5] = [0.5, 0.9, 0.99, 0.999, 1.0];
