//! Reports are whole, and shares of a sweep give the same as the sweep.

use phin_sim::{
    Conditions, DataCase, Experiment, GrayCase, Job, LeaderCase, LiarCase, MassCase, MessageCase,
    Point, ProtocolKind, RapidCase, SampleLine, Shard, StallCase, cores, reports, run_jobs,
};

fn written(lines: &[SampleLine], folder: &std::path::Path) -> Vec<String> {
    let pages = reports(lines, "phin-sim", true).into_iter();
    let write = |page: phin_sim::Page| {
        std::fs::write(folder.join(&page.name), page.text).expect("the folder is there");
        page.name
    };
    pages.map(write).collect()
}

fn jobs() -> Vec<Job> {
    let mut jobs = Vec::new();
    for protocol in [ProtocolKind::Phin, ProtocolKind::Lifeguard] {
        for n in [8.0, 16.0] {
            let point = Point::default()
                .with("n", n)
                .with("loss", 0.0)
                .with("kills", 1.0)
                .with("kill", 0.0);
            for seed in 1..=3 {
                let experiment = Experiment::Detection;
                jobs.push(Job {
                    experiment,
                    protocol,
                    point: point.clone(),
                    seed,
                    conditions: Conditions::default(),
                });
            }
        }
    }
    jobs
}

#[test]
fn shares_joined_are_the_whole() {
    let whole = run_jobs(jobs(), Shard::WHOLE, cores()).unwrap();
    let mut joined: Vec<SampleLine> = Vec::new();
    for index in 0..3 {
        let lines = run_jobs(jobs(), Shard { index, of: 3 }, 1).unwrap();
        joined.extend(lines.iter().map(|line| line.to_string().parse::<SampleLine>().unwrap()));
    }
    let sorted = |lines: &[SampleLine]| {
        let mut text: Vec<_> = lines.iter().map(SampleLine::to_string).collect();
        text.sort();
        text
    };
    assert_eq!(sorted(&whole), sorted(&joined));

    let folder = tempfile::tempdir().unwrap();
    let files = written(&whole, folder.path());
    let expected = [
        "detection.csv",
        "detection-first.svg",
        "detection-all.svg",
        "detection-load.svg",
        "detection.md",
    ];
    assert_eq!(files, expected);
    let csv = std::fs::read_to_string(folder.path().join("detection.csv")).unwrap();
    let heading = "protocol,n,loss,kills,first_p50_ms,first_p99_ms,all_p50_ms,all_p99_ms,all_max_ms,\
                   messages_per_member_s,bytes_per_member_s,false_positives,killed";
    assert_eq!(csv.lines().next(), Some(heading));
    assert_eq!(csv.lines().count(), 5);
    let plot = std::fs::read_to_string(folder.path().join("detection-first.svg")).unwrap();
    assert!(plot.contains("<svg") && plot.contains("members") && plot.contains("expected"));
}

#[test]
fn calm_and_distribution_have_pages_with_what_was_measured() {
    let at = |n: f64| Point::default().with("n", n).with("loss", 0.0);
    let job = |experiment, protocol, point| Job {
        experiment,
        protocol,
        point,
        seed: 1,
        conditions: Conditions::default(),
    };
    let mut jobs: Vec<_> =
        ProtocolKind::CALM.map(|protocol| job(Experiment::Calm, protocol, at(8.0))).into();
    jobs.extend([0.0, 1.0, 2.0].map(|kind| {
        let point = at(8.0).with("kills", 2.0).with("kill", kind);
        job(Experiment::Distribution, ProtocolKind::Phin, point)
    }));
    let folder = tempfile::tempdir().unwrap();
    let lines = run_jobs(jobs, Shard::WHOLE, cores()).unwrap();
    let files = written(&lines, folder.path());
    let expected = ["distribution.csv", "distribution.svg", "distribution.md"];
    assert_eq!(files[..3], expected);
    let read = |file: &str| std::fs::read_to_string(folder.path().join(file)).unwrap();
    assert_eq!(read("distribution.csv").lines().count(), 4);
    let calm = read("calm.csv");
    let messages = |line: &str| line.split(',').nth(4).unwrap().parse::<f64>().unwrap();
    let messages: Vec<_> = calm.lines().skip(1).map(messages).collect();
    let halves = messages.windows(2).all(|pair| (1.8..2.2).contains(&(pair[0] / pair[1])));
    assert!(messages.len() == 4 && halves, "each saves half of the one before: {messages:?}");
}

#[test]
fn what_survivors_did_not_learn_in_time_is_shown_as_a_lower_bound() {
    let line = |survivors: u32, all: &str, unknown: u32| -> [SampleLine; 2] {
        let at = format!("survivors,phin,kill=0 n=32 survivors={survivors},1");
        [format!("{at},all,{all}"), format!("{at},unknown,{unknown}")].map(|l| l.parse().unwrap())
    };
    let lines = [line(2, "300000", 7), line(8, "5000.5", 0)].concat();
    let folder = tempfile::tempdir().unwrap();
    let files = written(&lines, folder.path());
    assert_eq!(files, ["survivors.csv", "survivors.svg", "survivors.md"]);
    let read = |file: &str| std::fs::read_to_string(folder.path().join(file)).unwrap();
    let page = read("survivors.md");
    assert!(page.contains("| 2 | 1 | ≥ 300.00 s | ≥ 300.00 s | 1 |"), "{page}");
    assert!(page.contains("| 8 | 1 | 5.00 s | 5.00 s | 0 |"), "{page}");
    assert_eq!(read("survivors.svg").matches('≥').count(), 1);
}

#[test]
fn plots_are_drawn_again_from_the_csv() {
    let text = |pages: &[phin_sim::Page], name: &str| {
        pages.iter().find(|page| page.name == name).map(|page| page.text.clone()).unwrap()
    };
    let lines = run_jobs(jobs(), Shard::WHOLE, cores()).unwrap();
    let pages = reports(&lines, "phin-sim detect", true);
    let (csv, page) = (text(&pages, "detection.csv"), text(&pages, "detection.md"));
    let older = page.replace("![Time until", "![another title");
    let (again, shown) = phin_sim::illustrate(Experiment::Detection, &csv, &older, true);
    assert_eq!(again.len(), 3);
    for plot in &again {
        assert_eq!(plot.text, text(&pages, &plot.name), "{}", plot.name);
    }
    assert_eq!(shown, page);
}

#[test]
fn pauses_of_processes_and_hosts_are_panels_of_their_own() {
    let line = |host: u32, seconds: u32, declared: u32| {
        let at = format!("pause,phin,host={host} n=64 seconds={seconds},1");
        format!("{at},declared,{declared}").parse::<SampleLine>().unwrap()
    };
    let lines = [line(0, 1, 0), line(0, 10, 0), line(1, 1, 0), line(1, 10, 1)];
    let pages = reports(&lines, "phin-sim sweep pause", true);
    let svg = &pages.iter().find(|page| page.name == "pause.svg").unwrap().text;
    for expected in ["A process is paused", "A host is paused", "64 members; 1 runs"] {
        assert!(svg.contains(expected), "{expected}");
    }
}

#[test]
fn survivors_learn_of_deaths() {
    let point = Point::default().with("n", 8.0).with("kill", 1.0).with("survivors", 4.0);
    let (experiment, protocol) = (Experiment::Survivors, ProtocolKind::Phin);
    let lines = run_jobs(
        vec![Job { experiment, protocol, point, seed: 1, conditions: Conditions::default() }],
        Shard::WHOLE,
        1,
    )
    .unwrap();
    let sum = |metric: &str| {
        let found = lines.iter().find(|line| line.metric == metric);
        found.map(|line| line.values.iter().sum::<f64>())
    };
    assert!(sum("all").is_some_and(|all| all > 0.0 && all < 300_000.0));
    assert_eq!(sum("unknown"), Some(0.0));
    assert_eq!(sum("survivor_seconds").map(|seconds| seconds > 0.0), Some(true));
}

#[test]
fn what_liars_achieve_is_shown_by_their_number() {
    let line =
        |liars: u32, signed: u32, (case, kill): (LiarCase, u32), metric: &str, value: f64| {
            let case = case as u8;
            let at = format!("case={case} kill={kill} liars={liars} loss=0.01 n=16 observers=6");
            let line = format!("liars,phin,{at} signed={signed},1,{metric},{value}");
            line.parse::<SampleLine>().unwrap()
        };
    let mut lines = Vec::new();
    for (liars, missing, known) in [(0, 0.0, 600.0), (3, 2.5, 29_000.0), (4, 12.5, 60_000.0)] {
        for signed in 0..2 {
            let achieved = f64::from(u8::from(signed == 0 || liars > 3));
            let accused = (LiarCase::SignedVerdict, 0);
            lines.push(line(liars, signed, accused, "missing_mean", achieved * missing));
            lines.push(line(liars, signed, accused, "missing_worst", achieved * 2.0 * missing));
            lines.push(line(liars, signed, accused, "false_deaths", achieved * 7.0));
            // A lie that achieves less does not hide it.
            let weak = (LiarCase::Suspect, 0);
            lines.push(line(liars, signed, weak, "missing_mean", 0.0));
            lines.push(line(liars, signed, weak, "missing_worst", 0.0));
            lines.push(line(liars, signed, weak, "false_deaths", 0.0));
            let hidden = (LiarCase::Clear, 1);
            lines.push(line(liars, signed, hidden, "known", 600.0 + achieved * (known - 600.0)));
            lines.push(line(liars, signed, hidden, "false_deaths", 0.0));
        }
    }
    let pages = reports(&lines, "phin-sim sweep liars", true);
    let page = |name: &str| &pages.iter().find(|page| page.name == name).unwrap().text;
    let text = page("liars.md");
    for expected in [
        "## 16 members, 6 observers, 1 % of packets lost",
        "A majority are 4 liars. 1 runs in each cell.",
        "| 3 | 2.5 % | 5.0 % | 7 | 0 | 0 | 0 |",
        "| **4** | **12.5 %** | **25.0 %** | **7** | **12.5 %** | **25.0 %** | **7** |",
        "| liars of 6 | signed-verdict | suspect |",
        "| 3 | 2.5 % / 0 | 0 / 0 |",
        "| 3 | 29.00 s | 29.00 s | 600 ms | 600 ms |",
        "| **4** | **≥ 60 s** | **≥ 60 s** | **≥ 60 s** | **≥ 60 s** |",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert!(!text.contains("A host dies"));
    let csv = page("liars.csv");
    assert!(csv.contains("16,6,4,0.01,clear,process,3,off,1,–,–,0,0,29000.0,29000.0\n"), "{csv}");
    let svg = page("liars.svg");
    for expected in ["A living member is accused", "A process dies", "16 members", "votes signed"] {
        assert!(svg.contains(expected), "{expected}");
    }
}

#[test]
fn data_is_compared_with_chitchats() {
    let (protocols, cases) = (
        [ProtocolKind::Phin, ProtocolKind::Chitchat],
        [DataCase::Change, DataCase::Heal, DataCase::Newcomer, DataCase::HostLoaded],
    );
    let jobs = protocols.iter().flat_map(|&protocol| {
        let cases = &cases[..if protocol == ProtocolKind::Phin { 4 } else { 3 }];
        cases.iter().map(move |&case| {
            let point = Point::default().with("n", 16.0).with("case", f64::from(case as u8));
            let (point, experiment) = (point.with("kills", 2.0), Experiment::Data);
            Job { experiment, protocol, point, seed: 1, conditions: Conditions::default() }
        })
    });
    let lines = run_jobs(jobs.collect(), Shard::WHOLE, cores()).unwrap();
    let mean = |protocol: ProtocolKind, case: DataCase, metric: &str| {
        let found = lines.iter().find(|line| {
            let is_case = line.point.get("case") == f64::from(case as u8);
            line.protocol == protocol.as_str() && is_case && line.metric == metric
        });
        let values = &found.unwrap_or_else(|| panic!("{protocol} {case:?} {metric}")).values;
        values.iter().sum::<f64>() / values.len() as f64
    };
    let phin = |case, metric| mean(ProtocolKind::Phin, case, metric);
    // Each member but the owner receives the change once.
    let changes = phin(DataCase::Change, "change_bytes") / 200.0;
    assert!((1.0..2.0).contains(&changes), "{changes}");
    assert_eq!(phin(DataCase::Change, "fingerprint_bytes"), 10.0);
    for case in [DataCase::Change, DataCase::Heal, DataCase::Newcomer] {
        let (ours, theirs) = (phin(case, "known"), mean(ProtocolKind::Chitchat, case, "known"));
        // After a split, phin must first find the members of the other side again.
        let is_sooner = ours < theirs || case == DataCase::Heal;
        assert!(0.0 < ours && ours < 10_000.0 && is_sooner, "{case:?}: {ours} and {theirs}");
        assert!(theirs < 30_000.0, "chitchat's data arrives: {theirs}");
    }
    let pages = reports(&lines, "phin-sim sweep data", true);
    let text = &pages.iter().find(|page| page.name == "data.md").unwrap().text;
    for expected in ["A change of 200 bytes", "After a split", "A newcomer", "Deaths while"] {
        assert!(text.contains(expected), "{expected}");
    }
}

#[test]
fn messages_are_compared_with_flooding_and_gossip() {
    let job = |protocol, case: MessageCase| {
        let point = Point::default().with("n", 24.0).with("case", f64::from(case as u8));
        let (point, experiment) = (point.with("kills", 1.0), Experiment::Messages);
        Job { experiment, protocol, point, seed: 1, conditions: Conditions::default() }
    };
    let jobs = vec![
        job(ProtocolKind::Phin, MessageCase::Ten),
        job(ProtocolKind::Phin, MessageCase::Deaths),
        job(ProtocolKind::Phin, MessageCase::Spaced),
        job(ProtocolKind::Flood, MessageCase::Spaced),
        job(ProtocolKind::Serf, MessageCase::Spaced),
    ];
    let lines = run_jobs(jobs, Shard::WHOLE, cores()).unwrap();
    let mean = |protocol: ProtocolKind, case: MessageCase, metric: &str| {
        let found = lines.iter().find(|line| {
            let is_case = line.point.get("case") == f64::from(case as u8);
            line.protocol == protocol.as_str() && is_case && line.metric == metric
        });
        let values = &found.unwrap_or_else(|| panic!("{protocol} {case:?} {metric}")).values;
        values.iter().sum::<f64>() / values.len() as f64
    };
    let phin = |case, metric| mean(ProtocolKind::Phin, case, metric);
    let (first, steady) =
        (phin(MessageCase::Ten, "rmr_first"), phin(MessageCase::Ten, "rmr_steady"));
    assert!(first > 2.0 && steady.abs() < 0.05, "{first}, then {steady}");
    assert_eq!(phin(MessageCase::Deaths, "lacking"), 0.0);
    let spaced = |protocol, metric| mean(protocol, MessageCase::Spaced, metric);
    // Each of 24 members has eight next ones, or a few less, and sends nothing back.
    let flooded = spaced(ProtocolKind::Flood, "rmr");
    assert!((4.0..7.0).contains(&flooded), "{flooded}");
    // Two rounds of gossip at least, at 200 ms.
    let gossiped = spaced(ProtocolKind::Serf, "all");
    assert!((200.0..3_000.0).contains(&gossiped), "{gossiped} ms");
    assert!(spaced(ProtocolKind::Phin, "all") < 20.0);
    let pages = reports(&lines, "phin-sim sweep messages", true);
    let text = &pages.iter().find(|page| page.name == "messages.md").unwrap().text;
    for expected in ["Bursts", "Cost of bursts", "in three ways", "| serf | 24 |"] {
        assert!(text.contains(expected), "{expected}");
    }
}

#[test]
fn an_office_is_followed_up_sooner_if_its_holder_gives_it_up() {
    let job = |case: LeaderCase| {
        let point = Point::default().with("n", 3.0).with("case", f64::from(case as u8));
        let (protocol, experiment) = (ProtocolKind::Phin, Experiment::Leadership);
        Job { experiment, protocol, point, seed: 1, conditions: Conditions::default() }
    };
    let jobs = vec![job(LeaderCase::Killed), job(LeaderCase::Leaves)];
    let lines = run_jobs(jobs, Shard::WHOLE, cores()).unwrap();
    let next = |case: LeaderCase| {
        let is_case = |line: &&SampleLine| line.point.get("case") == f64::from(case as u8);
        let found = lines.iter().filter(is_case).find(|line| line.metric == "next");
        found.unwrap_or_else(|| panic!("{case:?}: {lines:?}")).values[0]
    };
    assert!((1_400.0..4_000.0).contains(&next(LeaderCase::Killed)), "{lines:?}");
    assert!(next(LeaderCase::Leaves) < 500.0, "{lines:?}");
    let pages = reports(&lines, "phin-sim sweep leadership", true);
    let text = &pages.iter().find(|page| page.name == "leadership.md").unwrap().text;
    for expected in ["process killed | 3 | 1", "leaves | 3 | 1"] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
}

#[test]
fn stalls_are_shown_by_case() {
    let line = |case: StallCase, metric: &str, values: &str| {
        let at = format!("stalls,phin,case={} kills=4 n=32,1", case as u8);
        format!("{at},{metric},{values}").parse::<SampleLine>().unwrap()
    };
    let mut lines = Vec::new();
    for (case, all) in [(StallCase::Long, "4100;8900"), (StallCase::Short, "1500;120000")] {
        lines.extend([
            line(case, "first", "1250.5;1300"),
            line(case, "all", all),
            line(case, "unnoticed", "1"),
            line(case, "early_messages", "2800"),
            line(case, "early_seconds", "960"),
            line(case, "messages", "4800"),
            line(case, "seconds", "960"),
            line(case, "busy_messages", "7200"),
            line(case, "busy_seconds", "720"),
            line(case, "wrongly_dead", "2"),
            line(case, "false_positives", "40"),
            line(case, "false_suspicions", "14"),
            line(case, "lived", "1680"),
        ]);
    }
    let pages = reports(&lines, "phin-sim sweep stalls", true);
    let page = |name: &str| &pages.iter().find(|page| page.name == name).unwrap().text;
    let text = page("stalls.md");
    let short = "| 50–200 ms | phin | 32 | 2 | 1.25 s | 1.30 s | 1.50 s | 120.00 s | 1 | 2.9 | 5.0 | 10.0 | 2 | 0.50 |\n";
    assert!(text.contains(&format!("{short}| 300–500 ms | phin | 32 | 2 |")), "{text}");
    let csv = page("stalls.csv");
    assert!(
        csv.contains("\nlong,phin,32,2,1250.5,1300.0,4100.0,8900.0,1,2.9,5.0,10.0,2,0.50\n"),
        "{csv}"
    );
}

#[test]
fn many_deaths_and_splits_are_tables_of_their_own() {
    let line = |case: MassCase, seed: u32, metric: &str, values: &str| {
        let at = format!("mass,phin,case={} n=128,{seed}", case as u8);
        format!("{at},{metric},{values}").parse::<SampleLine>().unwrap()
    };
    let mut lines = Vec::new();
    for seed in [1, 2] {
        for case in [MassCase::Split, MassCase::Half] {
            lines.push(line(case, seed, "first_load", "11"));
            lines.push(line(case, seed, "load", &format!("{}", 20 * seed)));
            lines.push(line(case, seed, "worst_load", &format!("{}", 50 * seed)));
            lines.push(line(case, seed, "false_positives", "3"));
        }
        lines.push(line(MassCase::Half, seed, "first", "1000"));
        lines.push(line(MassCase::Half, seed, "all", "2000;3000"));
        lines.push(line(MassCase::Half, seed, "last", "3000"));
        lines.push(line(MassCase::Split, seed, "removed", "75"));
        lines.push(line(MassCase::Split, seed, "whole", if seed == 1 { "900" } else { "120000" }));
    }
    let pages = reports(&lines, "phin-sim sweep mass", true);
    let page = |name: &str| &pages.iter().find(|page| page.name == name).unwrap().text;
    let text = page("mass.md");
    for expected in [
        "| half die | phin | 128 | 2 | 1.00 s | 2.00 s | 3.00 s | 3.00 s | 11.0 | 30.0 | 100.0 | 6 |",
        "| split | phin | 128 | 2 | 75 | 900 ms | ≥ 120.00 s | 11.0 | 30.0 | 100.0 | 6 |",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let csv = page("mass.csv");
    let half = "half,phin,128,2,1000.0,2000.0,3000.0,3000.0,–,–,–,11.0,30.0,100.0,6\n";
    assert!(csv.contains(half), "{csv}");
}

/// The lines that two runs of a member in trouble have in common.
fn of_trouble(experiment: &str, case: u8) -> Vec<SampleLine> {
    let line = |seed: u32, metric: &str, values: &str| {
        let at = format!("{experiment},phin,case={case} n=128,{seed}");
        format!("{at},{metric},{values}").parse::<SampleLine>().expect("a sample")
    };
    let each = |seed: u32| {
        let metrics = [
            ("degraded_first", "2500"),
            ("degraded_observers", if seed == 1 { "9000" } else { "120000" }),
            ("degraded_all", "120000"),
            ("flaps", "1.5"),
            ("healthy_degraded", "0"),
            ("removed", if seed == 1 { "3" } else { "5" }),
            ("verdicts", "40"),
            ("gray", "2"),
            ("gray_removed", "1"),
            ("gray_removed_after", "21000"),
            ("gray_removals", "0.5"),
            ("known", "1500;2500"),
            ("newcomers_gray", "120000"),
            ("newcomers_healthy", "640"),
            ("early_suspicions", "225"),
            ("late_suspicions", "7"),
            ("messages", "46080"),
            ("seconds", "15360"),
            ("load", "20"),
            ("worst_load", "60"),
            ("last_load", "4"),
        ];
        metrics.map(|(metric, values)| line(seed, metric, values))
    };
    [each(1), each(2)].concat()
}

#[test]
fn members_in_trouble_and_the_others_are_tables_of_their_own() {
    let lines = of_trouble("gray", GrayCase::NoConnections as u8);
    let pages = reports(&lines, "phin-sim sweep gray", true);
    let page = |name: &str| &pages.iter().find(|page| page.name == name).unwrap().text;
    let text = page("gray.md");
    let about = "| no new connections | phin | 128 | 2 | 2 |";
    for expected in [
        // The median of two is the first of them.
        format!("{about} 2.50 s | 9.00 s | – | 1.50 | 2 of 4 | 21.00 s | 0.50 |"),
        format!("{about} 3–5 | 80 | 0 | 225 | 7 | 3.0 | 20.0 | 4.0 | 60.0 | 640 ms | – |"),
    ] {
        assert!(text.contains(&expected), "{expected}: {text}");
    }
    let csv = page("gray.csv");
    let line = "no-connections,phin,128,2,2,2500.0,9000.0,–,1.50,2 of 4,21000.0,0.50,3–5,80,0,225,7,\
                3.0,20.0,4.0,60.0,640.0,–\n";
    assert!(csv.contains(line), "{csv}");
}

#[test]
fn rapids_experiments_are_shown_with_healthy_members_removed() {
    let lines = of_trouble("rapid", RapidCase::Crashes as u8);
    let pages = reports(&lines, "phin-sim sweep rapid", true);
    let text = &pages.iter().find(|page| page.name == "rapid.md").unwrap().text;
    let line =
        "| crash | phin | 128 | 2 | 2 | 3–5 | 80 | 2.50 s | 2 of 4 | 0.50 | 9.00 s | 3.0 | 60.0 |";
    assert!(text.contains(line), "{text}");
}
