//! `phin watch --through`: follows a cluster as a client that is no member.

use std::{
    io::{self, Write},
    thread,
};

use phin::{
    BindError, Filter, MemberInfo, Members, Notice, StartError, Watcher, WatcherBuilder,
    WatcherState,
};
use tokio::runtime;

use super::{Args, exit_with_reader, note};
use crate::{
    events::{Changed, Line, Own, What},
    failure::{Failure, with_causes},
    settings::Credentials,
    text::rfc3339,
};

pub(super) fn watch(args: &Args) -> Result<(), Failure> {
    let credentials = Credentials::resolve(&args.credentials, std::env::vars_os())
        .map_err(|error| Failure::Usage(with_causes(&error)))?;
    thread::spawn(exit_with_reader);
    // A thread of its own, so that a reader that is slow to read does not lose the member.
    let runtime = runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|error| Failure::runtime("cannot start the runtime", &error))?;
    let watched = runtime.block_on(follow(args, credentials));
    // Name resolution must not delay the exit.
    runtime.shutdown_background();
    watched
}

async fn follow(args: &Args, credentials: Credentials) -> Result<(), Failure> {
    let watcher = builder(credentials).seeds(&args.through).start().map_err(start_failure)?;
    let connected = watcher.connected().await;
    connected.map_err(|error| Failure::Runtime(with_causes(&error)))?;
    tokio::spawn(note_states(watcher.clone()));
    let mut changes = watcher.subscribe().matching(args.filter.clone());
    while let Some(notice) = changes.next().await {
        for line in lines(notice, &args.filter) {
            let mut stdout = io::stdout();
            stdout.write_all(&args.shown(&line)).and_then(|()| stdout.flush())?;
        }
    }
    Err(Failure::Runtime("the watcher stopped unexpectedly".into()))
}

fn builder(credentials: Credentials) -> WatcherBuilder {
    let Credentials { cluster, admission } = credentials;
    let builder = Watcher::builder();
    let builder = builder.credentials(admission.credentials());
    match cluster {
        Some(cluster) => builder.cluster(cluster),
        None => builder,
    }
}

fn start_failure(error: StartError) -> Failure {
    let text = with_causes(&error);
    match error {
        StartError::Bind { source: BindError::Credentials(_), .. } => Failure::Usage(text),
        StartError::Bind { .. } => Failure::Runtime(text),
        _ => Failure::Usage(text),
    }
}

/// Notes on standard error through which member the changes come.
async fn note_states(watcher: Watcher) {
    let mut shown = None;
    loop {
        let is_new = |state: &WatcherState| text(&watcher, state) != shown;
        let Ok(state) = watcher.wait_for_state(is_new).await else { return };
        shown = text(&watcher, &state);
        if let Some(text) = &shown {
            note(text);
        }
    }
}

fn text(watcher: &Watcher, state: &WatcherState) -> Option<String> {
    match state {
        WatcherState::Connected { member, addr } => {
            let members = watcher.members();
            let name = members.get(*member).map_or("a member", |member| member.name());
            Some(format!("watching through {name} at {addr}"))
        }
        WatcherState::Stale { failures, .. } => {
            let why =
                failures.iter().map(|failure| format!("{}: {}", failure.through, failure.error));
            let why = why.collect::<Vec<_>>().join("; ");
            Some(format!(
                "no member is connected ({why}); the list may be out of date; trying again"
            ))
        }
        _ => None,
    }
}

/// The same lines as of a node's stream.
fn lines(notice: Notice, filter: &Filter) -> Vec<Line> {
    match notice {
        Notice::Snapshot(members) => vec![snapshot(&members, filter)],
        Notice::Event { at, event } => {
            let changed = Changed { event: (&event).into(), refusal: None };
            vec![Line { at: rfc3339(at), what: What::Changed(changed) }]
        }
        Notice::Missed { events, members } => {
            vec![Line::now(What::missed(events)), snapshot(&members, filter)]
        }
        _ => Vec::new(),
    }
}

fn snapshot(members: &Members, filter: &Filter) -> Line {
    let mut listed: Vec<_> =
        members.matching(filter).map(|member| MemberInfo::from(&**member)).collect();
    listed.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
    Line::now(What::Own(Own::Snapshot { version: members.version(), members: listed }))
}
