//! Answers of applications to a query, and the outcome that the asker receives for each member.

use std::sync::Arc;

use crate::query::request::QueryKey;

/// The answer of an application.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum QueryAnswer {
    /// A reply of at most [`QueryAnswer::MAX_REPLY_BYTES`].
    Reply(Arc<[u8]>),
    /// Nothing here answers queries of this topic.
    NoHandler,
    /// The application does not want to answer.
    Refused,
    /// The application answers too many queries already.
    Busy,
}

impl QueryAnswer {
    /// The longest reply, in bytes.
    pub const MAX_REPLY_BYTES: usize = 64 * 1_024;

    /// # Errors
    /// The reply is too long.
    pub(crate) fn check(&self) -> Result<(), ReplyError> {
        match self.body().len() {
            bytes if bytes > Self::MAX_REPLY_BYTES => Err(ReplyError::TooLong { bytes }),
            _ => Ok(()),
        }
    }

    /// As it is written, and signed: a number, and the reply.
    pub(crate) fn body(&self) -> &[u8] {
        match self {
            Self::Reply(body) => body,
            Self::NoHandler | Self::Refused | Self::Busy => &[],
        }
    }

    pub(crate) const fn code(&self) -> u8 {
        match self {
            Self::Reply(_) => 0,
            Self::NoHandler => 1,
            Self::Refused => 2,
            Self::Busy => 3,
        }
    }

    /// As it is read; `None` if no node writes it so.
    pub(crate) fn read(code: u8, body: Arc<[u8]>) -> Option<Self> {
        match code {
            0 => Some(Self::Reply(body)),
            1 if body.is_empty() => Some(Self::NoHandler),
            2 if body.is_empty() => Some(Self::Refused),
            3 if body.is_empty() => Some(Self::Busy),
            _ => None,
        }
    }
}

/// Names a query to this node's application ([`Output::Query`](crate::Output::Query)) in its answer.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct QueryToken(pub(crate) QueryKey);

/// Why an answer is not sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplyError {
    /// The reply is longer than [`QueryAnswer::MAX_REPLY_BYTES`].
    #[error("a reply has at most {} bytes, not {bytes}", QueryAnswer::MAX_REPLY_BYTES)]
    TooLong {
        /// The length of the reply.
        bytes: usize,
    },
    /// The query is over, or gave way to others.
    #[error("the query is over")]
    Over,
    /// It was answered before.
    #[error("the query is answered already")]
    Answered,
}

/// The outcome at a member that was asked.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum QueryOutcome {
    /// It replied.
    Reply(Arc<[u8]>),
    /// Nothing there answers queries of this topic.
    NoHandler,
    /// Its application does not want to answer.
    Refused,
    /// Its application answers too many queries already.
    Busy,
    /// It was declared dead.
    Dead,
    /// It left the cluster.
    Left,
    /// Its process was restarted, so the one that was asked cannot reply any more.
    Restarted,
    /// No reply came in time.
    TimedOut,
    /// It replied, but all replies together exceed [`QueryOutcome::MAX_BYTES`].
    OverLimit,
}

impl QueryOutcome {
    /// The most bytes of all replies to a query.
    pub const MAX_BYTES: usize = 16 * 1_024 * 1_024;

    /// Its name in logs, metrics and JSON.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Reply(_) => "reply",
            Self::NoHandler => "no-handler",
            Self::Refused => "refused",
            Self::Busy => "busy",
            Self::Dead => "dead",
            Self::Left => "left",
            Self::Restarted => "restarted",
            Self::TimedOut => "timed-out",
            Self::OverLimit => "over-limit",
        }
    }
}

impl From<QueryAnswer> for QueryOutcome {
    fn from(answer: QueryAnswer) -> Self {
        match answer {
            QueryAnswer::Reply(body) => Self::Reply(body),
            QueryAnswer::NoHandler => Self::NoHandler,
            QueryAnswer::Refused => Self::Refused,
            QueryAnswer::Busy => Self::Busy,
        }
    }
}
