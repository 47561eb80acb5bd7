//! `phin run`: runs one node until a signal or an operator makes it leave.

mod admit;
mod expiry;
mod keys;
mod output;
mod programs;
mod reload;
mod signals;
mod supervision;

use std::{
    io::{self, Read},
    sync::{Arc, PoisonError, RwLock},
    thread,
    time::Duration,
};

use phin::{BindError, Cluster, CredentialsError, Departure, StartError};
use tokio::{
    runtime,
    sync::{Mutex, Notify, watch},
    time::Instant,
};
use tracing::{info, warn};

use crate::{
    changes::Changes,
    diagnostics::RecentEvents,
    failure::{Failure, with_causes},
    http::{About, Addr, Guard, LEAVE_DEADLINE, Listener, Node, Server, Stage},
    logging::{Log, LogFilter},
    program::Program,
    settings::{Admission, Advertised, Flags, Place, Settings},
    supervisor::Supervisor,
    traces,
};
pub(crate) use expiry::Expiry;
use keys::Keys;
pub(crate) use keys::{Accepted, IdSource, KEYS_TOPIC, KeyReport, RESERVED_TOPICS};
use output::Output;
pub(crate) use programs::ProgramCounters;
use programs::Programs;
use reload::Parts;
pub(crate) use reload::{Reloaded, Reloader, Scope};
pub(crate) use signals::Signals;
use signals::Wanted;

/// Run a node of a cluster
///
/// Each setting is a flag, an environment variable, or a key of the --config file, in this order of precedence:
/// `--data-dir` is `PHIN_DATA_DIR` in the environment and `data_dir` in the file. The key itself can be given as
/// `PHIN_CLUSTER_KEY`. On SIGTERM, Ctrl-C, or when its terminal closes, the node leaves the cluster. A second SIGTERM or
/// Ctrl-C, more than a second later, ends it at once. On SIGHUP, if its standard input is no terminal, it reads the file and
/// its credentials again, as on `phin reload`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Args {
    #[command(flatten)]
    flags: Flags,
    /// Exit when standard input ends, so that the node does not outlive the process that started it
    #[arg(long, hide = true)]
    exit_with_stdin: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let settings = Settings::resolve(&args.flags, std::env::vars_os())
        .map_err(|error| Failure::Usage(with_causes(&error)))?;
    let (log, log_filter) = Log::start(&settings);
    if args.exit_with_stdin {
        thread::spawn(exit_with_stdin);
    }
    // Two threads, so that requests of operators never delay a probe.
    let runtime = runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| Failure::runtime("cannot start the runtime", &error))?;
    let result = runtime.block_on(run_node(settings, &args.flags, (&log, log_filter)));
    // Name resolution, or a reader that does not read, must not delay the exit.
    runtime.shutdown_background();
    log.flush();
    result
}

async fn run_node(
    settings: Settings,
    flags: &Flags,
    (log, log_filter): (&Log, LogFilter),
) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    let supervisor = Arc::new(Supervisor::from_env());
    let listener = bind_http(&settings).await?;
    let admit = settings.admit.as_ref().map(|admit| Arc::new(RwLock::new(admit.value.clone())));
    let cluster = tokio::select! {
        biased;
        started = start(&settings, admit.clone()) => started?,
        // A file system may delay the start. No other node knows this one yet, so it need not leave.
        signal = signals.next() => {
            info!(signal, "stopped by a signal before the node started");
            return Ok(());
        }
    };
    let (stage, mut stages) = watch::channel(Stage::Member);
    let expiry = Arc::new(Expiry::of(&settings.admission));
    // The tasks here end with the runtime.
    tokio::spawn({
        let expiry = Arc::clone(&expiry);
        async move { expiry.warn().await }
    });
    let http_addr = listener.as_ref().map(|listener| listener.addr().clone());
    log_start(&settings, &cluster, http_addr.as_ref());
    let programs = Programs::start(&settings, &cluster, http_addr.as_ref());
    let counters = programs.counters();
    let programs = Arc::new(Mutex::new(programs));
    let spans = settings.otlp_traces.clone();
    let spans = spans.map(|url| traces::start(&cluster, cluster_name(&settings), url));
    let access = settings.http.as_ref().map(|http| http.access.clone()).unwrap_or_default();
    let guard = Arc::new(Guard::new(access));
    let events = settings.events;
    let about = About {
        cluster: cluster_name(&settings).to_owned(),
        config: settings.config.value.clone(),
        http: http_addr.map_or_else(String::new, |addr| addr.to_string()),
        data_dir: settings.data_dir.as_ref().map(|data_dir| data_dir.value.clone()),
    };
    let parts = Parts {
        guard: Arc::clone(&guard),
        programs: Arc::clone(&programs),
        log: log_filter.clone(),
        admit,
        expiry: Arc::clone(&expiry),
        keys: Keys::answer(&cluster, &settings.admission, settings.config.value.signed_votes),
        supervisor: Arc::clone(&supervisor),
    };
    let reloader = Arc::new(Reloader::new(flags.clone(), cluster.clone(), parts, settings));
    tokio::spawn(reload::watch_files(Arc::clone(&reloader)));
    let hangups = Arc::new(Notify::new());
    tokio::spawn(reload_at(Arc::clone(&hangups), Arc::clone(&reloader)));
    let server = listener.map(|listener| {
        let node = Node::new(cluster.clone(), about, stage.clone())
            .with_guard(guard)
            .with_expiry(expiry)
            .with_programs(counters)
            .with_spans(spans)
            .with_log(log.clone(), log_filter)
            .with_recent_events(RecentEvents::of(&cluster))
            .with_reloader(Arc::clone(&reloader));
        Server::start(listener, node)
    });
    let output = events.map(|format| Output::start(format, Changes::new(&cluster)));
    let reports = supervision::report(Arc::clone(&supervisor), cluster.clone(), stage.subscribe());
    tokio::spawn(reports);
    let deadline = tokio::select! {
        signal = wanted(&mut signals, &hangups) => {
            info!(signal, "leaving the cluster");
            stage.send_replace(Stage::Leaving);
            supervision::stopping(&supervisor).await;
            LEAVE_DEADLINE
        }
        // The request over HTTP has already waited for confirmations.
        () = left(&mut stages, &supervisor) => Duration::ZERO,
        () = ended(&cluster) => {
            programs.lock().await.kill().await;
            return Err(Failure::Runtime("the node stopped unexpectedly".into()));
        }
    };
    let departure = depart(&cluster, deadline, server, output);
    let mut programs = programs.lock().await;
    end(departure, &mut programs, &mut signals).await
}

/// Waits until the node has left at the request of an operator.
async fn left(stages: &mut watch::Receiver<Stage>, supervisor: &Supervisor) {
    // The sender lives as long as the node.
    let _ = stages.wait_for(|stage| *stage != Stage::Member).await;
    supervision::stopping(supervisor).await;
    let _ = stages.wait_for(|stage| *stage == Stage::Left).await;
}

/// Asks for a reload at each SIGHUP that wants one, and returns the name of the signal to leave.
async fn wanted(signals: &mut Signals, hangups: &Notify) -> &'static str {
    loop {
        match signals.next_wanted().await {
            Wanted::Leave(signal) => return signal,
            // Not waited for: a file system that does not answer must not delay a departure.
            Wanted::Reload => hangups.notify_one(),
        }
    }
}

/// Reloads when asked. Requests during a reload are one.
async fn reload_at(hangups: Arc<Notify>, reloader: Arc<Reloader>) {
    loop {
        hangups.notified().await;
        let _ = reloader.reload(Scope::Everything, "SIGHUP").await;
    }
}

/// Leaves the cluster and ends the programs, at once if there is a second signal.
async fn end(
    departure: impl Future<Output = ()>,
    programs: &mut Programs,
    signals: &mut Signals,
) -> Result<(), Failure> {
    let ended = async {
        // At the same time, so that programs do not delay the departure.
        tokio::join!(departure, programs.finish_hooks());
        programs.kill().await;
    };
    let stopped_by = tokio::select! {
        () = ended => return Ok(()),
        signal = second_signal(signals) => signal,
    };
    programs.kill().await;
    Err(Failure::Runtime(format!("stopped immediately by a second signal ({stopped_by})")))
}

/// Waits for a signal to stop immediately. Signals within a second of the first are the same request, because a
/// supervisor and a process group often both send one.
async fn second_signal(signals: &mut Signals) -> &'static str {
    let began = Instant::now();
    loop {
        let signal = signals.next_insistent().await;
        if began.elapsed() >= SAME_REQUEST {
            return signal;
        }
        info!(
            signal,
            "still leaving the cluster; send the signal again after a second to stop immediately"
        );
    }
}

/// Leaves the cluster, answers pending requests, and stops.
async fn depart(
    cluster: &Cluster,
    deadline: Duration,
    server: Option<Server>,
    output: Option<Output>,
) {
    let departure = cluster.leave(deadline).await.ok();
    if let Some(Departure { confirmed, asked, .. }) = departure {
        info!(confirmed, asked, "left the cluster");
    }
    cluster.shutdown().await;
    if let Some(server) = server {
        server.close(MAX_CLOSING_TIME).await;
    }
    if let Some(output) = output {
        output.finish(departure, MAX_CLOSING_TIME).await;
    }
}

/// Binds the HTTP address, if there is one.
async fn bind_http(settings: &Settings) -> Result<Option<Listener>, Failure> {
    let Some(http) = &settings.http else {
        return Ok(None);
    };
    let (addr, place) = (&http.addr.value, &http.addr.place);
    let listener = Listener::bind(addr).await.map_err(|error| {
        Failure::runtime(format!("{place}: cannot listen on {addr} for HTTP"), &error)
    })?;
    if http.access.remote_writes {
        warn!(%addr, "machines that have the token can make this node leave over unencrypted HTTP");
    }
    Ok(Some(listener))
}

fn cluster_name(settings: &Settings) -> &str {
    settings.cluster.as_ref().map_or("phin", |cluster| cluster.value.as_str())
}

async fn start(
    settings: &Settings,
    admit: Option<Arc<RwLock<Program>>>,
) -> Result<Cluster, Failure> {
    let mut builder = Cluster::builder()
        .bind(settings.bind.value)
        .seeds(settings.join.clone())
        .tags(settings.tags.clone())
        .serving(settings.serving.clone())
        .config(settings.config.value.clone())
        .credentials(settings.credentials());
    if let Some(name) = settings.name() {
        builder = builder.name(name);
    }
    if let Some(cluster) = &settings.cluster {
        builder = builder.cluster(cluster.value.clone());
    }
    if let Some(advertise) = &settings.advertise {
        builder = match advertise.value.clone() {
            Advertised::Addr(addr) => builder.advertise(addr),
            Advertised::Name(name) => builder.advertise_name(name),
        };
    }
    if let Some(program) = admit {
        builder = builder.admit(move |newcomer| {
            let program = program.read().unwrap_or_else(PoisonError::into_inner).clone();
            admit::decide(program, newcomer)
        });
    }
    if let Some(watchers) = settings.watchers {
        builder = builder.watchers(watchers);
    }
    if let Some(closed_port) = settings.closed_port {
        builder = builder.closed_port(closed_port);
    }
    if let Some(data_dir) = &settings.data_dir {
        builder = builder.data_dir(data_dir.value.clone());
    }
    builder.start().await.map_err(|error| start_failure(settings, &error))
}

/// Turns an error of the start into a failure that names the setting at fault, if any.
fn start_failure(settings: &Settings, error: &StartError) -> Failure {
    let placed = |place: Option<&Place>, message: String| match place {
        Some(place) => format!("{place}: {message}"),
        None => message,
    };
    let message = placed(setting_at_fault(settings, error), with_causes(error));
    match error {
        // The credentials are at fault, not the address.
        StartError::Bind { source: BindError::Credentials(error), .. } => {
            Failure::Usage(placed(credential_at_fault(settings, error), with_causes(error)))
        }
        StartError::Bind { .. }
        | StartError::NoRoute { .. }
        | StartError::AdvertisedName { .. }
        | StartError::Identity(_)
        | StartError::DataDir { .. }
        | StartError::DataDirInUse { .. } => Failure::Runtime(message),
        // The request can never succeed on any machine.
        _ => Failure::Usage(message),
    }
}

fn setting_at_fault<'a>(settings: &'a Settings, error: &StartError) -> Option<&'a Place> {
    match error {
        StartError::Bind { .. } => Some(&settings.bind.place),
        StartError::Config(_) => Some(&settings.config.place),
        // The settings have already checked the private key of a certificate.
        StartError::Identity(_) | StartError::DataDir { .. } | StartError::DataDirInUse { .. } => {
            settings.data_dir.as_ref().map(|data_dir| &data_dir.place)
        }
        StartError::Advertise { .. }
        | StartError::AdvertisedName { .. }
        | StartError::NoRoute { .. } => {
            Some(settings.advertise.as_ref().map_or(&settings.bind.place, |set| &set.place))
        }
        _ => None,
    }
}

fn credential_at_fault<'a>(settings: &'a Settings, error: &CredentialsError) -> Option<&'a Place> {
    let Admission::Certificates(pem) = &settings.admission else {
        return None;
    };
    match error {
        CredentialsError::Ca(_) => Some(&pem.ca.place),
        CredentialsError::Certificate(_)
        | CredentialsError::NotEd25519
        | CredentialsError::OtherKey
        | CredentialsError::AssignedId(_)
        | CredentialsError::Revoked
        | CredentialsError::OtherCa => Some(&pem.cert.place),
        CredentialsError::RevocationList(_) => pem.crl.as_ref().map(|crl| &crl.place),
        _ => None,
    }
}

fn log_start(settings: &Settings, cluster: &Cluster, http: Option<&Addr>) {
    let http = http.map_or("off".to_owned(), |addr| addr.to_string());
    info!(
        name = cluster.name(),
        id = %cluster.id(),
        cluster = cluster_name(settings),
        addr = %cluster.local_addr(),
        advertised = %cluster.advertised(),
        http,
        "node started"
    );
    if settings.join.is_empty() {
        info!("no seed given; other nodes join through this one");
    }
}

/// Returns when the node has stopped. Without a request, only a defect makes it stop.
async fn ended(cluster: &Cluster) {
    let mut subscription = cluster.subscribe();
    while subscription.next().await.is_some() {}
}

/// Exits when standard input ends, which means that the process that started this node has ended.
fn exit_with_stdin() {
    let mut ignored = [0; 64];
    loop {
        match io::stdin().read(&mut ignored) {
            Ok(1..) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => std::process::exit(0),
        }
    }
}

/// Signals within this time of the first are the same request.
const SAME_REQUEST: Duration = Duration::from_secs(1);
/// The time that HTTP answers and standard output each have to finish.
const MAX_CLOSING_TIME: Duration = Duration::from_secs(1);

const EXAMPLE: &str = "\
Examples:
  phin key new --out cluster.key
  phin run --name n1 --key-file cluster.key --bind 127.0.0.1:7001 --http 127.0.0.1:7647
  phin run --name n2 --key-file cluster.key --bind 127.0.0.1:7002 --join 127.0.0.1:7001

The same as a file, for phin run --config n2.toml:
  name = \"n2\"
  key_file = \"cluster.key\"
  bind = \"127.0.0.1:7002\"
  join = [\"127.0.0.1:7001\"]
  tags = { role = \"web\", zone = \"a\" }";
