//! `phin place`: the members that hold a key.

use std::{
    io::{self, Write},
    num::NonZeroUsize,
};

use form_urlencoded::Serializer;
use phin::{Filter, MemberInfo};
use serde::{Deserialize, Serialize};

use crate::{
    client::{Client, Target},
    failure::Failure,
    table,
    text::short,
};

/// Show which members hold a key
///
/// Each node computes this from its own list, without asking others: nodes with equal lists give the same answer. Members
/// that are alive or suspect, serve, are not suppressed and match the filter hold keys, in proportion to their tag weight
/// (0 to 1000, else 100). If a member goes away, only its keys move. Prints the member that holds the key first.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  phin place user-17 --filter role=db\n  \
                        phin place user-17 -n 3 --spread zone")]
pub(crate) struct Args {
    /// The key; any text
    #[arg(value_name = "KEY")]
    key: String,
    #[command(flatten)]
    target: Target,
    /// Show so many members: the one that holds the key, and its replicas
    #[arg(short, long = "replicas", value_name = "N", default_value = "1")]
    n: NonZeroUsize,
    /// Consider only members with these tags, such as role=web|api,zone!=b
    #[arg(long, value_name = "FILTER", default_value = "", hide_default_value = true)]
    filter: Filter,
    /// Choose members with different values of this tag, such as zone, as far as possible
    #[arg(long, value_name = "TAG")]
    spread: Option<String>,
    /// Print one JSON object: key, eligible, members
    #[arg(long)]
    json: bool,
}

/// The answer of `/v1/placement`.
#[derive(Deserialize, Serialize)]
pub(crate) struct Placed {
    /// The command knows the key: what a node makes of it is not printed.
    #[serde(skip_deserializing)]
    pub(crate) key: String,
    /// How many members can hold keys.
    pub(crate) eligible: usize,
    /// The members that hold the key, the first one first.
    pub(crate) members: Vec<MemberInfo>,
}

pub(crate) fn place(args: &Args) -> Result<(), Failure> {
    let mut placed: Placed = Client::new(&args.target)?.get(&path(args))?;
    placed.key.clone_from(&args.key);
    let text = if args.json {
        let json = serde_json::to_string(&placed).expect("an answer is plain data with text keys");
        format!("{json}\n")
    } else if placed.members.is_empty() {
        return Err(Failure::Runtime("no member is eligible".into()));
    } else {
        as_table(&placed.members)
    };
    Ok(io::stdout().write_all(text.as_bytes())?)
}

fn as_table(members: &[MemberInfo]) -> String {
    let mut table = table::new(&["NAME", "STATE", "ADDRESS", "ID"]);
    for member in members {
        table.add_row([
            member.name.to_string().into(),
            table::state(member.state.as_str()),
            member.addr.into(),
            short(&member.id.to_string()).into(),
        ]);
    }
    table::text(&table)
}

fn path(args: &Args) -> String {
    let mut query = Serializer::new(String::new());
    query.append_pair("key", &args.key).append_pair("n", &args.n.to_string());
    query.append_pair("filter", &args.filter.to_string());
    query.extend_pairs(args.spread.as_ref().map(|tag| ("spread", tag)));
    format!("/v1/placement?{}", query.finish())
}
