//! Pings of a member by all paths, for an operator.

use std::time::Duration;

use phin_swim::{HostAnswer, MemberId, Operating, PathPing, PingOutcome, PingPath};

use crate::{Cluster, PingError, Stopped, command::PingAnswers};

/// The outcomes of a ping of a member by all paths ([`Cluster::ping`]).
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct PingReport {
    /// Each path, and the outcome by it: by datagram, by stream, then through other members.
    pub paths: Vec<PathPing>,
    /// The answer of the member's host, and after how long it came or was no longer waited for. `None` if hosts are not asked
    /// ([`Config::ask_hosts`](crate::Config::ask_hosts)).
    pub host: Option<(HostAnswer, Duration)>,
}

impl PingReport {
    /// Whether the member itself answered this node, by datagram or by stream.
    pub fn is_reached_directly(&self) -> bool {
        let is_direct = |ping: &&PathPing| !matches!(ping.path, PingPath::Helper(_));
        let mut direct = self.paths.iter().filter(is_direct);
        direct.any(|ping| matches!(ping.outcome, PingOutcome::Answered(_)))
    }
}

impl Cluster {
    /// The shortest timeout of a [ping](Self::ping).
    pub const MIN_PING_TIMEOUT: Duration = Operating::MIN_PING_TIMEOUT;
    /// The longest one.
    pub const MAX_PING_TIMEOUT: Duration = Operating::MAX_PING_TIMEOUT;

    /// Pings a member by every path at once, and asks its host: to find out why a member is suspect, or a path is slow.
    ///
    /// The paths are a datagram, a stream, and up to eight other members that ping it for this node. The call returns as soon as
    /// each has an outcome, and after `timeout` (10 ms to 60 s) at the latest. The member may also be dead or have left.
    ///
    /// The detector takes no missing answer of this as evidence. An answer is a sign of life. A node pings four times at once and
    /// then once a second.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use phin::testing::TestCluster;
    ///
    /// #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// async fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     let cluster = TestCluster::start(3).await;
    ///     let report = cluster.node(0).ping(cluster.node(1).id(), Duration::from_secs(2)).await?;
    ///     for ping in &report.paths {
    ///         println!("{:?}: {}", ping.path, ping.outcome.as_str());
    ///     }
    ///     assert!(report.is_reached_directly());
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// The member is unknown or this node itself, the timeout is out of bounds, there were too many pings just now, or the node
    /// has been shut down.
    pub async fn ping(&self, member: MemberId, timeout: Duration) -> Result<PingReport, PingError> {
        let answers = self.ask(move |node, now| node.ping(now, member, timeout)).await??;
        let PingAnswers { paths, host } = answers;
        let paths = paths.await.map_err(|_| Stopped)?;
        // The transport limits how long a host is asked.
        let host = match host {
            Some(host) => Some(host.await.map_err(|_| Stopped)?),
            None => None,
        };
        Ok(PingReport { paths, host })
    }
}
