//! Checks of size: whether packets of full size pass between this node and the members that it observes
//! ([`link::size`](crate::link::size)), and what follows from that for those that it sends.
//!
//! Each link is checked now and then; soon, if an exchange with the member had no answer, or another observer or the member itself
//! finds packets lost; and again in each round while it is not sure. A member on a link that loses packets of full size is sent shorter ones, as is one
//! that states the flaw, or reports it of its link to this node. Each probe says whether packets were lost on the link before, so
//! both sides send shorter ones after the first.

use std::time::Duration;

use crate::{
    Channel, Flaw, Flaws, Instant, MemberId, Part, Payload, Peer, Silence,
    detect::degraded::Degraded, link::size::Need, wire::Sequence,
};

/// The answers to probes of size in the present period.
#[derive(Debug, Default)]
pub(crate) struct SizeAnswers {
    count: u32,
    counted_since: Option<Instant>,
    /// When the observers of this node last learned that its own checks fail.
    told_at: Option<Instant>,
}

impl Degraded<'_> {
    /// Ends the checks whose time is over.
    pub(super) fn end_size_checks(&mut self, subjects: &[MemberId]) {
        subjects.iter().for_each(|&subject| self.end_size_check(subject));
        let narrow: Vec<_> = self.ctx.narrow.members().collect();
        narrow.into_iter().for_each(|id| self.update_narrow(id));
    }

    fn end_size_check(&mut self, subject: MemberId) {
        let (now, patience) = (self.ctx.now, self.ctx.params.period);
        let link = self.senses.links.get_mut(subject);
        let ended = link.and_then(|link| link.quality.size.end_check(now, patience));
        let Some(is_lost) = ended else {
            return;
        };
        self.ctx.stats.size_checks_failed += u64::from(is_lost);
        self.update_narrow(subject);
        if is_lost {
            self.tell_observers();
        }
    }

    /// Packets of full size are lost between this node and a member that it observes. The path of this node may be the reason,
    /// which only its observers can find out.
    fn tell_observers(&mut self) {
        if !self.ctx.now.mark_if_due(&mut self.own.size_answers.told_at, TELL_INTERVAL) {
            return;
        }
        for to in self.list.peers(self.list.rings().observers(self.list.me().id())) {
            let sequence = self.senses.pings.next_sequence();
            self.ctx.send(to, &Part::SizeProbe { sequence, is_lost: true, padding: SHORT_PADDING });
        }
    }

    /// Begins the checks that are due, unless this node has left. While it cannot judge, those under way say nothing.
    pub(super) fn begin_size_checks(&mut self, subjects: &[MemberId]) {
        if self.view().cannot_judge(Silence::Unknown) {
            self.senses.links.abandon_size_checks();
        } else if !self.list.me().record.has_left() {
            let due = self.due_size_checks(subjects);
            due.into_iter().for_each(|subject| self.check_size(subject));
        }
    }

    /// The checks that are wanted, and one of those that are due as it is long since the last. If packets are lost on any link,
    /// those that were never checked are wanted: a link has a flaw only if others do not.
    fn due_size_checks(&mut self, subjects: &[MemberId]) -> Vec<MemberId> {
        let is_lost = self.senses.links.any(|link| link.quality.is_narrow());
        let (now, mut due, mut longest) = (self.ctx.now, Vec::new(), None);
        for &subject in subjects {
            match self.senses.links.get_mut(subject).map(|link| link.quality.need(now, is_lost)) {
                Some(Need::Now) => due.push(subject),
                Some(Need::Overdue(overdue)) => longest = longest.max(Some((overdue, subject))),
                Some(Need::Nothing) | None => {}
            }
        }
        due.extend(longest.map(|(_, subject)| subject));
        due
    }

    /// Sends a probe of full size and a short one.
    fn check_size(&mut self, subject: MemberId) {
        let (peer, link) = (self.list.peer(subject), self.senses.links.get_mut(subject));
        let Some((to, link)) = peer.zip(link) else {
            return;
        };
        let sequence = self.senses.pings.next_sequence();
        let is_lost = link.quality.is_narrow();
        link.quality.size.start(self.ctx.now, sequence);
        self.ctx.stats.size_checks += 1;
        for padding in [padding(self.ctx.params.max_datagram_bytes), SHORT_PADDING] {
            self.ctx.send(to, &Part::SizeProbe { sequence, is_lost, padding });
        }
    }

    /// Packets of full size may not pass to this member: there was no answer where one was due.
    pub(crate) fn want_size_check(&mut self, subject: MemberId) {
        let now = self.ctx.now;
        if self.view().subjects().contains(&subject)
            && let Some(link) = self.senses.links.get_mut(subject)
        {
            link.quality.size.want(now);
        }
    }

    /// An observer reported these flaws. Packets to it are as short as those that it sends, and other observers check as well.
    pub(super) fn follow_large_packets(&mut self, from: MemberId, subject: MemberId, flaws: Flaws) {
        match subject == self.list.me().id() {
            true => self.update_narrow(from),
            false if flaws.contains(Flaw::LargePackets) => self.compare_size(subject),
            false => {}
        }
    }

    /// Another member found packets of full size lost to or from this one: the link to it is checked too.
    fn compare_size(&mut self, subject: MemberId) {
        let (now, link) = (self.ctx.now, self.senses.links.get_mut(subject));
        link.into_iter().for_each(|link| link.quality.size.want_to_compare(now));
    }

    /// Answers a probe of size by as many bytes as it has. It also says whether packets of full size were lost on the link.
    pub(crate) fn handle_size_probe(
        &mut self,
        (from, channel): (Peer, Channel),
        is_lost: bool,
        (sequence, padding): (Sequence, u16),
    ) {
        self.ctx.narrow.record_told(self.ctx.now, from.id, is_lost);
        self.update_narrow(from.id);
        if is_lost {
            self.compare_size(from.id);
        }
        let (now, period) = (self.ctx.now, self.ctx.params.period);
        let answers = &mut self.own.size_answers;
        if now.mark_if_due(&mut answers.counted_since, period) {
            answers.count = 0;
        }
        if answers.count == MAX_ANSWERS_PER_PERIOD {
            self.ctx.stats.size_probes_refused += 1;
            return;
        }
        answers.count += 1;
        let answer = Payload::of(&Part::SizeProbeAck { sequence, padding });
        match channel {
            Channel::Datagram => self.ctx.send_datagram(from, answer),
            // It does not fit in a datagram of the connection. In parts it would say nothing.
            Channel::Stream => self.ctx.send_whole(from, answer),
        }
    }

    /// A probe of size was answered.
    pub(crate) fn handle_size_ack(&mut self, from: MemberId, sequence: Sequence, padding: u16) {
        let link = self.senses.links.get_mut(from);
        let tells = link
            .is_some_and(|link| link.quality.size.record_answer(sequence, padding > SHORT_PADDING));
        if !tells {
            self.ctx.stats.late_acks += 1;
        } else if padding > SHORT_PADDING {
            self.update_narrow(from);
        }
    }

    /// Decides whether a member is sent short packets only.
    pub(super) fn update_narrow(&mut self, id: MemberId) {
        let is_large = |flaws: Flaws| flaws.contains(Flaw::LargePackets);
        let me = self.list.me();
        let is_stated = self.list.live(id).is_some_and(|member| is_large(member.flaws()));
        let is_found = self.senses.links.get(id).is_some_and(|link| link.quality.is_narrow());
        let mut reported = self.own.failing.flawed(me.id(), me.generation());
        let is_reported = reported.any(|(by, flaws, _)| by == id && is_large(flaws));
        let is_told = self.ctx.narrow.is_told(self.ctx.now, id);
        self.ctx.narrow.set(id, is_stated || is_found || is_reported || is_told);
        self.ctx.narrow.is_everywhere = is_large(me.flaws());
    }
}

/// The padding with which a probe is as long as the longest datagram.
fn padding(max_datagram_bytes: usize) -> u16 {
    const LONG: u16 = 300;
    let sequence = Sequence(u32::MAX);
    let probe = Payload::of(&Part::SizeProbe { sequence, is_lost: true, padding: LONG });
    let overhead = probe.len() - usize::from(LONG);
    u16::try_from(max_datagram_bytes.saturating_sub(overhead)).unwrap_or(u16::MAX)
}

/// The padding of a short probe: both would fit into one QUIC packet without it, and share its fate.
const SHORT_PADDING: u16 = 100;
/// The observers of a node whose checks fail learn of it at most this often.
const TELL_INTERVAL: Duration = Duration::from_secs(60);
/// How many probes are answered in a period: some 70 KB, as many as come in.
const MAX_ANSWERS_PER_PERIOD: u32 = 64;

#[cfg(test)]
mod tests;
