//! State that many change, and others wait for.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, time::timeout};

#[derive(Debug, Default)]
pub(crate) struct Watched<T> {
    state: Mutex<T>,
    changed: watch::Sender<()>,
}

impl<T> Watched<T> {
    /// Changes the state, and wakes those that wait.
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let result = change(&mut self.state());
        self.changed.send_replace(());
        result
    }

    /// Locks the state. Callers release it soon.
    pub(crate) fn state(&self) -> MutexGuard<'_, T> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the state is ready; `None` if it is not in time.
    pub(crate) async fn wait<R>(
        &self,
        within: Duration,
        ready: impl Fn(&T) -> Option<R>,
    ) -> Option<R> {
        let mut changed = self.changed.subscribe();
        let waiting = async {
            loop {
                if let Some(value) = ready(&self.state()) {
                    return Some(value);
                }
                changed.changed().await.ok()?;
            }
        };
        timeout(within, waiting).await.ok().flatten()
    }
}
