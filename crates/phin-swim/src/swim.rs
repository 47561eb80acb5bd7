//! [`Swim`]: takes inputs, dispatches them to the room whose rule they meet, and hands out what results.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use crate::{
    Channel, Config, ConfigError, Data, DataError, Disconnection, Fingerprint, ForgetRefusal,
    Generation, HostAnswer, Incarnation, Instant, Keys, MemberData, MemberId, Members, Name,
    Origin, Output, Part, Peer, Purpose, Round, Source, Stats, Timer, Unreachable, Version,
    core::Core,
    data::DataRoom,
    detect::host::handle_unreachable,
    flaps::release,
    forget::forget_on_request,
    identity::restate,
    leading::{Leading, Offices},
    leave::handle_leave,
    member::{flaws::Flaws, record::Statement, tags::Profile},
    probe::redial::{Found, found_instead},
    publish::publisher::Arrived,
    query::asker::MAX_QUERIES,
    querying::Querying,
    sending::Sending,
    senses::Senses,
    wire::{self, DecodeError},
};
/// This node, as it announces itself when it starts.
#[derive(Clone, Debug)]
pub struct Local {
    /// Its display name.
    pub name: Name,
    /// The addresses at which others reach it, the preferred one first. At least one; those beyond
    /// [`Record::MAX_ADDRS`](crate::Record::MAX_ADDRS) are ignored.
    pub addrs: Vec<SocketAddr>,
    /// The number of this run of the process. It must be higher than that of any earlier run.
    pub generation: Generation,
    /// Its tags, and whether it takes work.
    pub profile: Profile,
}

impl Local {
    /// A node without tags that takes work.
    pub fn new(name: Name, addrs: Vec<SocketAddr>, generation: Generation) -> Self {
        Self { name, addrs, generation, profile: Profile::default() }
    }

    /// The first record of this run.
    pub(crate) fn into_statement(self) -> Statement {
        let Self { name, addrs, generation, profile } = self;
        let version = Version { generation, incarnation: Incarnation(0) };
        Statement { name, addrs, version, has_left: false, profile, flaws: Flaws::NONE }
    }
}

/// The protocol as a value.
pub struct Swim {
    pub(crate) core: Core,
}

impl Swim {
    /// How many queries of a node can be under way at once.
    pub const MAX_QUERIES: usize = MAX_QUERIES;

    /// Creates a cluster whose only member is this node.
    ///
    /// # Errors
    /// A setting of `config` is out of bounds, or `me` has no address.
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
        Ok(Self { core: Core::new(now, me.into_statement(), config.try_into()?, keys, rng_seed) })
    }

    /// Handles a datagram. `from` is the identity that the connection has authenticated.
    pub fn handle_datagram(&mut self, now: Instant, from: Peer, payload: &[u8]) {
        self.core.begin(now).handle_payload(from, Channel::Datagram, payload);
    }

    /// Handles the whole content of a stream. `from` is the identity that the connection has authenticated.
    pub fn handle_stream(&mut self, now: Instant, from: Peer, payload: &[u8]) {
        self.core.begin(now).handle_payload(from, Channel::Stream, payload);
    }

    /// Notes that a connection to this peer is open. From now on the time of a reply is a round trip, without a handshake.
    pub fn handle_connected(&mut self, now: Instant, peer: Peer) {
        let core = self.core.begin(now);
        core.senses.links.connect(peer.id, core.ctx.params.max_members);
        core.senses.health.hear_anyone(&mut core.ctx);
        core.run();
        core.probe().measure_if_new(peer);
        core.run();
    }

    /// Notes that the connection to this member ended.
    pub fn handle_disconnected(&mut self, now: Instant, id: MemberId, reason: Disconnection) {
        let core = self.core.begin(now);
        core.detect().handle_disconnected(id, reason);
        core.run();
    }

    /// Notes that no connection to this member could be made.
    pub fn handle_unreachable(&mut self, now: Instant, id: MemberId, reason: Unreachable) {
        let core = self.core.begin(now);
        core.joins.give_up(id);
        core.senses.links.disconnect(id);
        core.path_pings.record_unreachable(&mut core.ctx, id, reason);
        handle_unreachable(&mut core.ctx, id, reason);
        core.run();
    }

    /// Notes that another member answered at the address of the one that was dialled.
    pub fn handle_other_member(&mut self, now: Instant, sought: MemberId, found: Peer) {
        let core = self.core.begin(now);
        match found_instead(&core.list, sought, found.id) {
            _ if core.departure.is_under_way() => {}
            Found::Unknown => core.ask_to_join(found),
            Found::Departed => core.probe().ping(found, Purpose::Redial),
            Found::Nothing => {}
        }
        core.run();
    }

    /// Handles what a member's host answered to [`Output::AskHost`], or that it refused a packet without being asked.
    pub fn handle_host_answer(&mut self, now: Instant, id: MemberId, answer: HostAnswer) {
        let core = self.core.begin(now);
        if answer == HostAnswer::PortRefused {
            let Core { ctx, path_pings, .. } = &mut *core;
            path_pings.record_unreachable(ctx, id, Unreachable::Refused);
        }
        core.detect().handle_host_answer(id, answer);
        core.run();
    }

    /// Fires the timers that are due. Handle everything received first: a reply that has arrived is no miss.
    pub fn handle_timeout(&mut self, now: Instant) {
        let core = self.core.begin(now);
        if let Some(due) = core.ctx.timers.next().filter(|&due| due <= now) {
            let Senses { health, rounds, .. } = &mut core.senses;
            health.record_lag(&mut core.ctx, rounds, now - due);
            core.run();
        }
        while let Some(timer) = core.ctx.timers.pop_due(now) {
            core.handle_timer(timer);
            core.run();
        }
    }

    /// Asks a member to admit this node to its cluster. [`Output::JoinEnded`] reports the result; if no answer comes, nothing
    /// does. A node that has left joins again, as a later version of itself.
    pub fn join(&mut self, now: Instant, through: Peer) {
        let core = self.core.begin(now);
        core.ask_to_join(through);
        core.run();
    }

    /// Handles the application's decision on a newcomer ([`Output::Newcomer`]). The newcomer is admitted, or receives the
    /// reason, of which the first [`MAX_REASON_CHARS`](crate::JoinRefusal::MAX_REASON_CHARS) characters are sent. Does nothing
    /// if it is not waiting.
    pub fn handle_decision(&mut self, now: Instant, id: MemberId, decision: Result<(), String>) {
        let core = self.core.begin(now);
        if let Some((peer, entry)) = core.admission().decide(id, decision) {
            core.records().handle_entry(Source::Gossip(peer), entry);
            core.run();
            core.admission().answer(peer);
        }
        core.run();
    }

    /// Announces other addresses of this node, the preferred one first. Others dial these from then on. Does nothing if
    /// `addrs` is empty or unchanged.
    pub fn move_to(&mut self, now: Instant, addrs: Vec<SocketAddr>) {
        let core = self.core.begin(now);
        let mine = core.list.me().record.statement();
        if addrs.is_empty() || addrs == mine.addrs {
            return;
        }
        // A departure is said once more, with the new addresses.
        let version = mine.version.next_or_generation();
        restate(&mut core.ctx, Statement { version, addrs, ..mine });
        core.run();
    }

    /// Changes what this node says of itself beside its addresses, and announces it. The first change is announced at once;
    /// those within a protocol period of it are announced together at its end.
    pub fn describe(&mut self, now: Instant, change: impl FnOnce(&mut Profile)) {
        let core = self.core.begin(now);
        core.identity.describe(&mut core.ctx, &core.list, change);
        core.run();
        // A node that drains gives its offices up now, though others learn that it drains later.
        core.candidate().review();
        core.run();
    }

    /// Sets a key of this node's data, which all members read, for `time_to_live` if that is given. The write is in
    /// [`Swim::data`] at once, and is sent to others together with those that follow within
    /// [`Config::data_delay`](crate::Config::data_delay). A key that is set to the value that it has is not sent again; only
    /// its time to live changes.
    ///
    /// # Errors
    /// The key is reserved, the key, the value or the data is longer than allowed, or there are too many keys. Nothing changes
    /// then.
    pub fn put_data(
        &mut self,
        now: Instant,
        key: &str,
        value: &[u8],
        time_to_live: Option<Duration>,
    ) -> Result<(), DataError> {
        if key.starts_with(MemberData::RESERVED_PREFIX) {
            return Err(DataError::KeyReserved);
        }
        let core = self.core.begin(now);
        let DataRoom { own, store, .. } = &mut core.data;
        let expires_at = time_to_live.map(|time_to_live| now + time_to_live);
        let result = own.put(&mut core.ctx, store, (key, value.into()), expires_at);
        core.run();
        result
    }

    /// Deletes a key of this node's data. Returns whether it was there. Reserved keys stay.
    pub fn delete_data(&mut self, now: Instant, key: &str) -> bool {
        if key.starts_with(MemberData::RESERVED_PREFIX) {
            return false;
        }
        let core = self.core.begin(now);
        let DataRoom { own, store, .. } = &mut core.data;
        let was_there = own.delete(&mut core.ctx, store, key);
        core.run();
        was_there
    }

    /// Sends messages to all members or to one, and handles what becomes of them.
    pub fn sending(&mut self, now: Instant) -> Sending<'_> {
        Sending { core: self.core.begin(now) }
    }

    /// Asks the applications of members, and handles the answers of this node's own.
    pub fn querying(&mut self, now: Instant) -> Querying<'_> {
        Querying { core: self.core.begin(now) }
    }

    /// Stands for offices, and handles what is kept of the votes of this node.
    pub fn leading(&mut self, now: Instant) -> Leading<'_> {
        Leading { core: self.core.begin(now) }
    }

    /// Leaves the cluster. The members that observe this node, and those that it observes, are notified until each has
    /// confirmed ([`Output::LeaveConfirmed`]); this node stops probing. Returns how many are notified. A second call has no
    /// effect.
    pub fn leave(&mut self, now: Instant) -> usize {
        let core = self.core.begin(now);
        core.candidate().leave();
        core.run();
        let Core { ctx, list, senses, joins, departure, .. } = core;
        let asked = departure.start(ctx, list, &mut senses.pings, joins.asked());
        core.run();
        asked
    }

    /// Removes a member that died or left from the list, here and elsewhere. Other members follow at once if it left. If it
    /// died, they follow once its host refuses its port, or a second member is asked to forget it. This is no ban: a member
    /// that returns is new.
    ///
    /// # Errors
    /// The member is not in the list, or is alive or suspect.
    pub fn forget(&mut self, now: Instant, id: MemberId) -> Result<(), ForgetRefusal> {
        let core = self.core.begin(now);
        let result = forget_on_request(&mut core.ctx, &core.list, id);
        core.run();
        result
    }

    /// Returns the next output. Drain it after every input.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.core.outputs.pop_front()
    }

    /// Returns when to call [`Swim::handle_timeout`] next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.core.ctx.timers.next()
    }

    /// The id of this node.
    pub fn id(&self) -> MemberId {
        self.core.list.me().id()
    }

    /// A snapshot of the membership list.
    pub fn members(&self) -> Members {
        self.core.list.snapshot().clone()
    }

    /// The fingerprint of the membership list.
    pub const fn fingerprint(&self) -> Fingerprint {
        self.core.list.snapshot().fingerprint()
    }

    /// A snapshot of the data of all members.
    pub fn data(&self) -> Data {
        self.core.data.store.snapshot().clone()
    }

    /// When a key of this node's data expires, if it does.
    pub fn data_expires_at(&self, key: &str) -> Option<Instant> {
        self.core.data.own.expires_at(key)
    }

    /// The known offices, and the promises of this node as a voter.
    pub const fn offices(&self) -> Offices<'_> {
        Offices { leadership: &self.core.leadership }
    }

    /// The tags and serving state of this node as last set: they may be ahead of its record for a protocol period.
    pub fn profile(&self) -> Profile {
        self.core.identity.profile(&self.core.list)
    }

    /// The counters since the start.
    pub const fn stats(&self) -> &Stats {
        &self.core.ctx.stats
    }
}

impl Core {
    /// An input begins.
    pub(crate) fn begin(&mut self, now: Instant) -> &mut Self {
        debug_assert!(self.outputs.is_empty(), "outputs are drained after every input");
        self.ctx.now = now;
        // Before anything else is done or reported, as the holder may have been stopped for long.
        if self.leadership.has_lapsed(now) {
            self.candidate().lapse();
            self.run();
        }
        self
    }

    fn handle_timer(&mut self, timer: Timer) {
        match timer {
            Timer::Period(round) => self.start_round(Round(round)),
            Timer::Probe(round) => {
                let due = self.senses.rounds.take_due(Round(round));
                self.ping_planned(due);
            }
            Timer::ProbeTimeout(sequence) => self.probe().reply_overdue(sequence),
            Timer::NackTimeout(sequence) => self.detect().count_silent_helpers(sequence),
            Timer::ProbeEnd(sequence) => self.probe().end_probe(sequence),
            Timer::Retry(id, version) => self.detect().retry(id, version),
            Timer::Judge(id, _) => self.detect().judge(id),
            Timer::Look => self.detect().look_around(),
            Timer::Pending(id, version) => self.verdicts().end_pending(id, version),
            Timer::Push => self.gossip().push_updates(),
            Timer::JoinRetry(id) => {
                let Self { ctx, list, departure, joins, .. } = self;
                joins.ask_again(ctx, list, departure, id);
            }
            Timer::LeaveRetry => self.departure.announce(&mut self.ctx, &self.list),
            Timer::Release(id) => release(&mut self.ctx, &mut self.list, id),
            Timer::PublishData => self.replicate().publish(),
            Timer::ExpireData => self.data.own.expire(&mut self.ctx, &mut self.data.store),
            Timer::AnnounceData => self.replicate().announce(),
            Timer::RetryData => self.replicate().retry(),
            Timer::AnnouncePublications => self.broadcast().announce(),
            Timer::RepairPublications => self.broadcast().repair(),
            Timer::ExpirePublications => self.broadcast().expire(),
            Timer::PassReplies(query) => self.replier().handle_pass_timer(query),
            Timer::QueryOver(query) => {
                self.asker().time_out(query);
                self.queries.forget(self.ctx.now, query);
            }
            Timer::Describe => self.identity.restate_profile(&mut self.ctx, &self.list),
            Timer::Leadership => self.candidate().wake(),
            Timer::Sweep => self.forgotten.sweep(&mut self.ctx, &self.list),
            Timer::SendDeadline(ticket) => self.sends.expire(&mut self.ctx, ticket),
            Timer::PingEnd(id) => self.path_pings.end(&mut self.ctx, id),
        }
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
        if from.id == self.list.me().id() {
            self.ctx.stats.misdirected_messages += 1;
            return;
        }
        self.ctx.stats.unknown_parts += decoded.unknown_parts;
        if self.expulsions.is_expelled(from.id) {
            self.expel().answer(from, &decoded.parts);
            return self.run();
        }
        let is_join = decoded.parts.iter().any(|part| matches!(part, Part::Join));
        if !is_join && self.admission().is_unadmitted(from.id) {
            for part in &decoded.parts {
                self.admission().handle_unadmitted(from, channel, part);
            }
            return self.run();
        }
        self.hear(from.id, &decoded.parts);
        // The news in a payload is handled before its questions: the record of a joiner comes beside its join.
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
            self.anti_entropy().ask_for_next_page(from);
        }
        self.verdicts().inform_accused(from);
        self.run();
    }

    /// A message arrived: its sender lives. An ack shows life when its ping was sent, not when it arrives; anything else,
    /// about now.
    fn hear(&mut self, from: MemberId, parts: &[Part]) {
        self.senses.health.hear_anyone(&mut self.ctx);
        self.run();
        if parts.iter().any(Part::is_answer) {
            self.senses.health.record_answer(self.ctx.now);
        }
        let is_ack = |part: &Part| matches!(part, Part::Ack(_) | Part::IndirectAck { .. });
        if !parts.iter().any(is_ack) {
            let now = self.ctx.now;
            self.life_signs().record_heard(from, now);
        }
        self.run();
    }

    /// A node asks to be admitted: what stands beside that is handled first, if it is admitted at all.
    fn handle_join(&mut self, origin: Origin, parts: Vec<Part>) {
        if self.admission().handle_join(origin.peer, &parts) {
            parts.into_iter().for_each(|part| self.handle_part(origin, part));
            self.admission().answer(origin.peer);
        }
        self.run();
    }

    pub(crate) fn handle_part(&mut self, origin: Origin, part: Part) {
        let Origin { peer: from, channel, source } = origin;
        if self.expulsions.stops(&mut self.ctx.stats, self.list.me().id(), &part) {
            return;
        }
        if part.is_telling() && self.forgotten.stops(&mut self.ctx, &mut self.budget, from, &part) {
            return self.run();
        }
        if self.path_pings.take_answer(&mut self.ctx, from.id, &part) {
            return self.run();
        }
        match part {
            Part::Ping(pulse) => {
                self.hear_pulse(from.id, &pulse);
                self.probe().handle_ping(from, pulse.sequence, channel);
            }
            Part::Ack(pulse) => {
                self.hear_pulse(from.id, &pulse);
                self.probe().handle_ack(from, pulse, channel);
                self.run();
                self.anti_entropy().handle_fingerprint(from, pulse.fingerprint);
            }
            Part::PingReq { sequence, target, nonce } => {
                self.probe().handle_ping_req(from, sequence, (target, nonce));
            }
            Part::Nack { sequence } => self.detect().handle_nack(from.id, sequence),
            Part::IndirectAck { sequence, generation } => {
                let now = self.ctx.now;
                self.life_signs().record_heard(from.id, now);
                self.run();
                self.life_signs().handle_indirect_ack(from.id, sequence, generation);
            }
            Part::Entry(entry) => self.records().handle_entry(source, entry),
            Part::Suspect(claim) => {
                self.verdicts().handle_suspect(source, claim);
            }
            Part::Dead(verdict) => self.verdicts().handle_dead(source, verdict),
            Part::Certified { claim, digest } => {
                self.verdicts().handle_certified(from, source, claim, digest);
            }
            Part::VerdictWant { subject, version } => {
                self.verdicts().handle_verdict_want(from, subject, version);
            }
            Part::Forget(claim) => {
                self.forgotten.handle_forget(&mut self.ctx, &self.list, source, claim);
            }
            Part::Vote(vote) => self.detect().handle_vote(from, vote, None),
            Part::SignedVote(vote, signed) => {
                self.verdicts().complete(from.id, &vote, &signed);
                self.detect().handle_vote(from, vote, Some(signed));
            }
            Part::Challenge(nonce) => self.life_signs().handle_challenge(from, nonce),
            Part::Proof(proof) => self.life_signs().handle_proof(from.id, proof),
            Part::Clear(clear) => self.life_signs().handle_clear(from, clear),
            Part::Abstain { subject, version } => {
                self.detect().handle_abstain(from.id, subject, version);
            }
            Part::Failing { subject, version, links } => {
                self.degraded().handle_failing(from.id, subject, version, &links);
            }
            Part::Flawed { subject, version, flaws } => {
                self.degraded().handle_flawed(from.id, subject, version, flaws);
            }
            Part::SizeProbe { sequence, is_lost, padding } => {
                let probe = (sequence, padding);
                self.degraded().handle_size_probe((from, channel), is_lost, probe);
            }
            Part::SizeProbeAck { sequence, padding } => {
                self.degraded().handle_size_ack(from.id, sequence, padding);
            }
            // Answered once for its payload, by `Core::handle_join`.
            Part::Join => {}
            Part::JoinReply(result) => {
                self.joins.handle_reply(&mut self.ctx, origin, result);
            }
            Part::Compare(buckets) => {
                self.anti_entropy().handle_compare(from, &buckets);
            }
            Part::Summary { buckets, lines } => {
                self.anti_entropy().handle_summary(from, buckets, &lines);
            }
            Part::Want(ids) => self.anti_entropy().handle_want(from, &ids),
            Part::DataFingerprint(theirs) => self.replicate().handle_fingerprint(from, theirs),
            Part::DataNews(lines) => self.replicate().handle_news(from, &lines),
            Part::DataWant(lines) => self.replicate().handle_want(from, &lines),
            Part::DataDelta(delta) => self.replicate().handle_delta(from, &delta),
            Part::DataCompare(buckets) => self.replicate().handle_compare(from, &buckets),
            Part::DataSummary { buckets, lines } => {
                self.replicate().handle_summary(from, buckets, &lines);
            }
            Part::Publication { is_push, hops, publication } => {
                let arrived = Arrived { publication, hops };
                self.broadcast().handle_publication(from, is_push, arrived);
            }
            Part::PublicationNews(lines) => self.broadcast().handle_news(from, &lines),
            Part::PublicationWant(ranges) => self.broadcast().handle_want(from, &ranges),
            Part::PublicationPrune(id) => self.broadcast().handle_prune(from, id),
            Part::Send(sent) => self.sender().handle_send(from, sent),
            Part::SendAck { ticket, answer } => self.sender().handle_ack(from.id, ticket, answer),
            Part::QueryAsk(ask) => self.replier().handle_ask(from, *ask),
            Part::LeadAsk(ask) => self.vote().handle_ask(from, *ask),
            Part::LeadAnswer(answer) => self.candidate().handle_answer(from.id, &answer),
            Part::LeadRelease(release) => self.candidate().handle_release(from.id, &release),
            Part::QueryReplies(replies) if replies.key.caller == self.list.me().id() => {
                self.asker().handle_replies(from, *replies);
            }
            Part::QueryReplies(replies) => self.replier().handle_replies(from, *replies),
            Part::Expulsion(statement) => {
                // A refused statement is counted.
                let _ = self.expel().handle_statement(Some(from), statement);
            }
            Part::ExpulsionsFingerprint(theirs) => self.expel().handle_fingerprint(from, theirs),
            Part::ExpulsionsWant(known) => self.expel().handle_want(from, &known),
            Part::Leave { sequence } => handle_leave(&mut self.ctx, &self.list, from, sequence),
            Part::LeaveAck { sequence } => {
                self.departure.handle_leave_ack(&mut self.ctx, from.id, sequence);
            }
        }
        self.run();
    }
}

#[cfg(test)]
mod tests;
