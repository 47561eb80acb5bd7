//! The one task that owns the protocol and the transport's receiver.
//!
//! It waits for four things: a message, a command, a host's answer, a deadline. After any of them, it handles
//! everything received first and fires timers last, so that a reply that has arrived is no miss. Nothing it does can
//! wait for a subscriber, a dial or a disk.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::SocketAddr,
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use phin_quic::{CloseReason, DialError, Received, SendError};
use phin_swim::{
    AdminStatement, Change, Data, DataEvent, Disconnection, Event, Expelling, ExpulsionEvent,
    Fingerprint, Generation, HostAnswer, Instant, JoinRefusal, MemberData, MemberId, MemberState,
    Members, Message, Office, OfficeEvent, OfficeRules, Operating, Output, PathPing, Peer, PingId,
    PingRefusal, PingStarted, QueryError as QueryRefusal, QueryId, QueryRequest, QueryToken,
    Question, Receipt, SendFailure, SendRefusal, SendRequest, Silence, Standing, Swim, Ticket,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::{AbortHandle, JoinHandle},
};
use tracing::{debug, error, info, trace, warn};

use crate::{
    AdminPublicKey, Departure, DriverStats, IncomingQuery, Leader, RefusedHandshake, StandError,
    Stats,
    address::is_translated,
    admin::{ExpelResult, Keeping, to_refuse, wall_millis},
    admission::{DECISIONS, Decision, Decisions},
    answers::Answers,
    changes::changes,
    clock::Clock,
    command::{
        AfterLeaving, COMMANDS, Command, JoinResult, Node, NotJoined, PingAnswers, QueryEvent,
        SendOutcome, WatchPhiResult,
    },
    feed::{Publisher, Source},
    keeper::{Keeper, Kept},
    kept_data::KeptEntry,
    keys::{
        disconnection, host_answer, host_question, member_id, peer_id, swim_peer, transport_peer,
        unreachable,
    },
    leadership,
    outsiders::Outsiders,
    pauses::Pauses,
    phi::PhiWatches,
    status::{IdentityConflict, Status},
    subscription::Published,
    topics::Deliverer,
    transport::{Receiver, Transport},
    watch_service::WatchCounters,
};

/// Owns the protocol, runs until it is told to stop or nobody can command it any more.
pub(crate) struct Driver<T: Transport> {
    pub(crate) clock: Clock,
    pub(crate) swim: Swim,
    pub(crate) transport: Arc<T>,
    pub(crate) receiver: T::Receiver,
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) hosts: Hosts,
    pub(crate) decisions: Decisions,
    pub(crate) stop: watch::Receiver<bool>,
    pub(crate) publisher: Publisher<Members, Published>,
    pub(crate) source: Source<Members, Published>,
    pub(crate) data: Publisher<Data, DataEvent>,
    pub(crate) topics: Deliverer,
    pub(crate) answers: Answers,
    pub(crate) watch_counters: Arc<WatchCounters>,
    pub(crate) status: Status,
    /// Whether the application chose the advertised address: then others may well see another one.
    pub(crate) is_advertise_given: bool,
    /// The task that changes the advertised address when this host's, or a name's, changes.
    pub(crate) following_addr: Option<AbortHandle>,
    /// The tasks that live no longer than this one.
    pub(crate) seeking: Vec<JoinHandle<()>>,
    pub(crate) keeper: Option<Keeper>,
    pub(crate) state: State,
}

/// The driver's state between wakes.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// The callers that wait for an answer of a member. Those that stopped waiting are removed at each join.
    joining: BTreeMap<MemberId, Vec<oneshot::Sender<JoinResult>>>,
    leaving: Option<Leaving>,
    /// The callers that wait for the end of a message; the core ends each, at its deadline at the latest.
    sending: BTreeMap<Ticket, oneshot::Sender<SendOutcome>>,
    /// The readers of queries.
    querying: BTreeMap<QueryId, mpsc::Sender<QueryEvent>>,
    /// The callers that wait for the outcomes of a ping; the core ends each, after its timeout at the latest.
    pinging: BTreeMap<PingId, oneshot::Sender<Vec<PathPing>>>,
    /// Messages that arrived with this input, to be delivered after what else it brought.
    arrived: VecDeque<Arrived>,
    /// The candidacies of handles: the office is given up once the handle is gone.
    candidacies: BTreeMap<Office, Weak<()>>,
    /// Votes that are kept, or need not be.
    kept: VecDeque<Kept>,
    /// When the last statement of an administrator is kept.
    keeping: Option<Keeping>,
    pauses: Pauses,
    /// The version of the published list; it also changes without an event, when a long dead member is forgotten, or a
    /// suppressed one dies.
    published: Option<(u64, Fingerprint, usize, usize)>,
    batch: Batch,
    phi_watches: PhiWatches,
    stats: DriverStats,
    /// Verdicts on this node that it had refuted when that was last logged.
    deaths_refuted: u64,
    wanderers: Wanderers,
    outsiders: Outsiders,
}

/// Outputs of one wake, reported when the list that goes with them is published.
#[derive(Debug, Default)]
struct Batch {
    events: Vec<Event>,
    data: Vec<DataEvent>,
    joins: Vec<(MemberId, Result<(), JoinRefusal>)>,
    sends: Vec<(Ticket, SendOutcome)>,
    pings: Vec<(PingId, Vec<PathPing>)>,
    queries: Vec<(QueryId, QueryEvent)>,
    confirmed: Vec<MemberId>,
}

/// Messages that arrived for the application.
#[derive(Debug)]
enum Arrived {
    Message(Message),
    /// A message that is answered.
    Offer(Message, Receipt),
    Missed {
        from: MemberId,
        count: u64,
    },
    Query(IncomingQuery, QueryToken),
}

impl State {
    /// Hands what happened to queries to those that read it. There is room for all of it.
    fn tell_queries(&mut self, queries: Vec<(QueryId, QueryEvent)>) {
        for (id, event) in queries {
            let is_end = matches!(event, QueryEvent::Ended);
            if let Some(events) = self.querying.get(&id) {
                // An error means that nobody reads any more.
                let _ = events.try_send(event);
            }
            if is_end {
                self.querying.remove(&id);
            }
        }
    }
}

/// A departure under way, and everybody who waits for it.
#[derive(Debug)]
struct Leaving {
    confirmed: BTreeSet<MemberId>,
    progress: watch::Sender<Departure>,
}

/// The answers of members' hosts; each question is a task of its own.
pub(crate) struct Hosts {
    answered: mpsc::Sender<(MemberId, HostAnswer)>,
    answers: mpsc::Receiver<(MemberId, HostAnswer)>,
}

impl Hosts {
    pub(crate) fn new() -> Self {
        let (answered, answers) = mpsc::channel(HOST_ANSWERS);
        Self { answered, answers }
    }

    fn ask(&self, transport: &impl Transport, to: Peer, question: Question, patience: Duration) {
        let asked = transport.ask_host(to.addr, host_question(question), patience);
        let answered = self.answered.clone();
        tokio::spawn(async move {
            let answer = host_answer(asked.await);
            // An error means that the node has stopped.
            let _ = answered.send((to.id, answer)).await;
        });
    }
}

impl<T: Transport> Driver<T> {
    pub(crate) async fn run(mut self) {
        self.publish();
        loop {
            let deadline = self.deadline();
            tokio::select! {
                biased;
                () = stopped(&mut self.stop) => break,
                received = self.receiver.receive() => match received {
                    Some(received) => self.on_received(received),
                    None => {
                        error!("the transport closed; the node stops");
                        break;
                    }
                },
                command = self.commands.recv() => match command {
                    Some(command) => self.on_command(command),
                    None => break,
                },
                Some((id, answer)) = self.hosts.answers.recv() => self.on_host_answer(id, answer),
                (id, decision) = self.decisions.next() => self.on_decision(id, decision),
                (office, term) = next_kept(self.keeper.as_mut()) => {
                    self.state.kept.push_back((office, term));
                    self.flush_outputs();
                }
                () = self.clock.sleep_until(deadline) => {}
            }
            self.state.pauses.woke(self.clock.now(), deadline, &mut self.state.stats);
            self.drain_inputs();
            self.fire_timers();
            self.sweep_candidacies(self.clock.now());
            self.publish();
            self.publish_phi();
        }
        self.shut_down().await;
    }

    /// When to wake although nothing happens.
    fn deadline(&self) -> Option<Instant> {
        let due = [self.swim.poll_timeout(), self.state.phi_watches.next()];
        let due = due.into_iter().flatten().min()?;
        Some(self.state.pauses.wake_at(due))
    }

    /// Handles what has been received, asked and found out; of each no more than was waiting.
    fn drain_inputs(&mut self) {
        for _ in 0..MAX_BATCH {
            let Some(received) = self.receiver.try_receive() else { break };
            self.on_received(received);
        }
        for _ in 0..COMMANDS {
            let Ok(command) = self.commands.try_recv() else { break };
            self.on_command(command);
        }
        for _ in 0..HOST_ANSWERS {
            let Ok((id, answer)) = self.hosts.answers.try_recv() else { break };
            self.on_host_answer(id, answer);
        }
        for _ in 0..DECISIONS {
            let Some((id, decision)) = self.decisions.try_next() else { break };
            self.on_decision(id, decision);
        }
    }

    fn fire_timers(&mut self) {
        let (now, due) = (self.clock.now(), self.swim.poll_timeout());
        if !self.state.pauses.may_fire(now, due, &mut self.state.stats) {
            return;
        }
        if due.is_some_and(|due| due <= now) {
            // It can be set, and goes on while the machine sleeps.
            let wall = wall_millis(&self.clock, now);
            Expelling::of(&mut self.swim, now).set_wall_clock(wall);
            self.flush_outputs();
            self.swim.handle_timeout(now);
            self.flush_outputs();
        }
    }

    fn on_received(&mut self, received: Received) {
        let now = self.clock.now();
        if self.is_over_budget(now, &received) {
            self.state.stats.outsiders_dropped += 1;
            return;
        }
        match received {
            Received::Datagram { from, payload } => {
                trace!(peer = %from.id, bytes = payload.len(), "datagram");
                self.swim.handle_datagram(now, swim_peer(from), &payload);
            }
            Received::Stream { from, payload } => {
                trace!(peer = %from.id, bytes = payload.len(), "stream");
                self.swim.handle_stream(now, swim_peer(from), &payload);
            }
            Received::Connected { peer } => {
                self.note_refusal(peer, None);
                self.swim.handle_connected(now, swim_peer(peer));
            }
            Received::Disconnected { peer, reason } => {
                debug!(peer = %peer.id, ?reason, "disconnected");
                let id = member_id(peer.id);
                let reason = match disconnection(&reason) {
                    // The host at that address is not the one that the member says is its own.
                    Disconnection::Reset if self.is_elsewhere(peer) => {
                        self.redial(id);
                        Disconnection::Idle
                    }
                    reason => reason,
                };
                self.swim.handle_disconnected(now, id, reason);
            }
            Received::Unreachable { peer, error } => {
                debug!(peer = %peer.id, addr = %peer.addr, %error, "unreachable");
                let id = member_id(peer.id);
                self.note_refusal(peer, Some(&error));
                self.swim.handle_unreachable(now, id, unreachable(&error));
                self.flush_outputs();
                if let DialError::WrongPeer { found, .. } = error {
                    let found = swim_peer(phin_quic::Peer { id: found, ..peer });
                    self.swim.handle_other_member(now, id, found);
                }
                self.give_up_joining(id);
            }
            Received::PortRefused { peer } => {
                debug!(peer = %peer.id, addr = %peer.addr, "port refused");
                let (id, refused) = (member_id(peer.id), HostAnswer::PortRefused);
                match self.is_elsewhere(peer) {
                    // A gateway forgot the flow; that says nothing of the process behind it.
                    true => self.redial(id),
                    false => self.swim.handle_host_answer(now, id, refused),
                }
            }
            Received::IdentityInUse { addr } => self.on_identity_in_use(addr),
            Received::Expelled { addr, statement } => self.on_expelled(now, addr, &statement),
            Received::Observed { by, addr } => self.on_observed(by, addr),
            Received::SendFailed { peer, error, payload_bytes, bulk } => {
                debug!(peer = %peer.id, %error, payload_bytes, "stream not confirmed");
                match (bulk, send_failure(&error)) {
                    (Some(number), Some(failure)) => {
                        self.swim.sending(now).handle_failure(Ticket(number), failure);
                    }
                    (Some(_), None) => {}
                    (None, _) => self.give_up_joining(member_id(peer.id)),
                }
            }
            // A notice that only a later transport knows.
            _ => {}
        }
        self.flush_outputs();
    }

    /// Whether a message comes from a node that is not a member, and that has sent enough lately.
    fn is_over_budget(&mut self, now: Instant, received: &Received) -> bool {
        let (Received::Datagram { from, payload } | Received::Stream { from, payload }) = received
        else {
            return false;
        };
        let id = member_id(from.id);
        let is_expected =
            self.swim.members().get(id).is_some() || self.state.joining.contains_key(&id);
        !is_expected && !self.state.outsiders.take(id, payload.len(), now)
    }

    /// Whether a member was connected at an address that its record does not have.
    fn is_elsewhere(&self, peer: phin_quic::Peer) -> bool {
        let members = self.swim.members();
        members
            .get(member_id(peer.id))
            .is_some_and(|member| !member.record().addrs().any(|addr| addr == peer.addr))
    }

    /// Dials a member at its advertised address, and gives up what leads elsewhere.
    fn redial(&self, id: MemberId) {
        if let Some(member) = self.swim.members().get(id) {
            self.transport.redial(transport_peer(Peer { id, addr: member.addr() }));
        }
    }

    /// Keeps why a dial was refused, until one comes to something else.
    fn note_refusal(&self, peer: phin_quic::Peer, error: Option<&DialError>) {
        let id = member_id(peer.id);
        self.status.refusals.send_if_modified(|refusals| match error {
            Some(DialError::Refused { refusal, by }) => {
                let (refusal, since) = (refusal.clone(), self.clock.wall(self.clock.now()));
                refusals.add(id, RefusedHandshake { refusal, by: *by, addr: peer.addr, since });
                true
            }
            _ => refusals.remove(id).is_some(),
        });
    }

    /// Another process has this node's key: two members that each hold the other for an older run of itself.
    fn on_identity_in_use(&mut self, addr: SocketAddr) {
        let known = self.status.identity_conflict.borrow().filter(|known| known.is_recent());
        if known.is_none_or(|known| known.addr != addr) {
            error!(%addr, "another process runs with this node's key");
        }
        self.status.identity_conflict.send_replace(Some(IdentityConflict::now(addr)));
    }

    /// A member sees this node's packets come from `observed`. If that is a NAT's address, others may not reach this
    /// node at the one that it advertises. Nothing is changed: what a NAT sends from is not where it lets packets in.
    fn on_observed(&self, by: phin_quic::Peer, observed: SocketAddr) {
        // One warning until the advertised address changes: a member that lies cannot fill the log.
        if self.is_advertise_given || self.status.nat_addr.borrow().is_some() {
            return;
        }
        let members = self.swim.members();
        let me = members.me();
        if is_translated(observed.ip(), me.record().addrs()) {
            let advertised = me.addr();
            warn!(%observed, %advertised, member = %by.id, "this node is behind a NAT: if members cannot reach the advertised address, map a port of the public address and set --advertise to it");
            self.status.nat_addr.send_replace(Some(observed));
        }
    }

    fn on_host_answer(&mut self, id: MemberId, answer: HostAnswer) {
        debug!(member = %id, ?answer, "asked the host of a silent member");
        self.swim.handle_host_answer(self.clock.now(), id, answer);
        self.flush_outputs();
    }

    fn on_decision(&mut self, id: MemberId, decision: Decision) {
        self.swim.handle_decision(self.clock.now(), id, decision);
        self.flush_outputs();
    }

    fn on_command(&mut self, command: Command) {
        let now = self.clock.now();
        match command {
            Command::Join { through, after_leaving, reply } => {
                self.join(now, through, after_leaving, reply);
            }
            // It was on its way when the application chose an address.
            Command::Moved { .. } if self.following_addr.is_none() => {}
            Command::Moved { addr } => {
                // A connection to the old address leads nowhere, and its end cannot be reported to anyone.
                self.transport.give_up_all();
                self.status.nat_addr.send_replace(None);
                self.swim.move_to(now, vec![addr]);
                self.flush_outputs();
                self.publish();
            }
            Command::Ask(question) => question.put(self, now),
        }
        self.flush_outputs();
    }

    fn join(
        &mut self,
        now: Instant,
        through: Peer,
        after_leaving: AfterLeaving,
        reply: oneshot::Sender<JoinResult>,
    ) {
        let has_left = self.swim.members().me().state() == MemberState::Left;
        if has_left && after_leaving == AfterLeaving::StayAway {
            let _ = reply.send(Err(NotJoined::Leaving));
            return;
        }
        if has_left {
            self.state.leaving = None;
        }
        self.state.joining.retain(|_, waiting| {
            waiting.retain(|reply| !reply.is_closed());
            !waiting.is_empty()
        });
        let waiting = self.state.joining.entry(through.id).or_default();
        waiting.push(reply);
        // Two requests to one member at the same time get one answer.
        if waiting.len() == 1 {
            self.swim.join(now, through);
        }
    }

    /// The protocol no longer waits for an answer of this member.
    fn give_up_joining(&mut self, id: MemberId) {
        for reply in self.state.joining.remove(&id).unwrap_or_default() {
            let _ = reply.send(Err(NotJoined::Lost));
        }
    }

    fn flush_outputs(&mut self) {
        loop {
            while let Some(output) = self.swim.poll_output() {
                self.carry_out(output);
            }
            if let Some((office, term)) = self.state.kept.pop_front() {
                self.swim.leading(self.clock.now()).handle_kept(&office, term);
                continue;
            }
            // The answer to a message is an input of its own.
            let Some(arrived) = self.state.arrived.pop_front() else { return };
            self.deliver(arrived);
        }
    }

    fn carry_out(&mut self, output: Output) {
        let batch = &mut self.state.batch;
        match output {
            Output::Datagram { to, payload } => {
                self.transport.send_datagram(transport_peer(to), Bytes::from(payload));
            }
            Output::Stream { to, payload } => {
                self.transport.send_stream(transport_peer(to), Bytes::from(payload));
            }
            Output::SendMessage { to, ticket, payload } => {
                self.transport.send_bulk(transport_peer(to), Bytes::from(payload), ticket.0);
            }
            Output::Disconnect(id) => {
                self.transport.close_peer(peer_id(id), self.close_reason(id));
            }
            Output::Event(event) => batch.events.push(event),
            Output::Data(event) => batch.data.push(event),
            Output::Message(message) => self.state.arrived.push_back(Arrived::Message(message)),
            Output::Sent { message, receipt: None } => {
                self.state.arrived.push_back(Arrived::Message(message));
            }
            Output::Sent { message, receipt: Some(receipt) } => {
                self.state.arrived.push_back(Arrived::Offer(message, receipt));
            }
            Output::MessagesMissed { from, count } => {
                self.state.arrived.push_back(Arrived::Missed { from, count });
            }
            Output::Query { token, from, generation, topic, body, remaining } => {
                let query = IncomingQuery { from, generation, topic, body, remaining };
                self.state.arrived.push_back(Arrived::Query(query, token));
            }
            Output::QueryOutcome { id, member, outcome } => {
                batch.queries.push((id, QueryEvent::Outcome(member, outcome)));
            }
            Output::QueryEnded { id } => batch.queries.push((id, QueryEvent::Ended)),
            Output::SendEnded { ticket, result } => batch.sends.push((ticket, result)),
            Output::Pinged { id, paths } => batch.pings.push((id, paths)),
            Output::JoinEnded { through, result } => batch.joins.push((through, result)),
            Output::LeaveConfirmed(id) => batch.confirmed.push(id),
            Output::AskHost { to, question, patience } => {
                self.hosts.ask(&*self.transport, to, question, patience);
            }
            Output::Newcomer { from, record } => self.decisions.ask(from, &record),
            Output::Isolated(is_isolated) => self.on_isolated(is_isolated),
            Output::Generation(generation) => self.keep(generation),
            Output::KeepPromise { office, term } => match &self.keeper {
                Some(keeper) => keeper.keep_promise((office, term), self.swim.offices().promises()),
                None => self.state.kept.push_back((office, term)),
            },
            Output::Office(event) => self.on_office(&event),
            Output::IdentityInUse(addr) => self.on_identity_in_use(addr),
            Output::Expulsion(event) => {
                self.log_expulsion(&event);
                self.publish_expulsions();
            }
        }
    }

    /// Refuses, keeps and publishes what the statements of administrators say by now.
    fn publish_expulsions(&mut self) {
        let statements = statements(&self.swim);
        self.transport.set_expelled(to_refuse(&statements, self.swim.id()));
        self.state.keeping = self.keeper.as_ref().map(|k| k.keep_expulsions(statements.clone()));
        self.status.expulsions.send_replace(statements);
    }

    fn log_expulsion(&self, event: &ExpulsionEvent) {
        let (statement, is_over) = match event {
            ExpulsionEvent::Stated(statement) => (statement, false),
            ExpulsionEvent::Ended(statement) => (statement, true),
            // An event that was added later.
            _ => return,
        };
        let AdminStatement { subject, standing, at: at_ms, key, .. } = **statement;
        let name = statement.name.as_ref().map(phin_swim::Name::as_str);
        match (is_over, standing) {
            (true, _) => {
                info!(member = %subject, name, %standing, at_ms, %key, "a statement of an administrator ended");
            }
            (false, Standing::Expelled) if subject == self.swim.id() => {
                error!(at_ms, %key, "this node is expelled from the cluster by a statement of an administrator; members refuse it");
            }
            (false, Standing::Expelled) => {
                warn!(member = %subject, name, at_ms, %key, "member is expelled by a statement of an administrator");
            }
            (false, Standing::Readmitted) => {
                info!(member = %subject, name, at_ms, %key, "member may return by a statement of an administrator");
            }
        }
    }

    /// A member refused this node as expelled. If the statement is an administrator's, it is in effect here too.
    fn on_expelled(&mut self, now: Instant, addr: SocketAddr, statement: &[u8]) {
        let statement = AdminStatement::from_bytes(statement);
        let mine = statement.filter(|statement| statement.subject == self.swim.id());
        let taken = mine.map(|statement| Expelling::of(&mut self.swim, now).state(statement));
        match taken {
            Some(Ok(())) => {}
            Some(Err(error)) => {
                debug!(%addr, %error, "refused as expelled, by a statement of no effect here");
            }
            None => debug!(%addr, "refused as expelled, without a statement about this node"),
        }
    }

    /// Ends the queries whose outcomes nobody reads any more.
    fn end_unread_queries(&mut self, now: Instant) {
        let querying = self.state.querying.iter();
        let unread = querying.filter(|(_, events)| events.is_closed()).map(|(&id, _)| id);
        for id in unread.collect::<Vec<_>>() {
            self.swim.querying(now).cancel(id);
            self.flush_outputs();
        }
    }

    fn on_isolated(&self, is_isolated: bool) {
        match is_isolated {
            true => warn!(
                "this node is isolated: it receives nothing from any member, and declares none dead"
            ),
            false => info!("this node is no longer isolated"),
        }
        self.status.isolated.send_replace(is_isolated);
    }

    /// Hands a message to its subscriptions, and answers it if that is wanted. Its readers find its sender in the
    /// list.
    fn deliver(&mut self, arrived: Arrived) {
        if !self.state.batch.events.is_empty() {
            self.publish();
        }
        match arrived {
            Arrived::Message(message) => self.topics.deliver(&message),
            Arrived::Offer(message, receipt) => {
                let result = self.topics.offer(&message);
                self.swim.sending(self.clock.now()).handle_receipt(receipt, result);
            }
            Arrived::Missed { from, count } => self.topics.report_missed(from, count),
            Arrived::Query(query, token) => {
                if let Some(answer) = self.answers.put(query, token) {
                    // It may be over already: then nobody waits.
                    let _ = self.swim.querying(self.clock.now()).reply(token, answer);
                }
            }
        }
    }

    /// Why this node wants no connection to a member.
    fn close_reason(&self, id: MemberId) -> CloseReason {
        match self.swim.members().get(id).map(|member| member.state()) {
            Some(MemberState::Dead) => CloseReason::Dead,
            Some(MemberState::Left) => CloseReason::Left,
            Some(MemberState::Alive | MemberState::Suspect) | None => CloseReason::Unwanted,
        }
    }

    fn keep(&self, generation: Generation) {
        info!(
            generation = generation.0,
            "members know a later generation of this node; continuing after it"
        );
        if let Some(keeper) = &self.keeper {
            keeper.keep(generation);
        }
    }

    /// Tells everybody what this wake brought: the list first, so that whoever is told finds it
    /// there.
    fn publish(&mut self) {
        let batch = std::mem::take(&mut self.state.batch);
        let deaths_refuted = self.swim.stats().deaths_refuted;
        if std::mem::replace(&mut self.state.deaths_refuted, deaths_refuted) != deaths_refuted {
            warn!("other members declared this node dead; refuted");
        }
        let members = self.swim.members();
        let looks =
            (members.version(), members.fingerprint(), members.len(), members.suppressed_len());
        let is_converged = self.swim.is_converged(self.clock.now());
        // Readers of a list find it converged no sooner than it is.
        if !is_converged {
            self.tell_converged(false);
        }
        if self.state.published != Some(looks) {
            self.state.published = Some(looks);
            let is_alone = members.live_len() < 2;
            let at = self.clock.wall(self.clock.now());
            for event in &batch.events {
                self.log(event);
                let (id, addr) = (event.member.id(), event.member.addr());
                if id != members.me().id() && self.state.wanderers.has_returned(id, addr) {
                    let name = event.member.name();
                    self.state.stats.addresses_alternating += 1;
                    warn!(member = %id, name, %addr, "a member's address alternates: two processes may use its key");
                }
            }
            self.publisher.publish_snapshot(members);
            // A subscriber that receives an event about another member finds the node joined.
            if !is_alone {
                self.status.joined.send_if_modified(|joined| !std::mem::replace(joined, true));
            }
            let changes = batch.events.into_iter().map(|event| Published { at, event });
            self.publisher.publish_changes(changes);
        }
        self.publish_data(batch.data);
        self.tell_converged(is_converged);
        for (through, result) in batch.joins {
            for reply in self.state.joining.remove(&through).unwrap_or_default() {
                let _ = reply.send(result.clone().map_err(NotJoined::Refused));
            }
        }
        for (ticket, result) in batch.sends {
            if let Some(reply) = self.state.sending.remove(&ticket) {
                // An error means that nobody waits any more.
                let _ = reply.send(result);
            }
        }
        for (id, paths) in batch.pings {
            if let Some(reply) = self.state.pinging.remove(&id) {
                let _ = reply.send(paths);
            }
        }
        self.state.tell_queries(batch.queries);
        if let Some(leaving) = &mut self.state.leaving {
            leaving.confirmed.extend(batch.confirmed);
            let confirmed = leaving.confirmed.len();
            leaving.progress.send_if_modified(|departure| {
                std::mem::replace(&mut departure.confirmed, confirmed) != confirmed
            });
        }
    }

    /// Has readers find the data that changed, and this node find its own after a restart.
    fn publish_data(&self, events: Vec<DataEvent>) {
        if events.is_empty() {
            return;
        }
        if events.iter().any(|event| event.owner == self.swim.id()) {
            self.keep_own_data();
        }
        self.data.publish_snapshot(self.swim.data());
        self.data.publish_changes(events);
    }

    fn keep_own_data(&self) {
        if let Some(keeper) = &self.keeper {
            keeper.keep_data(self.own_data(&self.swim.data()));
        }
    }

    /// Publishes what is known of an office now, which may be later than the event.
    fn on_office(&mut self, event: &OfficeEvent) {
        let office = event.office();
        let in_core = self.swim.offices();
        let leader = Leader::new(in_core.get(office), &self.clock);
        leadership::publish(&self.status.offices, &in_core, office, leader);
        match event {
            OfficeEvent::Elected { office, token, .. } => {
                info!(%office, %token, "this node holds an office");
            }
            OfficeEvent::Lost { office, token, why } => {
                let why = why.as_str();
                warn!(%office, %token, why, "this node no longer holds an office");
            }
            OfficeEvent::Following { office, member, token } => {
                debug!(%office, %member, %token, "another member holds an office");
            }
            OfficeEvent::Vacant { office, why } => {
                let why = why.as_str();
                debug!(%office, why, "no member is known to hold an office");
            }
            OfficeEvent::Renewed { .. } => {}
        }
    }

    /// Gives up the offices whose handles are gone.
    fn sweep_candidacies(&mut self, now: Instant) {
        let is_gone = |(_, handle): &(&Office, &Weak<()>)| handle.strong_count() == 0;
        let gone = self.state.candidacies.iter().filter(is_gone);
        for office in gone.map(|(office, _)| office.clone()).collect::<Vec<_>>() {
            self.resign(now, &office);
            self.flush_outputs();
        }
    }

    fn own_data(&self, data: &Data) -> Vec<KeptEntry> {
        let own = data.of(self.swim.id()).into_iter().flat_map(|own| own.iter());
        // Offices that this node holds are not held in its next run.
        let written = own.filter(|(key, _)| !key.starts_with(MemberData::RESERVED_PREFIX));
        written
            .map(|(key, value)| {
                let expires_at = self.swim.data_expires_at(key).map(|at| self.clock.wall(at));
                KeptEntry { key: key.to_owned(), value: Arc::clone(value), expires_at }
            })
            .collect()
    }

    fn tell_converged(&self, is_converged: bool) {
        let known = |known: &mut bool| std::mem::replace(known, is_converged) != is_converged;
        self.status.converged.send_if_modified(known);
    }

    /// Tells who watches phi, once what arrived during a pause has been handled.
    fn publish_phi(&mut self) {
        if self.state.pauses.are_over() {
            self.state.phi_watches.publish(&self.clock, &self.swim);
        }
    }

    fn log(&self, event: &Event) {
        let member = &event.member;
        let (id, name, addr) = (member.id(), member.name(), member.addr());
        let (generation, incarnation) = (member.generation().0, member.incarnation().0);
        let version = event.version;
        macro_rules! log {
            ($level:ident, $text:literal $(, $field:ident)*) => {
                $level!(
                    member = %id, name, %addr, generation, incarnation, version $(, $field)*, $text
                )
            };
        }
        match event.change {
            Change::Joined => log!(info, "member joined"),
            Change::Alive => log!(info, "member is alive"),
            Change::Left => log!(info, "member left"),
            Change::Updated => {
                let changes = changes(event);
                log!(info, "member updated its record", changes);
            }
            Change::Forgotten => log!(info, "member is forgotten"),
            Change::Suppressed => {
                log!(warn, "member died and returned too often lately; it is suppressed");
            }
            Change::NameConflict => log!(warn, "another live member has this name; both stay"),
            Change::Suspect => log!(warn, "member is suspect"),
            Change::Degraded => {
                let reason = event.degraded.as_ref().map(ToString::to_string);
                log!(warn, "member is degraded", reason);
            }
            Change::Recovered => log!(info, "member is no longer degraded"),
            Change::Expelled => log!(warn, "member is expelled"),
            Change::Dead => {
                let report = self.swim.why(self.clock.now(), id);
                let silence = report.and_then(|report| report.silence()).map(Silence::as_str);
                let refused = self.status.refusals.borrow().of(id).cloned();
                let refusal = refused.map(|refused| refused.refusal.to_string());
                log!(warn, "member is dead", silence, refusal);
            }
            // A kind of change that was added later.
            other => {
                let change = other.as_str();
                log!(info, "member changed", change);
            }
        }
    }

    /// Ends what belongs to the node. The commands' receiver goes last: when it is closed, all is
    /// over.
    async fn shut_down(self) {
        let Self {
            transport, receiver, commands, keeper, seeking, publisher, data, topics, ..
        } = self;
        seeking.iter().for_each(JoinHandle::abort);
        transport.close().await;
        let addr = transport.local_addr();
        drop((transport, receiver, publisher, data, topics));
        T::released(addr).await;
        if let Some(keeper) = keeper {
            keeper.finish().await;
        }
        debug!("the node has been shut down");
        drop(commands);
    }
}

impl<T: Transport> Node for Driver<T> {
    fn swim(&mut self) -> &mut Swim {
        &mut self.swim
    }

    fn stats(&self) -> Stats {
        let mut driver = self.state.stats;
        driver.events_missed = self.source.events_missed();
        driver.hosts_not_asked = self.transport.hosts_not_asked();
        driver.phi_crossings_missed = self.state.phi_watches.crossings_missed();
        driver.watcher_resyncs = self.watch_counters.resyncs.load(Ordering::Relaxed);
        driver.watchers_not_ready = self.watch_counters.not_ready.load(Ordering::Relaxed);
        self.topics.count(&mut driver);
        if let Some(keeper) = &self.keeper {
            keeper.count(&mut driver);
        }
        Stats { swim: *self.swim.stats(), transport: self.transport.stats(), driver }
    }

    fn watch_phi(&mut self, id: MemberId, threshold: f64) -> WatchPhiResult {
        self.state.phi_watches.add(id, threshold)
    }

    fn send(
        &mut self,
        now: Instant,
        request: SendRequest,
        deadline: Duration,
    ) -> Result<oneshot::Receiver<SendOutcome>, SendRefusal> {
        let ticket = self.swim.sending(now).send(request, deadline)?;
        let (reply, outcome) = oneshot::channel();
        self.state.sending.insert(ticket, reply);
        Ok(outcome)
    }

    fn query(
        &mut self,
        now: Instant,
        request: &QueryRequest,
    ) -> Result<(QueryId, mpsc::Receiver<QueryEvent>), QueryRefusal> {
        self.end_unread_queries(now);
        let id = self.swim.querying(now).ask(request)?;
        // One event for each member that can be asked, and the end.
        let (events, replies) = mpsc::channel(self.swim.members().live_len() + 1);
        self.state.querying.insert(id, events);
        Ok((id, replies))
    }

    fn ping(
        &mut self,
        now: Instant,
        member: MemberId,
        timeout: Duration,
    ) -> Result<PingAnswers, PingRefusal> {
        let PingStarted { id, host, .. } =
            Operating::of(&mut self.swim, now).ping(member, timeout)?;
        let (reply, paths) = oneshot::channel();
        self.state.pinging.insert(id, reply);
        let host = host.map(|host| {
            // Two datagrams at most, one after the other.
            let (question, patience) = (host_question(Question::Silence), timeout / 2);
            let asked = self.transport.ask_host(host.addr, question, patience);
            // The core does not hear of it: an operator's question is no evidence.
            let (reply, answer) = oneshot::channel();
            tokio::spawn(async move {
                let began = tokio::time::Instant::now();
                let answer = host_answer(asked.await);
                let _ = reply.send((answer, began.elapsed()));
            });
            answer
        });
        Ok(PingAnswers { paths, host })
    }

    fn stand(
        &mut self,
        now: Instant,
        office: Office,
        rules: OfficeRules,
    ) -> Result<Arc<()>, StandError> {
        self.sweep_candidacies(now);
        if self.state.candidacies.contains_key(&office) {
            return Err(StandError::Standing);
        }
        self.swim.leading(now).stand(office.clone(), rules)?;
        let handle = Arc::new(());
        self.state.candidacies.insert(office, Arc::downgrade(&handle));
        Ok(handle)
    }

    fn resign(&mut self, now: Instant, office: &Office) {
        self.state.candidacies.remove(office);
        self.swim.leading(now).resign(office);
    }

    fn expel(&mut self, now: Instant, statement: AdminStatement) -> ExpelResult {
        let mut expelling = Expelling::of(&mut self.swim, now);
        expelling.set_wall_clock(wall_millis(&self.clock, now));
        let result = expelling.state(statement);
        self.settle();
        // A statement that was known already may not be written yet.
        let keeping = self.state.keeping.as_ref();
        let keeping = keeping.map(|k| Keeping { written: k.written.clone(), version: k.version });
        result.map(|()| keeping)
    }

    fn set_admin_keys(&mut self, now: Instant, keys: &[AdminPublicKey]) {
        let keys: Vec<_> = keys.iter().map(AdminPublicKey::in_core).collect();
        Expelling::of(&mut self.swim, now).set_admin_keys(&keys);
        self.settle();
    }

    fn renew_id(&mut self, now: Instant) {
        Operating::of(&mut self.swim, now).renew_id();
        self.settle();
    }

    fn leave(&mut self, now: Instant) -> watch::Receiver<Departure> {
        if let Some(leaving) = &self.state.leaving {
            return leaving.progress.subscribe();
        }
        let asked = self.swim.leave(now);
        let (progress, departure) = watch::channel(Departure { confirmed: 0, asked });
        self.state.leaving = Some(Leaving { confirmed: BTreeSet::new(), progress });
        departure
    }

    fn advertise(&mut self, now: Instant, addr: SocketAddr) {
        self.is_advertise_given = true;
        // The decision of the application is final.
        if let Some(following) = self.following_addr.take() {
            following.abort();
        }
        self.status.nat_addr.send_replace(None);
        self.swim.move_to(now, vec![addr]);
        self.settle();
    }

    fn settle(&mut self) {
        self.flush_outputs();
        self.publish();
        // Also where only the time to live of a key has changed, which is no event.
        self.keep_own_data();
    }
}

/// The statements of administrators that a node has.
pub(crate) fn statements(swim: &Swim) -> Vec<Arc<AdminStatement>> {
    Expelling::statements(swim).cloned().collect()
}

/// How a message ends whose stream failed in this way. `None` if it may have arrived: then its answer is still to come, or what
/// becomes of the member is.
const fn send_failure(error: &SendError) -> Option<SendFailure> {
    match error {
        SendError::TooLarge
        | SendError::TooMany
        | SendError::Stopped
        | SendError::Unreachable(_) => Some(SendFailure::Unreachable),
        SendError::TimedOut => Some(SendFailure::TimedOut),
        SendError::ConnectionLost => None,
        // A notice that only a later transport knows.
        _ => None,
    }
}

/// Which members changed their address lately.
#[derive(Debug, Default)]
struct Wanderers {
    /// The present address of each member and the one before, the latest change last; at most [`MAX_WANDERERS`].
    addrs: Vec<(MemberId, SocketAddr, Option<SocketAddr>)>,
}

impl Wanderers {
    /// Records the address that a member has now, and returns whether it is the one that it had before the last.
    fn has_returned(&mut self, id: MemberId, addr: SocketAddr) -> bool {
        let place = self.addrs.iter().position(|(known, ..)| *known == id);
        let known = place.map(|place| self.addrs.remove(place));
        if self.addrs.len() >= MAX_WANDERERS {
            self.addrs.remove(0);
        }
        let (before, has_returned) = match known {
            Some((_, current, before)) if current == addr => (before, false),
            Some((_, current, before)) => (Some(current), before == Some(addr)),
            None => (None, false),
        };
        self.addrs.push((id, addr, before));
        has_returned
    }
}

/// The next vote that was kept; none where nothing is.
async fn next_kept(keeper: Option<&mut Keeper>) -> Kept {
    match keeper {
        Some(keeper) => keeper.kept().await,
        None => std::future::pending().await,
    }
}

/// Ends when a handle asks for it, or when there is none left.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that every handle was dropped.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// The most received in one wake before timers fire; the rest follows in the next.
const MAX_BATCH: usize = 4_096;
/// How many answers of hosts wait for the driver; whoever asked further ones waits too.
const HOST_ANSWERS: usize = 64;
/// The number of members whose last addresses are remembered; the one whose last event is oldest is forgotten.
const MAX_WANDERERS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_that_may_have_arrived_does_not_end_its_message() {
        let unreachable = Some(SendFailure::Unreachable);
        let cases = [
            (SendError::TooLarge, unreachable),
            (SendError::TooMany, unreachable),
            (SendError::Stopped, unreachable),
            (SendError::Unreachable(DialError::TimedOut), unreachable),
            (SendError::TimedOut, Some(SendFailure::TimedOut)),
            (SendError::ConnectionLost, None),
        ];
        for (error, expected) in cases {
            assert_eq!(send_failure(&error), expected, "{error}");
        }
    }

    #[test]
    fn an_address_that_comes_back_is_noticed_and_a_move_is_not() {
        let mut wanderers = Wanderers::default();
        let addr = |port| SocketAddr::from(([10, 0, 0, 1], port));
        let id = MemberId([7; 16]);
        let returns = [1, 1, 2, 2, 3, 2, 3].map(|port| wanderers.has_returned(id, addr(port)));
        assert_eq!(returns, [false, false, false, false, false, true, true]);
        for number in 0..=u8::MAX {
            assert!(!wanderers.has_returned(MemberId([number; 16]), addr(u16::from(number))));
        }
        assert_eq!(wanderers.addrs.len(), MAX_WANDERERS);
    }
}
