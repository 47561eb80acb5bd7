//! Payloads in the making: what one datagram or stream carries.

use super::{Part, WIRE_VERSION};

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
