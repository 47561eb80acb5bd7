//! Finds the member of a request.

use std::sync::Arc;

use axum::http::StatusCode;
use phin::{Member, Members};

use super::refusal::Refusal;

/// Finds the member with this name, or else with an id that begins with it, and the other members that match.
///
/// Each start without a data directory is a new member with the same name. So the live member is chosen, or else the
/// one that died or left last. Several live members with one name need an id.
pub(super) fn find<'a>(
    members: &'a Members,
    asked: &str,
) -> Result<(&'a Arc<Member>, Vec<&'a Arc<Member>>), Refusal> {
    let mut found = all_of(members, asked);
    let live: Vec<_> = found.iter().copied().filter(|member| member.state().is_live()).collect();
    let meant = match live.len() {
        0 => found.iter().copied().max_by_key(|member| (member.since(), member.id())),
        _ => Some(one_of(&live, asked)?),
    };
    let Some(meant) = meant else {
        return one_of(&found, asked).map(|meant| (meant, Vec::new()));
    };
    found.retain(|member| member.id() != meant.id());
    Ok((meant, found))
}

/// Finds a member to forget: the same, but prefers members that died or left.
pub(super) fn find_departed<'a>(
    members: &'a Members,
    asked: &str,
) -> Result<&'a Arc<Member>, Refusal> {
    let found = all_of(members, asked);
    let departed: Vec<_> =
        found.iter().copied().filter(|member| !member.state().is_live()).collect();
    one_of(if departed.is_empty() { &found } else { &departed }, asked)
}

fn all_of<'a>(members: &'a Members, asked: &str) -> Vec<&'a Arc<Member>> {
    let named: Vec<_> = members.by_name(asked).collect();
    if named.is_empty() { with_id(members, asked) } else { named }
}

fn one_of<'a>(found: &[&'a Arc<Member>], asked: &str) -> Result<&'a Arc<Member>, Refusal> {
    match *found {
        [member] => Ok(member),
        [] => {
            let error = format!("no member has the name {asked:?} or an id that begins with it");
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
                format!("{asked:?} matches {several} members; use an id: {}", shown.join(", "));
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

/// The fewest digits of an id: as many as tables show.
const MIN_ID_DIGITS: usize = 8;
/// Members shown in an error: as many as fit a line.
pub(super) const MAX_SHOWN: usize = 8;
