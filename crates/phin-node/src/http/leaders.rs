//! `/v1/leaders`: the holders of offices, and programs that stand for one through this node.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use axum::{
    Extension, Json,
    body::Body,
    extract::{RawQuery, State},
    http::StatusCode,
    response::{
        IntoResponse,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures::stream;
use phin::{Candidacy, Cluster, LeaderSubscription, Office, OfficeRules, StandError, StandRefusal};
use tokio::{
    sync::OwnedSemaphorePermit,
    task::AbortHandle,
    time::{Instant, sleep_until},
};
use tracing::info;

use super::{
    body,
    connections::Usage,
    node::Node,
    path::{Asked, asked},
    query::{parameters, parse_filter},
    refusal::Refusal,
};
use crate::{
    office::{CandidacyRequest, Holder, OfficeChange, OfficeLine},
    text::rfc3339,
};

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

/// `GET /v1/leaders`
pub(super) async fn all(State(node): State<Node>) -> Json<Vec<OfficeLine>> {
    let members = node.cluster.members();
    let leaders = node.cluster.leaders().into_iter();
    Json(leaders.map(|(office, leader)| OfficeLine::new(office, leader, &members)).collect())
}

/// `GET /v1/leaders/{office}`
pub(super) async fn get(
    State(node): State<Node>,
    office: Asked<String>,
) -> Result<Json<OfficeLine>, Refusal> {
    Ok(Json(line(&node.cluster, parse(&asked(office)?)?)))
}

/// `GET /v1/leaders/{office}/events`: an event for the present holder, and one for each change.
pub(super) async fn events(
    State(node): State<Node>,
    Extension(usage): Extension<Usage>,
    office: Asked<String>,
) -> Result<impl IntoResponse, Refusal> {
    let office = parse(&asked(office)?)?;
    let slot = node.subscriber_slot()?;
    let leaders = node.cluster.subscribe_leader(&office);
    usage.goes_on();
    let reader = Reader { cluster: node.cluster, office, leaders, _slot: slot };
    let events = stream::unfold(reader, |mut reader| async move {
        let event = reader.next().await?;
        Some((Ok::<_, Infallible>(event), reader))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

/// `PUT /v1/leaders/{office}/candidacy`: stands for the office, for as long as this is repeated.
pub(super) async fn stand(
    State(node): State<Node>,
    office: Asked<String>,
    body: Body,
) -> Result<Json<OfficeLine>, Refusal> {
    let office = parse(&asked(office)?)?;
    let request: CandidacyRequest = body::json(body).await?;
    if request.session.is_empty() || request.session.len() > MAX_SESSION_BYTES {
        let error = format!("a session has a name of 1 to {MAX_SESSION_BYTES} bytes");
        return Err(Refusal::invalid(error));
    }
    let rules = OfficeRules::new(parse_filter(Some(request.voters))?, request.expected);
    let answer = || node.candidacies.answer(&node.cluster, &office, &request.session, &rules);
    if let Some(line) = answer()? {
        return Ok(Json(line));
    }
    let candidacy = node.cluster.stand(&office, rules.clone()).await.map_err(refused)?;
    info!(%office, session = request.session, "stand for an office, as asked over HTTP");
    let (name, ends_at) = (request.session.clone(), Instant::now() + SESSION_TIME);
    let expiry = node.candidacies.clone().end_late(office.clone(), ends_at);
    let expiry = Expiry(tokio::spawn(expiry).abort_handle());
    node.candidacies.start(Session {
        name,
        candidacy,
        rules: rules.clone(),
        ends_at,
        _expiry: expiry,
    });
    Ok(Json(answer()?.unwrap_or_else(|| line(&node.cluster, office.clone()))))
}

/// `DELETE /v1/leaders/{office}/candidacy`: gives the office up at once.
pub(super) async fn resign(
    State(node): State<Node>,
    office: Asked<String>,
    RawQuery(query): RawQuery,
) -> Result<Json<OfficeLine>, Refusal> {
    let office = parse(&asked(office)?)?;
    let [session] = parameters(query.as_deref(), ["session"])?;
    let Some(session) = node.candidacies.end(&office, session.as_deref()) else {
        return Err(Refusal::new(StatusCode::NOT_FOUND, "no such session stands for the office"));
    };
    info!(%office, session = session.name, "resign from an office, as asked over HTTP");
    session.candidacy.resign().await;
    Ok(Json(line(&node.cluster, office)))
}

impl Candidacies {
    /// The answer to the program of a session, if it stands for the office. The session lasts for at least the time that the
    /// answer gives the program: under one lock, or it could end in between.
    fn answer(
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

    fn start(&self, session: Session) {
        let office = session.candidacy.office().clone();
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.insert(office, session);
    }

    fn end(&self, office: &Office, name: Option<&str>) -> Option<Session> {
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.get(office).filter(|known| name == Some(&*known.name))?;
        sessions.remove(office)
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

/// The reader of an office's events.
struct Reader {
    cluster: Cluster,
    office: Office,
    leaders: LeaderSubscription,
    _slot: OwnedSemaphorePermit,
}

impl Reader {
    async fn next(&mut self) -> Option<Event> {
        let leader = self.leaders.next().await?;
        let line = OfficeLine::new(self.office.clone(), leader, &self.cluster.members());
        let change = OfficeChange { at: rfc3339(SystemTime::now()), line };
        Event::default().event(change.line.holder.name()).json_data(change).ok()
    }
}

fn line(cluster: &Cluster, office: Office) -> OfficeLine {
    let leader = cluster.leader(&office);
    OfficeLine::new(office, leader, &cluster.members())
}

fn parse(office: &str) -> Result<Office, Refusal> {
    office.parse().map_err(|error: phin::OfficeError| Refusal::invalid(error.to_string()))
}

fn refused(error: StandError) -> Refusal {
    let status = match error {
        StandError::Standing => StatusCode::CONFLICT,
        StandError::Stopped(_) | StandError::Refused(StandRefusal::Left) => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        _ => StatusCode::BAD_REQUEST,
    };
    Refusal::new(status, error.to_string())
}

/// How long a session lasts after each request at least. It never ends before the time for which an answer said that the office
/// is held: by then the program has stopped.
const SESSION_TIME: Duration = Duration::from_secs(3);
const MAX_SESSION_BYTES: usize = 64;
