//! The seeds a node was given: tried until they have let it in, and again whenever it is alone or
//! hears nobody.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use phin_swim::{Member, MemberState, Members};
use tokio::{
    sync::watch::{self, error::RecvError},
    task::JoinSet,
    time::{Instant, sleep},
};
use tracing::{debug, error, info, warn};

use crate::{
    JoinError,
    join::{AfterLeaving, Joiner, is_refusal, resolve},
};

/// Tries the seeds for as long as the node runs.
///
/// One that let us in is not enough: nodes that start together may each find only a part of the
/// others, so every seed address is tried until it has let us in, is a member's, or is our own.
/// The tries follow each other quickly at first, then rarely, in large company most rarely. Names are
/// resolved anew each time.
pub(crate) struct Seeding {
    pub(crate) seeds: Vec<Seed>,
    pub(crate) joiner: Joiner,
    pub(crate) company: Company,
    /// Set when a seed let us in, or no seed but ourselves is there to do so.
    pub(crate) joined: watch::Sender<bool>,
}

/// A seed as it was given, "host:port".
pub(crate) type Seed = Arc<str>;

/// What a round found out.
#[derive(Debug, Default)]
struct Round {
    failures: Failures,
    /// Addresses that need not be tried again: they let us in.
    met: BTreeSet<SocketAddr>,
    /// Addresses that led back to this node.
    ours: BTreeSet<SocketAddr>,
}

/// Which seed did not let us in, at which of its addresses, and why.
type Failures = BTreeMap<(Seed, Option<SocketAddr>), JoinError>;

impl Seeding {
    pub(crate) async fn run(mut self) {
        let mut known = Round::default();
        let mut delay = MIN_DELAY;
        let mut was_alone = true;
        loop {
            if self.company.wait_until_staying().await.is_err() {
                return;
            }
            let is_alone = self.company.is_alone();
            if std::mem::replace(&mut was_alone, is_alone) != is_alone {
                delay = MIN_DELAY;
            }
            if is_alone {
                // Whoever let us in is gone; whoever is at its address now may not be.
                known.met.clear();
                known.ours.clear();
            }
            let began = Instant::now();
            let round = self.try_all(&known).await;
            known.met.extend(&round.met);
            known.ours.extend(&round.ours);
            report(&known.failures, &round.failures);
            known.failures = round.failures;
            let is_ours_alone = known.failures.is_empty() && !known.ours.is_empty();
            if !round.met.is_empty() || is_ours_alone {
                self.joined.send_replace(true);
            }
            // Doubled from the start of a round, so that a slow one does not add to the delay.
            let rest = jittered(delay).saturating_sub(began.elapsed()).max(MIN_DELAY / 2);
            delay = (delay * 2).min(self.company.max_delay());
            let slept = if self.company.is_alone() {
                self.sleep_while_alone(rest).await
            } else {
                self.sleep_unless_alone((!known.failures.is_empty()).then_some(rest)).await
            };
            if slept.is_err() {
                return;
            }
        }
    }

    /// Tries every address of every seed, seeds at the same time, the addresses of each in turn.
    async fn try_all(&self, known: &Round) -> Round {
        let mut tries = JoinSet::new();
        for seed in &self.seeds {
            let settled = known.met.union(&known.ours).copied().collect();
            let this = Try {
                seed: Arc::clone(seed),
                joiner: self.joiner.clone(),
                company: self.company.clone(),
                joined: self.joined.clone(),
                settled,
            };
            tries.spawn(this.run());
        }
        let mut round = Round::default();
        while let Some(tried) = tries.join_next().await {
            // A try that panicked has said so already; the next round tries again.
            let Ok(one) = tried else { continue };
            round.met.extend(one.met);
            round.ours.extend(one.ours);
            round.failures.extend(one.failures);
        }
        round
    }

    /// Ends early when another member appears, which may be known to no seed: then what is left is
    /// tried once more.
    async fn sleep_while_alone(&mut self, delay: Duration) -> Result<(), RecvError> {
        tokio::select! {
            () = sleep(delay) => Ok(()),
            met = self.company.wait_until(false) => met,
        }
    }

    async fn sleep_unless_alone(&mut self, delay: Option<Duration>) -> Result<(), RecvError> {
        let slept = async {
            match delay {
                Some(delay) => sleep(delay).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = slept => Ok(()),
            alone = self.company.wait_until(true) => alone,
        }
    }
}

/// Who is there besides this node.
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

    pub(crate) async fn wait_until(&mut self, alone: bool) -> Result<(), RecvError> {
        while self.is_alone() != alone {
            tokio::select! {
                changed = self.members.changed() => changed?,
                changed = self.isolated.changed() => changed?,
            }
        }
        Ok(())
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
    /// Addresses that need no try.
    settled: BTreeSet<SocketAddr>,
}

impl Try {
    async fn run(self) -> Round {
        let mut round = Round::default();
        let addrs = match resolve(&self.seed).await {
            Ok(addrs) => addrs,
            Err(error) => {
                round.failures.insert((self.seed, None), error);
                return round;
            }
        };
        for addr in addrs {
            if self.settled.contains(&addr) || self.company.has(addr) {
                continue;
            }
            match self.joiner.join_at(addr, AfterLeaving::StayAway).await {
                Ok(Some(joined)) => {
                    let member = joined.through;
                    info!(seed = &*self.seed, %addr, %member, "joined through a seed");
                    round.met.insert(addr);
                    self.joined.send_replace(true);
                }
                Ok(None) => drop(round.ours.insert(addr)),
                Err(error) => {
                    round.failures.insert((Arc::clone(&self.seed), Some(addr)), error);
                }
            }
        }
        round
    }
}

/// Logs what is new: a seed that is away for a day is one line, not thousands.
fn report(before: &Failures, now: &Failures) {
    for (key, error) in now {
        let (seed, reason) = (&*key.0, text(error));
        if before.get(key).is_some_and(|known| text(known) == reason) {
            debug!(seed, reason, "a seed still does not let this node in");
            continue;
        }
        match error {
            JoinError::Dial { source, .. } if is_refusal(source) => {
                error!(seed, reason, "a seed refuses this node; trying again");
            }
            _ => warn!(seed, reason, "a seed did not let this node in; trying again"),
        }
    }
}

/// An error with its causes, on one line.
fn text(error: &dyn std::error::Error) -> String {
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

/// A node of many that lost the same seed does not return at the same moment as the others.
pub(crate) fn jittered(delay: Duration) -> Duration {
    delay.mul_f64(rand::random_range(0.75..1.25))
}

/// The longest delay in the company of so many: all of them together try a missing seed about once a second. Where one
/// of them finds it, all have found it.
fn max_delay(live: usize) -> Duration {
    let one_each_second = Duration::from_secs(live.try_into().unwrap_or(u64::MAX));
    one_each_second.clamp(MAX_DELAY, MAX_DELAY_OF_MANY)
}

/// The first delay after a round in which a seed did not let us in; it doubles.
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
        }
    }
}
