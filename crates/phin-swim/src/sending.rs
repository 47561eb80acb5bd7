//! [`Sending`]: the messages of this node, to all members or to one.

use std::time::Duration;

use crate::{
    NotTaken, PublishError, PublishRequest, Receipt, SendFailure, SendRefusal, SendRequest, Ticket,
    core::Core,
};

/// Sends messages to all members or to one, and handles what becomes of them, at one moment ([`Swim::sending`](crate::Swim::sending)).
pub struct Sending<'a> {
    pub(crate) core: &'a mut Core,
}

impl Sending<'_> {
    /// Publishes a message to the applications of all members, this node's included, or of those that the filter selects.
    /// Returns its number among the publications of this run. All members that live and are connected receive those of this
    /// node in order and once, or receive the number of those that they missed ([`Output::MessagesMissed`](crate::Output::MessagesMissed)).
    ///
    /// # Errors
    /// The message is longer than allowed, this node published too much of late, or it has left the cluster.
    pub fn publish(self, request: PublishRequest) -> Result<u64, PublishError> {
        if self.core.departure.is_under_way() {
            return Err(PublishError::Left);
        }
        let result = self.core.broadcast().publish(request);
        self.core.run();
        result
    }

    /// Sends a message to the application of one member, reliably, in one run of the member's process.
    /// [`Output::SendEnded`](crate::Output::SendEnded) reports what became of it, at the latest after `deadline`. `Ok` means there
    /// that the application has it.
    ///
    /// # Errors
    /// The member cannot be sent to, the body is longer than [`Message::MAX_SENT_BYTES`](crate::Message::MAX_SENT_BYTES), or
    /// too many messages wait for an answer.
    pub fn send(self, request: SendRequest, deadline: Duration) -> Result<Ticket, SendRefusal> {
        let result = self.core.sender().send(request, deadline);
        self.core.run();
        result
    }

    /// Sends a message to the application of one member as a datagram: it may be lost, and nothing reports what became of it.
    ///
    /// # Errors
    /// The member cannot be sent to, the body does not fit in a datagram, or too many datagrams were sent just now.
    pub fn send_datagram(self, request: SendRequest) -> Result<(), SendRefusal> {
        let result = self.core.sender().send_datagram(request);
        self.core.run();
        result
    }

    /// Handles that [`Output::SendMessage`](crate::Output::SendMessage) could not be carried out: the message has certainly not
    /// arrived ([`SendFailure::Unreachable`]), or it has not arrived in time. If it may have arrived, do not call this: the
    /// member's answer, what becomes of the member, or the deadline ends the message.
    pub fn handle_failure(self, ticket: Ticket, failure: SendFailure) {
        self.core.sends.end(&mut self.core.ctx, ticket, Err(failure));
        self.core.run();
    }

    /// Handles whether the application has taken a message that came with this receipt ([`Output::Sent`](crate::Output::Sent)).
    pub fn handle_receipt(self, receipt: Receipt, result: Result<(), NotTaken>) {
        self.core.sender().handle_receipt(receipt, result);
        self.core.run();
    }
}

impl std::fmt::Debug for Sending<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sending").finish_non_exhaustive()
    }
}
