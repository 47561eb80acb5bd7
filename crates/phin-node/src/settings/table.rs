//! The table of settings. Each entry defines flag, variable, file key, help, documentation and bounds.
//!
//! To add a setting, add an entry here and take it in [`Settings::resolve`](super::Settings::resolve);
//! `UPDATE_DOCS=1 cargo test -p phin-node settings` writes it into `docs/reference/settings.md`.

use std::{fmt, ops::RangeInclusive, time::Duration};

/// One setting.
pub(crate) struct Setting {
    /// The name of the flag without dashes: `data-dir` is `--data-dir`, `PHIN_DATA_DIR` and `data_dir`.
    pub(crate) name: &'static str,
    /// Its flag, where that has another name: each use of the flag gives one of several.
    pub(crate) flag: &'static str,
    /// The placeholder of the value in help and documentation.
    pub(crate) value: &'static str,
    pub(crate) kind: Kind,
    pub(crate) layers: In,
    /// The default as text; empty if there is none.
    pub(crate) default: &'static str,
    /// One line that says what the setting does.
    pub(crate) help: &'static str,
    /// Further text of `--help`.
    pub(crate) details: &'static str,
    /// Further text of the documentation, as Markdown.
    #[cfg_attr(not(test), expect(dead_code, reason = "a test keeps the documentation"))]
    pub(crate) docs: &'static str,
    /// Whether the setting belongs to the detector, which few clusters need to change.
    pub(crate) is_detector: bool,
}

/// The kinds of values.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// A text, which the code that uses it checks.
    Text,
    /// Several texts: separated by commas, as a repeated flag, or as a list in the file.
    Texts,
    /// Several texts that may contain commas: as a repeated flag, as a list in the file, or a line each.
    Lines,
    /// Tags: `KEY=VALUE` with commas between them, as a flag given again, or as a table or list in the file. As text, a
    /// line each.
    Tags,
    /// A flag without a value; elsewhere `true` or `false`.
    Switch,
    /// `true` or `false`.
    Boolean,
    /// One of these words.
    Word(&'static [&'static str]),
    Port,
    /// A number of bytes, also in KiB, MiB or GiB.
    Bytes(Range<usize>),
    /// A whole number.
    Count(Range<u32>),
    /// A number, or a word.
    Number(Range<f64>),
    /// A duration, or a word. The bounds depend on settings taken before.
    Duration(Range<Bound>),
}

/// A range of values, including the bounds.
#[derive(Clone, Copy)]
pub(crate) struct Range<T> {
    pub(crate) least: T,
    pub(crate) most: T,
    /// A word that is allowed instead.
    pub(crate) or: Option<&'static str>,
}

/// A bound of a duration.
#[derive(Clone, Copy)]
pub(crate) enum Bound {
    At(Duration),
    Periods(u32),
    /// The period divided by this number.
    PartOfPeriod(u32),
    PauseTolerance,
}

/// The layers that can have a setting.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(crate) enum In {
    All,
    /// Not the file: the setting names the file.
    FlagAndVariable,
    /// Only the environment: every user of the machine can see the command line.
    Variable,
}

impl Setting {
    /// The name of the flag, or of the variable if there is no flag.
    pub(crate) fn flag(&self) -> String {
        match self.layers {
            In::All | In::FlagAndVariable => format!("--{}", self.long()),
            In::Variable => self.variable(),
        }
    }

    /// Its flag without the dashes.
    pub(crate) fn long(&self) -> &'static str {
        if self.flag.is_empty() { self.name } else { self.flag }
    }

    pub(crate) fn variable(&self) -> String {
        format!("PHIN_{}", self.file_key().to_uppercase())
    }

    pub(crate) fn file_key(&self) -> String {
        self.name.replace('-', "_")
    }

    /// The row in the documentation.
    #[cfg(test)]
    pub(crate) fn row(&self) -> String {
        let value = if self.value.is_empty() { "" } else { &format!(" {}", self.value) };
        let (default, allowed) = match (self.kind, self.default) {
            (Kind::Switch, _) => ("off", "no value as a flag; else true, false".to_owned()),
            (kind, "") => ("none", kind.allowed()),
            (kind, default) => (default, kind.allowed()),
        };
        let means = [self.help, self.docs].join(if self.docs.is_empty() { "" } else { ". " });
        format!("| `{}{value}` | {default} | {allowed} | {means} |\n", self.flag())
    }
}

impl Kind {
    /// The allowed values in words; empty if the placeholder says it.
    pub(super) fn allowed(self) -> String {
        match self {
            Self::Text | Self::Texts | Self::Lines | Self::Tags | Self::Switch => String::new(),
            Self::Boolean => "true, false".to_owned(),
            Self::Word(words) => words.join(", "),
            Self::Port => "1 to 65535".to_owned(),
            Self::Bytes(range) => format!("{} to {}", size(range.least), size(range.most)),
            Self::Count(range) => range.to_string(),
            Self::Number(range) => range.to_string(),
            Self::Duration(range) => range.to_string(),
        }
    }

    /// Parses a word. The error says what was expected.
    pub(crate) fn word(self, text: &str) -> Result<&'static str, String> {
        let Self::Word(words) = self else { unreachable!("it is no word") };
        words.iter().find(|word| **word == text).copied().ok_or_else(|| match words {
            [first @ .., last] => format!("expected {} or {last}", first.join(", ")),
            [] => "expected nothing".to_owned(),
        })
    }

    pub(crate) fn bytes(self, text: &str) -> Result<usize, String> {
        let Self::Bytes(range) = self else { unreachable!("it is no number of bytes") };
        let in_unit = |&(unit, bytes)| Some((text.strip_suffix(unit)?, bytes));
        let (number, unit) = UNITS.iter().find_map(in_unit).unwrap_or((text, 1));
        let bytes = number.trim_end().parse().ok().and_then(|count: usize| count.checked_mul(unit));
        let expected = || format!("expected bytes from {}, such as 16KiB or 16384", self.allowed());
        bytes.filter(|bytes| (range.least..=range.most).contains(bytes)).ok_or_else(expected)
    }

    pub(crate) fn count(self, text: &str) -> Result<u32, String> {
        let Self::Count(range) = self else { unreachable!("it is no whole number") };
        let count = text.parse().ok().filter(|count| (range.least..=range.most).contains(count));
        count.ok_or_else(|| format!("expected a whole number from {range}"))
    }

    /// Parses a number; `None` for the word that may replace it.
    pub(crate) fn number(self, text: &str) -> Result<Option<f64>, String> {
        let Self::Number(range) = self else { unreachable!("it is no number") };
        match text.parse::<f64>() {
            _ if range.or == Some(text) => Ok(None),
            Ok(number) if (range.least..=range.most).contains(&number) => Ok(Some(number)),
            Ok(_) | Err(_) => Err(format!("expected a number from {range}")),
        }
    }

    /// Parses a duration; `None` for the word that may replace it.
    pub(crate) fn duration(
        self,
        text: &str,
        config: &phin::Config,
    ) -> Result<Option<Duration>, String> {
        let Self::Duration(range) = self else { unreachable!("it is no duration") };
        if range.or == Some(text) {
            return Ok(None);
        }
        let duration = humantime::parse_duration(text)
            .map_err(|error| format!("expected a duration such as 200ms or 1s ({error})"))?;
        let [least, most] = [range.least, range.most].map(|bound| bound.of(config));
        match (least..=most).contains(&duration) {
            true => Ok(Some(duration)),
            false => {
                let [least, most] = [least, most].map(Bound::At);
                Err(format!("allowed is {}", Range { least, most, or: range.or }))
            }
        }
    }
}

impl<T: fmt::Display> fmt::Display for Range<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.least, self.most)?;
        self.or.map_or(Ok(()), |word| write!(f, ", or {word}"))
    }
}

impl Bound {
    fn of(self, config: &phin::Config) -> Duration {
        match self {
            Self::At(duration) => duration,
            Self::Periods(periods) => config.period.saturating_mul(periods),
            Self::PartOfPeriod(part) => config.period / part,
            Self::PauseTolerance => config.pause_tolerance,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(duration) => {
                match (duration.as_secs() / DAY.as_secs(), duration.as_secs() % DAY.as_secs()) {
                    (days @ 1.., 0) => write!(f, "{days}d"),
                    _ => humantime::format_duration(*duration).fmt(f),
                }
            }
            Self::Periods(1) => f.write_str("the period"),
            Self::Periods(periods) => write!(f, "{periods} periods"),
            Self::PartOfPeriod(part) => write!(f, "1/{part} of the period"),
            Self::PauseTolerance => f.write_str("the pause tolerance"),
        }
    }
}

/// The setting with this name.
pub(crate) fn setting(name: &str) -> &'static Setting {
    let found = SETTINGS.iter().find(|setting| setting.name == name);
    found.unwrap_or_else(|| panic!("{name} is no setting"))
}

const fn durations(allowed: RangeInclusive<Bound>) -> Kind {
    Kind::Duration(Range { least: *allowed.start(), most: *allowed.end(), or: None })
}

const fn minutes(minutes: u64) -> Bound {
    Bound::At(Duration::from_secs(60 * minutes))
}

const fn bytes(allowed: RangeInclusive<usize>) -> Kind {
    Kind::Bytes(Range { least: *allowed.start(), most: *allowed.end(), or: None })
}

/// A number of bytes in the largest unit that divides it.
fn size(bytes: usize) -> String {
    let fits = |(_, unit): &&(&str, usize)| bytes >= *unit && bytes.is_multiple_of(*unit);
    let unit = UNITS.iter().find(fits);
    unit.map_or_else(|| bytes.to_string(), |(name, unit)| format!("{}{name}", bytes / unit))
}

const UNITS: [(&str, usize); 3] = [("GiB", 1_024 * MIB), ("MiB", MIB), ("KiB", KIB)];
const MIB: usize = 1_024 * KIB;
const KIB: usize = 1_024;
const DAY: Duration = Duration::from_secs(24 * 3_600);

const SETTING: Setting = Setting {
    name: "",
    flag: "",
    value: "",
    kind: Kind::Text,
    layers: In::All,
    default: "",
    help: "",
    details: "",
    docs: "",
    is_detector: false,
};

/// All settings, in the order of help and documentation. The bounds of durations and numbers are those of
/// [`phin::Config`], checked here so that an error can name the place of the setting.
pub(crate) const SETTINGS: &[Setting] = &[
    Setting {
        name: "config",
        value: "FILE",
        layers: In::FlagAndVariable,
        help: "Read settings from this TOML file; its keys are the long flags with `_` for `-`",
        ..SETTING
    },
    Setting {
        name: "name",
        value: "NAME",
        default: "the common name of its certificate, else `node-` and the start of its id",
        help: "The node's display name",
        docs: "1 to 64 bytes, without spaces and invisible characters; keep names unique",
        ..SETTING
    },
    Setting {
        name: "cluster",
        value: "NAME",
        default: "phin",
        help: "The cluster's name; nodes of other clusters are refused",
        docs: "1 to 64 letters, digits, `-`, `_`, `.`",
        ..SETTING
    },
    Setting {
        name: "bind",
        value: "IP[:PORT]",
        default: "127.0.0.1:7646",
        help: "UDP address to listen on; port 0 picks a free one",
        docs: "Loopback reaches only this machine; `0.0.0.0` or `[::]` means all interfaces",
        ..SETTING
    },
    Setting {
        name: "advertise",
        value: "HOST[:PORT]",
        default: "found out",
        help: "Address or name at which others reach this node; port 0 means the bound port",
        details: "A name is resolved again every 10 s, and the node advertises its current address. If it does not resolve \
                  within 10 s of the start, the node does not start.",
        docs: "Needed behind NAT",
        ..SETTING
    },
    Setting {
        name: "join",
        value: "HOST[:PORT]",
        kind: Kind::Texts,
        help: "Member to join through; repeat it or separate several with commas. Tried until one admits this node",
        docs: "A list in the file",
        ..SETTING
    },
    Setting {
        name: "tags",
        flag: "tag",
        value: "KEY=VALUE",
        kind: Kind::Tags,
        help: "Tag that other members see, such as role=web; repeat it for several",
        details: "At most 16 tags, 256 bytes together. `role` may have several values with commas between them; `zone` and \
                  `version` are meant for a rack or zone, and for the version of the application. `phin tags` changes \
                  them while the node runs.",
        docs: "`PHIN_TAGS=role=web,zone=a`; a table `[tags]` in the file: [tags](#tags-and-serving-state)",
        ..SETTING
    },
    Setting {
        name: "serving",
        value: "STATE",
        kind: Kind::Word(&["serving", "draining", "not-serving"]),
        default: "serving",
        help: "Whether the node takes work at first; `phin serve` and `phin drain` change it",
        docs: "`not-serving` has the reason `starting`",
        ..SETTING
    },
    Setting {
        name: "data-dir",
        value: "DIR",
        help: "Directory for identity, generation and known peers, so that a restarted node is the same member and rejoins",
        docs: "See [the data directory](../guide/operate.md#the-data-directory)",
        ..SETTING
    },
    Setting {
        name: "key-file",
        value: "FILE",
        help: "File with the cluster key, readable only by its owner: see `phin key new`",
        details: "During a rotation it may hold further keys, whose holders are admitted too.",
        docs: "[Mode 600](../explanation/security.md#secrets-and-files)",
        ..SETTING
    },
    Setting {
        name: "cluster-key",
        value: "KEY",
        layers: In::Variable,
        help: "The cluster key itself, instead of a file",
        ..SETTING
    },
    Setting {
        name: "ca",
        value: "FILE",
        help: "CA whose certificates admit members (PEM), instead of a cluster key: see `phin cert`",
        ..SETTING
    },
    Setting { name: "cert", value: "FILE", help: "This node's certificate (PEM)", ..SETTING },
    Setting {
        name: "key",
        value: "FILE",
        help: "Private key of the certificate (PEM), readable only by its owner",
        docs: "Mode 600",
        ..SETTING
    },
    Setting {
        name: "crl",
        value: "FILE",
        help: "Revocation lists of the CAs (PEM): the certificates in them are refused; see `phin cert revoke`",
        details: "A list is used also after the time at which it promises the next one.",
        docs: "Needs `--ca`",
        ..SETTING
    },
    Setting {
        name: "assigned-ids",
        value: "MODE",
        kind: Kind::Word(&["accept", "require"]),
        default: "accept",
        help: "Whether members need a certificate that assigns them an id: accept or require",
        details: "A member has the id that its certificate assigns (`phin cert issue`), or else that of its key, which it can choose. Set \
                  require once the certificates of all members and watchers assign ids: those without one are then refused.",
        docs: "`require` needs `--ca`, and an id in all certificates",
        ..SETTING
    },
    Setting {
        name: "admin-key",
        value: "FILE-OR-KEY",
        kind: Kind::Texts,
        help: "Public admin key, or a file with a key a line, whose statements expel members; see `phin key admin`. Repeat it or separate several with commas",
        details: "Give all nodes the same keys. Several replace one another without a gap; at most 16. Without any, the node follows no \
                  statement.",
        docs: "A list in the file",
        ..SETTING
    },
    Setting {
        name: "watch-files",
        value: "BOOL",
        kind: Kind::Boolean,
        default: "true",
        help: "Whether to use keys, certificates, revocation lists and tokens again when their files change",
        details: "The files are looked at every 2 s, and read when all of them have stayed the same for as long. If they do not \
                  belong together, nothing changes, and the log says why. `phin reload` reads them at once.",
        docs: "See [reload](#reload)",
        ..SETTING
    },
    Setting {
        name: "admit",
        value: "PROGRAM",
        help: "Program that decides on each newcomer: exit code 0 admits it; otherwise its first line of output is the reason",
        details: "Run as `PROGRAM ID NAME SEEN-AT ADDR[,ADDR]` on the member through which the newcomer joins, so set it on \
                  every node. The program has 5 s, and up to 64 run at once.",
        docs: "See [admitting newcomers](#admitting-newcomers)",
        ..SETTING
    },
    Setting {
        name: "http",
        value: "ADDRESS",
        default: "off; `phin members` expects 127.0.0.1:7647",
        help: "Address of the HTTP interface: IP:PORT; or unix:PATH, a socket that only this user can use",
        docs: "See [HTTP](../guide/secure.md#protect-the-http-interface)",
        ..SETTING
    },
    Setting {
        name: "http-token-file",
        value: "FILE",
        help: "File with the token that HTTP requests need, readable only by its owner: see `phin key token`",
        details: "With it, every request except /livez and /readyz must have the header `Authorization: Bearer TOKEN`. The \
                  commands send it with --token-file or PHIN_HTTP_TOKEN_FILE. The file may hold up to 8 tokens, each of which \
                  is accepted; commands send the first.",
        docs: "Up to 8 tokens, the first one for commands. [Mode 600](../explanation/security.md#secrets-and-files)",
        ..SETTING
    },
    Setting {
        name: "http-token",
        value: "TOKEN",
        layers: In::Variable,
        help: "The token itself, instead of a file",
        ..SETTING
    },
    Setting {
        name: "http-allow-remote",
        kind: Kind::Switch,
        help: "Allow a non-loopback --http address, which needs a token. Other machines can only read",
        details: "HTTP is not encrypted: anyone who can read the traffic has the token.",
        docs: "Needs `--http-token-file`",
        ..SETTING
    },
    Setting {
        name: "http-allow-remote-writes",
        kind: Kind::Switch,
        help: "Allow requests from other machines that change something, such as /v1/leave. They need the token too",
        docs: "Needs `--http-allow-remote`",
        ..SETTING
    },
    Setting {
        name: "http-host",
        value: "NAME",
        kind: Kind::Texts,
        help: "Host name that HTTP requests may use for this node; repeat it or separate several with commas",
        details: "IP addresses and localhost are always allowed. /livez and /readyz answer under any name, and so does \
                  every request with a valid token.",
        docs: "A list in the file. A request with a valid token may use any name",
        ..SETTING
    },
    Setting {
        name: "watchers",
        value: "COUNT",
        kind: Kind::Count(Range { least: 0, most: 65_536, or: None }),
        default: "1024",
        help: "Most watchers, such as `phin watch --through`, that this node serves at once; 0 serves none",
        details: "Further ones are refused, and try another member. Each costs some 40 kB.",
        docs: "Further ones try another member: [watch from outside](../guide/watch-from-outside.md)",
        ..SETTING
    },
    Setting {
        name: "profile",
        value: "PROFILE",
        kind: Kind::Word(&["lan", "wan", "local"]),
        default: "lan",
        help: "Timings for one data centre, several continents, or one machine",
        ..SETTING
    },
    Setting {
        name: "period",
        value: "DURATION",
        kind: durations(Bound::At(Duration::from_millis(10))..=minutes(10)),
        default: "as the profile says",
        help: "Protocol period: how often each member probes another, such as 200ms",
        ..SETTING
    },
    Setting {
        name: "max-data",
        value: "BYTES",
        kind: bytes(0..=phin::MemberData::MAX_BYTES),
        default: "16KiB",
        help: "Most bytes of a member's data, keys included",
        details: "This node refuses to write more, and drops the data of a member that has more. Set it alike on all nodes.",
        docs: "Set it alike on all nodes: [member data](../guide/share-data.md)",
        ..SETTING
    },
    Setting {
        name: "max-publications-per-second",
        value: "COUNT",
        kind: Kind::Count(Range { least: 1, most: 65_536, or: None }),
        default: "256",
        help: "Most messages to all members that this node publishes in a second",
        details: "It refuses further ones. Set it alike on all nodes: a node drops what another publishes far beyond its own \
                  setting.",
        docs: "Set it alike on all nodes: [messages](../guide/messages.md)",
        ..SETTING
    },
    Setting {
        name: "max-published-bytes-per-second",
        value: "BYTES",
        kind: bytes(KIB..=1_024 * MIB),
        default: "1MiB",
        help: "Most bytes of messages to all members that this node publishes in a second",
        details: "As --max-publications-per-second.",
        docs: "Set it alike on all nodes",
        ..SETTING
    },
    Setting {
        name: "max-recent-publication-bytes",
        value: "BYTES",
        kind: bytes(64 * KIB..=1_024 * MIB),
        default: "16MiB",
        help: "Most bytes of messages to all members that this node keeps for 30 s, for members that did not receive them",
        details: "Beyond it, the oldest give way. A member that lacks one of them then learns that it missed it.",
        docs: "Beyond it, the oldest give way",
        ..SETTING
    },
    Setting {
        name: "leadership-lease",
        value: "DURATION",
        kind: durations(Bound::At(Duration::from_secs(1))..=minutes(1)),
        default: "2s",
        help: "How long an office is held after a renewal; after its holder's death, another follows about so much later",
        details: "A shorter one needs more messages, and pauses of the holder cost it the office sooner. Set it alike on all \
                  nodes: voters grant no lease longer than their own.",
        docs: "Set it alike on all nodes: [offices](../guide/elect-a-leader.md)",
        ..SETTING
    },
    Setting {
        name: "retention",
        value: "DURATION",
        kind: durations(Bound::Periods(10)..=Bound::At(DAY.saturating_mul(366))),
        default: "24h",
        help: "How long a member that died or left stays in the list; the shortest in the cluster counts",
        ..SETTING
    },
    Setting {
        name: "max-period",
        value: "DURATION",
        kind: durations(Bound::Periods(1)..=Bound::Periods(64)),
        default: "never longer",
        help: "Longest protocol period while nothing happens; a longer one saves messages",
        details: "The first death after a calm is noticed later, in the median by half of that period.",
        docs: "Doubled after eight calm periods, short again at once",
        is_detector: true,
        ..SETTING
    },
    Setting {
        name: "pause-tolerance",
        value: "DURATION",
        kind: durations(Bound::PartOfPeriod(10)..=minutes(10)),
        default: "as the profile says",
        help: "How long a member may be silent before it is dead, if its host is silent too",
        details: "Three times as long if nothing is known of its host.",
        is_detector: true,
        ..SETTING
    },
    Setting {
        name: "hang-tolerance",
        value: "DURATION",
        kind: durations(Bound::PauseTolerance..=minutes(60)),
        default: "as the profile says",
        help: "How long a member may be silent before it is dead, if its host still answers",
        is_detector: true,
        ..SETTING
    },
    Setting {
        name: "evict-degraded-after",
        value: "DURATION",
        kind: Kind::Duration(Range {
            least: Bound::PauseTolerance,
            most: Bound::At(DAY),
            or: Some("never"),
        }),
        default: "never",
        help: "Evict a member that has been degraded (alive, but its replies reach most observers late or not at all) for this long",
        details: "Set it alike on all nodes: those without it bring an evicted member back.",
        docs: "Set it alike on all nodes",
        is_detector: true,
        ..SETTING
    },
    Setting {
        name: "phi-threshold",
        value: "PHI",
        kind: Kind::Number(Range { least: 1.0, most: 100.0, or: None }),
        default: "8",
        help: "phi at which a member is dead: 8 means one mistake in 10^8",
        docs: "Below 6, the vote of a single other member may suffice",
        is_detector: true,
        ..SETTING
    },
    Setting {
        name: "signed-votes",
        value: "MODE",
        kind: Kind::Word(&["off", "sign", "require"]),
        default: "off",
        help: "Whether members sign their votes, and whether verdicts of others need signed votes: off, sign or require",
        details: "Set sign on all nodes before require on the first. With require, no single member can have another declared dead.",
        docs: "`sign` on all nodes before `require` on the first",
        is_detector: true,
        ..SETTING
    },
    Setting {
        name: "ask-hosts",
        value: "BOOL",
        kind: Kind::Boolean,
        default: "true",
        help: "Whether to ask the hosts of silent members if the process is there",
        is_detector: true,
        ..SETTING
    },
    Setting {
        name: "closed-port",
        value: "PORT",
        kind: Kind::Port,
        default: "9",
        help: "UDP port that is unused on every member's host; a question to it shows whether the host is there",
        docs: "Not that of `--bind`",
        is_detector: true,
        ..SETTING
    },
    Setting {
        name: "flap-suppress",
        value: "DEATHS",
        kind: Kind::Number(Range { least: 2.0, most: MAX_FLAPS, or: Some("off") }),
        default: "10",
        help: "Number of deaths within a half-life from which on a member is suppressed",
        details: "Each death, and each restart before anyone noticed a death, adds one. A suppressed member is listed and \
                  probed, but has no events until the count has decayed, unless it leaves (RFC 2439).",
        docs: "[Members that come and go](protocol.md#members-that-come-and-go)",
        is_detector: true,
        ..SETTING
    },
    Setting {
        name: "flap-reuse",
        value: "DEATHS",
        kind: Kind::Number(Range { least: 0.1, most: MAX_FLAPS, or: None }),
        default: "0.3 of --flap-suppress",
        help: "Count below which a suppressed member has events again",
        docs: "Below `--flap-suppress`",
        is_detector: true,
        ..SETTING
    },
    Setting {
        name: "flap-half-life",
        value: "DURATION",
        kind: durations(Bound::At(Duration::from_secs(1))..=Bound::At(DAY)),
        default: "10m",
        help: "Half-life of the count of deaths",
        is_detector: true,
        ..SETTING
    },
    Setting {
        name: "events",
        value: "FORMAT",
        kind: Kind::Word(&["json", "text"]),
        help: "Write each membership change to standard output, one per line",
        details: "`joined`, `suspect`, `alive`, `dead`, `left`, `updated` and `forgotten` report on a `member`, numbered by \
                  `version`. `suspect` and `dead` have its `silence`, if known: gone, hung, silent, unknown (see `phin \
                  why --help`). `isolated` (the node receives nothing from any member, and declares nobody dead), \
                  `reconnected` and, last, `departed` report on the node itself. A reader that is too slow receives \
                  `missed`, then a `snapshot`.",
        docs: "[Events](events.md#events)",
        ..SETTING
    },
    Setting {
        name: "on",
        value: "EVENT[,EVENT…]=PROGRAM",
        kind: Kind::Lines,
        help: "Program to run on these events, such as dead,left=/usr/local/bin/notify; repeat it for several",
        details: "EVENT is joined, suspect, alive, dead, left, updated, forgotten, name-conflict, suppressed, degraded, recovered, expelled, \
                  isolated or reconnected; or topic:NAME for the messages of a topic. `dead[role=db]=PROGRAM` takes only the events \
                  of members with these tags, and messages that they sent. PROGRAM is a path, and arguments with spaces between them. No shell reads it. The program receives the events on \
                  standard input, as JSON, one per line.",
        docs: "A line each in `PHIN_ON`, a list in the file: [programs on events](#programs-on-events)",
        ..SETTING
    },
    Setting {
        name: "answer",
        value: "TOPIC=PROGRAM",
        kind: Kind::Lines,
        help: "Program that answers queries of this topic, such as disk/free=/usr/local/bin/disk-free; repeat it for several",
        details: "PROGRAM is a path, and arguments with spaces between them. No shell reads it. The program receives the question on \
                  standard input. If it exits with 0, its standard output, at most 64 KiB, is the reply; otherwise the node refuses \
                  to answer. Up to 64 run at once for each topic. See `phin query --help`.",
        docs: "A line each in `PHIN_ANSWER`, a list in the file: [programs that answer queries](#programs-that-answer-queries)",
        ..SETTING
    },
    Setting {
        name: "hook-timeout",
        value: "DURATION",
        kind: durations(Bound::At(Duration::from_millis(100))..=minutes(60)),
        default: "30s",
        help: "Time that each run of an --on or --answer program has; then it is killed with its child processes",
        ..SETTING
    },
    Setting {
        name: "otlp-traces",
        value: "URL",
        default: "off",
        help: "Send a trace of each suspicion to this OpenTelemetry collector (OTLP over HTTP, JSON)",
        details: "http://HOST:PORT; without a path, `/v1/traces` is added. The spans that the nodes send about one suspicion are one \
                  trace. A collector that does not answer delays nothing; see the metrics `otlp_spans`.",
        docs: "See [traces](../guide/deploy.md#traces)",
        ..SETTING
    },
    Setting {
        name: "log",
        value: "LEVEL",
        default: "info",
        help: "Level of the log on standard error: error, warn, info, debug, trace, or filters",
        docs: "Or `off`. A filter: `info,phin_swim=debug`",
        ..SETTING
    },
    Setting {
        name: "log-format",
        value: "FORMAT",
        kind: Kind::Word(&["json", "text"]),
        default: "text",
        help: "How to log",
        ..SETTING
    },
];

pub(crate) const MAX_FLAPS: f64 = 1_000.0;
