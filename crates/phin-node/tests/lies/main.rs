//! A member that holds the cluster key lies to sixteen nodes, each a process, over real sockets.

#![expect(clippy::unwrap_used, reason = "clippy takes only functions marked as tests for tests")]

mod cluster;
#[path = "../binary/harness.rs"]
#[expect(dead_code, reason = "the other tests use the rest")]
mod harness;
#[path = "../../examples/liar/liar.rs"]
mod liar;
#[path = "../../examples/liar/lie.rs"]
mod lie;

use std::{sync::Mutex, time::Duration};

use phin_swim::{Config, SignedVotes};
use rustix::process::Signal;

use crate::{cluster::Cluster, lie::Lie};

/// One cluster at a time has the machine.
static TURN: Mutex<()> = Mutex::new(());
/// The node that the first lie is about; each further lie is about the next one, which has refuted nothing yet.
const VICTIM: usize = 2;
/// Those that are killed.
const KILLED: (usize, usize) = (15, 16);
/// How many lies of each kind a node reads: all variants of each, for ten protocol periods.
const LIES: f64 = 40.0;

#[test]
fn no_lie_kills_where_votes_are_to_be_signed() {
    let _turn = TURN.lock();
    let cluster = start(SignedVotes::Require);
    for (lie, victim) in Lie::OF_DEATH.into_iter().zip(VICTIM..) {
        let told = cluster.all_but(&[victim]);
        cluster.lie(lie, victim);
        await_lies(&cluster, &told);
        assert_only_dead(&cluster, &[], lie);
        let has = |number: usize, counter: &str| cluster.metric(number, counter) > 0.0;
        match lie {
            Lie::Verdict => cluster.until("look for themselves", &told, |number| {
                has(number, "phin_swim_verdicts_unsigned_total")
            }),
            // Signatures are checked last, of votes that nothing else contradicts: not at each node.
            Lie::SignedVerdict => cluster.until("find forgeries", &told[..1], |_| {
                told.iter().any(|&number| has(number, "phin_swim_forged_votes_total"))
            }),
            _ => {}
        }
    }

    // Real deaths become known while the liar claims another, and while it claims that the dead member lives.
    let (first, second) = KILLED;
    cluster.lie(Lie::SignedVerdict, VICTIM);
    kill_and_await(&cluster, first, &cluster.all_but(&[first]));
    cluster.lie(Lie::Clear, second);
    let left = cluster.all_but(&[first, second]);
    await_lies(&cluster, &left);
    kill_and_await(&cluster, second, &left);

    assert_only_dead(&cluster, &[first, second], Lie::Clear);
}

#[test]
fn lies_kill_where_votes_need_no_signatures() {
    let _turn = TURN.lock();
    let cluster = start(SignedVotes::Off);
    cluster.lie(Lie::Verdict, VICTIM);
    cluster.until("is deceived", &[VICTIM], |victim| {
        let is_deceived = |number| cluster.deaths(number).contains(&format!("n{victim}"));
        cluster.all_but(&[victim]).into_iter().any(is_deceived)
    });
}

/// A fast but patient cluster: on a busy machine a node may not run for longer than the profile allows for.
fn start(mode: SignedVotes) -> Cluster {
    let mut config = Config::local();
    config.pause_tolerance = Duration::from_secs(1);
    Cluster::start(mode, &["--profile", "local", "--pause-tolerance", "1s"], config)
}

/// Waits until each of these has read so many lies more.
fn await_lies(cluster: &Cluster, by: &[usize]) {
    let before: Vec<_> = by.iter().map(|&number| cluster.lies_read(number)).collect();
    for (&number, before) in by.iter().zip(before) {
        cluster
            .until("read the lies", &[number], |number| cluster.lies_read(number) >= before + LIES);
    }
}

/// Kills a node, and waits until each of these knows.
fn kill_and_await(cluster: &Cluster, number: usize, by: &[usize]) {
    let name = format!("n{number}");
    assert!(
        by.iter().all(|&other| !cluster.deaths(other).contains(&name)),
        "{name} is dead before"
    );
    cluster.node(number).signal(Signal::KILL);
    cluster.until("know of the death", by, |other| cluster.deaths(other).contains(&name));
}

/// Fails if a node has found another one dead than these.
#[track_caller]
fn assert_only_dead(cluster: &Cluster, killed: &[usize], lie: Lie) {
    let killed: Vec<_> = killed.iter().map(|number| format!("n{number}")).collect();
    for number in cluster.all() {
        let deaths = cluster.deaths(number);
        let is_right = deaths.iter().all(|name| killed.contains(name));
        assert!(is_right, "{lie:?}: n{number} found dead {deaths:?}");
    }
}
