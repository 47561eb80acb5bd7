use std::{fs, time::Instant};

use phin::{Query, QueryOutcome};

use super::{counters::Counts, *};
use crate::program::tests::{PATIENCE, fifo, shell, text_until_closed, written};

async fn cluster() -> Cluster {
    let key = phin::ClusterKey::generate();
    Cluster::builder().name("n1").key(key).start().await.unwrap()
}

fn topic() -> Topic {
    "disk/free".parse().unwrap()
}

/// Answers with this script for the shell, whose `$0` is the argument.
fn answers(cluster: &Cluster, script: &str, argument: &str, limit: Duration) -> Answers {
    let program = shell(script, &[argument]);
    Answers::start([Answer { topic: topic(), program }], limit, cluster)
}

/// The answer of the only member.
async fn asked(cluster: &Cluster, question: &[u8], within: Duration) -> QueryOutcome {
    let query = Query::new(&topic(), question).timeout(within);
    cluster.query(query).await.unwrap().next().await.unwrap().outcome
}

#[tokio::test]
async fn the_output_of_a_program_is_the_reply() {
    let cluster = cluster().await;
    let script = "cat; printf ' %s' $PHIN_TOPIC $PHIN_FROM $PHIN_FROM_ID";
    let answers = answers(&cluster, script, "", PATIENCE);
    let expected = format!("\u{fffd}/var disk/free n1 {}", cluster.id());
    let QueryOutcome::Reply(reply) = asked(&cluster, b"\xff/var", PATIENCE).await else {
        panic!("it replies");
    };
    assert_eq!(String::from_utf8_lossy(&reply), expected);
    let counts = answers.counters[0].counts();
    assert_eq!(counts, Counts { runs: 1, ..Counts::default() });
}

#[tokio::test]
async fn what_is_no_reply_is_refused_and_counted() {
    let cluster = cluster().await;
    let directory = tempfile::tempdir().unwrap();
    let gone = directory.path().join("gone");
    fs::copy("/bin/sh", &gone).unwrap();
    let gone_program = Program::new(gone.to_str().unwrap()).unwrap();
    fs::remove_file(gone).unwrap();
    let longest = QueryOutcome::Reply([0; MAX_REPLY_BYTES].as_slice().into());
    let one = Counts { runs: 1, ..Counts::default() };
    for (program, expected, counts) in [
        (shell("head -c 65536 /dev/zero", &[]), longest, one),
        (
            shell("head -c 65537 /dev/zero", &[]),
            QueryOutcome::Refused,
            Counts { too_long: 1, ..one },
        ),
        (shell("echo no; exit 3", &[]), QueryOutcome::Refused, Counts { refused: 1, ..one }),
        (gone_program, QueryOutcome::Refused, Counts { not_run: 1, ..one }),
    ] {
        let answers = Answers::start([Answer { topic: topic(), program }], PATIENCE, &cluster);
        assert_eq!(asked(&cluster, b"", PATIENCE).await, expected);
        assert_eq!(answers.counters[0].counts(), counts);
    }
}

#[tokio::test]
async fn a_program_has_its_own_time_and_that_of_the_query() {
    let cluster = cluster().await;
    let short = Duration::from_millis(50);
    for (limit, within, expected) in
        [(short, PATIENCE, QueryOutcome::Refused), (PATIENCE, short, QueryOutcome::TimedOut)]
    {
        let answers = answers(&cluster, "sleep 1000", "", limit);
        assert_eq!(asked(&cluster, b"", within).await, expected);
        let expected = Counts { runs: 1, timed_out: 1, ..Counts::default() };
        let started = Instant::now();
        while answers.counters[0].counts() != expected {
            assert!(started.elapsed() < PATIENCE, "{:?}", answers.counters[0].counts());
            tokio::task::yield_now().await;
        }
    }
}

/// Hangs with a child process that hangs, too.
const HANG: &str = "exec 3>$0; sleep 1000 & echo >&3; sleep 1000";

#[tokio::test]
async fn the_end_of_the_node_kills_the_programs() {
    let cluster = cluster().await;
    let directory = tempfile::tempdir().unwrap();
    let held = fifo(&directory, "held");
    let mut answers = answers(&cluster, HANG, &held, PATIENCE);
    let outcome = asked(&cluster, b"", PATIENCE);
    let killed = async {
        let held = written(&held).await;
        answers.kill().await;
        held
    };
    let (outcome, held) = tokio::join!(outcome, killed);
    assert_eq!(outcome, QueryOutcome::Refused);
    text_until_closed(held);
    let expected = Counts { runs: 1, timed_out: 1, ..Counts::default() };
    assert_eq!(answers.counters[0].counts(), expected, "none is running any more");
}
