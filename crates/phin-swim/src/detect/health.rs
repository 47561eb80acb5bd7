//! Our own health: a member that cannot trust its own view does not judge others (after Lifeguard's local health).
//!
//! *Impaired*: our own timers ran late, or helpers that we asked send not even nacks, so what we missed may be our own
//! doing. *Isolated*: nobody at all was heard, so the fault is on our side. Both abstain; neither stops probing.

use std::time::Duration;

use crate::{Ctx, Instant, Output, Params, Silence, Step, probe::rounds::Rounds};

/// This node's assessment of its own health.
#[derive(Debug)]
pub(crate) struct LocalHealth {
    /// When any member was last heard.
    last_heard: Instant,
    /// When anything that we asked was last answered, by a member or by its host.
    last_answer: Instant,
    /// When anyone was heard again after nobody was for a while.
    pub(crate) resumed_at: Instant,
    /// When the kernel of any host last refused a packet.
    pub(crate) last_refusal: Option<Instant>,
    impaired_until: Instant,
    is_isolated: bool,
    /// How many helpers sent not even a nack, less those that sent something and one in each period; at most
    /// [`MAX_SILENT_HELPERS`] (after Lifeguard's local health multiplier, LHM).
    silent_helpers: u32,
    /// The longest stall of the present window and of the one before.
    stalls: [Duration; 2],
    window_began_at: Instant,
    lateness: Lateness,
}

/// How late our timers fired lately, all together.
///
/// A process that gets too little of a processor need not stall for long at a time: many short waits keep replies unread
/// just as well.
#[derive(Clone, Copy, Debug)]
struct Lateness {
    sum: Duration,
    since: Instant,
}

impl Lateness {
    /// Adds how late a timer fired. Once the sum within `window` reaches `limit`, returns it and starts again from
    /// zero.
    fn add(&mut self, now: Instant, lag: Duration, window: Duration, limit: Duration) -> Duration {
        if now - self.since >= window {
            *self = Self { sum: Duration::ZERO, since: now };
        }
        self.sum += lag;
        match self.sum >= limit {
            true => std::mem::take(&mut self.sum),
            false => Duration::ZERO,
        }
    }
}

impl LocalHealth {
    pub(crate) const fn new(now: Instant) -> Self {
        Self {
            last_heard: now,
            last_answer: now,
            resumed_at: now,
            last_refusal: None,
            impaired_until: now,
            is_isolated: false,
            silent_helpers: 0,
            stalls: [Duration::ZERO; 2],
            window_began_at: now,
            lateness: Lateness { sum: Duration::ZERO, since: now },
        }
    }

    /// When it last showed that we are heard, and hear.
    pub(crate) const fn last_answer(&self) -> Instant {
        self.last_answer
    }

    pub(crate) const fn record_refusal(&mut self, now: Instant) {
        self.last_refusal = Some(now);
    }

    pub(crate) const fn record_answer(&mut self, now: Instant) {
        self.last_answer = now;
    }

    /// This many helpers did not even send a nack in time (Lifeguard §IV.A).
    pub(crate) fn record_silent_helpers(&mut self, helpers: u32) {
        self.silent_helpers = (self.silent_helpers + helpers).min(MAX_SILENT_HELPERS);
    }

    /// A helper or a probed member answered us, or a period has passed.
    pub(crate) const fn forgive_silent_helper(&mut self) {
        self.silent_helpers = self.silent_helpers.saturating_sub(1);
    }

    /// Whether so few of the helpers that we asked sent anything that it is us who do not hear.
    const fn is_hard_of_hearing(&self) -> bool {
        self.silent_helpers >= DOUBTFUL_HELPERS
    }

    /// The longest stall of ours in the last half a minute or more.
    pub(crate) fn longest_stall(&self) -> Duration {
        self.stalls[0].max(self.stalls[1])
    }

    fn record_stall(&mut self, now: Instant, stall: Duration) {
        if now - self.window_began_at >= STALL_WINDOW {
            self.stalls = [Duration::ZERO, self.stalls[0]];
            self.window_began_at = now;
        }
        self.stalls[0] = self.stalls[0].max(stall);
    }
}

impl LocalHealth {
    /// Whether this member abstains from judging others for now, because it stalled itself, is isolated, or asked
    /// helpers that sent not even nacks.
    pub(crate) fn is_impaired(&self, now: Instant) -> bool {
        self.is_isolated || self.is_hard_of_hearing() || now < self.impaired_until
    }

    /// Whether this member cannot judge this kind of silence now, in a cluster of so many. Isolated, it still sees what a
    /// host says of a process that is gone; and where there are hardly any others, of one that hangs.
    pub(crate) fn cannot_judge(&self, now: Instant, silence: Silence, live: usize) -> bool {
        let hears_little = self.is_isolated || self.is_hard_of_hearing();
        now < self.impaired_until || (hears_little && !is_told_by_host(silence, live))
    }

    /// Whether this member receives nothing from any other: until it does, it declares nobody dead.
    pub(crate) const fn is_isolated(&self) -> bool {
        self.is_isolated
    }

    /// The timers of this node fire this much later than asked. After a stall, everything that was received has been
    /// handled already; missing answers from that time say nothing, and every open question is asked again. Many short
    /// stalls within a period count as one of their length together.
    pub(crate) fn record_lag(&mut self, ctx: &mut Ctx, rounds: &mut Rounds, lag: Duration) {
        let (now, tolerance, period) = (ctx.now, ctx.params.pause_tolerance, ctx.params.period);
        let counted = if lag >= MIN_STALL { lag } else { Duration::ZERO };
        self.record_stall(now, counted);
        let starved_for = self.lateness.add(now, counted, period, tolerance / 4);
        // Of many short stalls it is not known what they delayed.
        let since =
            now.saturating_sub(if lag < starved_for { period } else { lag + tolerance / 16 });
        let lag = lag.max(starved_for);
        if lag < tolerance / 4 {
            return;
        }
        ctx.stats.stalls += 1;
        rounds.quicken(ctx);
        self.impaired_until = now + lag.min(tolerance) / 2;
        ctx.then(Step::AskAnew { since });
    }

    /// Any member was heard.
    pub(crate) fn hear_anyone(&mut self, ctx: &mut Ctx) {
        let now = ctx.now;
        if now.saturating_since(self.last_heard) >= ctx.params.pause_tolerance / 2 {
            self.resumed_at = now;
        }
        self.last_heard = now;
        if self.is_isolated {
            self.is_isolated = false;
            ctx.output(Output::Isolated(false));
            // Misses during a fault of this node say nothing of others.
            ctx.then(Step::AskAnew { since: Instant::START });
        }
    }

    /// Notices that nobody has been heard for so long that the fault must be here. A member that is alone, or has left,
    /// expects to hear nobody.
    pub(crate) fn check_isolation(&mut self, ctx: &mut Ctx, rounds: &mut Rounds, is_alone: bool) {
        let silence = ctx.now - self.last_heard.max(rounds.quickened_at);
        let patience = (rounds.period(&ctx.params) + ctx.params.pause_tolerance) * 2;
        if !is_alone && !self.is_isolated && silence >= patience {
            self.is_isolated = true;
            rounds.quicken(ctx);
            ctx.output(Output::Isolated(true));
        }
    }

    /// Whether this member stalled lately, for long enough to think that its machine is starved.
    pub(crate) fn is_starved(&self, params: &Params) -> bool {
        self.longest_stall() >= params.pause_tolerance / 4
    }

    /// How long a process may hang before it is dead: longer while this member stalls itself. A machine that starves one
    /// process for so long may starve another for several times as long.
    pub(crate) fn hang_tolerance(&self, params: &Params) -> Duration {
        let stalls = if self.is_starved(params) { self.longest_stall() } else { Duration::ZERO };
        params.hang_tolerance + stalls * STALLS_PER_HANG
    }

    /// The pause tolerance for a member that measured a stall of this length in itself: longer for one known to stall, and
    /// while this one does.
    pub(crate) fn pause_tolerance(&self, params: &Params, advertised: Duration) -> Duration {
        let stall = advertised.max(self.longest_stall());
        // A stall longer than this has another remedy: the hang tolerance.
        let stalls = (stall * 2).min(params.hang_tolerance);
        params.pause_tolerance.max(stalls)
    }
}

/// Whether a member that receives nothing from others can judge this kind of silence in a cluster of so many, because the
/// subject's host answered.
pub(crate) const fn is_told_by_host(silence: Silence, live: usize) -> bool {
    match silence {
        Silence::Gone => true,
        Silence::Hung => live <= FEW_MEMBERS,
        Silence::Silent | Silence::Unknown => false,
    }
}

/// The factor by which a member's own longest stall lengthens the tolerance for a process that hangs.
const STALLS_PER_HANG: u32 = 4;
/// In a cluster of so few, hearing nobody may well be the others' doing.
const FEW_MEMBERS: usize = 3;
/// This many silent helpers are no coincidence: all but one of those that were asked about two members.
const DOUBTFUL_HELPERS: u32 = 5;
/// More count no further, so that the doubt is over this many periods after the last of them.
const MAX_SILENT_HELPERS: u32 = 8;
/// How long a stall is remembered: at least this, at most twice.
const STALL_WINDOW: Duration = Duration::from_secs(30);
/// Smaller delays are ordinary scheduling.
const MIN_STALL: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests;
