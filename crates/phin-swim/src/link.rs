//! The link of this node to each member that it pings: round trips and loss, when the member was last heard and by
//! which way, and the answers of its host.

pub(crate) mod flawed;
mod outcomes;
pub(crate) mod quality;
pub(crate) mod size;

use std::{
    collections::{BTreeMap, BTreeSet},
    f64::consts::LOG10_E,
    time::Duration,
};

use phin_accrual::{Evidence, LinkEstimator, MAX_WEIGHT, ln};

use crate::{Flaws, Instant, MemberId, Transition, link::quality::Quality};

/// The links, and the members to which a connection is open.
#[derive(Debug, Default)]
pub(crate) struct Links {
    links: BTreeMap<MemberId, LinkState>,
    connected: BTreeSet<MemberId>,
}

#[derive(Clone, Debug)]
pub(crate) struct LinkState {
    pub(crate) estimator: LinkEstimator,
    /// Whether it loses or delays more than others do.
    pub(crate) quality: Quality,
    /// When the member was last alive, by what it sent us or a helper found.
    pub(crate) last_heard: Option<Instant>,
    /// When the last overdue reply came that counts as a round trip.
    overdue_at: Option<Instant>,
    /// The longest stall it measured in itself lately, as it says.
    pub(crate) stall: Duration,
    /// Whether its host ever answered a question.
    pub(crate) host_answers: bool,
    /// When its host was last asked while the member was healthy.
    host_asked_at: Option<Instant>,
    /// How often it was asked then in all.
    host_asks: u32,
    /// When it was last alive, by whatever way that became known.
    known_alive_at: Option<Instant>,
    /// The last pings to it, if they have no direct reply.
    pub(crate) unanswered: Option<Run>,
    /// The longest recent silence that the member ended by itself, and when that was.
    silence: Option<(Duration, Instant)>,
    /// How many pings in a row had no direct reply, whatever others say of the member.
    without_reply: u32,
    /// The helper that last reached it when we did not.
    reached_by: Option<MemberId>,
    /// When its present version was learnt, if it refuted: no silence from before is evidence against this version.
    renewed_at: Option<Instant>,
    /// When a message of its own last arrived.
    pub(crate) heard_itself: Option<Instant>,
    /// The one other member that says that it lives.
    lone_word: Option<LoneWord>,
}

/// The statement of another member that one lives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Word {
    /// The member that heard it, as is said.
    pub(crate) heard_by: MemberId,
    /// The member that says so.
    pub(crate) said_by: MemberId,
}

impl Word {
    /// The word of a member that heard the other one itself.
    pub(crate) const fn of(by: MemberId) -> Self {
        Self { heard_by: by, said_by: by }
    }

    /// Whether the member that says so heard the other one itself.
    pub(crate) fn is_first_hand(self) -> bool {
        self.heard_by == self.said_by
    }

    /// The word that is left of this one and another if one member alone made up both of them; `None` if it takes two.
    fn shared_with(self, other: Self) -> Option<Self> {
        let is_in_both = |&by: &MemberId| by == other.heard_by || by == other.said_by;
        let mut both = [self.heard_by, self.said_by].into_iter().filter(is_in_both);
        let heard_by = both.next()?;
        Some(Self { heard_by, said_by: both.next().unwrap_or(heard_by) })
    }
}

/// The word of one other member that this one lives, while nothing else shows it.
#[derive(Clone, Debug)]
struct LoneWord {
    /// The members of which any one may have made up all that was said.
    word: Word,
    /// When it was first said.
    since: Instant,
    /// The estimate of the link from then.
    before: LinkEstimator,
    /// When it was last ignored, as it was said for too long.
    ignored_at: Option<Instant>,
    /// When its sender was last asked to let the member refute.
    asked_at: Option<Instant>,
}

impl LoneWord {
    const fn new(since: Instant, word: Word, before: LinkEstimator) -> Self {
        Self { word, since, before, ignored_at: None, asked_at: None }
    }

    /// The same with another one; `None` if it takes two members to make up both.
    fn with(self, word: Word) -> Option<Self> {
        Some(Self { word: self.word.shared_with(word)?, ..self })
    }

    /// Whether it was said for so long that it does not count.
    fn is_spent(&self, now: Instant) -> bool {
        now - self.since >= LONE_WORD_TIME
    }
}

/// A ping and its reply, as far as the link can learn from it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reply {
    pub(crate) sent_at: Instant,
    /// After how long it was overdue.
    pub(crate) timeout: Duration,
    /// Whether its time is the link's: not if a handshake came first.
    pub(crate) is_sample: bool,
    pub(crate) is_overdue: bool,
    /// Whether the ping was the probe of a period. Retries share the fate of the ping that they repeat, and pings for others
    /// come when those have trouble.
    pub(crate) is_probe: bool,
}

/// Pings to one member in a row without a direct reply.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) began_at: Instant,
    pub(crate) last_at: Instant,
    /// The weight of a missing reply, by the loss on the link before.
    weight: f64,
    pub(crate) phi: f64,
    pub(crate) attempts: u8,
    /// When it was last reported to others.
    pub(crate) told_at: Option<Instant>,
}

impl Run {
    pub(crate) fn new(sent_at: Instant, link: &LinkEstimator) -> Self {
        let weight = (-ln(link.loss()) * LOG10_E).clamp(0.0, MAX_WEIGHT);
        let (began_at, last_at) = (sent_at, sent_at);
        Self { began_at, last_at, weight, phi: weight, attempts: 1, told_at: None }
    }

    /// One more ping had no direct reply.
    pub(crate) fn extend(&mut self, sent_at: Instant) {
        let mut evidence = Evidence::default();
        evidence.record(self.phi + self.weight);
        self.phi = evidence.phi();
        self.attempts = self.attempts.saturating_add(1);
        self.last_at = sent_at;
    }
}

/// How long the host of a member is given to answer: as long as nearly all replies take that come over the link, and twice
/// the cautious guess where none was measured.
pub(crate) fn host_patience(prior_round_trip: Duration, link: Option<&LinkState>) -> Duration {
    let measured = link.map(|link| &link.estimator).filter(|link| link.samples() > 0);
    let most = prior_round_trip.max(MAX_HOST_PATIENCE);
    measured.map_or(prior_round_trip * 2, |link| {
        link.late_after(HOST_ANSWERS).clamp(prior_round_trip, most)
    })
}

impl LinkState {
    fn new(prior_round_trip: Duration) -> Self {
        Self {
            estimator: LinkEstimator::new(prior_round_trip),
            quality: Quality::default(),
            last_heard: None,
            overdue_at: None,
            stall: Duration::ZERO,
            host_answers: false,
            host_asked_at: None,
            host_asks: 0,
            known_alive_at: None,
            unanswered: None,
            silence: None,
            without_reply: 0,
            reached_by: None,
            renewed_at: None,
            heard_itself: None,
            lone_word: None,
        }
    }

    /// Learns from the reply to a ping. A late reply may be due to the link, which became slow, or to a pause of the
    /// other side, which delayed all replies of that time alike: so only the first of those that came together counts,
    /// and as no more than twice the waiting time. A slow link is learnt step by step, a pause hardly at all. Returns the time
    /// that the reply took, if that is the link's.
    pub(crate) fn record_reply(&mut self, now: Instant, reply: Reply) -> Option<Duration> {
        if reply.is_probe {
            self.quality.record_answered();
        }
        if !self.is_round_trip(now, reply) {
            self.estimator.record_answered();
            return None;
        }
        let took = now - reply.sent_at;
        self.estimator.record_reply(took.min(reply.timeout * 2));
        if reply.is_overdue {
            self.overdue_at = Some(now);
        }
        Some(took)
    }

    /// A ping was lost, or its reply, and the member itself shows that it lives: the word of others could hide a death.
    pub(crate) fn record_lost(&mut self, reply: Reply) {
        // A handshake has more than one packet to lose.
        if reply.is_sample && reply.is_probe {
            self.quality.record_lost(reply.sent_at);
        }
    }

    /// Whether the time that a reply took counts as the link's.
    fn is_round_trip(&self, now: Instant, reply: Reply) -> bool {
        let Reply { sent_at, timeout, is_sample, is_overdue, .. } = reply;
        // Our timer should have fired by now: it is we who paused, and the time is not the link's.
        let is_ours = now - sent_at > timeout && !is_overdue;
        let is_counted_already = is_overdue && self.overdue_at.is_some_and(|at| sent_at < at);
        is_sample && !is_ours && !is_counted_already
    }

    /// Whether the member does not answer us itself, whatever others say of it.
    pub(crate) const fn gives_no_reply(&self) -> bool {
        self.without_reply >= 2
    }

    /// When the member last showed that it lives: by a message of its own, or by a refutation.
    fn shown_at(&self) -> Option<Instant> {
        self.heard_itself.max(self.renewed_at)
    }

    /// The word of one other member, of which nothing else has shown for too long that it is true.
    fn spent_word(&self, now: Instant) -> Option<&LoneWord> {
        let lone_word = self.lone_word.as_ref().filter(|lone| lone.is_spent(now))?;
        (Some(lone_word.since) > self.shown_at()).then_some(lone_word)
    }

    /// A ping was answered, directly or by stream.
    pub(crate) const fn record_answered(&mut self) {
        self.without_reply = 0;
    }
}

impl Links {
    /// The expected behaviour of a link. It is seldom measured, so what all links show together counts too: no link is
    /// assumed to lose less than half of the others do, and one never measured to be as slow as the slowest.
    fn estimate(&self, link: &LinkEstimator) -> LinkEstimator {
        let measured = self.links.values().map(|link| &link.estimator).filter(|l| l.samples() > 0);
        let mut losses: Vec<_> = measured.clone().map(LinkEstimator::loss).collect();
        let is_new = link.samples() == 0;
        // Only where it is needed: each round trip takes an exponential.
        let slowest = is_new.then(|| measured.filter_map(LinkEstimator::round_trip).max());
        let estimate = slowest.flatten().map_or_else(|| link.clone(), LinkEstimator::new);
        if losses.is_empty() {
            return estimate;
        }
        let middle = losses.len() / 2;
        let (_, &mut median, _) = losses.select_nth_unstable_by(middle, f64::total_cmp);
        estimate.with_loss_at_least(median)
    }

    /// The expected behaviour of the link to a member, if it was ever pinged.
    pub(crate) fn estimate_of(&self, id: MemberId) -> Option<LinkEstimator> {
        self.links.get(&id).map(|link| self.estimate(&link.estimator))
    }

    /// The phi of pings of a member, sent at these moments, that have no reply. Once the word of one other member is spent,
    /// the losses that it stood for are left out: they may have been the silence of the member.
    pub(crate) fn evidence(&self, now: Instant, id: MemberId, sent: &[Instant]) -> Evidence {
        let mut evidence = Evidence::default();
        if !sent.is_empty()
            && let Some(link) = self.links.get(&id)
        {
            let spent_word = link.spent_word(now);
            let link = self.estimate(spent_word.map_or(&link.estimator, |lone| &lone.before));
            sent.iter().for_each(|&sent_at| evidence.record(link.weight(now - sent_at)));
        }
        evidence
    }

    /// The flaws of the link to a member, as last reviewed.
    pub(crate) fn flaws(&self, id: MemberId) -> Flaws {
        self.links.get(&id).map_or(Flaws::NONE, |link| link.quality.flaws)
    }

    pub(crate) fn get(&self, id: MemberId) -> Option<&LinkState> {
        self.links.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: MemberId) -> Option<&mut LinkState> {
        self.links.get_mut(&id)
    }

    /// The link to a member that is about to be pinged.
    pub(crate) fn open(&mut self, id: MemberId, prior_round_trip: Duration) {
        self.links.entry(id).or_insert_with(|| LinkState::new(prior_round_trip));
    }

    pub(crate) fn remove(&mut self, id: MemberId) {
        self.links.remove(&id);
    }

    /// Follows the change of another member: a run that ended says nothing of the next one, a refutation renews the link.
    pub(crate) fn react(&mut self, now: Instant, transition: &Transition) {
        let id = transition.id();
        if transition.ends_run() {
            self.remove(id);
        }
        if transition.is_renewal() {
            self.record_renewed(now, id);
            self.record_known_alive(id, now);
        }
    }

    /// Whether a connection to it is open, so that a message to it costs no handshake.
    pub(crate) fn is_connected(&self, id: MemberId) -> bool {
        self.connected.contains(&id)
    }

    /// A connection to it is open; further ones than `max` are not noticed.
    pub(crate) fn connect(&mut self, id: MemberId, max: usize) {
        if self.connected.len() < max {
            self.connected.insert(id);
        }
    }

    pub(crate) fn disconnect(&mut self, id: MemberId) {
        self.connected.remove(&id);
    }

    /// A message of the member's own arrived, or its reply to what was sent at `at`.
    pub(crate) fn record_heard_itself(&mut self, id: MemberId, at: Instant) {
        if let Some(link) = self.links.get_mut(&id) {
            link.heard_itself = link.heard_itself.max(Some(at));
        }
    }

    /// The member was alive at `at`, as it showed itself or as a helper found.
    pub(crate) fn record_heard(&mut self, id: MemberId, at: Instant) {
        if let Some(link) = self.links.get_mut(&id) {
            link.last_heard = link.last_heard.max(Some(at));
        }
    }

    /// When a member last showed by a message of its own that it lives; `None` in the outer option where it is not pinged.
    pub(crate) fn heard_itself_at(&self, id: MemberId) -> Option<Option<Instant>> {
        self.links.get(&id).map(|link| link.heard_itself)
    }

    /// When a member that we ping was last known alive by what it sent us, or a helper found.
    pub(crate) fn heard_at(&self, id: MemberId) -> Option<Instant> {
        self.links.get(&id)?.last_heard
    }

    /// When a member that we ping was last known alive, by whatever way.
    pub(crate) fn known_alive_at(&self, id: MemberId) -> Option<Instant> {
        self.links.get(&id)?.known_alive_at
    }

    pub(crate) fn record_known_alive(&mut self, id: MemberId, at: Instant) {
        if let Some(link) = self.links.get_mut(&id) {
            link.known_alive_at = link.known_alive_at.max(Some(at));
        }
    }

    /// Whether a member does not answer us itself, whatever others say of it.
    pub(crate) fn gives_no_reply(&self, id: MemberId) -> bool {
        self.links.get(&id).is_some_and(LinkState::gives_no_reply)
    }

    /// Checks of size that are under way say nothing: this node itself may be at fault.
    pub(crate) fn abandon_size_checks(&mut self) {
        self.links.values_mut().for_each(|link| link.quality.size.abandon());
    }

    /// Whether this holds for any link.
    pub(crate) fn any(&self, holds: impl Fn(&LinkState) -> bool) -> bool {
        self.links.values().any(holds)
    }

    /// A ping to it is overdue.
    pub(crate) fn record_no_reply(&mut self, id: MemberId) {
        if let Some(link) = self.links.get_mut(&id) {
            link.without_reply = link.without_reply.saturating_add(1);
        }
    }

    /// Another member reached one that does not answer us.
    pub(crate) fn record_reached_by(&mut self, id: MemberId, by: MemberId) {
        if let Some(link) = self.links.get_mut(&id) {
            link.reached_by = Some(by);
        }
    }

    /// The helper that last reached a member when we did not.
    pub(crate) fn reached_by(&self, id: MemberId) -> Option<MemberId> {
        self.links.get(&id)?.reached_by
    }

    /// A member refuted: a later version of it is known from now on.
    pub(crate) fn record_renewed(&mut self, now: Instant, id: MemberId) {
        if let Some(link) = self.links.get_mut(&id) {
            link.renewed_at = Some(now);
        }
    }

    /// When the present version of a member was learnt, if it refuted an earlier one.
    pub(crate) fn renewed_at(&self, id: MemberId) -> Option<Instant> {
        self.links.get(&id)?.renewed_at
    }

    /// One more ping on a link has no direct reply. Says whether it counts: those of one moment share their fate.
    pub(crate) fn extend_run(&mut self, id: MemberId, sent_at: Instant, apart: Duration) -> bool {
        let estimate = self.estimate_of(id);
        let Some((link, estimate)) = self.links.get_mut(&id).zip(estimate) else {
            return false;
        };
        match &mut link.unanswered {
            Some(run) if sent_at < run.last_at + apart => return false,
            Some(run) => run.extend(sent_at),
            none => *none = Some(Run::new(sent_at, &estimate)),
        }
        true
    }

    /// Whether the pings in a row without direct reply are to be reported: once in each interval.
    pub(crate) fn is_report_due(&mut self, now: Instant, id: MemberId, interval: Duration) -> bool {
        let run = self.links.get_mut(&id).and_then(|link| link.unanswered.as_mut());
        run.is_some_and(|run| now.mark_if_due(&mut run.told_at, interval))
    }

    /// The pings to a member in a row without direct reply.
    pub(crate) fn unanswered(&self, id: MemberId) -> Option<Run> {
        self.links.get(&id)?.unanswered
    }

    /// Whether another member's word that this one lives counts. If nobody else has said so for a while, and the member
    /// itself was not heard nor renewed its record, the word may be a lie that hides a death.
    pub(crate) fn takes_word(&mut self, now: Instant, id: MemberId, word: Word) -> bool {
        let Some(link) = self.links.get_mut(&id) else {
            return true;
        };
        let shown_at = link.shown_at();
        let lone_word = link.lone_word.take().filter(|lone| Some(lone.since) > shown_at);
        let fresh = || LoneWord::new(now, word, link.estimator.clone());
        let lone_word = lone_word.and_then(|lone| lone.with(word)).unwrap_or_else(fresh);
        let is_taken = !lone_word.is_spent(now);
        let ignored_at = if is_taken { lone_word.ignored_at } else { Some(now) };
        link.lone_word = Some(LoneWord { ignored_at, ..lone_word });
        is_taken
    }

    /// Another member says that this one lives, and has not shown it.
    pub(crate) fn record_unproved(&mut self, now: Instant, id: MemberId, by: MemberId) {
        if let Some(link) = self.links.get_mut(&id) {
            let asked_at = link.lone_word.as_ref().and_then(|lone| lone.asked_at);
            let fresh = LoneWord::new(now, Word::of(by), link.estimator.clone());
            link.lone_word = Some(LoneWord { ignored_at: Some(now), asked_at, ..fresh });
        }
    }

    /// Whether nothing shows that a member lives but the word of one other member, which was said for too long.
    pub(crate) fn is_word_spent(&self, now: Instant, id: MemberId) -> bool {
        self.links.get(&id).is_some_and(|link| link.spent_word(now).is_some())
    }

    /// Whether another member's word that this one lives was ignored since then, or would be now.
    pub(crate) fn is_contested(&self, now: Instant, id: MemberId, since: Instant) -> bool {
        let lone_word = self.links.get(&id).and_then(|link| link.lone_word.as_ref());
        let ignored_at = lone_word.and_then(|lone| lone.ignored_at);
        ignored_at.is_some_and(|at| at >= since) || self.is_word_spent(now, id)
    }

    /// The only other member that says that this one lives, if it is to be asked again, after this interval, to let it refute.
    pub(crate) fn lone_witness(
        &mut self,
        now: Instant,
        id: MemberId,
        interval: Duration,
    ) -> Option<MemberId> {
        let link = self.links.get_mut(&id)?;
        let shown_at = link.shown_at();
        let lone_word = link.lone_word.as_mut().filter(|lone| Some(lone.since) > shown_at)?;
        now.mark_if_due(&mut lone_word.asked_at, interval).then_some(lone_word.word.heard_by)
    }

    /// The longest stall that a member said it measured in itself lately.
    pub(crate) fn advertised_stall(&self, id: MemberId) -> Duration {
        self.links.get(&id).map_or(Duration::ZERO, |link| link.stall)
    }

    /// A member that was silent for so long is heard again.
    pub(crate) fn record_silence_ended(&mut self, now: Instant, id: MemberId, lasted: Duration) {
        let longest = self.longest_silence(now, id);
        if let Some(link) = self.links.get_mut(&id).filter(|_| lasted >= longest) {
            link.silence = Some((lasted, now));
        }
    }

    /// The longest recent silence that a member ended by itself.
    pub(crate) fn longest_silence(&self, now: Instant, id: MemberId) -> Duration {
        let silence = self.links.get(&id).and_then(|link| link.silence);
        let recent = silence.filter(|&(_, ended_at)| now - ended_at < SILENCE_REMEMBERED);
        recent.map_or(Duration::ZERO, |(lasted, _)| lasted)
    }

    /// Whether a healthy member's host is to be asked again whether it answers, so that its silence will mean something.
    pub(crate) fn is_host_due(&mut self, now: Instant, id: MemberId) -> bool {
        let Some(link) = self.links.get_mut(&id) else {
            return false;
        };
        // A host that has never answered may have lost its answer, or be behind a firewall.
        let tries = link.host_asks.min(MAX_HOST_TRIES);
        let interval = match link.host_answers {
            true => HOST_QUESTION_INTERVAL,
            false => HOST_QUESTION_INTERVAL / 4_u32.pow(MAX_HOST_TRIES - tries),
        };
        let is_due = now.mark_if_due(&mut link.host_asked_at, interval);
        link.host_asks = link.host_asks.saturating_add(is_due.into());
        is_due
    }

    /// Forgets the links not heard longest, among those that need not be kept, until there are at most so many.
    pub(crate) fn prune(&mut self, max: usize, is_needed: impl Fn(MemberId) -> bool) {
        while self.links.len() > max {
            let links = self.links.iter().filter(|(id, _)| !is_needed(**id));
            let Some((&oldest, _)) = links.min_by_key(|(_, link)| link.last_heard) else {
                return;
            };
            self.links.remove(&oldest);
        }
    }
}

/// A host is waited for until this part of all replies would have come.
const HOST_ANSWERS: f64 = 0.999;
/// And no longer than this: its answer is to come before a verdict.
const MAX_HOST_PATIENCE: Duration = Duration::from_millis(500);
/// How often a host that has never answered is asked sooner than that, each time after four times as long.
const MAX_HOST_TRIES: u32 = 4;
/// How often a healthy member's host is asked whether it answers.
const HOST_QUESTION_INTERVAL: Duration = Duration::from_secs(600);
/// How long it is remembered of a member that it was silent for a while.
const SILENCE_REMEMBERED: Duration = Duration::from_secs(60);
/// How long a single other member's statement that a silent member lives counts, if nothing else shows it.
const LONE_WORD_TIME: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
