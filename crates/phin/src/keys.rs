//! The core's keys, held by the transport's identity.

use std::sync::Arc;

use phin_quic::{
    CloseReason, ClusterName, DialError, DisconnectReason, HostQuestion, Identity, PeerId, Refusal,
};
use phin_swim::{
    Disconnection, HostAnswer, Keys, MemberId, PublicKey, Question, Signature, Unreachable,
};

/// Signs the records and votes of this node with the key that its connections prove.
pub(crate) struct NodeKeys {
    identity: Arc<Identity>,
    cluster_tag: [u8; 8],
}

impl NodeKeys {
    /// The keys of a node that does not vote.
    pub(crate) const fn new(identity: Arc<Identity>) -> Self {
        Self { identity, cluster_tag: [0; 8] }
    }

    /// The keys of a node that votes in the cluster of this name.
    pub(crate) fn voting_in(self, cluster: &ClusterName) -> Self {
        Self { cluster_tag: cluster.tag(), ..self }
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
