//! The programs that stand for offices over HTTP, each for as long as it asks again in time.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::http::StatusCode;
use phin::{Candidacy, Cluster, Office, OfficeRules};
use tokio::{
    task::AbortHandle,
    time::{Instant, sleep_until},
};
use tracing::info;

use super::refusal::Refusal;
use crate::office::{Holder, OfficeLine};

/// The programs that stand for offices, by office.
#[derive(Clone, Debug, Default)]
pub(super) struct Candidacies(Arc<Mutex<BTreeMap<Office, Session>>>);

/// A program that stands for an office, for as long as it asks again in time.
#[derive(Debug)]
struct Session {
    name: String,
    candidacy: Candidacy,
    rules: OfficeRules,
    ends_at: Instant,
    _expiry: Expiry,
}

/// The task that ends a session, which ends with it: a client that comes and goes leaves none behind.
#[derive(Debug)]
struct Expiry(AbortHandle);

impl Drop for Expiry {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Candidacies {
    /// The answer to the program of a session, if it stands for the office. The session lasts for at least the time that the
    /// answer gives the program: under one lock, or it could end in between.
    pub(super) fn answer(
        &self,
        cluster: &Cluster,
        office: &Office,
        name: &str,
        rules: &OfficeRules,
    ) -> Result<Option<OfficeLine>, Refusal> {
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let conflict = |error| Err(Refusal::new(StatusCode::CONFLICT, error));
        match sessions.get_mut(office) {
            Some(known) if known.name != name => {
                conflict("another program stands for the office through this node")
            }
            Some(known) if known.rules != *rules => {
                conflict("the session stands for the office by other rules; delete it first")
            }
            Some(known) => {
                let line = line(cluster, office.clone());
                let given = match line.holder {
                    Holder::Holding { valid_for_ms, .. } => Duration::from_millis(valid_for_ms),
                    Holder::Following { .. } | Holder::Vacant { .. } => Duration::ZERO,
                };
                let ends_at = Instant::now() + given.max(SESSION_TIME);
                known.ends_at = known.ends_at.max(ends_at);
                Ok(Some(line))
            }
            None => Ok(None),
        }
    }

    /// A program stands for an office. If it does not ask again in time, its session ends.
    pub(super) fn start(&self, name: String, candidacy: Candidacy, rules: OfficeRules) {
        let (office, ends_at) = (candidacy.office().clone(), Instant::now() + SESSION_TIME);
        let expiry = tokio::spawn(self.clone().end_late(office.clone(), ends_at));
        let _expiry = Expiry(expiry.abort_handle());
        let session = Session { name, candidacy, rules, ends_at, _expiry };
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.insert(office, session);
    }

    /// Ends the session of this name, or returns `None` if there is none: its name, and the candidacy, which goes on.
    pub(super) fn end(&self, office: &Office, name: Option<&str>) -> Option<(String, Candidacy)> {
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.get(office).filter(|known| name == Some(&*known.name))?;
        sessions.remove(office).map(|session| (session.name, session.candidacy))
    }

    /// Ends a session once it was not renewed in time.
    async fn end_late(self, office: Office, mut ends_at: Instant) {
        loop {
            sleep_until(ends_at).await;
            let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(session) = sessions.get(&office) else { return };
            ends_at = session.ends_at;
            if ends_at <= Instant::now() {
                // Dropping it gives the office up: the program has no more time that it was told of.
                sessions.remove(&office);
                info!(%office, "a session ended: its program did not ask again");
                return;
            }
        }
    }
}

/// The office as this node knows it.
pub(super) fn line(cluster: &Cluster, office: Office) -> OfficeLine {
    let leader = cluster.leader(&office);
    OfficeLine::new(office, leader, &cluster.members())
}

/// How long a session lasts after each request at least. It never ends before the time for which an answer said that the office
/// is held: by then the program has stopped.
const SESSION_TIME: Duration = Duration::from_secs(3);
