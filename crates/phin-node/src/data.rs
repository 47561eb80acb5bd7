//! `phin data`: reads and writes the data of a running node, and reads and follows that of all members.

pub(crate) mod info;

use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

use phin::{Filter, MemberData, MemberState};

use crate::{
    client::{Client, Target, in_path, member_path},
    failure::Failure,
    input::bytes_of,
    table,
    text::escaped,
    watch::print_events,
};
use info::{DataOf, Deleted, Line, Written};

/// Read and write member data: a small key-value map that each member writes and all others read
///
/// A member writes only its own data: `set` and `delete` change that of the node at --http. A change is known to all members
/// within moments. The data of a member that left or restarted is gone; that of a dead one is shown as such.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  phin data set cache/state warm")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Get(GetArgs),
    Set(SetArgs),
    Delete(DeleteArgs),
    List(ListArgs),
    Watch(WatchArgs),
}

/// Print the value of a member's key
///
/// The value is written as it is, without a line end. On a terminal, invisible characters are escaped. If the member is not
/// alive, a note on standard error reports it.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  phin data get n2 cache/state")]
struct GetArgs {
    /// The member's name, its id, or the first 8 digits of its id or more
    member: String,
    /// The key
    key: String,
    #[command(flatten)]
    target: Target,
}

/// Set a key of the data of a running node
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  phin data set cache/state warm\n  \
                        phin data set lease/reports mine --ttl 10s\n  \
                        phin data set config - < config.bin")]
struct SetArgs {
    /// The key: 1 to 128 bytes, without spaces and invisible characters
    key: String,
    /// The value, at most 8 KiB; `-` reads it from standard input
    #[arg(allow_negative_numbers = true)]
    value: String,
    /// Delete the key after this time, such as 30s, unless it is set again; default: never
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    ttl: Option<Duration>,
    #[command(flatten)]
    target: Target,
}

/// Delete a key of the data of a running node
#[derive(clap::Args)]
#[command(after_help = "Example:\n  phin data delete cache/state")]
struct DeleteArgs {
    /// The key
    key: String,
    #[command(flatten)]
    target: Target,
}

/// Show the data of a member
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  phin data list\n  phin data list n2 --json")]
struct ListArgs {
    /// The member's name, its id, or the first 8 digits of its id or more; default: the node at --http
    member: Option<String>,
    /// Print one JSON object with all fields: member, generation, revision, bytes, entries
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

/// Print the data of all members, then each change as one line
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  phin data watch --prefix lease/\n  \
                        phin data watch --filter 'role=web,zone!=b' --json")]
struct WatchArgs {
    /// Show only keys that begin with this
    #[arg(long, default_value = "", hide_default_value = true)]
    prefix: String,
    /// Show only data of members whose tags match
    #[arg(long, default_value = "", hide_default_value = true)]
    filter: Filter,
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

pub(crate) fn data(args: &Args) -> Result<(), Failure> {
    match &args.command {
        Command::Get(args) => get(args),
        Command::Set(args) => set(args),
        Command::Delete(args) => delete(args),
        Command::List(args) => list(args),
        Command::Watch(args) => watch(args),
    }
}

fn get(args: &GetArgs) -> Result<(), Failure> {
    let path = member_path(&args.member, &format!("data/{}", in_path(&args.key)));
    let (value, state) = Client::new(&args.target)?.value(&path)?;
    if state != MemberState::Alive {
        let note = format!("{} is {state}: this is the last value known\n", escaped(&args.member));
        // With standard error closed there is nobody left to tell.
        let _ = io::stderr().write_all(note.as_bytes());
    }
    let mut stdout = io::stdout();
    match stdout.is_terminal() {
        true => writeln!(stdout, "{}", escaped(&String::from_utf8_lossy(&value)))?,
        false => stdout.write_all(&value)?,
    }
    Ok(stdout.flush()?)
}

fn set(args: &SetArgs) -> Result<(), Failure> {
    let client = Client::new(&args.target)?;
    let value = bytes_of(&args.value, "a value", MemberData::MAX_VALUE_BYTES)?;
    let ttl = args.ttl.map(|ttl| format!("?ttl={}ms", ttl.as_millis())).unwrap_or_default();
    let Written { key, bytes } = client.put_bytes(&(own_path(&args.key) + &ttl), &value)?;
    Ok(io::stdout().write_all(format!("set {key}, {bytes} bytes\n").as_bytes())?)
}

fn delete(args: &DeleteArgs) -> Result<(), Failure> {
    let Deleted { deleted } = Client::new(&args.target)?.delete(&own_path(&args.key))?;
    Ok(io::stdout().write_all(format!("deleted {deleted}\n").as_bytes())?)
}

fn list(args: &ListArgs) -> Result<(), Failure> {
    let client = Client::new(&args.target)?;
    let data: DataOf = match &args.member {
        Some(member) => client.get(&member_path(member, "data"))?,
        None => client.get("/v1/data")?,
    };
    if args.json {
        let json = serde_json::to_string(&data).expect("data is plain data with text keys");
        return Ok(io::stdout().write_all(format!("{json}\n").as_bytes())?);
    }
    let mut text = match data.entries.is_empty() {
        true => "no data\n".to_owned(),
        false => {
            let mut shown = table::new(&["KEY", "BYTES", "VALUE"]);
            for entry in &data.entries {
                shown.add_row([entry.key.clone(), entry.bytes.to_string(), entry.shown()]);
            }
            table::text(&shown)
        }
    };
    if data.member.state != MemberState::Alive {
        let (name, state) = (&data.member.name, data.member.state);
        text.push_str(&format!("\n{name} is {state}: this is the last data known\n"));
    }
    Ok(io::stdout().write_all(text.as_bytes())?)
}

fn watch(args: &WatchArgs) -> Result<(), Failure> {
    let client = Client::new(&args.target)?;
    let query: String = form_urlencoded::Serializer::new(String::new())
        .append_pair("prefix", &args.prefix)
        .append_pair("filter", &args.filter.to_string())
        .finish();
    print_events(&client, &format!("/v1/data/watch?{query}"), |event| {
        let line: Line = serde_json::from_str(&event.data)?;
        Ok(if args.json { line.to_json() } else { line.to_text() })
    })
}

/// The path of a key of the node itself; `/v1/data/watch` is not one, so the key `watch` is escaped.
fn own_path(key: &str) -> String {
    match key.as_bytes() {
        b"watch" => "/v1/data/%77atch".to_owned(),
        _ => format!("/v1/data/{}", in_path(key)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_is_the_path_of_another_request() {
        assert_eq!(own_path("watch"), "/v1/data/%77atch");
        assert_eq!(own_path("a/b"), "/v1/data/a%2Fb");
    }
}
