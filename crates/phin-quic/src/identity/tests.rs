use super::*;

fn from_seed(byte: u8) -> Identity {
    Identity::from_seed(&[byte; 32])
}

#[test]
fn the_same_seed_is_the_same_node() {
    assert_eq!(from_seed(1).id(), from_seed(1).id());
    assert_ne!(from_seed(1).id(), from_seed(2).id());
    assert_ne!(Identity::generate().id(), Identity::generate().id());
    assert_eq!(*from_seed(1).reset_key(), *from_seed(1).reset_key());
    assert_ne!(*from_seed(1).reset_key(), *from_seed(2).reset_key());
}

#[test]
fn the_id_is_the_hash_of_the_key() {
    // RFC 8032 §7.1, test 1.
    let mut seed = [0; 32];
    let text = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
    for (index, byte) in seed.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).unwrap();
    }
    let identity = Identity::from_seed(&seed);
    let key = hex(&identity.public_key().0);
    assert_eq!(key, "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
    let hash = digest(&SHA256, &identity.public_key().0);
    assert_eq!(identity.id().to_bytes(), hash.as_ref()[..16]);
    assert_eq!(identity.id().to_string().parse::<PeerId>(), Ok(identity.id()));
}

#[test]
fn ids_are_parsed_strictly() {
    assert_eq!("".parse::<PeerId>(), Err(PeerIdError));
    assert_eq!("+0".repeat(16).parse::<PeerId>(), Err(PeerIdError));
    assert_eq!("é".repeat(16).parse::<PeerId>(), Err(PeerIdError));
    assert_eq!("0f".repeat(16).parse::<PeerId>(), Ok(PeerId::from_bytes([15; 16])));
}

#[test]
fn a_signature_holds_for_its_key_and_message_only() {
    let identity = from_seed(1);
    let signature = identity.sign(b"message");
    assert!(verify(&identity.public_key(), b"message", &signature));
    assert!(!verify(&identity.public_key(), b"massage", &signature));
    assert!(!verify(&from_seed(2).public_key(), b"message", &signature));
    assert!(!verify(&PublicKey([0xff; 32]), b"message", &signature));
}

#[test]
fn a_key_survives_its_pem() {
    let identity = Identity::generate();
    assert_eq!(Identity::from_pem(&identity.to_pem()).unwrap().id(), identity.id());
    // Version 1 of PKCS #8, with the public key inside, as other tools write it.
    let generated = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let read = Identity::from_pem(&generated.serialize_pem()).unwrap();
    assert_eq!(read.public_key().0, generated.public_key_raw());
}

#[test]
fn keys_of_other_algorithms_are_refused() {
    let ecdsa = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let error = Identity::from_pem(&ecdsa.serialize_pem()).unwrap_err();
    assert!(matches!(error, IdentityError::NotEd25519), "{error}");
    assert!(matches!(Identity::from_pem("hello"), Err(IdentityError::NotAKey { .. })));
}

#[test]
fn a_directory_keeps_the_identity() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("new").join("data");
    let created = Identity::load_or_create(&data).unwrap();
    assert_eq!(Identity::load_or_create(&data).unwrap().id(), created.id());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(data.join(FILE_NAME)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[cfg(unix)]
#[test]
fn a_key_that_others_may_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    for mode in [0o640, 0o604, 0o620] {
        let directory = tempfile::tempdir().unwrap();
        Identity::load_or_create(directory.path()).unwrap();
        let path = directory.path().join(FILE_NAME);
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let error = Identity::load_or_create(directory.path()).unwrap_err();
        assert!(matches!(error, IdentityError::OpenToOthers { mode: m, .. } if m == mode));
        assert!(error.to_string().contains("600"), "{error}");
    }
}

#[test]
fn a_corrupt_key_file_can_be_told_apart_and_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE_NAME);
    let whole = Identity::generate().to_pem();
    let cut = &whole.as_bytes()[..whole.len() / 2];
    for content in [&b""[..], b"\xff\xfe\x00", cut] {
        let _ = fs::remove_file(&path);
        create_private(&path, content).unwrap();
        let error = Identity::load_or_create(directory.path()).unwrap_err();
        assert!(matches!(error, IdentityError::Corrupt { .. }), "{error}");
        assert_eq!(fs::read(&path).unwrap(), content, "never replaced without being told");
    }
}

#[test]
fn debug_shows_no_secret() {
    let shown = format!("{:?}", from_seed(0xab));
    assert!(!shown.contains("abab") && !shown.contains("171"), "{shown}");
}
