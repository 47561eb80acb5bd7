//! The state behind the answers.

use std::{path::PathBuf, sync::Arc};

use axum::http::StatusCode;
use phin::{Cluster, Config};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::{
    body::MAX_MESSAGE_BODIES_BYTES, candidacies::Candidacies, connections::Counts, guard::Guard,
    refusal::Refusal,
};
use crate::{
    diagnostics::RecentEvents,
    logging::{Log, LogFilter},
    run::{Expiry, ProgramCounters, Reloader},
    traces::SpanCounts,
};

/// The settings of the node that its answers show.
#[derive(Clone, Debug)]
pub(crate) struct About {
    /// The name of the cluster.
    pub(crate) cluster: String,
    pub(crate) config: Config,
    /// The address of the HTTP interface.
    pub(crate) http: String,
    pub(crate) data_dir: Option<PathBuf>,
}

/// The node, as requests see it.
#[derive(Clone)]
pub(crate) struct Node {
    pub(super) cluster: Cluster,
    pub(super) about: Arc<About>,
    pub(super) stage: watch::Sender<Stage>,
    subscribers: Arc<Semaphore>,
    /// The room for bodies of messages, in bytes.
    pub(super) message_bodies: Arc<Semaphore>,
    pub(super) connections: Arc<Counts>,
    pub(super) guard: Arc<Guard>,
    /// The programs that stand for offices.
    pub(super) candidacies: Candidacies,
    /// When the node's certificate expires.
    pub(super) expiry: Option<Arc<Expiry>>,
    /// The counters of the programs that the node runs.
    pub(super) programs: Arc<ProgramCounters>,
    /// The counters of the traces that the node sends, if it does.
    pub(super) spans: Option<Arc<SpanCounts>>,
    pub(super) reloader: Option<Arc<Reloader>>,
    /// The log of the process, and what selects its lines.
    pub(super) log: Option<(Log, LogFilter)>,
    pub(super) recent_events: RecentEvents,
}

/// The stages of a departure.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Stage {
    Member,
    Leaving,
    /// The node left at the request of an operator, and the process ends.
    Left,
}

impl Node {
    pub(crate) fn new(cluster: Cluster, about: About, stage: watch::Sender<Stage>) -> Self {
        let subscribers = Arc::new(Semaphore::new(MAX_SUBSCRIBERS));
        let message_bodies = Arc::new(Semaphore::new(MAX_MESSAGE_BODIES_BYTES));
        let connections = Arc::default();
        Self {
            cluster,
            about: Arc::new(about),
            stage,
            subscribers,
            message_bodies,
            connections,
            guard: Arc::default(),
            candidacies: Candidacies::default(),
            expiry: None,
            programs: Arc::default(),
            spans: None,
            reloader: None,
            log: None,
            recent_events: RecentEvents::default(),
        }
    }

    pub(crate) fn with_expiry(self, expiry: Arc<Expiry>) -> Self {
        Self { expiry: Some(expiry), ..self }
    }

    pub(crate) fn with_guard(self, guard: Arc<Guard>) -> Self {
        Self { guard, ..self }
    }

    pub(crate) fn with_reloader(self, reloader: Arc<Reloader>) -> Self {
        Self { reloader: Some(reloader), ..self }
    }

    pub(crate) fn with_log(self, log: Log, filter: LogFilter) -> Self {
        Self { log: Some((log, filter)), ..self }
    }

    pub(crate) fn with_recent_events(self, recent_events: RecentEvents) -> Self {
        Self { recent_events, ..self }
    }

    /// Shows in metrics how many spans were sent.
    pub(crate) fn with_spans(self, spans: Option<Arc<SpanCounts>>) -> Self {
        Self { spans, ..self }
    }

    /// Shows in metrics what the programs of the node have done.
    pub(crate) fn with_programs(self, programs: Arc<ProgramCounters>) -> Self {
        Self { programs, ..self }
    }

    /// A place among the subscribers, for as long as it is held.
    pub(super) fn subscriber_slot(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        Arc::clone(&self.subscribers).try_acquire_owned().map_err(|_| {
            Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "too many subscribers or queries; try again later",
            )
        })
    }
}

/// Subscribers to `/v1/events` and `/v1/data/watch`, and queries, at once. Further ones are refused with 503.
const MAX_SUBSCRIBERS: usize = 32;
