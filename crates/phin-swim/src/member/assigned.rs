//! An id that a CA assigned to a member, as the member's record carries it.

use crate::{MemberId, PublicKey, Signature};

/// The statement of a CA that the holder of a key has an id. Without one, a member has the id of its key.
///
/// A member can choose the id of its key by trying keys, and so its place in the rings. It cannot choose an assigned one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AssignedId {
    /// The id.
    pub id: MemberId,
    /// When the CA assigned it, in milliseconds of Unix time. If several keys have one id, the latest counts.
    pub assigned_at_ms: u64,
    /// The signature of the CA, which [`Keys::accepts_id`](crate::Keys::accepts_id) verifies.
    pub signature: Signature,
}

impl AssignedId {
    /// The length of [`AssignedId::to_bytes`].
    pub const BYTES: usize = 16 + 8 + 64;

    /// The id, the time and the signature, integers in network order.
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..16].copy_from_slice(&self.id.0);
        bytes[16..24].copy_from_slice(&self.assigned_at_ms.to_be_bytes());
        bytes[24..].copy_from_slice(&self.signature.0);
        bytes
    }

    /// Reads what [`AssignedId::to_bytes`] wrote. Does not verify the signature.
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let (id, rest) = bytes.split_first_chunk().expect("the length is fixed");
        let (assigned_at, signature) = rest.split_first_chunk().expect("the length is fixed");
        Self {
            id: MemberId(*id),
            assigned_at_ms: u64::from_be_bytes(*assigned_at),
            signature: Signature(signature.try_into().expect("the length is fixed")),
        }
    }
}

/// The key of a member and when a CA assigned its id to that key: of two keys with one id, the later one counts.
pub(crate) struct Holder {
    pub(crate) key: PublicKey,
    pub(crate) assigned_at_ms: Option<u64>,
}

impl Holder {
    /// Whether a record of this holder counts where the id is known to be that of `known`.
    pub(crate) fn may_follow(&self, known: &Self) -> bool {
        self.key == known.key || self.assigned_at_ms > known.assigned_at_ms
    }
}
