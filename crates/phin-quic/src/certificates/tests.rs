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

#[test]
fn a_ca_assigns_one_name_one_id_whatever_the_key() {
    let [ca, other] = [(); 2].map(|()| create_ca("ca", Validity::days(10)).unwrap());
    let [one, two] = [(); 2].map(|()| Identity::generate());
    let issued = |ca, name, node: &Identity| {
        let pem = issue_with_id(ca, name, &node.public_key(), Validity::days(1)).unwrap();
        let described = describe(&pem).unwrap().swap_remove(0);
        assert!(described.assigns_id);
        described.peer_id.unwrap()
    };
    let id = issued(&ca, "n1", &one);
    assert_eq!(issued(&ca, "n1", &one), id);
    assert_eq!(issued(&ca, "n1", &two), id);
    assert_ne!(issued(&ca, "n2", &one), id);
    assert_ne!(issued(&other, "n1", &one), id);
    assert_ne!(one.id(), id);
    let plain = issue(&ca, "n1", &one.public_key(), Validity::days(1)).unwrap();
    assert!(!describe(&plain).unwrap()[0].assigns_id);
}

#[test]
fn a_renewed_certificate_has_the_name_the_id_and_the_key_of_the_old_one() {
    let [ca, new_ca] = [(); 2].map(|()| create_ca("ca", Validity::days(10)).unwrap());
    let [one, two] = [(); 2].map(|()| Identity::generate());
    let day = Validity::days(1);
    let old = issue_with_id(&ca, "n1", &one.public_key(), day).unwrap();
    // The certificate of the CA that signs may come first or last.
    for cas in [[&new_ca, &ca], [&ca, &new_ca]] {
        let bundle = cas.map(|ca| ca.certificate_pem.as_str()).concat();
        let both = CertificateAuthority::new(bundle, new_ca.key_pem.clone());
        for key in [None, Some(two.public_key())] {
            let renewed = renew(&both, &old, key.as_ref(), day).unwrap();
            assert_eq!(position_of_issuer(&renewed, &new_ca.certificate_pem), Ok(Some(0)));
            let (old, renewed) = (&describe(&old).unwrap()[0], &describe(&renewed).unwrap()[0]);
            assert_eq!((&renewed.subject, renewed.peer_id), (&old.subject, old.peer_id));
            assert_ne!(renewed.serial, old.serial);
        }
        let renewed = renew(&both, &old, Some(&two.public_key()), day).unwrap();
        let Leaf { key, assigned } = leaf(&first_certificate(&renewed).unwrap()).unwrap();
        assert_eq!(key, Some(two.public_key()));
        let rules = id_rules(&certificates(&new_ca.certificate_pem).unwrap(), AssignedIds::Require);
        assert_eq!(rules.check(&two.public_key(), assigned.as_ref()), Ok(()));
    }
    let foreign = renew(&new_ca, &old, None, day);
    assert_eq!(foreign, Err(CertificateError::OtherIssuer), "its CA is not given");
    let plain = issue(&ca, "n1", &one.public_key(), day).unwrap();
    let renewed = renew(&ca, &plain, None, day).unwrap();
    assert_eq!(describe(&renewed).unwrap()[0].peer_id, Some(one.id()));
}

#[test]
fn only_an_ed25519_ca_assigns_ids() {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let certificate = ca_params("ecdsa CA").self_signed(&key).unwrap();
    let ca = CertificateAuthority::new(certificate.pem(), key.serialize_pem().into());
    let node = Identity::generate();
    let issued = issue_with_id(&ca, "n1", &node.public_key(), Validity::days(1));
    assert_eq!(issued, Err(CertificateError::CannotAssignIds));
    // Nor may another key stand in for the CA's.
    let other = create_ca("ca", Validity::days(1)).unwrap();
    let mixed = CertificateAuthority::new(ca.certificate_pem, other.key_pem);
    let issued = issue_with_id(&mixed, "n1", &node.public_key(), Validity::days(1));
    assert!(matches!(issued, Err(CertificateError::CaKey { .. })), "{issued:?}");
}

#[test]
fn a_malformed_extension_is_no_certificate_of_a_node() {
    let ca = create_ca("ca", Validity::days(1)).unwrap();
    let node = Identity::generate();
    let key = rcgen::KeyPair::from_pem(&ca.key_pem).unwrap();
    let issuer = Issuer::from_ca_cert_pem(&ca.certificate_pem, key).unwrap();
    let issued = |contents: &[&[u8]]| {
        let mut params = leaf_params("n1");
        let extension =
            |content: &&[u8]| CustomExtension::from_oid_content(ASSIGNED_ID_OID, content.to_vec());
        params.custom_extensions = contents.iter().map(extension).collect();
        let signed = params.signed_by(&RawKey(&node.public_key()), &issuer).unwrap();
        leaf(signed.der())
    };
    let good = [[OCTET_STRING, 88].as_slice(), &[7; AssignedId::BYTES]].concat();
    assert!(issued(&[&good]).unwrap().assigned.is_some());
    let short = [[OCTET_STRING, 87].as_slice(), &[7; 87]].concat();
    let long = [[OCTET_STRING, 89].as_slice(), &[7; 89]].concat();
    let untrue = [[OCTET_STRING, 87].as_slice(), &[7; AssignedId::BYTES]].concat();
    let other_tag = [[5, 88].as_slice(), &[7; AssignedId::BYTES]].concat();
    for bad in [&[][..], &[OCTET_STRING], &short, &long, &untrue, &other_tag, &good[..60]] {
        assert!(issued(&[bad]).is_err(), "{bad:?}");
    }
    assert!(issued(&[&good, &good]).is_err(), "twice");
}
