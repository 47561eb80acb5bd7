//! `GET /v1/expel`: the statements of administrators. `POST /v1/expel`: takes one, and hands it to all members.

use axum::{Json, body::Body, extract::State, http::StatusCode};
use phin::{AdminStatement, ExpelError, ExpelRefusal};
use tracing::info;

use super::{body, node::Node, refusal::Refusal};
use crate::expel::{Expulsions, Stated, StatementInfo, hex, unhex};

pub(super) async fn list(State(node): State<Node>) -> Result<Json<Expulsions>, Refusal> {
    let admin_keys = node.cluster.admin_keys().await.map_err(Refusal::stopped)?;
    let statements = node.cluster.expulsions();
    Ok(Json(Expulsions {
        cluster_tag: hex(&node.cluster.cluster_tag()),
        admin_keys: admin_keys.iter().map(ToString::to_string).collect(),
        statements: statements.iter().map(|statement| StatementInfo::of(statement)).collect(),
    }))
}

pub(super) async fn state(
    State(node): State<Node>,
    body: Body,
) -> Result<Json<StatementInfo>, Refusal> {
    let Stated { statement } = body::json(body).await?;
    let statement = unhex(&statement).and_then(|bytes| AdminStatement::from_bytes(&bytes));
    let statement = statement.ok_or_else(|| Refusal::invalid("statement: it cannot be read"))?;
    let info = StatementInfo::of(&statement);
    node.cluster.expel(statement).await.map_err(refused)?;
    let (member, standing) = (info.id, info.standing);
    info!(%member, %standing, "took a statement of an administrator on request over HTTP");
    Ok(Json(info))
}

fn refused(error: ExpelError) -> Refusal {
    let status = match &error {
        ExpelError::Refused(ExpelRefusal::NoAdminKey) => StatusCode::NOT_FOUND,
        ExpelError::Refused(
            ExpelRefusal::UnknownKey { .. } | ExpelRefusal::OtherCluster | ExpelRefusal::Forged,
        ) => StatusCode::FORBIDDEN,
        ExpelError::Refused(ExpelRefusal::Full) => StatusCode::INSUFFICIENT_STORAGE,
        ExpelError::Refused(_) => StatusCode::CONFLICT,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    Refusal::new(status, error.to_string())
}
