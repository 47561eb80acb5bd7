//! `phin info`: a running node on one page, and the JSON behind it.

use std::{
    io::{self, Write},
    net::SocketAddr,
    time::Duration,
};

use phin::{Generation, Incarnation, MemberId, MemberState, ServingState};
use serde::{Deserialize, Serialize};

use crate::{
    client::{Client, Target},
    failure::Failure,
    text::{printable, printable_option, readable},
};

/// Show a running node: its identity, addresses, readiness, credentials and settings
#[derive(clap::Args)]
#[command(after_help = "Example:\n  phin info --http http://127.0.0.1:7647")]
pub(crate) struct Args {
    #[command(flatten)]
    target: Target,
    /// Print the answer of /v1/node as one JSON object
    #[arg(long)]
    json: bool,
}

/// The answer of `/v1/node`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct NodeInfo {
    pub(crate) id: MemberId,
    #[serde(deserialize_with = "printable")]
    pub(crate) name: String,
    /// The release of the program.
    #[serde(deserialize_with = "printable")]
    pub(crate) version: String,
    /// The name of the cluster.
    #[serde(deserialize_with = "printable")]
    pub(crate) cluster: String,
    pub(crate) generation: Generation,
    pub(crate) incarnation: Incarnation,
    pub(crate) state: MemberState,
    /// The address that the node is bound to, and the one that it gives to other members.
    pub(crate) addr: SocketAddr,
    pub(crate) advertised: SocketAddr,
    /// The address at which members see the node, if it is behind a NAT and not reachable there.
    pub(crate) nat_addr: Option<SocketAddr>,
    #[serde(deserialize_with = "printable")]
    pub(crate) http: String,
    #[serde(deserialize_with = "printable")]
    pub(crate) started_at: String,
    /// The node's clock now.
    #[serde(deserialize_with = "printable")]
    pub(crate) now: String,
    pub(crate) uptime_ms: u64,
    pub(crate) ready: bool,
    /// The reason why it is not ready.
    #[serde(deserialize_with = "printable_option")]
    pub(crate) not_ready: Option<String>,
    pub(crate) serving: ServingState,
    pub(crate) members: MemberCounts,
    pub(crate) list_version: u64,
    #[serde(deserialize_with = "printable")]
    pub(crate) fingerprint: String,
    /// Whether it receives nothing from any member.
    pub(crate) isolated: bool,
    /// Whether the members that were heard lately have the same list.
    pub(crate) converged: bool,
    pub(crate) credentials: CredentialInfo,
    #[serde(deserialize_with = "printable_option")]
    pub(crate) data_dir: Option<String>,
    pub(crate) settings: DetectorSettings,
}

/// The settings that decide how soon a death is declared.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct DetectorSettings {
    pub(crate) period_ms: u64,
    pub(crate) rings: u8,
    pub(crate) phi_threshold: f64,
    pub(crate) pause_tolerance_ms: u64,
    pub(crate) hang_tolerance_ms: u64,
    pub(crate) indirect_probes: u8,
    #[serde(deserialize_with = "printable")]
    pub(crate) signed_votes: String,
    pub(crate) retention_ms: u64,
}

/// How many members the list has in each state.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct MemberCounts {
    pub(crate) alive: usize,
    pub(crate) suspect: usize,
    pub(crate) dead: usize,
    pub(crate) left: usize,
}

/// The credentials of the node, without anything secret.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct CredentialInfo {
    pub(crate) kind: CredentialKind,
    /// When the certificate or its CA expires, whichever is first.
    #[serde(deserialize_with = "printable_option")]
    pub(crate) expires: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum CredentialKind {
    /// A cluster key, which does not expire.
    Key,
    Certificate,
}

pub(crate) fn info(args: &Args) -> Result<(), Failure> {
    let info: NodeInfo = Client::new(&args.target)?.get(PATH)?;
    let text = if args.json {
        let json = serde_json::to_string(&info).expect("an answer is plain data with text keys");
        format!("{json}\n")
    } else {
        info.to_text()
    };
    Ok(io::stdout().write_all(text.as_bytes())?)
}

impl NodeInfo {
    /// The human-readable form: a line for each field.
    fn to_text(&self) -> String {
        let (generation, incarnation) = (self.generation.0, self.incarnation.0);
        let mut lines = vec![
            ("name", self.name.clone()),
            ("id", self.id.to_string()),
            ("run", format!("generation {generation}, incarnation {incarnation}")),
            ("version", self.version.clone()),
            ("cluster", self.cluster.clone()),
            ("address", self.address()),
            ("http", self.http.clone()),
            ("up", self.up()),
            ("state", format!("{}, {}", self.state, self.serving_text())),
            ("ready", self.not_ready.as_ref().map_or("yes".into(), |why| format!("no: {why}"))),
            ("members", self.members.to_text()),
            ("list", self.list()),
            ("credentials", self.credentials.to_text()),
            ("data dir", self.data_dir.clone().unwrap_or_else(|| "none".into())),
        ];
        lines.extend(self.settings.lines());
        let line = |(name, value)| format!("{name:FIELD_WIDTH$}{value}\n");
        lines.into_iter().map(line).collect()
    }

    fn address(&self) -> String {
        let Self { addr, advertised, nat_addr, .. } = self;
        let mut text = advertised.to_string();
        if addr != advertised {
            text.push_str(&format!(", bound to {addr}"));
        }
        if let Some(seen) = nat_addr {
            text.push_str(&format!(", behind a NAT: members see it at {seen}"));
        }
        text
    }

    fn up(&self) -> String {
        let up = humantime::format_duration(Duration::from_secs(self.uptime_ms / 1_000));
        format!("{up}, since {}", readable(&self.started_at))
    }

    fn serving_text(&self) -> String {
        match &self.serving {
            ServingState::NotServing(reason) => format!("not serving: {}", reason.as_str()),
            serving => serving.as_str().to_owned(),
        }
    }

    fn list(&self) -> String {
        let converged = if self.converged { "converged" } else { "not converged" };
        format!("version {}, fingerprint {}, {converged}", self.list_version, self.fingerprint)
    }
}

impl DetectorSettings {
    /// Each by the name of its flag, if it has one.
    fn lines(&self) -> [(&'static str, String); 8] {
        let time = |ms| humantime::format_duration(Duration::from_millis(ms)).to_string();
        [
            ("period", time(self.period_ms)),
            ("rings", self.rings.to_string()),
            ("phi-threshold", self.phi_threshold.to_string()),
            ("pause-tolerance", time(self.pause_tolerance_ms)),
            ("hang-tolerance", time(self.hang_tolerance_ms)),
            ("indirect-probes", self.indirect_probes.to_string()),
            ("signed-votes", self.signed_votes.clone()),
            ("retention", time(self.retention_ms)),
        ]
    }
}

impl MemberCounts {
    /// All of them in words, such as `5: 4 alive, 0 suspect, 1 dead, 0 left`.
    pub(crate) fn to_text(self) -> String {
        let Self { alive, suspect, dead, left } = self;
        let all = alive + suspect + dead + left;
        format!("{all}: {alive} alive, {suspect} suspect, {dead} dead, {left} left")
    }
}

impl CredentialInfo {
    fn to_text(&self) -> String {
        match (self.kind, &self.expires) {
            (CredentialKind::Certificate, Some(expires)) => {
                format!("certificate, valid until {}", readable(expires))
            }
            (CredentialKind::Certificate, None) => "certificate".into(),
            (CredentialKind::Key, _) => "cluster key, which does not expire".into(),
        }
    }
}

pub(crate) const PATH: &str = "/v1/node";
/// The columns of the names.
const FIELD_WIDTH: usize = 17;
