//! Identities of test nodes: keys that anyone could forge, names and addresses that follow from a number.

use std::{
    hash::Hasher,
    net::{Ipv4Addr, SocketAddr},
};

use phin_swim::{Keys, MemberId, PublicKey, Signature};

/// Keys that anyone could forge, but nobody here does.
pub(crate) struct TestKeys(pub(crate) usize);

impl Keys for TestKeys {
    fn public_key(&self) -> PublicKey {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&(self.0 as u64).to_be_bytes());
        PublicKey(key)
    }

    fn member_id(&self, key: &PublicKey) -> MemberId {
        let (high, low) = (hash(&[b"high", &key.0]), hash(&[b"low", &key.0]));
        MemberId((u128::from(high) << 64 | u128::from(low)).to_be_bytes())
    }

    fn sign(&self, message: &[u8]) -> Signature {
        signature(&self.public_key(), message)
    }

    fn verify(&self, key: &PublicKey, message: &[u8], given: &Signature) -> bool {
        signature(key, message).0 == given.0
    }
}

fn signature(key: &PublicKey, message: &[u8]) -> Signature {
    let mut signature = [0; 64];
    signature[..8].copy_from_slice(&hash(&[&key.0, message]).to_be_bytes());
    Signature(signature)
}

/// FNV-1a, then mixed: the same on every machine.
fn hash(parts: &[&[u8]]) -> u64 {
    struct Fnv(u64);
    impl Hasher for Fnv {
        fn finish(&self) -> u64 {
            (self.0 ^ (self.0 >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9).rotate_left(31)
        }
        fn write(&mut self, bytes: &[u8]) {
            for &byte in bytes {
                self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
    }
    let mut fnv = Fnv(0xcbf2_9ce4_8422_2325);
    parts.iter().for_each(|part| fnv.write(part));
    let first = fnv.finish();
    fnv.write_u64(first);
    fnv.finish()
}

pub(crate) fn id(node: usize) -> MemberId {
    let keys = TestKeys(node);
    keys.member_id(&keys.public_key())
}

pub(crate) fn node(id: MemberId) -> Option<usize> {
    (1..=99).find(|&node| self::id(node) == id)
}

pub(crate) fn name(id: MemberId) -> String {
    node(id).map_or_else(|| id.to_string(), |node| format!("n{node}"))
}

pub(crate) fn addr(node: usize) -> SocketAddr {
    (Ipv4Addr::new(10, 0, 0, node as u8), 7_000).into()
}
