//! Leadership: who holds an office as handles see it, and when a node knows that it no longer does.
#![expect(clippy::unwrap_used, reason = "what helps a test may fail as a test does")]

use phin::{
    Candidacy, Cluster, Leader, Office, OfficeRules, StandError, StandRefusal, Vacancy,
    testing::TestCluster,
};

fn office() -> Office {
    "job".parse().unwrap()
}

fn rules(expected: u16) -> OfficeRules {
    OfficeRules::new("".parse().unwrap(), Some(expected))
}

async fn stand(node: &Cluster) -> Candidacy {
    node.stand(&office(), rules(3)).await.unwrap()
}

/// Waits until a node follows this one.
async fn followed(node: &Cluster, by: &Cluster) -> Leader {
    let mut leaders = by.subscribe_leader(&office());
    loop {
        let leader = leaders.next().await.unwrap();
        if matches!(leader, Leader::Member { id, .. } if id == node.id()) {
            return leader;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn all_learn_who_holds_an_office_and_the_next_term_has_a_higher_token() {
    let cluster = TestCluster::start(3).await;
    let mut first = stand(cluster.node(0)).await;
    let tenure = first.elected().await.unwrap();
    assert!(tenure.is_valid() && first.tenure().is_some_and(|now| now.token() == tenure.token()));
    let seen = followed(cluster.node(0), cluster.node(2)).await;
    assert_eq!(seen, Leader::Member { id: cluster.node(0).id(), token: tenure.token() });
    let mut second = stand(cluster.node(1)).await;
    cluster.kill(0);
    let next = second.elected().await.unwrap();
    assert!(next.token() > tenure.token());
    assert!(!tenure.is_valid(), "the tenure ended with its node");
    followed(cluster.node(1), cluster.node(2)).await;
    assert_eq!(cluster.node(2).leaders().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_is_cut_off_knows_before_another_is_elected() {
    let cluster = TestCluster::start(3).await;
    let mut first = stand(cluster.node(0)).await;
    let tenure = first.elected().await.unwrap();
    let mut second = stand(cluster.node(1)).await;
    cluster.partition([0], [1, 2]);
    tokio::select! {
        biased;
        () = tenure.lost() => {}
        _ = second.elected() => panic!("the first still holds the office"),
    }
    assert!(!tenure.is_valid() && first.tenure().is_none());
    let next = second.elected().await.unwrap();
    cluster.heal();
    followed(cluster.node(1), cluster.node(0)).await;
    assert!(next.is_valid());
}

#[tokio::test(start_paused = true)]
async fn an_office_is_free_once_its_holder_resigns_or_drops_it() {
    let cluster = TestCluster::start(3).await;
    let mut second = stand(cluster.node(1)).await;
    let tenure = second.elected().await.unwrap();
    let again = cluster.node(1).stand(&office(), rules(3)).await;
    assert!(matches!(again, Err(StandError::Standing)));
    let mut first = stand(cluster.node(0)).await;
    second.resign().await;
    assert!(!tenure.is_valid());
    first.elected().await.unwrap();
    let mut second = stand(cluster.node(1)).await;
    drop(first);
    second.elected().await.unwrap();
    assert!(stand(cluster.node(0)).await.tenure().is_none());
}

#[tokio::test(start_paused = true)]
async fn an_office_that_cannot_be_held_says_why() {
    let cluster = TestCluster::start(2).await;
    let node = cluster.node(0);
    assert_eq!(node.leader(&office()), Leader::Nobody(Vacancy::NeverHeld));
    let refused = node.stand(&office(), rules(65)).await;
    let is_limit = |error| matches!(error, StandError::Refused(StandRefusal::TooManyVoters { .. }));
    assert!(refused.is_err_and(is_limit));
    let _candidacy = node.stand(&office(), rules(5)).await.unwrap();
    let mut leaders = node.subscribe_leader(&office());
    let expected = Leader::Nobody(Vacancy::NoMajority { seen: 2, needed: 3 });
    while leaders.next().await.unwrap() != expected {}
}
