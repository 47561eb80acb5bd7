//! The name and the keys that the nodes of one cluster share.

use std::{fmt, str::FromStr};

use ring::digest::{SHA256, digest};
use zeroize::Zeroizing;

use crate::{
    certificates,
    secret::{SecretText, derive, hex, random},
};

/// The name of a cluster: 1 to 64 ASCII letters, digits, `-`, `_` and `.`.
///
/// Nodes of clusters with different names refuse each other at the first message of the handshake. The default name
/// of the crate `phin` is `phin`.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ClusterName(String);

impl ClusterName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The ALPN protocol id, which both sides of a handshake must share.
    ///
    /// ALPN is not encrypted, so it contains a hash of the name.
    pub(crate) fn protocol(&self) -> Vec<u8> {
        self.alpn("phin")
    }

    /// The ALPN protocol id of watchers, which are no members.
    pub(crate) fn watch_protocol(&self) -> Vec<u8> {
        self.alpn("phin-watch")
    }

    /// The first 8 bytes of the SHA-256 of the name: what stands for the cluster where its name is too long, or not to be
    /// shown.
    pub fn tag(&self) -> [u8; 8] {
        let hash = digest(&SHA256, self.0.as_bytes());
        std::array::from_fn(|place| hash.as_ref()[place])
    }

    fn alpn(&self, protocol: &str) -> Vec<u8> {
        format!("{protocol}/1/{}", hex(&self.tag())).into_bytes()
    }
}

impl FromStr for ClusterName {
    type Err = ClusterNameError;

    fn from_str(text: &str) -> Result<Self, ClusterNameError> {
        if text.is_empty() || text.len() > MAX_NAME_BYTES {
            return Err(ClusterNameError::Length { found: text.len() });
        }
        let is_allowed = |c: &char| c.is_ascii_alphanumeric() || "-_.".contains(*c);
        match text.chars().find(|c| !is_allowed(c)) {
            Some(found) => Err(ClusterNameError::Character { found }),
            None => Ok(Self(text.to_owned())),
        }
    }
}

impl fmt::Display for ClusterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is not a [`ClusterName`].
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterNameError {
    /// The text is empty or too long.
    #[error("a cluster name has 1 to {MAX_NAME_BYTES} characters, this one has {found}")]
    Length {
        /// The length of the text in bytes.
        found: usize,
    },
    /// The text contains a character other than ASCII letters, digits, `-`, `_` and `.`.
    #[error(
        "a cluster name is made of ASCII letters, digits, `-`, `_` and `.`; this one has {found:?}"
    )]
    Character {
        /// The first such character.
        found: char,
    },
}

/// The secret that admits a node to a cluster: 32 random bytes, wiped from memory when dropped.
///
/// Every node derives the same CA from it and issues its own certificate. It has no `Display`, and its `Debug` shows
/// nothing: only [`ClusterKey::to_text`] reveals it. It parses from that text.
///
/// ```
/// use phin_quic::ClusterKey;
///
/// let key = ClusterKey::generate();
/// let same: ClusterKey = key.to_text().parse()?;
/// assert!("too short".parse::<ClusterKey>().is_err());
/// # let _ = same;
/// # Ok::<(), phin_quic::ClusterKeyError>(())
/// ```
#[derive(Clone)]
pub struct ClusterKey(Zeroizing<[u8; KEY_BYTES]>);

impl ClusterKey {
    /// Generates a random key.
    ///
    /// # Panics
    /// If the operating system provides no randomness.
    pub fn generate() -> Self {
        Self(Zeroizing::new(random()))
    }

    /// Creates a key from bytes, which must be random: they are used as they are, not stretched.
    pub fn from_bytes(bytes: [u8; KEY_BYTES]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Returns the key as 64 hexadecimal digits, which `parse` reads.
    pub fn to_text(&self) -> SecretText {
        hex(&*self.0).into()
    }

    /// The seed of the cluster's CA, the same on every node with the key.
    pub(crate) fn ca_seed(&self) -> Zeroizing<[u8; 32]> {
        derive(&*self.0, b"phin cluster ca v1")
    }
}

impl FromStr for ClusterKey {
    type Err = ClusterKeyError;

    /// Parses the text of [`ClusterKey::to_text`]. Ignores white space around it.
    fn from_str(text: &str) -> Result<Self, ClusterKeyError> {
        let text = text.trim();
        if let Some(position) = text.chars().position(|c| !c.is_ascii_hexdigit()) {
            return Err(ClusterKeyError::Character { position });
        }
        if text.len() != 2 * KEY_BYTES {
            return Err(ClusterKeyError::Length { found: text.len() });
        }
        let mut key = Self(Zeroizing::new([0; KEY_BYTES]));
        for (byte, digits) in key.0.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            *byte = digits.iter().fold(0, |value, digit| value << 4 | hex_value(*digit));
        }
        Ok(key)
    }
}

impl fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterKey(..)")
    }
}

/// Why a text is not a [`ClusterKey`]. It does not contain the text, which may be almost a key.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterKeyError {
    /// The text is too short or too long.
    #[error("a cluster key has 64 hexadecimal digits, this text has {found}")]
    Length {
        /// The length of the text in digits.
        found: usize,
    },
    /// The text contains a character that is not a hexadecimal digit.
    #[error(
        "a cluster key has 64 hexadecimal digits, this text has another character at position \
         {position}"
    )]
    Character {
        /// The position of the character, from 0.
        position: usize,
    },
}

/// The cluster keys of a node: its own key, and further keys whose holders it admits.
///
/// Several keys allow a cluster to change its key while it runs. In three steps, give every node the old key and the new
/// one, then the new key and the old one, then only the new key
/// ([`Transport::replace_credentials`](crate::Transport::replace_credentials)). A [`ClusterKey`] converts into a
/// ring of one key.
#[derive(Clone, Debug)]
pub struct Keyring {
    own: ClusterKey,
    others: Vec<ClusterKey>,
}

impl Keyring {
    /// The maximum number of keys.
    pub const MAX_KEYS: usize = 8;

    /// A fingerprint of each key, the node's own first: the SHA-256 of the certificate of the CA that its holders share, in
    /// hexadecimal. It is no secret, and tells one key from another.
    pub fn fingerprints(&self) -> Vec<String> {
        self.admitted()
            .map(|key| certificates::fingerprint(&certificates::cluster_ca(key)))
            .collect()
    }

    /// This node's own key, whose holders it admits too.
    pub(crate) fn own(&self) -> &ClusterKey {
        &self.own
    }

    /// All keys whose holders are admitted.
    pub(crate) fn admitted(&self) -> impl Iterator<Item = &ClusterKey> {
        std::iter::once(&self.own).chain(&self.others)
    }
}

impl From<ClusterKey> for Keyring {
    fn from(own: ClusterKey) -> Self {
        Self { own, others: Vec::new() }
    }
}

impl FromStr for Keyring {
    type Err = KeyringError;

    /// Parses keys in the form of [`ClusterKey::to_text`], separated by white space. The first is the node's own. A
    /// `#` begins a comment, which ends with the line.
    fn from_str(text: &str) -> Result<Self, KeyringError> {
        let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
        let mut keys = Vec::new();
        for (index, word) in lines.flat_map(str::split_whitespace).enumerate() {
            if index == Self::MAX_KEYS {
                return Err(KeyringError::TooMany);
            }
            let read = word.parse();
            keys.push(read.map_err(|source| KeyringError::Key { number: index + 1, source })?);
        }
        let mut keys = keys.into_iter();
        let own = keys.next().ok_or(KeyringError::Empty)?;
        Ok(Self { own, others: keys.collect() })
    }
}

/// Why a text is not a [`Keyring`]. It does not contain the text.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyringError {
    /// The text contains no key.
    #[error("no key found; a cluster key has 64 hexadecimal digits")]
    Empty,
    /// The text contains too many keys.
    #[error("there are more than {} keys", Keyring::MAX_KEYS)]
    TooMany,
    /// One of the keys is malformed.
    #[error("key {number}: {source}")]
    Key {
        /// The number of the key, from 1.
        number: usize,
        /// The reason.
        source: ClusterKeyError,
    },
}

fn hex_value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        b'A'..=b'F' => digit - b'A' + 10,
        _ => 0,
    }
}

const KEY_BYTES: usize = 32;
const MAX_NAME_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_its_text() {
        let key = ClusterKey::generate();
        let text = format!("  {}\n", key.to_text().as_str().to_uppercase());
        assert_eq!(text.parse::<ClusterKey>().unwrap().0, key.0);
        assert_ne!(ClusterKey::generate().0, key.0);
    }

    #[test]
    fn a_bad_key_says_what_is_wrong_and_not_what_it_was() {
        let short = "abcdef".parse::<ClusterKey>().unwrap_err();
        assert_eq!(short, ClusterKeyError::Length { found: 6 });
        assert!(short.to_string().contains("64") && short.to_string().contains('6'));
        let long = "a".repeat(65).parse::<ClusterKey>().unwrap_err();
        assert_eq!(long, ClusterKeyError::Length { found: 65 });
        let odd = format!("{}é", "a".repeat(63)).parse::<ClusterKey>().unwrap_err();
        assert_eq!(odd, ClusterKeyError::Character { position: 63 });
        assert!(matches!("".parse::<ClusterKey>(), Err(ClusterKeyError::Length { found: 0 })));
    }

    #[test]
    fn a_keyring_is_its_own_key_and_others() {
        let [old, new] = [(); 2].map(|()| ClusterKey::generate());
        let (old_text, new_text) = (old.to_text(), new.to_text());
        let text =
            format!("{} # since March\n\n  {}\n# the end", new_text.as_str(), old_text.as_str());
        let keyring: Keyring = text.parse().unwrap();
        assert_eq!(keyring.own().0, new.0);
        let admitted: Vec<_> = keyring.admitted().map(|key| key.0.clone()).collect();
        assert_eq!(admitted, [new.0.clone(), old.0.clone()]);
        let fingerprints = keyring.fingerprints();
        assert_eq!(fingerprints[1..], Keyring::from(old).fingerprints());
        assert_ne!(fingerprints[0], fingerprints[1]);
    }

    #[test]
    fn a_bad_keyring_says_which_key_is_none() {
        let key = "ab".repeat(32);
        let parse = |text: &str| text.parse::<Keyring>().unwrap_err();
        assert_eq!(parse(" # nothing\n"), KeyringError::Empty);
        let short = parse(&format!("{key}\nabcdef"));
        let source = ClusterKeyError::Length { found: 6 };
        assert_eq!(short, KeyringError::Key { number: 2, source });
        let many = format!("{key} ").repeat(Keyring::MAX_KEYS);
        assert!(many.parse::<Keyring>().is_ok());
        assert_eq!(parse(&format!("{many}{key}")), KeyringError::TooMany);
    }

    #[test]
    fn debug_shows_no_secret() {
        let key = ClusterKey::from_bytes([0xab; 32]);
        assert!(!format!("{key:?}").contains("ab"));
    }

    #[test]
    fn cluster_names() {
        assert!("a".parse::<ClusterName>().is_ok());
        assert!("A-1_b.c".parse::<ClusterName>().is_ok());
        assert!("x".repeat(64).parse::<ClusterName>().is_ok());
        assert_eq!("".parse::<ClusterName>(), Err(ClusterNameError::Length { found: 0 }));
        let long = "x".repeat(65).parse::<ClusterName>();
        assert_eq!(long, Err(ClusterNameError::Length { found: 65 }));
        let spaced = "a b".parse::<ClusterName>();
        assert_eq!(spaced, Err(ClusterNameError::Character { found: ' ' }));
    }

    #[test]
    fn the_protocol_depends_on_the_name_and_hides_it() {
        let protocol = |name: &str| name.parse::<ClusterName>().unwrap().protocol();
        assert_ne!(protocol("prod"), protocol("test"));
        let text = String::from_utf8(protocol("prod")).unwrap();
        assert!(text.starts_with("phin/1/") && !text.contains("prod") && text.len() == 23);
        let watch = "prod".parse::<ClusterName>().unwrap().watch_protocol();
        assert!(watch.starts_with(b"phin-watch/1/") && watch.ends_with(&protocol("prod")[7..]));
    }
}
