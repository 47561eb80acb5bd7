//! `phin lead`: runs a program while the node holds an office.

mod exec;
mod guard;
mod guarded;
mod standing;

use std::{
    io::{self, Write},
    time::Duration,
};

use phin::{Filter, Office, Term};
use tokio::{runtime, sync::mpsc};

use crate::{
    client::{Client, RequestError, Target},
    failure::{Failure, with_causes},
    run::Signals,
};
pub(crate) use exec::{Args as ExecArgs, exec};
pub(crate) use guard::{Args as GuardArgs, guard};
use guarded::{Exited, Guarded};
use standing::{Answer, Standing};

/// Run a program while this node holds an office
///
/// At most one member of the cluster holds an office at a time. This stands for the office through a running node, runs the
/// program whenever the node holds it, and ends the program before another member can hold it. When the program exits, so
/// does this, with its exit code, and the office is given up. All candidates must state the same --expected and --voters.
///
/// The program receives PHIN_OFFICE and PHIN_TOKEN in its environment. The token is a number that rises with each term: have
/// the resources that the program changes refuse a lower one than they have seen. Standard input of the program is empty.
#[derive(clap::Args)]
#[command(
    after_help = "Example: one of three nodes runs the scheduler\n  phin lead scheduler --expected 3 -- ./scheduler --port 9000"
)]
pub(crate) struct Args {
    #[command(flatten)]
    target: Target,
    /// The office: 1 to 64 bytes, without spaces and invisible characters
    #[arg(value_name = "OFFICE")]
    office: Office,
    /// How many voters there are; more than half of them must be reached. Without it, the members that are known count,
    /// which is weaker
    #[arg(long, value_name = "N")]
    expected: Option<u16>,
    /// The members that vote, by their tags, such as role=server; at most 64 [default: all]
    #[arg(long, value_name = "FILTER", default_value = "", hide_default_value = true)]
    voters: Filter,
    /// How long before its time is over the program receives SIGTERM; SIGKILL follows. Up to 1 s
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = grace)]
    grace: Duration,
    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "PROGRAM")]
    program: Vec<String>,
}

pub(crate) fn lead(args: &Args) -> Result<(), Failure> {
    let client = Client::new(&args.target)?;
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::runtime("cannot start the runtime", &error))?;
    let result = runtime.block_on(async { Lead::new(args, client)?.run().await });
    // A node that does not answer must not delay the exit.
    runtime.shutdown_background();
    match result? {
        0 => Ok(()),
        code => Err(Failure::Exited(code)),
    }
}

/// A program that is run while the node holds the office.
struct Lead<'a> {
    args: &'a Args,
    standing: Standing,
    answers: mpsc::Receiver<Answer>,
    signals: Signals,
    running: Option<Guarded>,
    /// Whether to exit as soon as the program has.
    is_stopping: bool,
    /// The last thing that was reported.
    reported: String,
}

impl<'a> Lead<'a> {
    fn new(args: &'a Args, client: Client) -> Result<Self, Failure> {
        let signals = Signals::new()?;
        let (standing, answers) =
            Standing::start(client, &args.office, args.voters.clone(), args.expected);
        let (running, is_stopping, reported) = (None, false, String::new());
        Ok(Self { args, standing, answers, signals, running, is_stopping, reported })
    }

    /// Stands for the office until the program exits by itself, or a signal arrives.
    async fn run(mut self) -> Result<u8, Failure> {
        let result = loop {
            let step = tokio::select! {
                exited = Guarded::exited(&mut self.running) => self.record_exit(exited),
                Some(answer) = self.answers.recv() => self.handle(answer).await,
                signal = self.signals.next() => self.stop(signal).await,
            };
            if let Some(result) = step.transpose() {
                break result;
            }
        };
        // The program ends before another member can hold the office.
        if let Some(running) = self.running {
            running.kill().await;
        }
        self.standing.resign().await;
        result
    }

    /// The consequence of the program's end: the exit code, or `None` to go on.
    fn record_exit(&mut self, exited: Exited) -> Result<Option<u8>, Failure> {
        self.running = None;
        Ok(match exited {
            Exited::ByItself(code) => Some(code),
            Exited::Ended => self.is_stopping.then_some(0),
        })
    }

    async fn handle(&mut self, answer: Answer) -> Result<Option<u8>, Failure> {
        match answer {
            Answer::Holds { token, until } => self.hold(token, until).await?,
            Answer::Waits(line) => {
                self.report(line.to_text());
                self.end().await;
            }
            // The request itself is wrong.
            Answer::Failed(error @ RequestError::Refused { status: 400..=404, .. }) => {
                return Err(error.into());
            }
            // The node can return, and the session of an earlier program ends (409). The guard ends the program when its
            // time is over.
            Answer::Failed(error) => self.report(with_causes(&error)),
        }
        Ok(None)
    }

    async fn hold(&mut self, token: Term, until: u64) -> Result<(), Failure> {
        match &mut self.running {
            Some(running) if running.token == token => running.extend(until).await,
            // It still ends from the term before.
            Some(running) => running.end().await,
            None if self.is_stopping => {}
            None => {
                let Args { program, office, grace, .. } = self.args;
                let started = Guarded::start(program, office, token, until, *grace);
                let failed = |error: io::Error| Failure::runtime("cannot run the program", &error);
                self.running = Some(started.map_err(failed)?);
                self.report(format!("{office}: held by this node, token {token}"));
            }
        }
        Ok(())
    }

    async fn end(&mut self) {
        if let Some(running) = &mut self.running {
            running.end().await;
        }
    }

    async fn stop(&mut self, signal: &str) -> Result<Option<u8>, Failure> {
        if self.running.is_none() || self.is_stopping {
            return Ok(Some(0));
        }
        self.report(format!("{signal}: the program is asked to end; the next signal kills it"));
        self.is_stopping = true;
        self.end().await;
        Ok(None)
    }

    /// Writes a line to standard error, unless it is the same as before.
    fn report(&mut self, text: String) {
        if self.reported != text {
            // If standard error is closed, the line is lost.
            let _ = io::stderr().write_all(format!("{text}\n").as_bytes());
            self.reported = text;
        }
    }
}

fn grace(text: &str) -> Result<Duration, String> {
    let grace = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    match grace <= MAX_GRACE {
        true => Ok(grace),
        false => Err("at most 1s, because a lease is 2 s long by default".into()),
    }
}

/// The longest time between SIGTERM and SIGKILL that is asked for.
const MAX_GRACE: Duration = Duration::from_secs(1);
