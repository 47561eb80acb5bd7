//! [`Own`]: the data that this node writes. A write is seen here at once, and by others when it is published, together with
//! other writes of the same moments.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    Generation, Instant,
    ctx::Ctx,
    data::{
        map::{DataError, Head, MemberData, Revision},
        store::Store,
    },
    timers::Timer,
};

/// Writes that are not published yet, and what is to expire.
#[derive(Debug, Default)]
pub(crate) struct Own {
    /// When the writes so far are published; `None` if there are none.
    publish_at: Option<Instant>,
    /// When keys expire.
    expiries: BTreeMap<Arc<str>, Instant>,
    /// The timer that is set for the first of them.
    wake_at: Option<Instant>,
}

impl Own {
    pub(crate) const fn is_dirty(&self) -> bool {
        self.publish_at.is_some()
    }

    /// Something is to be published.
    pub(crate) fn touch(&mut self, ctx: &mut Ctx) {
        if self.publish_at.is_none() {
            let at = ctx.now + ctx.params.data_delay;
            self.publish_at = Some(at);
            ctx.timers.set(at, Timer::PublishData);
        }
    }

    /// Sets a key, for so long if that is given. Setting it to the value that it has only changes when it expires.
    pub(crate) fn put(
        &mut self,
        ctx: &mut Ctx,
        store: &mut Store,
        (key, value): (&str, Arc<[u8]>),
        expires_at: Option<Instant>,
    ) -> Result<(), DataError> {
        let (mut data, revision) = draft(store);
        if data.put(key, &value, revision, ctx.params.max_data_bytes)? {
            store.replace(ctx, store.me(), data);
            self.touch(ctx);
        }
        match expires_at {
            Some(at) => {
                self.expiries.insert(key.into(), at);
                self.wake_by(ctx, at);
            }
            None => drop(self.expiries.remove(key)),
        }
        Ok(())
    }

    /// Deletes a key; `false` if there is none.
    pub(crate) fn delete(&mut self, ctx: &mut Ctx, store: &mut Store, key: &str) -> bool {
        self.expiries.remove(key);
        self.remove(ctx, store, key, false)
    }

    fn remove(&mut self, ctx: &mut Ctx, store: &mut Store, key: &str, is_expired: bool) -> bool {
        let (mut data, revision) = draft(store);
        let is_removed = data.remove(key, revision, is_expired);
        if is_removed {
            store.replace(ctx, store.me(), data);
            self.touch(ctx);
        }
        is_removed
    }

    /// Deletes the keys whose time is over.
    pub(crate) fn expire(&mut self, ctx: &mut Ctx, store: &mut Store) {
        let now = ctx.now;
        let due: Vec<_> = self.expiries.extract_if(.., |_, at| *at <= now).collect();
        for (key, _) in due {
            self.remove(ctx, store, &key, true);
        }
        self.wake_at = self.wake_at.filter(|&at| at > now);
        let next = self.expiries.values().min().copied();
        next.into_iter().for_each(|at| self.wake_by(ctx, at));
    }

    /// Sets a timer, unless one is set that is as early.
    fn wake_by(&mut self, ctx: &mut Ctx, at: Instant) {
        if self.wake_at.is_none_or(|wake_at| at < wake_at) {
            self.wake_at = Some(at);
            ctx.timers.set(at, Timer::ExpireData);
        }
    }

    /// When a key expires.
    pub(crate) fn expires_at(&self, key: &str) -> Option<Instant> {
        self.expiries.get(key).copied()
    }

    /// Others have a revision that an earlier process published in this run: what is here is published as a later one.
    pub(crate) fn resume_after(&mut self, ctx: &mut Ctx, store: &mut Store, head: Head) {
        let (mut data, _) = draft(store);
        data.resume_after(head);
        store.replace(ctx, store.me(), data);
        self.touch(ctx);
    }

    /// Signs what was written, as the next revision of this run. Returns whether there was anything.
    pub(crate) fn publish(&mut self, ctx: &mut Ctx, store: &mut Store, run: Generation) -> bool {
        if self.publish_at.take().is_none() {
            return false;
        }
        let (mut data, revision) = draft(store);
        let head = Head { generation: run, revision };
        data.publish(store.me(), head, &*ctx.keys);
        store.replace(ctx, store.me(), data);
        true
    }
}

/// The data of this node to be changed, and the revision in which it is.
fn draft(store: &Store) -> (MemberData, Revision) {
    let data = store.of(store.me()).map_or_else(MemberData::new, |data| MemberData::clone(data));
    let next = Revision(data.head.revision.0 + 1);
    (data, next)
}
