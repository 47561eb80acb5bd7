//! [`Receiving`]: the end of a broadcast channel that can be polled, as a stream is.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::sync::broadcast::{Receiver, error::RecvError};

/// Receives what is broadcast. The receiver is inside of the future that waits for the next value, and returned with it.
pub(crate) struct Receiving<T>(Pin<Box<dyn Future<Output = Received<T>> + Send + Sync>>);

type Received<T> = (Result<T, RecvError>, Receiver<T>);

impl<T: Clone + Send + 'static> Receiving<T> {
    pub(crate) fn new(receiver: Receiver<T>) -> Self {
        Self(Box::pin(receive(receiver)))
    }

    /// The next value. A closed channel answers that again and again.
    pub(crate) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<T, RecvError>> {
        let (result, receiver) = ready!(self.0.as_mut().poll(context));
        *self = Self::new(receiver);
        Poll::Ready(result)
    }
}

async fn receive<T: Clone>(mut receiver: Receiver<T>) -> Received<T> {
    (receiver.recv().await, receiver)
}

impl<T> fmt::Debug for Receiving<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receiving")
    }
}
