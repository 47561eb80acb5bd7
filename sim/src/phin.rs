//! The driver of the real core, which only translates inputs and outputs.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use phin_swim::{
    AdminStatement, Change, Config, ConfigError, Expelling, Keys, Local, MemberData, MemberId,
    MemberState, Message, Name, NotTaken, Office, OfficeEvent, OfficeRules, Output, PublishRequest,
    QueryAnswer, QueryToken, Receipt, Route, ServingState, Standing, Swim, Template, Term,
};

use crate::{
    keys::SimKeys,
    liar::{self, Liar, observers_among},
    lie::Lies,
    node::{
        Action, Belief, Channel, DataLine, Generation, HostId, Input, Instant, Knowledge, Line,
        MessageLine, MessageNews, NodeId, Notice, OfficeChange, OfficeNews, Peer, Process,
        Protocol, Start, Transport, Usage, secs,
    },
    protocols::{ProtocolKind, SettingsError},
    settings::ConfigSettings,
    trace::TraceHash,
    traffic::PartBytes,
};

/// The real phin.
pub struct Phin {
    name: String,
    config: Config,
    seed: u64,
    nodes: u32,
    template: Template,
}

impl Phin {
    /// Creates the protocol with this configuration, for a cluster that starts with `nodes` members.
    ///
    /// # Errors
    /// If the configuration is invalid. The error names the setting.
    pub fn new(name: &str, config: Config, seed: u64, nodes: u32) -> Result<Self, ConfigError> {
        let members = (0..nodes).map(|number| {
            let keys = SimKeys { node: NodeId(number), seed };
            (local(NodeId(number), HostId(number), Generation(1)), keys)
        });
        let template = Template::new(&config, members)?;
        Ok(Self { name: name.to_owned(), config, seed, nodes, template })
    }

    /// A profile of phin with other settings, where they are given.
    ///
    /// # Errors
    /// The protocol is not phin, or the settings cannot be used.
    pub(crate) fn of(
        kind: ProtocolKind,
        settings: &ConfigSettings,
        seed: u64,
        nodes: u32,
    ) -> Result<Self, SettingsError> {
        let mut config = kind.config().ok_or(SettingsError::NotOfPhin(kind))?;
        settings.apply(&mut config);
        Ok(Self::new(kind.as_str(), config, seed, nodes)?)
    }

    /// The same with so many keys, and as many bytes in each, as data of each member from the start.
    pub(crate) fn with_data(mut self, keys: usize, bytes: usize) -> Self {
        let names: Vec<_> = (0..keys).map(|key| format!("k{key}")).collect();
        for node in (0..self.nodes).map(NodeId) {
            let value: Arc<[u8]> = vec![node.0 as u8; bytes].into();
            let entries = names.iter().map(|name| (name.as_str(), Arc::clone(&value)));
            let put = self.template.put_data(&SimKeys { node, seed: self.seed }, entries);
            put.expect("experiments give allowed data");
        }
        self
    }
}

impl Protocol for Phin {
    fn name(&self) -> &str {
        &self.name
    }

    fn transport(&self) -> Transport {
        Transport::Quic
    }

    /// As in the driver: twice the time between two probes of one link, and at least 30 s.
    fn idle_timeout(&self) -> Duration {
        let period = self.config.max_period.unwrap_or(self.config.period);
        (period * (u32::from(self.config.rings) + 1) * 2).max(secs(30))
    }

    fn describe(&self, payload: &[u8]) -> String {
        let keys = SimKeys { node: NodeId(0), seed: self.seed };
        let name = |id| keys.node_of(id).map_or("nobody".to_owned(), |node| node.to_string());
        phin_swim::describe(payload, &keys, &name).join(", ")
    }

    fn start(&self, start: Start) -> Box<dyn Process> {
        let Start { node, host, generation, now, rng_seed, knowledge, .. } = start;
        let keys = SimKeys { node, seed: self.seed };
        let (config, me) = (self.config.clone(), local(node, host, generation));
        let swim = Swim::new(now, me, config, Arc::new(keys), rng_seed);
        let mut swim = swim.expect("the template was made with the same configuration");
        swim.leading(now).restore(start.promises);
        if knowledge == Knowledge::Everyone {
            self.template.give_to(&mut swim);
        }
        restore_statements(&mut swim, now, keys.admin(), &start.statements);
        let published = own_data(&swim);
        let (changed, unclaimed, asked, unkept) = Default::default();
        Box::new(PhinProcess { swim, keys, published, changed, unclaimed, asked, unkept })
    }

    fn parts(&self, payload: &[u8]) -> PartBytes {
        let mut bytes = PartBytes::default();
        for part in liar::split(payload) {
            let len = part.len() as u64;
            match part.first() {
                Some(1 | 2) => bytes.pings += 1,
                Some(21) => bytes.fingerprints += len,
                Some(22) => bytes.announced += len,
                Some(23) => bytes.asked += len,
                Some(24) => bytes.changes += len,
                Some(29) => {
                    bytes.publications += 1;
                    bytes.published += len;
                }
                Some(30..=32) => {
                    bytes.controls += 1;
                    bytes.controlled += len;
                }
                _ => {}
            }
        }
        bytes
    }

    fn statement(&self, subject: NodeId, is_expelled: bool, at: u64) -> Option<Vec<u8>> {
        let keys = SimKeys { node: subject, seed: self.seed };
        let standing = if is_expelled { Standing::Expelled } else { Standing::Readmitted };
        let statement = AdminStatement::new(keys.cluster_tag(), keys.id(), standing, at);
        Some(statement.sign(&keys.admin()).to_bytes())
    }

    fn observers(&self, running: &[NodeId], subject: NodeId) -> Vec<NodeId> {
        let keys = SimKeys { node: subject, seed: self.seed };
        let running = running.iter().copied();
        let observers = observers_among(keys, self.config.rings, running, subject);
        observers.into_iter().filter_map(|id| keys.node_of(id)).collect()
    }

    fn lie(
        &self,
        process: Box<dyn Process>,
        node: NodeId,
        lies: Lies,
        now: Instant,
    ) -> Box<dyn Process> {
        let keys = SimKeys { node, seed: self.seed };
        Box::new(Liar::new(process, keys, self.config.rings, lies, now))
    }
}

/// Gives a member the key of the administrator, and the statements on its disk.
fn restore_statements(swim: &mut Swim, now: Instant, admin: SimKeys, statements: &[Vec<u8>]) {
    let mut expelling = Expelling::of(swim, now);
    expelling.set_admin_keys(&[admin.public_key()]);
    let statements = statements.iter().map(|bytes| AdminStatement::from_bytes(bytes));
    let statements = statements.map(|read| read.expect("the disk is sound"));
    expelling.restore(statements.collect());
    // They are about members that nobody has seen in the list yet.
    while swim.poll_output().is_some() {}
}

struct PhinProcess {
    swim: Swim,
    keys: SimKeys,
    /// The own data that was last published.
    published: Option<(Generation, u64)>,
    /// The members whose data changed here in this input.
    changed: BTreeSet<MemberId>,
    /// Messages that arrived in this input, for no application.
    unclaimed: Vec<Receipt>,
    /// Queries that arrived in this input. Each is answered with what it asks.
    asked: Vec<(QueryToken, Arc<[u8]>)>,
    /// Votes of this input that are to be kept.
    unkept: Vec<(Office, Term)>,
}

impl PhinProcess {
    fn node(&self, id: MemberId) -> Option<NodeId> {
        self.keys.node_of(id)
    }

    fn peer(&self, peer: phin_swim::Peer) -> Option<Peer> {
        Some(Peer { node: self.node(peer.id)?, host: HostId::at(peer.addr) })
    }

    fn swim_peer(&self, peer: Peer) -> phin_swim::Peer {
        phin_swim::Peer { id: self.member_id(peer.node), addr: peer.host.addr() }
    }

    const fn member_id(&self, node: NodeId) -> MemberId {
        SimKeys { node, ..self.keys }.id()
    }

    /// Translates an output. Returns `None` if it names a member that is not in the run.
    fn action(&mut self, output: Output) -> Option<Action> {
        Some(match output {
            Output::Datagram { to, payload } => {
                Action::Send { to: self.peer(to)?, channel: Channel::Datagram, payload }
            }
            Output::Stream { to, payload } => {
                Action::Send { to: self.peer(to)?, channel: Channel::Stream, payload }
            }
            Output::Disconnect(id) => Action::Disconnect(self.node(id)?),
            Output::Event(event) => {
                let belief = match event.change {
                    Change::Joined | Change::Alive | Change::Suppressed => Belief::Alive,
                    Change::Suspect => Belief::Suspect,
                    Change::Dead => Belief::Dead,
                    Change::Left => Belief::Left,
                    Change::Degraded | Change::Recovered => {
                        let is_degraded = event.change == Change::Degraded;
                        return Some(Action::Degraded(self.node(event.member.id())?, is_degraded));
                    }
                    // `Updated`, `Forgotten` and `NameConflict` change nothing that a member is believed to be.
                    _ => return None,
                };
                let subject = self.node(event.member.id())?;
                let version = event.member.version();
                Action::Notice(Notice { subject, belief, version })
            }
            Output::Generation(generation) => Action::Generation(generation),
            Output::AskHost { to, question, patience } => {
                Action::AskHost { about: self.peer(to)?, question, patience }
            }
            Output::Isolated(is_isolated) => Action::Isolated(is_isolated),
            Output::Data(event) => {
                self.changed.insert(event.owner);
                return None;
            }
            Output::SendMessage { to, payload, .. } => {
                Action::Send { to: self.peer(to)?, channel: Channel::Stream, payload }
            }
            Output::Sent { receipt, .. } => {
                self.unclaimed.extend(receipt);
                return None;
            }
            Output::Query { token, body, .. } => {
                self.asked.push((token, body));
                return None;
            }
            Output::Message(message) => {
                Action::Message(MessageNews::Delivered(self.message_line(&message)?))
            }
            Output::MessagesMissed { from, count } => {
                Action::Message(MessageNews::Missed { from: self.node(from)?, count })
            }
            Output::Expulsion(_) => {
                let statements = Expelling::statements(&self.swim);
                Action::KeepStatements(statements.map(|kept| kept.to_bytes()).collect())
            }
            Output::KeepPromise { office, term } => {
                self.unkept.push((office, term));
                return None;
            }
            Output::Office(event) => Action::Office(self.office_news(event)?),
            // A simulation has no application to ask.
            Output::SendEnded { .. }
            | Output::QueryOutcome { .. }
            | Output::QueryEnded { .. }
            | Output::Pinged { .. }
            | Output::Newcomer { .. }
            | Output::JoinEnded { .. }
            | Output::LeaveConfirmed(_)
            | Output::IdentityInUse(_) => {
                return None;
            }
        })
    }

    fn drain(&mut self, now: Instant, actions: &mut Vec<Action>) {
        loop {
            while let Some(output) = self.swim.poll_output() {
                let action = self.action(output);
                actions.extend(action);
            }
            if let Some(receipt) = self.unclaimed.pop() {
                self.swim.sending(now).handle_receipt(receipt, Err(NotTaken::NoReceiver));
            } else if let Some((office, term)) = self.unkept.pop() {
                self.keep(now, &office, term, actions);
            } else if let Some((token, body)) = self.asked.pop() {
                // If two queries arrive together, one may end before its answer.
                let _ = self.swim.querying(now).reply(token, QueryAnswer::Reply(body));
            } else {
                break;
            }
        }
        self.report_data(actions);
    }

    /// Keeps the votes of the member on its disk, this one among them.
    fn keep(&mut self, now: Instant, office: &Office, term: Term, actions: &mut Vec<Action>) {
        let promises = self.swim.offices().promises();
        let kept = promises.of.iter().find(|promise| promise.office == *office);
        if let Some(to) = kept.and_then(|kept| self.node(kept.candidate)) {
            let what = OfficeChange::Granted { term: term.0, to };
            actions.push(Action::Office(OfficeNews { office: office.as_str().into(), what }));
        }
        actions.push(Action::Keep(promises));
        self.swim.leading(now).handle_kept(office, term);
    }

    /// An event of an office; `None` if its holder is not in the run.
    fn office_news(&self, event: OfficeEvent) -> Option<OfficeNews> {
        let (office, what) = match event {
            OfficeEvent::Elected { office, token, valid_until } => {
                (office, OfficeChange::Elected { term: token.0, valid_until })
            }
            OfficeEvent::Renewed { office, valid_until } => {
                (office, OfficeChange::Renewed { valid_until })
            }
            OfficeEvent::Lost { office, token, .. } => {
                (office, OfficeChange::Lost { term: token.0 })
            }
            OfficeEvent::Following { office, member, token } => {
                (office, OfficeChange::Following { member: self.node(member)?, term: token.0 })
            }
            OfficeEvent::Vacant { office, why } => (office, OfficeChange::Vacant(why.as_str())),
        };
        Some(OfficeNews { office: office.as_str().into(), what })
    }

    /// Stands for an office, unless that is refused.
    fn stand(
        &mut self,
        now: Instant,
        (name, rules): (&str, OfficeRules),
        actions: &mut Vec<Action>,
    ) {
        let office: Office = name.parse().expect("simulated offices are well formed");
        let what = OfficeChange::Stands(rules.expected);
        if self.swim.leading(now).stand(office, rules).is_ok() {
            actions.push(Action::Office(OfficeNews { office: name.into(), what }));
        }
    }

    /// The message as a line; `None` if its publisher is not in the run.
    fn message_line(&self, message: &Message) -> Option<MessageLine> {
        let Message { from, generation, topic, body, route, .. } = message;
        let &Route::Published { sequence, hops, .. } = route else {
            return None;
        };
        let (from, generation, content) =
            (self.node(*from)?, *generation, message_hash(topic.as_str(), body));
        Some(MessageLine { from, generation, sequence, hops, bytes: body.len(), content })
    }

    /// Publishes a message. The publication is recorded before its delivery here.
    fn publish(
        &mut self,
        now: Instant,
        (topic, body, filter): (&str, &[u8], &str),
        actions: &mut Vec<Action>,
    ) {
        let topic_name = topic.parse().expect("simulated topics are well formed");
        let mut request = PublishRequest::new(topic_name, body);
        request.filter = filter.parse().expect("scenarios are checked before they run");
        let generation = self.swim.members().me().generation();
        let news = match self.swim.sending(now).publish(request) {
            Ok(sequence) => {
                let (from, hops, bytes) = (self.keys.node, 0, body.len());
                let content = message_hash(topic, body);
                let line = MessageLine { from, generation, sequence, hops, bytes, content };
                MessageNews::Published { line, is_filtered: !filter.is_empty() }
            }
            Err(_) => MessageNews::Refused,
        };
        actions.push(Action::Message(news));
    }

    /// Reports the data of others that changed, and the own data once it is published: a draft is nobody's business.
    fn report_data(&mut self, actions: &mut Vec<Action>) {
        let me = self.swim.id();
        self.changed.remove(&me);
        let published = own_data(&self.swim);
        if published != self.published {
            self.published = published;
            self.changed.insert(me);
        }
        if self.changed.is_empty() {
            return;
        }
        let data = self.swim.data();
        for owner in std::mem::take(&mut self.changed) {
            let line = data.of(owner).map(|data| data_line(data));
            actions.extend(self.node(owner).map(|owner| Action::Data(owner, line)));
        }
    }
}

impl Process for PhinProcess {
    fn handle(&mut self, now: Instant, input: Input<'_>, actions: &mut Vec<Action>) {
        match input {
            Input::Message { from, channel: Channel::Datagram, payload } => {
                self.swim.handle_datagram(now, self.swim_peer(from), payload);
            }
            Input::Message { from, channel: Channel::Stream, payload } => {
                self.swim.handle_stream(now, self.swim_peer(from), payload);
            }
            Input::Timeout => self.swim.handle_timeout(now),
            Input::Connected(peer) => self.swim.handle_connected(now, self.swim_peer(peer)),
            Input::Disconnected(node, reason) => {
                self.swim.handle_disconnected(now, self.member_id(node), reason);
            }
            Input::Unreachable(node, reason) => {
                self.swim.handle_unreachable(now, self.member_id(node), reason);
            }
            Input::OtherMember { sought, found } => {
                let found = self.swim_peer(found);
                self.swim.handle_other_member(now, self.member_id(sought), found);
            }
            Input::HostAnswer { about, answer } => {
                self.swim.handle_host_answer(now, self.member_id(about), answer);
            }
            Input::Join(peers) => {
                for &peer in peers {
                    self.swim.join(now, self.swim_peer(peer));
                    self.drain(now, actions);
                }
            }
            Input::Leave => {
                self.swim.leave(now);
            }
            // An error changes nothing. The scenario states what it expects.
            Input::Moved(host) => self.swim.move_to(now, vec![host.addr()]),
            Input::Administer(statement) => {
                if let Some(statement) = AdminStatement::from_bytes(statement) {
                    // A statement that is superseded is refused.
                    let _ = Expelling::of(&mut self.swim, now).state(statement);
                }
            }
            Input::Forget(node) => drop(self.swim.forget(now, self.member_id(node))),
            // A write that exceeds a limit is refused, and changes nothing.
            Input::Put { key, value, time_to_live } => {
                drop(self.swim.put_data(now, key, value, time_to_live));
            }
            Input::Delete(key) => _ = self.swim.delete_data(now, key),
            Input::Tag(value) => {
                let mut tags = self.swim.profile().tags;
                if tags.set("t", value).is_ok() {
                    self.swim.describe(now, |profile| profile.tags = tags);
                }
            }
            Input::Stand { office, filter, expected } => {
                let voters = filter.parse().expect("scenarios are checked before they run");
                self.stand(now, (office, OfficeRules::new(voters, expected)), actions);
            }
            Input::Resign(name) => {
                let office: Office = name.parse().expect("simulated offices are well formed");
                if self.swim.leading(now).resign(&office) {
                    let what = OfficeChange::Resigned;
                    actions.push(Action::Office(OfficeNews { office: name.into(), what }));
                }
            }
            Input::Serve(serves) => self.swim.describe(now, |profile| {
                profile.serving =
                    if serves { ServingState::Serving } else { ServingState::Draining };
            }),
            Input::Publish { topic, body, filter } => {
                self.publish(now, (topic, body, filter), actions);
            }
        }
        self.drain(now, actions);
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.swim.poll_timeout()
    }

    fn fingerprint(&self) -> u64 {
        self.swim.fingerprint().0
    }

    fn belief(&self, node: NodeId) -> Option<Belief> {
        let members = self.swim.members();
        Some(belief(members.get(self.member_id(node))?.state()))
    }

    fn address(&self, node: NodeId) -> Option<HostId> {
        Some(HostId::at(self.swim.members().get(self.member_id(node))?.addr()))
    }

    fn live_len(&self) -> usize {
        self.swim.members().live_len()
    }

    fn lines(&self) -> Vec<Line> {
        let members = self.swim.members();
        let lines = members.iter().filter_map(|member| {
            let (node, version) = (self.node(member.id())?, member.version());
            Some(Line { node, belief: belief(member.state()), version })
        });
        lines.collect()
    }

    fn data_of(&self, owner: NodeId) -> Option<DataLine> {
        self.swim.data().of(self.member_id(owner)).map(|data| data_line(data))
    }

    fn usage(&self, now: Instant) -> Usage {
        Usage { members: self.swim.members().len(), links: self.swim.links(now).len() }
    }
}

/// Which of its own data a member has published.
fn own_data(swim: &Swim) -> Option<(Generation, u64)> {
    let data = swim.data();
    let published = data.of(swim.id()).filter(|data| data.revision().0 > 0);
    published.map(|data| (data.generation(), data.revision().0))
}

fn data_line(data: &MemberData) -> DataLine {
    let mut content = TraceHash::default();
    for (key, value) in data.iter() {
        content.bytes(key.as_bytes());
        content.bytes(value);
    }
    DataLine {
        generation: data.generation(),
        revision: data.revision().0,
        keys: data.len(),
        bytes: data.bytes(),
        content: content.value(),
    }
}

/// The identity of a message.
pub(crate) fn message_hash(topic: &str, body: &[u8]) -> u64 {
    let mut content = TraceHash::default();
    content.bytes(topic.as_bytes());
    content.bytes(body);
    content.value()
}

const fn belief(state: MemberState) -> Belief {
    match state {
        MemberState::Alive => Belief::Alive,
        MemberState::Suspect => Belief::Suspect,
        MemberState::Dead => Belief::Dead,
        MemberState::Left => Belief::Left,
    }
}

fn local(node: NodeId, host: HostId, generation: Generation) -> Local {
    let name = Name::try_from(node.to_string().as_str()).expect("a letter and a number is a name");
    Local::new(name, vec![host.addr()], generation)
}
