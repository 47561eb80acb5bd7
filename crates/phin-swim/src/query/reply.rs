//! [`Reply`]: a member's answer to a query, signed by it, so that those that pass it on cannot change or invent it.

use serde::Serialize;

use crate::{
    Generation, Keys, MemberId, PublicKey, QueryAnswer, Signature, query::request::QueryKey,
    wire::bytes::Blob,
};

/// A member's answer to a query.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reply {
    pub(crate) from: MemberId,
    /// Which run of it was asked.
    pub(crate) generation: Generation,
    pub(crate) answer: QueryAnswer,
    pub(crate) signature: Signature,
}

impl Reply {
    /// Signs this node's answer.
    pub(crate) fn sign(
        query: QueryKey,
        (from, generation): (MemberId, Generation),
        answer: QueryAnswer,
        keys: &dyn Keys,
    ) -> Self {
        let unsigned = Self { from, generation, answer, signature: Signature([0; 64]) };
        let signature = keys.sign(&unsigned.signed_message(query));
        Self { signature, ..unsigned }
    }

    /// Whether the member, whose key this is, answered so to this query.
    pub(crate) fn is_authentic(&self, query: QueryKey, key: &PublicKey, keys: &dyn Keys) -> bool {
        keys.verify(key, &self.signed_message(query), &self.signature)
    }

    fn signed_message(&self, query: QueryKey) -> Vec<u8> {
        let Self { from, generation, answer, signature: _ } = self;
        let mut message = b"phin reply 1\0".to_vec();
        (query, from, generation, answer.code(), Blob(answer.body()))
            .serialize(&mut rmp_serde::Serializer::new(&mut message))
            .expect("writing to a vector cannot fail");
        message
    }

    /// Its size as counted by byte limits.
    pub(crate) fn bytes(&self) -> usize {
        OVERHEAD_BYTES + self.answer.body().len()
    }
}

/// Parts of at most so many bytes, unless a single reply is longer.
pub(crate) fn batches(replies: Vec<Reply>, max_bytes: usize) -> Vec<Vec<Reply>> {
    let (mut batches, mut bytes) = (Vec::<Vec<Reply>>::new(), usize::MAX);
    for reply in replies {
        bytes = bytes.saturating_add(reply.bytes());
        match batches.last_mut().filter(|_| bytes <= max_bytes) {
            Some(batch) => batch.push(reply),
            None => {
                bytes = reply.bytes();
                batches.push(vec![reply]);
            }
        }
    }
    batches
}

/// The approximate size of a reply beside its body.
const OVERHEAD_BYTES: usize = 128;
