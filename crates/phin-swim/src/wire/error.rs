//! Why a payload, or a record in one, cannot be read.

/// Why a payload cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error("empty payload")]
    Empty,
    #[error("wire version {0} is not spoken here")]
    UnknownVersion(u8),
    #[error("{what} of {bytes} bytes is too long")]
    TooLong { what: &'static str, bytes: usize },
    #[error("invalid {0}")]
    Invalid(&'static str),
    #[error("malformed MessagePack")]
    Malformed(#[from] rmp_serde::decode::Error),
}
