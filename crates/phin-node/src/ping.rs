//! `phin ping`: tries every path from a running node to a member.

use std::{
    io::{self, Write},
    net::SocketAddr,
    thread,
    time::Duration,
};

use phin::{HostAnswer, MemberState, Members, PathPing, PingOutcome, PingPath, PingReport};
use serde::{Deserialize, Serialize};

use crate::{
    brief::BriefMember,
    client::{Client, Target, member_path},
    failure::Failure,
    http::parse_ping_timeout,
    text::{printable, printable_option},
};

/// Try every path from a running node to a member, and show how long each takes
///
/// The node pings the member by datagram, by stream, and through up to 8 other members; and it asks the member's host whether the
/// process is there. A time is that of the whole way and back; with a handshake if there was no connection. A missing answer is
/// no evidence against the member. The exit code is 0 if the member itself answered the node, and otherwise 3.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  phin ping n3\n  phin ping n3 --count 5 --json")]
pub(crate) struct Args {
    /// The member's name, its id, or the first 8 digits of its id or more
    #[arg(value_name = "NAME")]
    member: String,
    /// How often all paths are tried, once a second; 1 to 1000
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    count: u16,
    /// How long each path has for its answer, such as 500ms; 10ms to 60s
    #[arg(long, value_name = "DURATION", value_parser = parse_ping_timeout, default_value = "2s")]
    timeout: Duration,
    /// Print the answer of /v1/members/{member}/ping as one JSON object for each try
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

/// The outcomes on the paths from a node to a member.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Pinged {
    pub(crate) member: BriefMember,
    pub(crate) addr: SocketAddr,
    pub(crate) state: MemberState,
    /// Whether the member itself answered the node.
    pub(crate) reached_directly: bool,
    pub(crate) paths: Vec<PathLine>,
    /// The answer of the member's host; `null` if the node asks none.
    pub(crate) host: Option<HostLine>,
    /// Why the last handshake with the member was refused, if it was.
    #[serde(default, deserialize_with = "printable_option")]
    pub(crate) refusal: Option<String>,
}

/// A path, and the outcome of a ping by it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct PathLine {
    /// `datagram`, `stream` or `helper`.
    #[serde(deserialize_with = "printable")]
    pub(crate) path: String,
    /// The member that pinged for the node, for the path `helper`.
    pub(crate) helper: Option<BriefMember>,
    /// Whether there was a connection before.
    pub(crate) connected: bool,
    #[serde(deserialize_with = "printable")]
    pub(crate) outcome: String,
    /// The time of the whole way and back in milliseconds, if the member answered.
    pub(crate) rtt_ms: Option<f64>,
}

/// The answer of a member's host.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct HostLine {
    /// `port-refused`, `there`, `nothing` or `unknown`.
    #[serde(deserialize_with = "printable")]
    pub(crate) answer: String,
    pub(crate) after_ms: f64,
}

pub(crate) fn ping(args: &Args) -> Result<(), Failure> {
    let client = Client::new(&args.target)?;
    let timeout = humantime::format_duration(args.timeout).to_string().replace(' ', "");
    let path = format!("{}?timeout={timeout}", member_path(&args.member, "ping"));
    let mut is_reached = false;
    for number in 1..=args.count {
        if number > 1 {
            thread::sleep(INTERVAL);
        }
        let pinged: Pinged = client.post_bytes(&path, b"")?;
        is_reached |= pinged.reached_directly;
        let text = match args.json {
            true => serde_json::to_string(&pinged).expect("it is plain data") + "\n",
            false => pinged.to_text(),
        };
        let mut stdout = io::stdout();
        stdout.write_all(text.as_bytes())?;
        stdout.flush()?;
    }
    if is_reached { Ok(()) } else { Err(Failure::Unanswered) }
}

impl Pinged {
    pub(crate) fn new(
        member: &phin::Member,
        members: &Members,
        report: &PingReport,
        refusal: Option<String>,
    ) -> Self {
        let path = |ping: &PathPing| PathLine::new(ping, members);
        Self {
            member: BriefMember::new(member.id(), members),
            addr: member.addr(),
            state: member.state(),
            reached_directly: report.is_reached_directly(),
            paths: report.paths.iter().map(path).collect(),
            host: report.host.map(|(answer, after)| HostLine::new(answer, after)),
            refusal,
        }
    }

    fn to_text(&self) -> String {
        let Self { member, addr, state, paths, host, refusal, .. } = self;
        let mut text = format!("{} {addr} {state}\n", member.label());
        let name = |path: &PathLine| match &path.helper {
            Some(helper) => format!("through {}", helper.label()),
            None => path.path.clone(),
        };
        let width = paths.iter().map(|path| name(path).chars().count()).max().unwrap_or(0);
        for path in paths {
            let outcome = path.to_text();
            text.push_str(&format!("  {:width$}  {outcome}\n", name(path)));
        }
        if let Some(host) = host {
            text.push_str(&format!("  {:width$}  {}\n", "host", host.to_text()));
        }
        if let Some(refusal) = refusal {
            text.push_str(&format!("  {:width$}  {refusal}\n", "handshake"));
        }
        text
    }
}

impl PathLine {
    fn new(ping: &PathPing, members: &Members) -> Self {
        let (path, helper) = match ping.path {
            PingPath::Datagram => ("datagram", None),
            PingPath::Stream => ("stream", None),
            PingPath::Helper(helper) => ("helper", Some(BriefMember::new(helper, members))),
            // A path of a later release.
            _ => ("other", None),
        };
        let rtt_ms = match ping.outcome {
            PingOutcome::Answered(after) => Some(millis(after)),
            _ => None,
        };
        let (connected, outcome) = (ping.is_connected, ping.outcome.as_str().to_owned());
        Self { path: path.to_owned(), helper, connected, outcome, rtt_ms }
    }

    fn to_text(&self) -> String {
        let handshake = if self.connected { "" } else { ", with a handshake" };
        match (self.outcome.as_str(), self.rtt_ms) {
            (outcome, Some(rtt)) => format!("{outcome} {rtt:.3} ms{handshake}"),
            ("timeout", None) => "no answer in time".to_owned(),
            ("not-reached", None) => "it does not reach the member".to_owned(),
            ("no-connection", None) => "no connection: nothing answers".to_owned(),
            ("port-refused", None) => "no connection: the port is refused".to_owned(),
            ("other-member", None) => "another member answers at its address".to_owned(),
            ("handshake-refused", None) => "no connection: the handshake failed".to_owned(),
            (outcome, None) => outcome.to_owned(),
        }
    }
}

impl HostLine {
    fn new(answer: HostAnswer, after: Duration) -> Self {
        let answer = match answer {
            HostAnswer::PortRefused => "port-refused",
            HostAnswer::Answers => "there",
            HostAnswer::Nothing => "nothing",
            HostAnswer::Unknown => "unknown",
        };
        Self { answer: answer.to_owned(), after_ms: millis(after) }
    }

    fn to_text(&self) -> String {
        let after = self.after_ms;
        match self.answer.as_str() {
            "port-refused" => {
                format!("refuses the port of the member: no process has it {after:.3} ms")
            }
            "there" => {
                format!("is there, and does not refuse the port of the member {after:.3} ms")
            }
            "nothing" => "no answer: it is down, or something drops packets".to_owned(),
            "unknown" => "not asked: it was asked too often just now".to_owned(),
            other => other.to_owned(),
        }
    }
}

fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// The time between two tries: a node pings once a second for operators, and no more often than that for long.
const INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_text_shows_each_path_on_a_line() {
        let path = |path: &str, helper: Option<&str>, outcome: &str, rtt_ms: Option<f64>| {
            let id = "00112233445566778899aabbccddeeff";
            let helper = helper.map(|name| json!({"id": id, "name": name}));
            let connected = outcome != "ok" || helper.is_none();
            json!({"path": path, "helper": helper, "connected": connected, "outcome": outcome, "rtt_ms": rtt_ms})
        };
        let paths = [
            path("datagram", None, "timeout", None),
            path("stream", None, "ok", Some(0.7)),
            path("helper", Some("n3"), "ok", Some(1.25)),
            path("helper", Some("n10"), "not-reached", None),
        ];
        let pinged: Pinged = serde_json::from_value(json!({
            "member": {"id": "00112233445566778899aabbccddeeff", "name": "n2"},
            "addr": "10.0.0.2:7646", "state": "suspect", "reached_directly": true, "paths": paths,
            "host": {"answer": "there", "after_ms": 0.3},
        }))
        .unwrap();
        let expected = "n2 10.0.0.2:7646 suspect
  datagram     no answer in time
  stream       ok 0.700 ms
  through n3   ok 1.250 ms, with a handshake
  through n10  it does not reach the member
  host         is there, and does not refuse the port of the member 0.300 ms
";
        assert_eq!(pinged.to_text(), expected);
        assert!(
            serde_json::from_str::<HostLine>("{\"answer\":\"\\u001b[2J\",\"after_ms\":1}").is_err()
        );
    }
}
