//! [`Cluster`]: the handle that applications hold.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use phin_swim::{Instant, Link, MemberId, Members, Report, Unreached};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};

use crate::{
    AdvertiseError, Builder, ForgetError, JoinError, Joined, LeaveError, PhiSubscription,
    RefusedHandshake, Stats, Stopped, SubscribePhiError, Subscription,
    clock::Clock,
    command::{Command, Node, Question},
    join::Joiner,
    status::{IdentityConflict, StatusView},
    subscription::Source,
};

/// A running node: a handle to it, cheap to clone.
///
/// The node runs on a task of its own until [`shutdown`](Self::shutdown), or until the last handle
/// is dropped. Either closes its connections without a word of farewell: the others will declare it
/// dead. Call [`leave`](Self::leave) before to part as friends.
///
/// Every future of a handle may be dropped at any time; what it had begun then goes on or never
/// happens, and the node is sound.
#[derive(Clone)]
pub struct Cluster {
    pub(crate) shared: Arc<Shared>,
}

/// What all handles of a node share.
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    pub(crate) id: MemberId,
    pub(crate) local_addr: SocketAddr,
    pub(crate) name: String,
    pub(crate) source: Source,
    pub(crate) status: StatusView,
    pub(crate) stop: watch::Sender<bool>,
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) joiner: Joiner,
}

/// How a departure went.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Departure {
    /// How many members confirmed that they know, or refused to let this node in at all.
    pub confirmed: usize,
    /// How many members were asked: those that would otherwise find this node silent. None if it
    /// was alone.
    pub asked: usize,
}

impl Cluster {
    /// What a node needs to start.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Who this node is.
    pub fn id(&self) -> MemberId {
        self.shared.id
    }

    /// This node's label for people.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// The address that the node is bound to.
    pub fn local_addr(&self) -> SocketAddr {
        self.shared.local_addr
    }

    /// The address under which others are told to reach the node.
    pub fn advertised(&self) -> SocketAddr {
        self.members().me().addr()
    }

    /// Changes the address under which others are told to reach the node; port 0 stands for the bound one. They are
    /// told at once, close what connections they have to the node, and dial the new address. The node itself
    /// goes on listening where it is bound.
    ///
    /// # Errors
    /// When nobody could reach the node there, or it has been shut down.
    pub async fn advertise(&self, addr: SocketAddr) -> Result<(), AdvertiseError> {
        let addr = crate::address::advertised(Some(addr), self.shared.local_addr)
            .map_err(|_| AdvertiseError::Unusable { addr })?;
        Ok(self.ask(move |node, now| node.advertise(now, addr)).await?)
    }

    /// The membership list as it is now: an immutable snapshot, which costs next to nothing. After
    /// a shutdown, the last one.
    pub fn members(&self) -> Members {
        self.shared.source.members()
    }

    /// The membership list, and from then on each change to it.
    pub fn subscribe(&self) -> Subscription {
        self.shared.source.subscribe()
    }

    /// Joins through a seed address, "host:port". The name is resolved now, and all of its
    /// addresses are tried in an order of chance until one lets this node in. A node that has left
    /// returns.
    ///
    /// # Errors
    /// Of the last address that gave a reason, that reason.
    pub async fn join(&self, seed: &str) -> Result<Joined, JoinError> {
        self.shared.joiner.join(seed).await
    }

    /// Whether this node is in the cluster, as far as it depends on others: a seed has let it in,
    /// another member is known, or no seed but this node itself was given. It stays so, also when
    /// the others die.
    pub fn is_joined(&self) -> bool {
        *self.shared.status.joined.borrow()
    }

    /// Whether this node hears no other member although it knows some: the fault is on its side, so
    /// it declares nobody dead until it hears one.
    pub fn is_isolated(&self) -> bool {
        *self.shared.status.isolated.borrow()
    }

    /// Where another process with this node's key was seen within the last minute: a copied data directory, or one
    /// certificate at two nodes. The two take each other's place in every list, so neither is a member to rely on.
    pub fn identity_conflict(&self) -> Option<SocketAddr> {
        let conflict = *self.shared.status.identity_conflict.borrow();
        conflict.filter(IdentityConflict::is_recent).map(|conflict| conflict.addr)
    }

    /// The address that a NAT gives to this node's packets, as the first member that saw it reported: other members
    /// probably cannot reach this node at the address that it advertises. `None` where no member reported one, and where the
    /// advertised address was given ([`Builder::advertise`], [`advertise`](Self::advertise)).
    pub fn nat_addr(&self) -> Option<SocketAddr> {
        *self.shared.status.nat_addr.borrow()
    }

    /// Waits until [`is_isolated`](Self::is_isolated) is not what the caller knows, and returns what
    /// it is then.
    ///
    /// # Errors
    /// When the node is shut down before.
    pub async fn isolation_changed(&self, known: bool) -> Result<bool, Stopped> {
        let mut isolated = self.shared.status.isolated.clone();
        let changed = isolated.wait_for(|isolated| *isolated != known).await;
        changed.map(|isolated| *isolated).map_err(|_| Stopped)
    }

    /// Whether the members that this node exchanges pings with hold the same live members in the same versions.
    ///
    /// That is: of all from whom a ping or an ack came since this node's own list last changed, but in the last two
    /// protocol periods, the last fingerprint of each is this node's, and there is at least one. So it is false from
    /// each change until the change is known to be shared, half a period later when all is well; and it stays false
    /// where nobody is heard. A node that knows no other member is converged, one that has left is not. It says nothing
    /// of members that were not heard: lists far away may differ for as long as news and repairs are on their way.
    pub fn is_converged(&self) -> bool {
        *self.shared.status.converged.borrow()
    }

    /// Waits until [`is_converged`](Self::is_converged).
    ///
    /// # Errors
    /// When the node is shut down before.
    pub async fn converged(&self) -> Result<(), Stopped> {
        let mut converged = self.shared.status.converged.clone();
        converged.wait_for(|converged| *converged).await.map(drop).map_err(|_| Stopped)
    }

    /// Waits until [`is_joined`](Self::is_joined).
    ///
    /// # Errors
    /// When the node is shut down before.
    pub async fn joined(&self) -> Result<(), Stopped> {
        self.shared
            .status
            .joined
            .clone()
            .wait_for(|joined| *joined)
            .await
            .map(drop)
            .map_err(|_| Stopped)
    }

    /// Leaves the cluster, and says at the latest after `deadline` how many members have confirmed
    /// that they know.
    ///
    /// The node goes on answering, and telling those who have not confirmed, until it is shut down.
    /// Who calls again, or calls after an earlier future was dropped, waits for the same departure.
    /// A later [`join`](Self::join) returns to the cluster.
    ///
    /// # Errors
    /// When the node has been shut down.
    pub async fn leave(&self, deadline: Duration) -> Result<Departure, LeaveError> {
        let mut departure = self.ask(|node, now| node.leave(now)).await?;
        let is_complete = |departure: &Departure| departure.confirmed >= departure.asked;
        // The outcome is in the channel either way, also if the node was shut down meanwhile.
        let _ = timeout(deadline, departure.wait_for(is_complete)).await;
        let departure = *departure.borrow();
        Ok(departure)
    }

    /// Stops the node: closes its connections, ends its tasks, and releases its address and data
    /// directory. Others who call meanwhile wait for the same end. It takes place even if the
    /// future is dropped once it was polled.
    pub async fn shutdown(&self) {
        self.shared.stop.send_replace(true);
        self.shared.commands.closed().await;
    }

    /// The links to the members that this one observes.
    ///
    /// # Errors
    /// When the node has been shut down.
    pub async fn links(&self) -> Result<Vec<Link>, Stopped> {
        self.ask(|node, now| node.swim().links(now)).await
    }

    /// The live members that some of their observers do not reach, with the links that fail, and whether so many fail
    /// that the member is degraded ([`Change::Degraded`](crate::Change::Degraded)). A node knows this of itself, and
    /// of the members that it observes; in a cluster of more than K + 1 members it knows nothing of the others.
    ///
    /// # Errors
    /// When the node has been shut down.
    pub async fn unreached(&self) -> Result<Vec<Unreached>, Stopped> {
        self.ask(|node, now| node.swim().unreached(now)).await
    }

    /// What the node has counted since its start.
    ///
    /// # Errors
    /// When the node has been shut down.
    pub async fn stats(&self) -> Result<Stats, Stopped> {
        self.ask(|node, _| node.stats()).await
    }

    /// Why a member is held for what it is: its last suspicion, open or ended, with the votes behind
    /// a verdict. `None` if it was never suspected here.
    ///
    /// # Errors
    /// When the node has been shut down.
    pub async fn why(&self, id: MemberId) -> Result<Option<Report>, Stopped> {
        self.ask(move |node, now| node.swim().why(now, id)).await
    }

    /// Why the handshakes of this node with a member are refused: an expired certificate, another key, another cluster.
    /// `None` while the last dial to the member was not refused, or this node did not dial it. A member of which nothing
    /// but its host is heard is *hung* to [`why`](Self::why), and this tells such a case from a process that hangs.
    pub fn refusal(&self, id: MemberId) -> Option<RefusedHandshake> {
        self.shared.status.refusals.borrow().of(id).cloned()
    }

    /// Forgets a member that died or left. It is removed from this list at once. Other members follow if it has left, if its
    /// host refuses its port, or if a second node forgets it on request, since a single node must not hide a dead member.
    /// Otherwise they keep it until their own [retention](Builder::retention) ends. A member that returns is new.
    ///
    /// # Errors
    /// When the member is not in the list, is alive or merely suspect, or is this node itself; when the node has been
    /// shut down.
    pub async fn forget(&self, id: MemberId) -> Result<(), ForgetError> {
        Ok(self.ask(move |node, now| node.swim().forget(now, id)).await??)
    }

    /// How often a member died lately, or was started anew before anyone noticed: one for each time, halved in each
    /// [`Config::flap_half_life`](crate::Config::flap_half_life). From
    /// [`Config::flap_suppress`](crate::Config::flap_suppress) on its returns are suppressed:
    /// see [`Members::suppressed_until`].
    ///
    /// # Errors
    /// When the node has been shut down.
    pub async fn flap_penalty(&self, id: MemberId) -> Result<f64, Stopped> {
        self.ask(move |node, now| node.swim().flap_penalty(now, id)).await
    }

    /// How surprising a member's silence is to this node now, as −log10 of the probability that a live member would be
    /// as silent.
    ///
    /// Of a live member that this node observes (see [`links`](Self::links)): what its unanswered pings are worth,
    /// and what other observers told of theirs. It is 0 while nothing waits, rises steadily while a reply is missing,
    /// and falls to 0 at any sign of life. Of a member that this node does not observe nothing is known but what others
    /// told: `None` while they told nothing, which is nearly always. Infinite for a dead member; `None` for one
    /// that left, for this node itself, and for one not in the list.
    ///
    /// # Errors
    /// When the node has been shut down.
    pub async fn phi(&self, id: MemberId) -> Result<Option<f64>, Stopped> {
        self.ask(move |node, now| node.swim().phi(now, id)).await
    }

    /// [`phi`](Self::phi) of each live member of which it is known: those that this node observes, and those that
    /// others told of.
    ///
    /// # Errors
    /// When the node has been shut down.
    pub async fn phis(&self) -> Result<BTreeMap<MemberId, f64>, Stopped> {
        self.ask(|node, now| node.swim().phis(now)).await
    }

    /// Is told each time that a member's [`phi`](Self::phi) comes to `threshold`, and each time that it falls below it
    /// again.
    ///
    /// The subscription begins below: where phi is at the threshold already, the first crossing comes at once. A member
    /// of which no phi is known is below every threshold, a dead one above every one; so for a member that this
    /// node does not observe, a subscription tells of its death and its return. The member need not be known yet. A node
    /// watches at most 256 thresholds at once; dropping the subscription makes room.
    ///
    /// # Errors
    /// Where the threshold is not a positive number, too many are watched, or the node has been shut down.
    pub async fn subscribe_phi(
        &self,
        member: MemberId,
        threshold: f64,
    ) -> Result<PhiSubscription, SubscribePhiError> {
        self.ask(move |node, _| node.watch_phi(member, threshold)).await?
    }

    /// The wall clock's time at a moment of this node's clock, such as a member's `since`.
    pub fn wall_clock(&self, at: Instant) -> SystemTime {
        self.shared.clock.wall(at)
    }

    /// Has the driver answer a question.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut dyn Node, Instant) -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        let (question, answer) = Question::new(question);
        self.shared.commands.send(Command::Ask(question)).await.map_err(|_| Stopped)?;
        answer.await.map_err(|_| Stopped)
    }
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
