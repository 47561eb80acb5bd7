//! The record of this node itself: an earlier run of it, or another process with its key, may be known by a later version.

use crate::{
    Generation, Incarnation, Instant, Output, Record, Version,
    ctx::Ctx,
    member::{list::MembershipList, record::Statement, transition::News},
    step::{Source, Step},
};

/// When this node last had to take the generation after one that it heard of.
#[derive(Debug, Default)]
pub(crate) struct Identity {
    generation_taken_at: Option<Instant>,
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
        let period = ctx.params.protocol_period;
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
}

/// Has this node say something new of itself.
pub(crate) fn restate(ctx: &mut Ctx, statement: Statement) {
    let record = Record::sign(statement, &*ctx.keys);
    ctx.then(Step::Apply { news: News::own(record), source: Source::Ourselves });
}
