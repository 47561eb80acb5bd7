use std::collections::BTreeSet;

use super::*;

const REFERENCE: &str = include_str!("../../../docs/reference/simulator.md");

/// A valid scenario with `new` lines instead of `old` ones.
fn changed(old: &str, new: &str) -> Result<Scenario, ScenarioError> {
    let text = "about = \"x\"\nnodes = 30\nlasts = \"60s\"\n\n[[event]]\nat = \"20s\"\n\
                do = \"crash-host\"\nwho = \"9\"\n\n[expect]\ndeclared = \"9\"\n";
    assert!(text.contains(old), "{old}");
    Scenario::parse(&text.replacen(old, new, 1))
}

#[test]
fn what_cannot_happen_is_an_error_that_points_at_its_key() {
    assert!(changed("about", "about").is_ok());
    let cases = [
        // (replaced, by, the line, part of the text)
        ("who = \"9\"", "who = \"99\"", "line 8: event 1, `who`", "no member 99"),
        ("who = \"9\"", "who = \"0..31\"", "line 8: event 1, `who`", "no member 30"),
        ("at = \"20s\"", "at = \"300s\"", "line 6: event 1, `at`", "300s is never reached"),
        ("declared = \"9\"", "declared = \"30\"", "line 11: `declared`", "no member 30"),
        ("nodes = 30", "nodes = 0", "line 2: `nodes`", "without members"),
        ("who = \"9\"", "whom = \"9\"", "line 8, column 1", "unknown field `whom`"),
        ("who = \"9\"", "who = \"x\"", "line 8, column 7", "\"x\" is no member"),
        ("crash-host", "crash-hist", "line 7, column 6", "unknown variant `crash-hist`"),
        ("20s", "20 eons", "line 6, column 6", "\"20 eons\" is not a span of time"),
        ("who = \"9\"", "", "line 5", "missing key `who`"),
        ("who = \"9\"", "who = \"9\"\nlasts = \"1s\"", "line 5", "no key `lasts`"),
        (
            "[expect]",
            "[[event]]\nat = \"1s\"\ndo = \"write\"\nwho = \"1\"\nbytes = 1\nevery = \"1ms\"\nlasts = \"1h\"\n[expect]",
            "line 15: event 2, `every`",
            "at most 10000 times",
        ),
        ("[expect]", "[network]\nloss = 20\n[expect]", "line 11, column 8", "20 is not a share"),
        ("[expect]", "[network]\nloss = \"101%\"\n[expect]", "line 11", "is not a share"),
        ("[expect]", "[network]\nzones = 0\n[expect]", "line 11, column 9", "1 to 64 zones"),
        (
            "[expect]",
            "protocol = \"consul\"\n[expect]",
            "line 10, column 1",
            "unknown field `protocol`",
        ),
        ("nodes", "protocol = \"consul\"\nnodes", "no protocol is called \"consul\"", "lifeguard"),
    ];
    for (old, new, place, text) in cases {
        let error = changed(old, new).expect_err(new).to_string();
        assert!(error.contains(place) && error.contains(text), "{new}: {error}");
    }
}

#[test]
fn rules_between_hosts_are_for_the_first_members_and_other_events_for_newcomers_too() {
    let join = "[[event]]\nat = \"1s\"\ndo = \"join\"\ncount = 2\nseeds = \"0\"\n\n[[event]]\nat = \"20s\"";
    assert!(changed("[[event]]\nat = \"20s\"", join).is_ok());
    let with = |event: &str| changed("[[event]]", &format!("{join}\n{event}\n\n[[event]]"));
    assert!(with("do = \"leave\"\nwho = \"31\"").is_ok());
    assert!(with("do = \"leave\"\nwho = \"32\"").is_err());
    assert!(with("do = \"deaf\"\nlasts = \"1s\"\nwho = \"31\"").is_err());
}

#[test]
fn shares_and_delays_are_what_they_say() {
    let shares = [("2%", Some(0.02)), ("0.02", Some(0.02)), ("1", Some(1.0)), ("-1%", None)];
    for (text, share) in shares {
        assert_eq!(text.parse::<Share>().ok().map(|share| share.0), share, "{text}");
    }
    let network = |text: &str| toml::from_str::<NetworkSettings>(text).unwrap().config();
    let config = network("delay = \"30ms\"\njitter = \"5ms\"\nzones = 2\nloss = \"3%\"");
    assert_eq!(config.latency.len(), 2);
    let between = config.latency[0][1];
    assert_eq!(between.median, millis(30));
    let late = between.median.as_secs_f64() * libm::exp(between.sigma);
    assert!((late - 0.035).abs() < 1e-9, "one in six is later than delay and jitter: {late}");
    assert_eq!(config.latency[0][0].median, crate::latency::Latency::LAN.median);
    assert_eq!(config.loss, 0.03);
    assert_eq!(network(""), crate::network::NetworkConfig::lan());
    assert_eq!(network("kind = \"wan\""), crate::network::NetworkConfig::wan());
}

#[test]
fn settings_of_phin_are_used_and_refused_elsewhere() {
    let config = toml::from_str::<ConfigSettings>("period = \"200ms\"\nrings = 4").unwrap();
    let mut lan = phin_swim::Config::lan();
    config.apply(&mut lan);
    assert_eq!((lan.period, lan.rings), (millis(200), 4));
    assert!(ProtocolKind::Phin.make_with(&config, 1, 3).is_ok());
    assert!(ProtocolKind::Swim.make_with(&config, 1, 3).is_err());
    let rings = ConfigSettings { rings: Some(99), ..ConfigSettings::default() };
    let error = ProtocolKind::Phin.make_with(&rings, 1, 3).err().map(|error| error.to_string());
    assert!(error.is_some_and(|error| error.contains("rings")));
}

/// The words that a parser expects, as its error lists them.
fn expected(text: &str) -> BTreeSet<String> {
    let error = toml::from_str::<Scenario>(text).expect_err("there is no such word").to_string();
    let (_, list) = error.split_once("expected one of ").expect("a list");
    list.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The words in the first column of the tables below a heading.
fn documented(heading: &str) -> BTreeSet<String> {
    rows(heading).into_iter().flat_map(|row| words(&row[0])).collect()
}

fn rows(heading: &str) -> Vec<Vec<String>> {
    let (_, after) = REFERENCE.split_once(&format!("\n### {heading}\n")).expect(heading);
    let section = after.split("\n#").next().unwrap_or_default();
    let rows = section.lines().filter(|line| line.starts_with("| ")).skip(2);
    rows.map(|row| row.split('|').skip(1).map(str::to_owned).collect()).collect()
}

fn words(cell: &str) -> BTreeSet<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn the_reference_has_every_key_and_no_other() {
    assert_eq!(documented("Top level"), expected("zzz = 1"));
    assert_eq!(documented("`[network]`"), expected("[network]\nzzz = 1"));
    assert_eq!(documented("`[config]`"), expected("[config]\nzzz = 1"));
    assert_eq!(documented("`[expect]`"), expected("[expect]\nzzz = 1"));
    assert_eq!(documented("`[[event]]`"), expected("[[event]]\ndo = \"zzz\""));
    assert_eq!(documented("Lies"), expected("[[event]]\nlie = \"zzz\""));
    let at = rows("`[expect]`").into_iter().find(|row| words(&row[0]).contains("at"));
    let at = words(&at.expect("it is there")[3]);
    let missing: Vec<_> = expected("[[expect.at]]\nzzz = 1").difference(&at).cloned().collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn the_reference_has_the_keys_of_each_event() {
    let mut every: BTreeSet<_> = ["at", "do"].map(str::to_owned).into();
    for row in rows("`[[event]]`") {
        let name = words(&row[0]).into_iter().next().expect("a name");
        let kind: events::Kind = name.parse_kind();
        let (needed, optional) = kind.keys();
        let optional: BTreeSet<_> = optional.iter().map(|key| format!("[`{key}`]")).collect();
        let needed: BTreeSet<_> = needed.iter().map(|key| format!("`{key}`")).collect();
        let found: BTreeSet<_> = row[1].split(',').map(|key| key.trim().to_owned()).collect();
        assert_eq!(found, &needed | &optional, "{name}");
        every.extend(words(&row[1]));
        // And these are the keys of the event.
        let values = |key: &str| match key {
            "groups" => "[\"0\", \"1\"]".to_owned(),
            "count" | "bytes" | "above" | "millionths" | "topics" | "expected" => "1".to_owned(),
            "share" => "0.5".to_owned(),
            "only-datagrams" | "refuses" => "true".to_owned(),
            "data" => "\"lost\"".to_owned(),
            "lie" => "\"verdict\"".to_owned(),
            "who" | "from" | "to" | "seeds" | "about" => "\"0\"".to_owned(),
            "by" if ["forget", "expel", "readmit", "replay-expulsion"].contains(&&*name) => {
                "\"0\"".to_owned()
            }
            _ => "\"1s\"".to_owned(),
        };
        let keys = words(&row[1]).into_iter().map(|key| format!("{key} = {}\n", values(&key)));
        let event = format!("at = \"1s\"\ndo = \"{name}\"\n{}", keys.collect::<String>());
        assert!(toml::from_str::<TimedEvent>(&event).is_ok(), "{event}");
    }
    assert_eq!(every, expected("[[event]]\nzzz = 1"));
}

trait ParseKind {
    fn parse_kind(&self) -> events::Kind;
}

impl ParseKind for String {
    fn parse_kind(&self) -> events::Kind {
        #[derive(Deserialize)]
        struct One {
            kind: events::Kind,
        }
        toml::from_str::<One>(&format!("kind = \"{self}\"")).expect("an event").kind
    }
}

#[test]
fn the_documented_example_comes_out_as_it_says() {
    let (_, after) = REFERENCE.split_once("```toml\n").expect("an example");
    let (example, _) = after.split_once("```").expect("its end");
    let scenario = Scenario::parse(example).unwrap();
    let verdict = scenario.run(scenario.seed, None).unwrap();
    assert!(verdict.failures.is_empty(), "{:?}", verdict.failures);
    let summary = verdict.summary.to_string();
    assert!(summary.contains("m9 at 20.000s: suspected after"), "{summary}");
}

#[test]
fn a_cut_that_no_other_member_bridges_is_a_split() {
    let side_of = |nodes, only_datagrams| {
        let (from, to) = (Who::these(vec![0]), Who::these(vec![1]));
        let cut = Event::Cut { from, to, only_datagrams, lasts: Span(secs(1)) };
        match cut.faults(0, nodes, Instant::START).remove(0) {
            (_, Fault::Lose { side_of, .. }) => side_of,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(side_of(2, false), [1, 2]);
    assert!(side_of(3, false).is_empty(), "the third passes on what it hears");
    assert!(side_of(2, true).is_empty(), "streams pass");
}

#[test]
fn a_scenario_in_which_members_were_to_publish_and_nothing_was_fails() {
    let publish = |who: &str, at: &str| {
        let event = format!(
            "[[event]]\nat = \"{at}\"\ndo = \"publish\"\nwho = \"{who}\"\nbytes = 10\n\n[expect]"
        );
        let verdict = changed("[expect]", &event).unwrap().run(1, None).unwrap();
        verdict.failures.iter().any(|failure| failure.contains("no message was published"))
    };
    assert!(!publish("1", "10s"));
    assert!(!publish("9", "40s"), "its process does not run");
    assert!(publish("", "10s"), "nobody was to publish");
}
