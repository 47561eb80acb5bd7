//! [`Event`]: a message to all members on the wire of the baselines.

use super::Reader;
use crate::{
    node::{Generation, MessageLine, NodeId},
    phin::message_hash,
};

/// A message to all members.
#[derive(Clone, Copy)]
pub(super) struct Event<'a> {
    pub(super) from: NodeId,
    pub(super) sequence: u64,
    pub(super) hops: u8,
    pub(super) topic: &'a str,
    pub(super) body: &'a [u8],
}

impl<'a> Event<'a> {
    /// Writes it with a header of this length, which must be longer than what is written.
    pub(super) fn encode(&self, header: usize) -> Vec<u8> {
        let mut bytes = self.from.0.to_le_bytes().to_vec();
        bytes.extend(self.sequence.to_le_bytes());
        bytes.push(self.hops);
        bytes.push(self.topic.len() as u8);
        bytes.extend((self.body.len() as u32).to_le_bytes());
        bytes.resize(header, 0);
        bytes.extend(self.topic.as_bytes());
        bytes.extend_from_slice(self.body);
        bytes
    }

    pub(super) fn decode(reader: &mut Reader<'a>, header: usize) -> Option<Self> {
        let (from, sequence) = (reader.node()?, reader.long()?);
        let (hops, topic_len, body_len) = (reader.byte()?, reader.byte()?, reader.number()?);
        reader.bytes(header.checked_sub(WRITTEN_BYTES)?)?;
        let topic = std::str::from_utf8(reader.bytes(topic_len.into())?).ok()?;
        let body = reader.bytes(body_len as usize)?;
        Some(Self { from, sequence, hops, topic, body })
    }

    /// The same after one more member passed it on.
    pub(super) const fn next_hop(self) -> Self {
        Self { hops: self.hops.saturating_add(1), ..self }
    }

    pub(super) fn line(&self) -> MessageLine {
        let Self { from, sequence, hops, topic, body } = *self;
        let (bytes, content) = (body.len(), message_hash(topic, body));
        MessageLine { from, generation: Generation(1), sequence, hops, bytes, content }
    }
}

/// The bytes of a header.
const WRITTEN_BYTES: usize = 18;
