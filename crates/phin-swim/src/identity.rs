//! The record of this node itself: an earlier run of it, or another process with its key, may be known by a later version.

use crate::{
    Ctx, Generation, Incarnation, Instant, MembershipList, News, Output, Record, Source, Timer,
    Version,
    member::{record::Statement, tags::Profile},
};

/// The next statement of this node about itself, and when it made the last one.
#[derive(Debug, Default)]
pub(crate) struct Identity {
    /// When this node last had to take the generation after one that it heard of.
    generation_taken_at: Option<Instant>,
    /// The profile to be announced, where the record does not have it yet.
    wanted: Option<Profile>,
    /// When a changed profile was last announced.
    described_at: Option<Instant>,
}

impl Identity {
    /// Hears an authentic record of this node that is not its own last word. Most likely an earlier run of this process is
    /// remembered with a later one: this run takes the generation after it.
    pub(crate) fn exceed(&mut self, ctx: &mut Ctx, list: &MembershipList, record: &Record) {
        let mine = &list.me().record;
        // The first such record is most likely an earlier run's. One that exceeds the generation taken after it comes
        // from a process that runs now, and answers this one.
        let is_elsewhere = record.addrs().ne(mine.addrs());
        if self.generation_taken_at.is_some() && is_elsewhere {
            ctx.output(Output::IdentityInUse(record.addr()));
        }
        // Two processes with one key would exceed each other for ever; so they do it slowly, and it shows.
        let period = ctx.params.period;
        if self.generation_taken_at.is_some_and(|taken_at| ctx.now - taken_at < period) {
            ctx.stats.generation_conflicts += 1;
            return;
        }
        self.generation_taken_at = Some(ctx.now);
        // None exceeds the last one.
        let Some(generation) = record.version().generation.0.checked_add(1).map(Generation) else {
            return;
        };
        let version = Version { generation, incarnation: Incarnation(0) };
        ctx.output(Output::Generation(generation));
        restate(ctx, Statement { version, ..mine.statement() });
    }

    /// The profile of this node as last set.
    pub(crate) fn profile(&self, list: &MembershipList) -> Profile {
        self.wanted.clone().unwrap_or_else(|| list.me().record.profile())
    }

    /// Changes the profile of this node. Each version goes to all members, so changes within a period are one.
    pub(crate) fn describe(
        &mut self,
        ctx: &mut Ctx,
        list: &MembershipList,
        change: impl FnOnce(&mut Profile),
    ) {
        change(self.wanted.get_or_insert_with(|| list.me().record.profile()));
        match self.described_at.map(|at| at + ctx.params.period) {
            Some(due) if due > ctx.now => ctx.timers.set(due, Timer::Describe),
            Some(_) | None => self.restate_profile(ctx, list),
        }
    }

    /// Announces the profile of this node, if it differs from what its record says.
    pub(crate) fn restate_profile(&mut self, ctx: &mut Ctx, list: &MembershipList) {
        let mine = list.me().record.statement();
        if let Some(profile) = self.wanted.take().filter(|wanted| *wanted != mine.profile) {
            self.described_at = Some(ctx.now);
            let version = mine.version.next_or_generation();
            restate(ctx, Statement { version, profile, ..mine });
        }
    }
}

/// Has this node say something new of itself.
pub(crate) fn restate(ctx: &mut Ctx, statement: Statement) {
    let record = Record::sign(statement, &*ctx.keys);
    ctx.apply(News::own(record), Source::Ourselves);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        member::record::tests::{TestKeys, addr, statement, version},
        testing::Rooms,
    };

    fn record(generation: u32, is_elsewhere: bool) -> Record {
        let statement = statement(0, version(generation, 7));
        let addrs = vec![addr(if is_elsewhere { 9 } else { 0 })];
        Record::sign(Statement { addrs, ..statement }, &TestKeys(0))
    }

    #[test]
    fn a_node_takes_the_generation_after_one_it_hears_of_and_another_process_shows() {
        let taken = |generation: u32| {
            let restated = format!("apply n0 v{generation}.0 alive");
            vec![format!("Generation(Generation({generation}))"), restated]
        };
        let in_use = || vec!["IdentityInUse(10.0.0.9:7000)".to_owned()];
        // When it hears of which generation, whether at another address; what is asked for, and how many conflicts there are.
        let steps = [
            (10_000, 4, true, taken(5), 0),
            (10_999, 6, false, vec![], 1),
            // It answers the generation that was taken, so it runs now.
            (10_999, 6, true, in_use(), 2),
            (11_000, 6, true, [in_use(), taken(7)].concat(), 2),
            (12_000, 8, false, taken(9), 2),
            (13_000, u32::MAX, false, vec![], 2),
        ];
        let (mut rooms, mut identity) = (Rooms::of(3), Identity::default());
        for (millis, generation, is_elsewhere, asked_for, conflicts) in steps {
            let record = record(generation, is_elsewhere);
            rooms.at(millis);
            identity.exceed(&mut rooms.ctx, &rooms.list, &record);
            assert_eq!(rooms.effects(), asked_for, "generation {generation} at {millis} ms");
            assert_eq!(rooms.ctx.stats.generation_conflicts, conflicts);
        }
    }
}
