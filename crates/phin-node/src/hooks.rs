//! Hooks: programs that the node runs on events (`--on`).
//!
//! Each hook has a task of its own, one run at a time, and a bounded queue of events. So a program that hangs, floods its
//! output or does not exist disturbs neither the node nor another hook.

mod counters;
mod queue;
mod source;

use std::{pin::pin, sync::Arc, time::Duration};

use futures::{
    FutureExt, Stream, StreamExt,
    future::{Fuse, FusedFuture},
};
use phin::Cluster;
use tokio::{sync::watch, task::JoinSet, time::timeout};
use tracing::{debug, info, warn};

use crate::{
    failure::with_causes,
    program::{Logged, Program, RunError},
};
pub(crate) use counters::Counters;
use queue::Queue;
use source::Arrival;
pub(crate) use source::{HookEvent, Trigger};

/// A hook as the settings describe it.
#[derive(Clone, Debug)]
pub(crate) struct Hook {
    pub(crate) trigger: Trigger,
    pub(crate) program: Program,
}

impl Hook {
    /// Whether both run the same program on the same events.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.trigger == other.trigger && self.program.is_same(&other.program)
    }
}

/// The hooks of a running node. Dropping it ends them.
pub(crate) struct Hooks {
    tasks: JoinSet<()>,
    closing: watch::Sender<bool>,
    counters: Vec<Arc<Counters>>,
}

/// Runs the program of one hook.
struct Runner {
    program: Program,
    limit: Duration,
    counters: Arc<Counters>,
}

impl Hooks {
    /// Starts with the current list. Each run has at most `limit`. The first hook has this number.
    pub(crate) fn start(
        first: usize,
        hooks: impl IntoIterator<Item = Hook>,
        limit: Duration,
        cluster: &Cluster,
    ) -> Self {
        let with_source = |Hook { trigger, program }| (program, source::events(trigger, cluster));
        Self::with_sources(first, hooks.into_iter().map(with_source), limit)
    }

    /// Starts programs, each with a stream of what it receives.
    fn with_sources<S>(
        first: usize,
        programs: impl IntoIterator<Item = (Program, S)>,
        limit: Duration,
    ) -> Self
    where
        S: Stream<Item = Vec<Arrival>> + Send + 'static,
    {
        let (closing, closed) = watch::channel(false);
        let (mut tasks, mut counters) = (JoinSet::new(), Vec::new());
        for (number, (program, source)) in (first..).zip(programs) {
            let own = Arc::new(Counters::new(number, program.path().to_owned()));
            counters.push(Arc::clone(&own));
            let runner = Runner { program, limit, counters: own };
            tasks.spawn(runner.serve(source, closed.clone()));
        }
        Self { tasks, closing, counters }
    }

    /// The counters of each hook.
    pub(crate) fn counters(&self) -> Vec<Arc<Counters>> {
        self.counters.clone()
    }

    /// Starts no further run. Gives those under way a short time, then kills them.
    pub(crate) async fn finish(&mut self) {
        self.closing.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
    }

    /// Kills the runs under way.
    pub(crate) async fn kill(&mut self) {
        // A task that does not end holds up a thread, which ends with the process.
        let _ = timeout(MAX_KILL_TIME, self.tasks.shutdown()).await;
    }
}

impl Runner {
    /// Runs the program for the events of `source`, until the hooks close or the node has stopped.
    async fn serve(
        self,
        source: impl Stream<Item = Vec<Arrival>>,
        mut closing: watch::Receiver<bool>,
    ) {
        let mut source = pin!(source);
        let mut queue = Queue::default();
        let mut run = pin!(Fuse::terminated());
        loop {
            if run.is_terminated()
                && let Some(batch) = queue.take_batch()
            {
                run.set(self.run(batch).fuse());
            }
            self.counters.update(|counts| counts.events_waiting = queue.len());
            tokio::select! {
                biased;
                () = closed(&mut closing) => break,
                () = run.as_mut() => {}
                arrivals = source.next() => match arrivals {
                    Some(arrivals) => self.enqueue(arrivals, &mut queue),
                    None => break,
                },
            }
        }
        let (hook, program) = (self.counters.number, self.program.path().display());
        if queue.len() > 0 {
            let events = queue.len();
            info!(hook, %program, events, "a hook ends and does not receive its last events");
        }
        if !run.is_terminated() && timeout(MAX_CLOSING_TIME, run).await.is_err() {
            warn!(hook, %program, "a hook ends and its program is killed");
        }
    }

    fn enqueue(&self, arrivals: Vec<Arrival>, queue: &mut Queue) {
        let mut missed = 0;
        for arrival in arrivals {
            match arrival {
                Arrival::Line(line) => missed += u64::from(queue.push(line).is_err()),
                Arrival::Missed(events) => {
                    queue.push_missed(events);
                    missed += events;
                }
            }
        }
        self.counters.update(|counts| counts.events_missed += missed);
    }

    /// Runs the program once with these lines. A run that fails is not repeated.
    async fn run(&self, batch: Vec<u8>) {
        self.counters.update(|counts| {
            counts.runs += 1;
            counts.is_running = true;
        });
        let mut stdout = Logged::stdout(self.program.path());
        let result = self.program.run(&batch, self.limit, &mut stdout).await;
        drop(stdout);
        self.counters.update(|counts| {
            counts.is_running = false;
            match &result {
                Ok(status) => counts.failed += u64::from(!status.success()),
                Err(RunError::TimedOut { .. }) => counts.timed_out += 1,
                Err(RunError::NotRun(_)) => counts.not_run += 1,
            }
        });
        let (hook, program) = (self.counters.number, self.program.path().display());
        match result {
            Ok(status) if status.success() => debug!(hook, %program, "the program of a hook ended"),
            Ok(status) => warn!(hook, %program, %status, "the program of a hook failed"),
            Err(error) => {
                let error = with_causes(&error);
                warn!(hook, %program, error, "the program of a hook failed");
            }
        }
    }
}

/// Returns when the hooks close.
async fn closed(closing: &mut watch::Receiver<bool>) {
    // An error means that the hooks were dropped, which closes them too.
    let _ = closing.wait_for(|is_closing| *is_closing).await;
}

/// The time that a run under way has to end when the node stops.
const MAX_CLOSING_TIME: Duration = Duration::from_secs(2);
/// The time that the tasks have to end when their runs are killed.
const MAX_KILL_TIME: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
