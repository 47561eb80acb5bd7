//! `POST /v1/query/{topic}`: asks the applications of members, and streams what becomes of each.

use std::{collections::BTreeMap, convert::Infallible, time::Duration};

use axum::{
    Extension,
    body::Body,
    extract::{RawQuery, State},
    http::{StatusCode, header},
    response::IntoResponse,
};
use futures::stream::{self, Stream};
use phin::{Cluster, Filter, Publication, Query, QueryError, QueryRefusal, Replies, Topic};
use tokio::sync::OwnedSemaphorePermit;
use tracing::debug;

use super::{
    body,
    connections::Usage,
    node::Node,
    path::{Asked, asked, topic},
    publish,
    query::{parameters, parse_filter},
    refusal::Refusal,
};
use crate::reply::{Ended, MemberOutcome, QueryLine, Summary};

/// How members are to be asked.
#[derive(Debug, PartialEq)]
struct How {
    filter: Filter,
    timeout: Option<Duration>,
    select: Select,
}

/// How many of them are asked, or waited for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Select {
    All,
    First(usize),
    Sample(usize),
}

/// The answer to one client. Dropping it ends the query.
struct Answer {
    cluster: Cluster,
    replies: Replies,
    select: Select,
    outcomes: BTreeMap<String, u64>,
    /// Whether the last line was written.
    is_over: bool,
    _slot: OwnedSemaphorePermit,
}

pub(super) async fn query(
    State(node): State<Node>,
    Extension(usage): Extension<Usage>,
    to: Asked<String>,
    RawQuery(query): RawQuery,
    body: Body,
) -> Result<impl IntoResponse, Refusal> {
    let topic = topic(&asked(to)?)?;
    let how = How::read(query.as_deref())?;
    let body = body::message(body, Publication::MAX_BODY_BYTES, &node.message_bodies).await?;
    let slot = node.subscriber_slot()?;
    let select = how.select;
    let replies = node.cluster.query(how.query(&topic, &body.bytes)).await.map_err(refused)?;
    debug!(%topic, bytes = body.bytes.len(), "asks members, as asked over HTTP");
    usage.goes_on();
    let (cluster, outcomes) = (node.cluster, BTreeMap::new());
    let answer = Answer { cluster, replies, select, outcomes, is_over: false, _slot: slot };
    // The exemption of the connection ends with the answer.
    let headers = [(header::CONTENT_TYPE, "application/x-ndjson"), (header::CONNECTION, "close")];
    Ok((headers, Body::from_stream(answer.into_stream())))
}

impl How {
    fn read(query: Option<&str>) -> Result<Self, Refusal> {
        let [filter, timeout, first, sample] =
            parameters(query, ["filter", "timeout", "first", "sample"])?;
        let invalid = |name: &str, text: &str, expected: &str| {
            Refusal::invalid(format!("{name} {text:?}: expected {expected}"))
        };
        let number = |name, text: String| {
            text.parse().map_err(|_| invalid(name, &text, "a number of members"))
        };
        let select = match (first, sample) {
            (None, None) => Select::All,
            (Some(first), None) => Select::First(number("first", first)?),
            (None, Some(sample)) => Select::Sample(number("sample", sample)?),
            (Some(_), Some(_)) => {
                return Err(Refusal::invalid("a query has first or sample, not both"));
            }
        };
        let timeout = timeout.map(|text| {
            let timeout = humantime::parse_duration(&text);
            timeout.map_err(|_| invalid("timeout", &text, "10ms to 10m, such as 2s"))
        });
        Ok(Self { filter: parse_filter(filter)?, timeout: timeout.transpose()?, select })
    }

    fn query(self, topic: &Topic, body: &[u8]) -> Query {
        let query = Query::new(topic, body).to(self.filter);
        let query = match self.timeout {
            Some(timeout) => query.timeout(timeout),
            None => query,
        };
        match self.select {
            Select::All => query,
            Select::First(replies) => query.first(replies),
            Select::Sample(members) => query.sample(members),
        }
    }
}

impl Answer {
    fn into_stream(self) -> impl Stream<Item = Result<Vec<u8>, Infallible>> {
        stream::unfold(self, |mut answer| async move {
            let line = answer.next().await?;
            Some((Ok(line.to_json()), answer))
        })
    }

    /// The next line. There is no last one if the node stops before the query has ended.
    async fn next(&mut self) -> Option<QueryLine> {
        if self.is_over {
            return None;
        }
        if let Some(reply) = self.replies.next().await {
            let outcome = MemberOutcome::new(&reply, &self.cluster.members());
            *self.outcomes.entry(outcome.outcome.clone()).or_default() += 1;
            return Some(QueryLine::Outcome(outcome));
        }
        self.is_over = true;
        self.replies.has_ended().then(|| QueryLine::Ended(self.summary()))
    }

    fn summary(&self) -> Summary {
        let replies = self.outcomes.get("reply").copied().unwrap_or_default();
        let ended = match self.select {
            Select::First(wanted) if usize::try_from(replies) == Ok(wanted) => Ended::Early,
            Select::First(_) | Select::All | Select::Sample(_) => Ended::Complete,
        };
        Summary { ended, outcomes: self.outcomes.clone() }
    }
}

fn refused(error: QueryError) -> Refusal {
    let text = error.to_string();
    match error {
        QueryError::Refused(QueryRefusal::Publish(refusal)) => publish::of_refusal(&refusal, text),
        QueryError::Refused(
            QueryRefusal::Timeout { .. } | QueryRefusal::Sample { .. } | QueryRefusal::Nobody,
        ) => Refusal::invalid(text),
        QueryError::Refused(QueryRefusal::TooMany) => {
            let refusal = Refusal::new(StatusCode::TOO_MANY_REQUESTS, text);
            refusal.retry_after(Duration::from_secs(1))
        }
        // The node has stopped. A later release may have further reasons.
        _ => Refusal::new(StatusCode::SERVICE_UNAVAILABLE, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_say_how_to_ask() {
        let how = |timeout, select| Some(How { filter: Filter::default(), timeout, select });
        let timeout = Some(Duration::from_secs(2));
        for (query, expected) in [
            ("", how(None, Select::All)),
            ("timeout=2s&first=3", how(timeout, Select::First(3))),
            ("sample=2", how(None, Select::Sample(2))),
            ("sample=2&first=3", None),
            ("first=-1", None),
            ("sample=a", None),
            ("timeout=2", None),
            ("filter=role", None),
            ("topic=a", None),
        ] {
            assert_eq!(How::read(Some(query)).ok(), expected, "{query}");
        }
        let filter = "role=db".parse().unwrap();
        assert_eq!(How::read(Some("filter=role%3Ddb")).unwrap().filter, filter);
    }
}
