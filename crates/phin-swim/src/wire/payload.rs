//! Payloads in the making: what one datagram or stream carries.

use super::{Part, WIRE_VERSION, codec::parts_of};

/// A payload in the making.
#[derive(Clone, Debug)]
pub(crate) struct Payload(pub(super) Vec<u8>);

impl Payload {
    pub(crate) fn new() -> Self {
        Self(vec![WIRE_VERSION])
    }

    pub(crate) fn of(part: &Part) -> Self {
        let mut payload = Self::new();
        payload.push(part);
        payload
    }

    /// These parts, in order, in payloads of at most `max_bytes`; a longer part has one of its own.
    pub(crate) fn pack<'a>(parts: impl Iterator<Item = &'a Part>, max_bytes: usize) -> Vec<Self> {
        let (mut full, mut last) = (Vec::new(), Self::new());
        for part in parts {
            if !last.push_within(part, max_bytes) {
                full.push(std::mem::replace(&mut last, Self::of(part)));
            }
        }
        full.extend(Some(last).filter(|last| !last.is_empty()));
        full
    }

    /// The same parts in payloads of at most `max_bytes`; a longer part has one of its own.
    pub(crate) fn split(self, max_bytes: usize) -> Vec<Self> {
        let (mut full, mut last) = (Vec::new(), Self::new());
        for part in parts_of(&self.0) {
            if !last.is_empty() && last.len() + part.len() > max_bytes {
                full.push(std::mem::replace(&mut last, Self::new()));
            }
            last.0.extend(part);
        }
        full.extend(Some(last).filter(|last| !last.is_empty()));
        full
    }

    pub(crate) fn push(&mut self, part: &Part) {
        part.encode(&mut self.0);
    }

    /// Appends the part unless the payload would then exceed `max_bytes`; says whether it did.
    pub(crate) fn push_within(&mut self, part: &Part, max_bytes: usize) -> bool {
        let before = self.0.len();
        part.encode(&mut self.0);
        if self.0.len() <= max_bytes {
            return true;
        }
        self.0.truncate(before);
        false
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.len() <= 1
    }

    pub(crate) const fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        member::record::tests::TestKeys,
        member::record::tests::id,
        wire::{Sequence, decode},
    };

    #[test]
    fn a_payload_is_split_between_parts_and_keeps_all_of_them() {
        let mut payload = Payload::new();
        let long = Part::SizeProbeAck { sequence: Sequence(1), padding: 500 };
        let parts: Vec<_> = (0..14).map(|node| Part::Want(vec![id(node)])).chain([long]).collect();
        parts.iter().for_each(|part| payload.push(part));
        for (max_bytes, expected) in [(10_000, 1), (600, 2), (110, 4), (1, 15)] {
            let pieces = payload.clone().split(max_bytes);
            assert_eq!(pieces.len(), expected, "{max_bytes}");
            let fits = |piece: &&Payload| piece.len() <= max_bytes;
            assert!(
                pieces
                    .iter()
                    .filter(|piece| !fits(piece))
                    .all(|piece| { decode(&piece.0, &TestKeys(0)).unwrap().parts.len() == 1 })
            );
            let read =
                pieces.iter().flat_map(|piece| decode(&piece.0, &TestKeys(0)).unwrap().parts);
            assert_eq!(read.collect::<Vec<_>>(), parts, "{max_bytes}");
        }
    }
}
