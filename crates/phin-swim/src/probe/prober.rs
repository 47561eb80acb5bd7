//! [`Prober`]: pings members and answers pings, for this node and for others.

use std::time::Duration;

use phin_accrual::LinkEstimator;

use crate::{
    Channel, Ctx, Generation, MemberId, MembershipList, Miss, Part, Payload, Peer, Pulse, Purpose,
    Question, Sequence, Step, Timer,
    detect::{detector::Detector, proof::Nonce},
    link::flawed::record_delay,
    probe::pings::Ping,
    senses::Senses,
};

/// The rules of probing, with what they work on.
pub(crate) struct Prober<'a> {
    pub(crate) ctx: &'a mut Ctx,
    pub(crate) list: &'a MembershipList,
    pub(crate) senses: &'a mut Senses,
    pub(crate) own: &'a mut Detector,
}

impl Prober<'_> {
    pub(crate) fn ping(&mut self, to: Peer, purpose: Purpose) {
        self.challenge(to, purpose, None);
    }

    /// Pings a member, and has it sign this number.
    fn challenge(&mut self, to: Peer, purpose: Purpose, nonce: Option<Nonce>) {
        let (now, period) = (self.ctx.now, self.ctx.params.period);
        let sequence = self.senses.pings.next_sequence();
        let is_sample = self.senses.links.is_connected(to.id);
        self.senses.links.open(to.id, self.ctx.params.prior_round_trip);
        let link = self.senses.links.estimate_of(to.id);
        let timeout = link.map_or(period / 2, |link| probe_timeout(&link, period, is_sample));
        self.senses.pings.insert(sequence, Ping::new(to.id, now, timeout, is_sample, purpose));
        self.ctx.timers.set(now + timeout, Timer::ProbeTimeout(sequence));
        self.ctx.timers.set(now + self.probe_lifetime(), Timer::ProbeEnd(sequence));
        self.ctx.stats.pings_sent += 1;
        let mut payload = Payload::of(&Part::Ping(self.pulse(sequence)));
        nonce.into_iter().for_each(|nonce| payload.push(&Part::Challenge(nonce)));
        self.ctx.then(Step::SendWithNews { to, channel: Channel::Datagram, payload });
    }

    /// Pings a member again by the one way that datagram loss does not touch.
    pub(crate) fn ping_by_stream(&mut self, target: MemberId, sequence: Sequence) {
        if let Some(to) = self.list.peer(target) {
            let payload = Payload::of(&Part::Ping(self.pulse(sequence)));
            // Where datagrams do not arrive, this is how a suspect learns that it is one.
            self.ctx.then(Step::SendWithNews { to, channel: Channel::Stream, payload });
        }
    }

    /// Pings a subject at once when it is both known and connected, and was never measured: until then nothing on the
    /// link is late.
    pub(crate) fn measure_if_new(&mut self, peer: Peer) {
        let link = self.senses.links.get(peer.id);
        let is_new = link.is_none_or(|link| link.estimator.samples() == 0);
        let me = self.list.me().id();
        if is_new
            && self.senses.links.is_connected(peer.id)
            && self.list.rings().subjects(me).contains(&peer.id)
        {
            self.ping(peer, Purpose::Probe);
        }
    }

    /// Answers a ping by the way by which it came.
    pub(crate) fn handle_ping(&mut self, from: Peer, sequence: Sequence, channel: Channel) {
        if self.list.get(from.id).is_none() {
            self.ctx.stats.unknown_senders += 1;
        }
        let payload = Payload::of(&Part::Ack(self.pulse(sequence)));
        match channel {
            Channel::Datagram => {
                self.ctx.then(Step::SendWithNews { to: from, channel, payload });
            }
            Channel::Stream => self.ctx.send_stream(from, payload),
        }
    }

    /// Answers a ping without news.
    pub(crate) fn ack_only(&mut self, to: Peer, channel: Channel, sequence: Sequence) {
        let payload = Payload::of(&Part::Ack(self.pulse(sequence)));
        self.ctx.send_by(channel, to, payload);
    }

    /// Another member asks this one to ping `target` for it, and perhaps to have it sign a number.
    pub(crate) fn handle_ping_req(
        &mut self,
        from: Peer,
        sequence: Option<Sequence>,
        (target, nonce): (MemberId, Option<Nonce>),
    ) {
        let is_full = self.senses.pings.relays() >= MAX_RELAYS;
        if is_full || !self.own.hearsay.may_request(self.ctx.now, from.id) {
            self.ctx.stats.relays_refused += 1;
            return;
        }
        match self.list.peer(target).filter(|_| target != self.list.me().id()) {
            Some(target) => self.relay(from, sequence, (target, nonce)),
            None => {
                self.ctx.stats.unknown_subjects += 1;
                let nack = sequence.map(|sequence| Part::Nack { sequence });
                nack.into_iter().for_each(|nack| self.ctx.send(from, &nack));
            }
        }
    }

    /// Pings a member for another one.
    fn relay(
        &mut self,
        requester: Peer,
        sequence: Option<Sequence>,
        (target, nonce): (Peer, Option<Nonce>),
    ) {
        nonce.into_iter().for_each(|nonce| self.own.proofs.relay(requester, target.id, nonce));
        self.challenge(target, Purpose::Relay { requester, sequence }, nonce);
    }

    /// An ack arrived: ends the ping that it answers, if there is one.
    pub(crate) fn handle_ack(&mut self, from: Peer, pulse: Pulse, channel: Channel) {
        let is_current = self.list.is_current(from.id, pulse.generation);
        let pings = &mut self.senses.pings;
        let ping = is_current.then(|| match channel {
            Channel::Datagram => pings.take_answered(pulse.sequence, from.id),
            Channel::Stream => pings.answer_by_stream(pulse.sequence, from.id),
        });
        match ping.flatten() {
            Some(ping) => self.end_ping(from, &ping, pulse, channel),
            None => self.ctx.stats.late_acks += 1,
        }
    }

    fn end_ping(&mut self, from: Peer, ping: &Ping, pulse: Pulse, channel: Channel) {
        let (now, sequence, sent_at) = (self.ctx.now, pulse.sequence, ping.sent_at);
        if channel == Channel::Datagram {
            let end_at = sent_at + self.probe_lifetime();
            self.ctx.timers.cancel(now, sent_at + ping.timeout, Timer::ProbeTimeout(sequence));
            self.ctx.timers.cancel(now, end_at, Timer::ProbeEnd(sequence));
        }
        self.learn_link(ping, pulse, channel);
        if ping.is_answered && channel == Channel::Datagram {
            // It answered both; what follows from that was done for the stream.
            return;
        }
        if channel == Channel::Datagram {
            self.senses.health.forgive_silent_helper();
            self.ctx.then(Step::Reached(from));
        }
        self.answer_purpose(from, ping.purpose, pulse.generation);
        self.ctx.then(Step::Heard { id: from.id, at: sent_at });
        if self.senses.links.is_host_due(now, from.id) {
            let link = self.senses.links.get(from.id);
            self.ctx.ask_host(self.list.peer(from.id), Question::Reachability, link);
        }
    }

    /// Learns from the reply to a ping what can be learnt of the link.
    fn learn_link(&mut self, ping: &Ping, pulse: Pulse, channel: Channel) {
        let Some(link) = self.senses.links.get_mut(ping.target) else {
            return;
        };
        link.stall = Duration::from_millis(pulse.stall_ms.into());
        link.record_answered();
        match channel {
            Channel::Datagram => {
                if ping.is_lost {
                    link.estimator.retract_miss();
                    link.quality.retract_lost(ping.sent_at);
                }
                let took = link.record_reply(self.ctx.now, ping.reply());
                took.into_iter().for_each(|took| self.learn_delay(ping.target, took));
            }
            // The datagram was lost, unless its reply follows.
            Channel::Stream => {
                if !ping.is_lost {
                    link.estimator.record_miss();
                }
                if !ping.is_answered {
                    link.record_lost(ping.reply());
                }
            }
        }
    }

    /// A reply took so long. A known stall, of the member or of this node, explains twice its length.
    fn learn_delay(&mut self, id: MemberId, took: Duration) {
        let Senses { links, health, .. } = &mut *self.senses;
        let stall = links.advertised_stall(id).max(health.longest_stall());
        record_delay(links, id, took, (self.ctx.params.pause_tolerance / 8).max(stall * 2));
    }

    /// Does what a member was pinged for, as it answered.
    fn answer_purpose(&mut self, from: Peer, purpose: Purpose, generation: Generation) {
        match purpose {
            Purpose::Retry => self.own.cases.end_retry(from.id),
            // Two parts that found each other differ in more than what refutations will repair.
            Purpose::Redial => self.ctx.then(Step::Exchange(from)),
            Purpose::Relay { requester, sequence: Some(sequence) } => {
                self.ctx.send(requester, &Part::IndirectAck { sequence, generation });
            }
            Purpose::Relay { .. } | Purpose::Probe | Purpose::Look => {}
        }
    }

    /// The reply to a ping is overdue.
    pub(crate) fn reply_overdue(&mut self, sequence: Sequence) {
        let Some(ping) = self.senses.pings.mark_overdue(sequence) else {
            return;
        };
        let Ping { target: subject, sent_at, purpose, .. } = *ping;
        self.ctx.stats.pings_missed += 1;
        if !matches!(purpose, Purpose::Redial) {
            self.senses.rounds.quicken(self.ctx);
            self.senses.links.record_no_reply(subject);
            self.ctx.then(Step::Unanswered { subject, sent_at });
        }
        if let Purpose::Relay { requester, sequence: Some(sequence) } = purpose {
            self.ctx.send(requester, &Part::Nack { sequence });
        }
        self.ctx.then(Step::Missed(Miss { subject, sequence, sent_at, purpose }));
    }

    /// A reply to this ping would come too late to matter. It was lost, unless it may be the member that was: a silence
    /// that long is none of the link.
    pub(crate) fn end_probe(&mut self, sequence: Sequence) {
        let Some(ping) = self.senses.pings.remove(sequence) else {
            return;
        };
        let Some(link) = self.senses.links.get_mut(ping.target) else {
            return;
        };
        if !ping.is_lost && link.last_heard >= Some(ping.sent_at) {
            link.estimator.record_miss();
        }
        if !ping.is_answered && link.heard_itself >= Some(ping.sent_at) {
            link.record_lost(ping.reply());
        }
    }

    /// The parts that accompany a ping or an ack of this sequence.
    pub(crate) fn pulse(&self, sequence: Sequence) -> Pulse {
        let age = self.senses.rounds.age(self.ctx.now);
        Pulse {
            sequence,
            generation: self.list.me().generation(),
            round: self.senses.rounds.round(),
            round_age_ms: u32::try_from(age.as_millis()).unwrap_or(u32::MAX),
            fingerprint: self.list.snapshot().fingerprint(),
            stall_ms: u16::try_from(self.senses.health.longest_stall().as_millis())
                .unwrap_or(u16::MAX),
        }
    }

    /// After how long a reply to a ping is too late to matter.
    fn probe_lifetime(&self) -> Duration {
        self.ctx.params.period * 2
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
/// How many pings for others may be under way; further ping-reqs are refused, and others are asked as well.
const MAX_RELAYS: usize = 64;

#[cfg(test)]
mod tests;
