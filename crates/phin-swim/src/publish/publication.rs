//! [`Publication`]: a message to all members, as its publisher signed it.

use std::{sync::Arc, time::Duration};

use serde::Serialize;

use crate::{
    Filter, Generation, Keys, Member, MemberId, PublicKey, Signature, Topic, is_printable,
    query::request::QueryHeader, wire::bytes::Blob,
};

/// The content of a publication.
///
/// ```
/// # use phin_swim::{PublishRequest, Topic};
/// let topic: Topic = "deploy/started".parse()?;
/// let mut request = PublishRequest::new(topic, b"v42".as_slice());
/// request.filter = "role=web".parse()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct PublishRequest {
    /// Its topic.
    pub topic: Topic,
    /// Its content, at most [`PublishRequest::MAX_BODY_BYTES`].
    pub body: Arc<[u8]>,
    /// The members whose applications receive it. Each decides by its own tags when the message arrives.
    pub filter: Filter,
    /// If given, a later message of this node and topic with the same key replaces this one where it still waits to be read.
    /// At most [`PublishRequest::MAX_COALESCE_BYTES`].
    pub coalesce: Option<Arc<str>>,
}

impl PublishRequest {
    /// The longest content of a message to all members, in bytes.
    pub const MAX_BODY_BYTES: usize = 64 * 1_024;
    /// The longest key by which messages replace each other, in bytes of UTF-8.
    pub const MAX_COALESCE_BYTES: usize = 128;

    /// A message to the applications of all members.
    pub fn new(topic: Topic, body: impl Into<Arc<[u8]>>) -> Self {
        Self { topic, body: body.into(), filter: Filter::default(), coalesce: None }
    }

    pub(crate) fn check(&self) -> Result<(), PublishError> {
        if self.body.len() > Self::MAX_BODY_BYTES {
            return Err(PublishError::TooLong { bytes: self.body.len() });
        }
        self.coalesce.as_deref().map_or(Ok(()), check_coalesce)
    }
}

/// Whether a text can be the key by which messages replace each other.
pub(crate) fn check_coalesce(key: &str) -> Result<(), PublishError> {
    match key.len() {
        1..=PublishRequest::MAX_COALESCE_BYTES if key.chars().all(is_printable) => Ok(()),
        _ => Err(PublishError::CoalesceKey),
    }
}

/// Why a message was not published.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The content is longer than [`PublishRequest::MAX_BODY_BYTES`].
    #[error("a message to all has at most {} bytes, not {bytes}", PublishRequest::MAX_BODY_BYTES)]
    TooLong {
        /// The length of the content.
        bytes: usize,
    },
    /// The key is empty, longer than [`PublishRequest::MAX_COALESCE_BYTES`], or has a character that is not printable.
    #[error("a coalesce key has 1 to {} printable bytes", PublishRequest::MAX_COALESCE_BYTES)]
    CoalesceKey,
    /// This node published as much as it may in a second
    /// ([`Config::max_publications_per_second`](crate::Config::max_publications_per_second),
    /// [`Config::max_published_bytes_per_second`](crate::Config::max_published_bytes_per_second)).
    #[error("this node publishes too much; try again in {retry_after:?}")]
    Busy {
        /// When there will be room for this message.
        retry_after: Duration,
    },
    /// This node leaves the cluster, or has left it.
    #[error("this node has left the cluster")]
    Left,
}

/// A message to all members.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Publication {
    pub(crate) publisher: MemberId,
    pub(crate) generation: Generation,
    /// Counts the publications of this run, from 1.
    pub(crate) sequence: u64,
    /// How many of those directly before it are at most [`RECENT`] older. A receiver that knows nothing of the publisher
    /// yet learns from this which it has missed.
    pub(crate) recent: u16,
    pub(crate) content: PublishRequest,
    /// If given, members are to answer.
    pub(crate) query: Option<QueryHeader>,
    pub(crate) signature: Signature,
}

impl Publication {
    /// Signs what this node publishes.
    pub(crate) fn sign(
        publisher: MemberId,
        (generation, sequence, recent): (Generation, u64, u16),
        (content, query): (PublishRequest, Option<QueryHeader>),
        keys: &dyn Keys,
    ) -> Self {
        let signature = Signature([0; 64]);
        let unsigned = Self { publisher, generation, sequence, recent, content, query, signature };
        let signature = keys.sign(&unsigned.signed_message());
        Self { signature, ..unsigned }
    }

    /// Whether the publisher, whose key this is, signed it.
    pub(crate) fn is_authentic(&self, key: &PublicKey, keys: &dyn Keys) -> bool {
        keys.verify(key, &self.signed_message(), &self.signature)
    }

    /// Everything that a receiver may see of it.
    fn signed_message(&self) -> Vec<u8> {
        let Self { publisher, generation, sequence, recent, content, query, signature: _ } = self;
        let PublishRequest { topic, body, filter, coalesce } = content;
        let content = (topic, filter.to_string(), coalesce.as_deref(), Blob(body));
        let mut message = b"phin publication 1\0".to_vec();
        (publisher, generation, sequence, recent, content, query.as_ref().map(QueryHeader::body))
            .serialize(&mut rmp_serde::Serializer::new(&mut message))
            .expect("writing to a vector cannot fail");
        message
    }

    /// Whether it is a message for the application of this member.
    pub(crate) fn is_message_for(&self, member: &Member) -> bool {
        self.query.is_none() && self.content.filter.matches(member)
    }

    /// Its size as counted by byte limits.
    pub(crate) fn bytes(&self) -> usize {
        let targets = self.query.as_ref().map_or(0, |query| query.targets.len());
        OVERHEAD_BYTES + targets * size_of::<MemberId>() + self.content.body.len()
    }
}

/// Publications at most so much older than another count as recent to it. A gap that is older than this is of a time in which
/// a receiver was not connected.
pub(crate) const RECENT: Duration = Duration::from_secs(10);
/// The largest size of a publication beside its content, apart from a long filter.
const OVERHEAD_BYTES: usize = 512;
