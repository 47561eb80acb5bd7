//! `phin tags`: shows and changes the tags of a running node.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use phin::Tags;

use crate::{
    client::{Client, Target},
    failure::Failure,
};

/// Show or change the tags of a running node
///
/// Each member has tags, such as role=web, which all others know. This prints those of the node asked, one per line,
/// after the changes if there are any. All changes of one call take place together, or none. A node that is started again
/// has the tags of its settings (phin run --tag).
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  phin tags\n  phin tags --set version=1.8.2 --set zone=b --delete canary"
)]
pub(crate) struct Args {
    #[command(flatten)]
    target: Target,
    /// Set a tag; can be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = tag)]
    set: Vec<(String, String)>,
    /// Remove a tag; can be repeated
    #[arg(long, value_name = "KEY")]
    delete: Vec<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn tags(args: &Args) -> Result<(), Failure> {
    let mut changes: BTreeMap<&str, Option<&str>> = BTreeMap::new();
    changes.extend(args.delete.iter().map(|key| (key.as_str(), None)));
    for (key, value) in &args.set {
        if changes.insert(key, Some(value)).is_some() {
            return Err(Failure::Usage(format!("the tag {key} is given twice")));
        }
    }
    let client = Client::new(&args.target)?;
    let tags: Tags = match changes.is_empty() {
        true => client.get("/v1/tags")?,
        false => client.patch("/v1/tags", &changes)?,
    };
    let text = match args.json {
        true => serde_json::to_string(&tags).expect("tags are plain data with text keys") + "\n",
        false if tags.is_empty() => "no tags\n".to_owned(),
        false => tags.iter().map(|(key, value)| format!("{key}={value}\n")).collect(),
    };
    Ok(io::stdout().write_all(text.as_bytes())?)
}

fn tag(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE, such as zone=a")?;
    Ok((key.to_owned(), value.to_owned()))
}
