//! The credentials in use: for handshakes that begin, and to examine the connections that exist.

use std::sync::{Arc, PoisonError, RwLock};

use rustls_pki_types::CertificateDer;

use crate::{
    endpoint::QuicConfigs,
    identity::{Identity, PeerId},
    tls::{Credentials, CredentialsError, Speaks, Tls, Verifier},
};

/// The credentials of a transport, which can be replaced while it runs.
pub(crate) struct InUse {
    identity: Arc<Identity>,
    /// The id of the node, which credentials cannot change.
    own_id: PeerId,
    speaks: Speaks,
    watch_protocol: Vec<u8>,
    /// Of servers, which keep all but their certificates.
    server: quinn::ServerConfig,
    current: RwLock<Current>,
}

struct Current {
    client: quinn::ClientConfig,
    verifier: Arc<Verifier>,
}

impl InUse {
    pub(crate) fn new(
        identity: Arc<Identity>,
        own_id: PeerId,
        speaks: Speaks,
        tls: &Tls,
        configs: &QuicConfigs,
    ) -> Self {
        let verifier = tls.verifier.clone();
        Self {
            identity,
            own_id,
            speaks,
            watch_protocol: tls.watch_protocol.clone(),
            server: configs.server.clone(),
            current: RwLock::new(Current { client: configs.client.clone(), verifier }),
        }
    }

    /// The configuration of the next dial.
    pub(crate) fn client(&self) -> quinn::ClientConfig {
        self.current.read().unwrap_or_else(PoisonError::into_inner).client.clone()
    }

    /// Whether a connection whose far end proved itself with these certificates may exist.
    pub(crate) fn accepts(&self, connection: &quinn::Connection) -> bool {
        let verifier = {
            let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
            current.verifier.clone()
        };
        let chain = connection.peer_identity();
        let chain = chain.and_then(|chain| chain.downcast::<Vec<CertificateDer<'static>>>().ok());
        chain.is_some_and(|chain| verifier.accepts(&chain))
    }

    /// Checks other credentials, and uses them from now on. Returns the configuration of servers, which the caller puts
    /// into effect. After an error, everything is as before.
    pub(crate) fn replace(
        &self,
        credentials: &Credentials,
    ) -> Result<quinn::ServerConfig, CredentialsError> {
        let tls = Tls::new(&self.identity, credentials, self.speaks)?;
        tls.own_certificate.clone()?;
        if tls.watch_protocol != self.watch_protocol {
            return Err(CredentialsError::OtherCluster);
        }
        let (id, own) = (credentials.peer_id(&self.identity)?, self.own_id);
        if id != own {
            return Err(CredentialsError::OtherId { id, own });
        }
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        current.client = QuicConfigs::client(&tls, self.server.transport.clone());
        current.verifier = tls.verifier.clone();
        let mut server = self.server.clone();
        server.crypto = tls.server;
        Ok(server)
    }
}
