//! `phin query`: asks the applications of members through a running node.

use std::{
    io::{self, BufRead, Read, Write},
    thread,
    time::Duration,
};

use phin::{Filter, Publication, Topic};

use crate::{
    client::{Client, Stream, Target, in_path},
    failure::{Failure, with_causes},
    input::bytes_of,
    reply::{Ended, MemberOutcome, QueryLine},
    watch::exit_with_reader,
};

/// Ask the applications of members, and print the reply of each as it comes
///
/// The query ends as soon as each member that was asked replied, refused, died or left, and at its timeout. A summary on standard
/// error names the members that did not reply, and why. Members answer with `phin run --answer TOPIC=PROGRAM`, or in the crate.
/// The exit code is 0 if all of them replied, or as many as --first wants; otherwise 3.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  phin query disk/free /var\n  \
                        phin query disk/free /var --filter role=db --timeout 2s\n  \
                        phin query leader '' --first 1\n  \
                        phin query config/check - --json < config.toml")]
pub(crate) struct Args {
    /// The topic of the query: 1 to 128 bytes, without spaces and invisible characters
    topic: Topic,
    /// The question, at most 64 KiB; `-` reads it from standard input
    #[arg(allow_negative_numbers = true)]
    text: String,
    /// Ask only members whose tags match
    #[arg(long, value_name = "FILTER", default_value = "", hide_default_value = true)]
    filter: Filter,
    /// How long replies are waited for, such as 2s; 10ms to 10m
    #[arg(long, value_name = "DURATION", value_parser = timeout, default_value = "10s")]
    timeout: Duration,
    /// End as soon as so many members have replied
    #[arg(long, value_name = "NUMBER", conflicts_with = "sample")]
    first: Option<usize>,
    /// Ask so many of the members, chosen at random; at most 1024
    #[arg(long, value_name = "NUMBER")]
    sample: Option<usize>,
    /// Print one JSON object for each member, whether it replied or not, and a last one with the number of each outcome
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

pub(crate) fn query(args: &Args) -> Result<(), Failure> {
    let client = Client::new(&args.target)?;
    let body = bytes_of(&args.text, "a query", Publication::MAX_BODY_BYTES)?;
    let mut lines = client.post_stream(&path(args), &body, args.timeout)?;
    // The end of the process ends the query.
    thread::spawn(exit_with_reader);
    let mut tally = Tally::default();
    loop {
        let line = next_line(&mut lines)?;
        if args.json {
            print(&line.to_json())?;
        }
        match line {
            QueryLine::Outcome(outcome) => {
                if let (false, Some(text)) = (args.json, text_of(&outcome)) {
                    print(text.as_bytes())?;
                }
                tally.add(&outcome);
            }
            QueryLine::Ended(summary) => return tally.report(summary.ended),
        }
    }
}

fn path(args: &Args) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("filter", &args.filter.to_string());
    query.append_pair("timeout", &humantime::format_duration(args.timeout).to_string());
    for (name, number) in [("first", args.first), ("sample", args.sample)] {
        if let Some(number) = number {
            query.append_pair(name, &number.to_string());
        }
    }
    format!("/v1/query/{}?{}", in_path(args.topic.as_str()), query.finish())
}

/// The next line of the answer. The answer ends with a summary.
pub(crate) fn next_line(lines: &mut Stream) -> Result<QueryLine, Failure> {
    let mut line = Vec::new();
    let read = lines.take(MAX_LINE_BYTES).read_until(b'\n', &mut line);
    read.map_err(|error| Failure::runtime(BROKEN_OFF, &error))?;
    if !line.ends_with(b"\n") {
        return Err(Failure::Runtime(format!("{BROKEN_OFF}: the node stopped")));
    }
    serde_json::from_slice(&line).map_err(|error| {
        let what = "the node sent a line that is not from phin";
        Failure::Runtime(format!("{what}: {}", with_causes(&error)))
    })
}

/// The line as text; `None` without a reply.
fn text_of(outcome: &MemberOutcome) -> Option<String> {
    let reply = outcome.reply.as_ref()?;
    let shown = reply.content.trimmed().shown(reply.bytes, MAX_SHOWN_CHARS);
    Some(format!("{}: {shown}\n", outcome.member.label()))
}

fn print(line: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout();
    stdout.write_all(line)?;
    stdout.flush()
}

/// The outcomes at all members.
#[derive(Default)]
struct Tally {
    replies: usize,
    /// The members without a reply, and why.
    others: Vec<String>,
}

impl Tally {
    fn add(&mut self, outcome: &MemberOutcome) {
        match outcome.reply {
            Some(_) => self.replies += 1,
            None => {
                self.others.push(format!("{} ({})", outcome.member.label(), outcome.outcome));
            }
        }
    }

    fn report(&self, ended: Ended) -> Result<(), Failure> {
        // If standard error is closed, the exit code remains.
        let _ = io::stderr().write_all(format!("{}\n", self.to_text(ended)).as_bytes());
        let is_enough = ended == Ended::Early || (self.others.is_empty() && self.replies > 0);
        if is_enough { Ok(()) } else { Err(Failure::Unanswered) }
    }

    fn to_text(&self, ended: Ended) -> String {
        let Self { replies, others } = self;
        let asked = replies + others.len();
        let mut text = match (ended, asked) {
            (Ended::Early, _) => format!("enough members replied: {replies}"),
            (Ended::Complete, 0) => "no member was asked: none matches".to_owned(),
            (Ended::Complete, _) => format!("{replies} of {asked} members replied"),
        };
        if !others.is_empty() {
            let named = others[..others.len().min(MAX_NAMED)].join(", ");
            text.push_str(&format!("; no reply: {named}"));
        }
        if others.len() > MAX_NAMED {
            text.push_str(&format!(" and {} more", others.len() - MAX_NAMED));
        }
        text
    }
}

fn timeout(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(timeout) if (MIN_TIMEOUT..=MAX_TIMEOUT).contains(&timeout) => Ok(timeout),
        Ok(_) | Err(_) => Err("expected a duration from 10ms to 10m, such as 2s".to_owned()),
    }
}

const MIN_TIMEOUT: Duration = Duration::from_millis(10);
const MAX_TIMEOUT: Duration = Duration::from_secs(600);
/// The longest line: a reply of 64 KiB, each byte of it escaped.
const MAX_LINE_BYTES: u64 = 1024 * 1024;
/// As much of a reply as a line shows. Programs get all of it from JSON.
const MAX_SHOWN_CHARS: usize = 1_000;
/// Members without a reply that the summary names. Programs get all of them from JSON.
const MAX_NAMED: usize = 100;
const BROKEN_OFF: &str = "the answer broke off before the query ended";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_names_those_without_a_reply() {
        let tally = |replies, others: usize| Tally {
            replies,
            others: (0..others).map(|number| format!("n{number} (dead)")).collect(),
        };
        for (ended, tally, expected) in [
            (Ended::Complete, tally(3, 0), "3 of 3 members replied"),
            (
                Ended::Complete,
                tally(1, 2),
                "1 of 3 members replied; no reply: n0 (dead), n1 (dead)",
            ),
            (Ended::Complete, tally(0, 0), "no member was asked: none matches"),
            (Ended::Early, tally(2, 1), "enough members replied: 2; no reply: n0 (dead)"),
        ] {
            assert_eq!(tally.to_text(ended), expected);
        }
        let many = tally(0, MAX_NAMED + 7).to_text(Ended::Complete);
        assert!(many.ends_with(", n99 (dead) and 7 more"), "{many}");
    }
}
