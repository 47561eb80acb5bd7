//! Pausing a node: its driver is not polled, as the threads of a stopped process do not run.

use std::{future::Future, pin::pin, sync::Arc};

use tokio::{select, sync::watch};

/// Whether a node may run.
#[derive(Clone, Debug)]
pub(crate) struct Gate(Arc<watch::Sender<bool>>);

impl Default for Gate {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(true)))
    }
}

impl Gate {
    pub(crate) fn set(&self, is_open: bool) {
        self.0.send_replace(is_open);
    }

    /// Waits until the node may run.
    pub(crate) async fn opened(&self) {
        // An error means that the sender is gone, and this is one.
        let _ = self.0.subscribe().wait_for(|is_open| *is_open).await;
    }

    /// Runs a future while the gate is open.
    pub(crate) async fn run(self, future: impl Future<Output = ()>) {
        let mut future = pin!(future);
        let mut state = self.0.subscribe();
        loop {
            select! {
                biased;
                _ = state.wait_for(|is_open| !*is_open) => {}
                () = &mut future => return,
            }
            self.opened().await;
        }
    }
}
