//! X.509 certificates: creates a CA, issues certificates for nodes, revokes and describes them.
//!
//! Only [`Credentials::Certificates`](crate::Credentials::Certificates) needs this module. With a [`ClusterKey`], every
//! node issues its own certificate.
//!
//! ```
//! use phin_quic::{Identity, certificates::{Validity, create_ca, describe, issue}};
//!
//! let ca = create_ca("example CA", Validity::days(3650))?;
//! let node = Identity::generate();
//! let pem = issue(&ca, "node-1", &node.public_key(), Validity::days(365))?;
//! assert_eq!(describe(&pem)?[0].peer_id, Some(node.id()));
//! # Ok::<(), phin_quic::certificates::CertificateError>(())
//! ```

mod revocation;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ED25519, PublicKeyData,
    SigningKey, date_time_ymd,
};
use ring::digest::{SHA256, digest};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use x509_parser::{
    certificate::X509Certificate,
    extensions::GeneralName,
    oid_registry::{OID_SIG_ED25519, Oid},
    time::ASN1Time,
    x509::SubjectPublicKeyInfo,
};

use crate::{
    assigned::{AssignedId, AssignedIds, IdRules, id_of_name},
    cluster::ClusterKey,
    identity::{Identity, PeerId, PublicKey},
    secret::{SecretText, hex, random},
};

pub(crate) use revocation::Revocations;
pub use revocation::{RevocationListDescription, describe_revocations, revoke};

/// The period in which a certificate is valid.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Validity {
    /// The beginning of the period.
    pub not_before: SystemTime,
    /// The end of the period.
    pub not_after: SystemTime,
}

impl Validity {
    /// The period that begins one hour ago, because clocks differ, and ends this many days from now.
    pub fn days(days: u32) -> Self {
        let now = SystemTime::now();
        Self {
            not_before: now - Duration::from_secs(3600),
            not_after: now + Duration::from_secs(u64::from(days) * 24 * 3600),
        }
    }
}

/// A certificate authority: a certificate, which every node needs, and its private key, which no node needs.
#[derive(Clone)]
#[non_exhaustive]
pub struct CertificateAuthority {
    /// The certificate as PEM.
    pub certificate_pem: String,
    /// The private key as PEM.
    pub key_pem: SecretText,
}

/// Creates a CA with a new Ed25519 key.
///
/// # Errors
/// If a certificate cannot hold the name or the validity.
pub fn create_ca(name: &str, validity: Validity) -> Result<CertificateAuthority, CertificateError> {
    let identity = Identity::generate();
    let mut params = ca_params(name);
    set_validity(&mut params, validity)?;
    let certificate = params.self_signed(&Signer(&identity)).map_err(not_issued)?;
    Ok(CertificateAuthority { certificate_pem: certificate.pem(), key_pem: identity.to_pem() })
}

/// Issues a certificate for the node with this public key, signed by the CA, as PEM. The node's id is that of its key.
///
/// The CA's key may be of any algorithm. `name` is for display only; no node compares it.
///
/// # Errors
/// If the CA's certificate or key cannot be read, if they do not belong together, or if a certificate cannot hold the
/// name or the validity.
pub fn issue(
    ca: &CertificateAuthority,
    name: &str,
    key: &PublicKey,
    validity: Validity,
) -> Result<String, CertificateError> {
    sign_leaf(ca, (name, key), None, validity)
}

/// Issues a certificate as [`issue`] does, which also assigns the node an id, so that the holder of the key cannot choose it.
///
/// The id follows from the CA's private key and `name`: a CA assigns one name always the same id, whatever the key. So issue
/// each name to one node only. Of two keys with one name, the one that was issued later counts.
///
/// # Errors
/// As [`issue`], and [`CertificateError::CannotAssignIds`] if the CA's key is not an Ed25519 key.
pub fn issue_with_id(
    ca: &CertificateAuthority,
    name: &str,
    key: &PublicKey,
    validity: Validity,
) -> Result<String, CertificateError> {
    let authority = id_authority(ca)?;
    let assigned = AssignedId::sign(&authority, key, id_of_name(&authority, name));
    sign_leaf(ca, (name, key), Some(&assigned), validity)
}

/// Issues a new certificate for the node of an existing one: with the same name and id, and the same key unless `key` is
/// another one. Without an assigned id in the existing certificate, the new one has none either.
///
/// The CA may be another one than the CA of the existing certificate: then `ca` has the certificates of both as PEM, and the
/// private key of the new one.
///
/// # Errors
/// As [`issue_with_id`], and [`CertificateError::OtherIssuer`] if the existing certificate, or the id in it, is of none of the
/// CAs.
pub fn renew(
    ca: &CertificateAuthority,
    certificate_pem: &str,
    key: Option<&PublicKey>,
    validity: Validity,
) -> Result<String, CertificateError> {
    if position_of_issuer(certificate_pem, &ca.certificate_pem)?.is_none() {
        return Err(CertificateError::OtherIssuer);
    }
    let der = first_certificate(certificate_pem)?;
    let Leaf { key: old_key, assigned: old_assigned } = leaf(&der)?;
    let old_key = old_key.ok_or_else(|| not_a_certificate("its key is not Ed25519"))?;
    let rules = id_rules(&certificates(&ca.certificate_pem)?, AssignedIds::Accept);
    if rules.check(&old_key, old_assigned.as_ref()).is_err() {
        return Err(CertificateError::OtherIssuer);
    }
    let certificate = parse(&der)?;
    let name = certificate.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
    let name = name.ok_or_else(|| not_a_certificate("it has no common name"))?;
    let key = key.unwrap_or(&old_key);
    let assign = |old: AssignedId| Ok(AssignedId::sign(&id_authority(ca)?, key, old.id));
    let assigned = old_assigned.map(assign).transpose()?;
    sign_leaf(ca, (name, key), assigned.as_ref(), validity)
}

fn sign_leaf(
    ca: &CertificateAuthority,
    (name, key): (&str, &PublicKey),
    assigned: Option<&AssignedId>,
    validity: Validity,
) -> Result<String, CertificateError> {
    let (ca_certificate, ca_key) = signing_ca(ca)?;
    let issuer = Issuer::from_ca_cert_der(&ca_certificate, ca_key).map_err(not_issued)?;
    let mut params = leaf_params(name);
    set_validity(&mut params, validity)?;
    params.custom_extensions.extend(assigned.map(extension));
    Ok(params.signed_by(&RawKey(key), &issuer).map_err(not_issued)?.pem())
}

/// The certificate that belongs to the CA's private key, and that key. Of several certificates, others may be of CAs that it
/// replaces.
fn signing_ca(
    ca: &CertificateAuthority,
) -> Result<(CertificateDer<'static>, KeyPair), CertificateError> {
    let mut refused = None;
    for certificate in certificates(&ca.certificate_pem)? {
        match parse(&certificate).and_then(|parsed| revocation::ca_key(ca, &parsed)) {
            Ok(key) => return Ok((certificate, key)),
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    Err(refused.expect("there is at least one certificate"))
}

/// The CA's key as one that signs ids, which only an Ed25519 key does: their signatures are short.
fn id_authority(ca: &CertificateAuthority) -> Result<Identity, CertificateError> {
    signing_ca(ca)?;
    Identity::from_pem(&ca.key_pem).map_err(|_| CertificateError::CannotAssignIds)
}

/// The extension that assigns an id. It is not critical: others than phin can ignore it.
fn extension(assigned: &AssignedId) -> CustomExtension {
    let octets = u8::try_from(AssignedId::BYTES).expect("it is short enough for DER's short form");
    let content = [&[OCTET_STRING, octets], &assigned.to_bytes()[..]].concat();
    CustomExtension::from_oid_content(ASSIGNED_ID_OID, content)
}

/// The id that a certificate assigns, if it assigns one.
fn assigned_in(certificate: &X509Certificate<'_>) -> Result<Option<AssignedId>, CertificateError> {
    let malformed = || not_a_certificate("the extension that assigns an id is malformed");
    let oid = Oid::from(ASSIGNED_ID_OID).expect("it is an object identifier");
    let found = certificate.get_extension_unique(&oid).map_err(|_| malformed())?;
    let Some(extension) = found else {
        return Ok(None);
    };
    let octets = match extension.value {
        [OCTET_STRING, length, octets @ ..] if usize::from(*length) == octets.len() => octets,
        _ => return Err(malformed()),
    };
    AssignedId::from_bytes(octets).map(Some).ok_or_else(malformed)
}

/// The ids that nodes with these CAs accept. Only CAs with an Ed25519 key assign ids.
pub(crate) fn id_rules(cas: &[CertificateDer<'_>], mode: AssignedIds) -> IdRules {
    IdRules::new(cas.iter().filter_map(|ca| ed25519_key(ca).ok().flatten()).collect(), mode)
}

/// The key and the id of a node's certificate.
pub(crate) struct Leaf {
    /// `None` if it is of another algorithm than Ed25519.
    pub(crate) key: Option<PublicKey>,
    /// The id that the certificate assigns. Its signature is not checked.
    pub(crate) assigned: Option<AssignedId>,
}

impl Leaf {
    /// The node that the certificate is for.
    pub(crate) fn peer_id(&self) -> Option<PeerId> {
        let key = self.key.as_ref()?;
        Some(self.assigned.map_or_else(|| PeerId::of(key), |assigned| assigned.id))
    }
}

pub(crate) fn leaf(der: &[u8]) -> Result<Leaf, CertificateError> {
    let certificate = parse(der)?;
    Ok(Leaf { key: key_of(certificate.public_key()), assigned: assigned_in(&certificate)? })
}

impl CertificateAuthority {
    /// Creates a CA from a certificate and a private key, both as PEM. [`issue`] checks them.
    pub fn new(certificate_pem: String, key_pem: SecretText) -> Self {
        Self { certificate_pem, key_pem }
    }
}

impl std::fmt::Debug for CertificateAuthority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CertificateAuthority").finish_non_exhaustive()
    }
}

/// The contents of a certificate, from [`describe`].
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct CertificateDescription {
    /// The subject: the node or CA that the certificate is for.
    pub subject: String,
    /// The issuer: the CA that signed the certificate.
    pub issuer: String,
    /// The serial number, unique for each issuer, in hexadecimal.
    pub serial: String,
    /// The subject alternative names.
    pub alternative_names: Vec<String>,
    /// The period in which the certificate is valid.
    pub validity: Validity,
    /// The algorithm of the public key: `Ed25519`, or an object identifier.
    pub key_algorithm: String,
    /// The id of the node that the certificate is for; `None` if its key is not an Ed25519 key.
    pub peer_id: Option<PeerId>,
    /// Whether the certificate assigns this id; otherwise it is that of the key.
    pub assigns_id: bool,
    /// Whether the certificate may sign other certificates.
    pub is_ca: bool,
    /// The SHA-256 hash of the whole certificate, in hexadecimal.
    pub fingerprint: String,
}

/// Describes every certificate in a PEM text, in the order of the text. Does not check signatures.
///
/// # Errors
/// If the text contains no certificate, or something else.
pub fn describe(pem: &str) -> Result<Vec<CertificateDescription>, CertificateError> {
    certificates(pem)?.iter().map(|der| describe_one(der)).collect()
}

/// Finds the CA that signed the first certificate of a PEM text, and returns its position among those of another PEM text;
/// `None` if none of them did. Two CAs can have the same name, so the signature decides.
///
/// # Errors
/// If one of the texts contains no certificate, or something else.
pub fn position_of_issuer(
    certificate_pem: &str,
    ca_pem: &str,
) -> Result<Option<usize>, CertificateError> {
    let der = first_certificate(certificate_pem)?;
    let certificate = parse(&der)?;
    let cas = certificates(ca_pem)?;
    let has_signed = |ca: &CertificateDer<'_>| {
        parse(ca).is_ok_and(|ca| revocation::is_signed_by(&certificate, &ca))
    };
    Ok(cas.iter().position(has_signed))
}

/// Why a certificate could not be issued or read.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// The text or the bytes are not a certificate.
    #[error("not a certificate: {reason}")]
    NotACertificate {
        /// The message of the parser.
        reason: String,
    },
    /// The CA's key cannot be used.
    #[error("the CA's key cannot be used: {reason}")]
    CaKey {
        /// The reason.
        reason: String,
    },
    /// The CA's certificate is not allowed to sign other certificates.
    #[error("the CA's certificate may not sign other certificates")]
    NotACa,
    /// The text or the bytes are not a revocation list.
    #[error("not a revocation list: {reason}")]
    NotARevocationList {
        /// The message of the parser.
        reason: String,
    },
    /// A revocation list, or a certificate to revoke, is of another CA.
    #[error("it was issued by another CA")]
    OtherIssuer,
    /// The validity ends before it begins, or is outside of the years 1950 to 9999.
    #[error("the validity must end after it begins, within the years 1950 to 9999")]
    Validity,
    /// The CA's key is not an Ed25519 key, and only such keys assign ids.
    #[error("this CA cannot assign ids, because its key is not an Ed25519 key")]
    CannotAssignIds,
    /// The certificate could not be created.
    #[error("the certificate could not be issued: {reason}")]
    NotIssued {
        /// The reason.
        reason: String,
    },
}

/// All certificates in a PEM text: at least one.
pub(crate) fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let not_a_certificate = |reason: String| CertificateError::NotACertificate { reason };
    let found = found.map_err(|error| not_a_certificate(error.to_string()))?;
    match found.is_empty() {
        true => Err(not_a_certificate("the PEM text has no CERTIFICATE section".to_owned())),
        false => Ok(found),
    }
}

/// The Ed25519 key of a certificate, or `None` when it has a key of another algorithm.
pub(crate) fn ed25519_key(der: &[u8]) -> Result<Option<PublicKey>, CertificateError> {
    Ok(key_of(parse(der)?.public_key()))
}

/// The period in which a certificate is valid, in seconds of Unix time.
pub(crate) fn unix_validity(der: &[u8]) -> Result<(i64, i64), CertificateError> {
    let certificate = parse(der)?;
    let validity = certificate.validity();
    Ok((validity.not_before.timestamp(), validity.not_after.timestamp()))
}

/// The certificate of the CA that all holders of a cluster key share.
///
/// Its name contains a hash of its key. So a certificate of another cluster is recognised as issued by another CA,
/// and not only as having a bad signature.
pub(crate) fn cluster_ca(key: &ClusterKey) -> CertificateDer<'static> {
    let identity = Identity::from_seed(&key.ca_seed());
    let params = cluster_ca_params(&identity);
    let certificate = params.self_signed(&Signer(&identity)).expect("these parameters are valid");
    certificate.into()
}

/// The certificate that a holder of the cluster key issues for its own identity. It never expires.
pub(crate) fn cluster_leaf(key: &ClusterKey, identity: &Identity) -> CertificateDer<'static> {
    let ca = Identity::from_seed(&key.ca_seed());
    let ca_params = cluster_ca_params(&ca);
    let issuer = Issuer::from_params(&ca_params, Signer(&ca));
    let params = leaf_params(&identity.id().to_string());
    let certificate = params
        .signed_by(&RawKey(&identity.public_key()), &issuer)
        .expect("these parameters are valid");
    certificate.into()
}

fn cluster_ca_params(identity: &Identity) -> CertificateParams {
    ca_params(&format!("phin cluster {}", identity.id()))
}

fn ca_params(name: &str) -> CertificateParams {
    let mut params = base_params(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn leaf_params(name: &str) -> CertificateParams {
    let mut params = base_params(name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // A node is both client and server.
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
    params
}

/// Parameters of a certificate that never expires: 99991231235959Z means no end (RFC 5280 §4.1.2.5).
fn base_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(1975, 1, 1);
    params.not_after = date_time_ymd(9999, 12, 31) + Duration::from_secs(24 * 3600 - 1);
    params
}

fn set_validity(
    params: &mut CertificateParams,
    validity: Validity,
) -> Result<(), CertificateError> {
    let (from, to) = seconds(validity)?;
    params.not_before = date_time_ymd(1970, 1, 1) + from;
    params.not_after = date_time_ymd(1970, 1, 1) + to;
    // A renewed certificate for the same key needs another serial number.
    params.serial_number = Some(random::<16>().map(|byte| byte & 0x7f).to_vec().into());
    Ok(())
}

/// The bounds of the period, in seconds of Unix time.
fn seconds(validity: Validity) -> Result<(Duration, Duration), CertificateError> {
    let seconds = |moment: SystemTime| {
        let since = moment.duration_since(UNIX_EPOCH).map_err(|_| CertificateError::Validity)?;
        match since.as_secs() {
            seconds @ 0..=MAX_UNIX_SECONDS => Ok(Duration::from_secs(seconds)),
            _ => Err(CertificateError::Validity),
        }
    };
    let (from, to) = (seconds(validity.not_before)?, seconds(validity.not_after)?);
    if from > to { Err(CertificateError::Validity) } else { Ok((from, to)) }
}

fn describe_one(der: &[u8]) -> Result<CertificateDescription, CertificateError> {
    let certificate = parse(der)?;
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.iter().flat_map(|extension| &extension.value.general_names);
    let leaf = Leaf { key: key_of(certificate.public_key()), assigned: assigned_in(&certificate)? };
    let oid = &certificate.public_key().algorithm.algorithm;
    Ok(CertificateDescription {
        subject: certificate.subject().to_string(),
        issuer: certificate.issuer().to_string(),
        serial: hex(&certificate.tbs_certificate.serial.to_bytes_be()),
        alternative_names: names.map(name_text).collect(),
        validity: Validity {
            not_before: system_time(certificate.validity().not_before)?,
            not_after: system_time(certificate.validity().not_after)?,
        },
        key_algorithm: leaf.key.map_or_else(|| oid.to_id_string(), |_| "Ed25519".to_owned()),
        peer_id: leaf.peer_id(),
        assigns_id: leaf.assigned.is_some(),
        is_ca: certificate.is_ca(),
        fingerprint: fingerprint(der),
    })
}

/// The SHA-256 hash of a certificate, in hexadecimal.
pub(crate) fn fingerprint(der: &[u8]) -> String {
    hex(digest(&SHA256, der).as_ref())
}

fn name_text(name: &GeneralName<'_>) -> String {
    match name {
        GeneralName::DNSName(name) | GeneralName::RFC822Name(name) | GeneralName::URI(name) => {
            (*name).to_owned()
        }
        other => other.to_string(),
    }
}

fn system_time(time: ASN1Time) -> Result<SystemTime, CertificateError> {
    let seconds = time.timestamp();
    let distance = Duration::from_secs(seconds.unsigned_abs());
    let moment = match seconds < 0 {
        true => UNIX_EPOCH.checked_sub(distance),
        false => UNIX_EPOCH.checked_add(distance),
    };
    moment.ok_or(CertificateError::Validity)
}

fn key_of(info: &SubjectPublicKeyInfo<'_>) -> Option<PublicKey> {
    if info.algorithm.algorithm != OID_SIG_ED25519 {
        return None;
    }
    info.subject_public_key.data.as_ref().try_into().ok().map(PublicKey)
}

fn not_a_certificate(reason: &str) -> CertificateError {
    CertificateError::NotACertificate { reason: reason.to_owned() }
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, CertificateError> {
    match x509_parser::parse_x509_certificate(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) => {
            let reason = "there are more bytes after its end".to_owned();
            Err(CertificateError::NotACertificate { reason })
        }
        Err(error) => Err(CertificateError::NotACertificate { reason: error.to_string() }),
    }
}

fn first_certificate(pem: &str) -> Result<CertificateDer<'static>, CertificateError> {
    certificates(pem).map(|mut found| found.swap_remove(0))
}

fn not_issued(error: rcgen::Error) -> CertificateError {
    CertificateError::NotIssued { reason: error.to_string() }
}

/// Signs certificates with an identity without exposing its private key.
struct Signer<'a>(&'a Identity);

impl PublicKeyData for Signer<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0.public_key_bytes()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &PKCS_ED25519
    }
}

impl SigningKey for Signer<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(self.0.sign(message).0.to_vec())
    }
}

/// The public key of a leaf certificate.
struct RawKey<'a>(&'a PublicKey);

impl PublicKeyData for RawKey<'_> {
    fn der_bytes(&self) -> &[u8] {
        &self.0.0
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &PKCS_ED25519
    }
}

/// The object identifier of the extension that assigns an id. Identifiers below 2.25 are free for all: this one is a random
/// number (ITU-T X.667).
const ASSIGNED_ID_OID: &[u64] = &[2, 25, 6_034_219_787_315_042_417];
/// The tag of an octet string in DER.
const OCTET_STRING: u8 = 4;
/// The last second of the year 9999, the last that a certificate can name.
const MAX_UNIX_SECONDS: u64 = 253_402_300_799;

#[cfg(test)]
mod tests;
