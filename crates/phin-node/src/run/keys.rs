//! Answers which keys and CAs this node accepts, and whether it signs its votes, for `phin key status`.

use std::sync::{Arc, PoisonError, RwLock};

use phin::{Cluster, QueryHandler, SignedVotes, Topic, certificates};
use serde::{Deserialize, Serialize};

use crate::{settings::Admission, text::rfc3339};

/// The credentials of a node, without anything secret.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct KeyReport {
    /// The fingerprint of the cluster key or CA by which others admit this node.
    pub(crate) own: Option<String>,
    /// The keys and CAs that this node admits.
    pub(crate) accepts: Vec<Accepted>,
    /// When the node's certificate expires; `None` with a cluster key.
    pub(crate) expires: Option<String>,
    /// How many certificates are revoked for this node.
    pub(crate) revoked: usize,
    /// Whether this node signs its votes. Nodes that cannot do so do not say.
    #[serde(default)]
    pub(crate) signed_votes: SignedVotes,
    /// Where the id of this node comes from. Nodes that know no other do not say.
    #[serde(default)]
    pub(crate) id: IdSource,
}

/// Where the id of a node comes from.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum IdSource {
    /// Its key.
    #[default]
    Key,
    /// Its certificate.
    Assigned,
    /// Its certificate, and it requires the same of others.
    Required,
}

impl IdSource {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Assigned => "assigned",
            Self::Required => "required",
        }
    }
}

/// A cluster key or CA that admits nodes.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Accepted {
    /// The SHA-256 of the certificate of the CA, in hexadecimal. Of a cluster key it is that of the CA derived from it.
    pub(crate) fingerprint: String,
    /// The name of the CA; `None` for a cluster key.
    pub(crate) name: Option<String>,
    /// When the CA expires; `None` for a cluster key.
    pub(crate) expires: Option<String>,
}

/// Answers with the report of this node, which changes when its credentials do.
pub(crate) struct Keys {
    signed_votes: SignedVotes,
    report: Arc<RwLock<Vec<u8>>>,
    _handler: QueryHandler,
}

impl Keys {
    pub(super) fn answer(
        cluster: &Cluster,
        admission: &Admission,
        signed_votes: SignedVotes,
    ) -> Self {
        let report = Arc::new(RwLock::new(KeyReport::of(admission, signed_votes).to_json()));
        let topic: Topic = KEYS_TOPIC.parse().expect("it is a topic");
        let _handler = cluster.answer(&topic, {
            let report = Arc::clone(&report);
            move |_query| {
                let report = report.read().unwrap_or_else(PoisonError::into_inner).clone();
                async move { Ok(report) }
            }
        });
        Self { signed_votes, report, _handler }
    }

    pub(super) fn set(&self, admission: &Admission) {
        let report = KeyReport::of(admission, self.signed_votes).to_json();
        *self.report.write().unwrap_or_else(PoisonError::into_inner) = report;
    }
}

impl KeyReport {
    /// Describes credentials. A text that cannot be read counts as empty: the start has refused it.
    fn of(admission: &Admission, signed_votes: SignedVotes) -> Self {
        match admission {
            Admission::Keys(keys) => {
                let accepted = |fingerprint| Accepted { fingerprint, name: None, expires: None };
                let accepts: Vec<_> = keys.fingerprints().into_iter().map(accepted).collect();
                let own = accepts.first().map(|own| own.fingerprint.clone());
                Self { own, accepts, signed_votes, ..Self::default() }
            }
            Admission::Certificates(pem) => {
                let (ca, cert) = (&pem.ca.value, &pem.cert.value);
                let described = |pem: &str| certificates::describe(pem).unwrap_or_default();
                let accepts: Vec<_> = described(ca)
                    .into_iter()
                    .map(|ca| Accepted {
                        fingerprint: ca.fingerprint,
                        name: Some(ca.subject),
                        expires: Some(rfc3339(ca.validity.not_after)),
                    })
                    .collect();
                let issuer = certificates::position_of_issuer(cert, ca).ok().flatten();
                let issuer = issuer.and_then(|position| accepts.get(position));
                let own = described(cert).into_iter().next();
                let id = match (&own, pem.requires_ids) {
                    (Some(own), true) if own.assigns_id => IdSource::Required,
                    (Some(own), false) if own.assigns_id => IdSource::Assigned,
                    _ => IdSource::Key,
                };
                let lists = pem.crl.as_ref();
                let lists =
                    lists.and_then(|crl| certificates::describe_revocations(&crl.value).ok());
                Self {
                    own: issuer.map(|issuer| issuer.fingerprint.clone()),
                    expires: own.map(|own| rfc3339(own.validity.not_after)),
                    revoked: lists.iter().flatten().map(|list| list.revoked.len()).sum(),
                    accepts,
                    signed_votes,
                    id,
                }
            }
        }
    }

    fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts and numbers can be written as JSON")
    }
}

/// The topic of the query. Applications cannot answer topics with this prefix in its place.
pub(crate) const KEYS_TOPIC: &str = "phin/keys";
/// The beginning of topics that nodes answer by themselves.
pub(crate) const RESERVED_TOPICS: &str = "phin/";
