//! The HTTP interface for operators: members, changes, leaving, probes, metrics, and a web page.
//!
//! It listens on loopback or on a Unix socket, unless it requires a token. It accepts requests that change state only from
//! this machine by default. It refuses requests that a web page of another origin could send through a browser on this
//! machine. Every resource that a client can hold has a limit.

mod about;
mod body;
mod candidacies;
mod connections;
mod counters;
pub(crate) mod data;
mod data_watch;
mod diagnostics;
mod events;
mod expel;
mod forget;
mod guard;
mod leaders;
mod links;
mod listen;
mod log;
mod lookup;
mod metrics;
mod node;
mod page;
mod path;
mod ping;
mod placement;
mod publish;
mod queries;
mod query;
mod readiness;
mod refusal;
mod reload;
mod rings;
pub(crate) mod send;
mod serving;
mod tags;
mod why;

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{RawQuery, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    middleware,
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use hyper::{
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use phin::Departure;
use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
    time::{sleep, timeout},
};
use tracing::{debug, info, warn};

use crate::events as lines;
use connections::{Connections, Usage};
pub(crate) use guard::{Access, Guard};
use listen::Accepted;
pub(crate) use listen::{Addr, Listener};
pub(crate) use log::parse_for;
pub(crate) use node::{About, Node, Stage};
pub(crate) use ping::parse_ping_timeout;
use refusal::Refusal;

/// A running server.
pub(crate) struct Server {
    closing: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    /// Serves requests on `listener` until [`Server::close`].
    pub(crate) fn start(listener: Listener, node: Node) -> Self {
        let (closing, closed) = watch::channel(false);
        let connections = Connections::new(Arc::clone(&node.connections));
        let task = tokio::spawn(accept(listener, router(node), connections, closed));
        Self { closing, task }
    }

    /// Accepts no further requests, and returns when those under way are answered, after `limit` at the latest.
    pub(crate) async fn close(self, limit: Duration) {
        self.closing.send_replace(true);
        if timeout(limit, self.task).await.is_err() {
            debug!("closed HTTP connections that were still in use");
        }
    }
}

fn router(node: Node) -> Router {
    let guard = Arc::clone(&node.guard);
    Router::new()
        .route("/", get(index))
        .route("/v1/node", get(about::about))
        .route("/v1/links", get(links::links))
        .route("/v1/members", get(members))
        .route("/v1/members/{member}/rings", get(rings::rings))
        .route("/v1/members/{member}/why", get(why::why))
        .route("/v1/members/{member}/ping", post(ping::ping))
        .route("/v1/members/{member}/forget", post(forget::forget))
        .route("/v1/members/{member}/data", get(data::of_member))
        .route("/v1/members/{member}/data/{*key}", get(data::value_of_member))
        .route("/v1/placement", get(placement::placement))
        .route("/v1/data", get(data::own))
        .route("/v1/data/watch", get(data_watch::watch))
        .route("/v1/data/{*key}", get(data::own_value).put(data::put).delete(data::delete))
        .route("/v1/events", get(events::events))
        .route("/v1/publish/{*topic}", post(publish::publish))
        .route("/v1/query/{*topic}", post(queries::query))
        .route("/v1/send/{member}/{*topic}", post(send::send))
        .route("/v1/tags", get(tags::get).put(tags::replace).patch(tags::change))
        .route("/v1/tags/{key}", put(tags::set).delete(tags::remove))
        .route("/v1/serving", get(serving::get).put(serving::set))
        .route("/v1/leaders", get(leaders::all))
        .route("/v1/leaders/{office}", get(leaders::get))
        .route("/v1/leaders/{office}/events", get(leaders::events))
        .route("/v1/leaders/{office}/candidacy", put(leaders::stand).delete(leaders::resign))
        .route("/v1/diagnostics", get(diagnostics::diagnostics))
        .route("/v1/log", get(log::get).put(log::set).delete(log::reset))
        .route("/v1/log/recent", get(log::recent))
        .route("/v1/expel", get(expel::list).post(expel::state))
        .route("/v1/reload", post(reload::reload))
        .route("/v1/leave", post(leave))
        .route("/livez", get(readiness::live))
        .route("/readyz", get(readiness::ready))
        .route("/metrics", get(metrics::metrics))
        .fallback(|| async {
            Refusal::new(StatusCode::NOT_FOUND, "no such path; GET / lists the paths")
        })
        .method_not_allowed_fallback(|| async {
            Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method not allowed; see the Allow header")
        })
        .layer(middleware::from_fn_with_state(guard, guard::guard))
        .layer(middleware::map_response(harden))
        .with_state(node)
}

/// The web page for browsers; a list of the paths for others.
async fn index(headers: HeaderMap) -> Response {
    let mut response = match page::is_wanted(&headers) {
        true => page::page(&headers),
        false => Json(json!({ "paths": PATHS })).into_response(),
    };
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
    response
}

async fn members(
    State(node): State<Node>,
    RawQuery(query): RawQuery,
) -> Result<impl IntoResponse, Refusal> {
    let filter = query::filter(query.as_deref())?;
    let links = node.cluster.links().await.map_err(Refusal::stopped)?;
    let phis = node.cluster.phis().await.map_err(Refusal::stopped)?;
    let unreached = node.cluster.unreached().await.map_err(Refusal::stopped)?;
    let members = node.cluster.members();
    let list = lines::member_list(&node.cluster, &members, &links, &phis, &unreached);
    Ok(Json(list.matching(&members, &filter)))
}

async fn leave(State(node): State<Node>) -> Result<Json<Departure>, Refusal> {
    info!("leaving the cluster on request over HTTP");
    // On a separate task, so that a client that disconnects does not interrupt the departure.
    let departure = tokio::spawn(async move {
        node.stage.send_replace(Stage::Leaving);
        let departure = node.cluster.leave(LEAVE_DEADLINE).await;
        // Only now, because the process ends at this stage.
        node.stage.send_replace(Stage::Left);
        departure
    });
    let unavailable = |error: String| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, error);
    let departure = departure.await.map_err(|error| unavailable(error.to_string()))?;
    let departure = departure.map_err(|error| unavailable(error.to_string()))?;
    Ok(Json(departure))
}

/// Adds headers that forbid caching, content sniffing and embedding. The page has a rule of its own for caching.
async fn harden(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CORP, HeaderValue::from_static("same-origin"));
    response
}

async fn accept(
    listener: Listener,
    router: Router,
    mut connections: Connections,
    mut closing: watch::Receiver<bool>,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(()) = connections.ended() => continue,
            () = closed(&mut closing) => break,
        };
        match accepted {
            Ok(Accepted::Tcp(stream, from)) => {
                let from = guard::From::Tcp(from);
                connections
                    .start(|usage| serve(stream, from, router.clone(), usage, closing.clone()));
            }
            Ok(Accepted::Unix(stream)) => {
                let from = guard::From::Unix;
                connections
                    .start(|usage| serve(stream, from, router.clone(), usage, closing.clone()));
            }
            Err(error) => {
                // Most likely out of file descriptors. Retrying immediately would only use CPU time.
                warn!(%error, "cannot accept HTTP connections");
                sleep(Duration::from_millis(200)).await;
            }
        }
    }
    drop(listener);
    while connections.ended().await.is_some() {}
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    from: guard::From,
    router: Router,
    usage: Usage,
    mut closing: watch::Receiver<bool>,
) {
    let router = TowerToHyperService::new(router);
    let answer = service_fn(|mut request| {
        usage.used();
        request.extensions_mut().insert(usage.clone());
        request.extensions_mut().insert(from);
        router.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(MAX_HEADER_TIME)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), answer);
    let mut connection = std::pin::pin!(connection);
    let result: Result<(), hyper::Error> = tokio::select! {
        result = connection.as_mut() => result,
        () = closed(&mut closing) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        debug!(%error, "an HTTP connection ended early");
    }
}

/// Returns when the server is to close.
async fn closed(closing: &mut watch::Receiver<bool>) {
    // An error means that the server was dropped, which closes it too.
    let _ = closing.wait_for(|closing| *closing).await;
}

/// Forbids pages of other origins to embed an answer (Fetch Standard).
const CORP: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
/// Every path, with its method.
const PATHS: &[&str] = &[
    "GET /v1/node",
    "GET /v1/links",
    "GET /v1/members?filter={filter}",
    "GET /v1/members/{name-or-id}/rings",
    "GET /v1/members/{name-or-id}/why",
    "GET /v1/members/{name-or-id}/data",
    "GET /v1/members/{name-or-id}/data/{key}",
    "POST /v1/members/{name-or-id}/ping?timeout={duration}",
    "POST /v1/members/{name-or-id}/forget",
    "GET /v1/placement?key={key}&n={number}&filter={filter}&spread={tag}",
    "GET /v1/events?filter={filter}&topic={topic}&topic-prefix={prefix}&members={true-or-false}",
    "POST /v1/publish/{topic}?filter={filter}&coalesce={key}",
    "POST /v1/query/{topic}?filter={filter}&timeout={duration}&first={number}&sample={number}",
    "POST /v1/send/{name-or-id}/{topic}?timeout={duration}&generation={number}&datagram={true-or-false}",
    "GET, PUT, PATCH /v1/tags",
    "PUT, DELETE /v1/tags/{key}",
    "GET, PUT /v1/serving",
    "GET /v1/leaders",
    "GET /v1/leaders/{office}",
    "GET /v1/leaders/{office}/events",
    "PUT, DELETE /v1/leaders/{office}/candidacy?session={name}",
    "GET /v1/diagnostics",
    "GET, DELETE /v1/log",
    "PUT /v1/log?for={duration}",
    "GET /v1/log/recent",
    "GET, POST /v1/expel",
    "POST /v1/reload",
    "POST /v1/leave",
    "GET /v1/data",
    "GET, PUT, DELETE /v1/data/{key}",
    "GET /v1/data/watch?prefix={prefix}&filter={filter}",
    "GET /livez",
    "GET /readyz",
    "GET /metrics",
];
/// The time that a client has to send its request, and that it may keep an idle connection.
const MAX_HEADER_TIME: Duration = Duration::from_secs(5);
const MAX_HEADER_BYTES: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;
/// The time that a departure may take before the node stops anyway.
pub(crate) const LEAVE_DEADLINE: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests;
