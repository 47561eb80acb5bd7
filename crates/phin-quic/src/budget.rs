//! Limits the bytes of incoming streams that wait for the receiver.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes that streams reserve as they arrive, and release when the receiver takes them.
///
/// Streams that each hold a part of their message and wait for the rest would deadlock. So one of them at a time may
/// exceed the budget: it completes, is taken, and releases its bytes. In total, at most the budget and one message
/// are held.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    bytes: Arc<Semaphore>,
    overdraft: Arc<Semaphore>,
}

/// The bytes that one stream has reserved. Dropping it releases them.
#[derive(Debug, Default)]
pub(crate) struct Reservation {
    of_peer: Part,
    of_all: Part,
}

#[derive(Debug, Default)]
struct Part {
    bytes: Option<OwnedSemaphorePermit>,
    overdraft: Option<OwnedSemaphorePermit>,
}

impl Budget {
    pub(crate) fn new(bytes: usize) -> Self {
        Self { bytes: Arc::new(Semaphore::new(bytes)), overdraft: Arc::new(Semaphore::new(1)) }
    }

    async fn take(&self, part: &mut Part, bytes: u32) {
        if part.overdraft.is_some() {
            return;
        }
        // Neither semaphore is ever closed, so acquiring cannot fail.
        tokio::select! {
            biased;
            Ok(more) = self.bytes.clone().acquire_many_owned(bytes) => match &mut part.bytes {
                Some(held) => held.merge(more),
                None => part.bytes = Some(more),
            },
            Ok(overdraft) = self.overdraft.clone().acquire_owned() => {
                part.overdraft = Some(overdraft);
            }
            else => {}
        }
    }
}

impl Reservation {
    /// Reserves more bytes of the peer's budget and of the common one. Waits until there are some.
    ///
    /// A stream that may exceed the common budget does not wait for the peer's either. It could wait for another
    /// stream of the same peer, which waits for it.
    pub(crate) async fn add(&mut self, bytes: usize, peer: &Budget, all: &Budget) {
        if self.of_all.overdraft.is_some() {
            return;
        }
        // A stream is read in pieces of a few kilobytes.
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        peer.take(&mut self.of_peer, bytes).await;
        all.take(&mut self.of_all, bytes).await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    async fn is_granted(
        reserved: &mut Reservation,
        bytes: usize,
        peer: &Budget,
        all: &Budget,
    ) -> bool {
        let add = reserved.add(bytes, peer, all);
        tokio::time::timeout(Duration::from_millis(10), add).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn streams_that_all_need_more_complete_one_after_another() {
        let (peer, all) = (Budget::new(100_000), Budget::new(10));
        let mut reserved: [Reservation; 3] = Default::default();
        for reserved in &mut reserved {
            assert!(is_granted(reserved, 3, &peer, &all).await);
        }
        let [mut one, mut two, mut three] = reserved;
        assert!(is_granted(&mut one, 8, &peer, &all).await, "one may go over");
        assert!(is_granted(&mut one, 1000, &peer, &all).await, "until it is complete");
        assert!(!is_granted(&mut two, 8, &peer, &all).await);
        assert!(!is_granted(&mut three, 2, &peer, &all).await, "not even where less is missing");
        drop(one);
        assert!(is_granted(&mut three, 2, &peer, &all).await);
        assert!(is_granted(&mut two, 8, &peer, &all).await);
        drop((two, three));
        for (budget, bytes) in [(&peer, 100_000), (&all, 10)] {
            assert_eq!(budget.bytes.available_permits(), bytes);
            assert_eq!(budget.overdraft.available_permits(), 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_peer_leaves_room_for_others() {
        let (greedy, other, all) = (Budget::new(10), Budget::new(10), Budget::new(40));
        let mut held: [Reservation; 3] = Default::default();
        assert!(is_granted(&mut held[0], 10, &greedy, &all).await);
        assert!(is_granted(&mut held[1], 10, &greedy, &all).await, "one may go over");
        assert!(!is_granted(&mut held[2], 1, &greedy, &all).await);
        assert!(is_granted(&mut Reservation::default(), 10, &other, &all).await);
    }
}
