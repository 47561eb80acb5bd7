//! Packets between hosts.

use std::sync::Arc;

use crate::{
    asking::Port,
    connection::{CloseReason, ConnectionId},
    node::{Channel, Peer},
};

/// One packet, or one complete stream.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) from: Peer,
    pub(crate) to: Peer,
    pub(crate) content: Content,
}

/// The contents of a packet.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    Hello(ConnectionId),
    Accept(ConnectionId),
    WrongIdentity(ConnectionId),
    Close(ConnectionId, CloseReason),
    Reset(ConnectionId),
    Message(ConnectionId, Channel, Arc<[u8]>),
    /// A datagram to the member's own port, or to a closed one.
    Knock(u64, Port),
    Refusal(u64),
    /// A host refused a packet of another kind.
    PortRefused,
}
