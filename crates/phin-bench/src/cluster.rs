//! Clusters that run: nodes that share a child process, and nodes that have one each.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use phin::ClusterKey;

use crate::{
    Kill, Launcher, Network,
    children::Child,
    machine::{millis_between, now},
    protocol::{Command, Medium, Place, Reply},
};

/// Where clusters run, one after the other.
pub(crate) struct Laboratory<'a> {
    pub(crate) launcher: &'a Launcher,
    pub(crate) network: Network,
}

impl Laboratory<'_> {
    /// Names and addresses of further nodes.
    fn places(&mut self, from: usize, count: usize) -> Result<Vec<Place>, String> {
        let addresses: Vec<IpAddr> =
            self.network.addresses(count).map_err(|error| error.to_string())?;
        let place = |(number, ip)| Place { name: format!("n{}", from + number + 1), ip };
        Ok(addresses.into_iter().enumerate().map(place).collect())
    }
}

/// A cluster that runs.
pub(crate) struct Cluster {
    system: String,
    /// How many members it is to have.
    members: usize,
    secret: String,
    seed: SocketAddr,
    /// When the first node was about to start.
    pub(crate) began: u64,
    /// The nodes that share a process, which nobody kills.
    pub(crate) survivors: Child,
    /// How many these are.
    together: usize,
    /// The next to die is the first.
    victims: Vec<Victim>,
    /// How many nodes there have been.
    nodes: usize,
}

/// A death, and who knew of it.
pub(crate) struct Death {
    /// Until each node that knew of it in time did, in order.
    pub(crate) known_ms: Vec<f64>,
    /// How many nodes were there to know.
    pub(crate) witnesses: usize,
    /// How often the member that died had declared a living one dead.
    pub(crate) false_deaths: u64,
}

/// A member that was killed.
pub(crate) struct Killed {
    pub(crate) at: u64,
    /// How often it had declared a living one dead.
    pub(crate) false_deaths: u64,
}

/// A node with a process of its own.
struct Victim {
    place: Place,
    child: Child,
}

impl Cluster {
    /// Starts nodes that share a process. The cluster will have so many `members`, victims included.
    pub(crate) fn start(
        lab: &mut Laboratory<'_>,
        system: &str,
        nodes: usize,
        members: usize,
    ) -> Result<Self, String> {
        lab.network.clear();
        let secret = ClusterKey::generate().to_text().to_string();
        let places = lab.places(0, nodes)?;
        let mut survivors = lab.launcher.launch(system)?;
        let (began, seed) = survivors.start(Command::Start {
            places,
            port: lab.network.port(),
            seed: None,
            members,
            secret: secret.clone(),
        })?;
        let system = system.to_owned();
        Ok(Self {
            system,
            members,
            secret,
            seed,
            began,
            survivors,
            together: nodes,
            victims: Vec::new(),
            nodes,
        })
    }

    /// Starts one more node in the process that nodes share.
    pub(crate) fn add(&mut self, lab: &mut Laboratory<'_>) -> Result<(), String> {
        let places = lab.places(self.nodes, 1)?;
        self.survivors.start(self.join(lab, places))?;
        self.together += 1;
        self.nodes += 1;
        Ok(())
    }

    /// Starts nodes that have a process each.
    pub(crate) fn add_victims(
        &mut self,
        lab: &mut Laboratory<'_>,
        count: usize,
    ) -> Result<(), String> {
        for place in lab.places(self.nodes, count)? {
            let mut child = lab.launcher.launch(&self.system)?;
            child.start(self.join(lab, vec![place.clone()]))?;
            self.victims.push(Victim { place, child });
        }
        self.nodes += count;
        Ok(())
    }

    /// How many nodes live.
    pub(crate) const fn nodes_present(&self) -> usize {
        self.together + self.victims.len()
    }

    /// How many nodes have a process each.
    pub(crate) const fn victims(&self) -> usize {
        self.victims.len()
    }

    /// Has the last of the nodes that have a process each report what they learn, and answer queries.
    pub(crate) fn follow_with_victims(&mut self, count: usize) -> Result<(), String> {
        let others = self.victims.len().saturating_sub(count);
        let mut last = self.victims[others..].iter_mut();
        last.try_for_each(|victim| victim.child.follow(Medium::Messages))
    }

    /// The start of nodes that join it.
    fn join(&self, lab: &Laboratory<'_>, places: Vec<Place>) -> Command {
        let (members, secret) = (self.members, self.secret.clone());
        Command::Start { places, port: lab.network.port(), seed: Some(self.seed), members, secret }
    }

    /// The processes in which its nodes run.
    pub(crate) fn processes(&self) -> Vec<u32> {
        self.children().flat_map(|child| &child.processes).copied().collect()
    }

    fn children(&self) -> impl Iterator<Item = &Child> {
        std::iter::once(&self.survivors).chain(self.victims.iter().map(|victim| &victim.child))
    }

    /// When the last list was complete; nothing if one was not in time.
    pub(crate) fn complete(
        &mut self,
        members: usize,
        within: Duration,
    ) -> Result<Option<u64>, String> {
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
    pub(crate) fn connections(&mut self) -> Result<Vec<u64>, String> {
        let mut all = Vec::new();
        for reply in self.ask_all(&Command::Connections)? {
            let Reply::Connections { counts } = reply else {
                return Err(format!("unexpected: {reply:?}"));
            };
            all.extend(counts);
        }
        Ok(all)
    }

    /// Kills the next victim, and waits until all others know.
    pub(crate) fn bereave(
        &mut self,
        lab: &Laboratory<'_>,
        kill: Kill,
        within: Duration,
    ) -> Result<Death, String> {
        let names = self.doom(1)?;
        let killed = self.kill(lab, kill)?;
        let known_ms = self.known(&names[0], killed.at, within)?;
        let witnesses = self.nodes_present();
        Ok(Death { known_ms, witnesses, false_deaths: killed.false_deaths })
    }

    /// Announces to all that so many of the next victims are about to be killed. Returns their names.
    pub(crate) fn doom(&mut self, count: usize) -> Result<Vec<String>, String> {
        let next = self.victims.iter().take(count);
        let names: Vec<_> = next.map(|victim| victim.place.name.clone()).collect();
        for name in &names {
            self.ask_all(&Command::Doom { name: name.clone() })?;
        }
        Ok(names)
    }

    /// Kills the next victim.
    pub(crate) fn kill(&mut self, lab: &Laboratory<'_>, kill: Kill) -> Result<Killed, String> {
        let mut victim = self.victims.remove(0);
        let false_deaths = victim.child.false_deaths()?;
        let at = now();
        match kill {
            Kill::Process => victim.child.kill(),
            Kill::Silent => {
                let silenced = lab.network.silence(victim.place.ip);
                silenced.map_err(|error| error.to_string())?;
            }
        }
        Ok(Killed { at, false_deaths })
    }

    /// Waits until all know of the death of a member, and returns how long each took, in order.
    pub(crate) fn known(
        &mut self,
        name: &str,
        killed: u64,
        within: Duration,
    ) -> Result<Vec<f64>, String> {
        let mut known_ms = Vec::new();
        for reply in self.ask_all(&Command::Known { name: name.to_owned(), within })? {
            let Reply::Known { at } = reply else { return Err(format!("unexpected: {reply:?}")) };
            known_ms.extend(at.into_iter().map(|at| millis_between(killed, at)));
        }
        known_ms.sort_unstable_by(f64::total_cmp);
        Ok(known_ms)
    }

    /// Has all children do the same at once, and waits for all.
    pub(crate) fn ask_all(&mut self, command: &Command) -> Result<Vec<Reply>, String> {
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

    pub(crate) fn false_deaths(&mut self) -> Result<u64, String> {
        match self.ask(&Command::FalseDeaths)? {
            Reply::FalseDeaths { count } => Ok(count),
            reply => Err(format!("unexpected: {reply:?}")),
        }
    }
}
