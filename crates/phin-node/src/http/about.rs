//! `GET /v1/node`: what this node is, and the settings that explain its evidence.

use std::time::{Duration, SystemTime};

use axum::{Json, extract::State};
use phin::{Config, MemberState, Moment};

use super::{node::Node, readiness::obstacle, refusal::Refusal};
use crate::{
    info::{CredentialInfo, CredentialKind, DetectorSettings, MemberCounts, NodeInfo},
    text::rfc3339,
};

pub(super) async fn about(State(node): State<Node>) -> Result<Json<NodeInfo>, Refusal> {
    let not_ready = obstacle(&node).await?;
    let Node { cluster, about, expiry, .. } = &node;
    let members = cluster.members();
    let me = members.me();
    let count = |state| members.iter().filter(|member| member.state() == state).count();
    let started_at = cluster.wall_clock(Moment::START);
    let now = SystemTime::now();
    // Only certificates expire.
    let expires = expiry.as_ref().and_then(|expiry| expiry.ends_at());
    let kind = expires.map_or(CredentialKind::Key, |_| CredentialKind::Certificate);
    Ok(Json(NodeInfo {
        id: me.id(),
        name: me.name().to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        cluster: about.cluster.clone(),
        generation: me.generation(),
        incarnation: me.incarnation(),
        state: me.state(),
        serving: me.serving(),
        addr: cluster.local_addr(),
        advertised: cluster.advertised(),
        nat_addr: cluster.nat_addr(),
        http: about.http.clone(),
        data_dir: about.data_dir.as_ref().map(|path| path.display().to_string()),
        started_at: rfc3339(started_at),
        now: rfc3339(now),
        uptime_ms: millis(now.duration_since(started_at).unwrap_or_default()),
        ready: not_ready.is_none(),
        not_ready,
        isolated: cluster.is_isolated(),
        converged: cluster.is_converged(),
        members: MemberCounts {
            alive: count(MemberState::Alive),
            suspect: count(MemberState::Suspect),
            dead: count(MemberState::Dead),
            left: count(MemberState::Left),
        },
        list_version: members.version(),
        fingerprint: members.fingerprint().to_string(),
        credentials: CredentialInfo { kind, expires: expires.map(rfc3339) },
        settings: settings(&about.config),
    }))
}

fn settings(config: &Config) -> DetectorSettings {
    DetectorSettings {
        period_ms: millis(config.period),
        rings: config.rings,
        phi_threshold: config.phi_threshold,
        pause_tolerance_ms: millis(config.pause_tolerance),
        hang_tolerance_ms: millis(config.hang_tolerance),
        indirect_probes: config.indirect_probes,
        signed_votes: config.signed_votes.to_string(),
        retention_ms: millis(config.retention),
    }
}

/// Whole milliseconds, as settings are given in; no setting is as long as the greatest number.
fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
