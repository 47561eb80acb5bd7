//! Proof of life: where votes are to be signed, another member's statement that a silent one lives counts only with the
//! signature of the silent one.
//!
//! This node sends a random number with its ping-req to the member that makes the statement, the witness. The witness pings the
//! subject with that number, which the subject signs, and returns the answer. The number was never used before, so the answer
//! cannot be older than the question.

use std::collections::VecDeque;

use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::{
    Ctx, Generation, Instant, Keys, MemberId, Part, Peer, PublicKey, Signature,
    detect::clear::LifeSigns,
    wire::{bytes::Bytes, field},
};

/// A random number that was not used before.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Nonce(pub(crate) [u8; 16]);

impl Serialize for Nonce {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Bytes(self.0).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Nonce {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(Bytes::deserialize(deserializer)?.0))
    }
}

/// A member's signature over a number that another member chose.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Proof {
    pub(crate) subject: MemberId,
    /// Which run of the subject's process signed.
    pub(crate) generation: Generation,
    pub(crate) nonce: Nonce,
    #[serde(with = "field::signature")]
    pub(crate) signature: Signature,
}

impl Proof {
    /// Signs a number that this node was sent.
    pub(crate) fn sign(
        keys: &dyn Keys,
        (subject, generation): (MemberId, Generation),
        nonce: Nonce,
    ) -> Self {
        let proof = Self { subject, generation, nonce, signature: Signature([0; 64]) };
        Self { signature: keys.sign(&proof.statement(keys)), ..proof }
    }

    /// The bytes that are signed. They begin with a text that no other signed bytes begin with.
    fn statement(&self, keys: &dyn Keys) -> Vec<u8> {
        let Self { subject, generation, nonce, signature: _ } = self;
        [
            b"phin alive 1\0".as_slice(),
            &keys.cluster_tag(),
            &subject.0,
            &generation.0.to_be_bytes(),
            &nonce.0,
        ]
        .concat()
    }

    /// Whether the subject signed this with this key.
    pub(crate) fn is_authentic(&self, keys: &dyn Keys, key: &PublicKey) -> bool {
        keys.verify(key, &self.statement(keys), &self.signature)
    }
}

/// The proofs that this node asked for, and those that it passes on to others. Each is taken once; of too many, the oldest
/// is given up, as if it had been lost on the way.
#[derive(Debug, Default)]
pub(crate) struct Proofs {
    /// At most [`MAX_ASKED`].
    asked: VecDeque<Asked>,
    /// At most [`MAX_RELAYED`].
    relayed: VecDeque<Relayed>,
}

/// A proof that this node asked for.
#[derive(Clone, Copy, Debug)]
struct Asked {
    nonce: Nonce,
    subject: MemberId,
    witness: MemberId,
    at: Instant,
}

/// A proof that another member asked for through this one.
#[derive(Clone, Copy, Debug)]
struct Relayed {
    nonce: Nonce,
    subject: MemberId,
    requester: Peer,
}

impl Proofs {
    /// Chooses a number that a witness is to have the subject sign.
    pub(crate) fn ask(&mut self, ctx: &mut Ctx, witness: MemberId, subject: MemberId) -> Nonce {
        let nonce = Nonce(ctx.rng.random());
        ctx.stats.proofs_asked += 1;
        push(&mut self.asked, MAX_ASKED, Asked { nonce, subject, witness, at: ctx.now });
        nonce
    }

    /// When this node last asked this witness for a proof that has not come.
    fn asked_at(&self, witness: MemberId, subject: MemberId) -> Option<Instant> {
        let is_same = |asked: &&Asked| asked.witness == witness && asked.subject == subject;
        self.asked.iter().find(is_same).map(|asked| asked.at)
    }

    /// When this node asked for this proof, if it did, and of this witness.
    fn take_asked(&mut self, witness: MemberId, proof: &Proof) -> Option<Instant> {
        let is_it = |asked: &Asked| {
            asked.nonce == proof.nonce && asked.witness == witness && asked.subject == proof.subject
        };
        let index = self.asked.iter().position(is_it)?;
        Some(self.asked.remove(index)?.at)
    }

    /// Another member waits for this proof.
    pub(crate) fn relay(&mut self, requester: Peer, subject: MemberId, nonce: Nonce) {
        push(&mut self.relayed, MAX_RELAYED, Relayed { nonce, subject, requester });
    }

    /// The member that asked for this proof through this one. Only its subject answers.
    fn take_relayed(&mut self, from: MemberId, proof: &Proof) -> Option<Peer> {
        let is_it = |relayed: &Relayed| relayed.nonce == proof.nonce && relayed.subject == from;
        let index = self.relayed.iter().position(is_it)?;
        Some(self.relayed.remove(index)?.requester)
    }
}

/// Adds one in front of a queue of at most `max`; the oldest one gives way.
fn push<T>(queue: &mut VecDeque<T>, max: usize, new: T) {
    queue.truncate(max - 1);
    queue.push_front(new);
}

impl LifeSigns<'_> {
    /// A witness says that a member was alive at `until`. If that would void misses of this node, it is to prove that, and
    /// meanwhile the member is given time to refute. Votes of others alone lead to no verdict here, so they need no proof.
    pub(crate) fn doubt(&mut self, witness: Peer, subject: MemberId, until: Instant) {
        let case = self.own.cases.get(subject);
        let missed = case.and_then(|case| case.misses.first().copied());
        if missed.is_some_and(|first| first <= until) {
            self.senses.links.record_unproved(self.ctx.now, subject, witness.id);
            self.ask_for_proof(witness, subject);
        }
    }

    /// Asks a member that says that this one lives to prove it, unless it was just asked; and any other member, as few may
    /// reach one that receives little.
    fn ask_for_proof(&mut self, witness: Peer, subject: MemberId) {
        let (now, period) = (self.ctx.now, self.ctx.params.period);
        let last = self.own.proofs.asked_at(witness.id, subject);
        if last.is_some_and(|last| now - last < period / ASKS_PER_PERIOD) {
            return;
        }
        let other = self.list.random_other(&mut self.ctx.rng);
        let other = other.filter(|&id| id != subject && id != witness.id);
        for to in [Some(witness), other.and_then(|id| self.list.peer(id))].into_iter().flatten() {
            let nonce = Some(self.own.proofs.ask(self.ctx, to.id, subject));
            self.ctx.send(to, &Part::PingReq { sequence: None, target: subject, nonce });
        }
    }

    /// Signs a number, for the member that asked the sender to ping this one.
    pub(crate) fn handle_challenge(&mut self, from: Peer, nonce: Nonce) {
        if !self.own.hearsay.may_challenge(self.ctx.now, from.id) {
            self.ctx.stats.challenges_refused += 1;
            return;
        }
        self.ctx.stats.proofs_signed += 1;
        let me = self.list.me();
        let proof = Proof::sign(&*self.ctx.keys, (me.id(), me.generation()), nonce);
        self.ctx.send(from, &Part::Proof(proof));
    }

    /// A proof arrives: one that this node asked for, or one to be passed on.
    pub(crate) fn handle_proof(&mut self, from: MemberId, proof: Proof) {
        if let Some(asked_at) = self.own.proofs.take_asked(from, &proof) {
            if self.is_proved(&proof) {
                self.record_reached(proof.subject, from, asked_at);
            }
        } else if let Some(requester) = self.own.proofs.take_relayed(from, &proof) {
            self.ctx.send(requester, &Part::Proof(proof));
        } else {
            self.ctx.stats.unasked_answers += 1;
        }
    }

    /// Whether the subject, as the run that is known here, signed this proof.
    fn is_proved(&mut self, proof: &Proof) -> bool {
        let known = self.list.get(proof.subject);
        let known = known.filter(|known| known.version().generation == proof.generation);
        let Some(key) = known.map(|known| known.record.public_key()) else {
            return false;
        };
        let is_authentic = proof.is_authentic(&*self.ctx.keys, &key);
        self.ctx.stats.forged_proofs += u64::from(!is_authentic);
        is_authentic
    }
}

/// How often in a period one witness is asked about one member.
const ASKS_PER_PERIOD: u32 = 2;
/// How many proofs are waited for: some of each of the members that are silent together.
const MAX_ASKED: usize = 256;
/// How many proofs are passed on at the same time.
const MAX_RELAYED: usize = 256;

#[cfg(test)]
mod tests;
