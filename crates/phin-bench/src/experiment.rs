//! Clusters that are started, watched while nothing happens, and bereaved.

use std::{
    io::{self, Write},
    net::{IpAddr, SocketAddr},
    thread,
    time::Duration,
};

use phin::ClusterKey;
use rand::RngExt;

use crate::{
    Idle, Kill, Launcher, Machine, Network, Options, Report, Row, System,
    children::Child,
    machine::{cpu_millis, millis_between, now, resident_kib},
    protocol::{Command, Place, Reply},
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
    let mut bench = Bench { options, launcher, network };
    let mut rows = Vec::new();
    for system in systems {
        for &size in &options.sizes {
            rows.push(bench.row(system.name(), size.into()));
        }
    }
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
    })
}

struct Bench<'a> {
    options: &'a Options,
    launcher: &'a Launcher,
    network: Network,
}

impl Bench<'_> {
    fn row(&mut self, system: &str, members: usize) -> Row {
        let mut row = Row { system: system.to_owned(), members, ..Row::default() };
        let measured = self.bootstraps(&mut row).and_then(|()| self.deaths(&mut row));
        if let Err(failure) = measured {
            self.say(&row, &format!("failed: {failure}"));
            row.failure = Some(failure);
        }
        row
    }

    /// Starts clusters, and times how long each takes until all know all.
    fn bootstraps(&mut self, row: &mut Row) -> Result<(), String> {
        for number in 1..=self.options.bootstraps {
            let mut cluster = Cluster::start(self, &row.system, row.members, row.members)?;
            match cluster.complete(row.members, self.options.patience)? {
                Some(at) => row.bootstrap_ms.push(millis_between(cluster.began, at)),
                None => row.incomplete += 1,
            }
            self.say(row, &format!("start {number} of {}", self.options.bootstraps));
        }
        Ok(())
    }

    /// Watches a cluster while nothing happens, then kills one member after the other.
    fn deaths(&mut self, row: &mut Row) -> Result<(), String> {
        // Several victims settle at once where that leaves the cluster nearly as large as it is to be.
        let at_once = (row.members / 8).clamp(1, 8).min(self.options.kills.max(1));
        let survivors = row.members - at_once;
        let mut cluster = Cluster::start(self, &row.system, survivors, row.members)?;
        let mut busy = Vec::new();
        let mut killed = 0;
        loop {
            let victims = at_once.min((self.options.kills - killed).max(1));
            cluster.add_victims(self, victims, row.members)?;
            let present = survivors + victims;
            let complete = cluster.complete(present, self.options.patience)?;
            if complete.is_none() && killed == 0 {
                return Err(format!("not all lists were complete in {:?}", self.options.patience));
            }
            thread::sleep(self.options.settle);
            if row.idle.is_none() {
                for _ in 0..self.options.busy {
                    busy.push(self.launcher.launch(Launcher::BUSY)?);
                }
                row.idle = Some(self.idle(&mut cluster, present, survivors)?);
                self.say(row, "its cost when calm is known");
            }
            if self.options.kills == 0 {
                break;
            }
            for _ in 0..victims {
                // At any moment of the period.
                thread::sleep(rand::rng().random_range(Duration::ZERO..Duration::from_secs(1)));
                cluster.bereave(self, row)?;
                killed += 1;
                self.say(row, &format!("death {killed} of {}", self.options.kills));
            }
            if killed >= self.options.kills {
                break;
            }
        }
        row.false_deaths += cluster.survivors.false_deaths()?;
        Ok(())
    }

    /// Measures the cost of a node while nothing happens.
    fn idle(
        &self,
        cluster: &mut Cluster,
        members: usize,
        survivors: usize,
    ) -> Result<Idle, String> {
        let processes: Vec<u32> =
            cluster.children().flat_map(|child| &child.processes).copied().collect();
        let look = || (now(), self.network.traffic(), cpu_millis(&processes));
        let (began, traffic_before, cpu_before) = look();
        thread::sleep(self.options.idle);
        let (ended, traffic_after, cpu_after) = look();
        let seconds = millis_between(began, ended) / 1e3;
        let each = |amount: f64| amount / seconds / members as f64;
        let traffic = traffic_before.zip(traffic_after);
        let packets = traffic.map(|(before, after)| each((after.0 - before.0) as f64));
        let bytes = traffic.map(|(before, after)| each((after.1 - before.1) as f64));
        let connections = cluster.connections()?;
        let count = (!connections.is_empty()).then_some(connections.len() as f64);
        Ok(Idle {
            seconds,
            packets_per_second: packets,
            bytes_per_second: bytes,
            cpu_ms_per_second: each(cpu_after - cpu_before),
            resident_kib: resident_kib(&cluster.survivors.processes) / survivors as f64,
            connections: count.map(|count| connections.iter().sum::<u64>() as f64 / count),
            max_connections: connections.iter().max().map(|&most| most as f64),
        })
    }

    fn say(&self, row: &Row, what: &str) {
        let line = format!("{} with {} members: {what}\n", row.system, row.members);
        // With standard error closed there is nobody to tell.
        let _ = io::stderr().write_all(line.as_bytes());
    }
}

/// A cluster that runs.
struct Cluster {
    system: String,
    secret: String,
    seed: SocketAddr,
    /// When the first node was about to start.
    began: u64,
    /// The nodes that share a process, which nobody kills.
    survivors: Child,
    started_together: usize,
    /// The next to die is the first.
    victims: Vec<Victim>,
    /// How many nodes there have been.
    nodes: usize,
}

/// A node with a process of its own.
struct Victim {
    place: Place,
    child: Child,
}

impl Cluster {
    fn start(
        bench: &mut Bench<'_>,
        system: &str,
        nodes: usize,
        members: usize,
    ) -> Result<Self, String> {
        bench.network.clear();
        let secret = ClusterKey::generate().to_text().to_string();
        let places = places(bench, 0, nodes)?;
        let mut survivors = bench.launcher.launch(system)?;
        let (began, seed) = survivors.start(Command::Start {
            places,
            port: bench.network.port(),
            seed: None,
            members,
            secret: secret.clone(),
        })?;
        let system = system.to_owned();
        Ok(Self {
            system,
            secret,
            seed,
            began,
            survivors,
            started_together: nodes,
            victims: Vec::new(),
            nodes,
        })
    }

    fn add_victims(
        &mut self,
        bench: &mut Bench<'_>,
        count: usize,
        members: usize,
    ) -> Result<(), String> {
        for place in places(bench, self.nodes, count)? {
            let mut child = bench.launcher.launch(&self.system)?;
            child.start(Command::Start {
                places: vec![place.clone()],
                port: bench.network.port(),
                seed: Some(self.seed),
                members,
                secret: self.secret.clone(),
            })?;
            self.victims.push(Victim { place, child });
        }
        self.nodes += count;
        Ok(())
    }

    fn children(&self) -> impl Iterator<Item = &Child> {
        std::iter::once(&self.survivors).chain(self.victims.iter().map(|victim| &victim.child))
    }

    /// When the last list was complete; nothing if one was not in time.
    fn complete(&mut self, members: usize, within: Duration) -> Result<Option<u64>, String> {
        let mut last = Some(0);
        for reply in self.ask_all(&Command::Complete { members, within })? {
            let Reply::Complete { at } = reply else {
                return Err(format!("unexpected: {reply:?}"));
            };
            last = last.zip(at).map(|(last, at)| at.max(last));
        }
        Ok(last)
    }

    /// How many connections each node has, of those that know.
    fn connections(&mut self) -> Result<Vec<u64>, String> {
        let mut all = Vec::new();
        for reply in self.ask_all(&Command::Connections)? {
            let Reply::Connections { counts } = reply else {
                return Err(format!("unexpected: {reply:?}"));
            };
            all.extend(counts);
        }
        Ok(all)
    }

    /// Kills the next victim, and notes when the others knew.
    fn bereave(&mut self, bench: &Bench<'_>, row: &mut Row) -> Result<(), String> {
        let mut victim = self.victims.remove(0);
        row.false_deaths += victim.child.false_deaths()?;
        let name = victim.place.name;
        self.ask_all(&Command::Doom { name: name.clone() })?;
        let killed = now();
        match bench.options.kill {
            Kill::Process => victim.child.kill(),
            Kill::Silent => {
                let silenced = bench.network.silence(victim.place.ip);
                silenced.map_err(|error| error.to_string())?;
            }
        }
        drop(victim.child);
        let within = bench.options.patience;
        let witnesses = self.started_together + self.victims.len();
        let mut times = Vec::new();
        for reply in self.ask_all(&Command::Known { name, within })? {
            let Reply::Known { at } = reply else { return Err(format!("unexpected: {reply:?}")) };
            times.extend(at.into_iter().map(|at| millis_between(killed, at)));
        }
        times.sort_unstable_by(f64::total_cmp);
        row.first_ms.extend(times.first());
        row.half_ms.extend(times.get(witnesses.div_ceil(2) - 1));
        match times.len() == witnesses {
            true => row.all_ms.extend(times.last()),
            false => row.unnoticed += 1,
        }
        Ok(())
    }

    /// Has all children do the same at once, and waits for all.
    fn ask_all(&mut self, command: &Command) -> Result<Vec<Reply>, String> {
        let victims = self.victims.iter_mut().map(|victim| &mut victim.child);
        let mut children: Vec<_> = std::iter::once(&mut self.survivors).chain(victims).collect();
        children.iter_mut().try_for_each(|child| child.tell(command))?;
        children.iter_mut().map(|child| child.reply()).collect()
    }
}

impl Child {
    /// Starts nodes, and returns when that began, and through whom others may join.
    fn start(&mut self, command: Command) -> Result<(u64, SocketAddr), String> {
        match self.ask(&command)? {
            Reply::Started { began, first, processes } => {
                self.processes = processes;
                Ok((began, first))
            }
            reply => Err(format!("unexpected: {reply:?}")),
        }
    }

    fn false_deaths(&mut self) -> Result<u64, String> {
        match self.ask(&Command::FalseDeaths)? {
            Reply::FalseDeaths { count } => Ok(count),
            reply => Err(format!("unexpected: {reply:?}")),
        }
    }
}

/// Names and addresses of further nodes.
fn places(bench: &mut Bench<'_>, from: usize, count: usize) -> Result<Vec<Place>, String> {
    let addresses: Vec<IpAddr> =
        bench.network.addresses(count).map_err(|error| error.to_string())?;
    let place = |(number, ip)| Place { name: format!("n{}", from + number + 1), ip };
    Ok(addresses.into_iter().enumerate().map(place).collect())
}
