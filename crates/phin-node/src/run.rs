//! `phin run`: runs one node until a signal or an operator makes it leave.

mod admit;
mod expiry;
mod output;
mod programs;
mod signals;

use std::{
    io::{self, Read},
    thread,
    time::Duration,
};

use phin::{BindError, Cluster, CredentialsError, Departure, StartError};
use tokio::{runtime, sync::watch, time::Instant};
use tracing::{info, warn};

use crate::{
    changes::Changes,
    failure::{Failure, with_causes},
    http::{Addr, LEAVE_DEADLINE, Listener, Node, Server, Stage},
    logging::Log,
    settings::{Admission, Advertised, Flags, Http, Place, Settings},
};
use output::Output;
use programs::Programs;
pub(crate) use signals::Signals;

/// Run a node of a cluster
///
/// Each setting is a flag, an environment variable, or a key of the --config file, in this order of precedence:
/// `--data-dir` is `PHIN_DATA_DIR` in the environment and `data_dir` in the file. The key itself can be given as
/// `PHIN_CLUSTER_KEY`. On SIGTERM, Ctrl-C, or SIGHUP (the terminal closes) the node leaves the cluster. A second
/// SIGTERM or Ctrl-C, more than a second later, ends it at once.
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
    let log = Log::start(&settings);
    if args.exit_with_stdin {
        thread::spawn(exit_with_stdin);
    }
    // Two threads, so that requests of operators never delay a probe.
    let runtime = runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| Failure::runtime("cannot start the runtime", &error))?;
    let result = runtime.block_on(run_node(&settings));
    // Name resolution, or a reader that does not read, must not delay the exit.
    runtime.shutdown_background();
    log.flush();
    result
}

async fn run_node(settings: &Settings) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    let listener = bind_http(settings).await?;
    let cluster = tokio::select! {
        biased;
        started = start(settings) => started?,
        // A file system may delay the start. No other node knows this one yet, so it need not leave.
        signal = signals.next() => {
            info!(signal, "stopped by a signal before the node started");
            return Ok(());
        }
    };
    let (stage, mut stages) = watch::channel(Stage::Member);
    let certificate_end = expiry::ends_at(&settings.admission);
    if let Some(ends_at) = certificate_end {
        // The task ends with the runtime.
        tokio::spawn(expiry::warn_before(ends_at));
    }
    let http_addr = listener.as_ref().map(|(listener, _)| listener.addr().clone());
    log_start(settings, &cluster, http_addr.as_ref());
    let mut programs = Programs::start(settings, &cluster, http_addr.as_ref());
    let server = listener.map(|(listener, http)| {
        let node = Node::new(cluster.clone(), stage.clone())
            .with_access(http.access.clone())
            .with_certificate_end(certificate_end)
            .with_programs(programs.hook_counters(), programs.answer_counters());
        Server::start(listener, node)
    });
    let output = settings.events.map(|format| Output::start(format, Changes::new(&cluster)));
    let deadline = tokio::select! {
        signal = signals.next() => {
            info!(signal, "leaving the cluster");
            stage.send_replace(Stage::Leaving);
            LEAVE_DEADLINE
        }
        // The request over HTTP has already waited for confirmations.
        _ = stages.wait_for(|stage| *stage == Stage::Left) => Duration::ZERO,
        () = ended(&cluster) => {
            programs.kill().await;
            return Err(Failure::Runtime("the node stopped unexpectedly".into()));
        }
    };
    let departure = depart(&cluster, deadline, server, output);
    end(departure, &mut programs, &mut signals).await
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
async fn bind_http(settings: &Settings) -> Result<Option<(Listener, &Http)>, Failure> {
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
    Ok(Some((listener, http)))
}

fn cluster_name(settings: &Settings) -> &str {
    settings.cluster.as_ref().map_or("phin", |cluster| cluster.value.as_str())
}

async fn start(settings: &Settings) -> Result<Cluster, Failure> {
    let mut builder = Cluster::builder()
        .bind(settings.bind.value)
        .seeds(settings.join.clone())
        .tags(settings.tags.clone())
        .serving(settings.serving.clone())
        .config(settings.config.value.clone());
    builder = match &settings.admission {
        Admission::Keys(keys) => builder.key(keys.clone()),
        Admission::Certificates(pem) => builder.certificates(
            pem.ca.value.clone(),
            pem.cert.value.clone(),
            pem.key.value.clone(),
        ),
    };
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
    if let Some(program) = &settings.admit {
        let program = program.value.clone();
        builder = builder.admit(move |newcomer| admit::decide(program.clone(), newcomer));
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
        | CredentialsError::OtherCa => Some(&pem.cert.place),
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
