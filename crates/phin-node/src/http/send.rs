//! `POST /v1/send/{name-or-id}/{topic}`: sends the body to one member.

use std::time::Duration;

use axum::{
    Json,
    body::Body,
    extract::{RawQuery, State},
    http::StatusCode,
};
use phin::{Generation, Member, Message, SendError, SendFailure, SendOptions, SendRefusal};
use tracing::debug;

use super::{
    body,
    lookup::find,
    node::Node,
    path::{Asked, asked, topic},
    query::parameters,
    refusal::Refusal,
};
use crate::{brief::BriefMember, message::Delivered};

/// How the message is to be sent.
#[derive(Debug, PartialEq)]
enum How {
    Reliably { timeout: Option<Duration>, generation: Option<Generation> },
    AsDatagram,
}

pub(super) async fn send(
    State(node): State<Node>,
    names: Asked<(String, String)>,
    RawQuery(query): RawQuery,
    body: Body,
) -> Result<Json<Delivered>, Refusal> {
    let (name, to) = asked(names)?;
    let topic = topic(&to)?;
    let how = how(query.as_deref())?;
    let body = body::message(body, Message::MAX_SENT_BYTES, &node.message_bodies).await?;
    let members = node.cluster.members();
    let (member, _) = find(&members, &name)?;
    let sent = match how {
        How::AsDatagram => node.cluster.send_datagram(member.id(), &topic, &body.bytes).await,
        How::Reliably { timeout, generation } => {
            let options = SendOptions::default();
            let options = timeout.map_or(options, |timeout| options.deadline(timeout));
            let options = generation.map_or(options, |run| options.generation(run));
            node.cluster.send_with(member.id(), &topic, &body.bytes, options).await
        }
    };
    sent.map_err(|error| refused(member, error))?;
    let bytes = body.bytes.len();
    debug!(member = %member.id(), %topic, bytes, "sent a message, as asked over HTTP");
    let delivered = (how != How::AsDatagram).then_some(true);
    let member = BriefMember::new(member.id(), &members);
    Ok(Json(Delivered { delivered, member, topic, bytes }))
}

/// The parameters of the request.
fn how(query: Option<&str>) -> Result<How, Refusal> {
    let [timeout, generation, datagram] = parameters(query, ["timeout", "generation", "datagram"])?;
    let invalid = |name, text: &str, expected| {
        Refusal::invalid(format!("{name} {text:?}: expected {expected}"))
    };
    match datagram.as_deref() {
        None | Some("false") => {}
        Some("true") if timeout.is_none() && generation.is_none() => return Ok(How::AsDatagram),
        Some("true") => {
            let error = "a datagram has no timeout and no generation: nothing answers it";
            return Err(Refusal::invalid(error));
        }
        Some(other) => return Err(invalid("datagram", other, "true or false")),
    }
    let timeout = timeout.map(|text| match humantime::parse_duration(&text) {
        Ok(timeout) if (MIN_TIMEOUT..=MAX_SEND_TIMEOUT).contains(&timeout) => Ok(timeout),
        Ok(_) | Err(_) => Err(invalid("timeout", &text, "1ms to 1m, such as 2s")),
    });
    let generation = generation.map(|text| {
        let number = text.parse().map_err(|_| invalid("generation", &text, "a number"));
        number.map(Generation)
    });
    Ok(How::Reliably { timeout: timeout.transpose()?, generation: generation.transpose()? })
}

/// The answer to a message that was not taken, as far as this node knows.
fn refused(member: &Member, error: SendError) -> Refusal {
    let (status, reason) = match &error {
        SendError::Refused(refusal) => of_refusal(refusal),
        SendError::Failed(failure) => (of_failure(*failure), failure.as_str()),
        // The node has been shut down. A later release may have further reasons.
        _ => (StatusCode::SERVICE_UNAVAILABLE, "stopped"),
    };
    let may_be_taken = match &error {
        SendError::Refused(_) => false,
        SendError::Failed(failure) => may_be_taken(*failure),
        _ => true,
    };
    let but = if may_be_taken { "; it may have taken the message" } else { "" };
    let refusal = Refusal::new(status, format!("{}: {error}{but}", member.name()));
    let refusal = refusal.field("reason", reason);
    let refusal = refusal.field("delivered", if may_be_taken { None } else { Some(false) });
    match status {
        StatusCode::TOO_MANY_REQUESTS => refusal.retry_after(Duration::from_secs(1)),
        _ => refusal,
    }
}

/// The status of a message that was not sent, and the name of the reason.
const fn of_refusal(refusal: &SendRefusal) -> (StatusCode, &'static str) {
    match refusal {
        SendRefusal::NotAMember => (StatusCode::NOT_FOUND, "not-a-member"),
        SendRefusal::Dead => (StatusCode::CONFLICT, "dead"),
        SendRefusal::Left => (StatusCode::CONFLICT, "left"),
        SendRefusal::Restarted => (StatusCode::CONFLICT, "restarted"),
        SendRefusal::TooLong { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "too-long"),
        SendRefusal::TooMany { .. } => (StatusCode::TOO_MANY_REQUESTS, "too-many"),
        SendRefusal::TooManyBytes { .. } => (StatusCode::TOO_MANY_REQUESTS, "too-many-bytes"),
        SendRefusal::Busy { .. } => (StatusCode::TOO_MANY_REQUESTS, "busy"),
        SendRefusal::Departed => (StatusCode::SERVICE_UNAVAILABLE, "departed"),
        // A later release may have further reasons.
        _ => (StatusCode::SERVICE_UNAVAILABLE, "refused"),
    }
}

const fn of_failure(failure: SendFailure) -> StatusCode {
    match failure {
        SendFailure::Restarted | SendFailure::Dead | SendFailure::Left | SendFailure::Forgotten => {
            StatusCode::CONFLICT
        }
        SendFailure::QueueFull | SendFailure::NoReceiver => StatusCode::SERVICE_UNAVAILABLE,
        SendFailure::TimedOut => StatusCode::GATEWAY_TIMEOUT,
        // It is unreachable, or refused for a reason that this release does not know.
        _ => StatusCode::BAD_GATEWAY,
    }
}

/// Whether the member may have taken the message all the same.
const fn may_be_taken(failure: SendFailure) -> bool {
    match failure {
        SendFailure::QueueFull
        | SendFailure::NoReceiver
        | SendFailure::Unreachable
        | SendFailure::Refused => false,
        // The run that the message was for may have taken it before it ended.
        _ => true,
    }
}

const MIN_TIMEOUT: Duration = Duration::from_millis(1);
/// The longest that a client waits for the answer of a member.
pub(crate) const MAX_SEND_TIMEOUT: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_say_how_to_send() {
        let timeout = Some(Duration::from_secs(2));
        let reliably = |timeout, generation| Some(How::Reliably { timeout, generation });
        for (query, expected) in [
            ("", reliably(None, None)),
            ("timeout=2s&generation=3", reliably(timeout, Some(Generation(3)))),
            ("datagram=true", Some(How::AsDatagram)),
            ("datagram=false&timeout=2s", reliably(timeout, None)),
            ("datagram=true&timeout=2s", None),
            ("datagram=yes", None),
            ("timeout=2", None),
            ("timeout=61s", None),
            ("timeout=0s", None),
            ("generation=-1", None),
            ("deadline=2s", None),
        ] {
            assert_eq!(how(Some(query)).ok(), expected, "{query}");
        }
    }
}
