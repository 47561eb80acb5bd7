//! `phin debug`: collects diagnostics of a running node in one file.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};

use crate::{
    client::{Client, RequestError, Target, member_path},
    failure::{Failure, with_causes},
    private_file,
    system::facts,
    text::rfc3339,
};

/// Write a bundle of diagnostics of a running node to a file: members, suspicions, metrics, settings, events, log lines, system
///
/// The bundle has no key, token, certificate or private file, and no arguments of programs. It does have names, addresses, tags and
/// log lines, at debug also the output of programs: look at it before you give it away. A part that cannot be had is named on standard error and in the bundle; the
/// bundle is written all the same, and the exit code is 1.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  phin debug -o n1.tar.gz\n  tar -xzf n1.tar.gz")]
pub(crate) struct Args {
    /// The file to write, a tar archive with gzip; it must not exist
    #[arg(short, long, value_name = "FILE", default_value = "phin-debug.tar.gz")]
    out: PathBuf,
    #[command(flatten)]
    target: Target,
}

pub(crate) fn debug(args: &Args) -> Result<(), Failure> {
    let client = Client::new(&args.target)?;
    if args.out.exists() {
        let error = io::ErrorKind::AlreadyExists.into();
        return Err(Failure::not_created(&args.out, &error));
    }
    let mut bundle = Bundle::default();
    bundle.collect(&client);
    let archive = bundle.to_archive(client.base(), SystemTime::now());
    let archive = archive.map_err(|error| Failure::runtime("cannot make the bundle", &error))?;
    private_file::create(&args.out, &archive)
        .map_err(|error| Failure::not_created(&args.out, &error))?;
    let shown = args.out.display();
    for (name, error) in &bundle.errors {
        // If standard error is closed, the bundle has them.
        let _ = io::stderr().write_all(format!("{name}: {error}\n").as_bytes());
    }
    match bundle.errors.len() {
        0 => Ok(io::stdout().write_all(format!("{shown}\n").as_bytes())?),
        failed => {
            Err(Failure::Runtime(format!("{shown} is written without {failed} of its parts")))
        }
    }
}

/// The parts of a bundle.
#[derive(Debug, Default)]
struct Bundle {
    /// Names and contents, in order.
    parts: Vec<(String, Vec<u8>)>,
    /// The parts that could not be had, and why.
    errors: Vec<(String, String)>,
}

impl Bundle {
    /// Asks the node for all parts. One that fails does not end the others.
    fn collect(&mut self, client: &Client) {
        self.add_json("system-here.json", Ok(json!(facts())));
        for (name, path) in PARTS {
            let part = client.get::<Value>(path);
            // A node that does not answer at all need not be asked again and again.
            let is_gone =
                matches!(part, Err(RequestError::NoAnswer { .. } | RequestError::Silent { .. }));
            // That a node is not ready is no failure of this command.
            let part = match part {
                Err(RequestError::Refused { status, error, .. }) if *path == "/readyz" => {
                    Ok(json!({ "status": status, "error": error }))
                }
                part => part,
            };
            if *name == "members.json"
                && let Ok(list) = &part
            {
                self.add_suspicions(client, list);
            }
            self.add_json(name, part);
            if is_gone {
                return;
            }
        }
        for (name, path) in [("metrics.txt", "/metrics"), ("log.txt", "/v1/log/recent")] {
            match client.text(path) {
                Ok(text) => self.parts.push((name.to_owned(), text.into_bytes())),
                Err(error) => self.fail(name, &error),
            }
        }
    }

    /// Adds why members are dead or suspect, or what fails of the links to them: the first ones of a long list.
    fn add_suspicions(&mut self, client: &Client, list: &Value) {
        let members = list["members"].as_array().map_or(&[][..], Vec::as_slice);
        let trouble = |member: &&Value| {
            let has_state = |state| member["state"] == state;
            let fails = member["failing_links"].as_array().is_some_and(|links| !links.is_empty());
            has_state("dead")
                || has_state("suspect")
                || fails
                || member["degraded_since"].is_string()
        };
        let ids = members.iter().filter(trouble).filter_map(|member| member["id"].as_str());
        for id in ids.take(MAX_SUSPICIONS) {
            // A text of another node is no name of a file.
            let name: String = id.chars().filter(char::is_ascii_hexdigit).take(32).collect();
            let why = client.get::<Value>(&member_path(id, "why"));
            self.add_json(&format!("why/{name}.json"), why);
        }
    }

    fn add_json(&mut self, name: &str, part: Result<Value, RequestError>) {
        match part {
            Ok(value) => {
                let mut text = serde_json::to_vec_pretty(&value).expect("a value is plain data");
                text.push(b'\n');
                self.parts.push((name.to_owned(), text));
            }
            Err(error) => self.fail(name, &error),
        }
    }

    fn fail(&mut self, name: &str, error: &RequestError) {
        self.errors.push((name.to_owned(), with_causes(error)));
    }

    /// The archive, with a list of its parts first.
    fn to_archive(&self, node: &str, at: SystemTime) -> io::Result<Vec<u8>> {
        let names: Vec<_> = self.parts.iter().map(|(name, _)| name).collect();
        let errors: serde_json::Map<_, _> =
            self.errors.iter().map(|(name, error)| (name.clone(), json!(error))).collect();
        let manifest = json!({
            "made_at": rfc3339(at),
            "made_by": concat!("phin ", env!("CARGO_PKG_VERSION")),
            "node": node,
            "parts": names,
            "errors": errors,
        });
        let manifest = serde_json::to_vec_pretty(&manifest).expect("a value is plain data");
        let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
        let first = ("manifest.json".to_owned(), manifest);
        for (name, content) in std::iter::once(&first).chain(&self.parts) {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o600);
            header.set_mtime(at.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs());
            let path = Path::new("phin-debug").join(name);
            archive.append_data(&mut header, path, content.as_slice())?;
        }
        archive.into_inner()?.finish()
    }
}

/// The parts in JSON, and the paths at which the node has them.
const PARTS: &[(&str, &str)] = &[
    ("members.json", "/v1/members"),
    ("ready.json", "/readyz"),
    ("diagnostics.json", "/v1/diagnostics"),
    ("log.json", "/v1/log"),
    ("serving.json", "/v1/serving"),
    ("tags.json", "/v1/tags"),
    ("leaders.json", "/v1/leaders"),
];
/// Members whose suspicions are in a bundle.
const MAX_SUSPICIONS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_has_its_parts_and_what_is_missing() {
        let mut bundle = Bundle::default();
        bundle.add_json("tags.json", Ok(json!({"role": "web"})));
        let base = "http://127.0.0.1:1".to_owned();
        bundle.add_json("members.json", Err(RequestError::Silent { base }));
        let archive = bundle.to_archive("n1", UNIX_EPOCH).unwrap();
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(&archive[..]));
        let mut found = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let (mut text, path) = (String::new(), entry.path().unwrap().display().to_string());
            io::Read::read_to_string(&mut entry, &mut text).unwrap();
            found.push((path, serde_json::from_str::<Value>(&text).unwrap()));
        }
        assert_eq!(found.len(), 2);
        let (path, manifest) = &found[0];
        assert_eq!(path, "phin-debug/manifest.json");
        assert_eq!(manifest["parts"], json!(["tags.json"]));
        let error = manifest["errors"]["members.json"].as_str().unwrap();
        assert!(error.contains("does not answer"), "{error}");
        assert_eq!(found[1], ("phin-debug/tags.json".to_owned(), json!({"role": "web"})));
    }
}
