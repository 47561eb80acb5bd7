//! `GET /v1/node`: what this node is, and the settings that explain its evidence.

use std::{
    net::SocketAddr,
    time::{Duration, SystemTime},
};

use axum::{Json, extract::State};
use phin::{Config, MemberId, Moment};
use serde::Serialize;

use super::{node::Node, readiness::obstacle, refusal::Refusal};
use crate::text::rfc3339;

/// The settings of the node that its answers show.
#[derive(Clone, Debug)]
pub(crate) struct About {
    /// The name of the cluster.
    pub(crate) cluster: String,
    pub(crate) config: Config,
}

/// The answer of `/v1/node`.
#[derive(Debug, Serialize)]
pub(super) struct ThisNode {
    id: MemberId,
    name: String,
    /// The release of the program.
    version: &'static str,
    cluster: String,
    /// The address to which the node is bound.
    addr: SocketAddr,
    /// The address that it announces.
    advertised: SocketAddr,
    started_at: String,
    /// The node's clock now.
    now: String,
    ready: bool,
    /// Why the node is not ready, as `/readyz` says it; else `null`.
    not_ready: Option<String>,
    isolated: bool,
    converged: bool,
    settings: Settings,
}

/// The settings of the detector.
#[derive(Debug, Serialize)]
struct Settings {
    period_ms: u64,
    rings: u8,
    phi_threshold: f64,
    pause_tolerance_ms: u64,
    hang_tolerance_ms: u64,
}

pub(super) async fn about(State(node): State<Node>) -> Result<Json<ThisNode>, Refusal> {
    let not_ready = obstacle(&node).await?;
    let Node { cluster, about, .. } = &node;
    let config = &about.config;
    Ok(Json(ThisNode {
        id: cluster.id(),
        name: cluster.name().to_owned(),
        version: env!("CARGO_PKG_VERSION"),
        cluster: about.cluster.clone(),
        addr: cluster.local_addr(),
        advertised: cluster.advertised(),
        started_at: rfc3339(cluster.wall_clock(Moment::START)),
        now: rfc3339(SystemTime::now()),
        ready: not_ready.is_none(),
        not_ready,
        isolated: cluster.is_isolated(),
        converged: cluster.is_converged(),
        settings: Settings {
            period_ms: millis(config.period),
            rings: config.rings,
            phi_threshold: config.phi_threshold,
            pause_tolerance_ms: millis(config.pause_tolerance),
            hang_tolerance_ms: millis(config.hang_tolerance),
        },
    }))
}

/// Whole milliseconds, as settings are given in; no setting is as long as the greatest number.
fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
