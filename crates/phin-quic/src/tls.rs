//! Mutual authentication with TLS 1.3: both sides have a certificate of the cluster for an Ed25519 key.
//!
//! Names in certificates are never compared: a peer is identified by the key that it proved.

use std::{fmt, sync::Arc, time::Duration};

use quinn::crypto::rustls::{HandshakeData, QuicClientConfig, QuicServerConfig};
use rustls::{
    CertificateError as TlsCertificateError, ClientConfig, DigitallySignedStruct,
    DistinguishedName, OtherError, RootCertStore, ServerConfig, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls13_signature},
    server::{
        NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, UnixTime};

use crate::{
    assigned::{AssignedId, AssignedIds, IdRefusal, IdRules},
    certificates::{self, CertificateError, Leaf, Revocations},
    cluster::{ClusterName, Keyring},
    identity::{Identity, PeerId},
    refusal::{ID_NOT_ASSIGNED, ID_NOT_SIGNED, NOT_ED25519, NOT_YET_VALID},
};

/// The credentials that admit a node to a cluster, and by which it admits others.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Credentials {
    /// Every node that knows a key of the ring belongs to the cluster. Each issues its own certificate.
    ClusterKey {
        /// The name of the cluster.
        cluster: ClusterName,
        /// The node's own key, and further keys during a rotation.
        keys: Keyring,
    },
    /// Every node with a certificate from the CA belongs to the cluster. The private key is the node's [`Identity`].
    Certificates {
        /// The name of the cluster.
        cluster: ClusterName,
        /// One or more CA certificates as PEM, several of them during a rotation.
        ca_pem: String,
        /// The certificate of this node as PEM, followed by intermediate certificates if there are any.
        cert_chain_pem: String,
        /// Revocation lists of the CAs as PEM, if there are any. Handshakes refuse the certificates in them. A list is used
        /// also after the time at which it promises the next one.
        crl_pem: Option<String>,
        /// Whether other nodes need a certificate that assigns them an id.
        assigned_ids: AssignedIds,
    },
}

impl Credentials {
    /// The id that the certificate of this node assigns to it, if it does.
    ///
    /// # Errors
    /// The certificate cannot be read.
    pub fn assigned_id(&self) -> Result<Option<AssignedId>, CredentialsError> {
        match self {
            Self::ClusterKey { .. } => Ok(None),
            Self::Certificates { cert_chain_pem, .. } => {
                let chain = certificates::certificates(cert_chain_pem);
                let leaf = chain.and_then(|chain| certificates::leaf(&chain[0]));
                Ok(leaf.map_err(CredentialsError::Certificate)?.assigned)
            }
        }
    }

    /// The id of a node with this identity and these credentials: the one that its certificate assigns, or that of its key.
    ///
    /// # Errors
    /// The certificate cannot be read.
    pub fn peer_id(&self, identity: &Identity) -> Result<PeerId, CredentialsError> {
        Ok(self.assigned_id()?.map_or_else(|| identity.id(), |assigned| assigned.id))
    }

    /// The ids that a node with these credentials accepts of others. With a cluster key, these are those of keys alone: every
    /// holder could assign ids.
    ///
    /// # Errors
    /// The CA's certificate cannot be read.
    pub fn id_rules(&self) -> Result<IdRules, CredentialsError> {
        match self {
            Self::ClusterKey { .. } => Ok(IdRules::default()),
            Self::Certificates { ca_pem, assigned_ids, .. } => {
                let cas = certificates::certificates(ca_pem).map_err(CredentialsError::Ca)?;
                Ok(certificates::id_rules(&cas, *assigned_ids))
            }
        }
    }
}

/// Why [`Credentials`] cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// The CA's certificate cannot be read.
    #[error("the CA certificate cannot be used")]
    Ca(#[source] CertificateError),
    /// The node's certificate cannot be read.
    #[error("the certificate of this node cannot be used")]
    Certificate(#[source] CertificateError),
    /// The node's certificate is for a key of another algorithm.
    #[error("the certificate of this node is not for an Ed25519 key")]
    NotEd25519,
    /// The node's certificate is for another key.
    #[error("the certificate of this node is for another key than its identity")]
    OtherKey,
    /// The node's certificate was issued by none of the CAs in `ca_pem`, so no other node would admit it.
    #[error("the certificate of this node was issued by none of the CAs given")]
    OtherCa,
    /// The node's certificate, or its CA's, has expired or is not yet valid. At the start it is accepted with a warning,
    /// because the clock may be wrong.
    #[error("the certificate of this node cannot be used now: {reason}")]
    NotValid {
        /// The reason.
        reason: String,
    },
    /// One of the revocation lists has the node's own certificate.
    #[error("the certificate of this node is revoked")]
    Revoked,
    /// A revocation list cannot be read, or is of none of the CAs.
    #[error("the revocation list cannot be used")]
    RevocationList(#[source] CertificateError),
    /// The node's certificate assigns no id, or one that none of the CAs assigned to its key. Other nodes would refuse it too.
    #[error("the certificate of this node cannot be used: {0}")]
    AssignedId(IdRefusal),
    /// The node's certificate is for another id than the one with which it runs, which cannot change while it runs.
    #[error(
        "the certificate is for the id {id}, and this node runs as {own}; only a restart changes that"
    )]
    OtherId {
        /// The id that the certificate assigns, or that of the key if it assigns none.
        id: PeerId,
        /// The id of the running node.
        own: PeerId,
    },
    /// They are of a cluster with another name, which cannot change while a node runs.
    #[error("the credentials are of a cluster with another name")]
    OtherCluster,
    /// The TLS library does not accept them.
    #[error("TLS does not accept the credentials: {reason}")]
    Tls {
        /// The message of the library.
        reason: String,
    },
}

/// The TLS configuration for both sides of the handshake.
pub(crate) struct Tls {
    pub(crate) client: Arc<QuicClientConfig>,
    pub(crate) server: Arc<QuicServerConfig>,
    pub(crate) verifier: Arc<Verifier>,
    /// Whether peers would accept the node's own certificate now.
    pub(crate) own_certificate: Result<(), CredentialsError>,
    /// The ALPN id by which a server knows a watcher.
    pub(crate) watch_protocol: Vec<u8>,
}

/// Which protocols a transport speaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Speaks {
    /// Only that of members.
    Members,
    /// That of members, and as a server that of watchers.
    MembersAndServesWatchers,
    /// As a client that of watchers. It offers that of members too: a server that serves no watchers then chooses it, and
    /// can be told from a server of another cluster.
    Watches,
}

impl Tls {
    pub(crate) fn new(
        identity: &Identity,
        credentials: &Credentials,
        speaks: Speaks,
    ) -> Result<Self, CredentialsError> {
        let Resolved { cluster, anchors, chain, revocations } = resolve(identity, credentials)?;
        let provider = Arc::new(provider());
        let rules = credentials.id_rules()?;
        let verifier = Arc::new(Verifier::new(&anchors, &revocations, rules, &provider)?);
        let own_certificate = match verifier.check_own(&chain) {
            valid @ (Ok(()) | Err(CredentialsError::NotValid { .. })) => valid,
            Err(error) => return Err(error),
        };
        verifier.check_own_id(&chain)?;
        let (protocol, watch_protocol) = (cluster.protocol(), cluster.watch_protocol());
        // A server takes the first of its own that the client offers.
        let both = vec![watch_protocol.clone(), protocol.clone()];
        let (client_protocols, server_protocols) = match speaks {
            Speaks::Members => (vec![protocol.clone()], vec![protocol]),
            Speaks::MembersAndServesWatchers => (vec![protocol], both),
            Speaks::Watches => (both, Vec::new()),
        };
        let rejected = |error: rustls::Error| CredentialsError::Tls { reason: error.to_string() };
        let no_suite = |_| CredentialsError::Tls { reason: "no initial cipher suite".to_owned() };

        let mut client = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(rejected)?
            .dangerous()
            .with_custom_certificate_verifier(verifier.clone())
            .with_client_auth_cert(chain.clone(), identity.tls_key())
            .map_err(rejected)?;
        client.alpn_protocols = client_protocols;
        // No resumption: each handshake checks the certificates.
        client.resumption = Resumption::disabled();
        client.enable_sni = false;

        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(rejected)?
            .with_client_cert_verifier(verifier.clone())
            .with_single_cert(chain, identity.tls_key())
            .map_err(rejected)?;
        server.alpn_protocols = server_protocols;
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;

        Ok(Self {
            client: Arc::new(QuicClientConfig::try_from(client).map_err(no_suite)?),
            server: Arc::new(QuicServerConfig::try_from(server).map_err(no_suite)?),
            verifier,
            own_certificate,
            watch_protocol,
        })
    }
}

impl Tls {
    /// Warns at the start if peers will refuse the node's own certificate. That is no error, because the clock may be wrong.
    pub(crate) fn warn_if_not_valid(&self) {
        if let Err(error) = &self.own_certificate {
            tracing::warn!(%error, "peers will refuse the certificate of this node");
        }
    }
}

/// The protocol that the two sides of a handshake agreed on.
pub(crate) fn negotiated(data: Box<dyn std::any::Any>) -> Option<Vec<u8>> {
    data.downcast::<HandshakeData>().ok()?.protocol
}

/// The node that the peer of an established connection proved to be. The handshake has checked an assigned id.
pub(crate) fn peer_id(connection: &quinn::Connection) -> Option<PeerId> {
    let chain = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    certificates::leaf(chain.first()?).ok()?.peer_id()
}

struct Resolved<'a> {
    cluster: &'a ClusterName,
    anchors: Vec<CertificateDer<'static>>,
    chain: Vec<CertificateDer<'static>>,
    revocations: Revocations,
}

fn resolve<'a>(
    identity: &Identity,
    credentials: &'a Credentials,
) -> Result<Resolved<'a>, CredentialsError> {
    match credentials {
        Credentials::ClusterKey { cluster, keys } => Ok(Resolved {
            cluster,
            anchors: keys.admitted().map(certificates::cluster_ca).collect(),
            chain: vec![certificates::cluster_leaf(keys.own(), identity)],
            revocations: Revocations::default(),
        }),
        Credentials::Certificates { cluster, ca_pem, cert_chain_pem, crl_pem, .. } => {
            let anchors = certificates::certificates(ca_pem).map_err(CredentialsError::Ca)?;
            let chain = certificates::certificates(cert_chain_pem);
            let chain = chain.map_err(CredentialsError::Certificate)?;
            let leaf = chain.first().map(|leaf| certificates::ed25519_key(leaf)).transpose();
            match leaf.map_err(CredentialsError::Certificate)?.flatten() {
                None => Err(CredentialsError::NotEd25519),
                Some(key) if key != identity.public_key() => Err(CredentialsError::OtherKey),
                Some(_) => {
                    let intermediates = chain.get(1..).unwrap_or_default();
                    let check = |pem: &String| Revocations::check(pem, &anchors, intermediates);
                    let revocations = crl_pem.as_ref().map(check).transpose();
                    let revocations = revocations.map_err(CredentialsError::RevocationList)?;
                    let revocations = revocations.unwrap_or_default();
                    Ok(Resolved { cluster, anchors, chain, revocations })
                }
            }
        }
    }
}

/// The offered algorithms. There are few, which keeps the first message short.
fn provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: vec![
            ring::cipher_suite::TLS13_AES_128_GCM_SHA256,
            ring::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        kx_groups: vec![ring::kx_group::X25519],
        ..ring::default_provider()
    }
}

/// Checks the certificate of the far end, for clients and servers.
pub(crate) struct Verifier {
    anchors: Vec<Anchor>,
    rules: IdRules,
    algorithms: WebPkiSupportedAlgorithms,
}

/// A CA with its validity, which `webpki` does not check.
struct Anchor {
    not_before: i64,
    not_after: i64,
    roots: Arc<RootCertStore>,
    /// Checks clients, and revocation.
    clients: Arc<dyn ClientCertVerifier>,
    has_revocations: bool,
}

impl Verifier {
    fn new(
        anchors: &[CertificateDer<'static>],
        revocations: &Revocations,
        rules: IdRules,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, CredentialsError> {
        let anchors = anchors.iter().enumerate();
        let anchors: Result<Vec<_>, _> = anchors
            .map(|(position, anchor)| Anchor::new(anchor, revocations.below(position), provider))
            .collect();
        let algorithms = provider.signature_verification_algorithms;
        Ok(Self { anchors: anchors?, rules, algorithms })
    }

    /// Checks the node's own certificate, as every peer will.
    fn check_own(&self, chain: &[CertificateDer<'static>]) -> Result<(), CredentialsError> {
        let Some((leaf, intermediates)) = chain.split_first() else {
            return Ok(());
        };
        match self.verify_client_cert(leaf, intermediates, UnixTime::now()) {
            Ok(_) => Ok(()),
            Err(rustls::Error::InvalidCertificate(TlsCertificateError::UnknownIssuer)) => {
                Err(CredentialsError::OtherCa)
            }
            Err(rustls::Error::InvalidCertificate(TlsCertificateError::Revoked)) => {
                Err(CredentialsError::Revoked)
            }
            Err(error) => Err(CredentialsError::NotValid { reason: not_valid(&error) }),
        }
    }

    /// Checks the id of the node itself, as every peer will. That cannot change with time.
    fn check_own_id(&self, chain: &[CertificateDer<'static>]) -> Result<(), CredentialsError> {
        let Some(leaf) = chain.first() else {
            return Ok(());
        };
        let Leaf { key, assigned } =
            certificates::leaf(leaf).map_err(CredentialsError::Certificate)?;
        let key = key.ok_or(CredentialsError::NotEd25519)?;
        self.rules.check(&key, assigned.as_ref()).map_err(CredentialsError::AssignedId)
    }

    /// Checks the key and the id of a certificate that a CA signed.
    fn check_leaf(&self, leaf: &CertificateDer<'_>) -> Result<(), rustls::Error> {
        let Ok(Leaf { key, assigned }) = certificates::leaf(leaf) else {
            return Err(TlsCertificateError::BadEncoding.into());
        };
        let key = key.ok_or_else(|| marked(NOT_ED25519))?;
        let checked = self.rules.check(&key, assigned.as_ref());
        checked.map_err(|refusal| {
            marked(match refusal {
                IdRefusal::NotAssigned => ID_NOT_ASSIGNED,
                IdRefusal::NotSigned => ID_NOT_SIGNED,
            })
            .into()
        })
    }

    /// Whether a connection may go on whose far end proved itself with these certificates. Time does not end it: only a CA
    /// that admits no longer, a revocation, or an id that is accepted no longer.
    pub(crate) fn accepts(&self, chain: &[CertificateDer<'_>]) -> bool {
        let Some((leaf, intermediates)) = chain.split_first() else {
            return false;
        };
        let Ok((not_before, not_after)) = certificates::unix_validity(leaf) else {
            return false;
        };
        let now = i64::try_from(UnixTime::now().as_secs()).unwrap_or(i64::MAX);
        let seconds = u64::try_from(now.min(not_after).max(not_before)).unwrap_or(0);
        let then = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let is_signed = self
            .anchors
            .iter()
            .any(|anchor| anchor.clients.verify_client_cert(leaf, intermediates, then).is_ok());
        is_signed && self.check_leaf(leaf).is_ok()
    }

    /// Succeeds if the check succeeds with one of the CAs. Among several failures, reports one that says more than
    /// "another CA".
    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        now: UnixTime,
        check: impl Fn(&Anchor) -> Result<(), rustls::Error>,
    ) -> Result<(), rustls::Error> {
        let mut told = TlsCertificateError::UnknownIssuer;
        for anchor in &self.anchors {
            match anchor.check_validity(now).and_then(|()| check(anchor).map_err(translated)) {
                Ok(()) => return self.check_leaf(leaf),
                Err(TlsCertificateError::UnknownIssuer) => {}
                Err(error) => told = error,
            }
        }
        Err(told.into())
    }
}

impl Anchor {
    fn new(
        certificate: &CertificateDer<'static>,
        revocations: Vec<CertificateRevocationListDer<'static>>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, CredentialsError> {
        let has_revocations = !revocations.is_empty();
        let rejected = |reason: String| CredentialsError::Tls { reason };
        let (not_before, not_after) =
            certificates::unix_validity(certificate).map_err(CredentialsError::Ca)?;
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).map_err(|error| rejected(error.to_string()))?;
        let roots = Arc::new(roots);
        let clients = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
            .clear_root_hint_subjects()
            .with_crls(revocations)
            // Not every CA has a list.
            .allow_unknown_revocation_status()
            .build()
            .map_err(|error| rejected(error.to_string()))?;
        Ok(Self { not_before, not_after, roots, clients, has_revocations })
    }

    fn check_validity(&self, now: UnixTime) -> Result<(), TlsCertificateError> {
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        if now > self.not_after {
            return Err(TlsCertificateError::Expired);
        }
        match now < self.not_before {
            true => Err(marked(NOT_YET_VALID)),
            false => Ok(()),
        }
    }
}

/// Translates errors of `webpki` so that the far end can distinguish them.
///
/// A bad signature means another CA with the same name. "Not yet valid" has the same TLS alert as "expired", so it
/// becomes an error of our own, recognised by its text.
fn translated(error: rustls::Error) -> TlsCertificateError {
    match error {
        rustls::Error::InvalidCertificate(TlsCertificateError::BadSignature) => {
            TlsCertificateError::UnknownIssuer
        }
        rustls::Error::InvalidCertificate(
            TlsCertificateError::NotValidYet | TlsCertificateError::NotValidYetContext { .. },
        ) => marked(NOT_YET_VALID),
        rustls::Error::InvalidCertificate(TlsCertificateError::ExpiredContext { .. }) => {
            TlsCertificateError::Expired
        }
        rustls::Error::InvalidCertificate(error) => error,
        _ => TlsCertificateError::BadEncoding,
    }
}

/// Why the node's own certificate is not valid, in words.
fn not_valid(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(TlsCertificateError::Expired) => {
            "it or its CA has expired".to_owned()
        }
        error if error.to_string().contains(NOT_YET_VALID) => {
            "it or its CA is not yet valid".to_owned()
        }
        error => error.to_string(),
    }
}

fn marked(mark: &'static str) -> TlsCertificateError {
    TlsCertificateError::Other(OtherError(Arc::new(Mark(mark))))
}

/// An error whose `Debug` text, which TLS sends to the peer, is only the mark.
struct Mark(&'static str);

impl fmt::Debug for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Mark {}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("anchors", &self.anchors.len()).finish_non_exhaustive()
    }
}

/// The checks of the peer's signature, the same for both of rustls's traits.
macro_rules! tls13_signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            _message: &[u8],
            _cert: &CertificateDer<'_>,
            _dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            Err(only_tls13())
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            verify_tls13_signature(message, cert, dss, &self.algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            vec![SignatureScheme::ED25519]
        }
    };
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let parsed = ParsedCertificate::try_from(end_entity)?;
        self.verify(end_entity, now, |anchor| {
            let (roots, algorithms) = (&anchor.roots, self.algorithms.all);
            verify_server_cert_signed_by_trust_anchor(
                &parsed,
                roots,
                intermediates,
                now,
                algorithms,
            )?;
            // rustls checks revocation of servers only together with their names. A node is a client too.
            match anchor.has_revocations {
                true => anchor.clients.verify_client_cert(end_entity, intermediates, now).map(drop),
                false => Ok(()),
            }
        })?;
        Ok(ServerCertVerified::assertion())
    }

    tls13_signatures!();
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // Every node has one certificate, so naming the CA would only inform unauthenticated clients.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.verify(end_entity, now, |anchor| {
            anchor.clients.verify_client_cert(end_entity, intermediates, now).map(|_| ())
        })?;
        Ok(ClientCertVerified::assertion())
    }

    tls13_signatures!();
}

fn only_tls13() -> rustls::Error {
    rustls::Error::General("only TLS 1.3 is spoken".to_owned())
}

/// The server name that TLS requires. It is neither sent nor compared.
pub(crate) const SERVER_NAME: &str = "phin";
