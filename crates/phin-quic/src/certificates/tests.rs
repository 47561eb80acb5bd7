use super::*;

#[test]
fn an_issued_certificate_says_whom_it_is_for() {
    let ca = create_ca("example CA", Validity::days(10)).unwrap();
    let node = Identity::generate();
    let pem = issue(&ca, "node-1", &node.public_key(), Validity::days(1)).unwrap();
    let described = describe(&pem).unwrap();
    assert_eq!(described.len(), 1);
    assert_eq!(described[0].subject, "CN=node-1");
    assert_eq!(described[0].issuer, "CN=example CA");
    assert_eq!(described[0].key_algorithm, "Ed25519");
    assert_eq!(described[0].peer_id, Some(node.id()));
    assert!(!described[0].is_ca);
    let validity = described[0].validity;
    assert!(validity.not_before < SystemTime::now() && SystemTime::now() < validity.not_after);
    assert!(describe(&ca.certificate_pem).unwrap()[0].is_ca);
    let renewed = issue(&ca, "node-1", &node.public_key(), Validity::days(1)).unwrap();
    assert_ne!(describe(&renewed).unwrap()[0].serial, described[0].serial);
}

#[test]
fn a_ca_of_another_algorithm_can_issue() {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let certificate = ca_params("ecdsa CA").self_signed(&key).unwrap();
    let ca = CertificateAuthority::new(certificate.pem(), key.serialize_pem().into());
    let node = Identity::generate();
    let pem = issue(&ca, "node", &node.public_key(), Validity::days(1)).unwrap();
    assert_eq!(describe(&pem).unwrap()[0].issuer, "CN=ecdsa CA");
    let described = &describe(&ca.certificate_pem).unwrap()[0];
    assert_eq!((described.peer_id, described.key_algorithm.as_str()), (None, "1.2.840.10045.2.1"));
}

#[test]
fn what_cannot_issue_is_refused() {
    let ca = create_ca("one", Validity::days(1)).unwrap();
    let other = create_ca("two", Validity::days(1)).unwrap();
    let node = Identity::generate();
    let key = node.public_key();
    let mixed = CertificateAuthority::new(ca.certificate_pem.clone(), other.key_pem);
    let error = issue(&mixed, "node", &key, Validity::days(1)).unwrap_err();
    assert!(matches!(error, CertificateError::CaKey { .. }), "{error}");

    let leaf = issue(&ca, "node", &key, Validity::days(1)).unwrap();
    let not_ca = CertificateAuthority::new(leaf, node.to_pem());
    let error = issue(&not_ca, "node", &key, Validity::days(1)).unwrap_err();
    assert_eq!(error, CertificateError::NotACa);

    let day = Validity::days(1);
    let backwards = Validity { not_before: day.not_after, not_after: day.not_before };
    assert_eq!(issue(&ca, "node", &key, backwards).unwrap_err(), CertificateError::Validity);
    let far = UNIX_EPOCH + Duration::from_secs(MAX_UNIX_SECONDS + 1);
    let endless = Validity { not_before: day.not_before, not_after: far };
    assert_eq!(issue(&ca, "node", &key, endless).unwrap_err(), CertificateError::Validity);
}

#[test]
fn what_is_no_certificate_is_an_error() {
    for text in ["", "hello", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        let error = describe(text).unwrap_err();
        assert!(matches!(error, CertificateError::NotACertificate { .. }), "{error}");
    }
}

#[test]
fn the_cluster_ca_is_the_same_everywhere_and_never_ends() {
    let key = ClusterKey::generate();
    assert_eq!(cluster_ca(&key), cluster_ca(&key.clone()));
    assert_ne!(cluster_ca(&key), cluster_ca(&ClusterKey::generate()));
    let leaf = cluster_leaf(&key, &Identity::generate());
    for der in [cluster_ca(&key), leaf] {
        let (from, to) = unix_validity(&der).unwrap();
        assert!(from < 200_000_000);
        assert_eq!(to, i64::try_from(MAX_UNIX_SECONDS).unwrap());
    }
}
