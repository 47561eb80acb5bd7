//! A child process: nodes that live and die together, and do what they are told over standard input.

use std::{
    io::{self, Read, Write},
    net::SocketAddr,
    sync::Arc,
    thread,
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, BufReader, stdin},
    runtime,
    task::JoinSet,
};

use crate::{
    Answers, DataNode, MessageNode, Node, Spec, System,
    board::Board,
    machine::now,
    messages::Publishing,
    protocol::{Asked, Command, Counts, Medium, Place, Reply},
    spread::SpreadBoard,
};

/// Runs nodes of this system as standard input says, until it ends.
///
/// # Errors
/// The runtime cannot start, or standard input or output break.
pub fn serve(system: &'static dyn System) -> io::Result<()> {
    let runtime = runtime::Builder::new_multi_thread().enable_all().build()?;
    let served = runtime.block_on(async {
        let mut child = Child::new(system);
        let mut lines = BufReader::new(stdin()).lines();
        while let Some(line) = lines.next_line().await? {
            let reply = match serde_json::from_str(&line) {
                Ok(command) => child.handle(command).await,
                Err(error) => Reply::Failed { reason: format!("not understood: {error}: {line}") },
            };
            let mut text = serde_json::to_vec(&reply).map_err(io::Error::other)?;
            text.push(b'\n');
            let mut stdout = io::stdout().lock();
            stdout.write_all(&text)?;
            stdout.flush()?;
        }
        Ok(())
    });
    runtime.shutdown_background();
    served
}

/// Keeps one core busy until standard input ends.
pub fn spin() {
    let parent = thread::spawn(|| io::stdin().read_to_end(&mut Vec::new()));
    while !parent.is_finished() {
        for _ in 0..1_000 {
            std::hint::spin_loop();
        }
    }
}

struct Child {
    system: &'static dyn System,
    board: Arc<Board>,
    data: Arc<SpreadBoard>,
    messages: Arc<SpreadBoard>,
    publishing: Publishing,
    nodes: Vec<Running>,
}

/// A node that runs.
struct Running {
    name: String,
    node: Arc<dyn Node>,
}

impl Running {
    fn data(&self) -> Result<&dyn DataNode, String> {
        self.node.data().ok_or_else(|| format!("{} has no member data", self.name))
    }

    fn messages(&self) -> Result<&dyn MessageNode, String> {
        self.node.messages().ok_or_else(|| format!("{} has no messages", self.name))
    }
}

impl Child {
    fn new(system: &'static dyn System) -> Self {
        Self {
            system,
            board: Arc::default(),
            data: Arc::default(),
            messages: Arc::default(),
            publishing: Publishing::default(),
            nodes: Vec::new(),
        }
    }

    async fn handle(&mut self, command: Command) -> Reply {
        match command {
            Command::Start { places, port, seed, members, secret } => {
                let spec = |place: Place, seed| {
                    let (Place { name, ip }, secret) = (place, secret.clone());
                    Spec { name, ip, port, seed, members, secret }
                };
                let began = now();
                match self.start(places, seed, spec).await {
                    Ok(first) => Reply::Started { began, first, processes: self.processes() },
                    Err(reason) => Reply::Failed { reason },
                }
            }
            Command::Complete { members, within } => {
                Reply::Complete { at: self.board.complete(members, within).await }
            }
            Command::Doom { name } => {
                self.board.doom(name);
                Reply::Doomed
            }
            Command::Known { name, within } => {
                Reply::Known { at: self.board.known(&name, within).await }
            }
            Command::FalseDeaths => Reply::FalseDeaths { count: self.board.false_deaths() },
            Command::Connections => {
                let mut counts = Vec::new();
                for Running { node, .. } in &self.nodes {
                    counts.extend(node.connections().await);
                }
                Reply::Connections { counts }
            }
            Command::Follow { medium } => reply(self.follow(medium).await, |()| Reply::Following),
            Command::Write { medium, node, text } => {
                reply(self.write(medium, node, text).await, |()| Reply::Written)
            }
            Command::Spread { medium, within } => {
                let (changes, faults) = self.spread_board(medium).spread(within).await;
                Reply::Spread { changes, faults }
            }
            Command::Query { node, text, doomed, within } => {
                reply(self.query(node, text, &doomed, within).await, Reply::Asked)
            }
            Command::Publish { rate, bytes } => {
                let nodes = self.nodes.iter().map(|running| Arc::clone(&running.node)).collect();
                self.publishing.set(nodes, rate, bytes);
                Reply::Publishing
            }
            Command::Messages => {
                let received = self.messages.received();
                Reply::Messages(Counts { received, ..self.publishing.counts() })
            }
        }
    }

    /// Starts the nodes, and returns through whom others may join.
    async fn start(
        &mut self,
        places: Vec<Place>,
        mut seed: Option<SocketAddr>,
        spec: impl Fn(Place, Option<SocketAddr>) -> Spec,
    ) -> Result<SocketAddr, String> {
        let mut starts = JoinSet::new();
        for place in places {
            let told = self.board.add(&place.name);
            let name = place.name.clone();
            let start = self.system.start(spec(place, seed), told);
            let start = async move { start.await.map(|node| Running { name, node: node.into() }) };
            if seed.is_some() {
                starts.spawn(start);
                continue;
            }
            let first = start.await?;
            seed = Some(first.node.addr());
            self.nodes.push(first);
        }
        while let Some(started) = starts.join_next().await {
            self.nodes.push(started.map_err(|error| error.to_string())??);
        }
        let first = self.nodes.first().ok_or("there is no node to start")?;
        Ok(first.node.addr())
    }

    const fn spread_board(&self, medium: Medium) -> &Arc<SpreadBoard> {
        match medium {
            Medium::Data => &self.data,
            Medium::Messages => &self.messages,
        }
    }

    async fn follow(&self, medium: Medium) -> Result<(), String> {
        for running in &self.nodes {
            let reporter = self.spread_board(medium).add();
            match medium {
                Medium::Data => running.data()?.follow(reporter).await?,
                Medium::Messages => running.messages()?.follow(reporter).await?,
            }
        }
        Ok(())
    }

    async fn write(&self, medium: Medium, node: usize, text: String) -> Result<(), String> {
        let running = self.nodes.get(node).ok_or("there is no such node")?;
        self.spread_board(medium).write(&running.name, &text);
        match medium {
            Medium::Data => running.data()?.write(text).await,
            Medium::Messages => running.messages()?.publish(text).await,
        }
    }

    async fn query(
        &self,
        node: usize,
        text: String,
        doomed: &[String],
        within: Duration,
    ) -> Result<Asked, String> {
        let running = self.nodes.get(node).ok_or("there is no such node")?;
        let (began, mut answers) = (now(), Answers::default());
        running.messages()?.query(text, &mut answers).await?;
        let (ended, mut known) = (now(), Vec::new());
        for member in doomed {
            known.extend(self.board.known_by(&running.name, member, within).await);
        }
        Ok(Asked { began, ended, answers, known })
    }

    fn processes(&self) -> Vec<u32> {
        let others: Vec<u32> =
            self.nodes.iter().filter_map(|running| running.node.process()).collect();
        if others.is_empty() { vec![std::process::id()] } else { others }
    }
}

/// The reply to what has been done, or why it failed.
fn reply<T>(result: Result<T, String>, done: impl FnOnce(T) -> Reply) -> Reply {
    match result {
        Ok(value) => done(value),
        Err(reason) => Reply::Failed { reason },
    }
}
