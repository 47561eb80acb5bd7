//! [`Swim`]: takes inputs, dispatches them to the module whose rule they meet, and hands out what results.

use std::{collections::VecDeque, net::SocketAddr, sync::Arc};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{
    Change, Config, ConfigError, Disconnection, Event, Fingerprint, ForgetRefusal, Generation,
    HostAnswer, Incarnation, Instant, Keys, Member, MemberId, MemberState, Members, Name, Output,
    Peer, Record, Stats, Unreachable, Version,
    accept::Records,
    admission::{Admission, Undecided},
    config::Params,
    ctx::{Ctx, Effect},
    detect::{
        clear::LifeSigns,
        degraded::Degraded,
        detector::Detector,
        health::LocalHealth,
        host::{handle_unreachable, record_port_free},
        look::last_contact,
        rules::Detect,
        verdicts::Verdicts,
        view::{Senses, View},
    },
    flaps::{Flaps, MAX_SUSPICIONS, damp, release},
    forget::{Forgotten, forget_on_request},
    gossip::{Dissemination, Gossip},
    identity::{Identity, restate},
    join::Joins,
    leave::{Departure, handle_leave},
    link::Links,
    member::{
        list::MembershipList,
        record::Statement,
        transition::{News, Transition},
    },
    newcomers::Newcomers,
    probe::{
        pings::Pings,
        prober::Prober,
        redial::{Found, choose, found_instead, is_review_due},
        rounds::Rounds,
    },
    refute::Accusation,
    step::{Channel, Origin, Purpose, Source, Step},
    sync::{
        AntiEntropy, Exchanges,
        budget::ListBudget,
        convergence::{Convergence, Word, max_age},
    },
    timers::Timer,
    wire::{self, DecodeError, Entry, Part, Pulse, Round},
};

/// What a node says of itself when it starts.
#[derive(Clone, Debug)]
pub struct Local {
    /// Its label for people.
    pub name: Name,
    /// Where others reach it, the preferred address first; at least one, and no more than [`Record::MAX_ADDRS`] count.
    pub addrs: Vec<SocketAddr>,
    /// Which run of this process it is: higher than any earlier one, as far as is known.
    pub generation: Generation,
}

/// The protocol as a value.
pub struct Swim {
    pub(crate) ctx: Ctx,
    pub(crate) list: MembershipList,
    pub(crate) links: Links,
    pub(crate) pings: Pings,
    pub(crate) rounds: Rounds,
    pub(crate) health: LocalHealth,
    pub(crate) detector: Detector,
    pub(crate) dissemination: Dissemination,
    pub(crate) exchanges: Exchanges,
    pub(crate) forgotten: Forgotten,
    pub(crate) budget: ListBudget,
    pub(crate) joins: Joins,
    pub(crate) undecided: Undecided,
    pub(crate) newcomers: Newcomers,
    pub(crate) flaps: Flaps,
    pub(crate) convergence: Convergence,
    pub(crate) departure: Departure,
    identity: Identity,
    outputs: VecDeque<Output>,
}

impl Swim {
    /// A cluster of one: this member.
    ///
    /// # Errors
    /// Names the setting of `config` that cannot be used.
    pub fn new(
        now: Instant,
        me: Local,
        config: Config,
        keys: Arc<dyn Keys>,
        rng_seed: u64,
    ) -> Result<Self, ConfigError> {
        if me.addrs.is_empty() {
            let (value, allowed) = ("empty".to_owned(), "at least one address".to_owned());
            return Err(ConfigError { setting: "addrs", value, allowed });
        }
        let params: Params = config.try_into()?;
        let mut rng = ChaCha8Rng::seed_from_u64(rng_seed);
        let version = Version { generation: me.generation, incarnation: Incarnation(0) };
        let statement = Statement { name: me.name, addrs: me.addrs, version, has_left: false };
        let record = Record::sign(statement, &*keys);
        let member = Member { record, state: MemberState::Alive, since: now };
        // The first round ends at random, so that members that start together are no burst.
        let first_round_ends = now + params.protocol_period.mul_f64(rng.random());
        let (list, dissemination) =
            (MembershipList::new(member, params.rings), Dissemination::new(now, params.rings));
        let forgotten = Forgotten::new(list.me().id());
        let mut ctx = Ctx::new(now, params, keys, rng);
        ctx.timers.set(first_round_ends, Timer::Period(0));
        Ok(Self {
            ctx,
            list,
            links: Links::default(),
            pings: Pings::default(),
            rounds: Rounds::new(now),
            health: LocalHealth::new(now),
            detector: Detector::default(),
            dissemination,
            exchanges: Exchanges::new(),
            forgotten,
            budget: ListBudget::new(now),
            joins: Joins::default(),
            undecided: Undecided::default(),
            newcomers: Newcomers::default(),
            flaps: Flaps::new(now),
            convergence: Convergence::default(),
            departure: Departure::default(),
            identity: Identity::default(),
            outputs: VecDeque::new(),
        })
    }

    /// A datagram arrived from the member that the connection proved to be `from`.
    pub fn handle_datagram(&mut self, now: Instant, from: Peer, payload: &[u8]) {
        self.begin(now);
        self.handle_payload(from, Channel::Datagram, payload);
        self.run();
    }

    /// A whole stream arrived from the member that the connection proved to be `from`.
    pub fn handle_stream(&mut self, now: Instant, from: Peer, payload: &[u8]) {
        self.begin(now);
        self.handle_payload(from, Channel::Stream, payload);
        self.run();
    }

    /// A connection to this peer is open: from now on round trips are those of the link, without a handshake.
    pub fn handle_connected(&mut self, now: Instant, peer: Peer) {
        self.begin(now);
        self.links.connect(peer.id, self.ctx.params.max_members);
        self.health.hear_anyone(&mut self.ctx);
        self.run();
        self.probe(|probe| probe.measure_if_new(peer));
    }

    /// The connection to this member ended.
    pub fn handle_disconnected(&mut self, now: Instant, id: MemberId, reason: Disconnection) {
        self.begin(now);
        self.detect(|detect| detect.handle_disconnected(id, reason));
    }

    /// No connection to this member could be made.
    pub fn handle_unreachable(&mut self, now: Instant, id: MemberId, reason: Unreachable) {
        self.begin(now);
        self.joins.give_up(id);
        self.links.disconnect(id);
        handle_unreachable(&mut self.ctx, id, reason);
        self.run();
    }

    /// Where we dialled one member, another answered.
    pub fn handle_other_member(&mut self, now: Instant, sought: MemberId, found: Peer) {
        self.begin(now);
        match found_instead(&self.list, sought, found.id) {
            _ if self.departure.is_under_way() => {}
            Found::Unknown => self.ask_to_join(found),
            Found::Departed => self.ping(found, Purpose::Redial),
            Found::Nothing => {}
        }
        self.run();
    }

    /// What a member's host said when we asked ([`Output::AskHost`]), or of its own when it refused any packet of ours.
    pub fn handle_host_answer(&mut self, now: Instant, id: MemberId, answer: HostAnswer) {
        self.begin(now);
        self.detect(|detect| detect.handle_host_answer(id, answer));
    }

    /// Fires what is due. Everything received must be handled before, so that a reply that has arrived is no miss.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.begin(now);
        if let Some(due) = self.ctx.timers.next().filter(|&due| due <= now) {
            self.health.record_lag(&mut self.ctx, &mut self.rounds, now - due);
            self.run();
        }
        while let Some(timer) = self.ctx.timers.pop_due(now) {
            match timer {
                Timer::Period(round) => self.start_round(Round(round)),
                Timer::Probe(round) => {
                    let due = self.rounds.take_due(Round(round));
                    self.ping_planned(due);
                }
                Timer::ProbeTimeout(sequence) => self.probe(|probe| probe.reply_overdue(sequence)),
                Timer::NackTimeout(sequence) => {
                    self.detect(|detect| detect.count_silent_helpers(sequence));
                }
                Timer::ProbeEnd(sequence) => self.probe(|probe| probe.end_probe(sequence)),
                Timer::Retry(id, version) => self.detect(|detect| detect.retry(id, version)),
                Timer::Judge(id, _) => self.detect(|detect| detect.judge(id)),
                Timer::Look => self.detect(|detect| detect.look_around()),
                Timer::Pending(id, version) => {
                    self.verdicts(|verdicts| verdicts.end_pending(id, version));
                }
                Timer::Push => self.gossip(|gossip| gossip.push_updates()),
                Timer::JoinRetry(id) => {
                    let Self { ctx, list, departure, joins, .. } = self;
                    joins.ask_again(ctx, list, departure, id);
                }
                Timer::LeaveRetry => self.departure.announce(&mut self.ctx, &self.list),
                Timer::Release(id) => release(&mut self.ctx, &mut self.list, id),
                Timer::Sweep => self.forgotten.sweep(&mut self.ctx, &self.list),
            }
            self.run();
        }
    }

    /// Asks a member to let us into its cluster; ends with [`Output::JoinEnded`], unless no answer ever comes. A member
    /// that has left joins anew, as a later version of itself.
    pub fn join(&mut self, now: Instant, through: Peer) {
        self.begin(now);
        self.ask_to_join(through);
        self.run();
    }

    /// The application has decided on a newcomer ([`Output::Newcomer`]): it is let in, or told the reason why not, of
    /// which [`MAX_REASON_CHARS`](crate::JoinRefusal::MAX_REASON_CHARS) count. For one who is not waiting, nothing happens.
    pub fn handle_decision(&mut self, now: Instant, id: MemberId, decision: Result<(), String>) {
        self.begin(now);
        if let Some((peer, entry)) = self.admission(|admission| admission.decide(id, decision)) {
            self.handle_entry(Source::Gossip(peer), entry);
            self.admission(|admission| admission.answer(peer));
        }
    }

    /// Tells everybody that this member is reached at other addresses from now on, the preferred one first; of none,
    /// nothing is told. Others dial these from then on.
    pub fn move_to(&mut self, now: Instant, addrs: Vec<SocketAddr>) {
        self.begin(now);
        let mine = self.list.me().record.statement();
        if addrs.is_empty() || addrs == mine.addrs {
            return;
        }
        // A departure is said once more, with the new addresses.
        let version = mine.version.next_or_generation();
        restate(&mut self.ctx, Statement { version, addrs, ..mine });
        self.run();
    }

    /// Leaves the cluster: says so to the members that would miss us, again and again until each has confirmed
    /// ([`Output::LeaveConfirmed`]), and probes no more. Returns how many are asked; a second call changes nothing.
    pub fn leave(&mut self, now: Instant) -> usize {
        self.begin(now);
        let Self { ctx, list, pings, joins, departure, .. } = self;
        let asked = departure.start(ctx, list, pings, joins.asked());
        self.run();
        asked
    }

    /// Forgets a member that died or left, here and at every member that has it as left. Members that have it as dead follow
    /// if its host refuses its port, or a second member is asked to forget it. It is no ban: if
    /// the member returns, it is new.
    ///
    /// # Errors
    /// When it is not in the list, or takes part in the cluster.
    pub fn forget(&mut self, now: Instant, id: MemberId) -> Result<(), ForgetRefusal> {
        self.begin(now);
        let result = forget_on_request(&mut self.ctx, &self.list, id);
        self.run();
        result
    }

    /// The next thing to do, in order. To be drained after every input.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Swim::handle_timeout`] is next to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.ctx.timers.next()
    }

    /// Who this member is.
    pub fn id(&self) -> MemberId {
        self.list.me().id()
    }

    /// A snapshot of the membership list.
    pub fn members(&self) -> Members {
        self.list.snapshot().clone()
    }

    /// The version of the membership list: one more for each [`Event`].
    pub const fn version(&self) -> u64 {
        self.list.snapshot().version()
    }

    /// The fingerprint of the membership list.
    pub const fn fingerprint(&self) -> Fingerprint {
        self.list.snapshot().fingerprint()
    }

    /// What was counted since the start.
    pub const fn stats(&self) -> &Stats {
        &self.ctx.stats
    }

    fn handle_payload(&mut self, from: Peer, channel: Channel, payload: &[u8]) {
        let decoded = match wire::decode(payload, &*self.ctx.keys) {
            Ok(decoded) => decoded,
            Err(DecodeError::UnknownVersion(_)) => {
                self.ctx.stats.unknown_versions += 1;
                return;
            }
            Err(_) => {
                self.ctx.stats.malformed_messages += 1;
                return;
            }
        };
        if from.id == self.id() {
            self.ctx.stats.misdirected_messages += 1;
            return;
        }
        self.ctx.stats.unknown_parts += decoded.unknown_parts;
        let is_join = decoded.parts.iter().any(|part| matches!(part, Part::Join));
        if !is_join && self.admission(|admission| admission.is_unadmitted(from.id)) {
            for part in &decoded.parts {
                self.admission(|admission| admission.handle_unadmitted(from, channel, part));
            }
            return;
        }
        self.hear(from.id, &decoded.parts);
        // What a payload tells is believed before what it asks is answered: a joiner's record stands beside its join.
        let (told, asked): (Vec<_>, Vec<_>) = decoded.parts.into_iter().partition(Part::is_telling);
        let has_records = channel == Channel::Stream && !told.is_empty();
        let source = self.joins.source_of(self.ctx.now, &self.list, (from, channel), &asked);
        let origin = Origin { peer: from, channel, source };
        let parts = told.into_iter().chain(asked);
        if is_join {
            return self.handle_join(origin, parts.collect());
        }
        parts.for_each(|part| self.handle_part(origin, part));
        if has_records {
            self.anti_entropy(|sync| sync.ask_for_next_page(from));
        }
        self.verdicts(|verdicts| verdicts.inform_accused(from));
    }

    /// A message arrived: its sender lives. An ack shows life when its ping was sent, not when it arrives; anything else,
    /// about now.
    fn hear(&mut self, from: MemberId, parts: &[Part]) {
        self.health.hear_anyone(&mut self.ctx);
        self.run();
        if parts.iter().any(Part::is_answer) {
            self.health.record_answer(self.ctx.now);
        }
        let is_ack = |part: &Part| matches!(part, Part::Ack(_) | Part::IndirectAck { .. });
        if !parts.iter().any(is_ack) {
            self.record_heard(from, self.ctx.now);
        }
    }

    /// A node asks to be admitted: what stands beside that is handled first, if it is admitted at all.
    fn handle_join(&mut self, origin: Origin, parts: Vec<Part>) {
        if self.admission(|admission| admission.handle_join(origin.peer, &parts)) {
            parts.into_iter().for_each(|part| self.handle_part(origin, part));
            self.admission(|admission| admission.answer(origin.peer));
        }
    }

    pub(crate) fn handle_part(&mut self, origin: Origin, part: Part) {
        let Origin { peer: from, channel, source } = origin;
        if self.forgotten.stops(&mut self.ctx, &mut self.budget, from, &part) {
            return;
        }
        match part {
            Part::Ping(pulse) => {
                self.hear_pulse(from.id, &pulse);
                self.probe(|probe| probe.handle_ping(from, pulse.sequence, channel));
            }
            Part::Ack(pulse) => {
                self.hear_pulse(from.id, &pulse);
                self.probe(|probe| probe.handle_ack(from, pulse, channel));
                self.anti_entropy(|sync| sync.handle_fingerprint(from, pulse.fingerprint));
            }
            Part::PingReq { sequence, target } => {
                self.probe(|probe| probe.handle_ping_req(from, sequence, target));
            }
            Part::Nack { sequence } => self.detect(|detect| detect.handle_nack(from.id, sequence)),
            Part::IndirectAck { sequence, generation } => {
                self.record_heard(from.id, self.ctx.now);
                self.life_signs(|signs| signs.handle_indirect_ack(from.id, sequence, generation));
            }
            Part::Entry(entry) => self.handle_entry(source, entry),
            Part::Suspect(claim) => {
                self.verdicts(|verdicts| verdicts.handle_suspect(source, claim))
            }
            Part::Dead(verdict) => self.verdicts(|verdicts| verdicts.handle_dead(source, verdict)),
            Part::Forget(claim) => {
                self.forgotten.handle_forget(&mut self.ctx, &self.list, source, claim);
            }
            Part::Vote(vote) => self.detect(|detect| detect.handle_vote(from, vote)),
            Part::Clear { subject, version, age } => {
                self.life_signs(|signs| signs.handle_clear(from.id, subject, version, age));
            }
            Part::Abstain { subject, version } => {
                self.detect(|detect| detect.handle_abstain(from.id, subject, version));
            }
            Part::Failing { subject, version, links } => {
                self.degraded(|degraded| {
                    degraded.handle_failing(from.id, subject, version, &links)
                });
            }
            // Answered once for its payload, by `Swim::handle_join`.
            Part::Join => {}
            Part::JoinReply(result) => {
                self.joins.handle_reply(&mut self.ctx, origin, result);
            }
            Part::Compare(buckets) => {
                self.anti_entropy(|sync| sync.handle_compare(from, &buckets));
            }
            Part::Summary { buckets, lines } => {
                self.anti_entropy(|sync| sync.handle_summary(from, buckets, &lines));
            }
            Part::Want(ids) => self.anti_entropy(|sync| sync.handle_want(from, &ids)),
            Part::Leave { sequence } => handle_leave(&mut self.ctx, &self.list, from, sequence),
            Part::LeaveAck { sequence } => {
                self.departure.handle_leave_ack(&mut self.ctx, from.id, sequence);
            }
        }
        self.run();
    }

    fn hear_pulse(&mut self, from: MemberId, pulse: &Pulse) {
        self.rounds.hear(&mut self.ctx, &self.list, pulse);
        if self.list.state(from).is_some_and(MemberState::is_live) {
            let max_age = max_age(self.rounds.period(&self.ctx.params));
            let (theirs, ours, heard_at) = (pulse.fingerprint, self.fingerprint(), self.ctx.now);
            self.convergence.hear(from, Word { theirs, ours, heard_at }, max_age);
        }
    }

    fn carry_out(&mut self, step: Step) {
        match step {
            Step::Apply { news, source } => self.apply(news, source),
            Step::Announce { change, member } => self.announce(Some(change), member),
            Step::Ping { to, purpose } => self.ping(to, purpose),
            Step::PingByStream { target, sequence } => {
                self.probe(|probe| probe.ping_by_stream(target, sequence));
            }
            Step::SendWithNews { to, channel, mut payload } => {
                self.gossip(|gossip| gossip.piggyback(&mut payload, to.id));
                self.ctx.send_by(channel, to, payload);
            }
            Step::Unanswered { subject, sent_at } => {
                self.degraded(|degraded| degraded.record_unanswered(subject, sent_at));
            }
            Step::Missed(miss) => self.detect(|detect| detect.handle_miss(miss)),
            Step::Reached(peer) => self.degraded(|degraded| degraded.record_reached(peer)),
            Step::EndRetry(id) => self.detector.cases.end_retry(id),
            Step::Heard { id, at } => self.record_heard(id, at),
            Step::AskAnew => self.detect(|detect| detect.ask_anew()),
            Step::HostSays { id, silence } => {
                self.detect(|detect| detect.record_silence(id, silence));
            }
            Step::Gone(id) => self.record_gone(id),
            Step::PortFree(id) => {
                self.record_gone(id);
                record_port_free(&mut self.ctx, &self.list, &self.detector.cases, id);
            }
            Step::EndPending(id, version) => {
                self.verdicts(|verdicts| verdicts.end_pending(id, version));
            }
            Step::WeighPending(id) => self.detect(|detect| detect.weigh_pending(id)),
            Step::ReviewLinks(id) => self.degraded(|degraded| degraded.review_links_of(id)),
            Step::DeathElsewhere { source, claim } => {
                self.verdicts(|verdicts| verdicts.handle_death_elsewhere(source, claim));
            }
            Step::Refute { source, claim } => {
                self.verdicts(|verdicts| verdicts.refute(source, claim, Accusation::Suspicion));
            }
            Step::RefuteDeath { source, claim } => {
                self.verdicts(|verdicts| verdicts.refute(source, claim, Accusation::Death));
            }
            Step::Withdraw(id) => self.dissemination.withdraw(id),
            Step::Exchange(with) => self.anti_entropy(|sync| sync.start(with)),
            Step::TurnPage { of, is_last } => self.joins.turn_page(self.ctx.now, of, is_last),
            Step::AckOnly { to, channel, sequence } => {
                self.probe(|probe| probe.ack_only(to, channel, sequence));
            }
            Step::PlanSweep => self.forgotten.plan_next_sweep(&mut self.ctx, &self.list),
            Step::AnnounceDeparture => self.departure.announce(&mut self.ctx, &self.list),
            Step::ConfirmDeparture(by) => self.departure.confirm(&mut self.ctx, by),
        }
    }

    /// Applies what became known of a member; every room reacts, the application is told, and the news spreads.
    fn apply(&mut self, news: News, source: Source) {
        let Some(transition) = self.list.apply(self.ctx.now, news) else {
            return;
        };
        self.react(&transition);
        let Transition { change, after, .. } = &transition;
        self.announce(*change, Arc::clone(after));
        if transition.has_new_name() && !self.list.snapshot().namesakes(after).is_empty() {
            self.announce(Some(Change::NameConflict), Arc::clone(after));
        }
        if transition.has_moved() && !transition.is_me {
            // Whatever is still open leads to where it was.
            self.ctx.output(Output::Disconnect(transition.id()));
        }
        self.exchanges.record_change(self.ctx.now);
        self.rounds.quicken(&mut self.ctx);
        self.gossip(|gossip| gossip.spread(transition.id(), source));
        if transition.is_me || transition.is_forgotten() {
            return;
        }
        if !transition.is_live() {
            self.forgotten.plan(&mut self.ctx);
        } else if transition.is_record {
            let peer = Peer { id: transition.id(), addr: after.addr() };
            self.probe(|probe| probe.measure_if_new(peer));
        }
    }

    /// What each room remembers changes with a member.
    fn react(&mut self, transition: &Transition) {
        let (now, id) = (self.ctx.now, transition.id());
        if transition.is_forgotten() {
            self.forgotten.remember(&mut self.ctx, Arc::clone(&transition.after));
        }
        if transition.is_me || transition.is_forgotten() {
            return;
        }
        if transition.ends_run() {
            self.links.remove(id);
            self.pings.forget(id);
        }
        if transition.is_renewal() {
            self.links.record_renewed(now, id);
            self.links.record_known_alive(id, now);
        }
        self.detector.react(now, transition);
        if transition.is_unnoticed_restart() || transition.is_death() {
            self.flaps.record(&mut self.ctx, &mut self.list, id);
        }
        if transition.is_death() {
            self.newcomers.record_death(now, id);
        }
        if transition.is_return() {
            self.exchanges.record_return(id);
        }
        if transition.is_record {
            self.forgotten.remove(id);
        }
    }

    /// Tells the application of a change, unless the member flaps.
    pub(crate) fn announce(&mut self, change: Option<Change>, member: Arc<Member>) {
        let Some(change) = change else {
            return;
        };
        let id = member.id();
        // On a starved machine most suspicions are its own doing.
        let is_starved = self.health.is_starved(&self.ctx.params);
        let limit = if is_starved { 1 } else { MAX_SUSPICIONS };
        if self.flaps.reports(member.since(), id, change, limit)
            && let Some(change) = damp(&mut self.ctx.stats, &mut self.list, id, change)
        {
            let silence = self.detector.silence_behind(change, id);
            let version = self.list.next_version();
            self.ctx.output(Output::Event(Event { version, change, member, silence }));
        }
        if change == Change::Dead {
            self.ctx.output(Output::Disconnect(id));
        }
    }

    /// Asks a member to admit this node, which returns to the cluster if it has left.
    fn ask_to_join(&mut self, through: Peer) {
        self.departure.undo(&mut self.ctx, &self.list);
        // The join carries the record of this node as it is after that.
        self.run();
        self.joins.ask(&mut self.ctx, &self.list, through);
    }

    pub(crate) fn ping(&mut self, to: Peer, purpose: Purpose) {
        self.probe(|probe| probe.ping(to, purpose));
    }

    /// A member showed that it lives, by what it sent then.
    fn record_heard(&mut self, id: MemberId, at: Instant) {
        self.life_signs(|signs| signs.record_heard(id, at));
        self.newcomers.meet(&mut self.ctx, &self.list, id);
        self.run();
    }

    /// Where a member is said to be, no process is: that bears out what others say of it.
    fn record_gone(&mut self, id: MemberId) {
        self.verdicts(|verdicts| verdicts.confirm_gone(id));
        self.forgotten.confirm_gone(&mut self.ctx, &self.list, id);
        self.run();
    }

    /// The round's time is over: the next begins.
    fn start_round(&mut self, round: Round) {
        // A timer from before the round was moved is for one that has begun already.
        if round != self.rounds.round() {
            return;
        }
        let overdue = self.rounds.take_overdue();
        self.ping_planned(overdue);
        let is_new_period = self.rounds.advance(self.ctx.now, &self.ctx.params);
        // Nobody talks to a member that has left.
        let is_alone = self.list.snapshot().live_len() == 1 || self.departure.is_under_way();
        self.health.check_isolation(&mut self.ctx, &mut self.rounds, is_alone);
        self.run();
        self.degraded(|degraded| degraded.review_links());
        if !self.departure.is_under_way() && is_new_period {
            self.rounds.plan_period(&mut self.ctx, &self.list);
            self.redial();
            let last = last_contact(self.view(self.ctx.now));
            last.into_iter().for_each(|peer| self.ping(peer, Purpose::Probe));
            self.rounds.slow_down(&self.ctx.params);
        }
        self.rounds.set_timers(&mut self.ctx);
    }

    /// Pings a dead member, which may have returned, if it is this node's turn.
    fn redial(&mut self) {
        let dead = choose(&mut self.ctx, &self.list, self.health.is_isolated());
        if let Some(peer) = dead.and_then(|id| self.list.peer(id)) {
            if is_review_due(&mut self.ctx.stats) {
                self.exchanges.plan_review();
            }
            self.ping(peer, Purpose::Redial);
        }
    }

    /// Pings the member that a period is for, at its point of it.
    fn ping_planned(&mut self, target: Option<MemberId>) {
        let target = target.filter(|&id| self.list.state(id).is_some_and(MemberState::is_live));
        if let Some(peer) = target.and_then(|target| self.list.peer(target)) {
            self.prune_links();
            self.ping(peer, Purpose::Probe);
        }
    }

    /// Forgets the links not heard longest once there are many more than subjects.
    fn prune_links(&mut self) {
        let max = 4 * usize::from(self.ctx.params.rings) + 16;
        let subjects = self.list.rings().subjects(self.list.me().id());
        let cases = &self.detector.cases;
        self.links.prune(max, |id| subjects.contains(&id) || cases.is_silent(id));
    }

    pub(crate) fn handle_entry(&mut self, source: Source, entry: Entry) {
        Records {
            ctx: &mut self.ctx,
            list: &mut self.list,
            hearsay: &mut self.detector.hearsay,
            newcomers: &mut self.newcomers,
            identity: &mut self.identity,
        }
        .handle_entry(source, entry);
        self.run();
    }

    /// Applies a rule of detection, and carries out what it asks for.
    pub(crate) fn detect<T>(&mut self, rule: impl FnOnce(&mut Detect<'_>) -> T) -> T {
        let result = rule(&mut Detect {
            ctx: &mut self.ctx,
            list: &self.list,
            links: &mut self.links,
            pings: &mut self.pings,
            rounds: &mut self.rounds,
            health: &mut self.health,
            own: &mut self.detector,
        });
        self.run();
        result
    }

    /// Applies a rule for signs of life, and carries out what it asks for.
    fn life_signs(&mut self, rule: impl FnOnce(&mut LifeSigns<'_>)) {
        rule(&mut LifeSigns {
            ctx: &mut self.ctx,
            list: &self.list,
            links: &mut self.links,
            pings: &mut self.pings,
            rounds: &self.rounds,
            health: &mut self.health,
            own: &mut self.detector,
        });
        self.run();
    }

    /// Applies a rule for what others say, and carries out what it asks for.
    pub(crate) fn verdicts(&mut self, rule: impl FnOnce(&mut Verdicts<'_>)) {
        let Self { ctx, list, links, pings, rounds, health, detector, .. } = self;
        let see = Senses { list, links, pings, rounds, health };
        rule(&mut Verdicts { ctx, see, own: detector });
        self.run();
    }

    /// Applies a rule for links that fail, and carries out what it asks for.
    fn degraded(&mut self, rule: impl FnOnce(&mut Degraded<'_>)) {
        rule(&mut Degraded {
            ctx: &mut self.ctx,
            list: &self.list,
            links: &mut self.links,
            pings: &self.pings,
            rounds: &self.rounds,
            health: &self.health,
            own: &mut self.detector,
        });
        self.run();
    }

    /// Applies a rule of probing, and carries out what it asks for.
    pub(crate) fn probe<T>(&mut self, rule: impl FnOnce(&mut Prober<'_>) -> T) -> T {
        let result = rule(&mut Prober {
            ctx: &mut self.ctx,
            list: &self.list,
            links: &mut self.links,
            pings: &mut self.pings,
            rounds: &mut self.rounds,
            health: &mut self.health,
            hearsay: &mut self.detector.hearsay,
        });
        self.run();
        result
    }

    /// Applies a rule of dissemination, and carries out what it asks for.
    fn gossip(&mut self, rule: impl FnOnce(&mut Gossip<'_>)) {
        rule(&mut Gossip {
            ctx: &mut self.ctx,
            list: &self.list,
            own: &mut self.dissemination,
            detector: &mut self.detector,
            forgotten: &self.forgotten,
        });
        self.run();
    }

    /// Applies a rule of anti-entropy, and carries out what it asks for.
    pub(crate) fn anti_entropy(&mut self, rule: impl FnOnce(&mut AntiEntropy<'_>)) {
        rule(&mut AntiEntropy {
            ctx: &mut self.ctx,
            list: &self.list,
            forgotten: &self.forgotten,
            budget: &mut self.budget,
            own: &mut self.exchanges,
        });
        self.run();
    }

    /// Applies a rule of admission, and carries out what it asks for.
    fn admission<T>(&mut self, rule: impl FnOnce(&mut Admission<'_>) -> T) -> T {
        let result = rule(&mut Admission {
            ctx: &mut self.ctx,
            list: &self.list,
            joins: &self.joins,
            departure: &self.departure,
            budget: &mut self.budget,
            own: &mut self.undecided,
        });
        self.run();
        result
    }

    /// What the rules of detection see at this moment.
    pub(crate) const fn view(&self, now: Instant) -> View<'_> {
        let Self { list, links, pings, rounds, health, .. } = self;
        let senses = Senses { list, links, pings, rounds, health };
        View::new(now, &self.ctx.params, senses, &self.detector)
    }

    /// The same at this moment, for tests that call a rule.
    #[cfg(test)]
    pub(crate) fn at(&mut self, now: Instant) -> &mut Self {
        self.ctx.now = now;
        self
    }

    /// An input begins.
    fn begin(&mut self, now: Instant) {
        debug_assert!(self.outputs.is_empty(), "outputs are drained after every input");
        self.ctx.now = now;
    }

    /// Carries out everything that rules asked for, in order.
    pub(crate) fn run(&mut self) {
        while let Some(effect) = self.ctx.next_effect() {
            match effect {
                Effect::Output(output) => self.outputs.push_back(output),
                Effect::Step(step) => {
                    // What the step asks for comes before what was asked for after it.
                    let rest = self.ctx.take_effects();
                    self.carry_out(step);
                    self.run();
                    self.ctx.put_effects(rest);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
