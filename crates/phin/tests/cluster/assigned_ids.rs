//! Ids that a CA assigns to members, instead of those of their keys.
#![expect(clippy::unwrap_used, reason = "what helps a test may fail as a test does")]

use std::{
    error::Error,
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
};

use phin::{
    Change, Cluster, Credentials, CredentialsError, Generation, Identity, MemberId, Notice,
    ReplaceCredentialsError, Subscription,
    certificates::{CertificateAuthority, Validity, create_ca, issue, issue_with_id, renew},
};

use crate::{
    log,
    nodes::{GUARD, all_know, until, within},
};

fn ca() -> CertificateAuthority {
    create_ca("ca", Validity::days(1)).unwrap()
}

/// The key of a node and its certificate.
struct Member {
    identity: Identity,
    certificate: String,
}

impl Member {
    fn with_id(ca: &CertificateAuthority, name: &str, identity: Identity) -> Self {
        let key = identity.public_key();
        let certificate = issue_with_id(ca, name, &key, Validity::days(1)).unwrap();
        Self { identity, certificate }
    }

    fn without_id(ca: &CertificateAuthority) -> Self {
        let identity = Identity::generate();
        let certificate = issue(ca, "node", &identity.public_key(), Validity::days(1)).unwrap();
        Self { identity, certificate }
    }

    fn credentials(&self, ca_pem: &str) -> Credentials {
        Credentials::certificates(ca_pem, &self.certificate, self.identity.to_pem().as_str())
    }

    async fn start(&self, name: &str, ca_pem: &str, seed: Option<&Cluster>) -> Cluster {
        log::listen();
        let builder = Cluster::builder().name(name).local().credentials(self.credentials(ca_pem));
        builder.seeds(seed.map(Cluster::local_addr)).start().await.unwrap()
    }
}

async fn replace(node: &Cluster, credentials: Credentials) -> usize {
    within("replacing credentials", node.replace_credentials(credentials)).await.unwrap()
}

async fn refusal(node: &Cluster, credentials: Credentials) -> ReplaceCredentialsError {
    within("a refusal", node.replace_credentials(credentials)).await.unwrap_err()
}

/// The suspicions and deaths that a node has announced by now.
fn trouble(changes: &mut Subscription) -> Vec<(Change, MemberId)> {
    let mut trouble = Vec::new();
    let mut now = Context::from_waker(Waker::noop());
    while let Poll::Ready(Some(notice)) = pin!(changes.next()).poll(&mut now) {
        if let Notice::Event { event, .. } = notice
            && matches!(event.change, Change::Suspect | Change::Dead)
        {
            trouble.push((event.change, event.member.id()));
        }
    }
    trouble
}

/// An error with its causes.
fn in_full(error: &dyn Error) -> String {
    let (mut text, mut cause) = (error.to_string(), error.source());
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_goes_over_to_assigned_ids_without_a_suspicion() {
    let ca = ca();
    let pem = &ca.certificate_pem;
    let plain = [(); 3].map(|()| Member::without_id(&ca));
    let mut nodes = vec![plain[0].start("n0", pem, None).await];
    for (number, member) in plain.iter().enumerate().skip(1) {
        nodes.push(member.start(&format!("n{number}"), pem, Some(&nodes[0])).await);
    }
    all_know(&nodes, 3).await;
    let mut assigned = Vec::new();
    for (number, member) in plain.into_iter().enumerate() {
        let name = format!("n{number}");
        let old = nodes.remove(0);
        let mut changes = nodes.iter().map(Cluster::subscribe).collect::<Vec<_>>();
        let member = Member::with_id(&ca, &name, member.identity);
        // It would be another member.
        let error = refusal(&old, member.credentials(pem)).await;
        let is_other = |error: &CredentialsError| matches!(error, CredentialsError::OtherId { .. });
        assert!(
            matches!(&error, ReplaceCredentialsError::Credentials(error) if is_other(error)),
            "{error}"
        );
        within("leaving", old.leave(GUARD)).await.unwrap();
        old.shutdown().await;
        nodes.push(member.start(&name, pem, Some(&nodes[0])).await);
        assert_ne!(nodes[2].id(), old.id());
        all_know(&nodes, 3).await;
        assigned.push(member);
        for changes in &mut changes {
            assert_eq!(trouble(changes), []);
        }
    }
    // All have an assigned id, so each may require one. No connection is of another member.
    let mut changes = nodes.iter().map(Cluster::subscribe).collect::<Vec<_>>();
    for (node, member) in nodes.iter().zip(&assigned) {
        assert_eq!(replace(node, member.credentials(pem).require_assigned_ids()).await, 0);
    }
    let late = Member::with_id(&ca, "late", Identity::generate());
    nodes.push(late.start("late", pem, Some(&nodes[0])).await);
    all_know(&nodes, 4).await;
    for changes in &mut changes {
        assert_eq!(trouble(changes), []);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_without_an_assigned_id_is_refused_and_learns_why() {
    let ca = ca();
    let pem = &ca.certificate_pem;
    let strict = Member::with_id(&ca, "strict", Identity::generate());
    let plain = Member::without_id(&ca);
    let one = strict.start("strict", pem, None).await;
    let other = plain.start("plain", pem, Some(&one)).await;
    all_know(&[one.clone(), other.clone()], 2).await;
    // Both kinds are members until one is required.
    assert_eq!(replace(&one, strict.credentials(pem).require_assigned_ids()).await, 1);
    until(&one, "the other is gone", |members| members.live_len() == 1).await;
    let newcomer = Member::without_id(&ca).start("newcomer", pem, None).await;
    let error = within("joining", newcomer.join(one.local_addr())).await.unwrap_err();
    let told = "refused by peer: the certificate assigns no id, and assigned ids are required";
    assert!(in_full(&error).contains(told), "{}", in_full(&error));
    // Nor does it start with that rule itself.
    let own = Member::without_id(&ca).credentials(pem).require_assigned_ids();
    let error = Cluster::builder().local().credentials(own).start().await.unwrap_err();
    assert!(in_full(&error).contains("no CA assigned the id"), "{}", in_full(&error));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_outlast_the_ca_that_assigned_them() {
    let [old, new] = [(); 2].map(|()| ca());
    let both = old.certificate_pem.clone() + &new.certificate_pem;
    let authority = CertificateAuthority::new(both.clone(), new.key_pem.clone());
    let members = ["n0", "n1"].map(|name| Member::with_id(&old, name, Identity::generate()));
    let one = members[0].start("n0", &old.certificate_pem, None).await;
    let mut nodes =
        vec![one.clone(), members[1].start("n1", &old.certificate_pem, Some(&one)).await];
    all_know(&nodes, 2).await;
    let ids = [nodes[0].id(), nodes[1].id()];
    let renewed = members.map(|Member { identity, certificate }| {
        let certificate = renew(&authority, &certificate, None, Validity::days(1)).unwrap();
        Member { identity, certificate }
    });
    for (node, member) in nodes.iter().zip(&renewed) {
        replace(node, member.credentials(&both).require_assigned_ids()).await;
    }
    for (node, member) in nodes.iter().zip(&renewed) {
        replace(node, member.credentials(&new.certificate_pem).require_assigned_ids()).await;
    }
    // A newcomer knows the new CA alone. It believes the records of both, as both were signed anew.
    let late = Member::with_id(&new, "late", Identity::generate());
    nodes.push(late.start("late", &new.certificate_pem, Some(&one)).await);
    all_know(&nodes, 3).await;
    for id in ids {
        assert!(nodes[2].members().get(id).is_some());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_key_for_a_name_takes_the_place_of_the_former() {
    let ca = ca();
    let pem = &ca.certificate_pem;
    let watching = Member::with_id(&ca, "n0", Identity::generate()).start("n0", pem, None).await;
    let former = Member::with_id(&ca, "n1", Identity::generate());
    let node = former.start("n1", pem, Some(&watching)).await;
    let id = node.id();
    all_know(&[watching.clone(), node.clone()], 2).await;
    within("leaving", node.leave(GUARD)).await.unwrap();
    node.shutdown().await;
    // The machine was replaced: nothing is known of earlier runs.
    let latter = Member::with_id(&ca, "n1", Identity::generate());
    let node = latter.start("n1", pem, Some(&watching)).await;
    assert_eq!(node.id(), id);
    all_know(&[watching.clone(), node.clone()], 2).await;
    let known = watching.members().get(id).unwrap().generation();
    assert!(known > Generation(1), "{known:?}");
}
