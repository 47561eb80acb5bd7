//! Leadership: an office that at most one member holds at a time.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_core::Stream;
use phin_swim::{MemberId, Office, OfficeRules, OfficeState, Term, Vacancy};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant as TokioInstant, sleep_until},
};

use crate::{
    Cluster, StandError, Stopped,
    clock::Clock,
    command::{Command, Node, Question},
};

/// The member that holds an office, as far as a node knows.
///
/// Only the holder itself knows it for certain, and only for as long as its [`Tenure`] is valid. Another node learns it tens of
/// milliseconds later, and a node that is cut off may name a former holder. The [`Term`] tells which of two is later.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Leader {
    /// This node. To act on it, use the [`Tenure`] of its [`Candidacy`].
    ThisNode {
        /// The fencing token of the term.
        token: Term,
        /// When the term ends, unless it is renewed before.
        valid_until: std::time::Instant,
    },
    /// Another member.
    Member {
        /// The member.
        id: MemberId,
        /// The fencing token of its term.
        token: Term,
    },
    /// No member is known to hold it.
    Nobody(Vacancy),
}

impl Leader {
    pub(crate) fn new(state: OfficeState, clock: &Clock) -> Self {
        match state {
            OfficeState::Holding { token, valid_until } => {
                let valid_until = clock.instant(valid_until).into_std();
                Self::ThisNode { token, valid_until }
            }
            OfficeState::Following { member, token } => Self::Member { id: member, token },
            OfficeState::Vacant(why) => Self::Nobody(why),
        }
    }

    /// The same holder in the same term, or nobody for the same reason.
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::ThisNode { token, .. }, Self::ThisNode { token: other, .. }) => token == other,
            _ => self == other,
        }
    }
}

/// All offices that a node knows, and who holds them.
pub(crate) type Offices = BTreeMap<Office, Leader>;

/// Publishes the state of an office, and forgets those that the core no longer knows: its limit is that of this map, too.
/// Readers are woken if the holder or the term changes.
pub(crate) fn publish(
    offices: &watch::Sender<Offices>,
    in_core: &phin_swim::Offices<'_>,
    office: &Office,
    leader: Leader,
) {
    let count = in_core.iter().count();
    offices.send_if_modified(|known| {
        let before = known.insert(office.clone(), leader);
        if known.len() > count {
            let names: BTreeSet<_> = in_core.iter().map(|(office, _)| office).collect();
            known.retain(|other, _| other == office || names.contains(other));
        }
        before.is_none_or(|before| !before.is_same(&leader))
    });
}

/// The candidacy of this node for an office ([`Cluster::stand`]). Dropping it gives the office up.
#[derive(Debug)]
#[must_use = "dropping it gives the office up"]
pub struct Candidacy {
    office: Office,
    offices: watch::Receiver<Offices>,
    commands: mpsc::WeakSender<Command>,
    /// The driver resigns once this is gone, if the command to do so found no room.
    alive: Option<Arc<()>>,
}

impl Candidacy {
    /// The office.
    pub const fn office(&self) -> &Office {
        &self.office
    }

    /// The term in which this node holds the office now; `None` if it does not.
    pub fn tenure(&self) -> Option<Tenure> {
        let token = match self.offices.borrow().get(&self.office)? {
            Leader::ThisNode { token, .. } => *token,
            Leader::Member { .. } | Leader::Nobody(_) => return None,
        };
        let (office, offices) = (self.office.clone(), self.offices.clone());
        Some(Tenure { office, token, offices }).filter(Tenure::is_valid)
    }

    /// Waits until this node holds the office, and returns the term. Dropping the future loses nothing.
    ///
    /// # Errors
    /// The node has been shut down.
    pub async fn elected(&mut self) -> Result<Tenure, Stopped> {
        loop {
            self.offices.mark_unchanged();
            if let Some(tenure) = self.tenure() {
                return Ok(tenure);
            }
            self.offices.changed().await.map_err(|_| Stopped)?;
        }
    }

    /// Gives the office up, and stands for it no longer. Another candidate can take it at once. Returns when this node has
    /// told the voters.
    pub async fn resign(mut self) {
        self.alive = None;
        if let Some(commands) = self.commands.upgrade() {
            let (resign, done) = resign(self.office.clone());
            // An error means that the node has ended.
            if commands.send(Command::Ask(resign)).await.is_ok() {
                let _ = done.await;
            }
        }
    }
}

impl Drop for Candidacy {
    fn drop(&mut self) {
        if self.alive.take().is_some()
            && let Some(commands) = self.commands.upgrade()
        {
            // Without room, the driver finds that it is gone, when the term is next renewed.
            let _ = commands.try_send(Command::Ask(resign(self.office.clone()).0));
        }
    }
}

fn resign(office: Office) -> (Question, tokio::sync::oneshot::Receiver<()>) {
    Question::new(move |node, now| {
        node.resign(now, &office);
        node.settle();
    })
}

/// One term in which this node holds an office.
///
/// Check [`is_valid`](Self::is_valid) before each action that only the holder may take, and give [`token`](Self::token) to the
/// resource that it changes: a process that is paused between the two acts late, and only the resource can refuse it.
#[derive(Clone, Debug)]
pub struct Tenure {
    office: Office,
    token: Term,
    offices: watch::Receiver<Offices>,
}

impl Tenure {
    /// The office.
    pub const fn office(&self) -> &Office {
        &self.office
    }

    /// The fencing token: a later holder has a higher one. Have resources refuse a lower token than they have seen.
    pub const fn token(&self) -> Term {
        self.token
    }

    /// Whether this node still holds the office, by its own clock.
    pub fn is_valid(&self) -> bool {
        !self.valid_for().is_zero()
    }

    /// For how long this node surely holds the office from now on. It grows whenever the term is renewed.
    pub fn valid_for(&self) -> Duration {
        self.valid_until().saturating_duration_since(TokioInstant::now())
    }

    /// Waits until this node no longer holds the office in this term.
    pub async fn lost(&self) {
        let mut offices = self.offices.clone();
        while self.is_valid() {
            tokio::select! {
                changed = offices.changed() => if changed.is_err() { return },
                () = sleep_until(self.valid_until()) => {}
            }
        }
    }

    /// When the term ends; the past if it has ended.
    fn valid_until(&self) -> TokioInstant {
        match self.offices.borrow().get(&self.office) {
            Some(Leader::ThisNode { token, valid_until }) if *token == self.token => {
                TokioInstant::from_std(*valid_until)
            }
            _ => TokioInstant::now(),
        }
    }
}

/// The holders of an office, one after the other ([`Cluster::subscribe_leader`]): a stream that begins with the present one and
/// ends with the node. Changes that were not read in time are replaced by the latest.
#[derive(Debug)]
pub struct LeaderSubscription {
    office: Office,
    /// Ready once the holder of some office changed; `None` where the node has ended.
    next: Option<Changed>,
    last: Option<Leader>,
}

struct Changed(Pin<Box<dyn Future<Output = Option<watch::Receiver<Offices>>> + Send + Sync>>);

impl Changed {
    fn since(mut offices: watch::Receiver<Offices>) -> Self {
        Self(Box::pin(async move { offices.changed().await.is_ok().then_some(offices) }))
    }
}

impl fmt::Debug for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Changed")
    }
}

impl LeaderSubscription {
    /// The next holder, or `None` once the node has been shut down. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Leader> {
        poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }
}

impl Stream for LeaderSubscription {
    type Item = Leader;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Leader>> {
        let this = &mut *self;
        while let Some(Changed(changed)) = &mut this.next {
            let Some(mut offices) = ready!(changed.as_mut().poll(context)) else {
                this.next = None;
                break;
            };
            let leader = offices.borrow_and_update().get(&this.office).copied();
            let leader = leader.unwrap_or(Leader::Nobody(Vacancy::NeverHeld));
            this.next = Some(Changed::since(offices));
            if this.last.is_none_or(|last| !last.is_same(&leader)) {
                this.last = Some(leader);
                return Poll::Ready(Some(leader));
            }
        }
        Poll::Ready(None)
    }
}

impl Cluster {
    /// Stands for an office: this node takes it whenever no other member holds it and a majority of its voters agrees, until the
    /// result is dropped.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use phin::{OfficeRules, testing::TestCluster};
    ///
    /// let cluster = TestCluster::start(3).await;
    /// let office = "scheduler".parse()?;
    /// // Three voters, so two must agree. All candidates state the same.
    /// let rules = OfficeRules::new("".parse()?, Some(3));
    /// let mut candidacy = cluster.node(0).stand(&office, rules).await?;
    /// let tenure = candidacy.elected().await?;
    /// while tenure.is_valid() {
    ///     // Act as the holder, and give `tenure.token()` to the resource.
    ///     # break;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Guarantees
    /// At most one member holds an office at a time, if [`expected`](OfficeRules::expected) is the number of voters, clocks run
    /// at speeds within a tenth of each other, and the holder acts only while its [`Tenure`] is valid. Tokens rise from term to
    /// term, as long as a majority of the voters keeps its data directory, or is not restarted all at once.
    ///
    /// # Errors
    /// The rules exceed a limit, this node stands for the office already or for too many offices, or it has left or been shut
    /// down.
    pub async fn stand(
        &self,
        office: &Office,
        rules: OfficeRules,
    ) -> Result<Candidacy, StandError> {
        let asked = office.clone();
        let stand = move |node: &mut dyn Node, now| {
            let handle = node.stand(now, asked, rules);
            node.settle();
            handle
        };
        let alive = self.ask(stand).await??;
        Ok(Candidacy {
            office: office.clone(),
            offices: self.shared.status.offices.clone(),
            commands: self.shared.commands.downgrade(),
            alive: Some(alive),
        })
    }

    /// The member that holds an office, as far as this node knows.
    pub fn leader(&self, office: &Office) -> Leader {
        let known = self.shared.status.offices.borrow().get(office).copied();
        known.unwrap_or(Leader::Nobody(Vacancy::NeverHeld))
    }

    /// All offices that this node knows, and who holds them, in the order of their names.
    pub fn leaders(&self) -> Vec<(Office, Leader)> {
        let known = self.shared.status.offices.borrow();
        known.iter().map(|(office, leader)| (office.clone(), *leader)).collect()
    }

    /// Subscribes to the holders of an office.
    pub fn subscribe_leader(&self, office: &Office) -> LeaderSubscription {
        let mut offices = self.shared.status.offices.clone();
        offices.mark_changed();
        LeaderSubscription {
            office: office.clone(),
            next: Some(Changed::since(offices)),
            last: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use phin_swim::{Config, Generation, Instant, Local, Swim};

    use super::*;
    use crate::keys::NodeKeys;

    #[test]
    fn the_map_of_holders_has_at_most_one_office_more_than_the_core() {
        let keys = Arc::new(NodeKeys::new(Arc::new(phin_quic::Identity::generate())));
        let local =
            Local::new("n1".try_into().unwrap(), vec![([10, 0, 0, 1], 1).into()], Generation(1));
        let mut swim = Swim::new(Instant::START, local, Config::lan(), keys, 1).unwrap();
        for office in ["a", "b"] {
            let rules = OfficeRules::new("".parse().unwrap(), Some(3));
            swim.leading(Instant::START).stand(office.parse().unwrap(), rules).unwrap();
            while swim.poll_output().is_some() {}
        }
        let (offices, vacant) =
            (watch::Sender::new(Offices::default()), Leader::Nobody(Vacancy::Released));
        // The core knows these no longer when their events are handled.
        for number in 0..100 {
            let office = format!("o{number}").parse().unwrap();
            publish(&offices, &swim.offices(), &office, vacant);
            assert!(offices.borrow().len() <= 3 && offices.borrow().contains_key(&office));
        }
        publish(&offices, &swim.offices(), &"a".parse().unwrap(), vacant);
        publish(&offices, &swim.offices(), &"b".parse().unwrap(), vacant);
        assert_eq!(offices.borrow().keys().map(Office::as_str).collect::<Vec<_>>(), ["a", "b"]);
    }
}
