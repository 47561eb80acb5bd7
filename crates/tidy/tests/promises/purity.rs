//! The protocol is a value: no clock, no hidden randomness, no thread, no socket, no order that depends on hashing.

use tidy::{File, Source, Violations, check_sources, files};

/// A rule: the banned tokens, separated by spaces, and the alternative.
struct Ban {
    rule: &'static str,
    patterns: &'static [&'static str],
    instead: &'static str,
}

const BANS: &[Ban] = &[
    Ban {
        rule: "clock",
        patterns: &[":: now", "std :: time :: Instant", "SystemTime", "UNIX_EPOCH"],
        instead: "take the moment as an argument",
    },
    Ban {
        rule: "randomness",
        patterns: &[
            "rand :: rng",
            "rand :: random",
            "rand :: random_bool",
            "rand :: random_iter",
            "rand :: random_range",
            "rand :: random_ratio",
            "rand :: fill",
            "make_rng",
            "thread_rng",
            "ThreadRng",
            "OsRng",
            "SysRng",
            "getrandom",
            "from_os_rng",
            "from_entropy",
        ],
        instead: "draw from the seeded generator",
    },
    Ban {
        rule: "thread",
        patterns: &[
            "std :: thread",
            "thread :: spawn",
            "thread :: sleep",
            "thread :: scope",
            "rayon",
        ],
        instead: "leave threads to the caller",
    },
    Ban {
        rule: "socket",
        patterns: &[
            "UdpSocket",
            "TcpStream",
            "TcpListener",
            "UnixStream",
            "UnixListener",
            "UnixDatagram",
            "ToSocketAddrs",
        ],
        instead: "leave I/O to the driver",
    },
    Ban {
        rule: "hash",
        patterns: &[
            "HashMap",
            "HashSet",
            "hash_map",
            "hash_set",
            "RandomState",
            "DashMap",
            "DashSet",
        ],
        instead: "use a BTreeMap, a BTreeSet or a sorted Vec, so that one seed gives one run",
    },
];

/// The folders with all these bans, and whether a comment may allow an exception.
const PURE: &[(&str, bool)] =
    &[("crates/phin-accrual/src/", false), ("crates/phin-swim/src/", false), ("sim/src/", true)];

#[test]
fn the_protocol_is_a_value() {
    for (folder, _) in PURE {
        assert!(
            files().iter().any(|file| file.is_in(folder)),
            "{folder}: is gone; mend PURE of tidy"
        );
    }
    check_sources(|file, source, violations| {
        let Some((_, may_allow)) = PURE.iter().find(|(folder, _)| file.is_in(folder)) else {
            return;
        };
        BANS.iter().for_each(|ban| ban.check(*may_allow, file, source, violations));
    });
}

impl Ban {
    fn check(
        &self,
        may_allow: bool,
        file: &File,
        source: &Source<'_>,
        violations: &mut Violations,
    ) {
        let Self { rule, patterns, instead } = self;
        for pattern in *patterns {
            let found = source.find(pattern).filter(|token| !token.is_test);
            for token in found.filter(|token| !may_allow || !source.allows(rule, token.line)) {
                let exception = match may_allow {
                    true => format!(", or say `// tidy: allow {rule}: REASON`"),
                    false => String::new(),
                };
                let call = pattern.replace(' ', "");
                let what = format!("`{call}` breaks the rule `{rule}`: {instead}{exception}");
                violations.add(&file.path, token.line, &what);
            }
        }
    }
}
