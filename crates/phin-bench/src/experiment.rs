//! Clusters that are started, watched while nothing happens, and bereaved.

use std::{thread, time::Duration};

use rand::RngExt;

use crate::{
    Idle, Kill, Launcher, Machine, Network, Options, Report, Row, System,
    cluster::{Cluster, Laboratory},
    cost::Reading,
    machine::{millis_between, resident_kib},
    progress::say,
    systems,
};

/// Measures all systems at all sizes, one after the other, and tells on standard error how far it is.
///
/// # Errors
/// If the request cannot be measured on this machine. The report has failures on the way.
pub fn measure(
    systems: &[&'static dyn System],
    options: &Options,
    launcher: &Launcher,
    network: Network,
) -> Result<Report, String> {
    if let (Kill::Silent, Network::Shared { reason }) = (options.kill, &network) {
        return Err(format!("no host can be made silent without a network of its own: {reason}"));
    }
    let mut machine = Machine::this(network.is_own());
    let mut bench = Bench { options, lab: Laboratory { launcher, network } };
    let rows = systems::rows(systems, &options.sizes, |(system, size)| bench.row(system, size));
    machine.finish();
    let settings = |system: &&'static dyn System| (system.name().to_owned(), system.settings());
    let settings = systems.iter().map(settings).collect();
    Ok(Report {
        command: String::new(),
        kill: options.kill.as_str().to_owned(),
        busy: options.busy,
        machine,
        settings,
        rows,
        simulated: options.simulated.clone(),
    })
}

struct Bench<'a> {
    options: &'a Options,
    lab: Laboratory<'a>,
}

impl Bench<'_> {
    fn row(&mut self, system: &str, members: usize) -> Row {
        let mut row = Row { system: system.to_owned(), members, ..Row::default() };
        let measured = self.bootstraps(&mut row).and_then(|()| self.deaths(&mut row));
        if let Err(failure) = measured {
            say(&row.system, row.members, &format!("failed: {failure}"));
            row.failure = Some(failure);
        }
        row
    }

    /// Starts clusters, and times how long each takes until all know all.
    fn bootstraps(&mut self, row: &mut Row) -> Result<(), String> {
        for number in 1..=self.options.bootstraps {
            let mut cluster = Cluster::start(&mut self.lab, &row.system, row.members, row.members)?;
            match cluster.complete(row.members, self.options.common.patience)? {
                Some(at) => row.bootstrap_ms.push(millis_between(cluster.began, at)),
                None => row.incomplete += 1,
            }
            say(
                &row.system,
                row.members,
                &format!("start {number} of {}", self.options.bootstraps),
            );
        }
        Ok(())
    }

    /// Watches a cluster while nothing happens, then kills one member after the other.
    fn deaths(&mut self, row: &mut Row) -> Result<(), String> {
        // Several victims settle at once where that leaves the cluster nearly as large as it is to be.
        let at_once = (row.members / 8).clamp(1, 8).min(self.options.kills.max(1));
        let survivors = row.members - at_once;
        let mut cluster = Cluster::start(&mut self.lab, &row.system, survivors, row.members)?;
        let mut busy = Vec::new();
        let mut killed = 0;
        loop {
            let victims = at_once.min((self.options.kills - killed).max(1));
            cluster.add_victims(&mut self.lab, victims)?;
            let present = survivors + victims;
            let patience = self.options.common.patience;
            if cluster.complete(present, patience)?.is_none() && killed == 0 {
                return Err(format!("not all lists were complete in {patience:?}"));
            }
            thread::sleep(self.options.common.settle);
            if row.idle.is_none() {
                for _ in 0..self.options.busy {
                    busy.push(self.lab.launcher.launch(Launcher::BUSY)?);
                }
                row.idle = Some(self.idle(&mut cluster, present, survivors)?);
                say(&row.system, row.members, "its cost when calm is known");
            }
            if self.options.kills == 0 {
                break;
            }
            for _ in 0..victims {
                // At any moment of the period.
                thread::sleep(rand::rng().random_range(Duration::ZERO..Duration::from_secs(1)));
                self.death(&mut cluster, row)?;
                killed += 1;
                say(&row.system, row.members, &format!("death {killed} of {}", self.options.kills));
            }
            if killed >= self.options.kills {
                break;
            }
        }
        row.false_deaths += cluster.survivors.false_deaths()?;
        Ok(())
    }

    /// Kills a member, and notes when the others knew.
    fn death(&self, cluster: &mut Cluster, row: &mut Row) -> Result<(), String> {
        let death = cluster.bereave(&self.lab, self.options.kill, self.options.common.patience)?;
        let times = death.known_ms;
        row.false_deaths += death.false_deaths;
        row.first_ms.extend(times.first());
        row.half_ms.extend(times.get(death.witnesses.div_ceil(2) - 1));
        match times.len() == death.witnesses {
            true => row.all_ms.extend(times.last()),
            false => row.unnoticed += 1,
        }
        Ok(())
    }

    /// Measures the cost of a node while nothing happens.
    fn idle(
        &self,
        cluster: &mut Cluster,
        members: usize,
        survivors: usize,
    ) -> Result<Idle, String> {
        let processes = cluster.processes();
        let before = Reading::now(&self.lab.network, &processes);
        thread::sleep(self.options.common.idle);
        let cost = Reading::now(&self.lab.network, &processes).since(&before, members);
        let connections = cluster.connections()?;
        let count = (!connections.is_empty()).then_some(connections.len() as f64);
        Ok(Idle {
            seconds: cost.seconds,
            packets_per_second: cost.packets_per_second,
            bytes_per_second: cost.bytes_per_second,
            cpu_ms_per_second: cost.cpu_ms_per_second,
            resident_kib: resident_kib(&cluster.survivors.processes) / survivors as f64,
            connections: count.map(|count| connections.iter().sum::<u64>() as f64 / count),
            max_connections: connections.iter().max().map(|&most| most as f64),
        })
    }
}
