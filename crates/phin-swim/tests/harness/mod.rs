//! A few cores on a network with fixed latency, driven by a script.
#![expect(clippy::unwrap_used, reason = "a script that does not hold is a failed test")]

mod keys;
mod print;
mod release;
mod script;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    sync::Arc,
    time::Duration,
};

use phin_swim::{
    AdminStatement, Config, DataUpdate, Disconnection, Expelling, ExpulsionEvent, Generation,
    HostAnswer, Instant, Keys, Local, MemberId, Name, NotTaken, OfficeRules, Output, Peer,
    PublishRequest, QueryAnswer, QueryId, QueryRequest, QueryToken, Question, Select, SendRequest,
    Standing, Swim, describe,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use keys::{TestKeys, addr, id, name};
use release::Release;
use script::{Fate, Host, Rule, duration, host, number, option, text};

/// The keys of the administrator, which no node has.
const ADMIN: TestKeys = TestKeys(usize::MAX);
/// Longer payloads are large.
const LARGE_BYTES: usize = 900;
/// Every message takes this long.
const LATENCY: Duration = Duration::from_millis(1);

/// A script under way.
pub(crate) struct Scenario {
    now: Instant,
    config: Config,
    seed: u64,
    nodes: BTreeMap<usize, Node>,
    in_flight: BTreeMap<(Instant, u64), Delivery>,
    answers: BTreeMap<(Instant, u64), (usize, MemberId, HostAnswer)>,
    /// The last payload sent from whom to whom with a part of that kind.
    sent: BTreeMap<(usize, usize, String), Vec<u8>>,
    count: u64,
    rules: Vec<Rule>,
    /// Cut off from all others.
    apart: BTreeSet<usize>,
    default_host: Host,
    loss: f64,
    rng: ChaCha8Rng,
    shown: BTreeSet<String>,
    /// The message that ends the present run when it is sent.
    awaited: Option<String>,
    /// The events since the last line, with time and member.
    news: Vec<(String, Instant, Instant, Vec<usize>)>,
    seen: String,
    bytes: Vec<u8>,
    /// Which release members run that do not run this one.
    releases: BTreeMap<usize, Release>,
    /// While a cluster forms, applications admit everyone.
    is_forming: bool,
}

struct Node {
    swim: Swim,
    process: Process,
    host: Host,
    /// The application's reaction to messages, and its answers to queries; `None` if it answers later.
    answers: Option<fn(&str) -> QueryAnswer>,
    /// The queries that wait for that.
    asked: Vec<QueryToken>,
    takes: Result<(), NotTaken>,
    /// Which process of this node it is, and the generation it last announced.
    run: u32,
    generation: u32,
    /// Open connections, and to which run of the peer's process.
    connected: BTreeMap<MemberId, u32>,
    /// Messages that arrived while the process was stopped.
    waiting: Vec<Delivery>,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Process {
    Running,
    Stopped,
    Killed,
}

/// A message under way between runs of two processes.
#[derive(Clone)]
struct Delivery {
    from: usize,
    from_run: u32,
    to: usize,
    to_run: u32,
    carried: Carried,
}

#[derive(Clone)]
enum Carried {
    Datagram(Vec<u8>),
    Stream(Vec<u8>),
    End(Disconnection),
}

impl Scenario {
    /// Runs a script and returns what is seen.
    pub(crate) fn run(script: &str) -> String {
        Self::execute_all(script).seen
    }

    /// Runs a script and returns every byte sent.
    pub(crate) fn run_to_bytes(script: &str) -> Vec<u8> {
        Self::execute_all(script).bytes
    }

    fn execute_all(script: &str) -> Self {
        let mut scenario = Self {
            now: Instant::START,
            config: Config::lan(),
            seed: 0,
            nodes: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            answers: BTreeMap::new(),
            sent: BTreeMap::new(),
            count: 0,
            rules: Vec::new(),
            apart: BTreeSet::new(),
            default_host: Host::Answers,
            loss: 0.0,
            rng: ChaCha8Rng::seed_from_u64(0),
            shown: BTreeSet::from(["events".to_owned()]),
            awaited: None,
            news: Vec::new(),
            seen: String::new(),
            bytes: Vec::new(),
            releases: BTreeMap::new(),
            is_forming: false,
        };
        for line in script.lines().map(|line| line.split('#').next().unwrap_or("").trim()) {
            if !line.is_empty() {
                scenario.execute(line);
            }
        }
        scenario.print_news();
        scenario
    }

    /// One line of a script; with `nX..nY` in it, one for each of these nodes:
    /// - `config SETTING=VALUE…` holds for nodes started later; `config hosts=never` for hosts that answer no questions
    /// - `cluster nodes=N seed=S` starts N nodes that know one another; time begins when they agree
    /// - `tags nX [KEY=VALUE…]` sets the tags of nX, `serving nX serving|draining|not-serving REASON` its serving state;
    ///   `tagged nX nY` prints what nX knows of both at nY
    /// - `node nX [generation=G] [name=NAME] [addr=nY] [tags=KEY=VALUE]` starts one more, alone; `move nX nY`: it is now at the address of
    ///   nY; `join nX nY` lets it join through nY; `leave nX`
    /// - `admit nX nY`, `refuse nX nY REASON`: the application of nX decides on nY, after `config ask_application=true`
    /// - `put nX KEY=VALUE [ttl=TIME]`, `delete nX KEY`: nX writes its data
    /// - `publish nX TOPIC TEXT [filter=FILTER] [coalesce=KEY] [times=N]`: nX publishes a message to all
    /// - `send nX nY TOPIC TEXT [generation=G] [within=TIME]`: nX sends a message to nY (by default for 10 s), and
    ///   `send-datagram nX nY TOPIC TEXT [generation=G]` one that may be lost; `takes nX all|nothing|no-topic`: the application of
    ///   nX takes all messages (as at first), has full queues, or no subscription
    /// - `query nX TOPIC TEXT [filter=FILTER] [timeout=TIME] [first=N|sample=N]`: nX asks; `cancel-query nX NUMBER` ends that
    /// - `answers nX echo|no-handler|refused|busy|later`: what the application of nX answers, at first `no-handler`; after
    ///   `later`, `reply nX TEXT` answers the oldest query that waits
    /// - `forget nX nY`: an operator asks nX to forget nY
    /// - `kill nX`, `restart nX [generation=G] […]` (as `node`, by default in the next generation), `stop nX`, `continue nX`
    /// - `host nX answers|never|down`: whether the host of a process answers questions; at first it does
    /// - `drop A->B`, `duplicate A->B`, `delay A->B TIME`, each with `[kind=K] [count=C] [share=P%]`: what becomes of messages (`*`
    ///   is anyone; `kind=datagram`, `kind=stream`, `kind=large` above 900 bytes, or a part's name); `loss P%` loses datagrams at random;
    ///   `split nX…` cuts these nodes, and their hosts, off from all others; `heal` ends all of that
    /// - `disconnected nX nY idle|closed|reset|lost`, `unreachable nX nY no-answer|refused|other-identity|not-admitted`:
    ///   what the transport of nX tells it of nY; `found nX nY nZ`: where nX dialled nY, nZ answered;
    ///   `refused nX nY`: the host of nY refused a packet of nX
    /// - `release nX previous|this|next`: what nX says and understands from now on is that of a neighbouring release
    /// - `garbage nX->nY` sends bytes that mean nothing, `raw nX->nY HEX` a payload byte by byte, in which
    ///   `{nZ}` stands for an id
    /// - `replay nX->nY kind=K [as=nZ] [forged]` delivers the last payload with such a part again, as if nZ had sent it,
    ///   or with its last byte changed
    /// - `show events` (each as it happens), `show query` (what became of queries), `show asked` (which applications are asked), `show news` (each change once, with when and to whom), `show PART…`,
    ///   `show relayed` (records with fields of a later release), `show all`, `show nothing`
    /// - `run TIME` goes on, `run until=PART` until such a part is sent; `members` prints every list; `held nX nY` whether nX holds nY back; `stats nX COUNTER` prints a counter; `link nX nY` what nX
    ///   knows of its link; `phi nX nY` what nX has against nY; `unreached nX` which links nX knows
    ///   to fail; `converged` who finds its list shared; `why nX nY` what nX knows of the last suspicion of nY
    fn execute(&mut self, line: &str) {
        if let Some((range, nodes)) = script::range(line) {
            return nodes.for_each(|node| self.execute(&line.replace(range, &format!("n{node}"))));
        }
        let words: Vec<_> = line.split_whitespace().collect();
        let (command, arguments) = words.split_first().unwrap();
        let node = |index: usize| number(arguments[index]);
        match *command {
            "config" => arguments.iter().for_each(|setting| self.configure(setting)),
            "cluster" => self.start_cluster(option(line, "nodes"), option(line, "seed")),
            "node" => {
                let generation = text(line, "generation").map_or(0, |g| g.parse().unwrap());
                self.start_as(node(0), generation, line);
            }
            "join" => {
                let through = self.peer(node(1));
                self.input(node(0), |swim, now| swim.join(now, through));
            }
            "admit" => {
                let newcomer = id(node(1));
                self.input(node(0), |swim, now| swim.handle_decision(now, newcomer, Ok(())));
            }
            "refuse" => {
                let (newcomer, reason) = (id(node(1)), arguments[2..].join(" "));
                self.input(node(0), |swim, now| swim.handle_decision(now, newcomer, Err(reason)));
            }
            "move" => {
                let addrs = vec![addr(node(1))];
                self.input(node(0), |swim, now| swim.move_to(now, addrs));
            }
            "put" => {
                let (key, value) = arguments[1].split_once('=').expect("KEY=VALUE");
                let time_to_live = text(line, "ttl").map(duration);
                self.input(node(0), |swim, now| {
                    swim.put_data(now, key, value.as_bytes(), time_to_live).unwrap();
                });
            }
            "publish" => {
                let mut request =
                    PublishRequest::new(arguments[1].parse().unwrap(), arguments[2].as_bytes());
                request.filter = text(line, "filter").unwrap_or_default().parse().unwrap();
                request.coalesce = text(line, "coalesce").map(Into::into);
                for _ in 0..text(line, "times").map_or(1, |times| times.parse().unwrap()) {
                    let request = request.clone();
                    self.input(node(0), |swim, now| {
                        _ = swim.sending(now).publish(request).unwrap();
                    });
                }
            }
            "delete" => self.input(node(0), |swim, now| {
                assert!(swim.delete_data(now, arguments[1]));
            }),
            "tags" => {
                let tags = script::tags(&arguments[1..]);
                self.input(node(0), |swim, now| swim.describe(now, |profile| profile.tags = tags));
            }
            "serving" => {
                let serving = script::serving(&arguments[1..]);
                self.input(node(0), |swim, now| {
                    swim.describe(now, |profile| profile.serving = serving);
                });
            }
            "leave" => self.input(node(0), |swim, now| {
                swim.leave(now);
            }),
            "send" => {
                let (request, from) = (send_request(line, arguments), node(0));
                let within = text(line, "within").map_or(Duration::from_secs(10), duration);
                let mut result = Ok(());
                self.input(from, |swim, now| {
                    result = swim.sending(now).send(request, within).map(drop);
                });
                self.print_refusal(from, result);
            }
            "send-datagram" => {
                let (request, from, mut result) = (send_request(line, arguments), node(0), Ok(()));
                self.input(from, |swim, now| result = swim.sending(now).send_datagram(request));
                self.print_refusal(from, result);
            }
            "query" => {
                let (request, from, mut result) = (query_request(line, arguments), node(0), Ok(()));
                self.input(from, |swim, now| result = swim.querying(now).ask(&request).map(drop));
                self.print_refusal(from, result);
            }
            "cancel-query" => {
                let query = QueryId(arguments[1].parse().unwrap());
                self.input(node(0), |swim, now| assert!(swim.querying(now).cancel(query)));
            }
            "stand" => {
                let voters = text(line, "voters").unwrap_or_default().parse().unwrap();
                let expected = text(line, "expected").map(|number| number.parse().unwrap());
                let (office, rules) = (arguments[1], OfficeRules::new(voters, expected));
                let (from, mut result) = (node(0), Ok(()));
                let office = office.parse().unwrap();
                self.input(from, |swim, now| result = swim.leading(now).stand(office, rules));
                self.print_refusal(from, result);
            }
            "resign" => {
                let office = arguments[1].parse().unwrap();
                self.input(node(0), |swim, now| assert!(swim.leading(now).resign(&office)));
            }
            "answers" => self.node(node(0)).answers = script::answers(arguments[1]),
            "reply" => {
                let (from, mut result) = (node(0), Ok(()));
                let answer = QueryAnswer::Reply(arguments[1].as_bytes().into());
                let token = self.node(from).asked.remove(0);
                self.input(from, |swim, now| result = swim.querying(now).reply(token, answer));
                self.print_refusal(from, result);
            }
            "takes" => self.node(node(0)).takes = script::takes(arguments[1]),
            "forget" => {
                let (member, mut result) = (id(node(1)), Ok(()));
                self.input(node(0), |swim, now| result = swim.forget(now, member));
                self.print_refusal(node(0), result);
            }
            "expel" => self.administer(node(0), node(1), Standing::Expelled),
            "readmit" => self.administer(node(0), node(1), Standing::Readmitted),
            "kill" => self.node(node(0)).process = Process::Killed,
            "restart" => {
                let next = self.nodes[&node(0)].generation + 1;
                let generation = text(line, "generation").map_or(next, |g| g.parse().unwrap());
                self.start_as(node(0), generation, line);
            }
            "release" => drop(self.releases.insert(node(0), Release::read(arguments[1]))),
            "stop" => self.node(node(0)).process = Process::Stopped,
            "continue" => self.resume(node(0)),
            "host" => self.node(node(0)).host = host(arguments[1]),
            "drop" | "duplicate" | "delay" => self.rules.push(Rule::read(line)),
            "loss" => {
                self.loss = script::share(arguments[0]);
            }
            "split" => self.apart = arguments.iter().map(|name| number(name)).collect(),
            "heal" => {
                self.rules.clear();
                self.apart.clear();
                self.loss = 0.0;
            }
            "disconnected" => {
                let (peer, reason) = (id(node(1)), script::disconnection(arguments[2]));
                self.node(node(0)).connected.remove(&peer);
                self.input(node(0), |swim, now| swim.handle_disconnected(now, peer, reason));
            }
            "unreachable" => {
                let (peer, reason) = (id(node(1)), script::unreachable(arguments[2]));
                self.input(node(0), |swim, now| swim.handle_unreachable(now, peer, reason));
            }
            "found" => {
                let (sought, found) = (id(node(1)), self.peer(node(2)));
                self.input(node(0), |swim, now| swim.handle_other_member(now, sought, found));
            }
            "refused" => {
                let peer = id(node(1));
                let refused = HostAnswer::PortRefused;
                self.input(node(0), |swim, now| swim.handle_host_answer(now, peer, refused));
            }
            "garbage" => {
                for garbage in [&b""[..], b"\x01\x01", b"\x01\x01\xff", b"\x01\xc1", &[0xff; 2_000]]
                {
                    self.receive(arguments[0], garbage);
                }
            }
            "raw" => {
                let mut bytes = arguments[1].to_owned();
                for &node in self.nodes.keys() {
                    bytes = bytes.replace(&format!("{{n{node}}}"), &id(node).to_string());
                }
                self.receive(arguments[0], &script::hex(&bytes));
            }
            "replay" => self.replay(line, arguments[0]),
            "show" => self.shown = arguments.iter().map(|&word| word.to_owned()).collect(),
            "run" => {
                self.awaited = text(line, "until").map(str::to_owned);
                let longest = if self.awaited.is_some() { "60s" } else { arguments[0] };
                self.run_until(self.now + duration(longest));
                self.print_news();
            }
            "members" => self.print_members(),
            "tagged" => self.print_tags(node(0), node(1)),
            "held" => self.print_hold(node(0), node(1)),
            "unreached" => self.print_unreached(node(0)),
            "converged" => self.print_converged(),
            "phi" => self.print_phi(node(0), node(1)),
            "stats" => self.print_counter(node(0), arguments[1]),
            "link" => self.print_link(node(0), node(1)),
            "why" => self.print_why(node(0), node(1)),
            _ => panic!("unknown command in `{line}`"),
        }
    }

    fn configure(&mut self, setting: &str) {
        let (name, value) = setting.split_once('=').unwrap();
        match name {
            "period" => self.config.period = duration(value),
            "max_period" => self.config.max_period = Some(duration(value)),
            "hosts" => self.default_host = host(value),
            "pause_tolerance" => self.config.pause_tolerance = duration(value),
            "hang_tolerance" => self.config.hang_tolerance = duration(value),
            "signed_votes" => self.config.signed_votes = value.parse().unwrap(),
            "evict_degraded_after" => self.config.evict_degraded_after = Some(duration(value)),
            "phi_threshold" => self.config.phi_threshold = value.parse().unwrap(),
            "retention" => self.config.retention = duration(value),
            "ask_application" => self.config.ask_application = value.parse().unwrap(),
            "flap_suppress" => self.config.flap_suppress = value.parse().unwrap(),
            "flap_reuse" => self.config.flap_reuse = value.parse().unwrap(),
            "flap_half_life" => self.config.flap_half_life = duration(value),
            "max_members" => self.config.max_members = value.parse().unwrap(),
            _ => panic!("unknown setting {name}"),
        }
    }

    fn start_cluster(&mut self, nodes: u64, seed: u64) {
        self.seed = seed;
        self.rng = ChaCha8Rng::seed_from_u64(seed);
        let shown = std::mem::take(&mut self.shown);
        self.is_forming = true;
        for node in 1..=nodes as usize {
            self.start(node, 0);
        }
        for node in 2..=nodes as usize {
            let through = self.peer(1);
            self.input(node, |swim, now| swim.join(now, through));
        }
        // News is piggybacked for a while after everyone has it; scenarios begin when all is quiet.
        self.run_until(self.now + Duration::from_secs(60));
        self.is_forming = false;
        let first = self.nodes[&1].swim.fingerprint();
        assert!(self.nodes.values().all(|node| node.swim.fingerprint() == first), "no agreement");
        self.shown = shown;
        self.bytes.clear();
    }

    fn start(&mut self, node: usize, generation: u32) {
        self.start_as(node, generation, "");
    }

    /// Starts a process with what this line of the script says of it.
    fn start_as(&mut self, node: usize, generation: u32, line: &str) {
        let own_name = format!("n{node}");
        let name = Name::try_from(text(line, "name").unwrap_or(&own_name)).unwrap();
        let addrs = vec![addr(text(line, "addr").map_or(node, number))];
        let tags = script::tags(text(line, "tags").as_slice());
        let mut local = Local::new(name, addrs, Generation(generation));
        local.profile.tags = tags;
        let keys = Arc::new(TestKeys(node));
        let seed = self.seed.wrapping_mul(1_000) + node as u64;
        let mut swim = Swim::new(self.now, local, self.config.clone(), keys, seed).unwrap();
        let mut expelling = Expelling::of(&mut swim, self.now);
        expelling.set_admin_keys(&[ADMIN.public_key()]);
        if let Some(earlier) = self.nodes.get(&node) {
            let kept = Expelling::statements(&earlier.swim).map(|kept| (**kept).clone());
            expelling.restore(kept.collect());
        }
        let node_state = Node {
            swim,
            process: Process::Running,
            host: self.default_host,
            answers: script::answers("no-handler"),
            asked: Vec::new(),
            takes: Ok(()),
            run: self.nodes.get(&node).map_or(0, |earlier| earlier.run + 1),
            generation,
            connected: BTreeMap::new(),
            waiting: Vec::new(),
        };
        self.nodes.insert(node, node_state);
    }

    /// A stopped process goes on: everything that arrived meanwhile is handled before any timer fires.
    fn resume(&mut self, node: usize) {
        let state = self.node(node);
        state.process = Process::Running;
        for delivery in std::mem::take(&mut state.waiting) {
            self.deliver(delivery);
        }
    }

    fn node(&mut self, node: usize) -> &mut Node {
        self.nodes.get_mut(&node).unwrap()
    }

    fn peer(&self, node: usize) -> Peer {
        Peer { id: id(node), addr: addr(node) }
    }

    /// Gives `nX->nY` a datagram that no core made.
    fn receive(&mut self, way: &str, payload: &[u8]) {
        let (from, to) = way.split_once("->").unwrap();
        let from = self.peer(number(from));
        self.input(number(to), |swim, now| swim.handle_datagram(now, from, payload));
    }

    fn replay(&mut self, line: &str, way: &str) {
        let (from, to) = way.split_once("->").unwrap();
        let key = (number(from), number(to), text(line, "kind").unwrap().to_owned());
        let mut payload = self.sent.get(&key).unwrap_or_else(|| panic!("never: {line}")).clone();
        if line.ends_with(" forged") {
            *payload.last_mut().unwrap() ^= 1;
        }
        let from = text(line, "as").unwrap_or(from);
        self.receive(&format!("{from}->{to}"), &payload);
    }

    fn input(&mut self, node: usize, input: impl FnOnce(&mut Swim, Instant)) {
        let now = self.now;
        let swim = &mut self.node(node).swim;
        input(swim, now);
        let outputs: Vec<_> = std::iter::from_fn(|| swim.poll_output()).collect();
        for output in outputs {
            self.handle_output(node, output);
        }
    }

    fn handle_output(&mut self, node: usize, output: Output) {
        match output {
            Output::Datagram { to, payload } => self.send(node, to, Carried::Datagram(payload)),
            Output::Stream { to, payload } => self.send(node, to, Carried::Stream(payload)),
            Output::Event(event) => {
                let (name, member) = (name(event.member.id()), &event.member);
                let version = format!("v{}.{}", member.generation().0, member.incarnation().0);
                let change = event.change.as_str();
                let said = print::said(&event);
                self.show_event(node, format!("{name} {version} {change}{said}"));
            }
            Output::SendMessage { to, payload, .. } => {
                self.send(node, to, Carried::Stream(payload));
            }
            Output::Sent { message, receipt } => {
                let (from, topic, run) = (name(message.from), message.topic, message.generation.0);
                let body = String::from_utf8_lossy(&message.body).into_owned();
                self.show_event(node, format!("message of {from} r{run} {topic}: {body}"));
                let result = self.nodes[&node].takes;
                if let Some(receipt) = receipt {
                    self.input(node, |swim, now| swim.sending(now).handle_receipt(receipt, result));
                }
            }
            Output::SendEnded { ticket, result } => {
                let result = match result {
                    Ok(()) => "taken".to_owned(),
                    Err(failure) => failure.to_string(),
                };
                let number = ticket.0 & u64::from(u32::MAX);
                self.show_event(node, format!("message #{number}: {result}"));
            }
            Output::Query { token, from, topic, body, .. } => {
                let text = String::from_utf8_lossy(&body).into_owned();
                self.show(
                    "asked",
                    format!("{} n{node} is asked by {} {topic} {text}", self.now, name(from)),
                );
                match self.nodes[&node].answers {
                    None => self.node(node).asked.push(token),
                    Some(answer) => {
                        let answer = answer(&text);
                        self.input(node, |swim, now| {
                            swim.querying(now).reply(token, answer).unwrap();
                        });
                    }
                }
            }
            Output::QueryOutcome { id, member, outcome } => {
                let (member, what) = (name(member), print::outcome(&outcome));
                self.show("query", format!("{} n{node}: query {id} {member} {what}", self.now));
            }
            Output::Pinged { paths, .. } => {
                self.show("ping", format!("{} n{node}: pinged by {} paths", self.now, paths.len()));
            }
            Output::QueryEnded { id } => {
                self.show("query", format!("{} n{node}: query {id} ended", self.now));
            }
            Output::Disconnect(peer) => {
                if let Some(to_run) = self.node(node).connected.remove(&peer) {
                    let (to, from_run) = (keys::node(peer).unwrap(), self.nodes[&node].run);
                    let carried = Carried::End(Disconnection::Closed);
                    let end = Delivery { from: node, from_run, to, to_run, carried };
                    if !self.is_split(node, to) {
                        self.carry(LATENCY, end);
                    }
                }
            }
            Output::JoinEnded { through, result } => {
                let result = match result {
                    Ok(()) => "admitted".to_owned(),
                    Err(refusal) => format!("refused: {refusal}"),
                };
                self.show_event(node, format!("join {} {result}", name(through)));
            }
            Output::Newcomer { from, .. } if self.is_forming => {
                self.input(node, |swim, now| swim.handle_decision(now, from.id, Ok(())));
            }
            Output::Newcomer { from, record } => {
                let text = format!("asked about {} called {}", name(from.id), record.name());
                self.show_event(node, text);
            }
            Output::AskHost { to, question, .. } => self.ask_host(node, to, question),
            Output::Isolated(isolated) => {
                let word = if isolated { "isolated" } else { "no longer isolated" };
                self.show_event(node, word.to_owned());
            }
            Output::Data(event) => {
                let what = match event.update {
                    DataUpdate::Put { key, value } => {
                        format!("{key}={}", String::from_utf8_lossy(&value))
                    }
                    DataUpdate::Delete { key } => format!("{key} deleted"),
                    DataUpdate::Expire { key } => format!("{key} expired"),
                    DataUpdate::OwnerGone(why) => format!("owner {why:?}").to_lowercase(),
                    other => format!("{other:?}"),
                };
                self.show_event(node, format!("data of {} {what}", name(event.owner)));
            }
            Output::Message(message) => self.show_event(node, print::message(&message)),
            Output::MessagesMissed { from, count } => {
                self.show_event(node, format!("missed {count} messages of {}", name(from)));
            }
            Output::KeepPromise { office, term } => {
                self.show("promises", format!("{} n{node} promises {office} {term}", self.now));
                self.input(node, |swim, now| swim.leading(now).handle_kept(&office, term));
            }
            Output::Office(event) => {
                if let Some(text) = print::office(&event) {
                    self.show("offices", format!("{} n{node} {text}", self.now));
                }
            }
            Output::Expulsion(event) => {
                if let ExpulsionEvent::Stated(statement) = event {
                    let AdminStatement { subject, standing, .. } = *statement;
                    self.show_event(node, format!("{} {standing}", name(subject)));
                }
            }
            Output::LeaveConfirmed(by) => {
                self.show_event(node, format!("leave confirmed by {}", name(by)));
            }
            Output::IdentityInUse(addr) => {
                self.show_event(node, format!("another process has its key at {addr}"));
            }
            Output::Generation(generation) => {
                self.node(node).generation = generation.0;
                self.show_event(node, format!("takes generation {}", generation.0));
            }
        }
    }

    fn send(&mut self, from: usize, to: Peer, carried: Carried) {
        let to_id = to.id;
        let to = keys::node(to_id).expect("messages go to members");
        let (payload, is_stream) = match &carried {
            Carried::Datagram(payload) => (payload, false),
            Carried::Stream(payload) => (payload, true),
            Carried::End(_) => unreachable!("cores send datagrams and streams"),
        };
        self.bytes.extend_from_slice(payload);
        let parts = describe(payload, &TestKeys(from), &name);
        assert!(parts.iter().all(|part| !part.starts_with("undecodable")), "{parts:?}");
        assert!(is_stream || payload.len() <= self.config.max_datagram_bytes);
        let mut kinds: Vec<_> = parts.iter().filter_map(|part| part.split(' ').next()).collect();
        self.awaited.take_if(|awaited| kinds.contains(&awaited.as_str()));
        for kind in &kinds {
            self.sent.insert((from, to, (*kind).to_owned()), payload.clone());
        }
        kinds.push(if is_stream { "stream" } else { "datagram" });
        kinds.extend((payload.len() > LARGE_BYTES).then_some("large"));
        let fate = self.fate(from, to, &kinds, is_stream);
        let suffix = if fate == Fate::Lost { "   lost" } else { "" };
        let way = if is_stream { "=>" } else { "->" };
        for (part, kind) in parts.iter().zip(kinds) {
            self.show(kind, format!("{} n{from}{way}n{to} {part}{suffix}", self.now));
        }
        let Some(run) = self.nodes.get(&to).map(|receiver| receiver.run) else {
            return;
        };
        let (sender, understands) = (self.release(from), self.release(to));
        let mut relays = false;
        let mut translate = |payload: &[u8]| {
            let sent = sender.sent(from, payload);
            relays = sender != Release::Next && release::has_later_field(&sent);
            understands.understood(to, &sent)
        };
        let carried = match carried {
            Carried::Datagram(payload) => Carried::Datagram(translate(&payload)),
            Carried::Stream(payload) => Carried::Stream(translate(&payload)),
            Carried::End(reason) => Carried::End(reason),
        };
        if relays {
            self.show("relayed", format!("{} n{from}{way}n{to} relays a later field", self.now));
        }
        let from_run = self.nodes[&from].run;
        let to_run = self.nodes[&from].connected.get(&to_id).copied().unwrap_or(run);
        let delivery = Delivery { from, from_run, to, to_run, carried };
        match fate {
            Fate::Arrives => self.carry(LATENCY, delivery),
            Fate::Lost => {}
            Fate::Twice => {
                self.carry(LATENCY, delivery.clone());
                self.carry(LATENCY, delivery);
            }
            Fate::Late(delay) => self.carry(LATENCY + delay, delivery),
        }
    }

    /// A call was refused, if it was.
    /// The administrator hands a statement about a member to a node.
    fn administer(&mut self, node: usize, subject: usize, standing: Standing) {
        let at = (self.now - Instant::START).as_millis() as u64;
        let statement = AdminStatement::new([0; 8], id(subject), standing, at).sign(&ADMIN);
        let mut result = Ok(());
        self.input(node, |swim, now| result = Expelling::of(swim, now).state(statement));
        self.print_refusal(node, result);
    }

    fn print_refusal(&mut self, node: usize, result: Result<(), impl std::fmt::Display>) {
        if let Err(error) = result {
            let line = format!("{} n{node} refuses: {error}", self.now);
            self.print_news();
            writeln!(self.seen, "{line}").unwrap();
        }
    }

    fn release(&self, node: usize) -> Release {
        self.releases.get(&node).copied().unwrap_or_default()
    }

    fn carry(&mut self, delay: Duration, delivery: Delivery) {
        self.count += 1;
        self.in_flight.insert((self.now + delay, self.count), delivery);
    }

    fn ask_host(&mut self, node: usize, to: Peer, question: Question) {
        let subject = keys::node(to.id).unwrap();
        let answer = match self.nodes.get(&subject).map(|node| (node.host, node.process)) {
            _ if self.is_split(node, subject) => HostAnswer::Nothing,
            None | Some((Host::Never | Host::Down, _)) => HostAnswer::Nothing,
            Some((Host::Answers, Process::Killed)) if question == Question::Silence => {
                HostAnswer::PortRefused
            }
            Some((Host::Answers, _)) => HostAnswer::Answers,
        };
        let delay = if answer == HostAnswer::Nothing { LATENCY * 100 } else { LATENCY };
        self.show("host", format!("{} n{node} asks the host of n{subject}: {answer:?}", self.now));
        self.count += 1;
        self.answers.insert((self.now + delay, self.count), (node, to.id, answer));
    }

    fn is_split(&self, from: usize, to: usize) -> bool {
        self.apart.contains(&from) != self.apart.contains(&to)
    }

    fn fate(&mut self, from: usize, to: usize, kinds: &[&str], is_stream: bool) -> Fate {
        let luck = self.rng.random::<f64>();
        let is_unlucky = luck < self.loss && !is_stream;
        let rule = self.rules.iter_mut().find(|rule| rule.is_about(from, to, kinds));
        let fate = rule.map_or(Fate::Arrives, |rule| rule.take(luck));
        if self.is_split(from, to) || is_unlucky { Fate::Lost } else { fate }
    }

    fn run_until(&mut self, until: Instant) {
        let is_awaited = self.awaited.is_some();
        loop {
            let arrival = self.in_flight.first_key_value().map(|(&(at, _), _)| at);
            let answer = self.answers.first_key_value().map(|(&(at, _), _)| at);
            let timers = self.running().into_iter();
            let timer = timers.filter_map(|(n, node)| Some((node.swim.poll_timeout()?, n))).min();
            // Inputs before timers.
            let next = [arrival, answer, timer.map(|(due, _)| due)].into_iter().flatten().min();
            let Some(next) = next.filter(|&next| next <= until) else {
                self.now = until;
                return;
            };
            self.now = self.now.max(next);
            if arrival == Some(next) {
                let (_, delivery) = self.in_flight.pop_first().unwrap();
                self.deliver(delivery);
            } else if answer == Some(next) {
                let (_, (node, id, answer)) = self.answers.pop_first().unwrap();
                if self.nodes[&node].process == Process::Running {
                    self.input(node, |swim, now| swim.handle_host_answer(now, id, answer));
                }
            } else if let Some((_, node)) = timer {
                self.input(node, Swim::handle_timeout);
            }
            if is_awaited && self.awaited.is_none() {
                return;
            }
        }
    }

    fn deliver(&mut self, delivery: Delivery) {
        let (from, to) = (self.peer(delivery.from), delivery.to);
        let receiver = self.node(to);
        match receiver.process {
            Process::Killed => return,
            // A datagram of a connection to an earlier run is answered with a stateless reset.
            _ if receiver.run != delivery.to_run => {
                return self.reset(&delivery);
            }
            Process::Stopped => {
                receiver.waiting.push(delivery);
                return;
            }
            Process::Running => {}
        }
        if let Carried::End(reason) = delivery.carried {
            if receiver.connected.remove(&from.id).is_some() {
                self.input(to, |swim, now| swim.handle_disconnected(now, from.id, reason));
            }
            return;
        }
        let known = receiver.connected.get(&from.id).copied();
        if known.is_none_or(|run| run < delivery.from_run) {
            receiver.connected.insert(from.id, delivery.from_run);
            self.input(to, |swim, now| swim.handle_connected(now, from));
        }
        self.input(to, |swim, now| match &delivery.carried {
            Carried::Datagram(payload) => swim.handle_datagram(now, from, payload),
            Carried::Stream(payload) => swim.handle_stream(now, from, payload),
            Carried::End(_) => {}
        });
    }

    fn reset(&mut self, refused: &Delivery) {
        let is_open =
            self.nodes[&refused.from].connected.get(&id(refused.to)) == Some(&refused.to_run);
        if is_open && !self.is_split(refused.from, refused.to) {
            let (from, from_run) = (refused.to, self.nodes[&refused.to].run);
            let (to, to_run) = (refused.from, refused.from_run);
            let carried = Carried::End(Disconnection::Reset);
            self.carry(LATENCY, Delivery { from, from_run, to, to_run, carried });
        }
    }

    fn running(&self) -> Vec<(usize, &Node)> {
        let nodes = self.nodes.iter().filter(|(_, node)| node.process == Process::Running);
        nodes.map(|(&number, node)| (number, node)).collect()
    }

    fn show_event(&mut self, node: usize, text: String) {
        self.show("events", format!("{} n{node}: {text}", self.now));
        if !self.shown.contains("news") {
            return;
        }
        let now = self.now;
        match self.news.iter_mut().find(|(known, ..)| *known == text) {
            Some((_, _, last, nodes)) => {
                *last = now;
                nodes.push(node);
            }
            None => self.news.push((text, now, now, vec![node])),
        }
    }

    fn show(&mut self, kind: &str, line: String) {
        if self.shown.contains(kind) || self.shown.contains("all") {
            writeln!(self.seen, "{line}").unwrap();
        }
    }
}

/// The query of a line `query nX TOPIC TEXT [filter=FILTER] [timeout=TIME] [first=N|sample=N]`.
fn query_request(line: &str, arguments: &[&str]) -> QueryRequest {
    let mut request = QueryRequest::new(arguments[1].parse().unwrap(), arguments[2].as_bytes());
    request.filter = text(line, "filter").unwrap_or_default().parse().unwrap();
    request.timeout = text(line, "timeout").map_or(request.timeout, duration);
    let first = text(line, "first").map(|many| Select::First(many.parse().unwrap()));
    let sample = text(line, "sample").map(|many| Select::Sample(many.parse().unwrap()));
    request.select = first.or(sample).unwrap_or_default();
    request
}

/// The message of a line `send nX nY TOPIC TEXT [generation=G]`.
fn send_request(line: &str, arguments: &[&str]) -> SendRequest {
    let topic = arguments[2].parse().unwrap();
    let mut request = SendRequest::new(id(number(arguments[1])), topic, arguments[3].as_bytes());
    request.generation = text(line, "generation").map(|number| Generation(number.parse().unwrap()));
    request
}
