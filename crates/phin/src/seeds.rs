//! The seeds a node was given: tried until they have let it in, and from time to time for as long as the node runs.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use phin_swim::{Member, MemberId, MemberState, Members};
use tokio::{
    sync::watch::{self, error::RecvError},
    task::JoinSet,
    time::{Instant, sleep},
};
use tracing::{debug, error, info, warn};

use crate::{
    JoinError,
    command::AfterLeaving,
    join::{Joiner, is_refusal, resolve},
    random::Random,
};

/// Tries the seeds for as long as the node runs.
///
/// A seed that let the node in once is not settled: nodes that start together may each find only a part of the others,
/// a name may lead to other addresses later, and the parts of a network split for longer than the retention have
/// forgotten each other. So in every round the names are resolved again, and each address is tried that belongs neither
/// to a live member nor to this node. Rounds follow each other quickly at first, then rarely, in large clusters most
/// rarely.
pub(crate) struct Seeding {
    /// They can change while the node runs.
    pub(crate) seeds: watch::Receiver<Vec<Seed>>,
    pub(crate) joiner: Joiner,
    pub(crate) company: Company,
    /// Where this node listens.
    pub(crate) bound: SocketAddr,
    /// Set when a seed let us in, or no seed but ourselves is there to do so.
    pub(crate) joined: watch::Sender<bool>,
    pub(crate) random: Random,
}

/// A seed as it was given, "host:port".
pub(crate) type Seed = Arc<str>;

/// The result of a round.
#[derive(Debug, Default)]
struct Round {
    failures: Failures,
    /// Whether a member let us in, or one that we know answered.
    is_met: bool,
    /// Whether an address led back to this process.
    is_ours: bool,
}

/// Which seed did not let us in, at which of its addresses, and why.
type Failures = BTreeMap<(Seed, Option<SocketAddr>), JoinError>;

impl Seeding {
    pub(crate) async fn run(mut self) {
        let mut failures = Failures::default();
        let mut delay = MIN_DELAY;
        let mut was_alone = true;
        let mut is_changed = false;
        loop {
            if self.company.wait_until_staying().await.is_err()
                || self.wait_for_seeds().await.is_err()
            {
                return;
            }
            if std::mem::take(&mut is_changed) {
                delay = MIN_DELAY;
            }
            let is_alone = self.company.is_alone();
            if std::mem::replace(&mut was_alone, is_alone) != is_alone {
                delay = MIN_DELAY;
            }
            let began = Instant::now();
            if delay < self.company.max_delay() || self.company.is_turn(&self.random) {
                let round = self.try_all().await;
                report(&failures, &round.failures);
                failures = round.failures;
                if round.is_met || (round.is_ours && failures.is_empty()) {
                    self.joined.send_replace(true);
                }
            }
            // Doubled from the start of a round, so that a slow one does not add to the delay.
            let rest =
                self.random.jittered(delay).saturating_sub(began.elapsed()).max(MIN_DELAY / 2);
            delay = (delay * 2).min(self.company.max_delay());
            if self.sleep(rest).await.is_err() {
                return;
            }
            is_changed = self.seeds.has_changed().unwrap_or(false);
        }
    }

    async fn wait_for_seeds(&mut self) -> Result<(), RecvError> {
        self.seeds.wait_for(|seeds| !seeds.is_empty()).await.map(drop)
    }

    /// Tries every address of every seed, seeds at the same time, the addresses of each in turn.
    async fn try_all(&self) -> Round {
        let mut tries = JoinSet::new();
        let seeds = self.seeds.borrow().clone();
        for seed in &seeds {
            let this = Try {
                seed: Arc::clone(seed),
                joiner: self.joiner.clone(),
                company: self.company.clone(),
                joined: self.joined.clone(),
                bound: self.bound,
                random: self.random.fork(),
            };
            tries.spawn(this.run());
        }
        let mut round = Round::default();
        while let Some(tried) = tries.join_next().await {
            // A try that panicked has said so already; the next round tries again.
            let Ok(one) = tried else { continue };
            round.is_met |= one.is_met;
            round.is_ours |= one.is_ours;
            round.failures.extend(one.failures);
        }
        round
    }

    /// Ends early when the node is no longer alone, or has become alone, or has other seeds. A member that appeared may be
    /// known to no seed.
    async fn sleep(&mut self, delay: Duration) -> Result<(), RecvError> {
        let is_alone = self.company.is_alone();
        tokio::select! {
            biased;
            () = sleep(delay) => Ok(()),
            changed = self.company.wait_until(!is_alone) => changed,
            changed = wait_for_change(&self.seeds) => changed,
        }
    }
}

/// Waits for a change without marking it as seen.
async fn wait_for_change(seeds: &watch::Receiver<Vec<Seed>>) -> Result<(), RecvError> {
    seeds.clone().changed().await
}

/// The members besides this node.
#[derive(Clone)]
pub(crate) struct Company {
    pub(crate) members: watch::Receiver<Members>,
    pub(crate) isolated: watch::Receiver<bool>,
}

impl Company {
    /// A node that has left does not return by itself.
    pub(crate) async fn wait_until_staying(&mut self) -> Result<(), RecvError> {
        let has_left = |members: &Members| members.me().state() == MemberState::Left;
        self.members.wait_for(|members| !has_left(members)).await.map(drop)
    }

    /// Whether seeds are needed: no other member is live, or none is heard.
    pub(crate) fn is_alone(&self) -> bool {
        *self.isolated.borrow() || is_alone(&self.members.borrow())
    }

    /// The longest delay between two tries.
    fn max_delay(&self) -> Duration {
        if self.is_alone() { MAX_DELAY } else { max_delay(self.members.borrow().live_len()) }
    }

    /// Whether it is this node's turn in a round at the longest delay. Chance gives it to so many nodes that a large
    /// cluster tries an address as often as a small one.
    fn is_turn(&self, random: &Random) -> bool {
        self.is_alone() || random.is_hit(chance(self.members.borrow().live_len()))
    }

    pub(crate) async fn wait_until(&mut self, alone: bool) -> Result<(), RecvError> {
        while self.is_alone() != alone {
            tokio::select! {
                biased;
                changed = self.members.changed() => changed?,
                changed = self.isolated.changed() => changed?,
            }
        }
        Ok(())
    }

    /// Whether this is a live member, as far as any is heard.
    fn knows(&self, id: MemberId) -> bool {
        !self.is_alone() && self.members.borrow().get(id).is_some_and(|m| m.state().is_live())
    }

    /// Whether this node listens at the address. Other addresses that lead to it, such as a load balancer's, may lead
    /// elsewhere the next time.
    fn is_own(&self, addr: SocketAddr, bound: SocketAddr) -> bool {
        addr == bound || self.members.borrow().me().record().addrs().any(|own| own == addr)
    }

    /// Whether the address is that of a member that is live, as far as anyone is heard.
    pub(crate) fn has(&self, addr: SocketAddr) -> bool {
        if self.is_alone() {
            return false;
        }
        let members = self.members.borrow();
        let me = members.me().id();
        let has_addr = |member: &Member| member.record().addrs().any(|known| known == addr);
        members.live().any(|member| member.id() != me && has_addr(member))
    }
}

/// One seed in one round.
struct Try {
    seed: Seed,
    joiner: Joiner,
    company: Company,
    joined: watch::Sender<bool>,
    bound: SocketAddr,
    random: Random,
}

impl Try {
    async fn run(self) -> Round {
        let mut round = Round::default();
        let addrs = match resolve(&self.seed, &self.random).await {
            Ok(addrs) => addrs,
            Err(error) => {
                round.failures.insert((self.seed, None), error);
                return round;
            }
        };
        for addr in addrs {
            if self.company.is_own(addr, self.bound) {
                round.is_ours = true;
            } else if self.company.has(addr) {
                round.is_met = true;
            } else if let Err(error) = self.try_at(addr, &mut round).await {
                round.failures.insert((Arc::clone(&self.seed), Some(addr)), error);
            }
        }
        round
    }

    async fn try_at(&self, addr: SocketAddr, round: &mut Round) -> Result<(), JoinError> {
        let Some(through) = self.joiner.dial(addr).await? else {
            round.is_ours = true;
            return Ok(());
        };
        if !self.company.knows(through.id) {
            self.joiner.ask(through, AfterLeaving::StayAway).await?;
            info!(seed = &*self.seed, %addr, member = %through.id, "joined through a seed");
            self.joined.send_replace(true);
        }
        round.is_met = true;
        Ok(())
    }
}

/// Logs what is new: a seed that is away for a day is one line, not thousands.
fn report(before: &Failures, now: &Failures) {
    for (key, error) in now {
        let (seed, reason) = (&*key.0, reason(error));
        if before.get(key).is_some_and(|known| self::reason(known) == reason) {
            debug!(seed, reason, "join through a seed still fails");
            continue;
        }
        match error {
            JoinError::Dial { source, .. } if is_refusal(source) => {
                error!(seed, reason, "a seed refuses this node; trying again");
            }
            _ => warn!(seed, reason, "join through a seed failed; trying again"),
        }
    }
}

/// Why a seed did not let this node in, on one line that does not say so once more.
fn reason(error: &JoinError) -> String {
    match error {
        JoinError::Refused { addr, source } => format!("{addr}: {}", text(source)),
        other => text(other),
    }
}

/// An error with its causes, on one line.
pub(crate) fn text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

fn is_alone(members: &Members) -> bool {
    let me = members.me();
    members.live_len() == usize::from(me.state().is_live())
}

/// The longest delay in the company of so many: all of them together try a missing seed about once a second. Where one
/// of them finds it, all have found it.
fn max_delay(live: usize) -> Duration {
    let one_each_second = Duration::from_secs(live.try_into().unwrap_or(u64::MAX));
    one_each_second.clamp(MAX_DELAY, MAX_DELAY_OF_MANY)
}

/// How many of so many members try in a round at the longest delay.
fn chance(live: usize) -> f64 {
    let seconds = Duration::from_secs(live.max(1).try_into().unwrap_or(u64::MAX));
    (MAX_DELAY_OF_MANY.as_secs_f64() / seconds.as_secs_f64()).min(1.0)
}

/// The first delay after a round; it doubles.
const MIN_DELAY: Duration = Duration::from_millis(200);
/// The longest delay, alone or in small company.
const MAX_DELAY: Duration = Duration::from_secs(10);
/// The longest delay of all.
const MAX_DELAY_OF_MANY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_seed_is_tried_about_once_a_second_by_all_together() {
        let seconds = [(2, 10), (10, 10), (30, 30), (60, 60), (10_000, 60)];
        for (live, delay) in seconds {
            assert_eq!(max_delay(live), Duration::from_secs(delay), "{live} members");
            let tries = chance(live) * live as f64 / max_delay(live).as_secs_f64();
            assert!(tries <= 1.000_001, "{tries} a second by {live} members");
        }
    }
}
