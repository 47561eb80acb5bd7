//! Who is silent, and who is dead: evidence, votes, verdicts.

pub(crate) mod degraded;
pub(crate) mod health;
pub(crate) mod hearsay;
pub(crate) mod mass_silence;
pub(crate) mod phi;
pub(crate) mod reports;
pub(crate) mod suspect;
pub(crate) mod suspicion;
pub(crate) mod verdicts;
