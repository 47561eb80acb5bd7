//! Byte arrays: of a fixed length, such as ids, keys and signatures, and of one that is limited.

use std::{fmt, marker::PhantomData, sync::Arc};

use serde::{Deserialize, Serialize};

/// A fixed number of bytes as one MessagePack `bin`.
pub(crate) struct Bytes<const N: usize>(pub(crate) [u8; N]);

impl<const N: usize> Serialize for Bytes<N> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de, const N: usize> Deserialize<'de> for Bytes<N> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<const N: usize>;
        impl<const N: usize> serde::de::Visitor<'_> for Visitor<N> {
            type Value = Bytes<N>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{N} bytes")
            }

            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Bytes<N>, E> {
                let bytes = bytes.try_into().map_err(|_| E::invalid_length(bytes.len(), &self))?;
                Ok(Bytes(bytes))
            }
        }
        deserializer.deserialize_bytes(Visitor::<N>)
    }
}

/// Bytes as one MessagePack `bin`.
pub(crate) struct Blob<'a>(pub(crate) &'a [u8]);

impl Serialize for Blob<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

/// The same, read: at most so many.
pub(crate) struct AtMost<const MAX: usize, T = Arc<[u8]>>(pub(crate) T);

impl<'de, const MAX: usize, T: for<'a> From<&'a [u8]>> Deserialize<'de> for AtMost<MAX, T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(AtMostVisitor::<MAX, T>(PhantomData))
    }
}

struct AtMostVisitor<const MAX: usize, T>(PhantomData<T>);

impl<const MAX: usize, T: for<'a> From<&'a [u8]>> serde::de::Visitor<'_> for AtMostVisitor<MAX, T> {
    type Value = AtMost<MAX, T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at most {MAX} bytes")
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
        match bytes.len() {
            many if many > MAX => Err(E::invalid_length(many, &self)),
            _ => Ok(AtMost(bytes.into())),
        }
    }
}
