//! Programs that answer queries (`--answer`).
//!
//! Each query is one run of the program of its topic. At most 64 of a topic run at once, as many as the crate has calls of a
//! handler; to further queries the answer is `Busy`.

mod counters;

use std::{sync::Arc, time::Duration};

use phin::{Cluster, IncomingQuery, QueryHandler, Refused, Topic};
use tokio::{sync::mpsc, time::timeout};
use tracing::{debug, warn};

use crate::{
    failure::with_causes,
    program::{Output, Program, RunError},
};
pub(crate) use counters::Counters;
use counters::{Ending, Run};

/// A program that answers queries, as the settings describe it.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) topic: Topic,
    pub(crate) program: Program,
}

impl Answer {
    /// Whether both answer the same queries with the same program.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.topic == other.topic && self.program.is_same(&other.program)
    }
}

/// The programs of a running node. Dropping it ends them.
pub(crate) struct Answers {
    handlers: Vec<QueryHandler>,
    counters: Vec<Arc<Counters>>,
    /// Closed once no run is under way.
    ended: mpsc::Receiver<()>,
}

/// State shared by the runs of one program.
struct Replier {
    program: Program,
    limit: Duration,
    cluster: Cluster,
    counters: Arc<Counters>,
    /// Held by each run.
    running: mpsc::Sender<()>,
}

impl Answers {
    /// Starts to answer. Each run has at most `limit`.
    pub(crate) fn start(
        answers: impl IntoIterator<Item = Answer>,
        limit: Duration,
        cluster: &Cluster,
    ) -> Self {
        // Nothing is ever sent.
        let (running, ended) = mpsc::channel(1);
        let (mut handlers, mut all_counters) = (Vec::new(), Vec::new());
        for Answer { topic, program } in answers {
            let counters = Arc::new(Counters::new(topic.clone(), program.path().to_owned()));
            all_counters.push(Arc::clone(&counters));
            let (cluster, running) = (cluster.clone(), running.clone());
            let replier = Arc::new(Replier { program, limit, cluster, counters, running });
            handlers.push(replier.cluster.answer(&topic, {
                let replier = Arc::clone(&replier);
                move |query| Arc::clone(&replier).reply(query)
            }));
        }
        Self { handlers, counters: all_counters, ended }
    }

    /// The counters of each program.
    pub(crate) fn counters(&self) -> Vec<Arc<Counters>> {
        self.counters.clone()
    }

    /// Kills the runs under way, and refuses their queries.
    pub(crate) async fn kill(&mut self) {
        self.handlers.clear();
        // A task that does not end holds up a thread, which ends with the process.
        let _ = timeout(MAX_KILL_TIME, self.ended.recv()).await;
    }
}

impl Replier {
    /// Runs the program with the question as its input. Its output is the reply.
    async fn reply(self: Arc<Self>, query: IncomingQuery) -> Result<Vec<u8>, Refused> {
        // Dropped last, when the program is killed.
        let _running = self.running.clone();
        let run = Run::begin(&self.counters);
        let from = query.from;
        let name = self.cluster.members().get(from).map(|member| member.name().to_owned());
        let program = self.program.clone().with_variables(&[
            ("PHIN_TOPIC", query.topic.to_string()),
            ("PHIN_FROM", name.unwrap_or_default()),
            ("PHIN_FROM_ID", from.to_string()),
        ]);
        let limit = self.limit.min(query.remaining);
        let result = program.output(&query.body, limit, MAX_REPLY_BYTES + 1).await;
        run.end(ending(&result));
        let (topic, program) = (&query.topic, self.program.path().display());
        match result {
            Ok(Output { status, .. }) if !status.success() => {
                debug!(%topic, %program, %status, "a program refused to answer a query");
            }
            Ok(Output { stdout, .. }) if stdout.len() <= MAX_REPLY_BYTES => return Ok(stdout),
            Ok(_) => {
                let max_bytes = MAX_REPLY_BYTES;
                warn!(%topic, %program, max_bytes, "the answer of a program to a query is too long");
            }
            Err(error) => {
                let error = with_causes(&error);
                warn!(%topic, %program, error, "a program did not answer a query");
            }
        }
        Err(Refused)
    }
}

fn ending(result: &Result<Output, RunError>) -> Ending {
    match result {
        Ok(Output { status, .. }) if !status.success() => Ending::Refused,
        Ok(Output { stdout, .. }) if stdout.len() <= MAX_REPLY_BYTES => Ending::Replied,
        Ok(_) => Ending::TooLong,
        Err(RunError::TimedOut { .. }) => Ending::TimedOut,
        Err(RunError::NotRun(_)) => Ending::NotRun,
    }
}

/// The longest reply of the crate.
const MAX_REPLY_BYTES: usize = 64 * 1_024;
/// The time that the tasks have to end when their runs are killed.
const MAX_KILL_TIME: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
