//! Refuses requests without a token where one is needed, those that a web page of another origin could send through a
//! browser on this machine, and long bodies.
//!
//! With a token, every request needs it but a probe, and `GET /`: the web page and the list of paths have no data. A page of
//! another origin cannot know it, so a request with it may use any host name.
//!
//! The other checks use headers that the browser sets and a page cannot change. A page of another origin sends its
//! `Origin`, or `Sec-Fetch-Site` (W3C Fetch Metadata). A page whose name resolves to this machine (DNS rebinding)
//! sends that name as `Host`. A form cannot post, because its content types are refused too.
//!
//! The operator can allow host names. Probes work under any name and without a token, because they reveal only whether the
//! node works. By default, requests that change state are accepted only from this machine.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, header, uri::Authority},
    middleware::Next,
    response::{IntoResponse, Response},
};

use tracing::warn;

use super::{body::max_bytes, refusal::Refusal};
use crate::token::Tokens;

/// The allowed clients and host names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Access {
    /// The tokens of which a request needs one; `None` if it needs none.
    pub(crate) tokens: Option<Tokens>,
    /// Allowed host names, in lower case.
    pub(crate) hosts: Vec<String>,
    /// Whether other machines may send requests that change state.
    pub(crate) remote_writes: bool,
}

/// The guard of a running server.
#[derive(Debug, Default)]
pub(crate) struct Guard {
    access: RwLock<Arc<Access>>,
    unauthorized: AtomicU64,
    last_warned: Mutex<Option<Instant>>,
}

/// The source of a request.
#[derive(Clone, Copy, Debug)]
pub(super) enum From {
    Tcp(SocketAddr),
    /// A process of this machine that can use the Unix socket.
    Unix,
}

impl Guard {
    pub(crate) fn new(access: Access) -> Self {
        Self { access: RwLock::new(Arc::new(access)), ..Self::default() }
    }

    /// The number of requests refused because they had no valid token.
    pub(super) fn unauthorized(&self) -> u64 {
        self.unauthorized.load(Relaxed)
    }

    /// Replaces the rules for the requests that come from now on.
    pub(crate) fn set(&self, access: Access) {
        *self.access.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(access);
    }

    fn access(&self) -> Arc<Access> {
        Arc::clone(&self.access.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts a refused request, and logs the first of a while.
    fn record_unauthorized(&self, from: Option<From>) {
        let refused = self.unauthorized.fetch_add(1, Relaxed) + 1;
        let mut last = self.last_warned.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if last.is_none_or(|last| now.duration_since(last) >= WARN_INTERVAL) {
            *last = Some(now);
            let from = from.map_or_else(|| "unknown".to_owned(), |from| from.to_string());
            warn!(from, refused, "an HTTP request has no valid token; it is refused");
        }
    }
}

impl From {
    fn is_local(self) -> bool {
        match self {
            Self::Tcp(addr) => addr.ip().to_canonical().is_loopback(),
            Self::Unix => true,
        }
    }
}

impl std::fmt::Display for From {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(addr) => addr.fmt(f),
            Self::Unix => f.write_str("unix"),
        }
    }
}

/// Passes a request on, or refuses it.
pub(super) async fn guard(
    State(guard): State<Arc<Guard>>,
    request: Request,
    next: Next,
) -> Response {
    let from = request.extensions().get().copied();
    let asked = Asked {
        method: request.method(),
        path: request.uri().path(),
        authority: request.uri().authority().map(Authority::as_str),
        is_local: from.is_some_and(From::is_local),
    };
    match check(&guard.access(), &asked, request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => {
            if refusal.status == StatusCode::UNAUTHORIZED {
                guard.record_unauthorized(from);
            }
            refusal.into_response()
        }
    }
}

/// The properties of a request, other than its headers, that decide about it.
struct Asked<'a> {
    method: &'a Method,
    path: &'a str,
    authority: Option<&'a str>,
    /// Whether the request comes from this machine.
    is_local: bool,
}

impl Asked<'_> {
    fn is_read(&self) -> bool {
        matches!(*self.method, Method::GET | Method::HEAD | Method::OPTIONS)
    }

    /// Whether the request may use any host name, and needs no token.
    fn is_probe(&self) -> bool {
        self.is_read() && matches!(self.path, "/livez" | "/readyz")
    }

    /// Whether the answer is the web page or the list of paths, the same at every node. A name must be allowed all the same: a
    /// page that asks for the token under a name of somebody else could be made to give it away.
    fn is_page(&self) -> bool {
        self.is_read() && self.path == "/"
    }

    /// A token that is there is checked for the page too: with it, the request may use any host name.
    fn needs_token(&self, headers: &HeaderMap) -> bool {
        let is_open = self.is_page() && !headers.contains_key(header::AUTHORIZATION);
        !self.is_probe() && !is_open
    }
}

fn check(access: &Access, asked: &Asked<'_>, headers: &HeaderMap) -> Result<(), Refusal> {
    let is_authorized = match &access.tokens {
        Some(tokens) if asked.needs_token(headers) => {
            check_token(tokens, headers)?;
            true
        }
        Some(_) | None => false,
    };
    let host = only(headers, &header::HOST)?
        .ok_or_else(|| Refusal::new(StatusCode::BAD_REQUEST, "the Host header is missing"))?;
    let is_known = |authority: &str| is_ours(authority) || access.is_allowed(authority);
    let is_named_well = is_known(host) && asked.authority.is_none_or(is_known);
    if !is_named_well && !is_authorized && !asked.is_probe() {
        return Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "this host name is not allowed; use an IP address or localhost, or allow the name with --http-host",
        ));
    }
    if !asked.is_read() && !asked.is_local && !access.remote_writes {
        return Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "requests that change state are accepted only from this machine, unless --http-allow-remote-writes is set",
        ));
    }
    let origin = only(headers, &header::ORIGIN)?;
    if origin.is_some_and(|origin| origin.strip_prefix("http://") != Some(host)) {
        return Err(cross_origin());
    }
    let site = headers.get("sec-fetch-site").map(|site| site.as_bytes());
    let is_link = asked.is_page() && is_navigation(headers);
    if site.is_some_and(|site| site != b"same-origin" && site != b"none") && !is_link {
        return Err(cross_origin());
    }
    let is_form = headers.get(header::CONTENT_TYPE).is_some_and(|content| {
        let content = content.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
        FORM_TYPES.iter().any(|form| content.trim_ascii().eq_ignore_ascii_case(form.as_bytes()))
    });
    if *asked.method == Method::POST && is_form {
        return Err(Refusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "a form cannot post; send a body as application/json or application/octet-stream",
        ));
    }
    check_length(headers, max_bytes(asked.path))
}

impl Access {
    /// Whether the operator allowed this host name, with or without a port.
    fn is_allowed(&self, authority: &str) -> bool {
        let Ok(authority) = authority.parse::<Authority>() else {
            return false;
        };
        let host = authority.host().trim_end_matches('.');
        let is_named = self.hosts.iter().any(|allowed| host.eq_ignore_ascii_case(allowed));
        is_named && !authority.as_str().contains('@')
    }
}

/// Requires `Authorization: Bearer TOKEN` (RFC 6750 §2.1).
fn check_token(tokens: &Tokens, headers: &HeaderMap) -> Result<(), Refusal> {
    let given = only(headers, &header::AUTHORIZATION)?;
    let (scheme, token) = given.and_then(|given| given.split_once(' ')).unwrap_or_default();
    match scheme.eq_ignore_ascii_case("bearer") {
        true if tokens.admit(token.trim()) => Ok(()),
        true => Err(Refusal::unauthorized(
            "Bearer error=\"invalid_token\"",
            "the token is not one of this node",
        )),
        false => Err(Refusal::unauthorized(
            "Bearer",
            "this node needs a token: send Authorization: Bearer TOKEN, or give the command --token-file",
        )),
    }
}

/// Whether a person follows a link, and the answer becomes a page of its own: no other page can read it.
fn is_navigation(headers: &HeaderMap) -> bool {
    let is = |name: &str, value: &[u8]| headers.get(name).is_some_and(|found| found == value);
    is("sec-fetch-mode", b"navigate") && is("sec-fetch-dest", b"document")
}

/// Refuses a body that is too long before it is read.
fn check_length(headers: &HeaderMap, max_bytes: usize) -> Result<(), Refusal> {
    let Some(length) = headers.get(header::CONTENT_LENGTH) else {
        return Ok(());
    };
    let length = length.to_str().ok().and_then(|length| length.parse::<u64>().ok());
    match length {
        Some(length) if length <= max_bytes as u64 => Ok(()),
        _ => Err(Refusal::too_long(max_bytes)),
    }
}

fn cross_origin() -> Refusal {
    Refusal::new(StatusCode::FORBIDDEN, "requests from web pages of other origins are refused")
}

/// The value of a header as text, which may occur once.
fn only<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Result<Option<&'a str>, Refusal> {
    let mut values = headers.get_all(name).iter();
    let malformed =
        || Refusal::new(StatusCode::BAD_REQUEST, format!("the header {name} is malformed"));
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| malformed()),
        (Some(_), Some(_)) => Err(malformed()),
    }
}

/// Whether a host, with or without a port, is an IP address or `localhost`. Names can be made to resolve to any
/// address.
fn is_ours(authority: &str) -> bool {
    let Ok(authority) = authority.parse::<Authority>() else {
        return false;
    };
    let host = authority.host();
    let unbracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    !authority.as_str().contains('@')
        && (host.eq_ignore_ascii_case("localhost")
            || unbracketed.unwrap_or(host).parse::<IpAddr>().is_ok())
}

/// The shortest time between two warnings about missing tokens.
const WARN_INTERVAL: Duration = Duration::from_secs(60);
/// Content types that a web page of another origin can make a browser post without asking first (Fetch Standard,
/// CORS-safelisted `Content-Type`).
const FORM_TYPES: [&str; 3] =
    ["application/x-www-form-urlencoded", "multipart/form-data", "text/plain"];

#[cfg(test)]
mod tests {
    use super::*;

    fn status(method: Method, headers: &[(&str, &str)]) -> u16 {
        status_of(&Access::default(), &method, "/v1/members", true, headers)
    }

    fn status_of(
        access: &Access,
        method: &Method,
        path: &str,
        is_local: bool,
        headers: &[(&str, &str)],
    ) -> u16 {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(
                header::HeaderName::from_bytes(name.as_bytes()).unwrap(),
                value.parse().unwrap(),
            );
        }
        let asked = Asked { method, path, authority: None, is_local };
        check(access, &asked, &map).err().map_or(200, |refusal| refusal.status.as_u16())
    }

    #[test]
    fn names_pass_where_they_are_allowed_and_for_probes() {
        let named = Access { hosts: vec!["phin-0.phin.svc".into()], ..Access::default() };
        let none = Access::default();
        let cases = [
            (&named, "/v1/members", "phin-0.phin.svc:7647", 200),
            (&named, "/v1/members", "PHIN-0.phin.svc.", 200),
            (&named, "/v1/members", "phin-1.phin.svc:7647", 403),
            (&named, "/v1/members", "a@phin-0.phin.svc", 403),
            (&none, "/livez", "any.example", 200),
            (&none, "/readyz", "any.example:1", 200),
            (&none, "/metrics", "any.example", 403),
        ];
        for (access, path, host, expected) in cases {
            let found = status_of(access, &Method::GET, path, true, &[("host", host)]);
            assert_eq!(found, expected, "{path} {host} {access:?}");
        }
        assert_eq!(status_of(&none, &Method::POST, "/livez", true, &[("host", "a.example")]), 403);
    }

    #[test]
    fn other_machines_change_nothing_unless_they_may() {
        let reads = Access::default();
        let writes = Access { remote_writes: true, ..reads.clone() };
        for (access, method, is_local, expected) in [
            (&reads, Method::GET, false, 200),
            (&reads, Method::POST, false, 403),
            (&reads, Method::PUT, false, 403),
            (&reads, Method::PATCH, false, 403),
            (&reads, Method::DELETE, false, 403),
            (&reads, Method::POST, true, 200),
            (&writes, Method::POST, false, 200),
        ] {
            let headers = [("host", "10.0.0.1:7647")];
            let found = status_of(access, &method, "/v1/leave", is_local, &headers);
            assert_eq!(found, expected, "{method} {is_local} {access:?}");
        }
    }

    #[test]
    fn everything_but_probes_needs_the_token_if_there_is_one() {
        let tokens = Some(Tokens::parse("0123456789abcdef fedcba9876543210").unwrap());
        let access = Access { tokens, ..Access::default() };
        let found = |method: &Method, path: &str, host: &str, given: &[&str]| {
            let headers = given.iter().map(|given| ("authorization", *given));
            let headers: Vec<_> = [("host", host)].into_iter().chain(headers).collect();
            status_of(&access, method, path, true, &headers)
        };
        let of_members = |given: &[&str]| found(&Method::GET, "/v1/members", "localhost", given);
        for (given, expected) in [
            (&[][..], 401),
            (&["Bearer 0123456789abcdef"], 200),
            (&["bearer  fedcba9876543210"], 200),
            (&["Bearer 0123456789abcdee"], 401),
            (&["Bearer"], 401),
            (&["Basic 0123456789abcdef"], 401),
            (&["0123456789abcdef"], 401),
            (&["Bearer 0123456789abcdef", "Bearer 0123456789abcdef"], 400),
        ] {
            assert_eq!(of_members(given), expected, "{given:?}");
        }
        for path in ["//", "/metrics", "/v1/members", "/v1/leave", "/livez/"] {
            assert_eq!(found(&Method::GET, path, "localhost", &[]), 401, "{path}");
        }
        let right = ["Bearer 0123456789abcdef"];
        for (method, host, given, expected) in [
            (Method::GET, "localhost", &[][..], 200),
            (Method::GET, "any.example", &[], 403),
            (Method::GET, "any.example", &right, 200),
            (Method::GET, "localhost", &["Bearer x"], 401),
            (Method::POST, "localhost", &[], 401),
        ] {
            assert_eq!(found(&method, "/", host, given), expected, "{method} {host} {given:?}");
        }
        for path in ["/livez", "/readyz"] {
            assert_eq!(found(&Method::GET, path, "any.example", &[]), 200, "{path}");
            assert_eq!(found(&Method::POST, path, "localhost", &[]), 401, "{path}");
        }
        // The page of a rebound name does not know the token.
        let named = found(&Method::GET, "/metrics", "any.example", &["Bearer 0123456789abcdef"]);
        assert_eq!(named, 200);
    }

    #[test]
    fn a_refusal_names_the_scheme() {
        let access = Access { tokens: Tokens::parse("0123456789abcdef").ok(), ..Access::default() };
        let asked =
            Asked { method: &Method::GET, path: "/metrics", authority: None, is_local: true };
        for (given, expected) in [("", "Bearer"), ("Bearer x", "Bearer error=\"invalid_token\"")] {
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, given.parse().unwrap())]);
            let refused = check(&access, &asked, &headers).unwrap_err().into_response();
            assert_eq!(refused.headers()[header::WWW_AUTHENTICATE], expected);
        }
    }

    #[test]
    fn hosts_that_can_only_be_this_machine_pass() {
        for host in ["localhost", "LocalHost:7647", "127.0.0.1:7647", "10.1.2.3", "[::1]:7647"] {
            assert_eq!(status(Method::GET, &[("host", host)]), 200, "{host}");
        }
    }

    #[test]
    fn names_that_may_point_anywhere_are_refused() {
        for host in ["evil.example", "evil.example:7647", "localhost.evil.example", "a@127.0.0.1"] {
            assert_eq!(status(Method::GET, &[("host", host)]), 403, "{host}");
        }
        assert_eq!(status(Method::GET, &[]), 400);
        assert_eq!(status(Method::GET, &[("host", "localhost"), ("host", "evil.example")]), 400);
        let host = HeaderMap::from_iter([(header::HOST, "localhost".parse().unwrap())]);
        let authority = Some("evil.example");
        let asked = Asked { method: &Method::GET, path: "/", authority, is_local: true };
        let refusal = check(&Access::default(), &asked, &host).unwrap_err();
        assert_eq!(refusal.status, StatusCode::FORBIDDEN);
    }

    #[test]
    fn other_origins_are_refused_whatever_they_ask() {
        for method in [Method::GET, Method::POST, Method::OPTIONS] {
            for origin in
                ["http://evil.example", "null", "https://127.0.0.1:1", "http://127.0.0.1:2"]
            {
                let headers = [("host", "127.0.0.1:1"), ("origin", origin)];
                assert_eq!(status(method.clone(), &headers), 403, "{method} {origin}");
            }
            for site in ["cross-site", "same-site", "anything"] {
                let headers = [("host", "127.0.0.1:1"), ("sec-fetch-site", site)];
                assert_eq!(status(method.clone(), &headers), 403, "{method} {site}");
            }
        }
    }

    #[test]
    fn a_link_leads_to_the_page_and_to_nothing_else() {
        let access = Access::default();
        let followed = |path: &str, mode: &str, dest: &str| {
            let headers = [
                ("host", "127.0.0.1:1"),
                ("sec-fetch-site", "cross-site"),
                ("sec-fetch-mode", mode),
                ("sec-fetch-dest", dest),
            ];
            status_of(&access, &Method::GET, path, true, &headers)
        };
        assert_eq!(followed("/", "navigate", "document"), 200);
        for (path, mode, dest) in [
            ("/v1/members", "navigate", "document"),
            ("/", "navigate", "iframe"),
            ("/", "no-cors", "script"),
            ("/", "cors", "empty"),
        ] {
            assert_eq!(followed(path, mode, dest), 403, "{path} {mode} {dest}");
        }
    }

    #[test]
    fn the_same_origin_and_plain_clients_pass() {
        let same = [
            ("host", "127.0.0.1:1"),
            ("origin", "http://127.0.0.1:1"),
            ("sec-fetch-site", "same-origin"),
        ];
        assert_eq!(status(Method::POST, &same), 200);
        assert_eq!(status(Method::POST, &[("host", "127.0.0.1:1")]), 200);
        let typed = [("host", "127.0.0.1:1"), ("sec-fetch-site", "none")];
        assert_eq!(status(Method::GET, &typed), 200);
    }

    #[test]
    fn a_form_cannot_post() {
        let with =
            |content| status(Method::POST, &[("host", "127.0.0.1:1"), ("content-type", content)]);
        assert_eq!(with("application/x-www-form-urlencoded"), 415);
        assert_eq!(with("multipart/form-data; boundary=x"), 415);
        assert_eq!(with("text/plain"), 415);
        assert_eq!(with(" Text/Plain ; charset=utf-8"), 415);
        assert_eq!(with("application/json; charset=utf-8"), 200);
        assert_eq!(with("application/octet-stream"), 200);
    }

    #[test]
    fn long_bodies_are_refused() {
        let with =
            |length| status(Method::POST, &[("host", "127.0.0.1:1"), ("content-length", length)]);
        assert_eq!(with("0"), 200);
        assert_eq!(with("8192"), 200);
        assert_eq!(with("8193"), 413);
        assert_eq!(with("99999999999999999999"), 413);
        let post = |path: &str, length: usize| {
            let headers = [("host", "127.0.0.1:1"), ("content-length", &length.to_string())];
            status_of(&Access::default(), &Method::POST, path, true, &headers)
        };
        for (path, most) in [("/v1/publish/news", 64 << 10), ("/v1/send/n1/news", 16 << 20)] {
            assert_eq!((post(path, most), post(path, most + 1)), (200, 413), "{path}");
        }
    }
}
