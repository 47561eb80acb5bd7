//! Joining: this node asks a member to admit it, and takes its list from the member that does.

use std::{collections::BTreeMap, time::Duration};

use rand::RngExt;

use crate::{
    Channel, Ctx, Instant, JoinRefusal, MemberId, MembershipList, Origin, Output, Part, Payload,
    Peer, Source, Step, Timer, leave::Departure,
};

/// The joins of this node.
#[derive(Debug, Default)]
pub(crate) struct Joins {
    /// The members that were asked to admit this node, and have not answered.
    asked: BTreeMap<MemberId, Asked>,
    /// The member whose list a node that was alone is receiving, and until when its next page counts as part of it.
    welcome: Option<(MemberId, Instant)>,
}

/// A member that was asked to admit this node.
#[derive(Debug)]
struct Asked {
    peer: Peer,
    /// How often it was too busy.
    times_busy: u32,
    /// When it is asked again; any other timer is of an earlier request.
    again_at: Option<Instant>,
}

impl Joins {
    /// The members that were asked to admit this node, and have not answered.
    pub(crate) fn asked(&self) -> impl Iterator<Item = Peer> {
        self.asked.values().map(|asked| asked.peer)
    }

    pub(crate) fn is_asked(&self, id: MemberId) -> bool {
        self.asked.contains_key(&id)
    }

    /// Asks a member to admit this node.
    pub(crate) fn ask(&mut self, ctx: &mut Ctx, list: &MembershipList, through: Peer) {
        self.asked.insert(through.id, Asked { peer: through, times_busy: 0, again_at: None });
        send_join(ctx, list, through);
    }

    /// Asks a member again that was too busy, unless this node has left meanwhile.
    pub(crate) fn ask_again(
        &mut self,
        ctx: &mut Ctx,
        list: &MembershipList,
        departure: &Departure,
        through: MemberId,
    ) {
        let asked = self.asked.get_mut(&through);
        let due = asked.filter(|asked| asked.again_at.is_some_and(|at| at <= ctx.now));
        let Some(asked) = due else {
            return;
        };
        // A node that leaves would be admitted after it has gone.
        if departure.is_under_way() {
            return self.end(ctx, through, Err(JoinRefusal::Busy));
        }
        asked.again_at = None;
        send_join(ctx, list, asked.peer);
    }

    /// A member answers a join of this node; the page of its list that came with the answer has been taken already.
    pub(crate) fn handle_reply(
        &mut self,
        ctx: &mut Ctx,
        origin: Origin,
        result: Result<(), JoinRefusal>,
    ) {
        let from = origin.peer;
        let Some(asked) = self.asked.get_mut(&from.id) else {
            ctx.stats.misdirected_messages += 1;
            return;
        };
        if result == Err(JoinRefusal::Busy) && asked.times_busy < MAX_TIMES_BUSY {
            return asked.wait(ctx);
        }
        let is_admitted = result.is_ok();
        self.end(ctx, from.id, result);
        if !is_admitted {
            return;
        }
        if matches!(origin.source, Source::Welcome(_)) {
            self.welcome = Some((from.id, ctx.now + WELCOME_TIMEOUT));
        }
        // The other side learns by comparing what only this node knew, and this node what did not fit in the page.
        ctx.then(Step::Exchange(from));
    }

    fn end(&mut self, ctx: &mut Ctx, through: MemberId, result: Result<(), JoinRefusal>) {
        self.asked.remove(&through);
        if result.is_err() {
            // A member that did not admit this node does not miss it.
            ctx.then(Step::ConfirmDeparture(through));
        }
        ctx.output(Output::JoinEnded { through, result });
    }

    /// The member cannot be reached: its answer will not come.
    pub(crate) fn give_up(&mut self, through: MemberId) {
        self.asked.remove(&through);
    }

    /// How the updates of a payload that asks for these came to this node. To a node that is alone, all that is known to
    /// the member that admits it is old: it is not gossiped.
    pub(crate) fn source_of(
        &self,
        now: Instant,
        list: &MembershipList,
        (from, channel): (Peer, Channel),
        asked: &[Part],
    ) -> Source {
        let is_first = list.snapshot().live_len() == 1 && asked.iter().any(is_admission);
        let is_further = channel == Channel::Stream && self.is_welcomed_by(now, from.id);
        if is_first || is_further { Source::Welcome(from) } else { Source::Gossip(from) }
    }

    /// Whether what this member sends by stream is a further page of the list that it welcomes this node with.
    fn is_welcomed_by(&self, now: Instant, from: MemberId) -> bool {
        self.welcome.is_some_and(|(by, until)| by == from && now < until)
    }

    /// A page of the list of a member was compared with this node's; `is_last` if that left nothing to ask for.
    pub(crate) fn turn_page(&mut self, now: Instant, of: MemberId, is_last: bool) {
        if self.is_welcomed_by(now, of) {
            self.welcome = (!is_last).then(|| (of, now + WELCOME_TIMEOUT));
        }
    }
}

impl Asked {
    /// Plans to ask again: later each time, and at random, so that nodes that were refused together do not return
    /// together.
    fn wait(&mut self, ctx: &mut Ctx) {
        self.times_busy += 1;
        let wait = BUSY_DELAY * self.times_busy.min(10);
        let again_at = ctx.now + wait.mul_f64(ctx.rng.random_range(0.5..1.5));
        self.again_at = Some(again_at);
        ctx.timers.set(again_at, Timer::JoinRetry(self.peer.id));
    }
}

fn is_admission(part: &Part) -> bool {
    matches!(part, Part::JoinReply(Ok(())))
}

fn send_join(ctx: &mut Ctx, list: &MembershipList, through: Peer) {
    let mut payload = Payload::of(&Part::Join);
    payload.push(&list.own_entry());
    ctx.send_stream(through, payload);
}

/// The first wait after a member was too busy; longer each time, up to ten times.
const BUSY_DELAY: Duration = Duration::from_millis(100);
/// How often a busy member is asked again: over some 8 s.
const MAX_TIMES_BUSY: u32 = 12;
/// How long the next page of a list may take.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
