//! `phin key status`: which member accepts which cluster key or CA, which signs its votes, and where its id comes from.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    time::Duration,
};

use phin::SignedVotes;
use serde::Serialize;

use crate::{
    client::{Client, Target, in_path},
    content::Content,
    failure::Failure,
    query::next_line,
    reply::{MemberOutcome, QueryLine},
    run::{Accepted, IdSource, KEYS_TOPIC, KeyReport},
    table,
    text::escaped,
};

/// Show which member accepts which cluster key or CA, and which one still lacks one
///
/// Each key and CA has a fingerprint, of which the table shows the beginning. OWN is the one by which others admit the member.
/// While a key or a CA is replaced, go on to the next step when all members accept the same. VOTES is the member's setting
/// `--signed-votes`. ID is `assigned` if the member's certificate assigns its id, `required` if the member also requires that of
/// others, and `key` if the id follows from the key. The exit code is 3 if a member did not reply.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  phin key status --http http://127.0.0.1:7647")]
pub(crate) struct Args {
    #[command(flatten)]
    target: Target,
    /// Print one JSON object per member
    #[arg(long)]
    json: bool,
}

/// The answer of one member, if there is one.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    /// `reply`, or why there is none.
    outcome: String,
    #[serde(flatten)]
    report: Option<KeyReport>,
}

pub(crate) fn status(args: &Args) -> Result<(), Failure> {
    let client = Client::new(&args.target)?;
    let path = format!("/v1/query/{}?timeout=5s", in_path(KEYS_TOPIC));
    let mut lines = client.post_stream(&path, b"", TIMEOUT)?;
    let mut rows = Vec::new();
    while let QueryLine::Outcome(outcome) = next_line(&mut lines)? {
        rows.push(Row::of(outcome));
    }
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    let text = if args.json { json(&rows) } else { shown(&rows) };
    io::stdout().write_all(text.as_bytes())?;
    match rows.iter().all(|row| row.report.is_some()) {
        true => Ok(()),
        false => Err(Failure::Unanswered),
    }
}

impl Row {
    fn of(outcome: MemberOutcome) -> Self {
        let reply = match outcome.reply.as_ref().map(|reply| &reply.content) {
            Some(Content::Text(text)) => serde_json::from_str(text).ok(),
            Some(Content::Base64(_)) | None => None,
        };
        let outcome_text = match (&reply, &outcome.reply) {
            (None, Some(_)) => "the reply is not from phin".to_owned(),
            _ => outcome.outcome,
        };
        Self { name: outcome.member.label().to_string(), outcome: outcome_text, report: reply }
    }
}

fn json(rows: &[Row]) -> String {
    let line = |row: &Row| serde_json::to_string(row).expect("it is plain data") + "\n";
    rows.iter().map(line).collect()
}

/// A table of the members, and a line for each key or CA that not all of them accept.
fn shown(rows: &[Row]) -> String {
    let mut table = table::new(&["NAME", "OWN", "ACCEPTS", "EXPIRES", "REVOKED", "VOTES", "ID"]);
    for Row { name, outcome, report } in rows {
        let Some(report) = report else {
            table.add_row([name.as_str(), &format!("({outcome})"), "", "", "", "", ""]);
            continue;
        };
        let KeyReport { own, accepts, expires, revoked, signed_votes, id } = report;
        let accepts: Vec<_> = accepts.iter().map(|ca| short(&ca.fingerprint)).collect();
        let own = own.as_deref().map_or("-".to_owned(), short);
        let expires = expires.as_deref().map_or("never".to_owned(), escaped);
        let (revoked, votes) = (revoked.to_string(), signed_votes.as_str());
        table.add_row([name, &own, &accepts.join(" "), &expires, &revoked, votes, id.as_str()]);
    }
    let mut text = table::text(&table);
    for (fingerprint, accepted) in of_any(rows) {
        let lacks = |row: &&Row| row.report.as_ref().is_some_and(|r| !accepts(r, fingerprint));
        let lacking: Vec<_> = rows.iter().filter(lacks).map(|row| row.name.as_str()).collect();
        let what = accepted.name.as_deref().map_or("cluster key".to_owned(), escaped);
        let expires = accepted.expires.as_deref().map(escaped);
        let expires = expires.map_or(String::new(), |expires| format!(", until {expires}"));
        let by = match lacking.is_empty() {
            true => "accepted by all members that replied".to_owned(),
            false => format!("not accepted by {}", lacking.join(", ")),
        };
        text.push_str(&format!("{} ({what}{expires}): {by}\n", short(fingerprint)));
    }
    for (what, names) in [
        ("votes: not signed by", lacking(rows, |report| report.signed_votes != SignedVotes::Off)),
        ("ids: not assigned to", lacking(rows, |report| report.id != IdSource::Key)),
    ] {
        if !names.is_empty() {
            text.push_str(&format!("{what} {}\n", names.join(", ")));
        }
    }
    text
}

/// The members that lack something that others have.
fn lacking(rows: &[Row], has: impl Fn(&KeyReport) -> bool) -> Vec<&str> {
    let replied = rows.iter().filter_map(|row| Some((row.name.as_str(), row.report.as_ref()?)));
    let (having, lacking): (Vec<_>, Vec<_>) = replied.partition(|(_, report)| has(report));
    if having.is_empty() {
        return Vec::new();
    }
    lacking.into_iter().map(|(name, _)| name).collect()
}

/// The keys and CAs that some member accepts.
fn of_any(rows: &[Row]) -> BTreeMap<&str, &Accepted> {
    let reports = rows.iter().filter_map(|row| row.report.as_ref());
    let all = reports.flat_map(|report| &report.accepts);
    all.map(|accepted| (accepted.fingerprint.as_str(), accepted)).collect()
}

fn accepts(report: &KeyReport, fingerprint: &str) -> bool {
    report.accepts.iter().any(|accepted| accepted.fingerprint == fingerprint)
}

/// The beginning of a fingerprint, which tells apart the few that a cluster has.
fn short(fingerprint: &str) -> String {
    escaped(&fingerprint.chars().take(8).collect::<String>())
}

/// As in the path of the query.
const TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, own: &str, accepts: &[&str]) -> Row {
        let accepted = |fingerprint: &&str| Accepted {
            fingerprint: (*fingerprint).to_owned(),
            name: None,
            expires: None,
        };
        let accepts = accepts.iter().map(accepted).collect();
        let own = Some(own.to_owned());
        let (signed_votes, id) = (SignedVotes::Off, IdSource::Key);
        let report = KeyReport { own, accepts, expires: None, revoked: 0, signed_votes, id };
        Row { name: name.into(), outcome: "reply".into(), report: Some(report) }
    }

    #[test]
    fn members_that_lack_a_key_are_named() {
        let (old, new) = ("aaaaaaaa11", "bbbbbbbb22");
        let silent = Row { name: "n4".into(), outcome: "timed-out".into(), report: None };
        let rows = [
            row("n1", old, &[old, new]),
            row("n2", old, &[old]),
            row("n3", new, &[new, old]),
            silent,
        ];
        let text = shown(&rows);
        assert!(text.contains("aaaaaaaa (cluster key): accepted by all members that replied\n"));
        assert!(text.contains("bbbbbbbb (cluster key): not accepted by n2\n"), "{text}");
        assert!(text.contains("(timed-out)"), "{text}");
    }

    #[test]
    fn members_that_sign_no_votes_are_named_if_others_do() {
        use SignedVotes::{Off, Require, Sign};
        let line = "votes: not signed by n2\n";
        for (votes, expected) in
            [([Off, Off], None), ([Sign, Require], None), ([Require, Off], Some(line))]
        {
            let names = ["n1", "n2"].into_iter().zip(votes);
            let rows = names.map(|(name, votes)| {
                let mut row = row(name, "aaaaaaaa11", &["aaaaaaaa11"]);
                row.report.as_mut().unwrap().signed_votes = votes;
                row
            });
            let text = shown(&rows.collect::<Vec<_>>());
            assert_eq!(text.contains("votes:"), expected.is_some(), "{votes:?}: {text}");
            assert!(text.ends_with(expected.unwrap_or_default()), "{votes:?}: {text}");
        }
        // An earlier release says nothing of votes and ids: it signs none, and its id is that of its key.
        let earlier = r#"{"own":null,"accepts":[],"expires":null,"revoked":0}"#;
        let report: KeyReport = serde_json::from_str(earlier).unwrap();
        assert_eq!((report.signed_votes, report.id), (Off, IdSource::Key));
    }

    #[test]
    fn members_without_an_assigned_id_are_named_if_others_have_one() {
        use IdSource::{Assigned, Key, Required};
        let line = "ids: not assigned to n2\n";
        for (ids, expected) in
            [([Key, Key], None), ([Assigned, Required], None), ([Required, Key], Some(line))]
        {
            let names = ["n1", "n2"].into_iter().zip(ids);
            let rows = names.map(|(name, id)| {
                let mut row = row(name, "aaaaaaaa11", &["aaaaaaaa11"]);
                row.report.as_mut().unwrap().id = id;
                row
            });
            let text = shown(&rows.collect::<Vec<_>>());
            assert!(ids.iter().all(|id| text.contains(id.as_str())), "{text}");
            assert_eq!(text.contains("ids:"), expected.is_some(), "{ids:?}: {text}");
            assert!(text.ends_with(expected.unwrap_or_default()), "{ids:?}: {text}");
        }
    }
}
