//! `/v1/leaders`: the holders of offices, and programs that stand for one through this node.

use std::{convert::Infallible, time::SystemTime};

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
use phin::{Cluster, LeaderSubscription, Office, OfficeRules, StandError, StandRefusal};
use tokio::sync::OwnedSemaphorePermit;
use tracing::info;

use super::{
    body,
    candidacies::line,
    connections::Usage,
    node::Node,
    path::{Asked, asked},
    query::{parameters, parse_filter},
    refusal::Refusal,
};
use crate::{
    office::{CandidacyRequest, OfficeChange, OfficeLine},
    text::rfc3339,
};

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
    node.candidacies.start(request.session.clone(), candidacy, rules.clone());
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
    let Some((session, candidacy)) = node.candidacies.end(&office, session.as_deref()) else {
        return Err(Refusal::new(StatusCode::NOT_FOUND, "no such session stands for the office"));
    };
    info!(%office, session, "resign from an office, as asked over HTTP");
    candidacy.resign().await;
    Ok(Json(line(&node.cluster, office)))
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

const MAX_SESSION_BYTES: usize = 64;
