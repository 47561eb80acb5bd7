//! The reports of a node to the service manager that started it: that it runs, its state in a line, and signs of life for the
//! watchdog.

use std::{sync::Arc, time::Duration};

use phin::{Cluster, MemberState, ServingState, Stopped};
use tokio::{sync::watch, time::sleep};

use crate::{http::Stage, supervisor::Supervisor};

/// Reports that the node runs, and from then on its state and signs of life, until the node has stopped.
///
/// "Ready" means that the node runs: it is bound, has its identity, and answers. It does not mean that it has joined. A machine
/// that starts while no other is reached must keep its node, which joins as soon as it can; so the state says how far it is.
pub(super) async fn report(
    supervisor: Arc<Supervisor>,
    cluster: Cluster,
    stages: watch::Receiver<Stage>,
) {
    if !supervisor.is_there() {
        return;
    }
    let status = status(&cluster, *stages.borrow());
    supervisor.notify(&format!("READY=1\nSTATUS={status}")).await;
    let feed = async {
        if let Some(limit) = supervisor.watchdog() {
            feed(&supervisor, limit, || async { cluster.stats().await.map(drop) }).await;
        }
    };
    tokio::join!(report_status(&supervisor, &cluster, stages, status), feed);
}

/// Reports that the node stops.
pub(super) async fn stopping(supervisor: &Supervisor) {
    supervisor.notify("STOPPING=1\nSTATUS=leaving the cluster").await;
}

/// Feeds the watchdog each time that the task of the node has answered a question. While it does not answer, nothing is sent,
/// and the service manager ends the process.
async fn feed<Answer: Future<Output = Result<(), Stopped>>>(
    supervisor: &Supervisor,
    limit: Duration,
    answer: impl Fn() -> Answer,
) {
    // More often than the half of the limit that sd_watchdog_enabled(3) recommends, because an answer takes time as well.
    let interval = (limit / 4).max(MIN_FEED_INTERVAL);
    while answer().await.is_ok() {
        supervisor.notify("WATCHDOG=1").await;
        sleep(interval).await;
    }
}

/// Reports the state when it has changed, at most once per interval.
async fn report_status(
    supervisor: &Supervisor,
    cluster: &Cluster,
    mut stages: watch::Receiver<Stage>,
    mut reported: String,
) {
    loop {
        // Marked as seen before it is read, so that no change is missed.
        let stage = *stages.borrow_and_update();
        let version = cluster.members().version();
        let status = status(cluster, stage);
        if status != reported {
            supervisor.notify(&format!("STATUS={status}")).await;
            reported = status;
        }
        let changed = tokio::select! {
            changed = cluster.wait_until(|members| members.version() != version) => changed.is_ok(),
            changed = changed_connection(cluster) => changed.is_ok(),
            changed = stages.changed() => changed.is_ok(),
        };
        if !changed {
            return;
        }
        sleep(STATUS_INTERVAL).await;
    }
}

/// Waits until the node has joined, is isolated, or no longer is.
async fn changed_connection(cluster: &Cluster) -> Result<(), Stopped> {
    match (cluster.is_joined(), cluster.is_isolated()) {
        (_, true) => cluster.reconnected().await,
        (true, false) => cluster.isolated().await,
        (false, false) => tokio::select! {
            joined = cluster.joined() => joined,
            isolated = cluster.isolated() => isolated,
        },
    }
}

/// The state of the node in one line.
fn status(cluster: &Cluster, stage: Stage) -> String {
    if stage != Stage::Member {
        return "leaving the cluster".into();
    }
    if !cluster.is_joined() {
        return "not joined: no seed has admitted this node yet".into();
    }
    if cluster.is_isolated() {
        return "isolated: nothing is received from any other member".into();
    }
    let members = cluster.members();
    let count = |state| members.iter().filter(|member| member.state() == state).count();
    let [alive, suspect, dead] =
        [MemberState::Alive, MemberState::Suspect, MemberState::Dead].map(count);
    let serving = match members.me().serving() {
        ServingState::Serving => "",
        ServingState::Draining => "; draining",
        ServingState::NotServing(_) => "; not serving",
    };
    format!("joined: {alive} alive, {suspect} suspect, {dead} dead{serving}")
}

/// The shortest time between two signs of life.
const MIN_FEED_INTERVAL: Duration = Duration::from_millis(10);
/// The time between two reports of the state.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::{cell::Cell, future::pending, os::unix::net::UnixDatagram};

    use super::*;

    /// The number of datagrams that wait.
    fn received(socket: &UnixDatagram) -> usize {
        let mut buffer = [0; 64];
        std::iter::from_fn(|| socket.recv(&mut buffer).ok()).count()
    }

    #[tokio::test(start_paused = true)]
    async fn a_driver_that_does_not_answer_starves_the_watchdog() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        let limit = Duration::from_secs(2);
        let supervisor = Supervisor::at(&path, limit);
        let hangs = Cell::new(false);
        let answer = || async { if hangs.get() { pending().await } else { Ok(()) } };
        let mut fed = std::pin::pin!(feed(&supervisor, limit, answer));
        let mut pass = async |seconds| {
            // tidy: allow sleep: the clock is stopped, and jumps
            let passed = sleep(Duration::from_secs(seconds));
            tokio::select! { () = &mut fed => panic!("it ended"), () = passed => {} }
        };
        // One at once, and two each second.
        pass(3).await;
        assert!((6..=7).contains(&received(&socket)));
        hangs.set(true);
        pass(2).await;
        received(&socket);
        pass(60).await;
        assert_eq!(received(&socket), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_has_stopped_is_not_fed_for() {
        let supervisor = Supervisor::default();
        let fed = feed(&supervisor, Duration::from_secs(2), || async { Err(Stopped) });
        tokio::time::timeout(Duration::from_secs(60), fed).await.unwrap();
    }
}
