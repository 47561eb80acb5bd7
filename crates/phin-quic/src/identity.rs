//! Who a node is: its Ed25519 key, where the key is kept, and what is derived from it.

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

/// The name of a node in the cluster: the first 16 bytes of the SHA-256 of its public key.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PeerId([u8; 16]);

impl PeerId {
    /// The id of the node that holds this key.
    pub fn of(key: &PublicKey) -> Self {
        let hash = digest(&SHA256, &key.0);
        let mut id = [0; 16];
        id.copy_from_slice(&hash.as_ref()[..16]);
        Self(id)
    }

    /// The id with these bytes, as learnt from a message.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes of the id.
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

/// A text is not a [`PeerId`].
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

/// The key pair of this node.
///
/// The seed is wiped from memory when dropped; `ring` keeps an expanded copy of its own, which is
/// not. `Debug` shows the id only.
pub struct Identity {
    seed: Zeroizing<[u8; 32]>,
    key_pair: Ed25519KeyPair,
    public_key: PublicKey,
}

impl Identity {
    /// A new random identity.
    ///
    /// # Panics
    /// When the operating system has no randomness to give.
    pub fn generate() -> Self {
        Self::from_seed(&Zeroizing::new(random()))
    }

    /// The identity with this secret seed (RFC 8032 §5.1.5): the same seed is the same node.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let seed = Zeroizing::new(*seed);
        let key_pair =
            Ed25519KeyPair::from_seed_unchecked(&*seed).expect("any 32 bytes are an Ed25519 seed");
        let mut public_key = PublicKey([0; 32]);
        public_key.0.copy_from_slice(key_pair.public_key().as_ref());
        Self { seed, key_pair, public_key }
    }

    /// The identity whose private key is in this PEM text (PKCS #8, Ed25519).
    ///
    /// # Errors
    /// When the text holds no private key, or one of another algorithm.
    pub fn from_pem(pem: &str) -> Result<Self, IdentityError> {
        let key = PrivateKeyDer::from_pem_slice(pem.as_bytes())
            .map_err(|error| IdentityError::NotAKey { reason: error.to_string() })?;
        let PrivateKeyDer::Pkcs8(pkcs8) = &key else {
            return Err(IdentityError::NotEd25519);
        };
        Self::from_pkcs8(pkcs8.secret_pkcs8_der())
    }

    /// Reads `identity.key` in this directory, or creates both.
    ///
    /// # Errors
    /// [`IdentityError::Corrupt`] when the file is not a key: the caller may set it aside and try
    /// again, at the price of a new identity. [`IdentityError::OpenToOthers`] when others than the
    /// owner may read or write it. [`IdentityError::Io`] when the file system says no.
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
            // Another process was first; both must end up as the same node.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Self::load(&path),
            written => written.map(|()| identity).map_err(failed),
        }
    }

    /// The id of this node.
    pub fn id(&self) -> PeerId {
        PeerId::of(&self.public_key)
    }

    /// The public key of this node.
    pub fn public_key(&self) -> PublicKey {
        self.public_key
    }

    /// Signs a message; [`verify`] checks it.
    pub fn sign(&self, message: &[u8]) -> Signature {
        let mut signature = Signature([0; 64]);
        signature.0.copy_from_slice(self.key_pair.sign(message).as_ref());
        signature
    }

    /// The private key as PEM (PKCS #8), as [`Identity::from_pem`] reads it.
    pub fn to_pem(&self) -> SecretText {
        let der = PrivatePkcs8KeyDer::from(self.pkcs8().to_vec());
        let key = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&der, &rcgen::PKCS_ED25519)
            .expect("our own encoding of our key is well-formed");
        key.serialize_pem().into()
    }

    pub(crate) fn public_key_bytes(&self) -> &[u8] {
        &self.public_key.0
    }

    /// The key in the form that TLS takes.
    pub(crate) fn tls_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.pkcs8().to_vec()))
    }

    /// The key of stateless resets (RFC 9000 §10.3): a restarted node, being the same node, can
    /// then tell its peers at once that their connections to it are gone.
    pub(crate) fn reset_key(&self) -> Zeroizing<[u8; 32]> {
        derive(&*self.seed, b"phin stateless reset v1")
    }

    /// RFC 8410 §7: version 0, no attributes.
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
        // Opening a pipe would wait for whoever writes; the mode of a directory is not what is wrong with it.
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

/// Why there is no [`Identity`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The text holds no private key.
    #[error("not a private key in PEM form: {reason}")]
    NotAKey {
        /// What the parser said.
        reason: String,
    },
    /// The private key is of another algorithm.
    #[error("not an Ed25519 key in PKCS #8 form: a node's key must be Ed25519")]
    NotEd25519,
    /// The key file is there but is not a key.
    #[error("{} is not a key file: {reason}", path.display())]
    Corrupt {
        /// The key file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Others than the owner may read or write the key file.
    #[error("{} has mode {mode:o}, others than its owner have access; make it 600", path.display())]
    OpenToOthers {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file system said no.
    #[error("cannot read or write {}", path.display())]
    Io {
        /// The key file.
        path: PathBuf,
        /// What it said.
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
/// No key file is longer; a longer one is cut and found to be corrupt.
const MAX_FILE_BYTES: u64 = 64 * 1024;

#[cfg(test)]
mod tests;
