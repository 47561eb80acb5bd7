//! [`Swim`]: takes inputs, dispatches them to the room whose rule they meet, and hands out what results.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use crate::{
    Config, ConfigError, Data, DataError, Disconnection, Fingerprint, ForgetRefusal, Generation,
    HostAnswer, Incarnation, Instant, Keys, MemberId, Members, Name, Output, Peer, Stats,
    Unreachable, Version,
    core::Core,
    data::DataRoom,
    detect::host::handle_unreachable,
    flaps::release,
    forget::forget_on_request,
    identity::restate,
    leave::handle_leave,
    member::{
        record::Statement,
        tags::{Profile, ServingState, Tags},
    },
    probe::redial::{Found, found_instead},
    step::{Channel, Origin, Purpose, Source},
    timers::Timer,
    wire::{self, DecodeError, Part, Round},
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
    /// Its tags.
    pub tags: Tags,
    /// Whether it takes work.
    pub serving: ServingState,
}

impl Local {
    /// A node without tags that takes work.
    pub const fn new(name: Name, addrs: Vec<SocketAddr>, generation: Generation) -> Self {
        Self { name, addrs, generation, tags: Tags::new(), serving: ServingState::Serving }
    }

    /// The first record of this run.
    pub(crate) fn into_statement(self) -> Statement {
        let Self { name, addrs, generation, tags, serving } = self;
        let version = Version { generation, incarnation: Incarnation(0) };
        Statement { name, addrs, version, has_left: false, profile: Profile { tags, serving } }
    }
}

/// The protocol as a value.
pub struct Swim {
    pub(crate) core: Core,
}

impl Swim {
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
        self.begin(now);
        self.handle_payload(from, Channel::Datagram, payload);
        self.core.run();
    }

    /// Handles the whole content of a stream. `from` is the identity that the connection has authenticated.
    pub fn handle_stream(&mut self, now: Instant, from: Peer, payload: &[u8]) {
        self.begin(now);
        self.handle_payload(from, Channel::Stream, payload);
        self.core.run();
    }

    /// Notes that a connection to this peer is open. From now on the time of a reply is a round trip, without a handshake.
    pub fn handle_connected(&mut self, now: Instant, peer: Peer) {
        self.begin(now);
        self.core.links.connect(peer.id, self.core.ctx.params.max_members);
        self.core.health.hear_anyone(&mut self.core.ctx);
        self.core.run();
        self.core.probe(|probe| probe.measure_if_new(peer));
    }

    /// Notes that the connection to this member ended.
    pub fn handle_disconnected(&mut self, now: Instant, id: MemberId, reason: Disconnection) {
        self.begin(now);
        self.core.detect(|detect| detect.handle_disconnected(id, reason));
    }

    /// Notes that no connection to this member could be made.
    pub fn handle_unreachable(&mut self, now: Instant, id: MemberId, reason: Unreachable) {
        self.begin(now);
        self.core.joins.give_up(id);
        self.core.links.disconnect(id);
        handle_unreachable(&mut self.core.ctx, id, reason);
        self.core.run();
    }

    /// Notes that another member answered at the address of the one that was dialled.
    pub fn handle_other_member(&mut self, now: Instant, sought: MemberId, found: Peer) {
        self.begin(now);
        match found_instead(&self.core.list, sought, found.id) {
            _ if self.core.departure.is_under_way() => {}
            Found::Unknown => self.core.ask_to_join(found),
            Found::Departed => self.core.ping(found, Purpose::Redial),
            Found::Nothing => {}
        }
        self.core.run();
    }

    /// Handles what a member's host answered to [`Output::AskHost`], or that it refused a packet without being asked.
    pub fn handle_host_answer(&mut self, now: Instant, id: MemberId, answer: HostAnswer) {
        self.begin(now);
        self.core.detect(|detect| detect.handle_host_answer(id, answer));
    }

    /// Fires the timers that are due. Handle everything received first: a reply that has arrived is no miss.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.begin(now);
        if let Some(due) = self.core.ctx.timers.next().filter(|&due| due <= now) {
            self.core.health.record_lag(&mut self.core.ctx, &mut self.core.rounds, now - due);
            self.core.run();
        }
        let core = &mut self.core;
        while let Some(timer) = core.ctx.timers.pop_due(now) {
            match timer {
                Timer::Period(round) => core.start_round(Round(round)),
                Timer::Probe(round) => {
                    let due = core.rounds.take_due(Round(round));
                    core.ping_planned(due);
                }
                Timer::ProbeTimeout(sequence) => core.probe(|probe| probe.reply_overdue(sequence)),
                Timer::NackTimeout(sequence) => {
                    core.detect(|detect| detect.count_silent_helpers(sequence));
                }
                Timer::ProbeEnd(sequence) => core.probe(|probe| probe.end_probe(sequence)),
                Timer::Retry(id, version) => core.detect(|detect| detect.retry(id, version)),
                Timer::Judge(id, _) => core.detect(|detect| detect.judge(id)),
                Timer::Look => core.detect(|detect| detect.look_around()),
                Timer::Pending(id, version) => {
                    core.verdicts(|verdicts| verdicts.end_pending(id, version));
                }
                Timer::Push => core.gossip(|gossip| gossip.push_updates()),
                Timer::JoinRetry(id) => {
                    let Core { ctx, list, departure, joins, .. } = core;
                    joins.ask_again(ctx, list, departure, id);
                }
                Timer::LeaveRetry => core.departure.announce(&mut core.ctx, &core.list),
                Timer::Release(id) => release(&mut core.ctx, &mut core.list, id),
                Timer::PublishData => core.replicate(|data| data.publish()),
                Timer::ExpireData => core.data.own.expire(&mut core.ctx, &mut core.data.store),
                Timer::AnnounceData => core.replicate(|data| data.announce()),
                Timer::RetryData => core.replicate(|data| data.retry()),
                Timer::Describe => core.identity.restate_profile(&mut core.ctx, &core.list),
                Timer::Sweep => core.forgotten.sweep(&mut core.ctx, &core.list),
            }
            core.run();
        }
    }

    /// Asks a member to admit this node to its cluster. [`Output::JoinEnded`] reports the result; if no answer comes, nothing
    /// does. A node that has left joins again, as a later version of itself.
    pub fn join(&mut self, now: Instant, through: Peer) {
        self.begin(now);
        self.core.ask_to_join(through);
        self.core.run();
    }

    /// Handles the application's decision on a newcomer ([`Output::Newcomer`]). The newcomer is admitted, or receives the
    /// reason, of which the first [`MAX_REASON_CHARS`](crate::JoinRefusal::MAX_REASON_CHARS) characters are sent. Does nothing
    /// if it is not waiting.
    pub fn handle_decision(&mut self, now: Instant, id: MemberId, decision: Result<(), String>) {
        self.begin(now);
        if let Some((peer, entry)) = self.core.admission(|admission| admission.decide(id, decision))
        {
            self.core.handle_entry(Source::Gossip(peer), entry);
            self.core.admission(|admission| admission.answer(peer));
        }
    }

    /// Announces other addresses of this node, the preferred one first. Others dial these from then on. Does nothing if
    /// `addrs` is empty or unchanged.
    pub fn move_to(&mut self, now: Instant, addrs: Vec<SocketAddr>) {
        self.begin(now);
        let mine = self.core.list.me().record.statement();
        if addrs.is_empty() || addrs == mine.addrs {
            return;
        }
        // A departure is said once more, with the new addresses.
        let version = mine.version.next_or_generation();
        restate(&mut self.core.ctx, Statement { version, addrs, ..mine });
        self.core.run();
    }

    /// Announces other tags of this node. The first change is announced at once; those within a protocol period of it are
    /// announced together at its end.
    pub fn set_tags(&mut self, now: Instant, tags: Tags) {
        self.describe(now, |profile| profile.tags = tags);
    }

    /// Announces whether this node takes work, like [`Swim::set_tags`].
    pub fn set_serving(&mut self, now: Instant, serving: ServingState) {
        self.describe(now, |profile| profile.serving = serving);
    }

    fn describe(&mut self, now: Instant, change: impl FnOnce(&mut Profile)) {
        self.begin(now);
        let Core { ctx, list, identity, .. } = &mut self.core;
        identity.describe(ctx, list, change);
        self.core.run();
    }

    /// Sets a key of this node's data, which all members read, for `time_to_live` if that is given. The write is in
    /// [`Swim::data`] at once, and is sent to others together with those that follow within
    /// [`Config::data_delay`](crate::Config::data_delay). A key that is set to the value that it has is not sent again; only
    /// its time to live changes.
    ///
    /// # Errors
    /// The key, the value or the data is longer than allowed, or there are too many keys. Nothing changes then.
    pub fn put_data(
        &mut self,
        now: Instant,
        key: &str,
        value: &[u8],
        time_to_live: Option<Duration>,
    ) -> Result<(), DataError> {
        self.begin(now);
        let DataRoom { own, store, .. } = &mut self.core.data;
        let expires_at = time_to_live.map(|time_to_live| now + time_to_live);
        let result = own.put(&mut self.core.ctx, store, (key, value.into()), expires_at);
        self.core.run();
        result
    }

    /// Deletes a key of this node's data. Returns whether it was there.
    pub fn delete_data(&mut self, now: Instant, key: &str) -> bool {
        self.begin(now);
        let DataRoom { own, store, .. } = &mut self.core.data;
        let was_there = own.delete(&mut self.core.ctx, store, key);
        self.core.run();
        was_there
    }

    /// Leaves the cluster. The members that observe this node, and those that it observes, are notified until each has
    /// confirmed ([`Output::LeaveConfirmed`]); this node stops probing. Returns how many are notified. A second call has no
    /// effect.
    pub fn leave(&mut self, now: Instant) -> usize {
        self.begin(now);
        let Core { ctx, list, pings, joins, departure, .. } = &mut self.core;
        let asked = departure.start(ctx, list, pings, joins.asked());
        self.core.run();
        asked
    }

    /// Removes a member that died or left from the list, here and elsewhere. Other members follow at once if it left. If it
    /// died, they follow once its host refuses its port, or a second member is asked to forget it. This is no ban: a member
    /// that returns is new.
    ///
    /// # Errors
    /// The member is not in the list, or is alive or suspect.
    pub fn forget(&mut self, now: Instant, id: MemberId) -> Result<(), ForgetRefusal> {
        self.begin(now);
        let result = forget_on_request(&mut self.core.ctx, &self.core.list, id);
        self.core.run();
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

    /// The version of the membership list. Each [`Event`](crate::Event) raises it by one.
    pub const fn version(&self) -> u64 {
        self.core.list.snapshot().version()
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

    /// The tags of this node as last set: they may be ahead of its record for a protocol period.
    pub fn tags(&self) -> Tags {
        self.core.identity.profile(&self.core.list).tags
    }

    /// The serving state of this node as last set: it may be ahead of its record for a protocol period.
    pub fn serving(&self) -> ServingState {
        self.core.identity.profile(&self.core.list).serving
    }

    /// The counters since the start.
    pub const fn stats(&self) -> &Stats {
        &self.core.ctx.stats
    }

    fn handle_payload(&mut self, from: Peer, channel: Channel, payload: &[u8]) {
        let decoded = match wire::decode(payload, &*self.core.ctx.keys) {
            Ok(decoded) => decoded,
            Err(DecodeError::UnknownVersion(_)) => {
                self.core.ctx.stats.unknown_versions += 1;
                return;
            }
            Err(_) => {
                self.core.ctx.stats.malformed_messages += 1;
                return;
            }
        };
        if from.id == self.id() {
            self.core.ctx.stats.misdirected_messages += 1;
            return;
        }
        self.core.ctx.stats.unknown_parts += decoded.unknown_parts;
        let is_join = decoded.parts.iter().any(|part| matches!(part, Part::Join));
        if !is_join && self.core.admission(|admission| admission.is_unadmitted(from.id)) {
            for part in &decoded.parts {
                self.core.admission(|admission| admission.handle_unadmitted(from, channel, part));
            }
            return;
        }
        self.hear(from.id, &decoded.parts);
        // What a payload tells is believed before what it asks is answered: a joiner's record stands beside its join.
        let (told, asked): (Vec<_>, Vec<_>) = decoded.parts.into_iter().partition(Part::is_telling);
        let has_records = channel == Channel::Stream && !told.is_empty();
        let source =
            self.core.joins.source_of(self.core.ctx.now, &self.core.list, (from, channel), &asked);
        let origin = Origin { peer: from, channel, source };
        let parts = told.into_iter().chain(asked);
        if is_join {
            return self.handle_join(origin, parts.collect());
        }
        parts.for_each(|part| self.handle_part(origin, part));
        if has_records {
            self.core.anti_entropy(|sync| sync.ask_for_next_page(from));
        }
        self.core.verdicts(|verdicts| verdicts.inform_accused(from));
    }

    /// A message arrived: its sender lives. An ack shows life when its ping was sent, not when it arrives; anything else,
    /// about now.
    fn hear(&mut self, from: MemberId, parts: &[Part]) {
        self.core.health.hear_anyone(&mut self.core.ctx);
        self.core.run();
        if parts.iter().any(Part::is_answer) {
            self.core.health.record_answer(self.core.ctx.now);
        }
        let is_ack = |part: &Part| matches!(part, Part::Ack(_) | Part::IndirectAck { .. });
        if !parts.iter().any(is_ack) {
            self.core.record_heard(from, self.core.ctx.now);
        }
    }

    /// A node asks to be admitted: what stands beside that is handled first, if it is admitted at all.
    fn handle_join(&mut self, origin: Origin, parts: Vec<Part>) {
        if self.core.admission(|admission| admission.handle_join(origin.peer, &parts)) {
            parts.into_iter().for_each(|part| self.handle_part(origin, part));
            self.core.admission(|admission| admission.answer(origin.peer));
        }
    }

    pub(crate) fn handle_part(&mut self, origin: Origin, part: Part) {
        let Origin { peer: from, channel, source } = origin;
        let core = &mut self.core;
        if core.forgotten.stops(&mut core.ctx, &mut core.budget, from, &part) {
            return;
        }
        match part {
            Part::Ping(pulse) => {
                core.hear_pulse(from.id, &pulse);
                core.probe(|probe| probe.handle_ping(from, pulse.sequence, channel));
            }
            Part::Ack(pulse) => {
                core.hear_pulse(from.id, &pulse);
                core.probe(|probe| probe.handle_ack(from, pulse, channel));
                core.anti_entropy(|sync| sync.handle_fingerprint(from, pulse.fingerprint));
            }
            Part::PingReq { sequence, target } => {
                core.probe(|probe| probe.handle_ping_req(from, sequence, target));
            }
            Part::Nack { sequence } => core.detect(|detect| detect.handle_nack(from.id, sequence)),
            Part::IndirectAck { sequence, generation } => {
                core.record_heard(from.id, core.ctx.now);
                core.life_signs(|signs| signs.handle_indirect_ack(from.id, sequence, generation));
            }
            Part::Entry(entry) => core.handle_entry(source, entry),
            Part::Suspect(claim) => {
                core.verdicts(|verdicts| verdicts.handle_suspect(source, claim));
            }
            Part::Dead(verdict) => core.verdicts(|verdicts| verdicts.handle_dead(source, verdict)),
            Part::Forget(claim) => {
                core.forgotten.handle_forget(&mut core.ctx, &core.list, source, claim);
            }
            Part::Vote(vote) => core.detect(|detect| detect.handle_vote(from, vote)),
            Part::Clear { subject, version, age } => {
                core.life_signs(|signs| signs.handle_clear(from.id, subject, version, age));
            }
            Part::Abstain { subject, version } => {
                core.detect(|detect| detect.handle_abstain(from.id, subject, version));
            }
            Part::Failing { subject, version, links } => {
                core.degraded(|degraded| {
                    degraded.handle_failing(from.id, subject, version, &links);
                });
            }
            // Answered once for its payload, by `Swim::handle_join`.
            Part::Join => {}
            Part::JoinReply(result) => {
                core.joins.handle_reply(&mut core.ctx, origin, result);
            }
            Part::Compare(buckets) => {
                core.anti_entropy(|sync| sync.handle_compare(from, &buckets));
            }
            Part::Summary { buckets, lines } => {
                core.anti_entropy(|sync| sync.handle_summary(from, buckets, &lines));
            }
            Part::Want(ids) => core.anti_entropy(|sync| sync.handle_want(from, &ids)),
            Part::DataFingerprint(theirs) => {
                core.replicate(|data| data.handle_fingerprint(from, theirs));
            }
            Part::DataNews(lines) => core.replicate(|data| data.handle_news(from, &lines)),
            Part::DataWant(lines) => core.replicate(|data| data.handle_want(from, &lines)),
            Part::DataDelta(delta) => core.replicate(|data| data.handle_delta(from, &delta)),
            Part::DataCompare(buckets) => {
                core.replicate(|data| data.handle_compare(from, &buckets));
            }
            Part::DataSummary { buckets, lines } => {
                core.replicate(|data| data.handle_summary(from, buckets, &lines));
            }
            Part::Leave { sequence } => handle_leave(&mut core.ctx, &core.list, from, sequence),
            Part::LeaveAck { sequence } => {
                core.departure.handle_leave_ack(&mut core.ctx, from.id, sequence);
            }
        }
        core.run();
    }

    /// An input begins.
    fn begin(&mut self, now: Instant) {
        debug_assert!(self.core.outputs.is_empty(), "outputs are drained after every input");
        self.core.ctx.now = now;
    }
}

#[cfg(test)]
mod tests;
