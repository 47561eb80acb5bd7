//! The expelled peers: refused whatever they prove, each with the statement that it receives as the reason.

use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock},
};

use bytes::Bytes;

use crate::{close::CloseCode, identity::PeerId, tls};

/// The peers that are refused. Their number is limited by the caller.
#[derive(Debug, Default)]
pub(crate) struct Expelled(RwLock<HashMap<PeerId, Bytes>>);

impl Expelled {
    /// Refuses these peers from now on, and no others.
    pub(crate) fn replace(&self, expelled: HashMap<PeerId, Bytes>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = expelled;
    }

    /// The statement for the peer; `None` if it is not expelled.
    pub(crate) fn statement_for(&self, id: PeerId) -> Option<Bytes> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// Closes a connection whose far end is expelled, and returns whether it is.
    pub(crate) fn refuse(&self, quic: &quinn::Connection) -> bool {
        let statement = tls::peer_id(quic).and_then(|id| self.statement_for(id));
        if let Some(statement) = &statement {
            quic.close(CloseCode::EXPELLED.0, statement);
        }
        statement.is_some()
    }
}
