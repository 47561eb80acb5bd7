//! The state behind the answers.

use std::{sync::Arc, time::SystemTime};

use axum::http::StatusCode;
use phin::Cluster;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::{
    body::MAX_MESSAGE_BODIES_BYTES,
    connections::Counts,
    guard::{Access, Guard},
    leaders::Candidacies,
    refusal::Refusal,
};
use crate::{answers, hooks};

/// The node, as requests see it.
#[derive(Clone)]
pub(crate) struct Node {
    pub(super) cluster: Cluster,
    pub(super) stage: watch::Sender<Stage>,
    subscribers: Arc<Semaphore>,
    /// The room for bodies of messages, in bytes.
    pub(super) message_bodies: Arc<Semaphore>,
    pub(super) connections: Arc<Counts>,
    pub(super) guard: Arc<Guard>,
    /// The programs that stand for offices.
    pub(super) candidacies: Candidacies,
    /// When the node's certificate expires; `None` if it does not.
    pub(super) certificate_end: Option<SystemTime>,
    /// The counters of each hook.
    pub(super) hooks: Vec<Arc<hooks::Counters>>,
    /// The counters of each program that answers queries.
    pub(super) answers: Vec<Arc<answers::Counters>>,
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
    pub(crate) fn new(cluster: Cluster, stage: watch::Sender<Stage>) -> Self {
        let subscribers = Arc::new(Semaphore::new(MAX_SUBSCRIBERS));
        let message_bodies = Arc::new(Semaphore::new(MAX_MESSAGE_BODIES_BYTES));
        let (connections, certificate_end) = (Arc::default(), None);
        Self {
            cluster,
            stage,
            subscribers,
            message_bodies,
            connections,
            guard: Arc::default(),
            candidacies: Candidacies::default(),
            certificate_end,
            hooks: Vec::new(),
            answers: Vec::new(),
        }
    }

    pub(crate) fn with_certificate_end(self, certificate_end: Option<SystemTime>) -> Self {
        Self { certificate_end, ..self }
    }

    pub(crate) fn with_access(self, access: Access) -> Self {
        Self { guard: Arc::new(Guard::new(access)), ..self }
    }

    /// Shows in metrics what the programs of the node have done.
    pub(crate) fn with_programs(
        self,
        hooks: Vec<Arc<hooks::Counters>>,
        answers: Vec<Arc<answers::Counters>>,
    ) -> Self {
        Self { hooks, answers, ..self }
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
