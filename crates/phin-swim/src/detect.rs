//! Failure detection: evidence, votes, verdicts.
//!
//! Suspicion needs evidence: an observer that misses replies investigates, then accuses the subject; the other
//! observers investigate for themselves and vote. `Dead` needs a majority of those able to judge, enough phi, and a
//! silence that exceeds the tolerance for its kind. Any sign of life voids all evidence from before it.
//!
//! A miss is one ping of this node whose reply is overdue on its link. The next ping is not sent before the one before
//! is overdue, and after the second one pings are at least a sixteenth of the pause tolerance apart. Misses of other
//! observers count only as their votes, never through pings that this node asked them for.

pub(crate) mod accuse;
pub(crate) mod backing;
pub(crate) mod case;
pub(crate) mod certificates;
pub(crate) mod clear;
pub(crate) mod contacts;
pub(crate) mod degraded;
pub(crate) mod detector;
pub(crate) mod escalate;
pub(crate) mod failing;
pub(crate) mod finding;
pub(crate) mod health;
pub(crate) mod hearsay;
pub(crate) mod host;
pub(crate) mod judge;
pub(crate) mod look;
pub(crate) mod pending;
pub(crate) mod phi;
pub(crate) mod proof;
pub(crate) mod reports;
pub(crate) mod rules;
pub(crate) mod signed;
pub(crate) mod sizes;
pub(crate) mod standing;
pub(crate) mod tolerance;
pub(crate) mod verdicts;
pub(crate) mod view;
pub(crate) mod weigh;
