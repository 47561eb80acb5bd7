use std::time::Duration;

use super::{
    About, Node, Stage,
    counters::{COUNTERS, GAUGES, OFFICE_REFUSALS, REFUSALS, SENDS},
    metrics,
};
use crate::{
    answers::{Answer, Answers},
    hooks::{Hook, HookEvent, Hooks, Trigger},
    program::Program,
    run::ProgramCounters,
};

async fn cluster() -> phin::Cluster {
    phin::Cluster::builder().name("n1").key(phin::ClusterKey::generate()).start().await.unwrap()
}

/// The names before colons in what `Debug` shows of nested structs.
fn field_names(debug: &str) -> Vec<String> {
    debug
        .split([' ', '{', '}', ','])
        .filter_map(|word| word.strip_suffix(':'))
        .map(str::to_owned)
        .collect()
}

#[tokio::test]
async fn every_counter_has_a_metric() {
    let cluster = cluster().await;
    let stats = cluster.stats().await.unwrap();
    let shown: Vec<String> = COUNTERS
        .iter()
        .map(|counter| counter.name)
        .chain(GAUGES.iter().map(|(name, ..)| *name))
        .map(|name| name.split_once('_').unwrap().1)
        .chain(REFUSALS.iter().map(|(reason, _)| *reason))
        .chain(SENDS.iter().map(|(outcome, _)| *outcome))
        .chain(OFFICE_REFUSALS.iter().map(|(reason, _)| *reason))
        .chain(["office_refusals"])
        // These have names and places of their own.
        .chain(["swim", "transport", "driver", "refusals", "sends", "total_lag", "max_lag"])
        .map(str::to_owned)
        .collect();
    let names = field_names(&format!("{stats:?}"));
    assert!(names.len() > 50, "{names:?}");
    let missing: Vec<_> = names.iter().filter(|name| !shown.contains(name)).collect();
    assert!(missing.is_empty(), "no metric for {missing:?}");
    assert_eq!(names.len(), shown.len(), "a metric without a counter");
}

#[tokio::test]
async fn metrics_follow_the_conventions() {
    let cluster = cluster().await;
    let (events, topics) = (vec![HookEvent::Isolated], Vec::new());
    let trigger = Trigger { events, topics, filter: phin::Filter::default() };
    let hook = Hook { trigger, program: Program::new("/bin/sh").unwrap() };
    let hooks = Hooks::start(1, [hook], Duration::from_secs(1), &cluster);
    let about = About {
        cluster: "phin".into(),
        config: phin::Config::default(),
        http: "127.0.0.1:7647".into(),
        data_dir: None,
    };
    let node = Node::new(cluster, about, tokio::sync::watch::channel(Stage::Member).0);
    let answer =
        Answer { topic: "free".parse().unwrap(), program: Program::new("/bin/sh").unwrap() };
    let answers = Answers::start([answer], Duration::from_secs(1), &node.cluster);
    let node = node.with_programs(ProgramCounters::of(hooks.counters(), answers.counters()));
    let node = node.with_spans(Some(std::sync::Arc::default()));
    let text = metrics::text_of(metrics::Snapshot::of(&node).await.unwrap()).unwrap();
    assert!(text.ends_with("# EOF\n"));
    assert!(text.contains("phin_members{state=\"alive\"} 1"), "{text}");
    assert!(text.contains("phin_members{state=\"dead\"} 0"), "{text}");
    assert!(text.contains("phin_serving{state=\"serving\"} 1"), "{text}");
    assert!(text.contains("phin_members_serving{state=\"draining\"} 0"), "{text}");
    assert!(text.contains("\nphin_joined 1"), "{text}");
    assert!(text.contains("\nphin_isolated 0"), "{text}");
    assert!(text.contains("\nphin_converged 1"), "{text}");
    assert!(text.contains("\nphin_swim_pings_sent_total 0\n"), "{text}");
    assert!(text.contains("\nphin_transport_refusals_total{reason=\"wrong_key\"} 0\n"), "{text}");
    assert!(text.contains("\nphin_swim_sends_total{outcome=\"taken\"} 0\n"), "{text}");
    let hook = "hook=\"1\",program=\"/bin/sh\"";
    assert!(text.contains(&format!("\nphin_hook_runs_total{{{hook}}} 0\n")), "{text}");
    for reason in ["exit", "timeout", "start"] {
        let failures = format!("\nphin_hook_failures_total{{{hook},reason=\"{reason}\"}} 0\n");
        assert!(text.contains(&failures), "{text}");
    }
    let answer = "topic=\"free\",program=\"/bin/sh\"";
    assert!(text.contains(&format!("\nphin_answer_runs_total{{{answer}}} 0\n")), "{text}");
    for reason in ["exit", "too_long", "timeout", "start"] {
        let failures = format!("\nphin_answer_failures_total{{{answer},reason=\"{reason}\"}} 0\n");
        assert!(text.contains(&failures), "{text}");
    }
    let mut families = std::collections::BTreeSet::new();
    for line in text.lines().filter(|line| line.starts_with("# TYPE ")) {
        let mut words = line.split(' ').skip(2);
        let (name, kind) = (words.next().unwrap(), words.next().unwrap());
        assert!(name.starts_with("phin_") && families.insert(name.to_owned()), "{line}");
        assert!(text.contains(&format!("# HELP {name} ")), "{name}");
        let suffix = if kind == "counter" { "_total" } else { "" };
        let samples = |sample: &str| {
            sample.starts_with(&format!("{name}{suffix}"))
                || name.contains("probe")
                || name == "phin_phi"
        };
        assert!(text.lines().any(samples), "{name}");
    }
}
