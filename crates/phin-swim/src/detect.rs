//! Who is silent, and who is dead: evidence, votes, verdicts.
//!
//! Suspicion by evidence: an observer that misses replies asks further, then accuses; the other observers look for
//! themselves and vote; `Dead` needs a majority of those able to judge, enough phi, and silence for as long as its kind
//! is given. Any sign of life voids all evidence from before it.
//!
//! What counts as one miss: one ping of ours, on its own, whose reply is overdue on its link. Pings follow each other
//! no sooner than the one before is overdue, and after the second at least a sixteenth of the pause tolerance apart.
//! What others miss counts through their votes, never through a ping we asked them for.

pub(crate) mod accuse;
pub(crate) mod case;
pub(crate) mod clear;
pub(crate) mod contacts;
pub(crate) mod degraded;
pub(crate) mod detector;
pub(crate) mod escalate;
pub(crate) mod failing;
pub(crate) mod health;
pub(crate) mod hearsay;
pub(crate) mod host;
pub(crate) mod judge;
pub(crate) mod look;
pub(crate) mod pending;
pub(crate) mod phi;
pub(crate) mod reports;
pub(crate) mod rules;
pub(crate) mod tolerance;
pub(crate) mod verdicts;
pub(crate) mod view;
pub(crate) mod weigh;
