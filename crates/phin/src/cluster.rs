//! [`Cluster`]: the handle that applications hold.

mod tags;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use phin_quic::ClusterName;
use phin_swim::{Config, Data, DataEvent, Link, MemberId, Members, Neighbours, Operating};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};

use crate::{
    AdvertiseError, Builder, ForgetError, JoinError, Joined, Moment, PhiSubscription,
    ReconfigureError, RefusedHandshake, Report, SetSeedsError, StartError, Stats, Stopped,
    SubscribePhiError, Subscription, Unreached,
    answers::Answers,
    clock::Clock,
    command::{Command, Node, Question},
    feed::Source,
    join::Joiner,
    keys::NodeKeys,
    random::Random,
    report::Shown,
    seeds::Seed,
    start::parse_seeds,
    status::{IdentityConflict, StatusView},
    subscription::Published,
    topics::Topics,
};

/// A handle to a running node. Clones are cheap and refer to the same node.
///
/// The node runs on a task of its own until [`shutdown`](Self::shutdown) is called or the last handle is
/// dropped. Both close its connections without notice, so the other members declare it dead. To leave the
/// cluster instead, call [`leave`](Self::leave) first. A task that only watches the node can hold a
/// [`WeakCluster`](crate::WeakCluster), which does not keep it running.
///
/// Any future of a handle may be dropped at any time. An operation that it has started then continues or never
/// happens, and the node stays consistent.
#[derive(Clone)]
pub struct Cluster {
    pub(crate) shared: Arc<Shared>,
}

/// State shared by all handles of a node.
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    pub(crate) cluster: ClusterName,
    pub(crate) id: MemberId,
    pub(crate) keys: Arc<NodeKeys>,
    pub(crate) local_addr: SocketAddr,
    pub(crate) name: String,
    pub(crate) source: Source<Members, Published>,
    pub(crate) data: Source<Data, DataEvent>,
    pub(crate) topics: Topics,
    pub(crate) answers: Answers,
    pub(crate) status: StatusView,
    pub(crate) stop: watch::Sender<bool>,
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) joiner: Joiner,
    pub(crate) seeds: watch::Sender<Vec<Seed>>,
    pub(crate) random: Random,
}

/// The result of leaving.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[non_exhaustive]
pub struct Departure {
    /// The number of members that confirmed, or that refused to admit this node in the first place.
    pub confirmed: usize,
    /// The number of members that were notified: those that would otherwise find this node silent. Zero if it
    /// was alone.
    pub asked: usize,
}

impl Cluster {
    /// Returns a [`Builder`] for a node.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The id of this node.
    pub fn id(&self) -> MemberId {
        self.shared.id
    }

    /// The display name of this node.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// The address that the node is bound to.
    pub fn local_addr(&self) -> SocketAddr {
        self.shared.local_addr
    }

    /// The address at which others reach the node, as it announces it.
    pub fn advertised(&self) -> SocketAddr {
        self.members().me().addr()
    }

    /// Changes the address that the node announces; port 0 stands for the bound port.
    ///
    /// Other members receive the new address at once, close their connections to the node, and dial the new
    /// one. The node itself keeps listening where it is bound.
    ///
    /// # Errors
    /// Nobody could reach the node at this address, or the node has been shut down.
    pub async fn advertise(&self, addr: SocketAddr) -> Result<(), AdvertiseError> {
        let addr = crate::address::advertised(Some(addr), self.shared.local_addr)
            .map_err(|_| AdvertiseError::Unusable { addr })?;
        Ok(self.ask(move |node, now| node.advertise(now, addr)).await?)
    }

    /// An immutable snapshot of the membership list. It costs next to nothing. After a shutdown it is the
    /// last one.
    pub fn members(&self) -> Members {
        self.shared.source.snapshot()
    }

    /// Subscribes to the membership list: a snapshot, and from then on each change.
    pub fn subscribe(&self) -> Subscription {
        Subscription::new(self.shared.source.follow())
    }

    /// Waits until the membership list satisfies `condition`, and returns the list that does.
    ///
    /// `condition` is called with the current list, and then with each newer one that is published until it returns `true`.
    /// Lists that follow each other quickly may be skipped, so use [`subscribe`](Self::subscribe) for a change that does not
    /// last. Dropping the future loses nothing. The call has no time limit of its own: use `tokio::time::timeout`.
    ///
    /// ```no_run
    /// # async fn example(cluster: phin::Cluster) -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    ///
    /// let three = cluster.wait_until(|members| members.live_len() >= 3);
    /// let members = tokio::time::timeout(Duration::from_secs(30), three).await??;
    /// println!("{members:?}");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The node was shut down, and its last list does not satisfy the condition.
    pub async fn wait_until(
        &self,
        condition: impl FnMut(&Members) -> bool,
    ) -> Result<Members, Stopped> {
        self.shared.source.wait_until(condition).await
    }

    /// Joins the cluster through a seed: a socket address, or a text "host:port" or "host" (port 7646).
    ///
    /// The name is resolved now, and its addresses are tried in random order until one admits this node. A
    /// node that has left returns to the cluster.
    ///
    /// # Errors
    /// No address admitted this node. The error is that of the last address that gave a reason.
    pub async fn join(&self, seed: impl ToString) -> Result<Joined, JoinError> {
        self.shared.joiner.join(&seed.to_string()).await
    }

    /// Replaces the addresses at which the node looks for members ([`Builder::seeds`]). The new ones are tried at once; without
    /// any, the node no longer looks. Members that are known stay.
    ///
    /// # Errors
    /// One of them is not an address or "host:port", and none was replaced; or the node has been shut down.
    pub async fn set_seeds(
        &self,
        seeds: impl IntoIterator<Item: ToString>,
    ) -> Result<(), SetSeedsError> {
        let seeds: Vec<_> = seeds.into_iter().map(|seed| seed.to_string()).collect();
        let parsed = parse_seeds(&seeds).map_err(|error| match error {
            StartError::Seed { seed } => SetSeedsError::Seed { seed },
            other => SetSeedsError::Seed { seed: other.to_string() },
        })?;
        // The node has to run.
        self.ask(|_, _| ()).await?;
        self.shared.seeds.send_replace(parsed);
        Ok(())
    }

    /// Has the node use this configuration from now on.
    ///
    /// These settings can change while a node runs: [`Config::retention`], [`Config::max_members`], the limits of data and
    /// publications, [`Config::evict_degraded_after`], and those of flapping. The others must be as they are. Members above a limit
    /// that was lowered stay.
    ///
    /// # Errors
    /// A setting is out of bounds, or is another than the present one and cannot change: nothing changes then. Or the node has been
    /// shut down.
    pub async fn reconfigure(&self, config: Config) -> Result<(), ReconfigureError> {
        Ok(self.ask(move |node, now| Operating::of(node.swim(), now).reconfigure(config)).await??)
    }

    /// Whether this node is in the cluster: a seed has admitted it, another member is known, or it was given
    /// no seed but itself. Once true, it stays true, even if all others die.
    pub fn is_joined(&self) -> bool {
        *self.shared.status.joined.borrow()
    }

    /// Whether this node knows other members and receives nothing from any of them. The fault is then on its
    /// side, so it declares nobody dead until it receives something.
    pub fn is_isolated(&self) -> bool {
        *self.shared.status.isolated.borrow()
    }

    /// The address at which another process with this node's key was seen in the last minute.
    ///
    /// The cause is a copied data directory, or one certificate used by two nodes. The two replace each other
    /// in every list, so applications should not rely on either.
    pub fn identity_conflict(&self) -> Option<SocketAddr> {
        let conflict = *self.shared.status.identity_conflict.borrow();
        conflict.filter(IdentityConflict::is_recent).map(|conflict| conflict.addr)
    }

    /// The address that a NAT gives to this node's packets, as the first member that noticed it reported.
    ///
    /// Other members probably cannot reach this node at the address that it announces. `None` if no member
    /// reported one, or if the address was set explicitly ([`Builder::advertise`],
    /// [`advertise`](Self::advertise)).
    pub fn nat_addr(&self) -> Option<SocketAddr> {
        *self.shared.status.nat_addr.borrow()
    }

    /// Waits until [`is_isolated`](Self::is_isolated).
    ///
    /// # Errors
    /// The node was shut down first.
    pub async fn isolated(&self) -> Result<(), Stopped> {
        until(&self.shared.status.isolated, |isolated| *isolated).await
    }

    /// Waits until the node is not [isolated](Self::is_isolated).
    ///
    /// # Errors
    /// The node was shut down first.
    pub async fn reconnected(&self) -> Result<(), Stopped> {
        until(&self.shared.status.isolated, |isolated| !isolated).await
    }

    /// Whether the members that this node exchanges pings with list the same live members in the same
    /// versions.
    ///
    /// Counted are the members from which a ping or an ack came since this node's list last changed, in the
    /// last two protocol periods. There must be at least one, and the last fingerprint of each must equal
    /// this node's own. So the result is `false` after each change until others are known to share it,
    /// normally for half a period, and while nobody is heard. A node that knows no other member is converged;
    /// one that has left is not. Members that were not heard are not covered: lists far away may differ while
    /// news and repairs are on their way.
    pub fn is_converged(&self) -> bool {
        *self.shared.status.converged.borrow()
    }

    /// Waits until [`is_converged`](Self::is_converged).
    ///
    /// # Errors
    /// The node was shut down first.
    pub async fn converged(&self) -> Result<(), Stopped> {
        until(&self.shared.status.converged, |converged| *converged).await
    }

    /// Waits until [`is_joined`](Self::is_joined).
    ///
    /// # Errors
    /// The node was shut down first.
    pub async fn joined(&self) -> Result<(), Stopped> {
        until(&self.shared.status.joined, |joined| *joined).await
    }

    /// Leaves the cluster. Returns once all members concerned have confirmed, or after `deadline`.
    ///
    /// The node keeps answering, and keeps notifying members that have not confirmed, until it is shut down.
    /// A second call, or one after an earlier future was dropped, waits for the same departure. A later
    /// [`join`](Self::join) returns to the cluster.
    ///
    /// # Errors
    /// The node has been shut down.
    pub async fn leave(&self, deadline: Duration) -> Result<Departure, Stopped> {
        let mut departure = self.ask(|node, now| node.leave(now)).await?;
        let is_complete = |departure: &Departure| departure.confirmed >= departure.asked;
        // The outcome is in the channel either way, also if the node was shut down meanwhile.
        let _ = timeout(deadline, departure.wait_for(is_complete)).await;
        let departure = *departure.borrow();
        Ok(departure)
    }

    /// Stops the node: closes its connections, ends its tasks, and releases its address and data directory.
    /// Concurrent calls wait for the same end. It takes place even if the future is dropped once it was
    /// polled.
    pub async fn shutdown(&self) {
        self.shared.stop.send_replace(true);
        self.shared.commands.closed().await;
    }

    /// The links to the members that this node observes.
    ///
    /// # Errors
    /// The node has been shut down.
    pub async fn links(&self) -> Result<Vec<Link>, Stopped> {
        self.ask(|node, now| node.swim().links(now)).await
    }

    /// The members that observe a live member, and those that it observes, by this node's list. Empty for a member that is not
    /// live or not in the list.
    ///
    /// # Errors
    /// The node has been shut down.
    pub async fn neighbours(&self, id: MemberId) -> Result<Neighbours, Stopped> {
        self.ask(move |node, _| node.swim().neighbours(id)).await
    }

    /// The live members that are degraded ([`Change::Degraded`](crate::Change::Degraded)), and those that some of their observers
    /// do not reach, with the failing links.
    ///
    /// A node knows the failing links to itself and to the members that it observes. In a cluster of more than K + 1 members
    /// it does not know those to others.
    ///
    /// # Errors
    /// The node has been shut down.
    pub async fn unreached(&self) -> Result<Vec<Unreached>, Stopped> {
        let unreached = self.ask(|node, now| node.swim().unreached(now)).await?;
        let members = self.members();
        let shown = Shown { clock: &self.shared.clock, members: &members };
        Ok(unreached.iter().map(|unreached| shown.unreached(unreached)).collect())
    }

    /// The counters of the node since its start.
    ///
    /// # Errors
    /// The node has been shut down.
    pub async fn stats(&self) -> Result<Stats, Stopped> {
        self.ask(|node, _| node.stats()).await
    }

    /// The last suspicion of a member, open or ended, with the votes behind a verdict. `None` if it was never
    /// suspected here.
    ///
    /// # Errors
    /// The node has been shut down.
    pub async fn why(&self, id: MemberId) -> Result<Option<Report>, Stopped> {
        let report = self.ask(move |node, now| node.swim().why(now, id)).await?;
        let members = self.members();
        let shown = Shown { clock: &self.shared.clock, members: &members };
        Ok(report.map(|report| shown.report(&report)))
    }

    /// Why the handshakes of this node with a member are refused: an expired certificate, another key,
    /// another cluster.
    ///
    /// `None` while the last dial to the member was not refused, or this node did not dial it. To
    /// [`why`](Self::why) such a member is *hung*, as only its host answers; this method tells it from a
    /// process that hangs.
    pub fn refusal(&self, id: MemberId) -> Option<RefusedHandshake> {
        self.shared.status.refusals.borrow().of(id).cloned()
    }

    /// Removes a member that died or left from the list.
    ///
    /// Other members follow at once if it has left, if its host refuses its port, or if a second node forgets
    /// it on request: a single node must not be able to hide a dead member. Otherwise they keep it until
    /// their own [retention](Builder::retention) ends. A member that returns is new.
    ///
    /// # Errors
    /// The member is not in the list, is alive or suspect, or is this node; or the node has been shut down.
    pub async fn forget(&self, id: MemberId) -> Result<(), ForgetError> {
        Ok(self.ask(move |node, now| node.swim().forget(now, id)).await??)
    }

    /// The flap penalty of a member (RFC 2439).
    ///
    /// Each death, or restart before anyone noticed, adds one; the penalty halves in each
    /// [`Config::flap_half_life`](crate::Config::flap_half_life). From
    /// [`Config::flap_suppress`](crate::Config::flap_suppress) on, the member's returns are suppressed: see
    /// [`Members::suppressed_until`].
    ///
    /// # Errors
    /// The node has been shut down.
    pub async fn flap_penalty(&self, id: MemberId) -> Result<f64, Stopped> {
        self.ask(move |node, now| node.swim().flap_penalty(now, id)).await
    }

    /// How surprising a member's silence is now: −log10 of the probability that a live member would be silent
    /// for as long.
    ///
    /// For a live member that this node observes (see [`links`](Self::links)), phi is what its unanswered
    /// pings are worth, plus the evidence that other observers have sent. It is 0 while no ping waits for a
    /// reply, rises steadily while a reply is missing, and falls to 0 at any sign of life. For a live member
    /// that this node does not observe, only the evidence of others is known; usually there is none, and the
    /// result is `None`. For a dead member phi is infinite. For one that left, for this node and for an
    /// unknown id it is `None`.
    ///
    /// # Errors
    /// The node has been shut down.
    pub async fn phi(&self, id: MemberId) -> Result<Option<f64>, Stopped> {
        self.ask(move |node, now| node.swim().phi(now, id)).await
    }

    /// [`phi`](Self::phi) of each live member for which it is known.
    ///
    /// # Errors
    /// The node has been shut down.
    pub async fn phis(&self) -> Result<BTreeMap<MemberId, f64>, Stopped> {
        self.ask(|node, now| node.swim().phis(now)).await
    }

    /// Notifies the caller each time a member's [`phi`](Self::phi) reaches `threshold`, and each time it
    /// falls below it again.
    ///
    /// A subscription starts below the threshold: if phi has reached it already, the first notice comes at
    /// once. A member without a known phi is below every threshold, and a dead one above every threshold. So
    /// for a member that this node does not observe, a subscription reports its death and its return. The
    /// member need not be known yet. A node watches at most 256 thresholds at once; dropping a subscription
    /// makes room.
    ///
    /// # Errors
    /// The threshold is not a positive number, too many are watched, or the node has been shut down.
    pub async fn subscribe_phi(
        &self,
        member: MemberId,
        threshold: f64,
    ) -> Result<PhiSubscription, SubscribePhiError> {
        self.ask(move |node, _| node.watch_phi(member, threshold)).await?
    }

    /// Converts a moment of this node's clock, such as [`Member::since`](crate::Member::since), to wall-clock time.
    ///
    /// A list is shared with the core, which knows no wall clock: its moments count from the start of the node. They can be
    /// compared with each other; this method says when they were, also after the wall clock was set or the machine slept.
    pub fn wall_clock(&self, at: Moment) -> SystemTime {
        self.shared.clock.wall(at)
    }

    /// Has the driver answer a question.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut dyn Node, Moment) -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        let (question, answer) = Question::new(question);
        self.shared.commands.send(Command::Ask(question)).await.map_err(|_| Stopped)?;
        answer.await.map_err(|_| Stopped)
    }
}

/// Waits until a part of the status is as asked.
async fn until(
    status: &watch::Receiver<bool>,
    is_reached: fn(&bool) -> bool,
) -> Result<(), Stopped> {
    status.clone().wait_for(is_reached).await.map(drop).map_err(|_| Stopped)
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster")
            .field("id", &self.id())
            .field("name", &self.shared.name)
            .field("advertised", &self.advertised())
            .finish_non_exhaustive()
    }
}
