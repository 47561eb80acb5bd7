//! Leaving, and what it says of who knows.

use std::{future::pending, pin::pin, time::Duration};

use phin::{Departure, MemberState, Stopped, testing::TestCluster};
use tokio::{select, sync::mpsc};

use crate::nodes::{GUARD, all_hold, within};

fn numbers(departure: Departure) -> (usize, usize) {
    (departure.confirmed, departure.asked)
}

#[tokio::test(start_paused = true)]
async fn a_departure_is_confirmed_and_known_everywhere() {
    let cluster = TestCluster::start(5).await;
    let leaver = cluster.node(2);
    let departure = within("leaving", leaver.leave(GUARD)).await.unwrap();
    assert_eq!(numbers(departure), (4, 4));
    cluster.converged().await;
    let others: Vec<_> = cluster.running().map(|(_, node)| node.clone()).collect();
    assert_eq!(others.len(), 4);
    all_hold(&others, leaver.id(), MemberState::Left).await;
    assert_eq!(leaver.members().me().state(), MemberState::Left);
    // Asking again is asking after the same departure.
    let again = within("leaving again", leaver.leave(GUARD)).await.unwrap();
    assert_eq!(again, departure);
    // Nobody takes the end of the process for a death.
    leaver.shutdown().await;
    // tidy: allow sleep: nothing is to happen
    tokio::time::sleep(Duration::from_secs(30)).await;
    all_hold(&others, leaver.id(), MemberState::Left).await;
    assert_eq!(leaver.leave(GUARD).await, Err(Stopped));
}

#[tokio::test(start_paused = true)]
async fn alone_there_is_nobody_to_confirm() {
    let cluster = TestCluster::start(1).await;
    let departure = within("leaving", cluster.node(0).leave(GUARD)).await.unwrap();
    assert_eq!(numbers(departure), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_departure_goes_on() {
    let cluster = TestCluster::start(3).await;
    let leaver = cluster.node(0);
    {
        let mut leaving = pin!(leaver.leave(GUARD));
        select! {
            biased;
            _ = &mut leaving => panic!("the others are a millisecond away"),
            () = std::future::ready(()) => {}
        }
    }
    cluster.converged().await;
    let departure = within("leaving", leaver.leave(GUARD)).await.unwrap();
    assert_eq!(numbers(departure), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn the_deadline_ends_the_wait_for_a_member_that_does_not_confirm() {
    let cluster = TestCluster::start(2).await;
    let leaver = cluster.node(1);
    cluster.pause(0);
    let began = cluster.elapsed();
    let departure = within("leaving", leaver.leave(Duration::from_secs(2))).await.unwrap();
    assert_eq!((numbers(departure), cluster.elapsed() - began), ((0, 1), Duration::from_secs(2)));
    // The departure goes on, and is confirmed as soon as the member can.
    cluster.resume(0);
    let departure = within("leaving", leaver.leave(GUARD)).await.unwrap();
    assert_eq!(numbers(departure), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn who_leaves_before_its_join_was_answered_tells_whom_it_asked() {
    // The application never decides, so the join is not answered.
    let (asked, mut newcomers) = mpsc::channel(1);
    let builder = TestCluster::builder().configure(move |_, builder| {
        let asked = asked.clone();
        builder.admit(move |_| {
            let _ = asked.try_send(());
            pending()
        })
    });
    let mut cluster = builder.start(1).await;
    let node = cluster.add(|builder| builder).await;
    within("the question", newcomers.recv()).await.unwrap();
    let departure = within("leaving", cluster.node(node).leave(GUARD)).await.unwrap();
    assert_eq!(numbers(departure), (1, 1));
    assert_eq!(cluster.node(0).members().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_has_left_returns_by_joining() {
    let cluster = TestCluster::start(3).await;
    let leaver = cluster.node(0);
    let departure = within("leaving", leaver.leave(GUARD)).await.unwrap();
    assert_eq!(numbers(departure), (2, 2));
    let seed = cluster.node(1).local_addr().to_string();
    within("joining", leaver.join(&seed)).await.unwrap();
    cluster.converged().await;
    assert_eq!(cluster.running().count(), 3);
    let again = within("leaving", leaver.leave(GUARD)).await.unwrap();
    assert_eq!(numbers(again), (2, 2));
    cluster.converged().await;
    assert_eq!(cluster.node(2).members().live_len(), 2);
}
