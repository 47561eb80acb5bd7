//! [`QueryRequest`]: what an application asks the applications of members.

use std::{fmt, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{Filter, Generation, MemberId, PublishError, PublishRequest, Topic};

/// A question to the applications of members.
///
/// ```
/// # use std::time::Duration;
/// # use phin_swim::{QueryRequest, Select, Topic};
/// let topic: Topic = "disk/free".parse()?;
/// let mut request = QueryRequest::new(topic, b"/var".as_slice());
/// request.filter = "role=db".parse()?;
/// request.timeout = Duration::from_secs(2);
/// request.select = Select::First(3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct QueryRequest {
    /// Its topic.
    pub topic: Topic,
    /// Its content, at most [`PublishRequest::MAX_BODY_BYTES`].
    pub body: Arc<[u8]>,
    /// The live members for whose tags this holds are asked.
    pub filter: Filter,
    /// When those that have not replied are no longer waited for, [`QueryRequest::MIN_TIMEOUT`] to
    /// [`QueryRequest::MAX_TIMEOUT`], in whole milliseconds.
    pub timeout: Duration,
    /// How many members are asked or waited for.
    pub select: Select,
}

/// How many members are asked, and for how many replies a query waits.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Select {
    /// All members that match are asked and waited for.
    #[default]
    All,
    /// All are asked. The query ends with the reply that completes this number.
    First(usize),
    /// This many of them, chosen at random, are asked and waited for: at most [`QueryRequest::MAX_SAMPLE`].
    Sample(usize),
}

impl QueryRequest {
    /// The shortest timeout.
    pub const MIN_TIMEOUT: Duration = Duration::from_millis(10);
    /// The longest timeout.
    pub const MAX_TIMEOUT: Duration = Duration::from_secs(600);
    /// The most members of a [`Select::Sample`].
    pub const MAX_SAMPLE: usize = 1_024;

    /// A question to all members, which have 10 s to reply.
    pub fn new(topic: Topic, body: impl Into<Arc<[u8]>>) -> Self {
        let (timeout, select) = (Duration::from_secs(10), Select::All);
        Self { topic, body: body.into(), filter: Filter::default(), timeout, select }
    }

    /// # Errors
    /// No node can ask this.
    pub(crate) fn check(&self) -> Result<(), QueryError> {
        self.content().check()?;
        if !(Self::MIN_TIMEOUT..=Self::MAX_TIMEOUT).contains(&self.timeout) {
            return Err(QueryError::Timeout { timeout: self.timeout });
        }
        match self.select {
            Select::Sample(many) if many > Self::MAX_SAMPLE => Err(QueryError::Sample { many }),
            Select::First(0) | Select::Sample(0) => Err(QueryError::Nobody),
            Select::All | Select::First(_) | Select::Sample(_) => Ok(()),
        }
    }

    /// The content to publish if all are asked.
    pub(crate) fn content(&self) -> PublishRequest {
        let Self { topic, body, filter, .. } = self.clone();
        PublishRequest { topic, body, filter, coalesce: None }
    }
}

/// The number of a query among those of a run of the node that asks.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
)]
pub struct QueryId(pub u64);

impl fmt::Display for QueryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A query, among those of all members.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub(crate) struct QueryKey {
    /// The member that asks.
    pub(crate) caller: MemberId,
    /// Its run.
    pub(crate) generation: Generation,
    pub(crate) id: QueryId,
}

/// The header that makes a publication a query.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct QueryHeader {
    pub(crate) id: QueryId,
    /// The time in which members reply.
    pub(crate) within: Duration,
    /// The members that are asked; at most [`QueryRequest::MAX_SAMPLE`]. Empty if the filter alone says which.
    pub(crate) targets: Vec<MemberId>,
}

impl QueryHeader {
    /// As it is written, and signed.
    pub(crate) fn body(&self) -> impl Serialize + '_ {
        (self.id, millis(self.within), &self.targets)
    }

    /// As it is read; `None` if no node writes it so.
    pub(crate) fn read((id, within, targets): (QueryId, u32, Vec<MemberId>)) -> Option<Self> {
        let within = read_timeout(within)?;
        let is_sample = targets.len() <= QueryRequest::MAX_SAMPLE;
        is_sample.then_some(Self { id, within, targets })
    }
}

/// A timeout as it is written: in milliseconds.
pub(crate) fn millis(timeout: Duration) -> u32 {
    u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX)
}

/// A timeout as it is read; `None` if no node writes it so.
pub(crate) fn read_timeout(millis: u32) -> Option<Duration> {
    let timeout = Duration::from_millis(millis.into());
    (QueryRequest::MIN_TIMEOUT..=QueryRequest::MAX_TIMEOUT).contains(&timeout).then_some(timeout)
}

/// Why a query did not begin.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// It cannot be published: a query counts as a publication.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The timeout is too short or too long.
    #[error(
        "the timeout of a query is {:?} to {:?}, not {timeout:?}",
        QueryRequest::MIN_TIMEOUT,
        QueryRequest::MAX_TIMEOUT
    )]
    Timeout {
        /// The timeout given.
        timeout: Duration,
    },
    /// The sample is too large.
    #[error("a sample has at most {} members, not {many}", QueryRequest::MAX_SAMPLE)]
    Sample {
        /// The number given.
        many: usize,
    },
    /// The first 0 replies, or a sample of 0 members.
    #[error("a query is for at least one member")]
    Nobody,
    /// As many queries of this node are under way as may be ([`Swim::MAX_QUERIES`](crate::Swim::MAX_QUERIES)).
    #[error("too many queries are under way")]
    TooMany,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_node_can_ask_is_refused() {
        let request = |timeout, select| {
            let mut request = QueryRequest::new("t".parse().unwrap(), b"".as_slice());
            (request.timeout, request.select) = (Duration::from_millis(timeout), select);
            request.check().map_err(|error| error.to_string())
        };
        let cases = [
            (10, Select::All, Ok(())),
            (600_000, Select::First(1), Ok(())),
            (1_000, Select::Sample(1_024), Ok(())),
            (9, Select::All, Err("the timeout of a query is 10ms to 600s, not 9ms")),
            (600_001, Select::All, Err("the timeout of a query is 10ms to 600s, not 600.001s")),
            (1_000, Select::Sample(1_025), Err("a sample has at most 1024 members, not 1025")),
            (1_000, Select::Sample(0), Err("a query is for at least one member")),
            (1_000, Select::First(0), Err("a query is for at least one member")),
        ];
        for (timeout, select, expected) in cases {
            let expected = expected.map_err(str::to_owned);
            assert_eq!(request(timeout, select), expected, "{timeout} {select:?}");
        }
        let long = QueryRequest::new("t".parse().unwrap(), vec![0; 65_537]);
        let too_long = PublishError::TooLong { bytes: 65_537 };
        assert_eq!(long.check(), Err(QueryError::Publish(too_long)));
    }

    #[test]
    fn a_header_that_no_node_writes_is_not_read() {
        let targets = |many| vec![MemberId([1; 16]); many];
        let cases = [
            (10, 0, true),
            (9, 0, false),
            (600_000, 1_024, true),
            (600_001, 0, false),
            (1_000, 1_025, false),
        ];
        for (within, many, is_read) in cases {
            let header = QueryHeader::read((QueryId(1), within, targets(many)));
            assert_eq!(header.is_some(), is_read, "{within} ms, {many} targets");
        }
    }
}
