//! [`Operating`]: the actions of an operator on a node.

use std::time::Duration;

use crate::{
    Config, ConfigError, Instant, MemberId, PingRefusal, PingStarted, Swim,
    core::Core,
    identity::restate,
    member::record::Statement,
    probe::{
        paths::{MAX_TIMEOUT, MIN_TIMEOUT, ping_all},
        prober::Prober,
    },
};

/// The actions of an operator on a node, at one moment.
pub struct Operating<'a> {
    core: &'a mut Core,
}

impl<'a> Operating<'a> {
    /// The shortest time that answers to a ping are waited for.
    pub const MIN_PING_TIMEOUT: Duration = MIN_TIMEOUT;
    /// The longest one.
    pub const MAX_PING_TIMEOUT: Duration = MAX_TIMEOUT;

    /// The actions on this node.
    pub fn of(swim: &'a mut Swim, now: Instant) -> Self {
        Self { core: swim.core.begin(now) }
    }

    /// Pings a member by each path once: by datagram, by stream, and through up to eight other members, those that observe it
    /// first. [`Output::Pinged`](crate::Output::Pinged) reports the outcomes, as soon as there is one for each path, and after
    /// `timeout` at the latest.
    ///
    /// The member may be dead or have left. A missing answer is no evidence against it; an answer is a sign of life.
    ///
    /// # Errors
    /// The member is unknown or this node itself, the timeout is out of bounds, or this node pinged for operators too often.
    pub fn ping(self, member: MemberId, timeout: Duration) -> Result<PingStarted, PingRefusal> {
        let Core { ctx, list, senses, detector: own, path_pings, .. } = &mut *self.core;
        let mut prober = Prober { ctx, list, senses, own };
        let started = ping_all(&mut prober, path_pings, member, timeout);
        self.core.run();
        started
    }
}

impl Operating<'_> {
    /// Has the node use this configuration from now on.
    ///
    /// Only these settings can change while a node runs: [`Config::retention`], [`Config::max_members`], the limits of data and
    /// publications, [`Config::evict_degraded_after`], and those of flapping. Members above a limit that was lowered stay.
    ///
    /// # Errors
    /// A setting is out of bounds, or is another than the present one and cannot change. Nothing changes then.
    pub fn reconfigure(self, config: Config) -> Result<(), ConfigError> {
        let Core { ctx, list, forgotten, flaps, .. } = &mut *self.core;
        let changed = ctx.params.changed_to(config)?;
        ctx.params = changed;
        forgotten.plan_next_sweep(ctx, list);
        flaps.plan_releases(ctx, list);
        self.core.run();
        Ok(())
    }
}

impl Operating<'_> {
    /// Announces the statement by which a CA assigned this node its id, if [`Keys::assigned_id`](crate::Keys::assigned_id) has
    /// another one by now: its certificate was renewed, maybe by another CA. The id has to be the same.
    pub fn renew_id(self) {
        let Core { ctx, list, .. } = &mut *self.core;
        let mine = &list.me().record;
        let renewed = ctx.keys.assigned_id();
        let is_mine = renewed.is_some_and(|renewed| renewed.id == mine.id());
        if is_mine && renewed != mine.assigned_id() {
            let mine = mine.statement();
            restate(ctx, Statement { version: mine.version.next_or_generation(), ..mine });
        }
        self.core.run();
    }
}

impl std::fmt::Debug for Operating<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Operating").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
