//! `GET /v1/members/{name-or-id}/why`: the last suspicion of a member.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
    http::StatusCode,
};
use phin::{Member, Members};

use super::{Node, Refusal};
use crate::suspicion::Why;

pub(super) async fn why(
    State(node): State<Node>,
    asked: Result<Path<String>, PathRejection>,
) -> Result<Json<Why>, Refusal> {
    let Path(asked) =
        asked.map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, error.body_text()))?;
    let found = Arc::clone(find(&node.cluster.members(), &asked)?);
    let report = node.cluster.why(found.id()).await.map_err(Refusal::stopped)?;
    // Taken after the report, so that it has whatever the report ended in.
    let members = node.cluster.members();
    let member = members.get(found.id()).unwrap_or(&found);
    Ok(Json(Why::new(&node.cluster, &members, member, report.as_ref())))
}

/// The one member of this name, or else of this id or beginning of one.
fn find<'a>(members: &'a Members, asked: &str) -> Result<&'a Arc<Member>, Refusal> {
    let named: Vec<_> = members.iter().filter(|member| member.name() == asked).collect();
    let found = if named.is_empty() { with_id(members, asked) } else { named };
    match found[..] {
        [member] => Ok(member),
        [] => {
            let error = format!("no member is called {asked:?}, and none has an id that begins so");
            Err(Refusal::new(StatusCode::NOT_FOUND, error))
        }
        [..] => {
            let several = found.len();
            let shown = found.iter().take(MAX_SHOWN);
            let shown = shown.map(|member| format!("{} ({})", member.id(), member.state()));
            let mut shown: Vec<_> = shown.collect();
            if several > MAX_SHOWN {
                shown.push(format!("{} more", several - MAX_SHOWN));
            }
            let error =
                format!("{asked:?} fits {several} members; ask by id: {}", shown.join(", "));
            Err(Refusal::new(StatusCode::CONFLICT, error))
        }
    }
}

fn with_id<'a>(members: &'a Members, asked: &str) -> Vec<&'a Arc<Member>> {
    if asked.len() < MIN_ID_DIGITS {
        return Vec::new();
    }
    let asked = asked.to_ascii_lowercase();
    members.iter().filter(|member| member.id().to_string().starts_with(&asked)).collect()
}

/// As many digits as tables show.
const MIN_ID_DIGITS: usize = 8;
/// As many as fit a line of an error.
const MAX_SHOWN: usize = 8;
