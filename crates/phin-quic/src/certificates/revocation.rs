//! Certificate revocation lists (RFC 5280 §5): creates, describes and checks them.

use std::time::SystemTime;

use rcgen::{
    CertificateRevocationListParams, Issuer, KeyIdMethod, KeyPair, PublicKeyData,
    RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, pem::PemObject};
use x509_parser::{certificate::X509Certificate, revocation_list::CertificateRevocationList};

use super::{
    CertificateAuthority, CertificateError, Validity, certificates, first_certificate, not_issued,
    parse, seconds, system_time,
};
use crate::secret::hex;

/// The contents of a revocation list, from [`describe_revocations`].
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct RevocationListDescription {
    /// The CA that signed the list.
    pub issuer: String,
    /// When it was signed.
    pub issued: SystemTime,
    /// When the CA promises a later list at the latest. A list is used after that too.
    pub next_update: Option<SystemTime>,
    /// The serial numbers of the revoked certificates, in hexadecimal.
    pub revoked: Vec<String>,
}

/// Adds every certificate in a PEM text to a revocation list of the CA that issued them, signs it, and returns it as PEM.
/// An empty text adds none.
///
/// `list_pem` is the list so far, all of whose entries are kept; without one, a list begins. `validity` begins when the
/// list is signed, and ends when the next one is promised. A node checks the list at handshakes if it is part of its
/// [`Credentials`](crate::Credentials).
///
/// # Errors
/// If something cannot be read, if the CA's certificate and key do not belong together, or if the list or a certificate is
/// not of this CA.
pub fn revoke(
    ca: &CertificateAuthority,
    list_pem: Option<&str>,
    certificates_pem: &str,
    validity: Validity,
) -> Result<String, CertificateError> {
    let ca_der = first_certificate(&ca.certificate_pem)?;
    let ca_certificate = parse(&ca_der)?;
    let ca_key = ca_key(ca, &ca_certificate)?;
    let mut revoked = match list_pem {
        Some(pem) => entries(pem, &ca_certificate)?,
        None => Vec::new(),
    };
    let (from, to) = seconds(validity)?;
    let epoch = date_time_ymd(1970, 1, 1);
    let to_revoke = match certificates_pem.trim().is_empty() {
        true => Vec::new(),
        false => certificates(certificates_pem)?,
    };
    for der in to_revoke {
        let certificate = parse(&der)?;
        if !is_signed_by(&certificate, &ca_certificate) {
            return Err(CertificateError::OtherIssuer);
        }
        let serial = SerialNumber::from_slice(&certificate.tbs_certificate.serial.to_bytes_be());
        if revoked.iter().any(|known: &RevokedCertParams| known.serial_number == serial) {
            continue;
        }
        let revocation_time = epoch + from;
        revoked.push(RevokedCertParams {
            serial_number: serial,
            revocation_time,
            reason_code: None,
            invalidity_date: None,
        });
    }
    if revoked.len() > MAX_REVOKED {
        let reason = format!("it has more than {MAX_REVOKED} entries");
        return Err(CertificateError::NotARevocationList { reason });
    }
    let params = CertificateRevocationListParams {
        this_update: epoch + from,
        next_update: epoch + to,
        // It has to rise (RFC 5280 §5.2.3); the time does.
        crl_number: SerialNumber::from(from.as_secs()),
        issuing_distribution_point: None,
        revoked_certs: revoked,
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let issuer = Issuer::from_ca_cert_der(&ca_der, ca_key).map_err(not_issued)?;
    params.signed_by(&issuer).and_then(|list| list.pem()).map_err(not_issued)
}

/// Describes every revocation list in a PEM text, in the order of the text. Does not check signatures.
///
/// # Errors
/// If the text contains no revocation list, or something else.
pub fn describe_revocations(pem: &str) -> Result<Vec<RevocationListDescription>, CertificateError> {
    let describe = |der: &CertificateRevocationListDer<'_>| {
        let list = parse_list(der)?;
        Ok(RevocationListDescription {
            issuer: list.issuer().to_string(),
            issued: system_time(list.last_update())?,
            next_update: list.next_update().map(system_time).transpose()?,
            revoked: list.iter_revoked_certificates().map(|one| hex(one.raw_serial())).collect(),
        })
    };
    revocation_lists(pem)?.iter().map(describe).collect()
}

/// The revocation lists of a node, each with the CA that signed it.
#[derive(Debug, Default)]
pub(crate) struct Revocations(Vec<(Signer, CertificateRevocationListDer<'static>)>);

#[derive(Debug)]
enum Signer {
    /// The CA with this position among those that admit.
    Anchor(usize),
    /// An intermediate CA.
    Intermediate,
}

impl Revocations {
    /// Checks that each list was signed by one of the CAs, or by an intermediate CA that is known. Two CAs can have the
    /// same name, so the signature decides.
    pub(crate) fn check(
        pem: &str,
        anchors: &[CertificateDer<'_>],
        intermediates: &[CertificateDer<'_>],
    ) -> Result<Self, CertificateError> {
        let signer = |list: &CertificateRevocationList<'_>| {
            let has_signed = |der: &CertificateDer<'_>| {
                parse(der).is_ok_and(|certificate| is_list_of(list, &certificate))
            };
            let anchor = anchors.iter().position(has_signed).map(Signer::Anchor);
            anchor.or_else(|| intermediates.iter().any(has_signed).then_some(Signer::Intermediate))
        };
        let checked = revocation_lists(pem)?.into_iter().map(|der| {
            let signer = signer(&parse_list(&der)?).ok_or(CertificateError::OtherIssuer)?;
            Ok((signer, der))
        });
        checked.collect::<Result<_, _>>().map(Self)
    }

    /// The lists that concern certificates below the CA with this position.
    pub(crate) fn below(&self, anchor: usize) -> Vec<CertificateRevocationListDer<'static>> {
        let concerns = |signer: &Signer| match signer {
            Signer::Anchor(position) => *position == anchor,
            Signer::Intermediate => true,
        };
        let lists = self.0.iter().filter(|(signer, _)| concerns(signer));
        lists.map(|(_, list)| list.clone()).collect()
    }
}

fn entries(
    pem: &str,
    ca: &X509Certificate<'_>,
) -> Result<Vec<RevokedCertParams>, CertificateError> {
    let mut entries = Vec::new();
    for der in revocation_lists(pem)? {
        let list = parse_list(&der)?;
        if !is_list_of(&list, ca) {
            return Err(CertificateError::OtherIssuer);
        }
        for entry in list.iter_revoked_certificates() {
            entries.push(RevokedCertParams {
                serial_number: SerialNumber::from_slice(entry.raw_serial()),
                revocation_time: entry.revocation_date.to_datetime(),
                reason_code: None,
                invalidity_date: None,
            });
        }
    }
    Ok(entries)
}

/// All revocation lists in a PEM text: at least one.
fn revocation_lists(
    pem: &str,
) -> Result<Vec<CertificateRevocationListDer<'static>>, CertificateError> {
    let found: Result<Vec<_>, _> =
        CertificateRevocationListDer::pem_slice_iter(pem.as_bytes()).collect();
    let none = |reason: String| CertificateError::NotARevocationList { reason };
    let found = found.map_err(|error| none(error.to_string()))?;
    match found.is_empty() {
        true => Err(none("the PEM text has no X509 CRL section".to_owned())),
        false => Ok(found),
    }
}

fn parse_list(der: &[u8]) -> Result<CertificateRevocationList<'_>, CertificateError> {
    let none = |reason: String| CertificateError::NotARevocationList { reason };
    match x509_parser::parse_x509_crl(der) {
        Ok(([], list)) => Ok(list),
        Ok(_) => Err(none("there are more bytes after its end".to_owned())),
        Err(error) => Err(none(error.to_string())),
    }
}

pub(super) fn is_signed_by(certificate: &X509Certificate<'_>, ca: &X509Certificate<'_>) -> bool {
    certificate.issuer().as_raw() == ca.subject().as_raw()
        && certificate.verify_signature(Some(ca.public_key())).is_ok()
}

fn is_list_of(list: &CertificateRevocationList<'_>, ca: &X509Certificate<'_>) -> bool {
    list.issuer().as_raw() == ca.subject().as_raw()
        && list.verify_signature(ca.public_key()).is_ok()
}

/// The private key of the CA, which has to be that of its certificate.
pub(super) fn ca_key(
    ca: &CertificateAuthority,
    certificate: &X509Certificate<'_>,
) -> Result<KeyPair, CertificateError> {
    let key = KeyPair::from_pem(&ca.key_pem)
        .map_err(|error| CertificateError::CaKey { reason: error.to_string() })?;
    if certificate.public_key().raw != key.subject_public_key_info() {
        let reason = "it is not the key of the CA's certificate".to_owned();
        return Err(CertificateError::CaKey { reason });
    }
    match certificate.is_ca() {
        true => Ok(key),
        false => Err(CertificateError::NotACa),
    }
}

/// As many as fit into a file of 1 MiB, with room to spare.
const MAX_REVOKED: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        certificates::{create_ca, issue},
        identity::Identity,
    };

    fn ca(name: &str) -> CertificateAuthority {
        create_ca(name, Validity::days(10)).unwrap()
    }

    fn certificate(ca: &CertificateAuthority) -> String {
        issue(ca, "n1", &Identity::generate().public_key(), Validity::days(1)).unwrap()
    }

    fn serials(list: &str) -> Vec<String> {
        describe_revocations(list).unwrap().swap_remove(0).revoked
    }

    fn serial(certificate: &str) -> String {
        super::super::describe(certificate).unwrap().swap_remove(0).serial
    }

    #[test]
    fn a_list_grows_and_keeps_its_entries() {
        let ca = ca("ca");
        let [one, two] = [certificate(&ca), certificate(&ca)];
        let list = revoke(&ca, None, &one, Validity::days(30)).unwrap();
        assert_eq!(serials(&list), [serial(&one)]);
        let longer = revoke(&ca, Some(&list), &format!("{one}{two}"), Validity::days(30)).unwrap();
        assert_eq!(serials(&longer), [serial(&one), serial(&two)]);
        let same = revoke(&ca, Some(&longer), "", Validity::days(30)).unwrap();
        assert_eq!(serials(&same), serials(&longer));
        let none = revoke(&ca, None, "", Validity::days(30)).unwrap();
        assert!(serials(&none).is_empty());
        let described = describe_revocations(&longer).unwrap().swap_remove(0);
        assert_eq!(described.issuer, "CN=ca");
        assert!(described.next_update.unwrap() > SystemTime::now());
    }

    #[test]
    fn only_the_ca_of_a_certificate_revokes_it() {
        // Names do not decide.
        let [ca, other] = [ca("ca"), ca("ca")];
        let of_other = certificate(&other);
        let revoked = revoke(&ca, None, &of_other, Validity::days(1));
        assert_eq!(revoked, Err(CertificateError::OtherIssuer));
        let both = ca.certificate_pem.clone() + &other.certificate_pem;
        let position = |cas: &str| super::super::position_of_issuer(&of_other, cas).unwrap();
        assert_eq!((position(&both), position(&ca.certificate_pem)), (Some(1), None));
        let list = revoke(&other, None, &of_other, Validity::days(1)).unwrap();
        let mixed = revoke(&ca, Some(&list), &certificate(&ca), Validity::days(1));
        assert_eq!(mixed, Err(CertificateError::OtherIssuer));
        let mismatched = CertificateAuthority { key_pem: other.key_pem, ..ca };
        let revoked = revoke(&mismatched, None, &of_other, Validity::days(1));
        assert!(matches!(revoked, Err(CertificateError::CaKey { .. })), "{revoked:?}");
    }

    #[test]
    fn a_list_belongs_to_the_ca_whose_key_signed_it() {
        let [ca, other] = [ca("ca"), ca("ca")];
        let ders = [&ca, &other].map(|ca| first_certificate(&ca.certificate_pem).unwrap());
        let list = revoke(&other, None, &certificate(&other), Validity::days(1)).unwrap();
        let checked = Revocations::check(&list, &ders, &[]).unwrap();
        assert_eq!((checked.below(0).len(), checked.below(1).len()), (0, 1));
        let foreign = Revocations::check(&list, &ders[..1], &[]).unwrap_err();
        assert_eq!(foreign, CertificateError::OtherIssuer);
        let none = Revocations::check("text", &ders, &[]).unwrap_err();
        assert!(matches!(none, CertificateError::NotARevocationList { .. }), "{none:?}");
    }
}
