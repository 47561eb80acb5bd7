use std::net::{Ipv4Addr, Ipv6Addr};

use super::*;
use crate::{Flaw, Reason, Tags};

/// Keys that anyone could forge, of the member with this number.
pub(crate) struct TestKeys(pub(crate) u32);

impl Keys for TestKeys {
    fn public_key(&self) -> PublicKey {
        let [low, high @ ..] = self.0.to_le_bytes();
        let mut key = [low; 32];
        key.iter_mut().zip(high).for_each(|(byte, high)| *byte ^= high);
        PublicKey(key)
    }

    fn member_id(&self, key: &PublicKey) -> MemberId {
        let (low, high) = (key.0[31], [0, 1, 2].map(|place: usize| key.0[place] ^ key.0[31]));
        let number = u32::from_le_bytes([low, high[0], high[1], high[2]]);
        // Spread over all buckets and rings.
        let word = u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        MemberId::from_u128(word)
    }

    fn sign(&self, message: &[u8]) -> Signature {
        signature(&self.public_key(), message)
    }

    fn verify(&self, key: &PublicKey, message: &[u8], given: &Signature) -> bool {
        signature(key, message) == *given
    }
}

/// The same keys where a CA may have assigned the id. The CA signs with the keys of another number.
pub(crate) struct CaKeys {
    pub(crate) member: u32,
    pub(crate) ca: u32,
    pub(crate) assigned: Option<AssignedId>,
    pub(crate) is_required: bool,
}

/// The key of a member to which CA 1000 assigned the id of this number.
pub(crate) fn ca_keys(member: u32, id: u32, assigned_at_ms: u64) -> CaKeys {
    let assigned = Some(assign(CA, member, id, assigned_at_ms));
    CaKeys { member, ca: CA, assigned, is_required: false }
}

pub(crate) fn assign(ca: u32, member: u32, id: u32, assigned_at_ms: u64) -> AssignedId {
    let (id, signature) = (id_of(id), Signature([0; 64]));
    let unsigned = AssignedId { id, assigned_at_ms, signature };
    let message = id_message(&TestKeys(member).public_key(), &unsigned);
    AssignedId { signature: TestKeys(ca).sign(&message), ..unsigned }
}

fn id_message(key: &PublicKey, assigned: &AssignedId) -> Vec<u8> {
    [&key.0, &assigned.to_bytes()[..24]].concat()
}

impl Keys for CaKeys {
    fn public_key(&self) -> PublicKey {
        TestKeys(self.member).public_key()
    }

    fn member_id(&self, key: &PublicKey) -> MemberId {
        TestKeys(self.member).member_id(key)
    }

    fn assigned_id(&self) -> Option<AssignedId> {
        self.assigned
    }

    fn accepts_id(&self, key: &PublicKey, assigned: Option<&AssignedId>) -> bool {
        assigned.map_or(!self.is_required, |assigned| {
            let ca = TestKeys(self.ca).public_key();
            self.verify(&ca, &id_message(key, assigned), &assigned.signature)
        })
    }

    fn sign(&self, message: &[u8]) -> Signature {
        TestKeys(self.member).sign(message)
    }

    fn verify(&self, key: &PublicKey, message: &[u8], given: &Signature) -> bool {
        TestKeys(self.member).verify(key, message, given)
    }
}

pub(crate) const CA: u32 = 1_000;

/// A checksum of every byte: FNV-1a.
fn signature(key: &PublicKey, message: &[u8]) -> Signature {
    let bytes = key.0.iter().chain(message);
    let sum = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |sum, &byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut signature = [7; 64];
    signature[..8].copy_from_slice(&sum.to_be_bytes());
    Signature(signature)
}

pub(crate) fn id(node: u8) -> MemberId {
    id_of(node.into())
}

/// The same of one of very many.
pub(crate) fn id_of(number: u32) -> MemberId {
    TestKeys(number).member_id(&TestKeys(number).public_key())
}

pub(crate) fn addr(node: u8) -> SocketAddr {
    (Ipv4Addr::new(10, 0, 0, node), 7_000).into()
}

pub(crate) fn version(generation: u32, incarnation: u32) -> Version {
    Version { generation: Generation(generation), incarnation: Incarnation(incarnation) }
}

pub(crate) fn statement(node: u8, version: Version) -> Statement {
    let name = Name::try_from(format!("n{node}").as_str()).unwrap();
    Statement {
        name,
        addrs: vec![addr(node)],
        version,
        has_left: false,
        profile: Profile::default(),
        flaws: Flaws::NONE,
    }
}

pub(crate) fn record(node: u8, version: Version) -> Record {
    Record::sign(statement(node, version), &TestKeys(node.into()))
}

fn decode(body: &[u8], signature: Signature) -> Result<Record, DecodeError> {
    Record::decode(body, signature, &TestKeys(0))
}

#[test]
fn a_signed_record_decodes_to_itself_and_is_authentic() {
    let mut said = statement(3, version(5, 9));
    said.addrs.push((Ipv6Addr::LOCALHOST, 80).into());
    let record = Record::sign(said, &TestKeys(3));
    let decoded = decode(record.body(), record.signature()).unwrap();
    assert_eq!(decoded, record);
    assert!(decoded.is_authentic(&TestKeys(0)));
    assert_eq!(decoded.addrs().collect::<Vec<_>>(), [addr(3), (Ipv6Addr::LOCALHOST, 80).into()]);
}

#[test]
fn the_signature_covers_every_byte_and_the_key() {
    let record = record(3, version(5, 9));
    for at in 0..record.body().len() {
        for bit in 0..8 {
            let mut body = record.body().to_vec();
            body[at] ^= 1 << bit;
            // Where it still decodes, it is nobody's word.
            if let Ok(forged) = decode(&body, record.signature()) {
                assert!(!forged.is_authentic(&TestKeys(0)), "byte {at}, bit {bit}");
            }
        }
    }
    let forged = Record::sign(statement(3, version(5, 9)), &TestKeys(4));
    assert_eq!(forged.id(), id(4), "who signs, speaks of itself");
}

#[test]
fn the_signature_covers_each_field() {
    let said = || statement(3, version(5, 9));
    let (mut tags, serving) = (Tags::new(), ServingState::Draining);
    tags.set("zone", "a").unwrap();
    let changes = [
        Statement { version: version(6, 9), ..said() },
        Statement { version: version(5, 10), ..said() },
        Statement { has_left: true, ..said() },
        Statement { name: Name::try_from("other").unwrap(), ..said() },
        Statement { addrs: vec![addr(4)], ..said() },
        Statement { addrs: vec![addr(3), addr(4)], ..said() },
        Statement { profile: Profile { tags, ..Profile::default() }, ..said() },
        Statement { profile: Profile { serving, ..Profile::default() }, ..said() },
        Statement { flaws: Flaw::Loss.into(), ..said() },
    ];
    let signature = record(3, version(5, 9)).signature();
    for changed in changes {
        let record = Record::sign(changed, &TestKeys(3));
        let forged = decode(record.body(), signature).unwrap();
        assert!(!forged.is_authentic(&TestKeys(0)), "{forged:?}");
    }
}

#[test]
fn fields_of_a_later_release_keep_the_signature_and_are_relayed_unchanged() {
    let keys = TestKeys(3);
    let mut body = record(3, version(1, 2)).body().to_vec();
    // No tags, serving, no assigned id, flaws with bits of a later release, and what comes later.
    body.extend_from_slice(b"\x80\x00\xc0\xcc\xf1\xa5later\xc0");
    let signature = keys.sign(&signed_message(&body));
    let record = decode(&body, signature).unwrap();
    assert!(record.is_authentic(&TestKeys(0)));
    assert_eq!((record.body(), record.version()), (&*body, version(1, 2)));
    assert_eq!(record.flaws(), Flaw::Loss.into());
}

#[test]
fn flaws_stand_at_the_end_of_a_record_and_take_no_bytes_where_there_are_none() {
    let flaws = [Flaw::Loss, Flaw::OneWay].into_iter().collect();
    let plain = record(3, version(1, 2));
    let assigned = ca_keys(3, 77, 5);
    let keys: [&dyn Keys; 2] = [&TestKeys(3), &assigned];
    for keys in keys {
        let well = Record::sign(statement(3, version(1, 2)), keys);
        let flawed = Record::sign(Statement { flaws, ..statement(3, version(1, 2)) }, keys);
        let decoded = decode(flawed.body(), flawed.signature()).unwrap();
        assert_eq!((decoded.flaws(), decoded.statement().flaws), (flaws, flaws));
        assert_eq!(decoded.assigned_id(), well.assigned_id());
        assert_eq!((well.flaws(), well.profile()), (Flaws::NONE, decoded.profile()));
        // Tags, serving state and `nil` are written only where something follows them.
        let more = if well.assigned_id().is_some() { 1 } else { 4 };
        assert_eq!(flawed.body().len(), well.body().len() + more);
    }
    // Anything but a number is of a later release.
    let body = [plain.body(), b"\x80\x00\xc0\xa5later"].concat();
    assert_eq!(decode(&body, plain.signature()).unwrap().flaws(), Flaws::NONE);
}

#[test]
fn a_truncated_record_is_an_error_at_every_byte() {
    let record = record(3, version(1, 2));
    for length in 0..record.body().len() {
        assert!(decode(&record.body()[..length], record.signature()).is_err(), "{length} bytes");
    }
}

#[test]
fn a_record_has_a_longest_body() {
    let mut body = record(3, version(1, 2)).body().to_vec();
    body.extend_from_slice(b"\x80\x00");
    body.resize(Record::MAX_BODY_BYTES, 0xc0);
    assert!(decode(&body, Signature([0; 64])).is_ok());
    body.push(0xc0);
    assert!(decode(&body, Signature([0; 64])).is_err());
}

#[test]
fn the_longest_statement_fits() {
    let mut said = statement(3, version(u32::MAX, u32::MAX));
    said.name = Name::try_from("x".repeat(Name::MAX_BYTES).as_str()).unwrap();
    said.addrs = vec![(Ipv6Addr::LOCALHOST, u16::MAX).into(); 9];
    (0..16).for_each(|tag| said.profile.tags.set(&format!("{tag:0>8}"), "12345678").unwrap());
    let reason = "x".repeat(Reason::MAX_BYTES);
    said.profile.serving = ServingState::NotServing(reason.as_str().try_into().unwrap());
    said.flaws = Flaw::ALL.into_iter().collect();
    let record = Record::sign(said, &ca_keys(3, 4, u64::MAX));
    assert_eq!(record.addrs().count(), Record::MAX_ADDRS, "further ones are not taken");
    assert!(record.body().len() <= Record::MAX_BODY_BYTES - 64, "room is left for later fields");
    assert_eq!(decode(record.body(), record.signature()).unwrap(), record);
}

#[test]
fn a_record_with_an_assigned_id_is_of_that_id_for_those_that_accept_the_ca() {
    for profile in
        [Profile::default(), Profile { serving: ServingState::Draining, ..Profile::default() }]
    {
        let keys = ca_keys(3, 77, 5);
        let said = Statement { profile: profile.clone(), ..statement(3, version(1, 2)) };
        let record = Record::sign(said.clone(), &keys);
        let decoded = decode(record.body(), record.signature()).unwrap();
        assert_eq!((&decoded, decoded.id()), (&record, id_of(77)));
        assert_eq!((decoded.assigned_id(), decoded.profile()), (keys.assigned, profile));
        assert!(decoded.is_authentic(&keys));
        assert!(!decoded.is_authentic(&CaKeys { ca: CA + 1, ..ca_keys(8, 8, 8) }), "another CA");
        assert!(!decoded.is_authentic(&TestKeys(0)), "only ids of keys");

        let plain = Record::sign(said, &TestKeys(3));
        assert_eq!((plain.id(), plain.assigned_id()), (id(3), None));
        assert!(plain.is_authentic(&keys), "both kinds are accepted");
        assert!(!plain.is_authentic(&CaKeys { is_required: true, ..keys }), "an id is required");
    }
}

#[test]
fn nobody_takes_an_id_that_a_ca_assigned_to_another_key() {
    let verifier = ca_keys(0, 0, 0);
    let (stolen, own) = (ca_keys(3, 77, 5).assigned, assign(4, 4, 77, 5));
    // The id of another member with its statement, and with one that the member itself signed.
    for assigned in [stolen, Some(own)] {
        let thief = CaKeys { assigned, ..ca_keys(4, 4, 4) };
        let record = Record::sign(statement(4, version(1, 2)), &thief);
        assert_eq!(record.id(), id_of(77), "it says so");
        assert!(record.is_signed(&verifier) && !record.is_authentic(&verifier));
    }
    // The statement is part of what the member signs: it cannot be removed or replaced.
    let record = Record::sign(statement(3, version(1, 2)), &ca_keys(3, 77, 5));
    let without = &record.body()[..record.body().len() - AssignedId::BYTES - 2];
    let other = Record::sign(statement(3, version(1, 2)), &ca_keys(3, 77, 6));
    for body in [without, other.body()] {
        let changed = decode(body, record.signature()).unwrap();
        assert!(!changed.is_authentic(&verifier));
    }
}

#[test]
fn what_is_no_assigned_id_is_refused() {
    let body = [record(3, version(1, 2)).body(), b"\x80\x00"].concat();
    let with = |field: &[u8]| decode(&[&body, field].concat(), Signature([0; 64]));
    let bin = |length: u8| [&[0xc4, length], &vec![7; length.into()][..]].concat();
    assert_eq!(with(&bin(88)).unwrap().id(), MemberId([7; 16]));
    assert_eq!(with(&[0xc0]).unwrap().id(), id(3));
    for bad in [bin(0), bin(87), bin(89), bin(88)[..60].to_vec(), b"\xa3any".to_vec(), vec![1]] {
        assert!(with(&bad).is_err(), "{bad:?}");
    }
}

#[test]
fn a_record_without_or_with_too_many_addresses_is_refused() {
    for (count, is_good) in [(0, false), (1, true), (4, true), (5, false), (1_000, false)] {
        let said = Statement { addrs: vec![addr(3); count], ..statement(3, version(0, 0)) };
        let body = encode_body(&TestKeys(3).public_key(), &said, None);
        assert_eq!(decode(&body, Signature([0; 64])).is_ok(), is_good, "{count} addresses");
    }
}

#[test]
fn an_address_has_6_or_18_bytes_and_is_kept_in_its_shortest_form() {
    let decode = |bytes: &[u8]| {
        let mut encoded = vec![0xc4, bytes.len() as u8];
        encoded.extend_from_slice(bytes);
        read_addr(&mut &*encoded)
    };
    assert_eq!(decode(&[10, 0, 0, 1, 0x1b, 0x58]).unwrap(), addr(1));
    let mapped = Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped().octets();
    assert_eq!(decode(&[&mapped[..], &[0x1b, 0x58]].concat()).unwrap(), addr(1));
    for length in [0, 1, 2, 5, 7, 17, 19, 200] {
        assert!(decode(&vec![0; length]).is_none(), "{length} bytes");
    }
}

#[test]
fn a_name_has_1_to_64_bytes_without_spaces_and_control_characters() {
    for good in ["a", "rack-1/node.7", "ключ", &"x".repeat(64)] {
        assert_eq!(Name::try_from(good).unwrap().as_str(), good);
    }
    for bad in ["", "a b", "a\n", "\u{7f}", "a\u{a0}b", &"x".repeat(65), &"ж".repeat(33)] {
        assert!(Name::try_from(bad).is_err(), "{bad:?}");
    }
    for invisible in
        ["a\u{202e}b", "a\u{200b}", "\u{feff}a", "a\u{ad}b", "a\u{2066}b", "a\u{e0041}"]
    {
        assert!(Name::try_from(invisible).is_err(), "{invisible:?}");
    }
    let error = Name::try_from("").unwrap_err();
    assert_eq!(error.to_string(), "a member's name has 1 to 64 bytes, not 0");
    let error = Name::try_from("a\tb").unwrap_err();
    assert_eq!(error.to_string(), "a member's name cannot contain '\\t'");
}
