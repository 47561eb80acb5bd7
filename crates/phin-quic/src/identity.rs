//! The identity of a node: its Ed25519 key, the file that stores it, and everything derived from it.

use std::{
    fmt,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    str::FromStr,
};

use ring::{
    digest::{SHA256, digest},
    signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey},
};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject};
use zeroize::Zeroizing;

use crate::{
    private_file::{create_private, mode_open_to_others},
    secret::{SecretText, derive, hex, random},
};

/// The id of a node: the one that its certificate assigns ([`AssignedId`](crate::AssignedId)), or else the first 16 bytes of
/// the SHA-256 hash of its public key.
///
/// Displays and parses as 32 hexadecimal digits.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PeerId([u8; 16]);

impl PeerId {
    /// Returns the id of the node with this public key, if no CA assigned it another one.
    pub fn of(key: &PublicKey) -> Self {
        let hash = digest(&SHA256, &key.0);
        let mut id = [0; 16];
        id.copy_from_slice(&hash.as_ref()[..16]);
        Self(id)
    }

    /// Creates an id from the bytes of [`PeerId::to_bytes`].
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes of the id.
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerId({self})")
    }
}

impl FromStr for PeerId {
    type Err = PeerIdError;

    fn from_str(text: &str) -> Result<Self, PeerIdError> {
        let digits =
            Some(text).filter(|t| t.len() == 32 && t.bytes().all(|b| b.is_ascii_hexdigit()));
        let number = digits.and_then(|digits| u128::from_str_radix(digits, 16).ok());
        number.map(|number| Self(number.to_be_bytes())).ok_or(PeerIdError)
    }
}

/// The error for a text that is not a [`PeerId`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a peer id has 32 hexadecimal digits")]
pub struct PeerIdError;

/// An Ed25519 public key.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct PublicKey(
    /// The key as RFC 8032 encodes it.
    pub [u8; 32],
);

/// An Ed25519 signature.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Signature(
    /// The signature as RFC 8032 encodes it.
    pub [u8; 64],
);

/// Whether the holder of `key` signed `message`.
pub fn verify(key: &PublicKey, message: &[u8], signature: &Signature) -> bool {
    UnparsedPublicKey::new(&ED25519, key.0).verify(message, &signature.0).is_ok()
}

/// The Ed25519 key pair of a node.
///
/// Keep it in a data directory with [`Identity::load_or_create`], so that a restarted node keeps its [`PeerId`]. The
/// seed is wiped from memory when dropped; an expanded copy in `ring` is not. `Debug` shows only the id.
///
/// ```
/// use phin_quic::{Identity, PeerId, verify};
///
/// let identity = Identity::generate();
/// let signature = identity.sign(b"hello");
/// assert!(verify(&identity.public_key(), b"hello", &signature));
/// assert_eq!(PeerId::of(&identity.public_key()), identity.id());
/// ```
pub struct Identity {
    seed: Zeroizing<[u8; 32]>,
    key_pair: Ed25519KeyPair,
    public_key: PublicKey,
}

impl Identity {
    /// Generates a random identity.
    ///
    /// # Panics
    /// If the operating system provides no randomness.
    pub fn generate() -> Self {
        Self::from_seed(&Zeroizing::new(random()))
    }

    /// Creates the identity with this secret seed (RFC 8032 §5.1.5). The same seed gives the same node.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let seed = Zeroizing::new(*seed);
        let key_pair =
            Ed25519KeyPair::from_seed_unchecked(&*seed).expect("any 32 bytes are an Ed25519 seed");
        let mut public_key = PublicKey([0; 32]);
        public_key.0.copy_from_slice(key_pair.public_key().as_ref());
        Self { seed, key_pair, public_key }
    }

    /// Reads an identity from the PEM text of its private key (PKCS #8, Ed25519).
    ///
    /// # Errors
    /// If the text contains no private key, or one of another algorithm.
    pub fn from_pem(pem: &str) -> Result<Self, IdentityError> {
        let key = PrivateKeyDer::from_pem_slice(pem.as_bytes())
            .map_err(|error| IdentityError::NotAKey { reason: error.to_string() })?;
        let PrivateKeyDer::Pkcs8(pkcs8) = &key else {
            return Err(IdentityError::NotEd25519);
        };
        Self::from_pkcs8(pkcs8.secret_pkcs8_der())
    }

    /// Reads the identity from `identity.key` in this directory. Creates the file, and the directory, if it does not
    /// exist.
    ///
    /// # Errors
    /// [`IdentityError::Corrupt`] if the file is not a key: the caller may move it away and try again, which gives a
    /// new identity. [`IdentityError::OpenToOthers`] if users other than the owner can read or write the file.
    /// [`IdentityError::Io`] if the file system reports an error.
    pub fn load_or_create(directory: &Path) -> Result<Self, IdentityError> {
        let path = directory.join(FILE_NAME);
        let failed = |source| IdentityError::Io { path: path.clone(), source };
        create_private_directory(directory).map_err(failed)?;
        match Self::load(&path) {
            Err(IdentityError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            loaded => return loaded,
        }
        let identity = Self::generate();
        match create_private(&path, identity.to_pem().as_bytes()) {
            // Another process created it first. Both must become the same node.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Self::load(&path),
            written => written.map(|()| identity).map_err(failed),
        }
    }

    /// Returns the id of this node, if no CA assigned it another one
    /// ([`Credentials::peer_id`](crate::Credentials::peer_id)).
    pub fn id(&self) -> PeerId {
        PeerId::of(&self.public_key)
    }

    /// Returns the public key of this node.
    pub fn public_key(&self) -> PublicKey {
        self.public_key
    }

    /// Signs a message. [`verify`] checks the signature.
    pub fn sign(&self, message: &[u8]) -> Signature {
        let mut signature = Signature([0; 64]);
        signature.0.copy_from_slice(self.key_pair.sign(message).as_ref());
        signature
    }

    /// Returns the private key as PEM (PKCS #8), which [`Identity::from_pem`] reads.
    pub fn to_pem(&self) -> SecretText {
        let der = PrivatePkcs8KeyDer::from(self.pkcs8().to_vec());
        let key = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&der, &rcgen::PKCS_ED25519)
            .expect("our own encoding of our key is well-formed");
        key.serialize_pem().into()
    }

    pub(crate) fn public_key_bytes(&self) -> &[u8] {
        &self.public_key.0
    }

    /// The private key in the form that rustls takes.
    pub(crate) fn tls_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.pkcs8().to_vec()))
    }

    /// The key of stateless resets (RFC 9000 §10.3). It is the same after a restart, so a restarted node can reset
    /// its peers' old connections immediately.
    pub(crate) fn reset_key(&self) -> Zeroizing<[u8; 32]> {
        derive(&*self.seed, b"phin stateless reset v1")
    }

    /// The secret from which a CA computes the ids of names.
    pub(crate) fn id_secret(&self) -> Zeroizing<[u8; 32]> {
        derive(&*self.seed, b"phin assigned ids v1")
    }

    /// The private key as PKCS #8 (RFC 8410 §7): version 0, no attributes.
    fn pkcs8(&self) -> Zeroizing<Vec<u8>> {
        let mut der = Zeroizing::new(Vec::with_capacity(48));
        der.extend_from_slice(&[0x30, 0x2e, 0x02, 0x01, 0x00]);
        der.extend_from_slice(PKCS8_ED25519);
        der.extend_from_slice(&*self.seed);
        der
    }

    fn from_pkcs8(der: &[u8]) -> Result<Self, IdentityError> {
        // SEQUENCE and its length, INTEGER version 0 or 1, the algorithm, the seed; then, in
        // version 1, the public key, which `ring` compares.
        let seed = match der {
            [0x30, _, 0x02, 0x01, 0 | 1, rest @ ..] => rest.strip_prefix(PKCS8_ED25519),
            _ => None,
        };
        let Some(seed) = seed.and_then(|rest| rest.first_chunk::<32>()) else {
            return Err(IdentityError::NotEd25519);
        };
        Ed25519KeyPair::from_pkcs8_maybe_unchecked(der)
            .map_err(|error| IdentityError::NotAKey { reason: error.to_string() })?;
        Ok(Self::from_seed(seed))
    }

    fn load(path: &Path) -> Result<Self, IdentityError> {
        let failed = |source| IdentityError::Io { path: path.to_owned(), source };
        // Opening a pipe would wait for a writer. For a directory, an error about its mode would mislead.
        if !fs::metadata(path).map_err(failed)?.is_file() {
            return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file")));
        }
        let file = File::open(path).map_err(failed)?;
        if let Some(mode) = mode_open_to_others(&file).map_err(failed)? {
            return Err(IdentityError::OpenToOthers { path: path.to_owned(), mode });
        }
        let mut pem = Zeroizing::new(Vec::new());
        file.take(MAX_FILE_BYTES).read_to_end(&mut pem).map_err(failed)?;
        let corrupt = |reason| IdentityError::Corrupt { path: path.to_owned(), reason };
        let pem = std::str::from_utf8(&pem).map_err(|_| corrupt("it is not text".to_owned()))?;
        Self::from_pem(pem).map_err(|error| corrupt(error.to_string()))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("id", &self.id()).finish_non_exhaustive()
    }
}

/// Why an [`Identity`] could not be read or created.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The text contains no private key.
    #[error("not a private key in PEM form: {reason}")]
    NotAKey {
        /// The message of the parser.
        reason: String,
    },
    /// The private key is of another algorithm.
    #[error("not an Ed25519 key in PKCS #8 form: a node's key must be Ed25519")]
    NotEd25519,
    /// The key file does not contain a key.
    #[error("{} is not a key file: {reason}", path.display())]
    Corrupt {
        /// The key file.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// Users other than the owner can read or write the key file.
    #[error("{} has mode {mode:o}, others than its owner have access; make it 600", path.display())]
    OpenToOthers {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file system reported an error.
    #[error("cannot read or write {}", path.display())]
    Io {
        /// The key file.
        path: PathBuf,
        /// The error of the file system.
        source: io::Error,
    },
}

fn create_private_directory(directory: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}

/// The algorithm identifier of Ed25519 and the headers of the two octet strings around the seed.
const PKCS8_ED25519: &[u8] = &[0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
const FILE_NAME: &str = "identity.key";
/// The longest key file. A longer one is cut, and so is corrupt.
const MAX_FILE_BYTES: u64 = 64 * 1024;

#[cfg(test)]
mod tests;
