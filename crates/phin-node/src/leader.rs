//! `phin leader`: shows which member holds an office.

use std::io::{self, Write};

use phin::Office;

use crate::{
    client::{Client, Target, in_path},
    failure::Failure,
    office::{OfficeChange, OfficeLine},
    watch::print_events,
};

/// Show which member holds an office
///
/// Without an office, this prints all that the node knows. A node learns of a new holder within tens of milliseconds; one that
/// is cut off may name a former holder. The token is higher for a later one.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  phin leader scheduler\n  phin leader scheduler --watch")]
pub(crate) struct Args {
    #[command(flatten)]
    target: Target,
    /// The office
    #[arg(value_name = "OFFICE", required_if_eq("watch", "true"))]
    office: Option<Office>,
    /// Print the holder now, and each later one
    #[arg(long)]
    watch: bool,
    /// Print JSON: one object per line
    #[arg(long)]
    json: bool,
}

pub(crate) fn leader(args: &Args) -> Result<(), Failure> {
    let client = Client::new(&args.target)?;
    match &args.office {
        Some(office) if args.watch => print_events(&client, &path(office, "/events"), |event| {
            let change: OfficeChange = serde_json::from_str(&event.data)?;
            line(args.json, &change, change.to_text())
        }),
        Some(office) => print(args.json, &[client.get(&path(office, ""))?]),
        None => print(args.json, &client.get::<Vec<OfficeLine>>("/v1/leaders")?),
    }
}

/// The path of a resource of an office.
pub(crate) fn path(office: &Office, what: &str) -> String {
    format!("/v1/leaders/{}{what}", in_path(office.as_str()))
}

fn print(json: bool, offices: &[OfficeLine]) -> Result<(), Failure> {
    let mut text = Vec::new();
    for office in offices {
        text.extend(line(json, office, office.to_text()).expect("plain data with text keys"));
    }
    if offices.is_empty() && !json {
        text.extend(b"no offices are known\n");
    }
    Ok(io::stdout().write_all(&text)?)
}

fn line(
    json: bool,
    what: &impl serde::Serialize,
    text: String,
) -> Result<Vec<u8>, serde_json::Error> {
    let mut line = if json { serde_json::to_vec(what)? } else { text.into_bytes() };
    line.push(b'\n');
    Ok(line)
}
