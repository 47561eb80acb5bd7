//! [`Credentials`]: what admits a node to its cluster, given at the start or while it runs.

use std::{fmt, sync::Arc};

use phin_quic::{AssignedIds, ClusterName, CredentialsError, Identity, IdentityError, Keyring};
use phin_swim::Keys;
use tokio::task::spawn_blocking;

use crate::{AdminPublicKey, Cluster, ReplaceCredentialsError, Stopped};

/// The credentials that admit a node to its cluster, and by which it admits others.
///
/// ```
/// # let (ca_pem, cert_pem, key_pem, crl_pem) = ("", "", "", "");
/// use phin::{ClusterKey, Credentials};
///
/// let of_a_key = Credentials::key(ClusterKey::generate());
/// let of_a_ca = Credentials::certificates(ca_pem, cert_pem, key_pem).revocations(crl_pem);
/// # let _ = (of_a_key, of_a_ca);
/// ```
#[derive(Clone)]
pub struct Credentials {
    kind: Kind,
    admins: Vec<AdminPublicKey>,
}

#[derive(Clone)]
enum Kind {
    Key(Keyring),
    Certificates {
        ca_pem: String,
        cert_pem: String,
        key_pem: String,
        crl_pem: Option<String>,
        assigned_ids: AssignedIds,
    },
}

impl Credentials {
    /// A cluster key, whose holders are admitted; with a [`Keyring`] those of further keys too.
    pub fn key(keys: impl Into<Keyring>) -> Self {
        Self { kind: Kind::Key(keys.into()), admins: Vec::new() }
    }

    /// The CAs whose certificates are admitted, and the certificate and private key (Ed25519) of this node, each as PEM.
    pub fn certificates(
        ca_pem: impl Into<String>,
        cert_pem: impl Into<String>,
        key_pem: impl Into<String>,
    ) -> Self {
        let (ca_pem, cert_pem, key_pem) = (ca_pem.into(), cert_pem.into(), key_pem.into());
        let (crl_pem, assigned_ids) = (None, AssignedIds::Accept);
        let kind = Kind::Certificates { ca_pem, cert_pem, key_pem, crl_pem, assigned_ids };
        Self { kind, admins: Vec::new() }
    }

    /// Adds revocation lists of the CAs as PEM: the certificates in them are refused. A list is used also after the time at
    /// which it promises the next one. Without effect for a cluster key.
    #[must_use]
    pub fn revocations(mut self, lists_pem: impl Into<String>) -> Self {
        if let Kind::Certificates { crl_pem, .. } = &mut self.kind {
            *crl_pem = Some(lists_pem.into());
        }
        self
    }

    /// Refuses members and watchers whose certificate assigns no id ([`certificates::issue_with_id`]). A member then cannot
    /// choose its id, and so whom it observes. Give every member such a certificate first. Without effect for a cluster key.
    ///
    /// [`certificates::issue_with_id`]: crate::certificates::issue_with_id
    #[must_use]
    pub fn require_assigned_ids(mut self) -> Self {
        if let Kind::Certificates { assigned_ids, .. } = &mut self.kind {
            *assigned_ids = AssignedIds::Require;
        }
        self
    }

    /// Sets the keys of the administrators that can expel members ([`Cluster::expel`]). Several replace one another without a
    /// gap. Statements of a key that is not among them have no effect, and those that a node has end when it is removed: sign
    /// them again with the new key first.
    #[must_use]
    pub fn admin_keys(mut self, keys: impl IntoIterator<Item = AdminPublicKey>) -> Self {
        self.admins = keys.into_iter().collect();
        self
    }

    pub(crate) fn admins(&self) -> &[AdminPublicKey] {
        &self.admins
    }

    /// The identity that the certificate is for; `None` for a cluster key.
    pub(crate) fn identity(&self) -> Result<Option<Arc<Identity>>, IdentityError> {
        match &self.kind {
            Kind::Key(_) => Ok(None),
            Kind::Certificates { key_pem, .. } => Ok(Some(Arc::new(Identity::from_pem(key_pem)?))),
        }
    }

    pub(crate) fn of_cluster(self, cluster: ClusterName) -> phin_quic::Credentials {
        match self.kind {
            Kind::Key(keys) => phin_quic::Credentials::ClusterKey { cluster, keys },
            Kind::Certificates { ca_pem, cert_pem, crl_pem, assigned_ids, .. } => {
                phin_quic::Credentials::Certificates {
                    cluster,
                    ca_pem,
                    cert_chain_pem: cert_pem,
                    crl_pem,
                    assigned_ids,
                }
            }
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Key(_) => f.write_str("Credentials::key(..)"),
            Kind::Certificates { .. } => f.write_str("Credentials::certificates(..)"),
        }
    }
}

/// Credentials of this node.
impl Cluster {
    /// Uses other credentials for every handshake from now on, and closes the connections that they do not accept. Returns
    /// the number of those.
    ///
    /// They are checked first, against each other and against this node: the certificate is of one of the CAs, is valid now
    /// and not revoked, its private key is this node's identity, and its id is that of this node: neither can change.
    /// Connections end if the other side proved itself with a certificate of a CA that is gone, or of a cluster key that is gone,
    /// with one that is revoked, or with one without an id if assigned ids are required now.
    /// A member that has other credentials by now connects again at once. All other connections stay, also if a
    /// certificate has expired meanwhile.
    ///
    /// The admin keys are replaced too.
    ///
    /// So a cluster key or a CA is replaced without restarts: give all nodes the old one and the new one, then each the new
    /// one as its own, then the new one alone.
    ///
    /// # Errors
    /// The credentials cannot be used, and nothing has changed; or the node has been shut down.
    pub async fn replace_credentials(
        &self,
        credentials: Credentials,
    ) -> Result<usize, ReplaceCredentialsError> {
        let identity = credentials.identity()?;
        let keys = Arc::clone(&self.shared.keys);
        if identity.is_some_and(|identity| identity.public_key().0 != keys.public_key().0) {
            return Err(ReplaceCredentialsError::OtherIdentity);
        }
        let admins = credentials.admins().to_vec();
        let credentials = credentials.of_cluster(self.shared.cluster.clone());
        let transport = self.shared.joiner.transport.upgrade().ok_or(Stopped)?;
        // Signatures of all connections are checked.
        let replaced = spawn_blocking(move || {
            let replaced = transport.replace_credentials(&credentials)?;
            keys.replace_ids(&credentials)?;
            Ok::<_, CredentialsError>(replaced)
        });
        let replaced = replaced.await.map_err(|_| Stopped)??;
        self.ask(move |node, now| {
            node.set_admin_keys(now, &admins);
            node.renew_id(now);
        })
        .await?;
        Ok(replaced)
    }
}
