//! Credentials that are replaced while transports run, and revoked certificates.

use std::time::{Duration, SystemTime};

use phin_quic::{
    AssignedIds, CloseReason, ClusterKey, Credentials, CredentialsError, DialError,
    DisconnectReason, Identity, Refusal, RefusedBy, WatchClient, WatchError,
    certificates::{CertificateAuthority, Validity, create_ca, issue, revoke},
};

use crate::support::{Node, ca, certified, guard, with_key};

/// A node and what makes up its credentials.
struct Certified {
    node: Node,
    identity: Identity,
    certificate: String,
}

impl Certified {
    fn new(ca: &CertificateAuthority) -> Self {
        let (identity, running) = twin();
        let certificate = certificate(ca, &identity);
        let credentials = credentials(&ca.certificate_pem, &certificate, None);
        Self { node: Node::of(running, &credentials, |_| {}), identity, certificate }
    }

    /// Gives the node these CAs, a certificate and revocation lists.
    fn give(&self, cas: &str, certificate: &str, lists: Option<&str>) -> usize {
        let credentials = credentials(cas, certificate, lists);
        self.node.transport.replace_credentials(&credentials).unwrap()
    }
}

/// One identity twice.
fn twin() -> (Identity, Identity) {
    let identity = Identity::generate();
    let same = Identity::from_pem(&identity.to_pem()).unwrap();
    (identity, same)
}

fn certificate(ca: &CertificateAuthority, identity: &Identity) -> String {
    issue(ca, "node", &identity.public_key(), Validity::days(1)).unwrap()
}

fn credentials(ca_pem: &str, certificate: &str, lists: Option<&str>) -> Credentials {
    Credentials::Certificates {
        cluster: "test".parse().unwrap(),
        ca_pem: ca_pem.to_owned(),
        cert_chain_pem: certificate.to_owned(),
        crl_pem: lists.map(str::to_owned),
        assigned_ids: AssignedIds::Accept,
    }
}

fn keys(keys: &[&ClusterKey]) -> Credentials {
    let texts: Vec<_> = keys.iter().map(|key| key.to_text()).collect();
    let text = texts.iter().map(|text| text.as_str()).collect::<Vec<_>>().join(" ");
    Credentials::ClusterKey { cluster: "test".parse().unwrap(), keys: text.parse().unwrap() }
}

async fn connect(from: &Node, to: &Node) {
    assert_eq!(guard(from.transport.dial(to.addr())).await, Ok(to.id));
    to.until(|stats| stats.connections == 1).await;
}

/// The message arrives, over whatever connection.
async fn send(from: &Node, to: &mut Node, text: &'static str) {
    from.transport.send_stream(to.peer(), text.into());
    assert_eq!(to.message().await, text.as_bytes());
}

#[tokio::test]
async fn a_key_is_replaced_without_a_connection_that_breaks_before_its_key_is_gone() {
    let [old, new] = [(); 2].map(|()| ClusterKey::generate());
    let (one, mut two) = (Node::new(&keys(&[&old])), Node::new(&keys(&[&old])));
    connect(&one, &two).await;
    let give = |node: &Node, credentials: &Credentials| {
        node.transport.replace_credentials(credentials).unwrap()
    };
    for stage in [keys(&[&old, &new]), keys(&[&new, &old])] {
        for node in [&one, &two] {
            assert_eq!(give(node, &stage), 0, "the connection was made with the old key");
        }
    }
    send(&one, &mut two, "still the same").await;
    assert_eq!((one.stats().connections_dialled, two.stats().connections_accepted), (1, 1));
    // The other side has the new key too by now, but this connection was made with the old one.
    assert_eq!(give(&two, &keys(&[&new])), 1);
    assert_eq!(two.disconnected().await, DisconnectReason::Local);
    let mut one = one;
    let closed = DisconnectReason::Closed(CloseReason::Credentials);
    assert_eq!(one.disconnected().await, closed);
    assert_eq!(give(&one, &keys(&[&new])), 0);
    send(&one, &mut two, "with the new key").await;
    let stats = two.stats();
    assert_eq!((stats.connections_disowned, stats.refusals.wrong_key), (1, 0));
    let stranger = Node::new(&keys(&[&old]));
    let refused = guard(stranger.transport.dial(two.addr())).await.unwrap_err();
    assert!(matches!(refused, DialError::Refused { refusal: Refusal::WrongKey, .. }), "{refused}");
}

#[tokio::test]
async fn both_sides_of_a_handshake_use_the_new_key() {
    let [old, new] = [(); 2].map(|()| ClusterKey::generate());
    let changed = Node::new(&keys(&[&old]));
    changed.transport.replace_credentials(&keys(&[&new])).unwrap();
    let mut of_new = Node::new(&with_key("test", &new));
    assert_eq!(guard(of_new.transport.dial(changed.addr())).await, Ok(changed.id));
    let mut again = Node::new(&with_key("test", &new));
    send(&changed, &mut again, "dialled").await;
    assert_eq!(guard(changed.transport.dial(of_new.addr())).await, Ok(of_new.id));
    send(&changed, &mut of_new, "accepted").await;
    let of_old = Node::new(&with_key("test", &old));
    assert!(guard(of_old.transport.dial(changed.addr())).await.is_err());
    assert!(guard(changed.transport.dial(of_old.addr())).await.is_err());
}

#[tokio::test]
async fn a_ca_is_replaced_for_the_same_identities() {
    // Both have the same name.
    let [old, new] = [(); 2].map(|()| ca());
    let both = old.certificate_pem.clone() + &new.certificate_pem;
    let (mut one, mut two) = (Certified::new(&old), Certified::new(&old));
    connect(&one.node, &two.node).await;
    for each in [&one, &two] {
        assert_eq!(each.give(&both, &each.certificate, None), 0);
    }
    for each in [&one, &two] {
        assert_eq!(each.give(&both, &certificate(&new, &each.identity), None), 0);
    }
    assert_eq!(two.give(&new.certificate_pem, &certificate(&new, &two.identity), None), 1);
    one.node.disconnected().await;
    send(&one.node, &mut two.node, "over a connection with the new certificates").await;
    assert_eq!(one.give(&new.certificate_pem, &certificate(&new, &one.identity), None), 0);
    send(&one.node, &mut two.node, "which stays").await;
}

#[tokio::test]
async fn a_revoked_node_is_cut_off_and_refused_by_either_side() {
    let ca = ca();
    let (one, mut two, mut revoked) =
        (Certified::new(&ca), Certified::new(&ca), Certified::new(&ca));
    connect(&two.node, &one.node).await;
    assert_eq!(guard(revoked.node.transport.dial(one.node.addr())).await, Ok(one.node.id));
    one.node.until(|stats| stats.connections == 2).await;
    let list = revoke(&ca, None, &revoked.certificate, Validity::days(1)).unwrap();
    assert_eq!(one.give(&ca.certificate_pem, &one.certificate, Some(&list)), 1);
    let closed = DisconnectReason::Closed(CloseReason::Credentials);
    assert_eq!(revoked.node.disconnected().await, closed);
    send(&one.node, &mut two.node, "the others stay").await;
    assert_eq!(one.node.stats().connections_accepted, 2, "over the same connection");

    let refused = guard(revoked.node.transport.dial(one.node.addr())).await.unwrap_err();
    let refusal = Refusal::CertificateRevoked;
    let by = |by| DialError::Refused { refusal: refusal.clone(), by };
    assert_eq!(refused, by(RefusedBy::Peer));
    let dialled = guard(one.node.transport.dial(revoked.node.addr())).await.unwrap_err();
    assert_eq!(dialled, by(RefusedBy::Us));
    one.node.until(|stats| stats.refusals.certificate_revoked == 2).await;
}

#[tokio::test]
async fn a_list_of_one_ca_does_not_touch_another_of_the_same_name() {
    let [one, two] = [(); 2].map(|()| ca());
    let both = one.certificate_pem.clone() + &two.certificate_pem;
    let (of_one, mut of_two) = (Certified::new(&one), Certified::new(&two));
    let other = Certified::new(&one);
    let list = revoke(&one, None, &other.certificate, Validity::days(1)).unwrap();
    of_one.give(&both, &of_one.certificate, Some(&list));
    of_two.give(&both, &of_two.certificate, Some(&list));
    send(&of_one.node, &mut of_two.node, "hello").await;
    assert!(guard(other.node.transport.dial(of_one.node.addr())).await.is_err());
}

#[tokio::test]
async fn a_list_is_used_after_the_next_one_was_due() {
    let ca = ca();
    let (one, revoked) = (Certified::new(&ca), Certified::new(&ca));
    let hours_ago = |hours: u64| SystemTime::now() - Duration::from_secs(3_600 * hours);
    let past = Validity { not_before: hours_ago(2), not_after: hours_ago(1) };
    let list = revoke(&ca, None, &revoked.certificate, past).unwrap();
    one.give(&ca.certificate_pem, &one.certificate, Some(&list));
    assert!(guard(revoked.node.transport.dial(one.node.addr())).await.is_err());
}

#[tokio::test]
async fn a_certificate_that_expires_ends_no_connection() {
    let ca = ca();
    let one = Certified::new(&ca);
    let (identity, running) = twin();
    // Valid for long enough to connect, and past when the credentials are replaced.
    let now = SystemTime::now();
    let brief = Validity {
        not_before: now - Duration::from_secs(60),
        not_after: now + Duration::from_secs(2),
    };
    let short = issue(&ca, "node", &identity.public_key(), brief).unwrap();
    let brief_node = Node::of(running, &credentials(&ca.certificate_pem, &short, None), |_| {});
    connect(&brief_node, &one.node).await;
    while SystemTime::now() < now + Duration::from_secs(4) {
        // tidy: allow sleep: certificates are valid by the wall clock, in whole seconds
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(one.give(&ca.certificate_pem, &one.certificate, None), 0);
    assert_eq!(one.node.stats().connections, 1);
}

#[tokio::test]
async fn credentials_that_cannot_work_change_nothing() {
    let ca = ca();
    let (one, mut two) = (Certified::new(&ca), Certified::new(&ca));
    connect(&one.node, &two.node).await;
    let other_key = certified(&ca, &Identity::generate(), Validity::days(1));
    let past = Validity {
        not_before: SystemTime::now() - Duration::from_secs(7_200),
        not_after: SystemTime::now() - Duration::from_secs(3_600),
    };
    let expired = certified(&ca, &one.identity, past);
    let old_ca = create_ca("old", past).unwrap();
    let of_expired_ca = certified(&old_ca, &one.identity, Validity::days(1));
    let own = |lists: &str| credentials(&ca.certificate_pem, &one.certificate, Some(lists));
    let revoked = revoke(&ca, None, &one.certificate, Validity::days(1)).unwrap();
    let foreign = self::ca();
    let of_foreign = certificate(&foreign, &one.identity);
    let foreign_list = revoke(&foreign, None, &of_foreign, Validity::days(1)).unwrap();
    let mut elsewhere = certified(&ca, &one.identity, Validity::days(1));
    let Credentials::Certificates { cluster, .. } = &mut elsewhere else { unreachable!() };
    *cluster = "elsewhere".parse().unwrap();
    let refused = |credentials: &Credentials| {
        one.node.transport.replace_credentials(credentials).unwrap_err()
    };
    assert_eq!(refused(&other_key), CredentialsError::OtherKey);
    for credentials in [expired, of_expired_ca] {
        let error = refused(&credentials);
        assert!(matches!(error, CredentialsError::NotValid { .. }), "{error:?}");
        assert!(error.to_string().contains("has expired"), "{error}");
    }
    assert_eq!(refused(&own(&revoked)), CredentialsError::Revoked);
    for list in ["no list", &foreign_list] {
        let error = refused(&own(list));
        assert!(matches!(error, CredentialsError::RevocationList(_)), "{error:?}");
    }
    assert_eq!(refused(&elsewhere), CredentialsError::OtherCluster);
    let other_ca = credentials(&foreign.certificate_pem, &one.certificate, None);
    assert_eq!(refused(&other_ca), CredentialsError::OtherCa);

    send(&one.node, &mut two.node, "as before").await;
    assert_eq!(one.node.stats().connections_dialled, 1);
    let later = Certified::new(&ca);
    assert_eq!(guard(later.node.transport.dial(one.node.addr())).await, Ok(one.node.id));
}

#[tokio::test]
async fn watchers_end_with_their_credentials() {
    let [old, new] = [(); 2].map(|()| ClusterKey::generate());
    let node = Node::new(&keys(&[&old, &new]));
    let mut watchers = node.transport.take_watchers().unwrap();
    let any = "127.0.0.1:0".parse().unwrap();
    let watching = WatchClient::bind(&Identity::generate(), &keys(&[&new, &old]), any).unwrap();
    let mut frames = guard(watching.connect(node.addr(), b"request")).await.unwrap();
    let mut sender = guard(watchers.next()).await.unwrap().accept().await.unwrap();
    sender.send(b"hello").await.unwrap();
    assert_eq!(guard(frames.next()).await.unwrap(), "hello");
    // It proved itself with the new key.
    assert_eq!(node.transport.replace_credentials(&keys(&[&new])), Ok(0));
    sender.send(b"hello").await.unwrap();
    assert_eq!(guard(frames.next()).await.unwrap(), "hello");
    let third = ClusterKey::generate();
    assert_eq!(node.transport.replace_credentials(&keys(&[&third])), Ok(1));
    assert_eq!(guard(frames.next()).await.unwrap_err(), WatchError::Closed);
    assert_eq!(node.stats().connections_disowned, 1);
}
