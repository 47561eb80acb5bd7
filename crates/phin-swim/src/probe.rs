//! Probing: ping, ping-req through helpers, ack and nack (SWIM §3.1), and the estimate of each link that times them.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use phin_accrual::LinkEstimator;
use rand::{RngExt, seq::SliceRandom};

use crate::{
    Generation, HostAnswer, Instant, MemberId, Peer, Question, Silence, Swim,
    degraded::Run,
    swim::Timer,
    wire::{Claim, Part, Payload, Pulse, Round, Sequence},
};

/// Why a connection ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Disconnection {
    /// Nothing was sent for a while, or this side closed it.
    Idle,
    /// The peer closed it.
    Closed,
    /// The peer's process does not know the connection: it is another run (RFC 9000 §10.3).
    Reset,
    /// The peer did not answer any more.
    Lost,
}

/// Why no connection could be made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Unreachable {
    /// Nothing answered.
    NoAnswer,
    /// The host refused the port: no process is there.
    Refused,
    /// Another member answered at that address.
    OtherIdentity,
    /// The handshake failed: another cluster, another key, an expired certificate.
    NotAdmitted,
}

/// The link to a member that this one observes.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Link {
    /// Whom it leads to.
    pub id: MemberId,
    /// How surprising its present silence is, as [`Swim::phi`] says.
    pub phi: f64,
    /// The typical round trip; `None` before the first reply.
    pub round_trip: Option<Duration>,
    /// The estimated probability that a ping or its reply is lost.
    pub loss: f64,
}

/// The pings under way, and what is known of the links they take.
#[derive(Debug, Default)]
pub(crate) struct Probes {
    last_sequence: Sequence,
    pings: BTreeMap<Sequence, Ping>,
    links: BTreeMap<MemberId, LinkState>,
    connected: BTreeSet<MemberId>,
}

#[derive(Clone, Debug)]
struct Ping {
    target: MemberId,
    sent_at: Instant,
    /// After how long a reply is overdue.
    timeout: Duration,
    /// Whether the reply's time is the link's: not where a handshake comes first.
    is_sample: bool,
    is_overdue: bool,
    /// Whether it is known that no reply will come.
    is_lost: bool,
    purpose: Purpose,
    /// The helpers that were asked to ping the member too.
    helpers: Vec<MemberId>,
    /// Those of them that have sent nothing yet.
    silent_helpers: Vec<MemberId>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    /// The probe of a protocol period.
    Probe,
    /// A further look at a member that did not answer us or others.
    Retry,
    /// A look at a dead member, which may have returned.
    Redial,
    /// A look at a member that others declare dead, though it refuted lately.
    Look,
    /// Another member asked for it.
    Relay { requester: Peer, sequence: Sequence },
}

#[derive(Clone, Debug)]
struct LinkState {
    estimator: LinkEstimator,
    /// When it was last alive, by what it sent us.
    last_heard: Option<Instant>,
    /// When the last overdue reply came that counts as a round trip.
    overdue_at: Option<Instant>,
    /// The longest stall it measured in itself lately, as it says.
    stall: Duration,
    /// Whether its host ever answered a question.
    host_answers: bool,
    /// When its host was last asked while the member was healthy.
    host_asked_at: Option<Instant>,
    /// When it was last alive, by whatever way that became known.
    known_alive_at: Option<Instant>,
    /// Our last pings, if they have no direct reply.
    unanswered: Option<Run>,
    /// The longest silence that it ended by itself lately, and when that was.
    silence: Option<(Duration, Instant)>,
    /// How many of our pings in a row had no direct reply, whatever others say of the member.
    without_reply: u32,
    /// The helper that last reached it when we did not.
    reached_by: Option<MemberId>,
    /// When its present version was learnt, if it refuted: no silence from before is evidence against this version.
    renewed_at: Option<Instant>,
    /// When a message of its own last arrived.
    heard_itself: Option<Instant>,
    /// Who alone says that it lives.
    lone_word: Option<LoneWord>,
}

/// The word of one other member that this one lives, while nothing else shows it.
#[derive(Clone, Copy, Debug)]
struct LoneWord {
    by: MemberId,
    /// When it was first said.
    since: Instant,
    /// When it was last ignored, as it was said for too long.
    ignored_at: Option<Instant>,
    /// When its teller was last asked for more than words.
    asked_at: Option<Instant>,
}

impl LinkState {
    /// Learns from the reply to a ping. What is overdue may be the link, which became slow, or a pause of the other
    /// side, which held up all replies of that time alike: so only the first of those that came together counts, and
    /// as no more than twice what was waited for. A slow link is learnt step by step, a pause hardly at all.
    fn record_reply(&mut self, now: Instant, ping: &Ping) {
        let Ping { sent_at, timeout, is_sample, is_overdue, .. } = *ping;
        let waited = now - sent_at;
        // Our timer should have fired by now: it is we who paused, and the time is not the link's.
        let is_ours = waited > timeout && !is_overdue;
        let is_counted_already = is_overdue && self.overdue_at.is_some_and(|at| sent_at < at);
        if !is_sample || is_ours || is_counted_already {
            self.estimator.record_answered();
            return;
        }
        self.estimator.record_reply(waited.min(timeout * 2));
        if is_overdue {
            self.overdue_at = Some(now);
        }
    }
}

impl Probes {
    /// What to expect of a link. It is seldom measured, so what all links show together counts too: no link is believed
    /// to lose less than half of the others do, and one never measured to be as slow as the slowest.
    fn estimate(&self, link: &LinkState) -> LinkEstimator {
        let measured = self.links.values().map(|link| &link.estimator).filter(|l| l.samples() > 0);
        let mut losses: Vec<_> = measured.clone().map(LinkEstimator::loss).collect();
        let estimate = match measured.filter_map(LinkEstimator::round_trip).max() {
            Some(slowest) if link.estimator.samples() == 0 => LinkEstimator::new(slowest),
            Some(_) | None => link.estimator.clone(),
        };
        if losses.is_empty() {
            return estimate;
        }
        let middle = losses.len() / 2;
        let (_, &mut median, _) = losses.select_nth_unstable_by(middle, f64::total_cmp);
        estimate.with_loss_at_least(median)
    }

    pub(crate) fn next_sequence(&mut self) -> Sequence {
        self.last_sequence.0 = self.last_sequence.0.wrapping_add(1);
        self.last_sequence
    }
}

impl Swim {
    /// Whom a round is for.
    pub(crate) fn choose_target(&mut self, round: Round) -> Option<MemberId> {
        match self.is_turn_of_chance() {
            true => self.list.random_other(&mut self.rng),
            false => self.list.rings().subject_in_round(self.id(), round.0),
        }
    }

    /// Whether this probe goes to a member of chance, which finds what the rings alone would miss. Seldom, as it costs
    /// a handshake; never where everyone observes everyone.
    fn is_turn_of_chance(&mut self) -> bool {
        !self.list.rings().are_complete() && self.rng.random_range(0..RANDOM_PROBE_ONE_IN) == 0
    }

    /// The reply to a ping is overdue.
    pub(crate) fn reply_overdue(&mut self, now: Instant, sequence: Sequence) {
        let Some(ping) = self.probes.pings.get_mut(&sequence) else {
            return;
        };
        ping.is_overdue = true;
        let Ping { target, sent_at, purpose, .. } = *ping;
        self.stats.pings_missed += 1;
        if !matches!(purpose, Purpose::Redial) {
            self.quicken(now);
            if let Some(link) = self.probes.links.get_mut(&target) {
                link.without_reply = link.without_reply.saturating_add(1);
            }
            self.record_unanswered(now, target, sent_at);
        }
        match purpose {
            Purpose::Relay { requester, sequence } => {
                self.send(requester, &Part::Nack { sequence });
                // Where we observe the member too, what we missed for another we missed ourselves.
                if self.list.rings().subjects(self.id()).contains(&target) {
                    self.record_miss(now, target, sent_at);
                }
            }
            Purpose::Retry => {
                // It is followed up: what was missed before counts too.
                let is_evidence = self.record_miss(now, target, sent_at);
                self.retry_ended(target);
                if is_evidence {
                    self.escalate(now, target, Some(sequence));
                }
            }
            Purpose::Redial => {}
            Purpose::Look => {
                self.ask_helpers(now, target, sequence);
                self.ping_by_stream(now, target, sequence);
                self.ask_host(target, Question::Silence);
            }
            Purpose::Probe => self.handle_miss(now, sequence, target, sent_at),
        }
    }

    /// A reply to this ping would come too late to matter. It was lost, unless it may be the member that was: a silence
    /// that long is none of the link.
    pub(crate) fn end_probe(&mut self, sequence: Sequence) {
        let Some(ping) = self.probes.pings.remove(&sequence) else {
            return;
        };
        if let Some(link) = self.probes.links.get_mut(&ping.target)
            && link.last_heard.is_some_and(|heard_at| heard_at >= ping.sent_at)
            && !ping.is_lost
        {
            link.estimator.record_miss();
        }
    }

    pub(crate) fn handle_ping(&mut self, now: Instant, from: Peer, pulse: Pulse, channel: Channel) {
        self.hear_round(now, &pulse);
        self.hear_fingerprint(now, from.id, pulse.fingerprint);
        if self.list.get(from.id).is_none() {
            self.stats.unknown_senders += 1;
        }
        let ack = Part::Ack(Pulse { sequence: pulse.sequence, ..self.pulse(now) });
        let mut payload = Payload::of(&ack);
        match channel {
            Channel::Datagram => {
                self.piggyback(now, &mut payload, from.id);
                self.send_datagram(from, payload);
            }
            Channel::Stream => self.send_stream(from, payload),
        }
    }

    pub(crate) fn handle_ack(&mut self, now: Instant, from: Peer, pulse: Pulse, channel: Channel) {
        self.hear_round(now, &pulse);
        self.hear_fingerprint(now, from.id, pulse.fingerprint);
        if !self.end_ping(now, from, pulse, channel) {
            self.stats.late_acks += 1;
        }
        self.compare_fingerprints(now, from, pulse.fingerprint);
    }

    /// Another member asks us to ping `target` for it.
    pub(crate) fn handle_ping_req(
        &mut self,
        now: Instant,
        from: Peer,
        sequence: Sequence,
        target: MemberId,
    ) {
        let relays = self.probes.pings.values().filter(|ping| ping.purpose.is_relay()).count();
        if relays >= MAX_RELAYS || !self.hearsay.may_request(now, from.id) {
            self.stats.relays_refused += 1;
            return;
        }
        match self.peer(target).filter(|_| target != self.id()) {
            Some(target) => {
                self.ping(now, target, Purpose::Relay { requester: from, sequence });
            }
            None => {
                self.stats.unknown_subjects += 1;
                self.send(from, &Part::Nack { sequence });
            }
        }
    }

    /// Helpers that were asked to ping a member have had time to send at least a nack. If somebody reached the member, it
    /// does not matter any more. If another observer voted that it misses the member too, this member hears well: the
    /// helpers may be as silent as the member, when many are stopped at once. The same holds when most subjects are
    /// silent but others have answered since: then the rule against lone verdicts protects the silent ones.
    pub(crate) fn count_silent_helpers(&mut self, sequence: Sequence) {
        let Some(ping) = self.probes.pings.get(&sequence) else {
            return;
        };
        let silent = ping.silent_helpers.len() as u32;
        self.stats.nacks_missed += u64::from(silent);
        let is_confirmed = self.cases.votes_of(ping.target).next().is_some();
        let is_answered = self.is_most_silent() && self.health.last_answer() > ping.sent_at;
        if !is_confirmed && !is_answered {
            self.health.record_silent_helpers(silent);
        }
    }

    /// A helper is there, but could not reach the member either.
    pub(crate) fn handle_nack(&mut self, now: Instant, from: MemberId, sequence: Sequence) {
        let Some(ping) = self.ping_helped_by(from, sequence) else {
            return;
        };
        ping.silent_helpers.retain(|&helper| helper != from);
        let target = ping.target;
        self.health.forgive_silent_helper();
        self.escalate(now, target, None);
    }

    /// The ping that this member was asked to help with. Nobody else's word on it counts.
    fn ping_helped_by(&mut self, helper: MemberId, sequence: Sequence) -> Option<&mut Ping> {
        let Some(ping) = self.probes.pings.get_mut(&sequence) else {
            self.stats.late_acks += 1;
            return None;
        };
        if !ping.helpers.contains(&helper) {
            self.stats.unasked_answers += 1;
            return None;
        }
        Some(ping)
    }

    /// A helper reached the member.
    pub(crate) fn handle_indirect_ack(
        &mut self,
        now: Instant,
        from: Peer,
        sequence: Sequence,
        generation: Generation,
    ) {
        self.record_heard(now, from.id, now);
        let Some(ping) = self.ping_helped_by(from.id, sequence) else {
            return;
        };
        let (target, sent_at) = (ping.target, ping.sent_at);
        if self.is_current(target, generation) && self.takes_word_of(now, target, from.id) {
            self.health.forgive_silent_helper();
            if let Some(ping) = self.probes.pings.get_mut(&sequence) {
                ping.silent_helpers.clear();
            }
            self.record_reached_by(target, from.id);
            self.record_lost(target, sent_at);
            let was_open = self.cases.is_open(target);
            self.record_alive(now, target, sent_at);
            if was_open && !self.cases.is_open(target) {
                self.ask_to_refute(now, target);
            }
        }
    }

    /// Whether another member's word that this one lives counts. If nobody else has said so for a while, and the member
    /// itself was not heard nor renewed its record, the word may be a lie that hides a death.
    pub(crate) fn takes_word_of(&mut self, now: Instant, id: MemberId, by: MemberId) -> bool {
        let Some(link) = self.probes.links.get_mut(&id) else {
            return true;
        };
        let evidence = link.heard_itself.max(link.renewed_at);
        let lone_word = link.lone_word.filter(|word| word.by == by && Some(word.since) > evidence);
        let fresh = LoneWord { by, since: now, ignored_at: None, asked_at: None };
        let word = link.lone_word.insert(lone_word.unwrap_or(fresh));
        if now - word.since < LONE_WORD_TIME {
            return true;
        }
        self.stats.lone_words_ignored += 1;
        word.ignored_at = Some(now);
        false
    }

    /// Whether another member's word that this one lives was ignored since then.
    pub(crate) fn is_contested(&self, id: MemberId, since: Instant) -> bool {
        let word = self.probes.links.get(&id).and_then(|link| link.lone_word);
        word.and_then(|word| word.ignored_at).is_some_and(|at| at >= since)
    }

    /// Asks the only other member that says that this one lives to let it refute, as it may be the only one that reaches it.
    pub(crate) fn ask_for_refutation(&mut self, now: Instant, id: MemberId) {
        let interval = self.params.pause_tolerance / 4;
        let word = self.probes.links.get_mut(&id).and_then(|link| link.lone_word.as_mut());
        let is_due = |word: &&mut LoneWord| word.asked_at.is_none_or(|at| now - at >= interval);
        if let Some(word) = word.filter(is_due) {
            word.asked_at = Some(now);
            let (by, version) = (word.by, self.list.get(id).map(|member| member.version()));
            if let Some((peer, version)) = self.peer(by).zip(version) {
                let claim = Claim { subject: id, version, by: self.id() };
                self.send(peer, &Part::Suspect(claim));
            }
        }
    }

    /// A message came from the member itself, or its reply to what was sent at `at`.
    pub(crate) fn record_heard(&mut self, now: Instant, id: MemberId, at: Instant) {
        if let Some(link) = self.probes.links.get_mut(&id) {
            link.heard_itself = link.heard_itself.max(Some(at));
        }
        self.record_alive(now, id, at);
        self.meet(now, id);
    }

    /// A member was alive at `at`, as it showed itself or as a helper found: what it did not answer before was lost on
    /// the way.
    fn record_alive(&mut self, now: Instant, id: MemberId, at: Instant) {
        if let Some(link) = self.probes.links.get_mut(&id) {
            link.last_heard = link.last_heard.max(Some(at));
        }
        self.contacts.record_heard(id, at);
        self.void_evidence(now, id, at, id);
    }

    /// When a member last showed by a message of its own that it lives.
    pub(crate) fn heard_itself_at(&self, id: MemberId) -> Option<Instant> {
        match self.probes.links.get(&id) {
            Some(link) => link.heard_itself,
            None => self.contacts.heard_at(id),
        }
    }

    /// Whether a connection to it is open, so that a word to it costs no handshake.
    pub(crate) fn is_connected(&self, id: MemberId) -> bool {
        self.probes.connected.contains(&id)
    }

    /// When a member that we ping was last known alive by what it sent us.
    pub(crate) fn link_heard_at(&self, id: MemberId) -> Option<Instant> {
        self.probes.links.get(&id)?.last_heard
    }

    /// When a member that we ping was last known alive, by whatever way.
    pub(crate) fn known_alive_at(&self, id: MemberId) -> Option<Instant> {
        self.probes.links.get(&id)?.known_alive_at
    }

    pub(crate) fn record_known_alive(&mut self, id: MemberId, at: Instant) {
        if let Some(link) = self.probes.links.get_mut(&id) {
            link.known_alive_at = link.known_alive_at.max(Some(at));
        }
    }

    /// Whether a member does not answer us itself, whatever others say of it.
    pub(crate) fn gives_no_reply(&self, id: MemberId) -> bool {
        self.probes.links.get(&id).is_some_and(|link| link.without_reply >= 2)
    }

    /// Another member reached one that does not answer us.
    pub(crate) fn record_reached_by(&mut self, id: MemberId, by: MemberId) {
        if let Some(link) = self.probes.links.get_mut(&id) {
            link.reached_by = Some(by);
        }
    }

    /// A member refuted: a later version of it is known from now on.
    pub(crate) fn record_renewed(&mut self, now: Instant, id: MemberId) {
        if let Some(link) = self.probes.links.get_mut(&id) {
            link.renewed_at = Some(now);
        }
    }

    /// When the present version of a member was learnt, if it refuted an earlier one.
    pub(crate) fn renewed_at(&self, id: MemberId) -> Option<Instant> {
        self.probes.links.get(&id)?.renewed_at
    }

    /// Our pings in a row without direct reply.
    pub(crate) fn run(&self, id: MemberId) -> Option<Run> {
        self.probes.links.get(&id)?.unanswered
    }

    /// Forgets them: one was answered.
    pub(crate) fn take_run(&mut self, id: MemberId) -> Option<Run> {
        self.probes.links.get_mut(&id)?.unanswered.take()
    }

    /// Those of a member that we observe, to change.
    pub(crate) fn run_mut(&mut self, id: MemberId) -> Option<&mut Option<Run>> {
        let is_observed = self.list.rings().subjects(self.list.me().id()).contains(&id);
        let link = self.probes.links.get_mut(&id).filter(|_| is_observed)?;
        Some(&mut link.unanswered)
    }

    /// What a reply's absence is worth on the link to a member.
    pub(crate) fn weight(&self, id: MemberId, waited: Duration) -> f64 {
        self.estimate_of(id).map_or(0.0, |link| link.weight(waited))
    }

    /// Others heard the member at `until`: what of ours is overdue since before that was lost on our link.
    pub(crate) fn record_lost(&mut self, id: MemberId, until: Instant) {
        let Some(link) = self.probes.links.get_mut(&id) else {
            return;
        };
        let pings = self.probes.pings.values_mut().filter(|ping| ping.target == id);
        for ping in pings.filter(|ping| ping.is_overdue && !ping.is_lost && ping.sent_at <= until) {
            ping.is_lost = true;
            link.estimator.record_miss();
        }
    }

    /// The longest stall that a member said it measured in itself lately.
    pub(crate) fn advertised_stall(&self, id: MemberId) -> Duration {
        self.probes.links.get(&id).map_or(Duration::ZERO, |link| link.stall)
    }

    /// A member that was silent for so long is heard again.
    pub(crate) fn record_silence_ended(&mut self, now: Instant, id: MemberId, lasted: Duration) {
        let longest = self.longest_silence(now, id);
        if let Some(link) = self.probes.links.get_mut(&id).filter(|_| lasted >= longest) {
            link.silence = Some((lasted, now));
        }
    }

    /// The longest silence that a member ended by itself lately.
    pub(crate) fn longest_silence(&self, now: Instant, id: MemberId) -> Duration {
        let silence = self.probes.links.get(&id).and_then(|link| link.silence);
        let recent = silence.filter(|&(_, ended_at)| now - ended_at < SILENCE_REMEMBERED);
        recent.map_or(Duration::ZERO, |(lasted, _)| lasted)
    }

    pub(crate) fn connected(&mut self, now: Instant, peer: Peer) {
        if self.probes.connected.len() < self.params.max_members {
            self.probes.connected.insert(peer.id);
        }
        self.hear_anyone(now);
        self.measure_if_new(now, peer);
    }

    /// Pings a subject at once when it is both known and connected, and was never measured: until then nothing on the
    /// link is late.
    pub(crate) fn measure_if_new(&mut self, now: Instant, peer: Peer) {
        let link = self.probes.links.get(&peer.id);
        let is_new = link.is_none_or(|link| link.estimator.samples() == 0);
        if is_new
            && self.probes.connected.contains(&peer.id)
            && self.list.rings().subjects(self.id()).contains(&peer.id)
        {
            self.ping(now, peer, Purpose::Probe);
        }
    }

    pub(crate) fn disconnected(&mut self, now: Instant, id: MemberId, reason: Disconnection) {
        self.probes.connected.remove(&id);
        match reason {
            Disconnection::Reset | Disconnection::Closed => {
                // Its process ended, or is another one now; if it is there, it answers.
                self.verify(now, id);
                self.record_silence(now, id, Silence::Gone);
            }
            Disconnection::Idle | Disconnection::Lost => {}
        }
    }

    pub(crate) fn unreachable(&mut self, now: Instant, id: MemberId, reason: Unreachable) {
        self.probes.connected.remove(&id);
        self.joins.give_up(id);
        match reason {
            Unreachable::Refused => self.record_port_free(now, id),
            Unreachable::OtherIdentity => {
                self.record_silence(now, id, Silence::Gone);
                self.record_gone(now, id);
            }
            Unreachable::NoAnswer | Unreachable::NotAdmitted => {}
        }
    }

    /// What a member's host said of it.
    pub(crate) fn host_answered(&mut self, now: Instant, id: MemberId, answer: HostAnswer) {
        // Another process may have its port by now. Finding that takes a look at the whole list, and only a silent member is
        // judged by it.
        let is_taken =
            answer == HostAnswer::Answers && self.cases.is_open(id) && self.is_address_taken(id);
        let Some(link) = self.probes.links.get_mut(&id) else {
            if answer == HostAnswer::PortRefused {
                self.record_port_free(now, id);
            }
            return;
        };
        let used_to_answer = link.host_answers;
        let silence = match answer {
            HostAnswer::PortRefused => Silence::Gone,
            HostAnswer::Answers if is_taken => Silence::Gone,
            HostAnswer::Answers => Silence::Hung,
            HostAnswer::Nothing if used_to_answer => Silence::Silent,
            HostAnswer::Nothing | HostAnswer::Unknown => Silence::Unknown,
        };
        if matches!(answer, HostAnswer::PortRefused | HostAnswer::Answers) {
            link.host_answers = true;
            self.health.record_answer(now);
        }
        if answer == HostAnswer::PortRefused {
            self.health.record_refusal(now);
            self.doubt_refused(now, id);
            self.record_port_free(now, id);
        }
        self.record_silence(now, id, silence);
    }

    /// No process has the port of this member: all silent members that were at its address are gone. A host says so only
    /// now and then (Linux once in a second), while a process that crashes in a loop leaves many identities.
    fn record_port_free(&mut self, now: Instant, id: MemberId) {
        self.record_gone(now, id);
        let addr = self.list.get(id).map(|member| member.addr());
        for other in self.cases.open() {
            if other == id || self.list.get(other).map(|member| member.addr()) == addr {
                self.record_silence(now, other, Silence::Gone);
            }
        }
    }

    /// Where a member is said to be, no process is: that bears out what others say of it.
    fn record_gone(&mut self, now: Instant, id: MemberId) {
        self.confirm_gone(now, id);
        self.confirm_forgotten(now, id);
    }

    /// Whether a member that came later has this one's address.
    fn is_address_taken(&self, id: MemberId) -> bool {
        let Some(known) = self.list.get(id) else {
            return false;
        };
        let mut live = self.list.snapshot().live();
        live.any(|member| member.id() != id && member.record.has_addr_of(&known.record))
    }

    /// Forgets the pings to a member that is gone, or whose process is another one now.
    pub(crate) fn forget_probes_of(&mut self, id: MemberId) {
        self.probes.pings.retain(|_, ping| ping.target != id);
        self.probes.links.remove(&id);
    }

    /// Forgets the pings under way, of which we no longer know whether a reply would have come in time.
    pub(crate) fn forget_pings(&mut self) {
        self.probes.pings.retain(|_, ping| !ping.is_overdue && ping.purpose.is_relay());
    }

    pub(crate) fn observed_links(&self, now: Instant) -> Vec<Link> {
        let subjects = self.list.rings().subjects(self.id());
        let links = subjects.into_iter().filter_map(|id| Some((id, self.probes.links.get(&id)?)));
        links
            .map(|(id, link)| Link {
                id,
                phi: self.phi(now, id).unwrap_or_default(),
                round_trip: link.estimator.round_trip(),
                loss: link.estimator.loss(),
            })
            .collect()
    }

    /// When the first ping of a member was sent that still waits for its reply, and is not overdue. One that was
    /// followed by a sign of life was lost on its way.
    pub(crate) fn waiting_since(&self, id: MemberId) -> Option<Instant> {
        let heard_at = self.link_heard_at(id);
        let waiting = self.probes.pings.values().filter(|ping| ping.target == id);
        let waiting = waiting.filter(|ping| !ping.is_overdue && heard_at < Some(ping.sent_at));
        waiting.map(|ping| ping.sent_at).min()
    }

    /// What to expect of the link to a member, if it was ever pinged.
    pub(crate) fn estimate_of(&self, id: MemberId) -> Option<LinkEstimator> {
        self.probes.links.get(&id).map(|link| self.probes.estimate(link))
    }

    pub(crate) fn ping(&mut self, now: Instant, to: Peer, purpose: Purpose) {
        let sequence = self.probes.next_sequence();
        let is_sample = self.probes.connected.contains(&to.id);
        let prior = self.params.prior_round_trip;
        let link = self.probes.links.entry(to.id).or_insert_with(|| LinkState {
            estimator: LinkEstimator::new(prior),
            last_heard: None,
            overdue_at: None,
            stall: Duration::ZERO,
            host_answers: false,
            host_asked_at: None,
            known_alive_at: None,
            unanswered: None,
            silence: None,
            without_reply: 0,
            reached_by: None,
            renewed_at: None,
            heard_itself: None,
            lone_word: None,
        });
        let period = self.params.protocol_period;
        let link = link.clone();
        let timeout = probe_timeout(&self.probes.estimate(&link), period, is_sample);
        let (target, sent_at) = (to.id, now);
        let (helpers, silent_helpers) = (Vec::new(), Vec::new());
        let (is_overdue, is_lost) = (false, false);
        let ping = Ping {
            target,
            sent_at,
            timeout,
            is_sample,
            is_overdue,
            is_lost,
            purpose,
            helpers,
            silent_helpers,
        };
        self.probes.pings.insert(sequence, ping);
        self.timers.set(now + timeout, Timer::ProbeTimeout(sequence));
        self.timers.set(now + self.probe_lifetime(), Timer::ProbeEnd(sequence));
        self.stats.pings_sent += 1;
        let mut payload = Payload::of(&Part::Ping(Pulse { sequence, ..self.pulse(now) }));
        self.piggyback(now, &mut payload, to.id);
        self.send_datagram(to, payload);
    }

    /// Asks others to ping a member: its observers, except those that are silent themselves. If this member's own link to
    /// it is known to fail, any member may help, and the one that reached it last is asked first.
    pub(crate) fn ask_helpers(&mut self, now: Instant, target: MemberId, sequence: Sequence) {
        let mut candidates = self.list.rings().observers(target);
        let is_cut_off = self.own_failing_link(now, target).is_some();
        if is_cut_off {
            candidates
                .extend((0..CHANCE_HELPERS).filter_map(|_| self.list.random_other(&mut self.rng)));
            candidates.sort_unstable();
            candidates.dedup();
        }
        let me = self.id();
        candidates.retain(|&id| {
            id != me && id != target && self.is_alive(id) && !self.is_silent_to_us(id)
        });
        candidates.shuffle(&mut self.rng);
        let reached_by = self.probes.links.get(&target).and_then(|link| link.reached_by);
        if let Some(helper) = reached_by.filter(|&id| is_cut_off && self.is_alive(id)) {
            candidates.retain(|&id| id != helper);
            candidates.insert(0, helper);
        }
        candidates.truncate(self.params.indirect_probes.into());
        let helpers: Vec<_> = candidates.into_iter().filter_map(|id| self.peer(id)).collect();
        if let Some(ping) = self.probes.pings.get_mut(&sequence) {
            ping.helpers.extend(helpers.iter().map(|helper| helper.id));
            ping.silent_helpers = helpers.iter().map(|helper| helper.id).collect();
            let patience = self.params.protocol_period;
            self.timers.set(now + patience, Timer::NackTimeout(sequence));
        }
        for helper in helpers {
            self.stats.ping_reqs_sent += 1;
            self.send(helper, &Part::PingReq { sequence, target });
        }
    }

    /// Pings a member again by the one way that datagram loss does not touch.
    pub(crate) fn ping_by_stream(&mut self, now: Instant, target: MemberId, sequence: Sequence) {
        if let Some(target) = self.peer(target) {
            let mut ping = Payload::of(&Part::Ping(Pulse { sequence, ..self.pulse(now) }));
            // Where datagrams do not arrive, this is how a suspect learns that it is one.
            self.piggyback(now, &mut ping, target.id);
            self.send_stream(target, ping);
        }
    }

    /// Ends the ping that an ack answers; says whether there was one.
    fn end_ping(&mut self, now: Instant, from: Peer, pulse: Pulse, channel: Channel) -> bool {
        let sequence = pulse.sequence;
        let is_answer = self.probes.pings.get(&sequence).is_some_and(|p| p.target == from.id);
        if !is_answer || !self.is_current(from.id, pulse.generation) {
            return false;
        }
        let Some(ping) = self.probes.pings.remove(&sequence) else {
            return false;
        };
        let (timeout_at, end_at) =
            (ping.sent_at + ping.timeout, ping.sent_at + self.probe_lifetime());
        self.timers.cancel(now, timeout_at, Timer::ProbeTimeout(sequence));
        self.timers.cancel(now, end_at, Timer::ProbeEnd(sequence));
        if let Some(link) = self.probes.links.get_mut(&from.id) {
            link.stall = Duration::from_millis(pulse.stall_ms.into());
            match channel {
                Channel::Datagram => link.record_reply(now, &ping),
                // It answers the retry by stream, which was sent later; the datagram counts as lost.
                Channel::Stream => link.estimator.record_miss(),
            }
        }
        if let Some(link) = self.probes.links.get_mut(&from.id) {
            link.without_reply = 0;
        }
        if channel == Channel::Datagram {
            self.health.forgive_silent_helper();
            self.record_reached(now, from);
        }
        if matches!(ping.purpose, Purpose::Retry) {
            self.retry_ended(from.id);
        }
        if matches!(ping.purpose, Purpose::Redial) {
            // Two parts that found each other differ in more than what refutations will repair.
            self.start_exchange(now, from);
        }
        if let Purpose::Relay { requester, sequence } = ping.purpose {
            let generation = pulse.generation;
            self.send(requester, &Part::IndirectAck { sequence, generation });
        }
        self.record_heard(now, from.id, ping.sent_at);
        self.learn_whether_host_answers(now, from.id);
        true
    }

    /// After how long a reply to a ping is too late to matter.
    fn probe_lifetime(&self) -> Duration {
        self.params.protocol_period * 2
    }

    /// Asks a healthy member's host once in a long while, so that its silence will mean something.
    fn learn_whether_host_answers(&mut self, now: Instant, id: MemberId) {
        let Some(link) = self.probes.links.get_mut(&id) else {
            return;
        };
        if link.host_asked_at.is_none_or(|asked_at| now - asked_at >= HOST_QUESTION_INTERVAL) {
            link.host_asked_at = Some(now);
            self.ask_host(id, Question::Reachability);
        }
    }

    /// Whether a word of this run of the member's process is worth something: not after a later run was heard of.
    fn is_current(&self, id: MemberId, generation: Generation) -> bool {
        self.list.get(id).is_none_or(|member| generation >= member.generation())
    }

    pub(crate) fn pulse(&self, now: Instant) -> Pulse {
        Pulse {
            sequence: Sequence(0),
            generation: self.list.me().generation(),
            round: self.rounds.round(),
            round_age_ms: u32::try_from(self.rounds.age(now).as_millis()).unwrap_or(u32::MAX),
            fingerprint: self.fingerprint(),
            stall_ms: u16::try_from(self.health.longest_stall().as_millis()).unwrap_or(u16::MAX),
        }
    }

    /// Forgets the links not heard longest once there are many more than subjects.
    pub(crate) fn prune_links(&mut self) {
        let max = 4 * usize::from(self.params.rings) + 16;
        while self.probes.links.len() > max {
            let subjects = self.list.rings().subjects(self.id());
            let links = self.probes.links.iter();
            let links =
                links.filter(|(id, _)| !subjects.contains(id) && !self.is_silent_to_us(**id));
            let Some((&oldest, _)) = links.min_by_key(|(_, link)| link.last_heard) else {
                return;
            };
            self.probes.links.remove(&oldest);
        }
    }
}

/// By which way a message came, so that its answer takes the same.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Channel {
    Datagram,
    Stream,
}

impl Purpose {
    const fn is_relay(self) -> bool {
        matches!(self, Self::Relay { .. })
    }
}

/// How long to wait for a direct reply: until nearly all replies on this link would have come.
fn probe_timeout(link: &LinkEstimator, period: Duration, is_connected: bool) -> Duration {
    let timeout = link.deadline(TIMEOUT_PHI).unwrap_or_else(|| link.late_after(0.99));
    // A handshake takes two round trips before the ping is even sent.
    let timeout = if is_connected { timeout } else { timeout * 4 };
    timeout.clamp(MIN_TIMEOUT, period / 2)
}

/// A reply that is overdue by this phi is worth a second look: one in a hundred comes later.
const TIMEOUT_PHI: f64 = 2.0;
/// Below this, scheduling is most of what is measured.
const MIN_TIMEOUT: Duration = Duration::from_millis(1);
/// One probe in so many goes to a member of chance. At 4.4 kB for a handshake it adds some 35 bytes a second; one in
/// K + 1 would add 490, twice the rest of the idle load.
const RANDOM_PROBE_ONE_IN: u32 = 128;
/// How many random members are candidates to help, beside the observers, where the link to a member is known to fail.
const CHANCE_HELPERS: usize = 8;
/// How often a healthy member's host is asked whether it answers.
const HOST_QUESTION_INTERVAL: Duration = Duration::from_secs(600);
/// How long it is remembered of a member that it was silent for a while.
const SILENCE_REMEMBERED: Duration = Duration::from_secs(60);
/// How many pings for others may be under way; further ping-reqs are refused, and others are asked as well.
const MAX_RELAYS: usize = 64;
/// For how long the word of a single other member that a silent member lives counts, if nothing else shows it.
const LONE_WORD_TIME: Duration = Duration::from_secs(10);
