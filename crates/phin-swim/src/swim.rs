//! [`Swim`]: takes inputs, dispatches them to the module whose rule they meet, and hands out what results.

use std::{collections::VecDeque, net::SocketAddr, sync::Arc};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{
    Change, Config, ConfigError, Disconnection, Event, Fingerprint, ForgetRefusal, Generation,
    HostAnswer, Incarnation, Instant, Keys, Link, Member, MemberId, MemberState, Members, Name,
    Outcome, Output, Peer, Record, Report, Stats, Unreachable, Version,
    config::Params,
    ctx::{Ctx, Effect},
    detect::degraded::Failing,
    detect::health::LocalHealth,
    detect::hearsay::Hearsay,
    detect::mass_silence::MassSilence,
    detect::reports::Reports,
    detect::suspicion::Cases,
    detect::verdicts::{Contacts, Doubts},
    flaps::{Flaps, MAX_SUSPICIONS},
    forget::Forgotten,
    gossip::Dissemination,
    join::Joins,
    leave::Departure,
    member::list::MembershipList,
    member::record::Statement,
    member::supersedes,
    newcomers::Newcomers,
    probe::Probes,
    probe::rounds::Rounds,
    step::{Channel, Source, Step},
    sync::Exchanges,
    sync::convergence::Convergence,
    timers::Timer,
    wire::{self, Claim, DecodeError, Entry, Part, Round},
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
    pub(crate) rounds: Rounds,
    pub(crate) probes: Probes,
    pub(crate) cases: Cases,
    pub(crate) mass_silence: MassSilence,
    pub(crate) doubts: Doubts,
    pub(crate) contacts: Contacts,
    pub(crate) hearsay: Hearsay,
    pub(crate) reports: Reports,
    pub(crate) health: LocalHealth,
    pub(crate) dissemination: Dissemination,
    pub(crate) exchanges: Exchanges,
    pub(crate) forgotten: Forgotten,
    pub(crate) joins: Joins,
    pub(crate) newcomers: Newcomers,
    pub(crate) flaps: Flaps,
    pub(crate) convergence: Convergence,
    pub(crate) failing: Failing,
    pub(crate) departure: Option<Departure>,
    /// When we last had to take the generation after one we heard of.
    generation_taken_at: Option<Instant>,
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
        let mut ctx = Ctx::new(now, params, keys, rng);
        ctx.timers.set(first_round_ends, Timer::Period(0));
        Ok(Self {
            ctx,
            list,
            rounds: Rounds::new(now),
            probes: Probes::default(),
            cases: Cases::default(),
            mass_silence: MassSilence::default(),
            doubts: Doubts::default(),
            contacts: Contacts::default(),
            hearsay: Hearsay::default(),
            reports: Reports::default(),
            health: LocalHealth::new(now),
            dissemination,
            exchanges: Exchanges::default(),
            forgotten: Forgotten::default(),
            joins: Joins::new(now),
            newcomers: Newcomers::default(),
            flaps: Flaps::new(now),
            convergence: Convergence::default(),
            failing: Failing::default(),
            departure: None,
            generation_taken_at: None,
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
        self.connected(peer);
        self.run();
    }

    /// The connection to this member ended.
    pub fn handle_disconnected(&mut self, now: Instant, id: MemberId, reason: Disconnection) {
        self.begin(now);
        self.disconnected(id, reason);
        self.run();
    }

    /// No connection to this member could be made.
    pub fn handle_unreachable(&mut self, now: Instant, id: MemberId, reason: Unreachable) {
        self.begin(now);
        self.unreachable(id, reason);
        self.run();
    }

    /// Where we dialled one member, another answered.
    pub fn handle_other_member(&mut self, now: Instant, sought: MemberId, found: Peer) {
        self.begin(now);
        self.found_instead(sought, found);
        self.run();
    }

    /// What a member's host said when we asked ([`Output::AskHost`]), or of its own when it refused any packet of ours.
    pub fn handle_host_answer(&mut self, now: Instant, id: MemberId, answer: HostAnswer) {
        self.begin(now);
        self.host_answered(id, answer);
        self.run();
    }

    /// Fires what is due. Everything received must be handled before, so that a reply that has arrived is no miss.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.begin(now);
        if let Some(due) = self.ctx.timers.next().filter(|&due| due <= now) {
            self.record_lag(now - due);
            self.run();
        }
        while let Some(timer) = self.ctx.timers.pop_due(now) {
            match timer {
                Timer::Period(round) => self.start_round(Round(round)),
                Timer::Probe(round) => self.ping_in_round(Round(round)),
                Timer::ProbeTimeout(sequence) => self.reply_overdue(sequence),
                Timer::NackTimeout(sequence) => self.count_silent_helpers(sequence),
                Timer::ProbeEnd(sequence) => self.end_probe(sequence),
                Timer::Retry(id, version) => self.retry(id, version),
                Timer::Judge(id, _) => self.judge(id),
                Timer::Look => self.look_around(),
                Timer::Doubt(id, version) => self.end_doubt(id, version),
                Timer::Push => self.push_updates(),
                Timer::JoinRetry(id) => self.ask_again_to_join(id),
                Timer::LeaveRetry => self.ask_to_confirm(),
                Timer::Release(id) => self.release(id),
                Timer::Sweep => self.sweep(),
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
        self.decided(id, decision);
        self.run();
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
        let version = mine.version.next().unwrap_or_else(|| mine.version.next_generation());
        self.restate(Statement { version, addrs, ..mine });
        self.run();
    }

    /// Leaves the cluster: says so to the members that would miss us, again and again until each has confirmed
    /// ([`Output::LeaveConfirmed`]), and probes no more. Returns how many are asked; a second call changes nothing.
    pub fn leave(&mut self, now: Instant) -> usize {
        self.begin(now);
        let asked = self.start_leaving();
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
        let result = self.forget_on_request(id);
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

    /// The links to the members this one observes.
    pub fn links(&self, now: Instant) -> Vec<Link> {
        self.observed_links(now)
    }

    /// The last suspicion of a member, from its first missed reply to its end, and the votes that led to a verdict.
    pub fn why(&self, now: Instant, id: MemberId) -> Option<Report> {
        self.open_report(now, id).or_else(|| self.reports.get(id).cloned())
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
        if !is_join && self.is_stranger(from.id) {
            return self.handle_stranger(from, channel, decoded.parts);
        }
        self.hear_anyone();
        if decoded.parts.iter().any(Part::is_answer) {
            self.health.record_answer(self.ctx.now);
        }
        // An ack shows life when its ping was sent, not when it arrives; anything else, about now.
        let is_answer = |part: &Part| matches!(part, Part::Ack(_) | Part::IndirectAck { .. });
        if !decoded.parts.iter().any(is_answer) {
            self.record_heard(from.id, self.ctx.now);
        }
        // What a payload tells is believed before what it asks is answered: a joiner's record stands beside its join.
        let (told, asked): (Vec<_>, Vec<_>) = decoded.parts.into_iter().partition(Part::is_telling);
        let has_records = channel == Channel::Stream && !told.is_empty();
        let is_welcome = asked.iter().any(|part| matches!(part, Part::JoinReply(Ok(()))));
        let is_welcome = is_welcome && self.list.snapshot().live_len() == 1;
        let is_page = channel == Channel::Stream && self.is_welcomed_by(self.ctx.now, from.id);
        let source = match is_welcome || is_page {
            true => Source::Welcome(from),
            false => Source::Gossip(from),
        };
        let origin = Origin { peer: from, channel, source };
        let parts = told.into_iter().chain(asked);
        if is_join {
            return self.handle_join(origin, parts.collect());
        }
        parts.for_each(|part| self.handle_part(origin, part));
        if has_records {
            self.ask_for_next_page(from);
        }
        self.tell_accused(from);
    }

    pub(crate) fn handle_part(&mut self, origin: Origin, part: Part) {
        let Origin { peer: from, channel, source } = origin;
        if self.is_forgotten(from, &part) {
            return;
        }
        match part {
            Part::Ping(pulse) => self.handle_ping(from, pulse, channel),
            Part::Ack(pulse) => self.handle_ack(from, pulse, channel),
            Part::PingReq { sequence, target } => self.handle_ping_req(from, sequence, target),
            Part::Nack { sequence } => self.handle_nack(from.id, sequence),
            Part::IndirectAck { sequence, generation } => {
                self.handle_indirect_ack(from, sequence, generation);
            }
            Part::Entry(entry) => self.handle_entry(source, entry),
            Part::Suspect(claim) => self.handle_suspect(source, claim),
            Part::Dead(verdict) => self.handle_dead(source, verdict),
            Part::Forget(claim) => self.handle_forget(source, claim),
            Part::Vote(vote) => self.handle_vote(from, vote),
            Part::Clear { subject, version, age } => {
                self.handle_clear(from.id, subject, version, age);
            }
            Part::Abstain { subject, version } => {
                self.handle_abstain(from.id, subject, version);
            }
            Part::Failing { subject, version, links } => {
                self.handle_failing(from.id, subject, version, &links);
            }
            // Answered once for its payload, by `handle_join`.
            Part::Join => {}
            Part::JoinReply(result) => self.handle_join_reply(origin, result),
            Part::Compare(buckets) => self.handle_compare(from, &buckets),
            Part::Summary { buckets, lines } => self.handle_summary(from, buckets, &lines),
            Part::Want(ids) => self.handle_want(from, &ids),
            Part::Leave { sequence } => self.handle_leave(from, sequence),
            Part::LeaveAck { sequence } => self.handle_leave_ack(from.id, sequence),
        }
    }

    /// A member's record: the one way by which members appear, change, return and leave.
    pub(crate) fn handle_entry(&mut self, source: Source, entry: Entry) {
        let Entry { state, record } = entry;
        let id = record.id();
        if id == self.id() {
            self.handle_own_record(source, &record);
            if matches!(state, MemberState::Suspect | MemberState::Dead) {
                let (version, by) = (record.version(), source.from());
                let claim = Claim { subject: id, version, by };
                match state {
                    MemberState::Dead => self.refute_death(source, claim),
                    _ => self.refute(source, claim),
                }
            }
            return;
        }
        // Others' claims are for us to verify, not to believe; only what the member signed counts here.
        let said = if record.has_left() { MemberState::Left } else { MemberState::Alive };
        let known = self.list.get(id).cloned();
        let is_news = known.as_ref().is_none_or(|known| {
            supersedes((record.version(), said), (known.version(), known.state))
        });
        if is_news {
            let is_full = self.list.snapshot().len() >= self.ctx.params.max_members;
            if known.is_none() && is_full {
                self.ctx.stats.members_refused += 1;
                return;
            }
            if !self.is_authentic(source, &record) {
                return;
            }
        }
        let version = record.version();
        let believed = match (is_news, state) {
            (false, _) => None,
            // Of a member that is new to us, its death is all we can know.
            (true, MemberState::Dead) if known.is_none() => Some(MemberState::Dead),
            (true, _) => Some(said),
        };
        if let Some(believed) = believed {
            if !self.takes_news_of_newcomer(source, &record, believed) {
                return;
            }
            self.accept_record(source, record, believed);
        }
        if state == MemberState::Dead {
            let claim = Claim { subject: id, version, by: source.from() };
            self.handle_death_elsewhere(source, claim);
        }
    }

    /// Checks the signature of a record, within the budget of the member that told it.
    fn is_authentic(&mut self, source: Source, record: &Record) -> bool {
        let now = self.ctx.now;
        let teller = match source {
            Source::Gossip(peer) => Some(peer.id),
            // What a node that is alone takes in is limited by the pages it asks for.
            Source::Welcome(_) | Source::Ourselves => None,
        };
        if teller.is_some_and(|teller| !self.hearsay.may_check(now, teller)) {
            self.ctx.stats.records_over_budget += 1;
            return false;
        }
        let is_authentic = record.is_authentic(&*self.ctx.keys);
        if !is_authentic {
            self.ctx.stats.forged_records += 1;
            teller.into_iter().for_each(|teller| self.hearsay.record_forgery(now, teller));
        }
        is_authentic
    }

    /// Takes a record that is news into the list, and tells the application and the others.
    pub(crate) fn accept_record(&mut self, source: Source, record: Record, state: MemberState) {
        let now = self.ctx.now;
        let id = record.id();
        let known = self.list.get(id).cloned();
        let change = match (known.as_deref(), state) {
            (_, MemberState::Left) => Some(Change::Left),
            (_, MemberState::Dead) => Some(Change::Dead),
            (None, _) => Some(Change::Joined),
            (Some(known), _) => change_of_alive(known, &record),
        };
        // A member that was already gone when we first heard of it is no event.
        let change = change.filter(|_| known.is_some() || state.is_live());
        let is_restart =
            known.as_ref().is_some_and(|k| k.generation() < record.version().generation);
        if is_restart || !state.is_live() {
            self.forget_probes_of(id);
        }
        if is_restart {
            self.contacts.forget(id);
        }
        if change == Some(Change::Alive) && !is_restart {
            self.contacts.record_other_refuted(now);
        }
        let version = record.version();
        let is_refutation = known.as_ref().is_some_and(|known| {
            known.state.is_live() && state.is_live() && known.version() < version && !is_restart
        });
        if is_refutation {
            self.renew_case(id, version);
        }
        if !is_restart
            && state.is_live()
            && known.as_ref().is_some_and(|known| {
                matches!(known.state, MemberState::Suspect | MemberState::Dead)
            })
        {
            self.hearsay.record_refutation(now, id);
        }
        if is_restart && known.as_ref().is_some_and(|known| known.state.is_live()) {
            self.record_flap(id);
        }
        if is_restart || !state.is_live() {
            self.cases.close(id);
        }
        if state.is_live() && known.as_ref().is_some_and(|known| known.state == MemberState::Dead) {
            self.exchanges.record_return(id);
        }
        let since = match &known {
            Some(known) if known.state == state && !is_restart => known.since,
            _ => now,
        };
        let member = self.list.put(Member { record, state, since });
        self.forgotten.remove(id);
        let peer = Peer { id, addr: member.addr() };
        self.announce(change, Arc::clone(&member));
        self.announce_conflict(known.as_deref(), &member);
        if known.is_some_and(|known| has_moved(&known, &member)) {
            // Whatever is still open leads to where it was.
            self.ctx.output(Output::Disconnect(id));
        }
        self.spread(id, source);
        if state.is_live() {
            self.measure_if_new(peer);
        } else {
            self.plan_to_forget();
        }
    }

    /// Hears what we are said to have said. Where it is not our own last word, an earlier run of this process is
    /// remembered with a later one: this run takes the generation after it (a member never shouts itself down).
    fn handle_own_record(&mut self, source: Source, record: &Record) {
        let now = self.ctx.now;
        let mine = self.list.me().record.clone();
        if record.version() < mine.version() || *record == mine {
            return;
        }
        if !self.is_authentic(source, record) {
            return;
        }
        // The first such record is most likely an earlier run's. One that exceeds the generation taken after it comes
        // from a process that runs now, and answers ours.
        let is_elsewhere = record.addrs().ne(mine.addrs());
        if self.generation_taken_at.is_some() && is_elsewhere {
            self.ctx.output(Output::IdentityInUse(record.addr()));
        }
        // Two processes with one key would outbid each other for ever; so they do it slowly, and it shows.
        let period = self.ctx.params.protocol_period;
        if self.generation_taken_at.is_some_and(|taken_at| now - taken_at < period) {
            self.ctx.stats.outbid += 1;
            return;
        }
        self.generation_taken_at = Some(now);
        let Some(generation) = record.version().generation.0.checked_add(1).map(Generation) else {
            return;
        };
        let version = Version { generation, incarnation: Incarnation(0) };
        self.ctx.output(Output::Generation(generation));
        self.restate(Statement { version, ..mine.statement() });
    }

    /// Answers a claim that we are suspect or dead with a later incarnation (SWIM §4.2). Whoever makes it is told by
    /// ourselves: it may be the only one that we reach. A claim about an earlier version was answered before.
    pub(crate) fn refute(&mut self, source: Source, claim: Claim) {
        let now = self.ctx.now;
        let mine = self.list.me().record.clone();
        if claim.version > mine.version() {
            return;
        }
        if claim.version == mine.version() && !mine.has_left() {
            if self.holds_off() {
                self.ctx.stats.refutations_held += 1;
                return;
            }
            let version = mine.version().next().unwrap_or_else(|| mine.version().next_generation());
            self.ctx.stats.refutations += 1;
            self.contacts.record_refuted(now);
            self.restate(Statement { version, ..mine.statement() });
        }
        if let Source::Gossip(peer) | Source::Welcome(peer) = source
            && self.contacts.may_answer(now, peer.id)
        {
            self.ctx.send(peer, &self.entry_of_ourselves());
        }
    }

    /// Answers a claim that we are dead.
    pub(crate) fn refute_death(&mut self, source: Source, claim: Claim) {
        let before = self.ctx.stats.refutations;
        self.refute(source, claim);
        self.ctx.stats.deaths_refuted += self.ctx.stats.refutations - before;
    }

    /// Says something new of ourselves.
    pub(crate) fn restate(&mut self, statement: Statement) {
        let now = self.ctx.now;
        let state = if statement.has_left { MemberState::Left } else { MemberState::Alive };
        let before = self.list.me().clone();
        let record = Record::sign(statement, &*self.ctx.keys);
        let since = if before.state == state { before.since } else { now };
        let change = match state {
            MemberState::Left => Some(Change::Left),
            _ => change_of_alive(&before, &record),
        };
        let member = self.list.put(Member { record, state, since });
        self.announce(change, Arc::clone(&member));
        self.announce_conflict(Some(&before), &member);
        self.spread(self.id(), Source::Ourselves);
    }

    /// Puts a member into another state within its version, and tells the application and the others.
    pub(crate) fn declare(
        &mut self,
        id: MemberId,
        state: MemberState,
        change: Change,
        source: Source,
    ) {
        let now = self.ctx.now;
        let Some(known) = self.list.get(id) else {
            return;
        };
        if known.state == MemberState::Alive
            && matches!(state, MemberState::Suspect | MemberState::Dead)
        {
            self.contacts.record_fall(now);
        }
        let member = Member { record: known.record.clone(), state, since: now };
        let member = self.list.put(member);
        if state == MemberState::Dead {
            self.record_flap(id);
            self.newcomers.record_death(now, id);
        }
        self.announce(Some(change), member);
        self.spread(id, source);
        if !state.is_live() {
            self.plan_to_forget();
        }
    }

    pub(crate) fn announce(&mut self, change: Option<Change>, member: Arc<Member>) {
        let Some(change) = change else {
            return;
        };
        let id = member.id();
        // On a starved machine most suspicions are its own doing.
        let limit = if self.is_starved() { 1 } else { MAX_SUSPICIONS };
        if self.flaps.reports(member.since(), id, change, limit)
            && let Some(told) = self.damp(id, change)
        {
            self.tell(told, member);
        }
        if change == Change::Dead {
            self.ctx.output(Output::Disconnect(id));
        }
    }

    fn tell(&mut self, change: Change, member: Arc<Member>) {
        let id = member.id();
        let silence = match change {
            Change::Dead => self.reports.get(id).and_then(Report::silence),
            Change::Suspect => self.silence_of(id),
            Change::Joined
            | Change::Alive
            | Change::Left
            | Change::Updated
            | Change::Forgotten
            | Change::NameConflict
            | Change::HeldBack
            | Change::Degraded
            | Change::Recovered => None,
        };
        let version = self.list.next_version();
        self.ctx.output(Output::Event(Event { version, change, member, silence }));
    }

    /// Tells of a member that has become live, or has another name, where that name is another's.
    fn announce_conflict(&mut self, before: Option<&Member>, member: &Arc<Member>) {
        let had_it = before.is_some_and(|b| b.state.is_live() && b.name() == member.name());
        let is_new = member.state.is_live() && !had_it;
        if is_new && !self.list.snapshot().namesakes(member).is_empty() {
            self.announce(Some(Change::NameConflict), Arc::clone(member));
        }
    }

    fn open_report(&self, now: Instant, id: MemberId) -> Option<Report> {
        let (version, began_at, votes) = self.evidence_against(now, id)?;
        Some(Report { version, began_at, ended_at: now, outcome: Outcome::Open { votes } })
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

    fn carry_out(&mut self, step: Step) {
        match step {
            Step::Ping { to, purpose } => self.ping(to, purpose),
        }
    }

    /// Where a member that we know is to be found.
    pub(crate) fn peer(&self, id: MemberId) -> Option<Peer> {
        Some(Peer { id, addr: self.list.get(id)?.addr() })
    }
}

/// What is told of a member that says it is alive, given what was known of it.
fn change_of_alive(known: &Member, record: &Record) -> Option<Change> {
    match known.state {
        MemberState::Left => Some(Change::Joined),
        MemberState::Dead | MemberState::Suspect => Some(Change::Alive),
        MemberState::Alive if known.generation() < record.version().generation => {
            Some(Change::Alive)
        }
        MemberState::Alive => {
            let is_same = known.record.addrs().eq(record.addrs()) && known.name() == record.name();
            (!is_same).then_some(Change::Updated)
        }
    }
}

/// Whether a member says, in one run, that it is reached elsewhere now.
fn has_moved(known: &Member, member: &Member) -> bool {
    let are_live = known.state.is_live() && member.state.is_live();
    are_live && known.generation() == member.generation() && known.addr() != member.addr()
}

/// Whence a message came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    pub(crate) peer: Peer,
    channel: Channel,
    pub(crate) source: Source,
}

#[cfg(test)]
mod tests;
