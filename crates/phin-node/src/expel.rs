//! `phin expel` and `phin readmit`: sign that a member is expelled, or may return, and hand that to a node.

use std::{
    io::{self, Write},
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use phin::{AdminStatement, MemberId, Name, Standing};
use serde::{Deserialize, Serialize};

use crate::{
    admin_key,
    client::{Client, Target},
    events::MemberList,
    failure::Failure,
    table,
    text::{escaped, printable, printable_option, readable_time, rfc3339, short},
};

/// Expel a member: every node refuses its id from then on
///
/// The statement is signed here, with the private admin key, which no node needs. Any node of the cluster checks it, keeps it and
/// hands it to all others. The member is dead at once, its connections end, and it cannot join again, until `phin readmit`
/// or the end of --for.
///
/// An expulsion is about an id. A holder of the cluster key can join with another one: replace the key as well. Where a CA
/// admits nodes, revoke the certificate of the member as well (`phin cert revoke`).
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  phin key admin --out admin.key\n  phin expel n3 --admin-key-file admin.key\n  \
                  phin expel n3 --admin-key-file admin.key --for 30d\n  phin expel --list"
)]
pub(crate) struct ExpelArgs {
    /// The member's name, its id, or the first 8 digits of its id or more; the whole id of one that is not in the list
    #[arg(value_name = "NAME", required_unless_present = "list", conflicts_with = "list")]
    member: Option<String>,
    /// The private admin key, from `phin key admin`
    #[arg(long, value_name = "FILE", required_unless_present = "list", conflicts_with = "list")]
    admin_key_file: Option<PathBuf>,
    /// How long the member is expelled, such as 30d; for ever without it
    #[arg(long = "for", value_name = "DURATION", value_parser = duration, conflicts_with = "list")]
    lasts: Option<Duration>,
    /// Show the statements in effect instead
    #[arg(long)]
    list: bool,
    /// With --list: print one JSON object with all fields
    #[arg(long, requires = "list")]
    json: bool,
    #[command(flatten)]
    target: Target,
}

/// Let an expelled member return
///
/// Signs a later statement, which lifts the one that expelled the member, and hands it to a node. The member joins again by itself
/// if it runs.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  phin readmit n3 --admin-key-file admin.key")]
pub(crate) struct ReadmitArgs {
    /// The member's name, its id, or the first 8 digits of its id or more (see `phin expel --list`)
    #[arg(value_name = "NAME")]
    member: String,
    /// The private admin key, from `phin key admin`
    #[arg(long, value_name = "FILE")]
    admin_key_file: PathBuf,
    #[command(flatten)]
    target: Target,
}

/// The answer of `GET /v1/expel`.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Expulsions {
    /// The tag of the node's cluster, which statements name.
    #[serde(deserialize_with = "printable")]
    pub(crate) cluster_tag: String,
    /// The admin keys that the node follows.
    pub(crate) admin_keys: Vec<String>,
    pub(crate) statements: Vec<StatementInfo>,
}

/// A statement of an administrator as JSON.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct StatementInfo {
    pub(crate) id: MemberId,
    #[serde(deserialize_with = "printable_option")]
    pub(crate) name: Option<String>,
    pub(crate) standing: Standing,
    #[serde(deserialize_with = "printable")]
    pub(crate) at: String,
    #[serde(deserialize_with = "printable_option")]
    pub(crate) until: Option<String>,
    /// The admin key that signed it.
    #[serde(deserialize_with = "printable")]
    pub(crate) key: String,
    /// The whole statement, in hexadecimal.
    #[serde(deserialize_with = "printable")]
    pub(crate) statement: String,
}

/// The body of `POST /v1/expel`, and its answer.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Stated {
    /// The whole statement, in hexadecimal.
    pub(crate) statement: String,
}

impl StatementInfo {
    pub(crate) fn of(statement: &AdminStatement) -> Self {
        let time = |millis| rfc3339(phin::statement_time(millis));
        Self {
            id: statement.subject,
            name: statement.name.as_ref().map(ToString::to_string),
            standing: statement.standing,
            at: time(statement.at),
            until: statement.until.map(time),
            key: statement.key.to_string(),
            statement: hex(&statement.to_bytes()),
        }
    }
}

pub(crate) fn expel(args: &ExpelArgs) -> Result<(), Failure> {
    let client = Client::new(&args.target)?;
    let known: Expulsions = client.get(PATH)?;
    let (Some(member), Some(key_file)) = (&args.member, &args.admin_key_file) else {
        return list(&known, args.json);
    };
    let members: MemberList = client.get("/v1/members")?;
    let mut found: Vec<_> = members.members.iter().map(|detailed| &detailed.member).collect();
    found.sort_by_key(|member| !member.state.is_live());
    let listed = found.iter().map(|member| Found {
        id: member.id,
        name: Some(member.name.as_str()),
        is_live: member.state.is_live(),
    });
    let (id, name) = resolve(member, listed.collect())?;
    let at = next_moment(&known, id)?;
    let until = args.lasts.map(|lasts| at.saturating_add(millis(lasts)));
    let order = Order { id, name, standing: Standing::Expelled, at, until };
    let statement = state(&client, &known, key_file, order)?;
    let until = until.map_or(String::new(), |until| {
        format!(", until {}", readable_time(phin::statement_time(until)))
    });
    say(&format!("expelled {}{until}\n", describe(&statement)))
}

pub(crate) fn readmit(args: &ReadmitArgs) -> Result<(), Failure> {
    let client = Client::new(&args.target)?;
    let known: Expulsions = client.get(PATH)?;
    let expelled: Vec<_> =
        known.statements.iter().filter(|one| one.standing == Standing::Expelled).collect();
    let candidates =
        expelled.iter().map(|one| Found { id: one.id, name: one.name.as_deref(), is_live: true });
    let (id, name) = resolve(&args.member, candidates.collect())?;
    let Some(lifted) = expelled.iter().find(|one| one.id == id) else {
        let text = format!("{} is not expelled; see `phin expel --list`", args.member);
        return Err(Failure::Runtime(text));
    };
    // It has to be known as long as the one that it lifts.
    let until = decode(&lifted.statement).and_then(|lifted| lifted.until);
    let at = next_moment(&known, id)?;
    let order = Order { id, name, standing: Standing::Readmitted, at, until };
    let statement = state(&client, &known, &args.admin_key_file, order)?;
    say(&format!("readmitted {}\n", describe(&statement)))
}

/// A statement to sign.
struct Order {
    id: MemberId,
    name: Option<String>,
    standing: Standing,
    at: u64,
    until: Option<u64>,
}

/// Signs a statement, and hands it to the node.
fn state(
    client: &Client,
    known: &Expulsions,
    key_file: &std::path::Path,
    order: Order,
) -> Result<AdminStatement, Failure> {
    let key = admin_key::read_private(key_file)?;
    let bytes = unhex(&known.cluster_tag).and_then(|bytes| bytes.try_into().ok());
    let cluster = bytes.ok_or_else(|| {
        Failure::Runtime(format!("{} sent a cluster tag that is none", client.base()))
    })?;
    let Order { id, name, standing, at, until } = order;
    let mut statement = AdminStatement::new(cluster, id, standing, at);
    statement.name = name.and_then(|name| Name::try_from(&*name).ok());
    statement.until = until;
    let statement = key.sign(statement);
    let body = Stated { statement: hex(&statement.to_bytes()) };
    let body = serde_json::to_vec(&body).expect("it is plain data");
    let _: StatementInfo = client.post_json(PATH, &body)?;
    Ok(statement)
}

/// A moment after that of every statement about this id.
fn next_moment(known: &Expulsions, id: MemberId) -> Result<u64, Failure> {
    let now = millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
    let known = known.statements.iter().find(|one| one.id == id);
    let Some(known) = known.and_then(|one| decode(&one.statement)) else {
        return Ok(now);
    };
    match known.at.checked_add(1) {
        Some(next) => Ok(now.max(next)),
        None => {
            Err(Failure::Runtime("the last statement about this id has the last moment".into()))
        }
    }
}

/// A member that may be meant.
struct Found<'a> {
    id: MemberId,
    name: Option<&'a str>,
    is_live: bool,
}

/// The member with this name, or with an id that begins with it: a live one if there is one.
fn resolve(asked: &str, all: Vec<Found<'_>>) -> Result<(MemberId, Option<String>), Failure> {
    let whole = asked.parse::<MemberId>().ok();
    let named = |found: &&Found<'_>| found.name == Some(asked);
    let digits = asked.to_ascii_lowercase();
    let begins = |found: &&Found<'_>| {
        digits.len() >= MIN_ID_DIGITS && found.id.to_string().starts_with(&digits)
    };
    let mut found: Vec<_> = all.iter().filter(named).collect();
    if found.is_empty() {
        found = all.iter().filter(begins).collect();
    }
    if found.iter().any(|found| found.is_live) {
        found.retain(|found| found.is_live);
    }
    match (&found[..], whole) {
        ([one], _) => Ok((one.id, one.name.map(str::to_owned))),
        ([], Some(id)) => Ok((id, None)),
        ([], None) => Err(Failure::Runtime(format!(
            "no member has the name {asked:?} or an id that begins with it; give the whole id of one that is not in the list"
        ))),
        ([..], _) => {
            let ids: Vec<_> =
                found.iter().take(MAX_SHOWN).map(|found| found.id.to_string()).collect();
            let (several, ids) = (found.len(), ids.join(", "));
            Err(Failure::Runtime(format!("{asked:?} matches {several} members; use an id: {ids}")))
        }
    }
}

fn list(known: &Expulsions, is_json: bool) -> Result<(), Failure> {
    if is_json {
        let json = serde_json::to_string(known).expect("it is plain data");
        return say(&format!("{json}\n"));
    }
    if known.admin_keys.is_empty() {
        return say(
            "this node follows no admin key (phin run --admin-key), so nobody is expelled\n",
        );
    }
    let mut shown = table::new(&["NAME", "STANDING", "SINCE", "UNTIL", "KEY", "ID"]);
    for one in &known.statements {
        let name = one.name.clone().unwrap_or_else(|| "-".to_owned());
        let until = one.until.clone().unwrap_or_else(|| "-".to_owned());
        let row = [name, one.standing.to_string(), one.at.clone(), until, one.key.clone()];
        shown.add_row(row.into_iter().chain([one.id.to_string()]));
    }
    say(&table::text(&shown))
}

fn describe(statement: &AdminStatement) -> String {
    let id = statement.subject.to_string();
    let at = readable_time(phin::statement_time(statement.at));
    match &statement.name {
        Some(name) => format!("{} ({}), {at}", escaped(name.as_str()), short(&id)),
        None => format!("{id}, {at}"),
    }
}

fn say(text: &str) -> Result<(), Failure> {
    Ok(io::stdout().write_all(text.as_bytes())?)
}

fn decode(statement: &str) -> Option<AdminStatement> {
    AdminStatement::from_bytes(&unhex(statement)?)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes of a text of hexadecimal digits.
pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    let is_hex = text.len().is_multiple_of(2) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let pairs = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).ok());
    let bytes = pairs.map(|pair| u8::from_str_radix(pair?, 16).ok());
    bytes.collect::<Option<_>>().filter(|_| is_hex)
}

fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| error.to_string())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

const PATH: &str = "/v1/expel";
/// The fewest digits of an id: as many as tables show.
const MIN_ID_DIGITS: usize = 8;
/// Members shown in an error.
const MAX_SHOWN: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_found_by_its_name_or_its_id_and_live_ones_first() {
        let id = |digit: &str| digit.repeat(32).parse::<MemberId>().unwrap();
        let found = |digit, name, is_live| Found { id: id(digit), name: Some(name), is_live };
        let all = || vec![found("a", "n1", false), found("b", "n1", true), found("c", "n2", true)];
        let resolved = |asked: &str| resolve(asked, all()).ok().map(|(id, _)| id);
        assert_eq!(resolved("n1"), Some(id("b")), "the other one is an earlier run");
        assert_eq!(resolved("CCCCCCCC"), Some(id("c")));
        assert_eq!(resolved("ccccccc"), None, "too few digits");
        assert_eq!(resolved(&"d".repeat(32)), Some(id("d")), "it need not be listed");
        assert_eq!(resolved("n3"), None);
        let twice = vec![found("a", "n1", true), found("b", "n1", true)];
        assert!(resolve("n1", twice).is_err());
    }

    #[test]
    fn bytes_survive_their_digits() {
        assert_eq!(unhex(&hex(&[0, 7, 255])), Some(vec![0, 7, 255]));
        for text in ["0", "0g", "+1", "ä"] {
            assert_eq!(unhex(text), None, "{text}");
        }
    }
}
