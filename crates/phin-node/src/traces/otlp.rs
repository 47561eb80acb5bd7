//! Spans as OTLP over HTTP has them, in JSON (OpenTelemetry Protocol 1.0, "OTLP/HTTP").

use std::{
    fmt,
    str::FromStr,
    time::{Duration, SystemTime},
};

use phin::{Cluster, Member, MemberId, Vote};
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

/// The address of a collector.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Url(String);

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = "expected http://HOST:PORT of a collector, such as http://127.0.0.1:4318; \
                        for https, run a collector on this machine";
        let uri: ureq::http::Uri = text.parse().map_err(|_| expected)?;
        let is_http = uri.scheme_str() == Some("http") && uri.authority().is_some();
        match (is_http, uri.path()) {
            (false, _) => Err(expected.into()),
            (true, "" | "/") => Ok(Self(format!("{}{PATH}", text.trim_end_matches('/')))),
            (true, _) => Ok(Self(text.to_owned())),
        }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Url {
    /// Sends a request, and blocks until the collector has taken it.
    pub(super) fn post(&self, body: &str) -> Result<(), String> {
        let request = ureq::post(&self.0).content_type("application/json");
        let request = request.config().timeout_global(Some(TIMEOUT)).build();
        request.send(body).map(|_| ()).map_err(|error| error.to_string())
    }
}

/// The node whose spans they are.
#[derive(Clone, Debug)]
pub(super) struct Resource(Value);

impl Resource {
    pub(super) fn of(cluster: &Cluster, cluster_name: &str) -> Self {
        Self(json!({
            "attributes": [
                text("service.name", "phin"),
                text("service.version", env!("CARGO_PKG_VERSION")),
                text("service.instance.id", &cluster.id().to_string()),
                text("phin.cluster", cluster_name),
                text("phin.node", cluster.name()),
            ]
        }))
    }

    /// The body of a request with these spans.
    pub(super) fn request(&self, spans: &[Span]) -> String {
        let scope = json!({ "name": "phin", "version": env!("CARGO_PKG_VERSION") });
        let spans: Vec<_> = spans.iter().map(|span| &span.0).collect();
        let of_scope = json!([{ "scope": scope, "spans": spans }]);
        json!({ "resourceSpans": [{ "resource": self.0, "scopeSpans": of_scope }] }).to_string()
    }
}

/// One suspicion, as one node saw it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Span(Value);

impl Span {
    /// The suspicion of this version of a member, from its beginning to its end.
    pub(super) fn of(member: &Member, (began_at, ended_at): (SystemTime, SystemTime)) -> Self {
        let version = member.version();
        let (generation, incarnation) = (version.generation.0, version.incarnation.0);
        let subject = format!("phin suspicion 1\0{} {generation} {incarnation}", member.id());
        Self(json!({
            "traceId": hex(&digest(&SHA256, subject.as_bytes()).as_ref()[..16]),
            "name": "suspicion",
            "kind": INTERNAL,
            "startTimeUnixNano": nanos(began_at),
            "endTimeUnixNano": nanos(ended_at.max(began_at)),
            "attributes": [
                text("phin.member", member.name()),
                text("phin.member.id", &member.id().to_string()),
                text("phin.member.address", &member.addr().to_string()),
                number("phin.member.generation", f64::from(generation)),
                number("phin.member.incarnation", f64::from(incarnation)),
            ],
            "events": [],
            "status": {},
        }))
    }

    /// The same with the id of the span that this node sends.
    pub(super) fn from(mut self, node: MemberId) -> Self {
        let own = format!("{} {node}", self.0["traceId"]);
        self.0["spanId"] = hex(&digest(&SHA256, own.as_bytes()).as_ref()[..8]).into();
        self
    }

    pub(super) fn add(&mut self, key: &str, value: &str) {
        push(&mut self.0["attributes"], text(key, value));
    }

    pub(super) fn add_number(&mut self, key: &str, value: f64) {
        push(&mut self.0["attributes"], number(key, value));
    }

    pub(super) fn add_event(&mut self, at: SystemTime, name: &str, attributes: Vec<Value>) {
        let event = json!({ "timeUnixNano": nanos(at), "name": name, "attributes": attributes });
        push(&mut self.0["events"], event);
    }

    /// A vote of an observer, at the time of its first ping that was not answered.
    pub(super) fn add_vote(&mut self, vote: &Vote) {
        let observer = vote.observer.name.as_ref();
        let observer =
            observer.map_or_else(|| vote.observer.id.to_string(), |name| name.as_str().to_owned());
        let attributes = vec![
            text("phin.observer", &observer),
            number("phin.phi", vote.phi),
            number("phin.pings_missed", f64::from(vote.pings_missed)),
            text("phin.silence", vote.silence.as_str()),
        ];
        self.add_event(vote.silent_since, "vote", attributes);
    }
}

fn push(list: &mut Value, value: Value) {
    list.as_array_mut().expect("it was made as a list").push(value);
}

fn text(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

fn number(key: &str, value: f64) -> Value {
    json!({ "key": key, "value": { "doubleValue": value } })
}

/// Nanoseconds since 1970 in a string, as JSON has 64-bit integers.
fn nanos(at: SystemTime) -> String {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    since.as_nanos().to_string()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Where a collector receives traces unless the address says otherwise.
const PATH: &str = "/v1/traces";
/// `SPAN_KIND_INTERNAL`.
const INTERNAL: u8 = 1;
/// How long a collector may take for a request.
const TIMEOUT: Duration = Duration::from_secs(5);
