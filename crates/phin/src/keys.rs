//! The core's keys, held by the transport's identity.

use std::sync::{Arc, PoisonError, RwLock};

use phin_quic::{
    CloseReason, ClusterName, Credentials, CredentialsError, DialError, DisconnectReason,
    HostQuestion, IdRules, Identity, PeerId, Refusal,
};
use phin_swim::{
    AssignedId, Disconnection, HostAnswer, Keys, MemberId, PublicKey, Question, Signature,
    Unreachable,
};

/// Signs the records and votes of this node with the key that its connections prove.
pub(crate) struct NodeKeys {
    identity: Arc<Identity>,
    cluster_tag: [u8; 8],
    /// These follow from the credentials, which can be replaced.
    ids: RwLock<Ids>,
}

/// The ids that CAs assign.
#[derive(Default)]
struct Ids {
    /// That of this node.
    own: Option<AssignedId>,
    /// Those of others.
    rules: IdRules,
}

impl Ids {
    fn of(credentials: &Credentials) -> Result<Self, CredentialsError> {
        let own = credentials.assigned_id()?.map(assigned_id);
        Ok(Self { own, rules: credentials.id_rules()? })
    }
}

impl NodeKeys {
    /// The keys of a node that does not vote, and accepts ids of keys alone.
    pub(crate) fn new(identity: Arc<Identity>) -> Self {
        Self { identity, cluster_tag: [0; 8], ids: RwLock::default() }
    }

    /// The keys of a node that votes in the cluster of this name.
    pub(crate) fn voting_in(self, cluster: &ClusterName) -> Self {
        Self { cluster_tag: cluster.tag(), ..self }
    }

    /// The keys of a node with the ids of these credentials.
    pub(crate) fn admitted_by(self, credentials: &Credentials) -> Result<Self, CredentialsError> {
        Ok(Self { ids: RwLock::new(Ids::of(credentials)?), ..self })
    }

    /// Takes over the ids of other credentials.
    pub(crate) fn replace_ids(&self, credentials: &Credentials) -> Result<(), CredentialsError> {
        let ids = Ids::of(credentials)?;
        *self.ids.write().unwrap_or_else(PoisonError::into_inner) = ids;
        Ok(())
    }

    /// The id of this node.
    pub(crate) fn id(&self) -> MemberId {
        let assigned = self.assigned_id().map(|assigned| assigned.id);
        assigned.unwrap_or_else(|| member_id(self.identity.id()))
    }
}

impl Keys for NodeKeys {
    fn cluster_tag(&self) -> [u8; 8] {
        self.cluster_tag
    }

    fn public_key(&self) -> PublicKey {
        PublicKey(self.identity.public_key().0)
    }

    fn member_id(&self, key: &PublicKey) -> MemberId {
        member_id(PeerId::of(&phin_quic::PublicKey(key.0)))
    }

    fn assigned_id(&self) -> Option<AssignedId> {
        self.ids.read().unwrap_or_else(PoisonError::into_inner).own
    }

    fn accepts_id(&self, key: &PublicKey, assigned: Option<&AssignedId>) -> bool {
        let (key, assigned) = (phin_quic::PublicKey(key.0), assigned.map(assigned_id_in_transport));
        let ids = self.ids.read().unwrap_or_else(PoisonError::into_inner);
        ids.rules.check(&key, assigned.as_ref()).is_ok()
    }

    fn sign(&self, message: &[u8]) -> Signature {
        Signature(self.identity.sign(message).0)
    }

    fn verify(&self, key: &PublicKey, message: &[u8], signature: &Signature) -> bool {
        let (key, signature) = (phin_quic::PublicKey(key.0), phin_quic::Signature(signature.0));
        phin_quic::verify(&key, message, &signature)
    }
}

/// The member that the far end of a connection is.
pub(crate) fn member_id(id: PeerId) -> MemberId {
    MemberId(id.to_bytes())
}

/// An id that a CA assigned, as the protocol carries it.
fn assigned_id(assigned: phin_quic::AssignedId) -> AssignedId {
    let phin_quic::AssignedId { id, assigned_at_ms, signature } = assigned;
    AssignedId { id: member_id(id), assigned_at_ms, signature: Signature(signature.0) }
}

/// The same as the transport checks it.
fn assigned_id_in_transport(assigned: &AssignedId) -> phin_quic::AssignedId {
    let AssignedId { id, assigned_at_ms, signature } = *assigned;
    let signature = phin_quic::Signature(signature.0);
    phin_quic::AssignedId { id: peer_id(id), assigned_at_ms, signature }
}

/// The far end of a connection to a member.
pub(crate) fn peer_id(id: MemberId) -> PeerId {
    PeerId::from_bytes(id.0)
}

/// Where a member is, as the transport says it.
pub(crate) fn transport_peer(peer: phin_swim::Peer) -> phin_quic::Peer {
    phin_quic::Peer { id: peer_id(peer.id), addr: peer.addr }
}

/// Where a member is, as the protocol says it.
pub(crate) fn swim_peer(peer: phin_quic::Peer) -> phin_swim::Peer {
    phin_swim::Peer { id: member_id(peer.id), addr: peer.addr }
}

/// A question to a host, in the transport's type.
pub(crate) fn host_question(question: Question) -> HostQuestion {
    match question {
        Question::Reachability => HostQuestion::IsThere,
        Question::Silence => HostQuestion::IsPeerThere,
    }
}

/// An answer of a host, in the protocol's type.
pub(crate) fn host_answer(answer: phin_quic::HostAnswer) -> HostAnswer {
    match answer {
        phin_quic::HostAnswer::PortRefused => HostAnswer::PortRefused,
        phin_quic::HostAnswer::IsThere => HostAnswer::Answers,
        phin_quic::HostAnswer::Nothing => HostAnswer::Nothing,
        phin_quic::HostAnswer::Unknown => HostAnswer::Unknown,
    }
}

/// The meaning of a failed dial for the protocol.
pub(crate) fn unreachable(error: &DialError) -> Unreachable {
    match error {
        DialError::Refused { refusal, .. } => not_admitted(refusal),
        DialError::WrongPeer { .. } | DialError::OwnIdentity | DialError::IdentityInUse => {
            Unreachable::OtherIdentity
        }
        DialError::PortClosed => Unreachable::Refused,
        // Some of these are ours to answer for, others may come with later releases: none says
        // anything of the member.
        _ => Unreachable::NoAnswer,
    }
}

/// The meaning of a refusal between this node and the process at a member's own address. A process with another key,
/// or in another cluster, is not the member. A member whose certificate expired is refused, too.
fn not_admitted(refusal: &Refusal) -> Unreachable {
    match refusal {
        Refusal::WrongKey | Refusal::OtherCluster => Unreachable::OtherIdentity,
        _ => Unreachable::NotAdmitted,
    }
}

/// The meaning of a connection's end for the protocol: only a peer that shuts down, or was started anew, is gone.
pub(crate) fn disconnection(reason: &DisconnectReason) -> Disconnection {
    match reason {
        DisconnectReason::Closed(CloseReason::Shutdown) => Disconnection::Closed,
        DisconnectReason::Reset => Disconnection::Reset,
        DisconnectReason::TimedOut => Disconnection::Lost,
        // We closed it, or it was closed for a reason that says nothing of the peer.
        _ => Disconnection::Idle,
    }
}

#[cfg(test)]
mod tests;
