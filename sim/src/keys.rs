//! A cheap replacement for Ed25519, the same on every machine. It proves nothing, because no simulated member forges.

use phin_swim::{Keys, MemberId, PublicKey, Signature};

use crate::{node::NodeId, trace::mix};

/// The keys of one member: its number and the run's seed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SimKeys {
    pub(crate) node: NodeId,
    pub(crate) seed: u64,
}

impl SimKeys {
    /// The id of a member. 96 bits are a hash of seed and number. The rest encodes the number, so that it can be
    /// decoded, while every rotation of the bits gives a random order of members, as with real ids.
    pub(crate) const fn id(self) -> MemberId {
        let high = mix(self.seed ^ mix(self.node.0 as u64));
        let low = mix(high) as u32;
        let id =
            (high as u128) << 64 | (low as u128) << 32 | (self.node.0 ^ veil(high, low)) as u128;
        MemberId(id.to_be_bytes())
    }

    /// The keys of the run's administrator, which no member has.
    pub(crate) const fn admin(self) -> Self {
        Self { node: NodeId(u32::MAX), ..self }
    }

    /// The member with this id, if there is one in the run.
    pub(crate) fn node_of(self, id: MemberId) -> Option<NodeId> {
        let id_bits = u128::from_be_bytes(id.0);
        let (high, low) = ((id_bits >> 64) as u64, (id_bits >> 32) as u32);
        let node = NodeId(id_bits as u32 ^ veil(high, low));
        (Self { node, ..self }.id() == id).then_some(node)
    }
}

const fn veil(high: u64, low: u32) -> u32 {
    mix(high ^ ((low as u64) << 16)) as u32
}

impl Keys for SimKeys {
    fn public_key(&self) -> PublicKey {
        let mut key = [0; 32];
        key[..16].copy_from_slice(&self.id().0);
        PublicKey(key)
    }

    fn member_id(&self, key: &PublicKey) -> MemberId {
        let mut id = [0; 16];
        id.copy_from_slice(&key.0[..16]);
        MemberId(id)
    }

    fn sign(&self, message: &[u8]) -> Signature {
        sign(&self.public_key(), message)
    }

    fn verify(&self, key: &PublicKey, message: &[u8], signature: &Signature) -> bool {
        sign(key, message) == *signature
    }
}

fn sign(key: &PublicKey, message: &[u8]) -> Signature {
    let mut hash = 0;
    for chunk in key.0.chunks(8).chain(message.chunks(8)) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        hash = mix(hash ^ u64::from_le_bytes(word));
    }
    let mut signature = [0; 64];
    for (place, bytes) in signature.chunks_mut(8).enumerate() {
        bytes.copy_from_slice(&mix(hash ^ place as u64).to_le_bytes());
    }
    Signature(signature)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_are_read_back_and_signatures_hold() {
        for number in [0, 1, 2, 77, 9_999, u32::MAX] {
            let keys = SimKeys { node: NodeId(number), seed: 3 };
            let id = keys.id();
            assert_eq!(keys.node_of(id), Some(NodeId(number)));
            assert_eq!(SimKeys { node: NodeId(0), seed: 4 }.node_of(id), None);
            let signature = keys.sign(b"word");
            assert!(keys.verify(&keys.public_key(), b"word", &signature));
            assert!(!keys.verify(&keys.public_key(), b"words", &signature));
        }
    }
}
