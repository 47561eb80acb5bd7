//! `phin top`: a live view of the members of a running node, those in trouble first.
//!
//! [`Model`] is what the screen shows; only messages change it. [`screen`] draws it. Neither has a clock, a terminal or a
//! connection. [`source`] asks the node, and [`terminal`] owns the terminal.

mod event_log;
mod message;
mod model;
mod order;
mod screen;
mod source;
mod terminal;

use std::{
    io::{self, IsTerminal, Write},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    time::{Duration, Instant, SystemTime},
};

use phin::Filter;
use serde::Serialize;

use crate::{
    client::{Client, Target},
    events::DetailedMember,
    failure::Failure,
    text::is_colourful,
};
use message::{Answer, Input, Message};
use model::{Effect, Model, Now, Options};
use order::{Sort, Trouble};
use screen::Theme;
use source::Source;
use terminal::Screen;

/// Watch the members of a running node on a live screen, those in trouble first
///
/// The screen shows phi, round trip and loss of the links of that node, so of the members that it observes; and the serving
/// state, the tags and the state of all members. Press ? for the keys. It goes on across restarts of the node.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  phin top --http http://127.0.0.1:7647\n  phin top --filter role=web\n  \
                  phin top --once --json | jq -r '.members[] | select(.trouble) | .name'"
)]
pub(crate) struct Args {
    #[command(flatten)]
    target: Target,
    /// Show only members with these tags, such as role=web|api,zone!=b
    #[arg(long, value_name = "FILTER", default_value = "", hide_default_value = true)]
    filter: Filter,
    /// The order of the members
    #[arg(long, value_name = "ORDER", value_enum, default_value_t = Sort::Trouble)]
    sort: Sort,
    /// Include earlier runs of members
    #[arg(long)]
    all: bool,
    /// The time between two requests of the phi, round trips and loss, from 100ms to 1m
    #[arg(long, value_name = "DURATION", value_parser = interval, default_value = "1s")]
    interval: Duration,
    /// Print the members once as plain text, and exit
    #[arg(long)]
    once: bool,
    /// With --once: print one JSON object, with the trouble of each member
    #[arg(long, requires = "once")]
    json: bool,
}

/// The output of `--once --json`.
#[derive(Serialize)]
struct Once<'a> {
    #[serde(rename = "self")]
    me: phin::MemberId,
    version: u64,
    converged: Option<bool>,
    members: Vec<Troubled<'a>>,
}

/// A member, and why it is where it is in the order.
#[derive(Serialize)]
struct Troubled<'a> {
    #[serde(flatten)]
    member: &'a DetailedMember,
    rtt_p99_ms: Option<f64>,
    rtt_samples: Option<u32>,
    loss: Option<f64>,
    trouble: Option<Trouble>,
}

pub(crate) fn top(args: &Args) -> Result<(), Failure> {
    let is_screen = io::stdout().is_terminal() && io::stdin().is_terminal();
    if !args.once && !is_screen {
        let error = "a live screen needs a terminal as standard input and output; use phin top --once to print \
                     the members once";
        return Err(Failure::Usage(error.into()));
    }
    if !args.once && std::env::var_os("TERM").is_some_and(|term| term == "dumb") {
        let error = "the terminal cannot show a screen (TERM=dumb); use phin top --once to print the members once";
        return Err(Failure::Usage(error.into()));
    }
    let client = Client::new(&args.target)?;
    // An error here ends the command, as it ends the others. Later ones are shown, and the node is asked again.
    let answer = Answer::get(&client, true)?;
    let options = Options {
        base: client.base().to_owned(),
        interval: args.interval,
        filter: args.filter.clone(),
        sort: args.sort,
        shows_all: args.all,
    };
    let started = Instant::now();
    let mut model = Model::new(options, now(started));
    model.update(now(started), Message::Answer(Box::new(answer)));
    match args.once {
        true => once(args, &model),
        false => run(args, model, started),
    }
}

fn once(args: &Args, model: &Model) -> Result<(), Failure> {
    let text = if args.json {
        let members = model.shown().map(|row| Troubled {
            member: &row.member,
            rtt_p99_ms: row.link.as_ref().and_then(|link| link.rtt_p99_ms),
            rtt_samples: row.link.as_ref().and_then(|link| link.rtt_samples),
            loss: row.loss(),
            trouble: row.trouble.is_any().then_some(row.trouble),
        });
        let list = model.list().expect("the node has answered");
        let (me, version, converged) = (list.me, list.version, list.converged);
        let answer = Once { me, version, converged, members: members.collect() };
        let json = serde_json::to_string(&answer).expect("it is plain data with text keys");
        format!("{json}\n")
    } else {
        let width = terminal::width().filter(|_| io::stdout().is_terminal());
        screen::to_text(model, width.unwrap_or(WIDTH_OF_TEXT))
    };
    Ok(io::stdout().write_all(text.as_bytes())?)
}

fn run(args: &Args, mut model: Model, started: Instant) -> Result<(), Failure> {
    let theme = Theme { is_colourful: is_colourful(&io::stdout()) };
    let (inbox, inputs) = mpsc::sync_channel(MAX_WAITING);
    // Before the terminal changes, so that a signal finds it restored.
    terminal::forward_signals(&inbox)?;
    let mut screen = Screen::enter()?;
    terminal::forward_keys(&inbox);
    let source = Source::start(&args.target, args.interval, &inbox);
    let (width, height) = screen.size()?;
    model.update(now(started), Message::Resized(width, height));
    loop {
        screen.draw(&model, theme)?;
        let drawn = Instant::now();
        let Some(first) = wait(&inputs, TICK)? else {
            model.update(now(started), Message::Tick);
            continue;
        };
        let mut next = Some(first);
        while let Some(input) = next {
            if handle(input, &mut model, &mut screen, &source, started)?.is_break() {
                return Ok(());
            }
            next = wait(&inputs, FRAME.saturating_sub(drawn.elapsed()))?;
        }
    }
}

/// The next input, if one arrives in time.
fn wait(inputs: &Receiver<Input>, limit: Duration) -> Result<Option<Input>, Failure> {
    match inputs.recv_timeout(limit) {
        Ok(input) => Ok(Some(input)),
        Err(RecvTimeoutError::Timeout) => Ok(None),
        Err(RecvTimeoutError::Disconnected) => Err(Failure::Runtime("all inputs ended".into())),
    }
}

fn handle(
    input: Input,
    model: &mut Model,
    screen: &mut Screen,
    source: &Source,
    started: Instant,
) -> Result<std::ops::ControlFlow<()>, Failure> {
    use std::ops::ControlFlow::{Break, Continue};
    let message = match input {
        Input::Message(message) => message,
        Input::Continued => {
            screen.reenter()?;
            let (width, height) = screen.size()?;
            Message::Resized(width, height)
        }
        Input::Ended => return Ok(Break(())),
        // The exit code of a shell for a process that a signal ended.
        Input::Signal(number) => return Err(Failure::Exited(128 + number)),
    };
    for effect in model.update(now(started), message) {
        match effect {
            Effect::Quit => return Ok(Break(())),
            Effect::Suspend => {
                screen.suspend()?;
                model.update(now(started), Message::Tick);
            }
            Effect::Redraw => screen.clear()?,
            Effect::Refresh => source.refresh(),
            Effect::Ask(question) => source.ask(question),
        }
    }
    Ok(Continue(()))
}

fn now(started: Instant) -> Now {
    Now { clock: started.elapsed(), wall: SystemTime::now() }
}

fn interval(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(interval) if (MIN_INTERVAL..=MAX_INTERVAL).contains(&interval) => Ok(interval),
        Ok(_) => Err("allowed is 100ms to 1m".into()),
        Err(error) => Err(error.to_string()),
    }
}

const MIN_INTERVAL: Duration = Duration::from_millis(100);
const MAX_INTERVAL: Duration = Duration::from_secs(60);
/// How often ages on the screen advance if nothing else happens.
const TICK: Duration = Duration::from_millis(500);
/// The least time between two frames: inputs that come sooner are drawn together.
const FRAME: Duration = Duration::from_millis(30);
/// Inputs that wait for the screen. The threads behind them wait if it is full, and the node counts what they miss.
const MAX_WAITING: usize = 256;
/// The width of `--once` where there is no terminal.
const WIDTH_OF_TEXT: usize = 160;

#[cfg(test)]
mod tests;
