//! Ids that a CA assigns to names, instead of ids that follow from keys.
//!
//! The id of a key can be chosen by trying keys. An assigned id cannot: the CA computes it from the name and a secret of its own,
//! and signs that the holder of a key has it. The signed statement is short enough to travel without the certificate.

use std::time::SystemTime;

use ring::hmac;

use crate::{
    identity::{Identity, PeerId, PublicKey, Signature, verify},
    secret::unix_millis,
};

/// The statement of a CA that the holder of a key has this id. It is part of a certificate
/// ([`certificates::issue_with_id`](crate::certificates::issue_with_id)).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AssignedId {
    /// The id.
    pub id: PeerId,
    /// When the CA assigned it, in milliseconds of Unix time. If several keys have one id, the latest counts.
    pub assigned_at_ms: u64,
    /// The signature of the CA, over these fields and the public key.
    pub signature: Signature,
}

impl AssignedId {
    /// The length of [`AssignedId::to_bytes`].
    pub const BYTES: usize = 16 + 8 + 64;

    /// Assigns an id to the holder of a key now.
    pub(crate) fn sign(ca: &Identity, key: &PublicKey, id: PeerId) -> Self {
        let assigned_at_ms = unix_millis(SystemTime::now());
        let signature = ca.sign(&signed_message(key, id, assigned_at_ms));
        Self { id, assigned_at_ms, signature }
    }

    /// Whether the CA with this public key assigned the id to the holder of `key`.
    pub fn is_signed_by(&self, ca: &PublicKey, key: &PublicKey) -> bool {
        verify(ca, &signed_message(key, self.id, self.assigned_at_ms), &self.signature)
    }

    /// The id, the time and the signature, integers in network order.
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..16].copy_from_slice(&self.id.to_bytes());
        bytes[16..24].copy_from_slice(&self.assigned_at_ms.to_be_bytes());
        bytes[24..].copy_from_slice(&self.signature.0);
        bytes
    }

    /// Reads what [`AssignedId::to_bytes`] wrote; `None` if the length is another one. Does not check the signature.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (id, rest) = bytes.split_first_chunk()?;
        let (assigned_at, signature) = rest.split_first_chunk()?;
        Some(Self {
            id: PeerId::from_bytes(*id),
            assigned_at_ms: u64::from_be_bytes(*assigned_at),
            signature: Signature(signature.try_into().ok()?),
        })
    }
}

/// Whether members need an id that a CA assigned.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum AssignedIds {
    /// A member has the id that its certificate assigns, or else that of its key.
    #[default]
    Accept,
    /// Members whose certificate assigns no id are refused.
    Require,
}

/// The ids that a node accepts of others: see [`Credentials::id_rules`](crate::Credentials::id_rules). The default accepts
/// those of keys alone.
#[derive(Clone, Debug, Default)]
pub struct IdRules {
    authorities: Vec<PublicKey>,
    mode: AssignedIds,
}

impl IdRules {
    /// Accepts the ids that these CAs assign.
    pub(crate) const fn new(authorities: Vec<PublicKey>, mode: AssignedIds) -> Self {
        Self { authorities, mode }
    }

    /// Checks the id of the holder of a key: the one that was assigned to it, or that of its key. Checking an assigned id
    /// verifies a signature.
    ///
    /// # Errors
    /// The id is not accepted.
    pub fn check(&self, key: &PublicKey, assigned: Option<&AssignedId>) -> Result<(), IdRefusal> {
        match (assigned, self.mode) {
            (None, AssignedIds::Accept) => Ok(()),
            (None, AssignedIds::Require) => Err(IdRefusal::NotAssigned),
            (Some(assigned), _) => {
                let is_signed = self.authorities.iter().any(|ca| assigned.is_signed_by(ca, key));
                is_signed.then_some(()).ok_or(IdRefusal::NotSigned)
            }
        }
    }
}

/// Why an id is not accepted.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum IdRefusal {
    /// No CA assigned it, and this is required.
    #[error("no CA assigned the id")]
    NotAssigned,
    /// None of the CAs assigned it to this key.
    #[error("none of the CAs assigned the id to this key")]
    NotSigned,
}

/// The id that a CA assigns to a name. It is always the same, and nobody without the CA's private key can predict it.
pub(crate) fn id_of_name(ca: &Identity, name: &str) -> PeerId {
    let secret = ca.id_secret();
    let key = hmac::Key::new(hmac::HMAC_SHA256, &*secret);
    let tag = hmac::sign(&key, name.as_bytes());
    let mut id = [0; 16];
    id.copy_from_slice(&tag.as_ref()[..16]);
    PeerId::from_bytes(id)
}

fn signed_message(key: &PublicKey, id: PeerId, assigned_at_ms: u64) -> Vec<u8> {
    let assigned_at = assigned_at_ms.to_be_bytes();
    [b"phin assigned id 1\0".as_slice(), &key.0, &id.to_bytes(), &assigned_at].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "n1";

    fn assigned(ca: &Identity, key: &PublicKey) -> AssignedId {
        AssignedId::sign(ca, key, id_of_name(ca, NAME))
    }

    #[test]
    fn the_id_of_a_name_is_always_the_same_and_depends_on_the_ca_and_the_name() {
        let [ca, other] = [1, 2].map(|seed| Identity::from_seed(&[seed; 32]));
        let id = id_of_name(&ca, NAME);
        assert_eq!(id_of_name(&ca, NAME), id);
        // A later release has to compute the same one.
        assert_eq!(id.to_string(), "20880fcccc3717bc81e012719ee406ce");
        assert_ne!(id_of_name(&ca, "n2"), id);
        assert_ne!(id_of_name(&other, NAME), id);
    }

    #[test]
    fn an_assigned_id_holds_for_one_ca_and_key_and_as_it_is() {
        let [ca, other, member] = [1, 2, 3].map(|seed| Identity::from_seed(&[seed; 32]));
        let (ca_key, key) = (ca.public_key(), member.public_key());
        let assigned = assigned(&ca, &key);
        assert!(assigned.is_signed_by(&ca_key, &key));
        assert!(!assigned.is_signed_by(&other.public_key(), &key), "of another CA");
        assert!(!assigned.is_signed_by(&ca_key, &other.public_key()), "of another key");
        let bytes = assigned.to_bytes();
        assert_eq!(AssignedId::from_bytes(&bytes), Some(assigned));
        for at in 0..bytes.len() {
            let mut changed = bytes;
            changed[at] ^= 1;
            let changed = AssignedId::from_bytes(&changed).unwrap();
            assert!(!changed.is_signed_by(&ca_key, &key), "byte {at}");
            assert_eq!(AssignedId::from_bytes(&bytes[..at]), None, "{at} bytes");
        }
        assert_eq!(AssignedId::from_bytes(&[0; AssignedId::BYTES + 1]), None);
    }

    #[test]
    fn the_rules_tell_ids_of_keys_and_of_cas_apart() {
        let [ca, other, member] = [1, 2, 3].map(|seed| Identity::from_seed(&[seed; 32]));
        let key = member.public_key();
        let (good, foreign) = (assigned(&ca, &key), assigned(&other, &key));
        let rules = |mode| IdRules::new(vec![ca.public_key()], mode);
        let (not_assigned, not_signed) = (Err(IdRefusal::NotAssigned), Err(IdRefusal::NotSigned));
        let cases = [
            (IdRules::default(), None, Ok(())),
            (IdRules::default(), Some(&good), not_signed),
            (rules(AssignedIds::Accept), None, Ok(())),
            (rules(AssignedIds::Accept), Some(&good), Ok(())),
            (rules(AssignedIds::Accept), Some(&foreign), not_signed),
            (rules(AssignedIds::Require), None, not_assigned),
            (rules(AssignedIds::Require), Some(&good), Ok(())),
            (rules(AssignedIds::Require), Some(&foreign), not_signed),
        ];
        for (rules, assigned, expected) in cases {
            assert_eq!(rules.check(&key, assigned), expected, "{rules:?} {assigned:?}");
        }
        let other_key = other.public_key();
        assert_eq!(rules(AssignedIds::Accept).check(&other_key, Some(&good)), not_signed);
    }
}
