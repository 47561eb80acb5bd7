//! `/livez` and `/readyz`: whether the node works, and whether it is to receive work.

use std::time::Duration;

use axum::{Json, extract::State, http::StatusCode};
use phin::{Cluster, ServingState};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{
    node::{Node, Stage},
    refusal::Refusal,
};
use crate::text::rfc3339;

/// `GET /livez`: answers if the process and its driver task respond.
pub(super) async fn live(State(node): State<Node>) -> Result<Json<Value>, Refusal> {
    match timeout(MAX_DRIVER_ANSWER, node.cluster.stats()).await {
        Ok(Ok(_)) => Ok(Json(json!({ "status": "alive" }))),
        Ok(Err(stopped)) => Err(Refusal::stopped(stopped)),
        Err(_) => Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the node does not respond")),
    }
}

/// `GET /readyz`
pub(super) async fn ready(State(node): State<Node>) -> Result<Json<Value>, Refusal> {
    match obstacle(&node).await? {
        Some(obstacle) => Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, obstacle)),
        None => Ok(Json(json!({ "status": "ready" }))),
    }
}

/// Why the node is not ready; `None` if it is.
pub(super) async fn obstacle(node: &Node) -> Result<Option<String>, Refusal> {
    let unreached = |error: &str| Ok(Some(format!("{error}{}", nat_hint(&node.cluster))));
    if *node.stage.borrow() != Stage::Member {
        return Ok(Some("the node is leaving".into()));
    }
    if let Some(statement) = node.cluster.expelled() {
        let at = rfc3339(phin::statement_time(statement.at));
        let key = statement.key;
        return Ok(Some(format!(
            "the node is expelled from the cluster, by a statement of {at} that admin key {key} signed"
        )));
    }
    match node.cluster.serving().await.map_err(Refusal::stopped)? {
        ServingState::Serving => {}
        ServingState::Draining => return Ok(Some("the node is draining".into())),
        ServingState::NotServing(reason) => {
            return Ok(Some(format!("the node does not serve: {}", reason.as_str())));
        }
    }
    if !node.cluster.is_joined() {
        return unreached("the node has not joined through any seed yet");
    }
    if node.cluster.is_isolated() {
        return unreached("the node is isolated: it receives nothing from any member");
    }
    if let Some(addr) = node.cluster.identity_conflict() {
        return Ok(Some(format!("another process runs with this node's key (seen at {addr})")));
    }
    let links = node.cluster.unreached().await.map_err(Refusal::stopped)?;
    let own = links.iter().find(|unreached| unreached.id == node.cluster.id());
    if own.is_some_and(|own| own.degraded_since.is_some()) {
        return unreached(
            "the node is degraded: its replies reach most of its observers late or not at all",
        );
    }
    Ok(None)
}

/// A hint at the probable cause for a node behind a NAT that others do not reach.
fn nat_hint(cluster: &Cluster) -> String {
    cluster.nat_addr().map_or(String::new(), |seen| {
        let advertised = cluster.advertised();
        format!(
            "; it is behind a NAT: it advertises {advertised}, members see {seen}; set --advertise"
        )
    })
}

/// The time that the driver has to answer before it counts as stuck.
const MAX_DRIVER_ANSWER: Duration = Duration::from_secs(2);
