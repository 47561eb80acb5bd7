//! A trace of each suspicion, for OpenTelemetry (`--otlp-traces`).
//!
//! Each node sends one span for a suspicion, once that has ended. The id of the trace follows from the member and the version
//! that was suspected, so the spans of all nodes are one trace without any message between them.

mod otlp;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use phin::{Change, Cluster, Event, Member, MemberId, Notice, Outcome, Report};
use tokio::{sync::mpsc, task::spawn_blocking, time::timeout};
use tracing::{debug, warn};

pub(crate) use otlp::Url;
use otlp::{Resource, Span};

/// How many spans were sent, and how many were not.
#[derive(Debug, Default)]
pub(crate) struct SpanCounts {
    sent: AtomicU64,
    dropped: AtomicU64,
}

impl SpanCounts {
    /// Spans that the collector took.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Spans that it did not take, or for which there was no room.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// Sends the suspicions of a node to a collector until the node stops.
pub(crate) fn start(cluster: &Cluster, cluster_name: &str, url: Url) -> Arc<SpanCounts> {
    let counts = Arc::new(SpanCounts::default());
    let (spans, waiting) = mpsc::channel(MAX_WAITING);
    let resource = Resource::of(cluster, cluster_name);
    tokio::spawn(follow(cluster.clone(), spans, Arc::clone(&counts)));
    tokio::spawn(send_all(url, resource, waiting, Arc::clone(&counts)));
    counts
}

/// Makes a span of each suspicion that ends.
async fn follow(cluster: Cluster, spans: mpsc::Sender<Span>, counts: Arc<SpanCounts>) {
    let mut changes = cluster.subscribe();
    // When members became suspect here. Only live members are in it, and no longer than they are suspect.
    let mut suspects = BTreeMap::new();
    while let Some(notice) = changes.next().await {
        match notice {
            Notice::Event { at, event } => {
                let ended = follow_event(&mut suspects, at, &event);
                if let Some(since) = ended {
                    let report = cluster.why(event.member.id()).await.ok().flatten();
                    let span = span_of(&event, report.as_ref(), (since, at));
                    if spans.try_send(span.from(cluster.id())).is_err() {
                        counts.dropped.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
            // The fate of the suspects of before is not known.
            Notice::Snapshot(_) | Notice::Missed { .. } => suspects.clear(),
            _ => {}
        }
    }
}

/// Follows one change; returns since when the member was suspect, if that ended.
fn follow_event(
    suspects: &mut BTreeMap<MemberId, SystemTime>,
    at: SystemTime,
    event: &Event,
) -> Option<SystemTime> {
    let id = event.member.id();
    match event.change {
        Change::Suspect => {
            suspects.entry(id).or_insert(at);
            None
        }
        // A killed process can be dead without having been suspect.
        Change::Dead => Some(suspects.remove(&id).unwrap_or(at)),
        Change::Alive | Change::Left | Change::Forgotten | Change::Expelled => suspects.remove(&id),
        _ => None,
    }
}

/// The span of a suspicion that began and ended then, as this node knows it.
fn span_of(event: &Event, report: Option<&Report>, (since, at): (SystemTime, SystemTime)) -> Span {
    let suspected: &Member = event.before.as_ref().unwrap_or(&event.member);
    let report = report.filter(|report| report.version == suspected.version());
    let began_at = report.map_or(since, |report| report.began_at.min(since));
    let mut span = Span::of(suspected, (began_at, at));
    span.add("phin.outcome", event.change.as_str());
    if let Some(silence) = event.silence {
        span.add("phin.silence", silence.as_str());
    }
    span.add_event(since, "suspect", Vec::new());
    match report.map(|report| &report.outcome) {
        Some(Outcome::Dead(evidence) | Outcome::Open(evidence)) => {
            span.add_number("phin.phi", evidence.phi);
            evidence.votes.iter().for_each(|vote| span.add_vote(vote));
        }
        Some(Outcome::Cleared { by }) => {
            let by =
                by.name.as_ref().map_or_else(|| by.id.to_string(), |name| name.as_str().into());
            span.add("phin.cleared_by", &by);
        }
        _ => {}
    }
    span
}

/// Sends spans in batches, until their sender is gone. A batch that the collector does not take is tried once more.
async fn send_all(
    url: Url,
    resource: Resource,
    mut waiting: mpsc::Receiver<Span>,
    counts: Arc<SpanCounts>,
) {
    let mut is_failing = false;
    while let Some(first) = waiting.recv().await {
        let mut batch = vec![first];
        // Those that end together are sent together.
        let more = async {
            while batch.len() < MAX_BATCH
                && let Some(span) = waiting.recv().await
            {
                batch.push(span);
            }
        };
        let _ = timeout(BATCH_TIME, more).await;
        let number = batch.len() as u64;
        let body = resource.request(&batch);
        match send_twice(&url, body).await {
            Ok(()) => {
                counts.sent.fetch_add(number, Ordering::Relaxed);
                is_failing = false;
            }
            Err(error) => {
                counts.dropped.fetch_add(number, Ordering::Relaxed);
                // The first one of a series is enough.
                match std::mem::replace(&mut is_failing, true) {
                    false => warn!(%url, error, spans = number, "cannot send traces"),
                    true => debug!(%url, error, spans = number, "cannot send traces"),
                }
            }
        }
    }
}

async fn send_twice(url: &Url, body: String) -> Result<(), String> {
    let url = url.clone();
    let sent = spawn_blocking(move || url.post(&body).or_else(|_| url.post(&body))).await;
    sent.unwrap_or_else(|_| Err("the node stops".into()))
}

/// How many spans wait for the collector; further ones are dropped.
const MAX_WAITING: usize = 1_024;
/// How many spans are sent in one request.
const MAX_BATCH: usize = 128;
/// How long a span waits for others.
const BATCH_TIME: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
