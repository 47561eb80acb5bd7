//! [`AdminStatement`]: the word of an administrator that a member is expelled, or admitted again.

use std::{cmp::Ordering, fmt};

use serde::{Deserialize, Serialize};

use crate::{
    Keys, MemberId, Name, PublicKey, Signature,
    wire::{DecodeError, bytes::Bytes},
};

/// Names an admin key: the first bytes of the id that a member with this key would have.
///
/// Displays as 16 hexadecimal digits.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct AdminKeyId(pub [u8; 8]);

impl AdminKeyId {
    /// The id of this public key.
    pub fn of(keys: &dyn Keys, key: &PublicKey) -> Self {
        let id = keys.member_id(key).as_u128();
        Self(((id >> 64) as u64).to_be_bytes())
    }
}

impl fmt::Display for AdminKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl fmt::Debug for AdminKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whether a member is expelled.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Deserialize, serde::Serialize),
    serde(rename_all = "kebab-case")
)]
pub enum Standing {
    /// It is no member, and is refused.
    Expelled,
    /// It was expelled, and may be a member again.
    Readmitted,
}

impl Standing {
    /// The standing's name in logs and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Expelled => "expelled",
            Self::Readmitted => "readmitted",
        }
    }

    const fn code(self) -> u8 {
        match self {
            Self::Expelled => 1,
            Self::Readmitted => 2,
        }
    }

    const fn of_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Expelled),
            2 => Some(Self::Readmitted),
            _ => None,
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A signed statement about one id. Of two about the same id, the later one counts.
///
/// The signature is over everything in it, so a statement can be kept, copied and sent by anyone. It is made with an admin
/// key, which no node has.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct AdminStatement {
    /// The tag of the cluster ([`Keys::cluster_tag`]) that it is for.
    pub cluster: [u8; 8],
    /// The member.
    pub subject: MemberId,
    /// The name that the member had, for display only.
    pub name: Option<Name>,
    /// When it was signed, in milliseconds since 1970: the order of statements.
    pub at: u64,
    /// The content of the statement.
    pub standing: Standing,
    /// From when on the statement has no effect, in milliseconds since 1970; never if `None`.
    pub until: Option<u64>,
    /// The key that signed it.
    pub key: AdminKeyId,
    /// The signature.
    pub signature: Signature,
}

impl AdminStatement {
    /// The most bytes of an encoded statement.
    pub const MAX_BYTES: usize = 256;

    /// A statement that nobody has signed, without a name and without an end.
    pub const fn new(cluster: [u8; 8], subject: MemberId, standing: Standing, at: u64) -> Self {
        let (key, signature) = (AdminKeyId([0; 8]), Signature([0; 64]));
        Self { cluster, subject, name: None, at, standing, until: None, key, signature }
    }

    /// The same, signed with the key of `admin`.
    #[must_use]
    pub fn sign(self, admin: &dyn Keys) -> Self {
        let key = AdminKeyId::of(admin, &admin.public_key());
        let unsigned = Self { key, ..self };
        let signature = admin.sign(&unsigned.message());
        Self { signature, ..unsigned }
    }

    /// Encodes the statement, to keep or send it.
    pub fn to_bytes(&self) -> Vec<u8> {
        rmp_serde::to_vec(&StatementBody::from(self)).expect("writing to a vector cannot fail")
    }

    /// Decodes a statement. Its signature is not checked.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let body = Some(bytes).filter(|bytes| bytes.len() <= Self::MAX_BYTES);
        let body: StatementBody = rmp_serde::from_slice(body?).ok()?;
        let statement = body.read().ok()?;
        // Bytes after its end, and other ways to write the same.
        (statement.to_bytes() == bytes).then_some(statement)
    }

    /// Whether the holder of this key signed it.
    pub(crate) fn is_authentic(&self, keys: &dyn Keys, key: &PublicKey) -> bool {
        keys.verify(key, &self.message(), &self.signature)
    }

    pub(crate) fn is_over(&self, wall: u64) -> bool {
        self.until.is_some_and(|until| until <= wall)
    }

    /// The order of statements about one id. Two of the same moment are ordered too, so that all members choose the same.
    pub(crate) fn cmp_order(&self, other: &Self) -> Ordering {
        let order = |statement: &Self| (statement.at, statement.signature.0);
        order(self).cmp(&order(other))
    }

    /// A word by which two statements differ.
    pub(crate) fn digest(&self) -> u64 {
        let signed = self.signature.0.first_chunk().expect("a signature has 64 bytes");
        self.at ^ u64::from_be_bytes(*signed)
    }

    /// The bytes that are signed. They begin with a text that no other signed bytes begin with.
    fn message(&self) -> Vec<u8> {
        let Self { cluster, subject, name, at, standing, until, key, signature: _ } = self;
        [
            b"phin expel 1\0".as_slice(),
            cluster,
            &subject.0,
            &at.to_be_bytes(),
            &[standing.code()],
            &[u8::from(until.is_some())],
            &until.unwrap_or_default().to_be_bytes(),
            &key.0,
            name.as_ref().map_or("", Name::as_str).as_bytes(),
        ]
        .concat()
    }
}

/// A statement as it is written.
#[derive(Deserialize, Serialize)]
pub(crate) struct StatementBody(
    Bytes<8>,
    MemberId,
    String,
    u64,
    u8,
    Option<u64>,
    Bytes<8>,
    Bytes<64>,
);

impl From<&AdminStatement> for StatementBody {
    fn from(statement: &AdminStatement) -> Self {
        let AdminStatement { cluster, subject, name, at, standing, until, key, signature } =
            statement;
        let name = name.as_ref().map_or_else(String::new, ToString::to_string);
        let (cluster, signature) = (Bytes(*cluster), Bytes(signature.0));
        Self(cluster, *subject, name, *at, standing.code(), *until, Bytes(key.0), signature)
    }
}

impl StatementBody {
    pub(crate) fn read(self) -> Result<AdminStatement, DecodeError> {
        let Self(cluster, subject, name, at, standing, until, key, signature) = self;
        let invalid = DecodeError::Invalid("statement of an administrator");
        let named = Some(&*name).filter(|name| !name.is_empty());
        let (Ok(name), Some(standing)) =
            (named.map(Name::try_from).transpose(), Standing::of_code(standing))
        else {
            return Err(invalid);
        };
        Ok(AdminStatement {
            cluster: cluster.0,
            subject,
            name,
            at,
            standing,
            until,
            key: AdminKeyId(key.0),
            signature: Signature(signature.0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::member::record::tests::{TestKeys, id};

    fn statement() -> AdminStatement {
        let plain = AdminStatement::new([1; 8], id(3), Standing::Expelled, 1_700_000_000_000);
        AdminStatement { name: Some(Name::try_from("n3").unwrap()), until: Some(7), ..plain }
    }

    #[test]
    fn a_statement_survives_its_bytes_and_nothing_else_is_one() {
        for statement in [statement(), AdminStatement { name: None, until: None, ..statement() }] {
            let signed = statement.sign(&TestKeys(200));
            let bytes = signed.to_bytes();
            assert!(bytes.len() <= AdminStatement::MAX_BYTES);
            assert_eq!(AdminStatement::from_bytes(&bytes), Some(signed));
            for length in 0..bytes.len() {
                assert_eq!(AdminStatement::from_bytes(&bytes[..length]), None);
            }
            assert_eq!(AdminStatement::from_bytes(&[&bytes[..], b"more"].concat()), None);
        }
        let longest = "n".repeat(Name::MAX_BYTES);
        let longest = AdminStatement {
            name: Some(Name::try_from(&*longest).unwrap()),
            at: u64::MAX,
            until: Some(u64::MAX),
            ..statement()
        };
        assert!(longest.to_bytes().len() <= AdminStatement::MAX_BYTES);
    }

    #[test]
    fn the_signature_is_over_each_field() {
        let (admin, other) = (TestKeys(200), TestKeys(201));
        let signed = statement().sign(&admin);
        assert!(signed.is_authentic(&admin, &admin.public_key()));
        assert!(!signed.is_authentic(&admin, &other.public_key()));
        let same = || signed.clone();
        let changed = [
            AdminStatement { cluster: [2; 8], ..same() },
            AdminStatement { subject: id(4), ..same() },
            AdminStatement { name: None, ..same() },
            AdminStatement { at: 1, ..same() },
            AdminStatement { standing: Standing::Readmitted, ..same() },
            AdminStatement { until: None, ..same() },
            AdminStatement { until: Some(8), ..same() },
            AdminStatement { key: AdminKeyId([9; 8]), ..same() },
        ];
        for changed in changed {
            assert!(!changed.is_authentic(&admin, &admin.public_key()), "{changed:?}");
        }
    }
}
