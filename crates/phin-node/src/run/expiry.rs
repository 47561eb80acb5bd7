//! Warnings about certificates that expire while the node runs.

use std::time::{Duration, SystemTime};

use phin::certificates;
use tokio::{sync::watch, time::timeout};
use tracing::{error, warn};

use crate::{settings::Admission, text::rfc3339};

/// When the credentials of the node expire, which changes when they are replaced.
#[derive(Debug)]
pub(crate) struct Expiry(watch::Sender<Option<SystemTime>>);

impl Expiry {
    pub(crate) fn of(admission: &Admission) -> Self {
        Self(watch::Sender::new(ends_at(admission)))
    }

    pub(super) fn set(&self, admission: &Admission) {
        self.0.send_replace(ends_at(admission));
    }

    /// When the node's certificate or its CA expires. `None` with a cluster key, whose certificates do not expire.
    pub(crate) fn ends_at(&self) -> Option<SystemTime> {
        *self.0.borrow()
    }

    /// Logs warnings 30, 7 and 1 days before the certificate expires, and an error when it has expired.
    pub(super) async fn warn(&self) {
        let mut ends = self.0.subscribe();
        let mut warned = 0;
        loop {
            // By the wall clock, which may be adjusted.
            let ends_at = *ends.borrow();
            warned = ends_at.map_or(0, |ends_at| warn_if_due(ends_at, warned));
            if let Ok(changed) = timeout(LOOK_INTERVAL, ends.changed()).await {
                warned = 0;
                if changed.is_err() {
                    return;
                }
            }
        }
    }
}

/// When the node's certificate or its CA expires, whichever is first.
fn ends_at(admission: &Admission) -> Option<SystemTime> {
    let Admission::Certificates(pem) = admission else {
        return None;
    };
    let described = |pem: &str| certificates::describe(pem).unwrap_or_default();
    let own = described(&pem.cert.value).into_iter().next()?;
    let cas = described(&pem.ca.value).into_iter().filter(|ca| ca.subject == own.issuer);
    let issuer_ends = cas.map(|ca| ca.validity.not_after).max();
    let own_end = own.validity.not_after;
    Some(issuer_ends.map_or(own_end, |issuer_end| own_end.min(issuer_end)))
}

/// Logs a warning if one is due that was not logged, and returns the number of those that were due.
fn warn_if_due(ends_at: SystemTime, warned: usize) -> usize {
    let left = ends_at.duration_since(SystemTime::now()).unwrap_or_default();
    let due = warnings_due(left);
    if due > warned {
        let (valid_until, days) = (rfc3339(ends_at), left.as_secs() / DAY.as_secs());
        if left.is_zero() {
            error!(
                valid_until,
                "this node's certificate has expired; other members refuse new connections"
            );
        } else {
            warn!(
                valid_until,
                days, "this node's certificate expires soon; issue a new one and replace its file"
            );
        }
    }
    due
}

/// The number of warnings due when a certificate is valid for this time.
fn warnings_due(left: Duration) -> usize {
    let early = WARN_DAYS.iter().filter(|&&days| left <= DAY * days).count();
    early + usize::from(left.is_zero())
}

const WARN_DAYS: [u32; 3] = [30, 7, 1];
const DAY: Duration = Duration::from_secs(86_400);
const LOOK_INTERVAL: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_come_30_7_and_1_days_before_and_at_the_end() {
        let day = DAY.as_secs();
        for (left, due) in [
            (31 * day, 0),
            (30 * day, 1),
            (8 * day, 1),
            (7 * day, 2),
            (day + 1, 2),
            (day, 3),
            (1, 3),
            (0, 4),
        ] {
            assert_eq!(warnings_due(Duration::from_secs(left)), due, "{left} s left");
        }
    }
}
