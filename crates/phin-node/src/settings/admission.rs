//! The credentials of the node: cluster keys, or a certificate from a CA.

use std::path::Path;

use phin::{Identity, Keyring};

use super::{
    layers::Layers,
    place::{Place, Placed, SettingsError},
    table::setting,
};
use crate::{private_file, text_file};

/// The credentials that admit the node to the cluster.
#[derive(Debug)]
pub(crate) enum Admission {
    /// Cluster keys: every node that knows one is admitted.
    Keys(Keyring),
    /// The certificate of the CA, and the certificate and private key of the node.
    Certificates(Box<Certificates>),
}

/// PEM texts and the places of their settings. `Debug` shows no text, because one is a secret.
pub(crate) struct Certificates {
    pub(crate) ca: Placed<String>,
    pub(crate) cert: Placed<String>,
    pub(crate) key: Placed<String>,
    /// Revocation lists.
    pub(crate) crl: Option<Placed<String>>,
    /// Whether members need an id that a CA assigned.
    pub(crate) requires_ids: bool,
}

impl Admission {
    pub(super) fn take(layers: &mut Layers) -> Result<Self, SettingsError> {
        let key_file = layers.take_text("key-file");
        let cluster_key = layers.take_text("cluster-key");
        let files = ["ca", "cert", "key"].map(|key| layers.take_text(key));
        let crl = layers.take_text("crl");
        let requires_ids = layers.word("assigned-ids")?.filter(|mode| mode.value == "require");
        let needing_ca = crl.as_ref().map(|crl| &crl.place);
        let needing_ca = needing_ca.or(requires_ids.as_ref().map(|mode| &mode.place));
        if let Some(place) = needing_ca.filter(|_| files[0].is_none()) {
            return Err(SettingsError::Incomplete {
                place: place.clone(),
                missing: "--ca, --cert and --key".into(),
            });
        }
        let first_file = files.iter().flatten().next().map(|file| file.place.clone());
        let first_key = key_file.as_ref().or(cluster_key.as_ref()).map(|key| key.place.clone());
        if let (Some(first), Some(second)) = (first_key, &first_file) {
            let why = "a node is admitted by a key or by a certificate, not both";
            return Err(SettingsError::Contradiction { first, second: second.clone(), why });
        }
        match (key_file, cluster_key, first_file) {
            (Some(file), Some(key), _) => Err(SettingsError::Contradiction {
                first: file.place,
                second: key.place,
                why: "both give the cluster's key",
            }),
            (Some(file), None, _) => Ok(Self::Keys(read_key_file(&file)?)),
            (None, Some(key), _) => Ok(Self::Keys(parse_keys(&key.value, &key.place, "")?)),
            (None, None, Some(given)) => {
                let mut pem = read_certificates(files, crl, given)?;
                pem.requires_ids = requires_ids.is_some();
                Ok(Self::Certificates(Box::new(pem)))
            }
            (None, None, None) => Err(SettingsError::NoAdmission),
        }
    }

    /// The same for the crate.
    pub(crate) fn credentials(&self) -> phin::Credentials {
        match self {
            Self::Keys(keys) => phin::Credentials::key(keys.clone()),
            Self::Certificates(pem) => {
                let Certificates { ca, cert, key, crl, requires_ids } = &**pem;
                let [ca, cert, key] = [ca, cert, key].map(|pem| pem.value.as_str());
                let credentials = phin::Credentials::certificates(ca, cert, key);
                let credentials = match requires_ids {
                    true => credentials.require_assigned_ids(),
                    false => credentials,
                };
                match crl {
                    Some(crl) => credentials.revocations(crl.value.as_str()),
                    None => credentials,
                }
            }
        }
    }

    /// Keeps the rule for ids of other settings.
    pub(crate) fn keep_rule_for_ids(&mut self, other: &Self) {
        if let (Self::Certificates(pem), Self::Certificates(other)) = (self, other) {
            pem.requires_ids = other.requires_ids;
        }
    }
}

impl std::fmt::Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Certificates")
    }
}

fn read_key_file(file: &Placed<String>) -> Result<Keyring, SettingsError> {
    parse_keys(&read_secret(file)?, &file.place, &format!("{}: ", file.value))
}

/// Parses cluster keys. The error does not contain the text, which may be almost a key.
fn parse_keys(text: &str, place: &Place, file: &str) -> Result<Keyring, SettingsError> {
    text.parse().map_err(|error: phin::KeyringError| SettingsError::Secret {
        place: place.clone(),
        problem: format!("{file}{error}"),
    })
}

fn read_certificates(
    files: [Option<Placed<String>>; 3],
    crl: Option<Placed<String>>,
    given: Place,
) -> Result<Certificates, SettingsError> {
    let [Some(ca), Some(cert), Some(key)] = &files else {
        let missing = ["ca", "cert", "key"].into_iter().zip(&files);
        let missing =
            missing.filter(|(_, file)| file.is_none()).map(|(name, _)| setting(name).flag());
        let missing = missing.collect::<Vec<_>>().join(" and ");
        return Err(SettingsError::Incomplete { place: given, missing });
    };
    let placed = |file: &Placed<String>, value| Placed { value, place: file.place.clone() };
    Ok(Certificates {
        ca: placed(ca, read_public(ca)?),
        cert: placed(cert, read_public(cert)?),
        key: placed(key, read_private_key(key)?),
        crl: match crl {
            Some(crl) => Some(placed(&crl, read_public(&crl)?)),
            None => None,
        },
        requires_ids: false,
    })
}

/// Reads the PEM of a private key, and checks that a node can use it.
fn read_private_key(file: &Placed<String>) -> Result<String, SettingsError> {
    let pem = read_secret(file)?;
    Identity::from_pem(&pem).map_err(|error| SettingsError::Secret {
        place: file.place.clone(),
        problem: format!("{}: {error}", file.value),
    })?;
    Ok(pem)
}

fn read_secret(file: &Placed<String>) -> Result<String, SettingsError> {
    private_file::read(Path::new(&file.value))
        .map_err(|source| SettingsError::SecretFile { place: file.place.clone(), source })
}

fn read_public(file: &Placed<String>) -> Result<String, SettingsError> {
    text_file::read(&file.value).map_err(|error| SettingsError::Secret {
        place: file.place.clone(),
        problem: format!("cannot read {}: {error}", file.value),
    })
}
