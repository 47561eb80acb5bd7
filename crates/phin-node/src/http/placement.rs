//! `GET /v1/placement`: the members that hold a key.

use axum::{
    Json,
    extract::{RawQuery, State},
};
use phin::{Placement, Tags};

use super::{
    node::Node,
    query::{parameters, parse_filter},
    refusal::Refusal,
};
use crate::place::Placed;

pub(super) async fn placement(
    State(node): State<Node>,
    RawQuery(query): RawQuery,
) -> Result<Json<Placed>, Refusal> {
    let [key, n, filter, spread] = parameters(query.as_deref(), ["key", "n", "filter", "spread"])?;
    let key = key.ok_or_else(|| Refusal::invalid("the parameter \"key\" is missing"))?;
    let n = n.map_or(Ok(1), |n| n.parse().ok().filter(|&n| n > 0).ok_or(n));
    let n = n.map_err(|n: String| Refusal::invalid(format!("n={n:?} is no number above 0")))?;
    let filter = parse_filter(filter)?;
    if let Some(tag) = &spread {
        // A key that no tag can have is a mistake. The value does not matter.
        let checked = Tags::new().set(tag, "0");
        checked.map_err(|error| Refusal::invalid(error.to_string()))?;
    }
    let members = node.cluster.members();
    let placement = Placement::of(&members, &filter);
    let placement = match &spread {
        Some(tag) => placement.spread_by(tag),
        None => placement,
    };
    let holders = placement.replicas(&key, n).into_iter().map(|member| (&**member).into());
    let members = holders.collect();
    Ok(Json(Placed { eligible: placement.len(), key, members }))
}
