//! The HTTP client of the commands.

mod unix;

use std::{env, io::BufReader, net::SocketAddr, path::PathBuf, time::Duration};

use phin::{Filter, MemberData, MemberState};
use serde::{Serialize, de::DeserializeOwned};
use ureq::{
    Agent, Body, BodyReader, SendBody,
    config::Config,
    http::{HeaderValue, Request, Response, header},
    middleware::{Middleware, MiddlewareNext},
};

use crate::{
    failure::{Failure, with_causes},
    http::{Addr, LEAVE_DEADLINE, data::STATE_HEADER, send::MAX_SEND_TIMEOUT},
    text::escaped,
    token::Tokens,
};

/// The node that a command sends its request to.
#[derive(Clone, clap::Args)]
pub(crate) struct Target {
    /// The node's HTTP address, as `phin run --http` has it; or unix:PATH
    #[arg(long, value_name = "URL", env = "PHIN_HTTP", default_value = "http://127.0.0.1:7647")]
    http: String,
    /// File with the token of the node (phin run --http-token-file), if it needs one; or the token is in PHIN_HTTP_TOKEN
    #[arg(long, value_name = "FILE", env = "PHIN_HTTP_TOKEN_FILE")]
    token_file: Option<PathBuf>,
}

/// An answer without an end.
pub(crate) type Stream = BufReader<BodyReader<'static>>;

/// An HTTP client of one node.
pub(crate) struct Client {
    agent: Agent,
    /// The beginning of each URL.
    origin: String,
    /// The node in messages.
    base: String,
}

/// Sends a token with each request.
struct Authorization(HeaderValue);

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    #[error("{base} does not answer; does a node run there with --http?")]
    NoAnswer { base: String, source: ureq::Error },
    #[error(
        "{base} accepted the connection but does not answer; the process is stopped or starved, or is no phin node"
    )]
    Silent { base: String },
    #[error("{base} answered {status}: {error}")]
    Refused { base: String, status: u16, error: String },
    #[error("{base} sent an answer that is not from phin")]
    NotPhin { base: String, source: Box<dyn std::error::Error + Send + Sync> },
}

impl From<RequestError> for Failure {
    fn from(error: RequestError) -> Self {
        Self::Runtime(with_causes(&error))
    }
}

impl Client {
    /// Creates a client of the node at this URL, whose scheme may be omitted, or at the socket of `unix:PATH`.
    pub(crate) fn new(target: &Target) -> Result<Self, Failure> {
        let token = target.token()?;
        let url = target.http.trim();
        if let Some(path) = Addr::unix_path(url) {
            let path = path.map_err(|error| Failure::Usage(format!("--http {url:?}: {error}")))?;
            let base = Addr::Unix(path.clone()).to_string();
            let agent = Agent::with_parts(config(token)?, unix::ToSocket(path), unix::NoNames);
            return Ok(Self { agent, origin: "http://localhost".into(), base });
        }
        let url = url.trim_end_matches('/');
        let authority = url.strip_prefix("http://").unwrap_or(url);
        let is_authority = ureq::http::uri::Authority::try_from(authority).is_ok();
        if !is_authority || authority.contains('@') {
            let expected = "expected http://HOST:PORT, such as http://127.0.0.1:7647, or unix:PATH";
            return Err(Failure::Usage(format!("--http {:?}: {expected}", target.http)));
        }
        Self::of_authority(authority, token)
    }

    /// Creates a client of the node at this address, which needs no token.
    pub(crate) fn at(addr: SocketAddr) -> Result<Self, Failure> {
        Self::of_authority(&addr.to_string(), None)
    }

    fn of_authority(authority: &str, token: Option<Tokens>) -> Result<Self, Failure> {
        let origin = format!("http://{authority}");
        Ok(Self { agent: config(token)?.into(), base: origin.clone(), origin })
    }

    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, RequestError> {
        let response = self.agent.get(format!("{}{path}", self.origin)).call();
        self.json(self.accepted(response)?)
    }

    /// Sends these bytes as they are.
    pub(crate) fn put_bytes<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &[u8],
    ) -> Result<T, RequestError> {
        let response = self.agent.put(format!("{}{path}", self.origin)).send(body);
        self.json(self.accepted(response)?)
    }

    /// Posts JSON.
    pub(crate) fn post_json<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &[u8],
    ) -> Result<T, RequestError> {
        let request = self.agent.post(format!("{}{path}", self.origin));
        let response = request.content_type("application/json").send(body);
        self.json(self.accepted(response)?)
    }

    /// Posts these bytes as they are. The answer may take as long as that of another member.
    pub(crate) fn post_bytes<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &[u8],
    ) -> Result<T, RequestError> {
        let request = self.agent.post(format!("{}{path}", self.origin));
        let request = request.content_type("application/octet-stream");
        let wait = Some(MAX_SEND_TIMEOUT + MAX_ANSWER_TIME);
        let patient = request.config().timeout_recv_response(wait).timeout_per_read(wait).build();
        let response = patient.send(body);
        self.json(self.accepted(response)?)
    }

    /// Posts these bytes, and opens the stream that answers. Fails if it is silent for longer than `timeout` and an answer takes.
    pub(crate) fn post_stream(
        &self,
        path: &str,
        body: &[u8],
        timeout: Duration,
    ) -> Result<Stream, RequestError> {
        let request = self.agent.post(format!("{}{path}", self.origin));
        let request = request.content_type("application/octet-stream");
        let patient = request.config().timeout_per_read(Some(timeout + MAX_ANSWER_TIME)).build();
        let response = patient.send(body);
        Ok(BufReader::new(self.accepted(response)?.into_body().into_reader()))
    }

    /// A text of at most the length of other answers.
    pub(crate) fn text(&self, path: &str) -> Result<String, RequestError> {
        let response = self.agent.get(format!("{}{path}", self.origin)).call();
        let mut body = self.accepted(response)?.into_body();
        let text = body.with_config().limit(MAX_ANSWER_BYTES).read_to_string();
        let not_phin = |error: ureq::Error| RequestError::NotPhin {
            base: self.base.clone(),
            source: error.into(),
        };
        text.map_err(not_phin)
    }

    pub(crate) fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, RequestError> {
        let response = self.agent.delete(format!("{}{path}", self.origin)).call();
        self.json(self.accepted(response)?)
    }

    /// A value of member data, and the state of its member.
    pub(crate) fn value(&self, path: &str) -> Result<(Vec<u8>, MemberState), RequestError> {
        let response = self.agent.get(format!("{}{path}", self.origin)).call();
        let response = self.accepted(response)?;
        let not_phin = |source| RequestError::NotPhin { base: self.base.clone(), source };
        let state = response.headers().get(STATE_HEADER).and_then(|state| state.to_str().ok());
        let state = STATES.into_iter().find(|known| state == Some(known.as_str()));
        let state = state.ok_or_else(|| not_phin(format!("{STATE_HEADER} is missing").into()))?;
        let mut body = response.into_body();
        let value = body.with_config().limit(MemberData::MAX_VALUE_BYTES as u64).read_to_vec();
        Ok((value.map_err(|error| not_phin(error.into()))?, state))
    }

    pub(crate) fn post<T: DeserializeOwned>(&self, path: &str) -> Result<T, RequestError> {
        let response = self.agent.post(format!("{}{path}", self.origin)).send_empty();
        self.json(self.accepted(response)?)
    }

    pub(crate) fn put<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, RequestError> {
        let response = self.agent.put(format!("{}{path}", self.origin)).send_json(body);
        self.json(self.accepted(response)?)
    }

    pub(crate) fn patch<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, RequestError> {
        let response = self.agent.patch(format!("{}{path}", self.origin)).send_json(body);
        self.json(self.accepted(response)?)
    }

    /// Opens a stream without an end. Fails if it is silent for too long.
    pub(crate) fn stream(&self, path: &str) -> Result<Stream, RequestError> {
        let response = self.agent.get(format!("{}{path}", self.origin)).call();
        Ok(BufReader::new(self.accepted(response)?.into_body().into_reader()))
    }

    fn accepted(
        &self,
        response: Result<Response<Body>, ureq::Error>,
    ) -> Result<Response<Body>, RequestError> {
        let base = || self.base.clone();
        let response = response.map_err(|source| match source {
            ureq::Error::Timeout(ureq::Timeout::RecvResponse) => {
                RequestError::Silent { base: base() }
            }
            source => RequestError::NoAnswer { base: base(), source },
        })?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let body = self.json::<serde_json::Value>(response).unwrap_or_default();
        let Some(error) = body["error"].as_str() else {
            let source = format!("it is {status}, without a reason").into();
            return Err(RequestError::NotPhin { base: base(), source });
        };
        let status = status.as_u16();
        let error = escaped(&error.chars().take(MAX_ERROR_CHARS).collect::<String>());
        Err(RequestError::Refused { base: base(), status, error })
    }

    fn json<T: DeserializeOwned>(&self, response: Response<Body>) -> Result<T, RequestError> {
        let not_phin = |source| RequestError::NotPhin { base: self.base.clone(), source };
        let mut body = response.into_body();
        let text = body.with_config().limit(MAX_ANSWER_BYTES).read_to_vec();
        let text = text.map_err(|error| not_phin(error.into()))?;
        serde_json::from_slice(&text).map_err(|error| not_phin(error.into()))
    }
}

impl Target {
    /// The token of the flag or its variable, or else of the variable that holds it. No flag holds it: every user of the
    /// machine can see the command line.
    fn token(&self) -> Result<Option<Tokens>, Failure> {
        if let Some(path) = &self.token_file {
            let failed = |error| Failure::Usage(format!("--token-file: {}", with_causes(&error)));
            return Tokens::read(path).map(Some).map_err(failed);
        }
        let Some(text) = env::var_os(TOKEN_VARIABLE) else {
            return Ok(None);
        };
        let tokens = Tokens::parse(&text.to_string_lossy());
        tokens.map(Some).map_err(|error| Failure::Usage(format!("{TOKEN_VARIABLE}: {error}")))
    }
}

impl Middleware for Authorization {
    fn handle(
        &self,
        mut request: Request<SendBody<'_>>,
        next: MiddlewareNext<'_>,
    ) -> Result<Response<Body>, ureq::Error> {
        request.headers_mut().insert(header::AUTHORIZATION, self.0.clone());
        next.handle(request)
    }
}

fn config(tokens: Option<Tokens>) -> Result<Config, Failure> {
    let builder = Agent::config_builder()
        // No proxy: one from the environment would connect to its own loopback address.
        .proxy(None)
        .http_status_as_error(false)
        .max_redirects(0)
        .timeout_connect(Some(Duration::from_secs(5)))
        .timeout_recv_response(Some(MAX_ANSWER_TIME))
        .timeout_per_read(Some(MAX_SILENCE));
    let Some(tokens) = tokens else {
        return Ok(builder.build());
    };
    let value = HeaderValue::try_from(format!("Bearer {}", tokens.first()));
    let mut value = value.map_err(|error| Failure::runtime("cannot send the token", &error))?;
    value.set_sensitive(true);
    Ok(builder.middleware(Authorization(value)).build())
}

/// The path of a resource of a member, with its name escaped (RFC 3986 §2.1).
pub(crate) fn member_path(member: &str, what: &str) -> String {
    format!("/v1/members/{}/{what}", in_path(member))
}

/// A part of a path: what a path cannot have is escaped (RFC 3986 §2.1).
pub(crate) fn in_path(text: &str) -> String {
    let mut part = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' => part.push(byte.into()),
            _ => part.push_str(&format!("%{byte:02X}")),
        }
    }
    part
}

/// This path for the members that match, if there is a filter.
pub(crate) fn filtered(path: &str, filter: &Filter) -> String {
    let filter = filter.to_string();
    match filter.is_empty() {
        true => path.to_owned(),
        false => {
            let filter: String = form_urlencoded::byte_serialize(filter.as_bytes()).collect();
            format!("{path}?filter={filter}")
        }
    }
}

/// The variable that holds the token itself, for nodes and commands.
const TOKEN_VARIABLE: &str = "PHIN_HTTP_TOKEN";
/// The longest wait for an answer. Leaving takes longest.
const MAX_ANSWER_TIME: Duration = LEAVE_DEADLINE.saturating_mul(2);
/// The longest silence of a stream: longer than the interval of the comments that keep it alive.
const MAX_SILENCE: Duration = Duration::from_secs(40);
/// The longest answer: several times a list of 65,536 members.
const MAX_ANSWER_BYTES: u64 = 128 * 1024 * 1024;
const MAX_ERROR_CHARS: usize = 500;
const STATES: [MemberState; 4] =
    [MemberState::Alive, MemberState::Suspect, MemberState::Dead, MemberState::Left];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_where_a_path_needs_it() {
        assert_eq!(member_path("n-1", "why"), "/v1/members/n-1/why");
        assert_eq!(member_path("a/..?ä", "forget"), "/v1/members/a%2F%2E%2E%3F%C3%A4/forget");
    }
}
