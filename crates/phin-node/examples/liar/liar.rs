//! A member that holds the cluster key and lies: the core and the transport of a real node, and lies beside what they say.
//!
//! It is pinged and answers as any member does. It sends only under its own identity, because connections are authenticated,
//! and cannot sign for others; it repeats the records that they signed.

use std::{
    collections::BTreeMap,
    error::Error,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant as Clock},
};

use phin_quic::{
    CloseReason, ClusterName, Credentials, DialError, DisconnectReason, Identity, Keyring, PeerId,
    Received, Receiver, Transport, TransportConfig,
};
use phin_swim::{
    Config, Disconnection, Generation, HostAnswer, Instant, Keys, Local, Member, MemberId, Name,
    Output, Peer, PublicKey, Signature, Swim, Unreachable,
};
use tokio::{
    sync::watch,
    time::{self, MissedTickBehavior},
};

use crate::lie::{Knowledge, Lie, key_in, round_in, split};

/// A lie, and the name of its victim.
pub(crate) type Order = Option<(Lie, String)>;

/// The place of the liar in the cluster.
pub(crate) struct Setup {
    pub(crate) name: String,
    /// A member to join through.
    pub(crate) through: SocketAddr,
    pub(crate) cluster: ClusterName,
    pub(crate) keys: Keyring,
    /// As the other members have it.
    pub(crate) config: Config,
    /// The interval between lies.
    pub(crate) every: Duration,
}

/// Joins, and sends the lie that is ordered at present to all other members repeatedly, until nobody can order any more.
///
/// # Errors
/// If it cannot bind a socket on loopback, or cannot reach the member to join through.
pub(crate) async fn run(
    setup: Setup,
    mut orders: watch::Receiver<Order>,
) -> Result<(), Box<dyn Error>> {
    let every = setup.every;
    let mut liar = Liar::join(setup).await?;
    liar.obey(orders.borrow_and_update().clone());
    let mut turns = time::interval(every);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let deadline = liar.deadline();
        tokio::select! {
            biased;
            received = liar.receiver.receive() => match received {
                Some(received) => liar.on_received(received),
                None => break,
            },
            changed = orders.changed() => match changed {
                Ok(()) => liar.obey(orders.borrow_and_update().clone()),
                Err(_) => break,
            },
            _ = turns.tick() => liar.take_turn(),
            () = time::sleep_until(deadline) => {}
        }
        liar.settle();
    }
    liar.transport.close().await;
    Ok(())
}

struct Liar {
    started: Clock,
    swim: Swim,
    identity: Arc<Identity>,
    cluster_tag: [u8; 8],
    rings: u8,
    transport: Transport,
    receiver: Receiver,
    order: Order,
    turn: u32,
    /// The round in the last ping or ack of each member.
    rounds: BTreeMap<MemberId, u16>,
    /// The last record of each member that was received, as a part.
    entries: BTreeMap<MemberId, Vec<u8>>,
}

impl Liar {
    async fn join(setup: Setup) -> Result<Self, Box<dyn Error>> {
        let Setup { name, through, cluster, keys, config, every: _ } = setup;
        let (identity, cluster_tag) = (Arc::new(Identity::generate()), cluster.tag());
        let credentials = Credentials::ClusterKey { cluster, keys };
        let transport_config = TransportConfig::new(SocketAddr::from(([127, 0, 0, 1], 0)));
        let bound = Transport::bind(Arc::clone(&identity), credentials, transport_config)?;
        let (transport, receiver) = bound;
        let addrs = vec![transport.local_addr()];
        let local = Local::new(Name::try_from(&*name)?, addrs, Generation(1));
        let keys = Arc::new(LiarKeys { identity: Arc::clone(&identity), cluster_tag });
        let (started, rings) = (Clock::now(), config.rings);
        let mut swim = Swim::new(Instant::START, local, config, keys, RNG_SEED)?;
        while swim.poll_output().is_some() {}
        let id = member_id(transport.dial(through).await?);
        swim.join(Instant::START + started.elapsed(), Peer { id, addr: through });
        let (order, turn) = (None, 0);
        let (rounds, entries) = (BTreeMap::new(), BTreeMap::new());
        let mut liar = Self {
            started,
            swim,
            identity,
            cluster_tag,
            rings,
            transport,
            receiver,
            order,
            turn,
            rounds,
            entries,
        };
        liar.flush();
        Ok(liar)
    }

    fn now(&self) -> Instant {
        Instant::START + self.started.elapsed()
    }

    /// When to wake although nothing happens; without a timer, soon enough.
    fn deadline(&self) -> time::Instant {
        let due = self.swim.poll_timeout().map(|at| self.started + at.since_start());
        due.unwrap_or_else(|| Clock::now() + MAX_SLEEP).into()
    }

    fn obey(&mut self, order: Order) {
        self.order = order;
        self.turn = 0;
    }

    fn take_turn(&mut self) {
        let is_flood = self.order.as_ref().is_some_and(|(lie, _)| Lie::OF_COST.contains(lie));
        (0..if is_flood { FLOOD } else { 1 }).for_each(|_| self.tell());
    }

    /// Sends the lie of this turn to all members but its victim, which would refute it.
    fn tell(&mut self) {
        let Some((lie, victim)) = self.order.clone() else {
            return;
        };
        let members = self.swim.members();
        let Some(victim) = members.by_name(&victim).next() else {
            return;
        };
        let knowledge = Knowledge {
            identity: &self.identity,
            cluster_tag: self.cluster_tag,
            rings: self.rings,
            members: &members,
            entries: &self.entries,
            victim,
            turn: self.turn,
        };
        let told = members.live().filter(|member| member.id() != victim.id());
        for member in told.filter(|member| member.id() != members.me().id()) {
            let round = self.rounds.get(&member.id()).copied().unwrap_or_default();
            if let Some(payload) = knowledge.payload(lie, round) {
                self.transport.send_datagram(transport_peer(peer_of(member)), payload.into());
            }
        }
        self.turn = self.turn.wrapping_add(1);
    }

    /// Learns rounds and records.
    fn hear(&mut self, from: MemberId, payload: &[u8]) {
        for part in split(payload) {
            if let Some(round) = round_in(part) {
                self.rounds.insert(from, round);
            }
            let key = key_in(part).map(phin_quic::PublicKey);
            let id = key.map(|key| member_id(PeerId::of(&key)));
            let has_room = self.entries.len() < MAX_ENTRIES;
            if let Some(id) = id.filter(|id| has_room || self.entries.contains_key(id)) {
                self.entries.insert(id, part.to_vec());
            }
        }
    }

    fn on_received(&mut self, received: Received) {
        let now = self.now();
        match received {
            Received::Datagram { from, payload } => {
                self.hear(member_id(from.id), &payload);
                self.swim.handle_datagram(now, swim_peer(from), &payload);
            }
            Received::Stream { from, payload } => {
                self.hear(member_id(from.id), &payload);
                self.swim.handle_stream(now, swim_peer(from), &payload);
            }
            Received::Connected { peer } => self.swim.handle_connected(now, swim_peer(peer)),
            Received::Disconnected { peer, reason } => {
                let reason = match reason {
                    DisconnectReason::Closed(CloseReason::Shutdown) => Disconnection::Closed,
                    DisconnectReason::Reset => Disconnection::Reset,
                    DisconnectReason::TimedOut => Disconnection::Lost,
                    _ => Disconnection::Idle,
                };
                self.swim.handle_disconnected(now, member_id(peer.id), reason);
            }
            Received::Unreachable { peer, error } => {
                let unreachable = match error {
                    DialError::PortClosed => Unreachable::Refused,
                    _ => Unreachable::NoAnswer,
                };
                self.swim.handle_unreachable(now, member_id(peer.id), unreachable);
            }
            Received::PortRefused { peer } => {
                let refused = HostAnswer::PortRefused;
                self.swim.handle_host_answer(now, member_id(peer.id), refused);
            }
            // Such notices serve an application, and a node that moves.
            _ => {}
        }
        self.flush();
    }

    /// Handles all that was received, and fires timers last.
    fn settle(&mut self) {
        for _ in 0..MAX_BATCH {
            let Some(received) = self.receiver.try_receive() else { break };
            self.on_received(received);
        }
        let now = self.now();
        if self.swim.poll_timeout().is_some_and(|due| due <= now) {
            self.swim.handle_timeout(now);
            self.flush();
        }
    }

    fn flush(&mut self) {
        let mut asked = Vec::new();
        while let Some(output) = self.swim.poll_output() {
            match output {
                Output::Datagram { to, payload } => {
                    if let Some(payload) = self.censor(payload) {
                        self.transport.send_datagram(transport_peer(to), payload.into());
                    }
                }
                Output::Stream { to, payload } => {
                    if let Some(payload) = self.censor(payload) {
                        self.transport.send_stream(transport_peer(to), payload.into());
                    }
                }
                Output::Disconnect(id) => {
                    let peer = PeerId::from_bytes(id.0);
                    self.transport.close_peer(peer, CloseReason::Unwanted);
                }
                Output::AskHost { to, .. } => asked.push(to.id),
                // The others are for an application.
                _ => {}
            }
        }
        for id in asked {
            // It asks no hosts. A node may have no answer either.
            self.swim.handle_host_answer(self.now(), id, HostAnswer::Unknown);
            self.flush();
        }
    }

    /// Removes parts about a victim whose death is hidden from the messages of the liar's own core.
    fn censor(&self, payload: Vec<u8>) -> Option<Vec<u8>> {
        let hidden = self.order.as_ref().filter(|(lie, _)| Lie::OF_LIFE.contains(lie));
        let Some((_, victim)) = hidden else {
            return Some(payload);
        };
        let members = self.swim.members();
        let Some(id) = members.by_name(victim).next().map(|victim| victim.id().0) else {
            return Some(payload);
        };
        let parts = split(&payload).into_iter();
        let kept = parts.filter(|part| !part.windows(id.len()).any(|bytes| bytes == id));
        let kept: Vec<u8> = kept.flatten().copied().collect();
        (!kept.is_empty()).then(|| [&payload[..1], &kept].concat())
    }
}

/// The keys of the core: those of the transport.
struct LiarKeys {
    identity: Arc<Identity>,
    cluster_tag: [u8; 8],
}

impl Keys for LiarKeys {
    fn cluster_tag(&self) -> [u8; 8] {
        self.cluster_tag
    }

    fn public_key(&self) -> PublicKey {
        PublicKey(self.identity.public_key().0)
    }

    fn member_id(&self, key: &PublicKey) -> MemberId {
        member_id(PeerId::of(&phin_quic::PublicKey(key.0)))
    }

    fn sign(&self, message: &[u8]) -> Signature {
        Signature(self.identity.sign(message).0)
    }

    fn verify(&self, key: &PublicKey, message: &[u8], signature: &Signature) -> bool {
        let (key, signature) = (phin_quic::PublicKey(key.0), phin_quic::Signature(signature.0));
        phin_quic::verify(&key, message, &signature)
    }
}

fn peer_of(member: &Member) -> Peer {
    Peer { id: member.id(), addr: member.addr() }
}

fn member_id(id: PeerId) -> MemberId {
    MemberId(id.to_bytes())
}

fn swim_peer(peer: phin_quic::Peer) -> Peer {
    Peer { id: member_id(peer.id), addr: peer.addr }
}

fn transport_peer(peer: Peer) -> phin_quic::Peer {
    phin_quic::Peer { id: PeerId::from_bytes(peer.id.0), addr: peer.addr }
}

/// Where the lie is a flood of requests, so many payloads go to each member in a turn.
const FLOOD: usize = 10;
/// A liar draws nothing that others may not guess.
const RNG_SEED: u64 = 1;
/// The longest sleep without a timer of the core.
const MAX_SLEEP: Duration = Duration::from_secs(1);
/// The most received before timers fire.
const MAX_BATCH: usize = 4_096;
/// Records that are kept; those of further members are not.
const MAX_ENTRIES: usize = 1_024;
