//! Deaths and pauses of processes and hosts, and the time until they are known.

use std::time::SystemTime;

use rustix::process::Signal;

use crate::{cluster::Cluster, lan::Family, node::moment};

#[test]
fn a_silent_host_a_killed_and_a_stopped_process_are_told_apart() {
    // In the 0.3 s of the profile, a busy machine does not always answer for a process that is stopped.
    let settings = ["--profile", "local", "--pause-tolerance", "1s"];
    let Some(mut cluster) = Cluster::start(Family::V4, 5, &settings) else { return };
    cluster.lan.lift_refusal_quota();
    a_killed_process_is_gone(&mut cluster);
    a_stopped_process_hangs(&cluster);
    a_silent_host_dies_of_silence(&cluster);
    a_stopped_process_that_is_killed_is_gone(&mut cluster);
}

#[test]
fn a_process_killed_as_another_leaves_is_gone() {
    let Some(mut cluster) = Cluster::start(Family::V6, 8, &["--profile", "local"]) else { return };
    let (mark, others) = (cluster.mark(), cluster.all_but(&[4, 6, 7]));
    // Updates are sent to ports that no process has any more.
    cluster.node_mut(4).kill();
    cluster.node(7).signal(Signal::TERM);
    cluster.node_mut(6).kill();
    for killed in [4, 6] {
        for dead in cluster.await_event(&others, "dead", killed, &mark) {
            assert_eq!(dead["silence"], "gone", "{dead}");
        }
    }
    cluster.assert_never(&others, "dead", &others, &mark);
    cluster.assert_never(&others, "dead", &[7], &mark);
}

/// The pause is many times as long as the pause tolerance.
fn a_stopped_process_hangs(cluster: &Cluster) {
    let (mark, others) = (cluster.mark(), cluster.all_but(&[3, 4]));
    cluster.node(3).signal(Signal::STOP);
    await_suspect(cluster, &others, 3);
    // tidy: allow sleep: the pause itself is what is tested
    std::thread::sleep(std::time::Duration::from_secs(7));
    for &other in &others {
        let why = cluster.json(other, "/v1/members/n3/why");
        assert_eq!(why["suspicion"]["silence"], "hung", "{why}");
    }
    cluster.node(3).signal(Signal::CONT);
    cluster.node(3).log("this node did not run");
    cluster.until("considering n3 alive", &others, |other| state(cluster, other, 3) == "alive");
    let all = cluster.all_but(&[4]);
    cluster.assert_never(&all, "dead", &all, &mark);
}

fn a_silent_host_dies_of_silence(cluster: &Cluster) {
    let (mark, others, cut_at) = (cluster.mark(), cluster.all_but(&[4, 5]), SystemTime::now());
    cluster.lan.split(&[5]);
    for dead in cluster.await_event(&others, "dead", 5, &mark) {
        assert_eq!(dead["silence"], "silent", "{dead}");
        let after = moment(&dead).duration_since(cut_at).unwrap();
        assert!(after >= PAUSE_TOLERANCE, "{after:?}: {dead}");
    }
    cluster.node(5).event(0, "isolated", |line| line["event"] == "isolated");
    assert_eq!(cluster.get(5, "/readyz").0, 503);
    cluster.assert_never(&others, "dead", &others, &mark);
    cluster.assert_never(&[5], "dead", &others, &mark);
    let healed = cluster.mark();
    cluster.lan.heal();
    cluster.await_event(&others, "alive", 5, &healed);
    cluster.node(5).event(0, "reconnected", |line| line["event"] == "reconnected");
    cluster.assert_never(&others, "dead", &others, &mark);
}

fn a_killed_process_is_gone(cluster: &mut Cluster) {
    let (mark, others) = (cluster.mark(), cluster.all_but(&[4]));
    cluster.node_mut(4).kill();
    for dead in cluster.await_event(&others, "dead", 4, &mark) {
        assert_eq!(dead["silence"], "gone", "{dead}");
    }
    cluster.assert_never(&others, "dead", &others, &mark);
}

fn a_stopped_process_that_is_killed_is_gone(cluster: &mut Cluster) {
    let (mark, others) = (cluster.mark(), cluster.all_but(&[3, 4]));
    cluster.node(3).signal(Signal::STOP);
    await_suspect(cluster, &others, 3);
    cluster.node_mut(3).kill();
    for dead in cluster.await_event(&others, "dead", 3, &mark) {
        assert_eq!(dead["silence"], "gone", "{dead}");
    }
}

/// Waits until these consider a member suspect. A node that was starved of its processor reports one suspicion of a
/// member in a minute, so there may be no event.
fn await_suspect(cluster: &Cluster, by: &[usize], subject: usize) {
    cluster.until("suspecting it", by, |number| state(cluster, number, subject) == "suspect");
}

fn state(cluster: &Cluster, number: usize, of: usize) -> serde_json::Value {
    cluster.json(number, &format!("/v1/members/n{of}/why"))["member"]["state"].clone()
}

/// The pause tolerance of the first test.
const PAUSE_TOLERANCE: std::time::Duration = std::time::Duration::from_secs(1);
