//! What travels between hosts.

use std::sync::Arc;

use crate::{
    asking::Port,
    connection::{CloseReason, ConnectionId},
    node::{Channel, Peer},
};

/// One packet, or one stream as a whole.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) from: Peer,
    pub(crate) to: Peer,
    pub(crate) content: Content,
}

/// What a packet says.
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
    /// To whom a packet of another kind was refused.
    PortRefused,
}
