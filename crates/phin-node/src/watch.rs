//! `phin watch`: follows the membership list of a running node, also across its restarts; or that of a cluster, as a client that
//! is no member.

mod through;

use std::{
    io::{self, BufRead, Read, Write},
    thread,
    time::Duration,
};

use phin::{Filter, Topic};
use rustix::event::{PollFd, PollFlags, poll};

use crate::{
    client::{Client, RequestError, Stream, Target, filtered},
    events::{Line, MemberList, Own, What},
    failure::{Failure, with_causes},
    settings::CredentialFlags,
};

/// Print the members that a running node knows, then each change as one line; or the messages of topics
///
/// With --topic or --topic-prefix, print the messages that members publish, and those that they send to this node. Each stream
/// begins with `subscribed`: a later `subscribed` means that the connection was lost, and that messages before it may be missing.
///
/// With --through, no node is needed on this machine: the command connects to a member over QUIC, and to another within a second
/// if that one is gone. It needs the credentials of the cluster and does not become a member.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  phin watch --json | jq -r 'select(.event == \"dead\") | .member.name'\n  \
                  phin watch --filter 'role=web,zone!=b'\n  \
                  phin watch --topic deploy/started --topic-prefix cache/\n  \
                  phin watch --through 10.0.0.1,10.0.0.2:7646 --key-file cluster.key"
)]
pub(crate) struct Args {
    #[command(flatten)]
    target: Target,
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
    /// Only changes of members that match, before or after the change
    #[arg(long, value_name = "FILTER", default_value = "", hide_default_value = true)]
    filter: Filter,
    /// Messages of this topic instead of changes of members; can be repeated
    #[arg(long, value_name = "TOPIC")]
    topic: Vec<Topic>,
    /// Messages of all topics that begin with this; can be repeated
    #[arg(long, value_name = "PREFIX")]
    topic_prefix: Vec<String>,
    /// With a topic: changes of members as well
    #[arg(long)]
    members: bool,
    /// Watch through this member instead of a node's HTTP address; repeat it or separate several with commas
    #[arg(long, value_name = "HOST[:PORT]", value_delimiter = ',', conflicts_with_all = ["topic", "topic_prefix", "members"])]
    through: Vec<String>,
    #[command(flatten)]
    credentials: CredentialFlags,
}

/// The part of an event that has arrived.
#[derive(Default)]
pub(crate) struct Arriving {
    pub(crate) name: String,
    pub(crate) data: String,
}

/// The events of a stream.
pub(crate) struct Events<S> {
    stream: S,
    arriving: Arriving,
    line: Vec<u8>,
}

/// Why a stream ended.
enum Ended {
    /// The node closed it, or cannot be reached. It may return.
    Lost,
    Failed(Failure),
}

pub(crate) fn watch(args: &Args) -> Result<(), Failure> {
    if !args.through.is_empty() {
        return through::watch(args);
    }
    let client = Client::new(&args.target)?;
    print_events(&client, &path(args)?, |event| Ok(args.shown(&event.line()?)))
}

impl Args {
    fn shown(&self, line: &Line) -> Vec<u8> {
        if self.json { line.to_json() } else { line.to_text() }
    }
}

/// The path of the stream.
fn path(args: &Args) -> Result<String, Failure> {
    let Args { filter, topic, topic_prefix, members, .. } = args;
    if topic.is_empty() && topic_prefix.is_empty() {
        return match members {
            true => Err(Failure::Usage("--members belongs to --topic or --topic-prefix".into())),
            false => Ok(filtered(PATH, filter)),
        };
    }
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(topic.iter().map(|topic| ("topic", topic.as_str())));
    query.extend_pairs(topic_prefix.iter().map(|prefix| ("topic-prefix", prefix)));
    match (members, filter.is_empty()) {
        (true, _) => query.append_pair("filter", &filter.to_string()),
        (false, true) => query.append_pair("members", "false"),
        (false, false) => {
            let error = "--filter selects changes of members; add --members";
            return Err(Failure::Usage(error.into()));
        }
    };
    Ok(format!("{PATH}?{}", query.finish()))
}

/// Prints what `shown` makes of each event of a stream, for as long as somebody reads it, also across restarts of the node.
pub(crate) fn print_events(
    client: &Client,
    path: &str,
    shown: impl Fn(Arriving) -> Result<Vec<u8>, serde_json::Error>,
) -> Result<(), Failure> {
    thread::spawn(exit_with_reader);
    let mut stream = client.stream(path)?;
    loop {
        match follow(stream, &shown) {
            Ended::Failed(failure) => return Err(failure),
            Ended::Lost => note(&format!("lost {}; trying again", client.base())),
        }
        stream = reconnect(client, path)?;
    }
}

/// Retries until the node answers. An answer that is not from a node ends the command.
fn reconnect(client: &Client, path: &str) -> Result<Stream, Failure> {
    let mut delay = MIN_DELAY;
    loop {
        thread::sleep(delay);
        match client.stream(path) {
            Ok(stream) => return Ok(stream),
            Err(
                RequestError::NoAnswer { .. }
                | RequestError::Silent { .. }
                | RequestError::Refused { status: 503, .. },
            ) => {
                delay = (delay * 2).min(MAX_DELAY);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn follow(
    stream: impl BufRead,
    shown: impl Fn(Arriving) -> Result<Vec<u8>, serde_json::Error>,
) -> Ended {
    for event in Events::of(stream) {
        let shown = match shown(event) {
            Ok(shown) => shown,
            Err(error) => {
                let what = "the node sent an event that is not from phin";
                return Ended::Failed(Failure::Runtime(format!("{what}: {}", with_causes(&error))));
            }
        };
        let mut stdout = io::stdout();
        if let Err(error) = stdout.write_all(&shown).and_then(|()| stdout.flush()) {
            return Ended::Failed(error.into());
        }
    }
    Ended::Lost
}

impl<S: BufRead> Events<S> {
    pub(crate) fn of(stream: S) -> Self {
        Self { stream, arriving: Arriving::default(), line: Vec::new() }
    }
}

/// Ends when the stream is lost.
impl<S: BufRead> Iterator for Events<S> {
    type Item = Arriving;

    fn next(&mut self) -> Option<Arriving> {
        loop {
            self.line.clear();
            let line = self.stream.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut self.line);
            if line.is_err() || !self.line.ends_with(b"\n") {
                return None;
            }
            let text = String::from_utf8_lossy(&self.line);
            let event = self.arriving.take_line(text.trim_end_matches(['\r', '\n']));
            if event.is_some() {
                return event;
            }
        }
    }
}

impl Arriving {
    /// Processes a line of the stream (HTML Living Standard, §9.2.6). An empty line completes the event.
    fn take_line(&mut self, line: &str) -> Option<Self> {
        if line.is_empty() {
            return Some(std::mem::take(self)).filter(|event| !event.data.is_empty());
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.name),
            "data" => self.data.push_str(value),
            // Comments keep the connection alive. Ids repeat the version in the data.
            _ => {}
        }
        None
    }

    fn line(self) -> Result<Line, serde_json::Error> {
        if self.name != "snapshot" {
            return serde_json::from_str(&self.data);
        }
        let list: MemberList = serde_json::from_str(&self.data)?;
        let members = list.members.into_iter().map(|member| member.member).collect();
        Ok(Line::now(What::Own(Own::Snapshot { version: list.version, members })))
    }
}

/// Exits when the reader of standard output closes it, as `head` does. A write would notice too, but the next change
/// may be far away.
pub(crate) fn exit_with_reader() {
    let stdout = io::stdout();
    let mut reader = [PollFd::new(&stdout, PollFlags::empty())];
    loop {
        match poll(&mut reader, None) {
            Ok(_) if reader[0].revents().intersects(PollFlags::ERR | PollFlags::HUP) => {
                std::process::exit(0)
            }
            Err(rustix::io::Errno::INTR) => {}
            // This output cannot be polled.
            Ok(_) | Err(_) => return,
        }
    }
}

/// Prints a note to standard error.
fn note(text: &str) {
    let _ = io::stderr().write_all(format!("{text}\n").as_bytes());
}

pub(crate) const PATH: &str = "/v1/events";
pub(crate) const MIN_DELAY: Duration = Duration::from_millis(200);
pub(crate) const MAX_DELAY: Duration = Duration::from_secs(5);
/// The longest line: a snapshot of a full list.
const MAX_LINE_BYTES: u64 = 128 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn told(stream: &str) -> Vec<Line> {
        let mut arriving = Arriving::default();
        let events = stream.lines().filter_map(|line| arriving.take_line(line));
        events.map(|event| event.line().unwrap()).collect()
    }

    #[test]
    fn events_are_put_together_from_their_lines() {
        let at = "1970-01-01T00:00:01.500000Z";
        let stream = format!(
            ": comment\n\nevent: snapshot\nid: 3\ndata: {{\"self\":\"00112233445566778899aabbccddeeff\",\
             \"version\":3,\"fingerprint\":\"00\",\"members\":[]}}\n\n:\n\n\
             event: missed\ndata: {{\"at\":\"{at}\",\"event\":\"missed\",\"events\":2}}\n\n"
        );
        let told = told(&stream);
        assert_eq!(told.len(), 2);
        assert_eq!(told[0].what, What::Own(Own::Snapshot { version: 3, members: Vec::new() }));
        assert_eq!(told[1], Line { at: at.into(), what: What::missed(2) });
    }

    #[test]
    fn what_is_not_of_phin_is_an_error() {
        let mut arriving = Arriving { name: "dead".into(), data: "{}".into() };
        assert!(arriving.take_line("").unwrap().line().is_err());
    }
}
