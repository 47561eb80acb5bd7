//! Admin keys, and what an administrator signs with them: that a member is expelled, or admitted again.

use std::{
    collections::HashMap,
    fmt,
    str::FromStr,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use phin_quic::{Identity, IdentityError, PeerId, SecretText};
use phin_swim::{
    AdminKeyId, AdminStatement, ExpelRefusal, Expelling, Instant, MemberId, PublicKey, Standing,
    Swim,
};
use tokio::{sync::watch, time::timeout};

use crate::{Cluster, ExpelError, Stopped, clock::Clock, keys::NodeKeys};

/// The private half of an admin key (Ed25519), with which an administrator signs statements ([`AdminStatement`]).
///
/// No node needs it, and none should have it. Nodes follow the statements of the public halves that they are given
/// ([`Credentials::admin_keys`](crate::Credentials::admin_keys)).
///
/// ```
/// use phin::{AdminKey, AdminStatement, MemberId, Standing};
///
/// let key = AdminKey::generate();
/// let member = MemberId([7; 16]);
/// let cluster = "phin".parse::<phin::ClusterName>()?.tag();
/// let statement = key.sign(AdminStatement::new(cluster, member, Standing::Expelled, 1_700_000_000_000));
/// assert_eq!(statement.key, key.public_key().id());
/// # Ok::<(), phin::ClusterNameError>(())
/// ```
#[derive(Clone)]
pub struct AdminKey(Arc<Identity>);

impl AdminKey {
    /// Generates a random key.
    ///
    /// # Panics
    /// If the operating system provides no randomness.
    pub fn generate() -> Self {
        Self(Arc::new(Identity::generate()))
    }

    /// Reads a key from PEM (PKCS #8).
    ///
    /// # Errors
    /// The text contains no private key, or one of another algorithm.
    pub fn from_pem(pem: &str) -> Result<Self, IdentityError> {
        Identity::from_pem(pem).map(|identity| Self(Arc::new(identity)))
    }

    /// The key as PEM (PKCS #8).
    pub fn to_pem(&self) -> SecretText {
        self.0.to_pem()
    }

    /// The public half, which nodes are given.
    pub fn public_key(&self) -> AdminPublicKey {
        AdminPublicKey(self.0.public_key().0)
    }

    /// Signs a statement.
    pub fn sign(&self, statement: AdminStatement) -> AdminStatement {
        statement.sign(&NodeKeys::new(Arc::clone(&self.0)))
    }
}

impl fmt::Debug for AdminKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AdminKey({})", self.public_key().id())
    }
}

/// The public half of an admin key. Displays and parses as 64 hexadecimal digits.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct AdminPublicKey(
    /// The key as RFC 8032 encodes it.
    pub [u8; 32],
);

impl AdminPublicKey {
    /// The id by which statements name it.
    pub fn id(&self) -> AdminKeyId {
        let PublicKey(key) = self.in_core();
        let id = PeerId::of(&phin_quic::PublicKey(key)).to_bytes();
        AdminKeyId(std::array::from_fn(|place| id[place]))
    }

    pub(crate) const fn in_core(&self) -> PublicKey {
        PublicKey(self.0)
    }
}

impl fmt::Display for AdminPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for AdminPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AdminPublicKey({self})")
    }
}

/// The error for a text that is not an [`AdminPublicKey`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a public admin key has 64 hexadecimal digits")]
pub struct AdminPublicKeyError;

impl FromStr for AdminPublicKey {
    type Err = AdminPublicKeyError;

    fn from_str(text: &str) -> Result<Self, AdminPublicKeyError> {
        let is_hex = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let digit = |place: usize| u8::from_str_radix(&text[2 * place..2 * place + 2], 16);
        match is_hex {
            true => Ok(Self(std::array::from_fn(|place| digit(place).unwrap_or_default()))),
            false => Err(AdminPublicKeyError),
        }
    }
}

/// Expulsion of members.
impl Cluster {
    /// Takes a statement of an administrator that a member is expelled, or admitted again, acts on it, and hands it to all
    /// other members. A statement that is known already has no further effect.
    ///
    /// An expelled member is dead at once, and leaves the list ([`Change::Expelled`](crate::Change::Expelled)). Its connections
    /// end, handshakes with it are refused, and what others say of it has no effect, until a later statement readmits it, or
    /// the statement ends. Statements are kept in the data directory; this method returns once that is done. A node without
    /// one receives them again from the others.
    ///
    /// An expulsion is about an id. Where a cluster key admits nodes, its holder can join under another id: replace the key
    /// too. Where a CA does, revoke the certificate too.
    ///
    /// # Errors
    /// This node has no such admin key, the statement is for another cluster or not signed, a later one is known, its time is
    /// over, or there are too many; it could not be kept, though it is in effect; or the node has been shut down.
    pub async fn expel(&self, statement: AdminStatement) -> Result<(), ExpelError> {
        let kept = self.ask(move |node, now| node.expel(now, statement)).await??;
        let Some(Keeping { mut written, version }) = kept else {
            return Ok(());
        };
        let kept = timeout(MAX_KEEPING_TIME, written.wait_for(|written| *written >= version)).await;
        match kept {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(Stopped.into()),
            Err(_elapsed) => Err(ExpelError::NotKept),
        }
    }

    /// The statements of administrators in effect, in the order of the ids that they are about: of expelled members, and of
    /// those that were readmitted.
    pub fn expulsions(&self) -> Vec<Arc<AdminStatement>> {
        self.shared.status.expulsions.borrow().clone()
    }

    /// The statement by which this node itself is expelled, if it is.
    pub fn expelled(&self) -> Option<Arc<AdminStatement>> {
        let statements = self.shared.status.expulsions.borrow();
        let mine = statements.iter().find(|statement| statement.subject == self.id());
        mine.filter(|statement| statement.standing == Standing::Expelled).cloned()
    }

    /// The tag of this node's cluster, which statements name ([`AdminStatement::cluster`]).
    pub fn cluster_tag(&self) -> [u8; 8] {
        self.shared.cluster.tag()
    }

    /// The ids of the admin keys that this node follows.
    ///
    /// # Errors
    /// The node has been shut down.
    pub async fn admin_keys(&self) -> Result<Vec<AdminKeyId>, Stopped> {
        self.ask(|node, _| Expelling::admin_keys(node.swim()).collect()).await
    }
}

/// A statement that is being written to the data directory.
#[derive(Debug)]
pub(crate) struct Keeping {
    /// The version of the statements that is written.
    pub(crate) written: watch::Receiver<u64>,
    pub(crate) version: u64,
}

pub(crate) type ExpelResult = Result<Option<Keeping>, ExpelRefusal>;

/// The wall clock, in milliseconds since 1970.
pub(crate) fn wall_millis(clock: &Clock, now: Instant) -> u64 {
    let since = clock.wall(now).duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The moment of a statement, in its milliseconds since 1970.
pub fn statement_time(millis: u64) -> SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_millis(millis)).unwrap_or(UNIX_EPOCH)
}

/// Gives a node that starts the admin keys, and the statements that its earlier run kept.
pub(crate) fn restore(
    swim: &mut Swim,
    clock: &Clock,
    admins: &[AdminPublicKey],
    kept: Vec<AdminStatement>,
) {
    let (now, count) = (clock.now(), kept.len());
    let mut expelling = Expelling::of(swim, now);
    expelling.set_wall_clock(wall_millis(clock, now));
    let keys: Vec<_> = admins.iter().map(AdminPublicKey::in_core).collect();
    expelling.set_admin_keys(&keys);
    let ignored = expelling.restore(kept);
    if ignored > 0 {
        tracing::warn!(
            ignored,
            count,
            "statements of administrators that were kept have no effect: their time is over, or --admin-key does not have their key"
        );
    }
    // They are about what nobody has read yet.
    while swim.poll_output().is_some() {}
}

/// The expelled members, which the transport refuses, each with its statement.
pub(crate) fn to_refuse(
    statements: &[Arc<AdminStatement>],
    me: MemberId,
) -> HashMap<PeerId, Bytes> {
    let expelled = statements.iter().filter(|one| one.standing == Standing::Expelled);
    // A node that is expelled itself goes on as it is.
    let others = expelled.filter(|one| one.subject != me);
    others.map(|one| (PeerId::from_bytes(one.subject.0), one.to_bytes().into())).collect()
}

/// How long writing a statement may take before the call returns an error.
const MAX_KEEPING_TIME: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use phin_swim::Keys;

    use super::*;

    #[test]
    fn a_public_key_survives_its_text_and_has_the_id_that_statements_name() {
        let key = AdminKey::generate();
        let public = key.public_key();
        assert_eq!(public.to_string().parse(), Ok(public));
        let again = AdminKey::from_pem(&key.to_pem()).unwrap();
        assert_eq!(again.public_key(), public);
        let keys = NodeKeys::new(Arc::clone(&key.0));
        assert_eq!(public.id(), AdminKeyId::of(&keys, &keys.public_key()));
        for text in ["", "00", &"g".repeat(64), &"0".repeat(63), &"ä".repeat(32)] {
            assert_eq!(text.parse::<AdminPublicKey>(), Err(AdminPublicKeyError), "{text}");
        }
    }
}
