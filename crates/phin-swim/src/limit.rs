//! What is remembered of members, each up to a limit: the oldest gives way.

use std::collections::BTreeMap;

use crate::{Instant, MemberId};

/// Makes room for what is to be remembered of this member in a map of at most `max`. What is of the past says the least of
/// the present.
pub(crate) fn make_room<T>(
    map: &mut BTreeMap<MemberId, T>,
    id: MemberId,
    max: usize,
    at: impl Fn(&T) -> Instant,
) {
    if map.len() >= max
        && !map.contains_key(&id)
        && let Some((&oldest, _)) = map.iter().min_by_key(|(_, value)| at(value))
    {
        map.remove(&oldest);
    }
}
