//! Credentials and seeds that are replaced while nodes run.
#![expect(clippy::unwrap_used, reason = "what helps a test may fail as a test does")]

use phin::{
    Cluster, ClusterKey, Credentials, CredentialsError, Identity, Keyring, MemberState,
    ReplaceCredentialsError, SetSeedsError,
    certificates::{CertificateAuthority, Validity, create_ca, issue, revoke},
};

use crate::{
    log,
    nodes::{Nodes, all_hold, all_know, closed_addr, until, within},
};

fn ring(keys: [&ClusterKey; 2]) -> Keyring {
    let [own, other] = keys.map(ClusterKey::to_text);
    format!("{} {}", own.as_str(), other.as_str()).parse().unwrap()
}

async fn replace(node: &Cluster, credentials: Credentials) -> usize {
    within("replacing credentials", node.replace_credentials(credentials)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_goes_over_to_another_key() {
    let nodes = Nodes::new();
    let (old, new) = (nodes.key.clone(), ClusterKey::generate());
    let running = nodes.start(3).await;
    let steps = [Credentials::key(ring([&old, &new])), Credentials::key(ring([&new, &old]))];
    for step in steps {
        for node in &running {
            assert_eq!(replace(node, step.clone()).await, 0);
        }
    }
    let mut closed = 0;
    for node in &running {
        closed += replace(node, Credentials::key(new.clone())).await;
    }
    assert!(closed > 0, "connections were made with the old key");
    let later = Cluster::builder().name("later").key(new).local();
    let later = later.seeds([running[2].local_addr()]).start().await.unwrap();
    all_know(&running, 4).await;
    let stranger = nodes.builder("stranger").start().await.unwrap();
    assert!(within("joining", stranger.join(later.local_addr())).await.is_err());
}

fn certified(ca: &CertificateAuthority, identity: &Identity) -> (Credentials, String) {
    let pem = issue(ca, "node", &identity.public_key(), Validity::days(1)).unwrap();
    let key = identity.to_pem();
    (Credentials::certificates(&ca.certificate_pem, &pem, key.as_str()), pem)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_member_dies_for_those_that_have_the_list() {
    log::listen();
    let ca = create_ca("ca", Validity::days(1)).unwrap();
    let identities = [(); 3].map(|()| Identity::generate());
    let credentials = identities.each_ref().map(|identity| certified(&ca, identity));
    let mut nodes: Vec<Cluster> = Vec::new();
    for (number, (credentials, _)) in credentials.iter().enumerate() {
        let builder = Cluster::builder().name(format!("n{number}")).local();
        let seeds = nodes.first().map(Cluster::local_addr);
        let builder = builder.credentials(credentials.clone()).seeds(seeds);
        nodes.push(builder.start().await.unwrap());
    }
    all_know(&nodes, 3).await;
    let revoked = nodes.pop().unwrap();
    let list = revoke(&ca, None, &credentials[2].1, Validity::days(1)).unwrap();
    for (node, (credentials, _)) in nodes.iter().zip(&credentials) {
        replace(node, credentials.clone().revocations(&list)).await;
    }
    all_hold(&nodes, revoked.id(), MemberState::Dead).await;
    all_know(&nodes, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_identity_does_not_change() {
    log::listen();
    let ca = create_ca("ca", Validity::days(1)).unwrap();
    let [own, other] = [(); 2].map(|()| certified(&ca, &Identity::generate()).0);
    let node = Cluster::builder().credentials(own.clone()).start().await.unwrap();
    let refused = |credentials| async {
        within("a refusal", node.replace_credentials(credentials)).await.unwrap_err()
    };
    let error = refused(other).await;
    assert!(matches!(error, ReplaceCredentialsError::OtherIdentity), "{error}");
    let error = refused(own.revocations("no list")).await;
    let is_list = |error: &CredentialsError| matches!(error, CredentialsError::RevocationList(_));
    assert!(
        matches!(&error, ReplaceCredentialsError::Credentials(error) if is_list(error)),
        "{error}"
    );
    node.shutdown().await;
    let stopped = refused(Credentials::key(ClusterKey::generate())).await;
    assert!(matches!(stopped, ReplaceCredentialsError::Stopped(_)), "{stopped}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seeds_that_are_set_are_tried_at_once() {
    let nodes = Nodes::new();
    let one = nodes.builder("one").start().await.unwrap();
    let alone = nodes.builder("alone").start().await.unwrap();
    let lost = nodes.builder("lost").seeds([closed_addr()]).start().await.unwrap();
    let error = within("a refusal", alone.set_seeds(["host:port"])).await.unwrap_err();
    assert!(matches!(error, SetSeedsError::Seed { ref seed } if seed == "host:port"), "{error}");
    for node in [&alone, &lost] {
        within("setting seeds", node.set_seeds([one.local_addr()])).await.unwrap();
    }
    until(&one, "both", |members| members.live_len() == 3).await;
    within("joining", lost.joined()).await.unwrap();
    within("setting seeds", alone.set_seeds([""; 0])).await.unwrap();
}
