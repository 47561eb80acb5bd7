//! Leaving, and what it says of who knows.

use std::{future::pending, pin::pin, time::Duration};

use phin::{Departure, MemberState, Stopped};
use tokio::{select, sync::mpsc};

use crate::nodes::{GUARD, Killable, Nodes, all_hold, all_know, within};

fn numbers(departure: Departure) -> (usize, usize) {
    (departure.confirmed, departure.asked)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_departure_is_confirmed_and_known_everywhere() {
    let nodes = Nodes::new();
    let mut all = nodes.start(5).await;
    let leaver = all.remove(2);
    let departure = within("leaving", leaver.leave(GUARD)).await.unwrap();
    assert_eq!(numbers(departure), (4, 4));
    all_hold(&all, leaver.id(), MemberState::Left).await;
    assert_eq!(leaver.members().me().state(), MemberState::Left);
    // Asking again is asking after the same departure.
    let again = within("leaving again", leaver.leave(GUARD)).await.unwrap();
    assert_eq!(again, departure);
    // Nobody takes the end of the process for a death.
    leaver.shutdown().await;
    all_know(&all, 4).await;
    assert_eq!(leaver.leave(GUARD).await, Err(Stopped));
}

#[tokio::test]
async fn alone_there_is_nobody_to_confirm() {
    let node = Nodes::new().builder("alone").start().await.unwrap();
    let departure = within("leaving", node.leave(GUARD)).await.unwrap();
    assert_eq!(numbers(departure), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_departure_goes_on() {
    let nodes = Nodes::new();
    let mut all = nodes.start(3).await;
    let leaver = all.remove(0);
    {
        let mut leaving = pin!(leaver.leave(GUARD));
        select! {
            biased;
            // All may have confirmed before this thread looks: then there is nothing to drop.
            _ = &mut leaving => {}
            () = std::future::ready(()) => {}
        }
    }
    all_hold(&all, leaver.id(), MemberState::Left).await;
    let departure = within("leaving", leaver.leave(GUARD)).await.unwrap();
    assert_eq!(numbers(departure), (2, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_deadline_ends_the_wait_for_a_member_that_does_not_confirm() {
    let nodes = Nodes::new();
    let seed = Killable::start(nodes.builder("seed")).await;
    let addr = seed.cluster.local_addr().to_string();
    let leaver = nodes.builder("leaver").seeds([addr]).start().await.unwrap();
    all_know(std::slice::from_ref(&leaver), 2).await;
    let pause = seed.pause().await;
    let departure = within("leaving", leaver.leave(Duration::ZERO)).await.unwrap();
    assert_eq!(numbers(departure), (0, 1));
    // The departure goes on, and is confirmed as soon as the member can.
    drop(pause);
    let departure = within("leaving", leaver.leave(GUARD)).await.unwrap();
    assert_eq!(numbers(departure), (1, 1));
    seed.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_before_its_join_was_answered_tells_whom_it_asked() {
    let nodes = Nodes::new();
    // The application never decides, so the join is not answered.
    let (asked, mut newcomers) = mpsc::channel(1);
    let seed = nodes.builder("seed").admit(move |_| {
        let _ = asked.try_send(());
        pending()
    });
    let seed = seed.start().await.unwrap();
    let node = nodes.builder("node").seeds([seed.local_addr()]);
    let node = node.start().await.unwrap();
    within("the question", newcomers.recv()).await.unwrap();
    let departure = within("leaving", node.leave(GUARD)).await.unwrap();
    assert_eq!(numbers(departure), (1, 1));
    assert_eq!(seed.members().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_left_returns_by_joining() {
    let nodes = Nodes::new();
    let all = nodes.start(3).await;
    let departure = within("leaving", all[0].leave(GUARD)).await.unwrap();
    assert_eq!(numbers(departure), (2, 2));
    let seed = all[1].local_addr().to_string();
    within("joining", all[0].join(&seed)).await.unwrap();
    all_know(&all, 3).await;
    let again = within("leaving", all[0].leave(GUARD)).await.unwrap();
    assert_eq!(numbers(again), (2, 2));
    all_hold(&all[1..], all[0].id(), MemberState::Left).await;
}
