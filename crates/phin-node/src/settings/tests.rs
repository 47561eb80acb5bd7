use std::{ffi::OsString, fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use clap::{Args, FromArgMatches};
use tempfile::TempDir;

use super::*;
use crate::{
    http::Addr,
    settings::table::{In, SETTINGS, Setting},
};

const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const TOKEN: &str = "a-token-of-http-0123456789";

/// Resolves settings from arguments and variables, with a key unless they contain credentials.
fn resolve(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Settings, SettingsError> {
    let command = Flags::augment_args(clap::Command::new("run").no_binary_name(true));
    let matches = command.try_get_matches_from(arguments).unwrap();
    let flags = Flags::from_arg_matches(&matches).unwrap();
    Settings::resolve(
        &flags,
        variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))),
    )
}

fn with_key<'a>(variables: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [&[("PHIN_CLUSTER_KEY", KEY)], variables].concat()
}

fn error(arguments: &[&str], variables: &[(&str, &str)]) -> String {
    resolve(arguments, variables).unwrap_err().to_string()
}

fn file(directory: &TempDir, name: &str, text: &str) -> String {
    let path = directory.path().join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn flags_override_the_environment_which_overrides_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let text = "name = \"file\"\nbind = \"127.0.0.1:1\"\ncluster = \"file\"\n";
    let config = file(&directory, "phin.toml", text);
    let variables =
        with_key(&[("PHIN_CONFIG", &config), ("PHIN_NAME", "env"), ("PHIN_BIND", "127.0.0.1:2")]);
    let settings = resolve(&["--name", "flag"], &variables).unwrap();
    let name = settings.name.unwrap();
    assert_eq!((name.value.as_str(), name.place.to_string().as_str()), ("flag", "--name"));
    assert_eq!(settings.bind.value.port(), 2);
    assert_eq!(settings.bind.place.to_string(), "PHIN_BIND");
    let cluster = settings.cluster.unwrap();
    assert_eq!(cluster.value, "file");
    assert_eq!(cluster.place.to_string(), format!("{config}:3: cluster"));
}

#[test]
fn a_lower_layer_is_replaced_and_not_added_to() {
    let variables = with_key(&[("PHIN_JOIN", "a:1,b:2")]);
    assert_eq!(resolve(&[], &variables).unwrap().join, ["a:1", "b:2"]);
    let settings = resolve(&["--join", "c:3", "--join", "[::1]:4, d:5"], &variables).unwrap();
    assert_eq!(settings.join, ["c:3", "[::1]:4", "d:5"]);
}

/// The documentation contains the table of settings. `UPDATE_DOCS=1` writes it.
#[test]
fn the_documentation_has_every_setting_as_the_table_has_it() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/settings.md");
    let text = fs::read_to_string(&path).unwrap();
    let heading = "| Setting | Default | Allowed | Means |\n|---|---|---|---|\n";
    let rows: String = SETTINGS.iter().map(Setting::row).collect();
    let (before, rest) = text.split_once(heading).unwrap();
    let (present, after) = rest.split_once("\n\n").unwrap();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, format!("{before}{heading}{rows}\n{after}")).unwrap();
    } else {
        assert_eq!(format!("{present}\n"), rows, "UPDATE_DOCS=1 writes it");
    }
}

#[test]
fn the_defaults_are_safe() {
    let settings = resolve(&[], &with_key(&[])).unwrap();
    assert!(settings.bind.value.ip().is_loopback());
    assert_eq!(settings.bind.place.to_string(), "--bind (the default)");
    assert!(settings.http.is_none() && settings.join.is_empty() && settings.data_dir.is_none());
    assert_eq!(settings.config.value, phin::Config::lan());
    assert_eq!((settings.log.as_str(), settings.log_format), ("info", LogFormat::Text));
}

#[test]
fn a_file_can_have_every_setting() {
    let directory = tempfile::tempdir().unwrap();
    let key_file = file(&directory, "cluster.key", KEY);
    let token_file = file(&directory, "http.token", TOKEN);
    let text = format!(
        "admin_key = [\"{KEY}\"]\nadvertise = \"10.0.0.1:7\"\nbind = \"0.0.0.0:7\"\ncluster = \"c\"\ndata_dir = \"d\"\n\
         ask_hosts = true\nclosed_port = 10\nphi_threshold = 9.5\nsigned_votes = \"require\"\n\
         pause_tolerance = \"2s\"\nhang_tolerance = \"20s\"\nevict_degraded_after = \"2m\"\n\
         events = \"text\"\nhttp = \"0.0.0.0:8\"\nhttp_allow_remote = true\nhttp_token_file = \"{token_file}\"\n\
         join = [\"a:1\", \"b:2\"]\nkey_file = \"{key_file}\"\nlog = \"phin=debug\"\notlp_traces = \"http://127.0.0.1:4318\"\n\
         log_format = \"json\"\nname = \"n\"\nperiod = \"20ms\"\nmax_period = \"160ms\"\nprofile = \"wan\"\n\
         retention = \"48h\"\nadmit = \"/bin/sh\"\nhttp_allow_remote_writes = true\n\
         http_host = [\"a\"]\nwatchers = 64\nmax_data = \"64KiB\"\nmax_publications_per_second = 9\n\
         max_published_bytes_per_second = \"2MiB\"\nmax_recent_publication_bytes = 65536\nflap_suppress = 20\nflap_reuse = 1.5\nflap_half_life = \"5m\"\nleadership_lease = \"5s\"\n\
         on = [\"dead,left=/bin/sh\", \"joined[role=db]=/bin/sh -\"]\nhook_timeout = \"10s\"\n\
         answer = [\"free=/bin/sh\", \"a/b=/bin/sh -\"]\nwatch_files = false\n\
         serving = \"draining\"\ntags = {{ role = \"web,api\", \"x.y\" = \"a,b=c\" }}\n"
    );
    // A certificate replaces the key.
    let others = ["ca", "cert", "key", "crl", "assigned-ids"];
    let in_file = SETTINGS.iter().filter(|setting| setting.layers == In::All);
    for setting in in_file.filter(|setting| !others.contains(&setting.name)) {
        let line = format!("{} = ", setting.file_key());
        assert!(text.lines().any(|other| other.starts_with(&line)), "the file lacks {line}");
    }
    let config = file(&directory, "phin.toml", &text);
    let settings = resolve(&["--config", &config], &[]).unwrap();
    assert_eq!(settings.join, ["a:1", "b:2"]);
    assert_eq!(settings.tags.to_string(), "role=web,api,x.y=a,b=c");
    assert_eq!((settings.tags.len(), settings.serving), (2, phin::ServingState::Draining));
    let Http { addr, access, token_file: read } = settings.http.unwrap();
    assert_eq!(addr.value, Addr::Tcp("0.0.0.0:8".parse().unwrap()));
    assert!(access.remote_writes && access.hosts == ["a"]);
    assert!(access.tokens.unwrap().admit(TOKEN) && read.unwrap() == Path::new(&token_file));
    assert_eq!(settings.admit.unwrap().value.path(), Path::new("/bin/sh"));
    assert_eq!(settings.watchers, Some(64));
    assert_eq!((settings.hooks.hooks.len(), settings.hooks.limit), (2, Duration::from_secs(10)));
    assert_eq!(settings.hooks.answers.len(), 2);
    assert!(!settings.watch_files);
    assert_eq!(settings.data_dir.unwrap().value, Path::new("d"));
    assert_eq!(settings.events, Some(EventFormat::Text));
    assert_eq!(settings.log_format, LogFormat::Json);
    let config = settings.config.value;
    assert_eq!(config.period, Duration::from_millis(20));
    assert!(config.prior_round_trip <= Duration::from_millis(10), "it fits into the period");
    assert_eq!(config.pause_tolerance, Duration::from_secs(2));
    assert_eq!(config.signed_votes, phin::SignedVotes::Require);
    assert_eq!(config.hang_tolerance, Duration::from_secs(20));
    assert_eq!(config.max_period, Some(Duration::from_millis(160)));
    assert_eq!(config.evict_degraded_after, Some(Duration::from_secs(120)));
    assert_eq!((config.phi_threshold, config.ask_hosts), (9.5, true));
    assert_eq!((config.flap_suppress, config.flap_reuse), (20.0, 1.5));
    assert_eq!(config.flap_half_life, Duration::from_secs(300));
    assert_eq!(config.retention, Duration::from_secs(48 * 3_600));
    assert_eq!(config.leadership_lease, Duration::from_secs(5));
    assert_eq!(settings.closed_port, Some(10));
    assert_eq!(config.max_data_bytes, 64 * 1_024);
    assert_eq!(config.max_publications_per_second, 9);
    assert_eq!(config.max_published_bytes_per_second, 2 * 1_024 * 1_024);
    assert_eq!(config.max_recent_publication_bytes, 64 * 1_024);
    assert!(config.data_delay <= Duration::from_millis(20), "it fits into the period");
}

#[test]
fn tags_are_given_one_by_one_or_with_commas_between_them() {
    let tags = |settings: Settings| -> Vec<_> {
        settings.tags.iter().map(|(key, value)| format!("{key} is {value}")).collect()
    };
    let flags = ["--tag", "role=web,api", "--tag", "note=x,y=z"];
    let variables = with_key(&[("PHIN_TAGS", "role=web,api, zone=a,empty=")]);
    let settings = resolve(&flags, &variables).unwrap();
    assert_eq!(tags(settings), ["note is x,y=z", "role is web,api"], "each flag is one tag");
    let settings = resolve(&[], &variables).unwrap();
    assert_eq!(tags(settings), ["empty is ", "role is web,api", "zone is a"]);

    let directory = tempfile::tempdir().unwrap();
    for text in
        ["[tags]\nrole = \"web,api\"\nzone = \"a\"\n", "tags = [\"zone=a\", \"role=web,api\"]\n"]
    {
        let config = file(&directory, "phin.toml", text);
        let settings = resolve(&["--config", &config], &with_key(&[])).unwrap();
        assert_eq!(tags(settings), ["role is web,api", "zone is a"], "{text}");
    }
    let config = file(&directory, "phin.toml", "name = \"n\"\n[tags]\nport = 80\n");
    let message = error(&["--config", &config], &with_key(&[]));
    assert!(message.contains(":2: tags: expected a table of texts"), "{message}");
    let twice = error(&["--tag", "a=1", "--tag", "a=2"], &with_key(&[]));
    assert_eq!(twice, "--tag is \"a=1\\na=2\": the tag a is given twice");
    let twice = error(&["--answer", "a=/bin/sh", "--answer", "a=/bin/true"], &with_key(&[]));
    assert_eq!(twice, "--answer is \"a=/bin/true\": the topic a has a program already");
    let settings = resolve(&["--serving", "not-serving"], &with_key(&[])).unwrap();
    assert_eq!(settings.serving.to_string(), "not-serving (starting)");
}

#[test]
fn each_program_on_events_is_a_flag_or_a_line() {
    let programs = |settings: Settings| -> Vec<usize> {
        settings.hooks.hooks.iter().map(|hook| hook.trigger.events.len()).collect()
    };
    let variables = with_key(&[("PHIN_ON", "dead,left=/bin/sh\n\n joined=/bin/sh -\n")]);
    let settings = resolve(&[], &variables).unwrap();
    assert_eq!(settings.hooks.limit, Duration::from_secs(30), "the default");
    assert_eq!(programs(settings), [2, 1]);
    let flags = ["--on", "dead=/bin/sh", "--on", "isolated,reconnected=/bin/sh"];
    assert_eq!(
        programs(resolve(&flags, &variables).unwrap()),
        [1, 2],
        "flags replace the variable"
    );
    let message = error(&[flags[0], flags[1], "--on", "left=/no/such/program"], &with_key(&[]));
    assert!(
        message.starts_with("--on is \"left=/no/such/program\": /no/such/program: "),
        "{message}"
    );
    let many = vec!["dead=/bin/sh"; 33].join("\n");
    let message = error(&[], &with_key(&[("PHIN_ON", &many)]));
    assert!(message.contains("at most 32"), "{message}");
    let directory = tempfile::tempdir().unwrap();
    let config = file(&directory, "phin.toml", "on = 5\n");
    assert!(error(&["--config", &config], &with_key(&[])).contains("a text, or a list of texts"));
}

#[test]
fn retention_has_room_for_ten_periods() {
    let message = error(&["--retention", "9999ms"], &with_key(&[]));
    assert_eq!(message, "--retention is \"9999ms\": allowed is 10s to 366d");
    let settings = resolve(&["--retention", "2s", "--profile", "local"], &with_key(&[])).unwrap();
    assert_eq!(settings.config.value.retention, Duration::from_secs(2));
}

#[test]
fn tolerances_stay_in_order() {
    let settings = resolve(&["--pause-tolerance", "30s"], &with_key(&[])).unwrap();
    assert_eq!(settings.config.value.hang_tolerance, Duration::from_secs(30));
    let message = error(&["--pause-tolerance", "30s", "--hang-tolerance", "29s"], &with_key(&[]));
    assert_eq!(message, "--hang-tolerance is \"29s\": allowed is 30s to 1h");
    let message = error(&["--period", "10s", "--pause-tolerance", "900ms"], &with_key(&[]));
    assert_eq!(message, "--pause-tolerance is \"900ms\": allowed is 1s to 10m");
}

#[test]
fn numbers_of_a_file_may_be_texts_as_well() {
    let directory = tempfile::tempdir().unwrap();
    for text in
        ["phi_threshold = 9\nclosed_port = 10", "phi_threshold = \"9\"\nclosed_port = \"10\""]
    {
        let config = file(&directory, "phin.toml", text);
        let settings = resolve(&["--config", &config], &with_key(&[])).unwrap();
        assert_eq!((settings.config.value.phi_threshold, settings.closed_port), (9.0, Some(10)));
    }
    for text in ["max_data = 32768", "max_data = \"32768\"", "max_data = \"32 KiB\""] {
        let config = file(&directory, "phin.toml", text);
        let settings = resolve(&["--config", &config], &with_key(&[])).unwrap();
        assert_eq!(settings.config.value.max_data_bytes, 32 * 1_024);
    }
    let config = file(&directory, "phin.toml", "phi_threshold = 0x9");
    assert!(error(&["--config", &config], &with_key(&[])).contains("a number from 1 to 100"));
}

#[test]
fn what_no_layer_knows_is_named_with_its_place_and_what_is_allowed() {
    let directory = tempfile::tempdir().unwrap();
    let config = file(&directory, "phin.toml", "name = \"n\"\n\n nmae = \"m\"\n");
    let unknown = error(&["--config", &config], &[]);
    assert_eq!(unknown, format!("{config}:3: unknown setting \"nmae\"; did you mean name?"));
    let config = file(&directory, "phin.toml", "colour = \"m\"\n");
    let unknown = error(&["--config", &config], &[]);
    assert!(
        unknown.contains("allowed are ")
            && SETTINGS
                .iter()
                .filter(|s| s.layers == In::All)
                .all(|s| unknown.contains(&s.file_key()))
    );
    let unknown = error(&[], &[("PHIN_NMAE", "m")]);
    assert!(unknown.contains("PHIN_NMAE") && unknown.contains("PHIN_NAME"), "{unknown}");
    assert!(error(&[], &[("PHIN_name", "m")]).contains("PHIN_name"), "names are upper case");
}

#[test]
fn variables_that_kubernetes_makes_are_no_settings() {
    let links = [
        ("PHIN_SERVICE_HOST", "10.0.0.1"),
        ("PHIN_SERVICE_PORT_GOSSIP", "7646"),
        ("PHIN_PORT", "udp://10.0.0.1:7646"),
        ("PHIN_PORT_7646_UDP_ADDR", "10.0.0.1"),
        ("PHIN_SEED_SERVICE_HOST", "10.0.0.1"),
    ];
    assert!(resolve(&[], &with_key(&links)).is_ok());
    // Kubernetes sets URLs; a number is a mistyped setting.
    let slip = error(&[], &[("PHIN_CLOSE_PORT", "7")]);
    assert!(slip.contains("PHIN_CLOSE_PORT"), "{slip}");
}

#[test]
fn a_malformed_file_is_named_with_the_line() {
    let directory = tempfile::tempdir().unwrap();
    for (text, line) in [
        ("name = \"n\"\nbind = [1", 2),
        ("name = \"n\"\n\nbind = 5", 3),
        ("join = [1]", 1),
        ("join = true", 1),
        ("http_allow_remote = \"yes\"", 1),
        ("name = \"n\"\nask_hosts = 1", 2),
        ("closed_port = 9.5", 1),
        ("max_data = true", 1),
        ("max_publications_per_second = 1.5", 1),
        ("phi_threshold = true", 1),
        ("name = \"n\"\nname = \"m\"", 2),
        ("[name]\nx = 1", 1),
    ] {
        let config = file(&directory, "phin.toml", text);
        let malformed = error(&["--config", &config], &[]);
        assert!(malformed.starts_with(&format!("{config}:{line}: ")), "{text}: {malformed}");
    }
}

#[test]
fn values_that_cannot_be_used_are_named_with_what_is_expected() {
    for (flag, value, expected) in [
        ("--bind", "localhost", "IP:PORT"),
        ("--advertise", "0.0.0.0:1", "no other node can reach"),
        ("--advertise", "10.0.0.300", "HOST[:PORT]"),
        ("--advertise", "a b", "HOST[:PORT]"),
        ("--advertise", "a.example:", "HOST[:PORT]"),
        ("--http", "example:1", "IP:PORT"),
        ("--http-host", "a b", "host name"),
        ("--http-host", "a:1", "host name"),
        ("--join", "a:", "HOST:PORT"),
        ("--join", "a:1,", "HOST:PORT"),
        ("--join", "::1:7", "HOST:PORT"),
        ("--join", "a:0", "HOST:PORT"),
        ("--join", "a:65536", "HOST:PORT"),
        ("--period", "5", "a duration"),
        ("--period", "1ms", "10ms to 10m"),
        ("--profile", "moon", "lan, wan or local"),
        ("--pause-tolerance", "5", "a duration"),
        ("--pause-tolerance", "1h", "100ms to 10m"),
        ("--hang-tolerance", "500ms", "1s to 1h"),
        ("--phi-threshold", "0", "a number from 1 to 100"),
        ("--phi-threshold", "NaN", "a number from 1 to 100"),
        ("--ask-hosts", "no", "true or false"),
        ("--max-data", "257KiB", "0 to 256KiB, such as 16KiB"),
        ("--max-data", "16KB", "0 to 256KiB, such as 16KiB"),
        ("--max-published-bytes-per-second", "1023", "1KiB to 1GiB, such as 16KiB"),
        ("--max-recent-publication-bytes", "2GiB", "64KiB to 1GiB, such as 16KiB"),
        ("--max-publications-per-second", "0", "a whole number from 1 to 65536"),
        ("--max-data", "18446744073709551615KiB", "0 to 256KiB, such as 16KiB"),
        ("--closed-port", "0", "1 to 65535"),
        ("--closed-port", "65536", "1 to 65535"),
        ("--events", "xml", "json or text"),
        ("--log", "inof", "error, warn, info"),
        ("--log-format", "xml", "json or text"),
        ("--name", "a b", "' '"),
        ("--tag", "web", "KEY=VALUE"),
        ("--tag", "Role=web", "1 to 32 characters"),
        ("--serving", "no", "serving, draining or not-serving"),
        ("--cluster", "ä", "ASCII"),
    ] {
        let message = error(&[flag, value], &with_key(&[]));
        assert!(message.starts_with(flag) && message.contains(expected), "{message}");
    }
    assert!(error(&[], &with_key(&[("PHIN_HTTP_ALLOW_REMOTE", "1")])).contains("true or false"));
    assert_eq!(
        error(&[], &with_key(&[("PHIN_NAME", "")])),
        "PHIN_NAME is empty; give it a value or remove it"
    );
}

#[test]
fn settings_that_contradict_each_other_are_both_named() {
    let directory = tempfile::tempdir().unwrap();
    let config = file(&directory, "phin.toml", "ca = \"ca.pem\"\n");
    let contradiction = error(&["--config", &config], &with_key(&[]));
    assert!(contradiction.contains("PHIN_CLUSTER_KEY"), "{contradiction}");
    assert!(contradiction.contains(&format!("{config}:1: ca")), "{contradiction}");
    let two_keys = error(&["--key-file", "k"], &with_key(&[]));
    assert!(two_keys.contains("--key-file and PHIN_CLUSTER_KEY contradict"), "{two_keys}");
    let refused =
        error(&["--http", "0.0.0.0:1"], &with_key(&[("PHIN_HTTP_ALLOW_REMOTE", "false")]));
    assert!(refused.contains("--http and PHIN_HTTP_ALLOW_REMOTE contradict"), "{refused}");
    assert_eq!(error(&["--ca", "ca.pem"], &[]), "--ca needs --cert and --key as well");
    assert_eq!(error(&["--key", "k", "--ca", "c"], &[]), "--ca needs --cert as well");
    let lists = error(&["--crl", "c"], &with_key(&[]));
    assert_eq!(lists, "--crl needs --ca, --cert and --key as well");
    let ids = error(&["--assigned-ids", "require"], &with_key(&[]));
    assert_eq!(ids, "--assigned-ids needs --ca, --cert and --key as well");
    assert!(resolve(&["--assigned-ids", "accept"], &with_key(&[])).is_ok());
    let asked = error(&["--closed-port", "7"], &with_key(&[("PHIN_ASK_HOSTS", "false")]));
    assert!(asked.contains("--closed-port and PHIN_ASK_HOSTS contradict"), "{asked}");
    let open = error(&["--closed-port", "7", "--bind", "127.0.0.1:7"], &with_key(&[]));
    assert!(open.contains("--closed-port and --bind contradict"), "{open}");
    let alone = error(&["--http-allow-remote"], &with_key(&[]));
    assert_eq!(alone, "--http-allow-remote needs --http IP:PORT as well");
}

#[test]
fn http_that_others_reach_needs_a_token_and_a_word_of_its_own() {
    let token = [("PHIN_HTTP_TOKEN", TOKEN)];
    let remote = ["--http", "[::]:1", "--http-allow-remote"];
    for (flags, token) in [(&remote[..2], &[][..]), (&remote[..2], &token), (&remote, &[])] {
        let refused = error(flags, &with_key(token));
        assert!(refused.starts_with("--http is [::]:1"), "{refused}");
        assert!(refused.contains("--http-token-file") && refused.contains("--http-allow-remote"));
    }
    let settings = resolve(&remote, &with_key(&token)).unwrap();
    assert_eq!(settings.http.unwrap().addr.place.to_string(), "--http");
    for local in ["[::1]:1", "unix:/run/n1.sock"] {
        assert!(resolve(&["--http", local], &with_key(&[])).is_ok(), "{local}");
    }
    let url = resolve(&[], &with_key(&[("PHIN_HTTP", "http://127.0.0.1:1/")])).unwrap();
    let addr = Addr::Tcp("127.0.0.1:1".parse().unwrap());
    assert_eq!(url.http.unwrap().addr.value, addr, "clients have it as a URL");
    let socket = resolve(&["--http", "unix:/run/n1.sock"], &with_key(&[])).unwrap().http.unwrap();
    assert_eq!(socket.addr.value, Addr::Unix("/run/n1.sock".into()));
}

#[test]
fn a_token_that_is_none_or_that_others_can_read_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = file(&directory, "http.token", TOKEN);
    let flags = ["--http", "127.0.0.1:1", "--http-token-file", &path];
    let access = resolve(&flags, &with_key(&[])).unwrap().http.unwrap().access;
    assert!(access.tokens.unwrap().admit(TOKEN));
    let both = error(&flags, &with_key(&[("PHIN_HTTP_TOKEN", TOKEN)]));
    assert!(both.contains("--http-token-file and PHIN_HTTP_TOKEN contradict"), "{both}");
    let alone = error(&flags[2..], &with_key(&[]));
    assert_eq!(alone, "--http-token-file needs --http IP:PORT as well");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let open = error(&flags, &with_key(&[]));
    assert!(open.contains("--http-token-file") && open.contains("mode 0644"), "{open}");
    let short = error(&flags[..2], &with_key(&[("PHIN_HTTP_TOKEN", "0123")]));
    assert!(short.starts_with("PHIN_HTTP_TOKEN: token 1 has 4 characters"), "{short}");
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = file(&directory, "cluster.key", KEY);
    assert!(matches!(resolve(&["--key-file", &path], &[]).unwrap().admission, Admission::Keys(_)));
    for mode in [0o644, 0o660, 0o604] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let message = error(&["--key-file", &path], &[]);
        assert!(message.contains(&format!("mode {mode:04o}")), "{message}");
        assert!(message.contains(&format!("chmod 600 {path}")), "{message}");
    }
}

#[test]
fn a_slip_is_answered_with_what_was_probably_meant() {
    let directory = tempfile::tempdir().unwrap();
    let in_file =
        |text: &str| error(&["--config", &file(&directory, "c.toml", text)], &with_key(&[]));
    let unknown = in_file("advertize = \"a\"\n");
    assert!(unknown.ends_with("did you mean advertise?"), "{unknown}");
    assert!(in_file("colour = \"a\"\n").contains("allowed are name, "));
    let variable = error(&[], &with_key(&[("PHIN_DATADIR", "a")]));
    assert!(variable.ends_with("did you mean PHIN_DATA_DIR?"), "{variable}");
    let bare = in_file("name = n2\n");
    assert!(bare.ends_with("put texts in quotes"), "{bare}");
}

#[test]
fn who_may_use_http_is_said_together_with_its_address() {
    let access = |flags: &[&str]| {
        let token = [("PHIN_HTTP_TOKEN", TOKEN)];
        resolve(flags, &with_key(&token)).unwrap().http.unwrap().access
    };
    let local = access(&["--http", "localhost:1", "--http-host", "A.example.,b"]);
    assert_eq!(local.hosts, ["a.example", "b"]);
    let remote = ["--http", "0.0.0.0:1", "--http-allow-remote"];
    assert!(!access(&remote).remote_writes);
    let writes = [&remote[..], &["--http-allow-remote-writes"]].concat();
    assert!(access(&writes).remote_writes);
    let alone = error(&[], &with_key(&[("PHIN_HTTP_ALLOW_REMOTE_WRITES", "true")]));
    assert!(alone.contains("needs --http-allow-remote"), "{alone}");
    let nowhere = error(&["--http-host", "a"], &with_key(&[]));
    assert!(nowhere.contains("needs --http IP:PORT"), "{nowhere}");
}

#[test]
fn a_key_that_is_none_is_not_repeated() {
    let directory = tempfile::tempdir().unwrap();
    let path = file(&directory, "cluster.key", &KEY[..63]);
    let short = error(&["--key-file", &path], &[]);
    assert!(short.contains(&path) && short.contains("64") && short.contains("63"), "{short}");
    assert!(!short.contains(&KEY[..8]));
    let odd = error(&[], &[("PHIN_CLUSTER_KEY", &KEY.replace("0f", "xx"))]);
    assert!(odd.starts_with("PHIN_CLUSTER_KEY: ") && !odd.contains(&KEY[..8]), "{odd}");
    let long = file(&directory, "long.key", &"0".repeat(100_000));
    assert!(error(&["--key-file", &long], &[]).contains("longer than"));
    let settings = format!("{:?}", resolve(&[], &with_key(&[])).unwrap());
    assert!(!settings.contains(&KEY[..8]), "{settings}");
}

#[test]
fn a_private_key_that_is_none_is_named_with_its_file() {
    let directory = tempfile::tempdir().unwrap();
    let [ca, cert] = ["ca.pem", "n1.pem"].map(|name| file(&directory, name, "read later"));
    let key = file(&directory, "n1.key", "no key");
    let message = error(&["--ca", &ca, "--cert", &cert, "--key", &key], &[]);
    assert!(message.starts_with(&format!("--key: {key}: not a private key")), "{message}");
}

#[test]
fn without_a_key_there_is_a_hint() {
    assert!(error(&[], &[]).contains("phin key new"));
}

#[test]
fn ports_may_be_left_out() {
    let seeds = values::seeds("a.example, [::1], b:9").unwrap();
    assert_eq!(seeds, ["a.example", "[::1]", "b:9"]);
    // The bound port.
    let addr = |text: &str| Ok(Advertised::Addr(text.parse().unwrap()));
    assert_eq!(values::advertised("10.0.0.1"), addr("10.0.0.1:0"));
    assert_eq!(values::advertised("::1"), addr("[::1]:0"));
    for name in ["a", "a.example", "a.example.", "a.example:9", "1a.2b"] {
        assert_eq!(values::advertised(name), Ok(Advertised::Name(name.into())));
    }
}
