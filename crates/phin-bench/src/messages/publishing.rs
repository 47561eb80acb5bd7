//! Nodes of one process that publish without end.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use rand::RngExt;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::{Node, protocol::Counts};

/// The publications of nodes, and how many they made.
#[derive(Debug, Default)]
pub(crate) struct Publishing {
    /// Whether the tasks that publish go on. They end before their next message, so that all they sent is counted.
    goes_on: Arc<AtomicBool>,
    counts: Arc<Counters>,
}

#[derive(Debug, Default)]
struct Counters {
    sent: AtomicU64,
    refused: AtomicU64,
}

impl Publishing {
    /// Has these nodes publish so many messages of so many bytes a second each, from now on, instead of what they did.
    pub(crate) fn set(&mut self, nodes: Vec<Arc<dyn Node>>, rate: f64, bytes: usize) {
        self.goes_on.store(false, Ordering::Relaxed);
        if rate <= 0.0 {
            return;
        }
        self.goes_on = Arc::new(AtomicBool::new(true));
        let every = Duration::from_secs_f64(1.0 / rate);
        for node in nodes {
            let (goes_on, counts) = (Arc::clone(&self.goes_on), Arc::clone(&self.counts));
            tokio::spawn(publish(node, every, bytes, goes_on, counts));
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (sent, refused) = (count(&self.counts.sent), count(&self.counts.refused));
        Counts { sent, refused, received: 0 }
    }
}

async fn publish(
    node: Arc<dyn Node>,
    every: Duration,
    bytes: usize,
    goes_on: Arc<AtomicBool>,
    counts: Arc<Counters>,
) {
    let Some(messages) = node.messages() else { return };
    // Nodes that publish in step would load the machine in bursts.
    let first = Instant::now() + rand::rng().random_range(Duration::ZERO..every);
    let mut moments = interval_at(first, every);
    moments.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        moments.tick().await;
        if !goes_on.load(Ordering::Relaxed) {
            return;
        }
        let counter = match messages.publish("x".repeat(bytes)).await {
            Ok(()) => &counts.sent,
            Err(_) => &counts.refused,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
