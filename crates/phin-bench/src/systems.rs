//! The steps that all measurements of several systems at several sizes share.

use std::collections::BTreeMap;

use crate::System;

/// A row for each system at each size, one after the other.
pub(crate) fn rows<R>(
    systems: &[&'static dyn System],
    sizes: &[u16],
    row: impl FnMut((&'static str, usize)) -> R,
) -> Vec<R> {
    let of_system = |system: &&'static dyn System| {
        let name = system.name();
        sizes.iter().map(move |&size| (name, usize::from(size)))
    };
    systems.iter().flat_map(of_system).map(row).collect()
}

/// The settings of each system, with those that it has of its own for `what`.
///
/// # Errors
/// One of them does not have that.
pub(crate) fn settings(
    systems: &[&'static dyn System],
    what: &str,
    own: impl Fn(&dyn System) -> Option<String>,
) -> Result<BTreeMap<String, String>, String> {
    let of_system = |system: &&'static dyn System| {
        let name = system.name();
        let own = own(*system).ok_or_else(|| format!("{name} has no {what}"))?;
        Ok((name.to_owned(), format!("{}; {own}", system.settings())))
    };
    systems.iter().map(of_system).collect()
}
