//! Ids that a CA assigns: a node has the one of its certificate, and nodes may require one.

use std::sync::Arc;

use phin_quic::{
    AssignedId, AssignedIds, BindError, CloseReason, Credentials, CredentialsError, DialError,
    DisconnectReason, IdRefusal, Identity, PeerId, Refusal, RefusedBy, Transport,
    certificates::{CertificateAuthority, Validity, describe, issue, issue_with_id, renew},
};
use rcgen::{CertificateParams, CustomExtension, Issuer, KeyPair};

use crate::support::{Node, ca, config, guard};

fn day() -> Validity {
    Validity::days(1)
}

fn with_id(ca: &CertificateAuthority, name: &str, identity: &Identity) -> String {
    issue_with_id(ca, name, &identity.public_key(), day()).unwrap()
}

fn without_id(ca: &CertificateAuthority, identity: &Identity) -> String {
    issue(ca, "node", &identity.public_key(), day()).unwrap()
}

fn credentials(ca_pem: &str, certificate: String, assigned_ids: AssignedIds) -> Credentials {
    Credentials::Certificates {
        cluster: "test".parse().unwrap(),
        ca_pem: ca_pem.to_owned(),
        cert_chain_pem: certificate,
        crl_pem: None,
        assigned_ids,
    }
}

/// The id in a certificate.
fn id_in(certificate: &str) -> PeerId {
    describe(certificate).unwrap()[0].peer_id.unwrap()
}

/// A node with this certificate.
fn node(ca_pem: &str, identity: &Identity, certificate: &str, assigned_ids: AssignedIds) -> Node {
    let same = Identity::from_pem(&identity.to_pem()).unwrap();
    Node::of(same, &credentials(ca_pem, certificate.to_owned(), assigned_ids), |_| {})
}

fn refused(refusal: &Refusal, by: RefusedBy) -> DialError {
    DialError::Refused { refusal: refusal.clone(), by }
}

#[tokio::test]
async fn a_node_has_the_id_that_its_certificate_assigns() {
    let (ca, [one, two]) = (ca(), [(); 2].map(|()| Identity::generate()));
    let (of_one, of_two) = (with_id(&ca, "n1", &one), with_id(&ca, "n2", &two));
    let a = node(&ca.certificate_pem, &one, &of_one, AssignedIds::Require);
    let mut b = node(&ca.certificate_pem, &two, &of_two, AssignedIds::Accept);
    assert_eq!((a.id, b.id), (id_in(&of_one), id_in(&of_two)));
    assert_ne!(a.id, one.id());
    assert_eq!(guard(a.transport.dial(b.addr())).await, Ok(b.id));
    a.transport.send_datagram(b.peer(), "hello".into());
    assert_eq!(b.expect(crate::support::connected_peer).await.id, a.id);
    assert_eq!(b.message().await, b"hello");
}

#[tokio::test]
async fn a_node_without_an_assigned_id_is_refused_where_one_is_required() {
    let (ca, [one, two]) = (ca(), [(); 2].map(|()| Identity::generate()));
    let strict = node(&ca.certificate_pem, &one, &with_id(&ca, "n1", &one), AssignedIds::Require);
    let plain = node(&ca.certificate_pem, &two, &without_id(&ca, &two), AssignedIds::Accept);
    let refusal = Refusal::IdNotAssigned;
    let dialled = guard(plain.transport.dial(strict.addr())).await;
    assert_eq!(dialled, Err(refused(&refusal, RefusedBy::Peer)));
    let dialled = guard(strict.transport.dial(plain.addr())).await;
    assert_eq!(dialled, Err(refused(&refusal, RefusedBy::Us)));
    for node in [&plain, &strict] {
        node.until(|stats| stats.refusals.id_not_assigned == 2).await;
    }
}

#[tokio::test]
async fn an_id_that_no_ca_of_the_node_assigned_is_refused() {
    // The CA of the nodes signs whatever extensions it is asked for. The id is of another CA, which only the liar trusts.
    let [ca, other] = [(); 2].map(|()| ca());
    let [liar, honest] = [(); 2].map(|()| Identity::generate());
    let of_other =
        credentials(&other.certificate_pem, with_id(&other, "n1", &liar), AssignedIds::Accept);
    let forged = certificate_with(&ca, &liar, &of_other.assigned_id().unwrap().unwrap());
    let both = ca.certificate_pem.clone() + &other.certificate_pem;
    let lying = node(&both, &liar, &forged, AssignedIds::Accept);
    let refusal = Refusal::Other("none of the CAs assigned the id in the certificate".to_owned());
    for mode in [AssignedIds::Accept, AssignedIds::Require] {
        let certificate = with_id(&ca, "n2", &honest);
        let node = node(&ca.certificate_pem, &honest, &certificate, mode);
        let dialled = guard(lying.transport.dial(node.addr())).await;
        assert_eq!(dialled, Err(refused(&refusal, RefusedBy::Peer)));
        let dialled = guard(node.transport.dial(lying.addr())).await;
        assert_eq!(dialled, Err(refused(&refusal, RefusedBy::Us)));
    }
    // A node with such a certificate does not start.
    let own = credentials(&ca.certificate_pem, forged, AssignedIds::Accept);
    let error = Transport::bind(Arc::new(liar), own, config()).map(drop).unwrap_err();
    let not_signed = CredentialsError::AssignedId(IdRefusal::NotSigned);
    assert!(matches!(error, BindError::Credentials(error) if error == not_signed));
}

/// A certificate with an id that somebody else assigned, or nobody.
fn certificate_with(ca: &CertificateAuthority, node: &Identity, id: &AssignedId) -> String {
    // The identifier of the extension is found in a certificate, so that it is written down in one place.
    let genuine = with_id(ca, "any", node);
    let pem = x509_parser::pem::parse_x509_pem(genuine.as_bytes()).unwrap().1;
    let parsed = pem.parse_x509().unwrap();
    let is_ours = |oid: &str| oid.starts_with("2.25.");
    let extensions = parsed.extensions().iter();
    let mut ours = extensions.filter(|one| is_ours(&one.oid.to_id_string()));
    let extension = ours.next().unwrap();
    assert!(!extension.critical);
    let oid: Vec<u64> = extension.oid.iter().unwrap().collect();
    let mut content = extension.value[..2].to_vec();
    content.extend_from_slice(&id.to_bytes());
    let key = KeyPair::from_pem(&ca.key_pem).unwrap();
    let issuer = Issuer::from_ca_cert_pem(&ca.certificate_pem, key).unwrap();
    let mut params = CertificateParams::default();
    params.custom_extensions = vec![CustomExtension::from_oid_content(&oid, content)];
    let subject = KeyPair::from_pem(&node.to_pem()).unwrap();
    params.signed_by(&subject, &issuer).unwrap().pem()
}

#[tokio::test]
async fn a_certificate_that_is_replaced_keeps_the_id_also_with_another_ca() {
    let [ca, new_ca] = [(); 2].map(|()| ca());
    let (identity, other) = (Identity::generate(), Identity::generate());
    let certificate = with_id(&ca, "n1", &identity);
    let one = node(&ca.certificate_pem, &identity, &certificate, AssignedIds::Accept);
    let two = with_id(&ca, "n2", &other);
    let mut two = node(&ca.certificate_pem, &other, &two, AssignedIds::Accept);
    assert_eq!(guard(one.transport.dial(two.addr())).await, Ok(two.id));
    let give = |ca_pem: &str, certificate: String| {
        let given = credentials(ca_pem, certificate, AssignedIds::Accept);
        one.transport.replace_credentials(&given)
    };
    // Issued again, or renewed: the name decides.
    let again = [with_id(&ca, "n1", &identity), renew(&ca, &certificate, None, day()).unwrap()];
    for certificate in again {
        assert_eq!(give(&ca.certificate_pem, certificate), Ok(0));
    }
    let other_id = |id| Err(CredentialsError::OtherId { id, own: one.id });
    let renamed = with_id(&ca, "n3", &identity);
    assert_eq!(give(&ca.certificate_pem, renamed.clone()), other_id(id_in(&renamed)));
    let without = without_id(&ca, &identity);
    assert_eq!(give(&ca.certificate_pem, without), other_id(identity.id()));

    let both = new_ca.certificate_pem.clone() + &ca.certificate_pem;
    let of_both = CertificateAuthority::new(both.clone(), new_ca.key_pem.clone());
    let renewed = renew(&of_both, &certificate, None, day()).unwrap();
    assert_eq!(give(&both, renewed), Ok(0));
    let by_name = with_id(&new_ca, "n1", &identity);
    assert_eq!(give(&both, by_name.clone()), other_id(id_in(&by_name)));
    one.transport.send_datagram(two.peer(), "all over one connection".into());
    two.message().await;
    assert_eq!(two.stats().connections_accepted, 1);
}

#[tokio::test]
async fn a_connection_without_an_assigned_id_ends_when_one_is_required() {
    let (ca, [one, two]) = (ca(), [(); 2].map(|()| Identity::generate()));
    let certificate = with_id(&ca, "n1", &one);
    let strict = node(&ca.certificate_pem, &one, &certificate, AssignedIds::Accept);
    let mut plain = node(&ca.certificate_pem, &two, &without_id(&ca, &two), AssignedIds::Accept);
    assert_eq!(guard(strict.transport.dial(plain.addr())).await, Ok(two.id()));
    let required = credentials(&ca.certificate_pem, certificate, AssignedIds::Require);
    assert_eq!(strict.transport.replace_credentials(&required), Ok(1));
    let closed = DisconnectReason::Closed(CloseReason::Credentials);
    assert_eq!(plain.disconnected().await, closed);
    // Its own certificate has no id.
    let own = credentials(&ca.certificate_pem, without_id(&ca, &two), AssignedIds::Require);
    let not_assigned = CredentialsError::AssignedId(IdRefusal::NotAssigned);
    assert_eq!(plain.transport.replace_credentials(&own), Err(not_assigned));
}

#[tokio::test]
async fn two_nodes_with_one_name_meet_their_own_id() {
    let (ca, [one, two]) = (ca(), [(); 2].map(|()| Identity::generate()));
    let nodes = [&one, &two].map(|identity| {
        let certificate = with_id(&ca, "n1", identity);
        node(&ca.certificate_pem, identity, &certificate, AssignedIds::Accept)
    });
    assert_eq!(nodes[0].id, nodes[1].id);
    let dialled = guard(nodes[0].transport.dial(nodes[1].addr())).await;
    assert_eq!(dialled, Err(DialError::IdentityInUse));
}
