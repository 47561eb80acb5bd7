//! Seeds that let a node in, and seeds that do not.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
    time::Duration,
};

use phin::{Cluster, ClusterKey, DialError, JoinError, MemberState, testing::TestCluster};
use tokio::time::sleep;

use crate::{
    log,
    nodes::{GUARD, Killable, Nodes, all_hold, all_know, closed_addr, until, within},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_join_says_through_whom() {
    let nodes = Nodes::new();
    let one = nodes.builder("one").start().await.unwrap();
    let two = nodes.builder("two").start().await.unwrap();
    let joined = within("joining", two.join(one.local_addr())).await.unwrap();
    assert_eq!((joined.through, joined.addr), (one.id(), one.local_addr()));
    // A node that joined finds the others in its list.
    assert_eq!(two.members().live_len(), 2);
    all_know(&[one, two], 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn this_node_as_a_seed_is_no_error() {
    let nodes = Nodes::new();
    let addr = closed_addr();
    let seeds = [addr.to_string()];
    let node = nodes.builder("one").bind(addr).seeds(&seeds).start().await.unwrap();
    within("being in", node.joined()).await.unwrap();
    let error = within("joining", node.join(&seeds[0])).await.unwrap_err();
    assert!(matches!(error, JoinError::ThisNode { .. }), "{error}");
    // The others have the same seeds.
    let other = nodes.builder("two").seeds(&seeds).start().await.unwrap();
    all_know(&[node, other], 2).await;
}

/// Soon at first, then every ten seconds.
#[tokio::test(start_paused = true)]
async fn a_seed_that_is_not_there_is_tried_again_and_again() {
    let builder = TestCluster::builder();
    let cluster = builder.configure(|_, builder| builder.seeds(["10.9.9.9:7646"])).start(1).await;
    let node = cluster.node(0);
    let mut dials = Vec::new();
    for until in [1, 20, 620] {
        // tidy: allow sleep: the subject is how often something happens in a span of time
        sleep(Duration::from_secs(until) - cluster.elapsed()).await;
        dials.push(node.stats().await.unwrap().transport.dials);
    }
    let [first, then, at_last] = dials[..] else { panic!("there are three spans") };
    assert!((2..=4).contains(&first), "{first}");
    assert!((3..=5).contains(&(then - first)), "{then}");
    assert!((50..=75).contains(&(at_last - then)), "{at_last}");
    assert!(!node.is_joined());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_good_seed_among_bad_ones_is_enough() {
    let nodes = Nodes::new();
    let good = nodes.builder("good").start().await.unwrap();
    let other_cluster = Nodes::new().builder("other").start().await.unwrap();
    let seeds = [
        "no-such-host.invalid:7000".to_owned(),
        closed_addr().to_string(),
        other_cluster.local_addr().to_string(),
        good.local_addr().to_string(),
    ];
    let node = nodes.builder("node").seeds(seeds).start().await.unwrap();
    within("being in", node.joined()).await.unwrap();
    all_know(&[good, node], 2).await;
    assert_eq!(other_cluster.members().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_that_share_no_first_contact_become_one_cluster() {
    let nodes = Nodes::new();
    let [a, b] = [closed_addr(), closed_addr()];
    let seeds = [a.to_string(), b.to_string()];
    // Both are seeds of the other two, each of which may meet either first.
    let one = nodes.builder("one").bind(a).seeds(&seeds).start().await.unwrap();
    let three = nodes.builder("three").seeds(&seeds).start().await.unwrap();
    all_know(&[one.clone(), three.clone()], 2).await;
    let two = nodes.builder("two").bind(b).seeds(&seeds).start().await.unwrap();
    let four = nodes.builder("four").seeds(&seeds).start().await.unwrap();
    all_know(&[one, two, three, four], 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seed_that_was_away_is_found_by_nodes_in_company() {
    let nodes = Nodes::new();
    let [a, b] = [closed_addr(), closed_addr()];
    let seeds = [a.to_string(), b.to_string()];
    let one = nodes.builder("one").bind(a).seeds(&seeds).start().await.unwrap();
    let two = nodes.builder("two").seeds(&seeds).start().await.unwrap();
    all_know(&[one.clone(), two.clone()], 2).await;
    // The other half knows nothing of the first.
    let three = nodes.builder("three").bind(b).start().await.unwrap();
    let four = nodes.builder("four").seeds(&seeds[1..]).start().await.unwrap();
    all_know(&[one, two, three, four], 4).await;
}

#[tokio::test]
async fn an_unresolvable_seed_is_named() {
    let node = Nodes::new().builder("node").start().await.unwrap();
    for seed in ["no-such-host.invalid:7000", "no-such-host.invalid", "127.0.0.1:port"] {
        let error = within("the error", node.join(seed)).await.unwrap_err();
        assert!(
            matches!(&error, JoinError::Resolve { seed: named, .. } if named == seed),
            "{error}"
        );
    }
    let seeds = ["no-such-host.invalid:7000"];
    let node = Nodes::new().builder("node").seeds(seeds).start().await.unwrap();
    assert!(!node.is_joined());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_is_refused_with_the_reason() {
    let nodes = Nodes::new();
    let seed = nodes.builder("seed").start().await.unwrap();
    let addr = seed.local_addr().to_string();
    let strangers = [
        Cluster::builder().key(ClusterKey::generate()).start().await.unwrap(),
        Cluster::builder().key(nodes.key.clone()).cluster("other").start().await.unwrap(),
    ];
    for stranger in &strangers {
        let error = within("the refusal", stranger.join(&addr)).await.unwrap_err();
        let JoinError::Dial { source, .. } = &error else {
            panic!("{error}");
        };
        assert!(matches!(source, DialError::Refused { .. }), "{source}");
        assert_eq!(stranger.members().len(), 1);
    }
    assert_eq!(seed.members().len(), 1);
}

/// On one thread, so that what is logged can be heard.
#[tokio::test]
async fn a_seed_that_refuses_is_logged_and_tried_again() {
    let nodes = Nodes::new();
    let stranger = Nodes::new().builder("stranger").start().await.unwrap();
    let addr = stranger.local_addr();
    let node = nodes.builder("node").seeds([addr.to_string()]).start().await.unwrap();
    let logged = async {
        let mut text = log::take();
        while !text.contains("refuses this node") {
            tokio::task::yield_now().await;
            text += &log::take();
        }
        text
    };
    let text = within("the refusal in the log", logged).await;
    assert!(text.contains(&addr.to_string()) && text.contains("another cluster key"), "{text}");
    assert!(!node.is_joined());
    stranger.shutdown().await;
    let seed = nodes.builder("seed").bind(addr).start().await.unwrap();
    all_know(&[seed, node], 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seed_that_is_not_phin_is_an_error() {
    let node = Nodes::new().builder("node").start().await.unwrap();
    let error = within("the error", node.join(closed_addr())).await.unwrap_err();
    assert!(matches!(error, JoinError::Dial { .. } | JoinError::TimedOut { .. }), "{error}");
    // A server of something else.
    let other = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let addr = other.local_addr().unwrap().to_string();
    let answering = tokio::spawn(async move {
        let mut buffer = [0; 2_048];
        while let Ok((_, from)) = other.recv_from(&mut buffer).await {
            let _ = other.send_to(b"SIP/2.0 400 Bad Request\r\n\r\n", from).await;
        }
    });
    let error = within("the error", node.join(&addr)).await.unwrap_err();
    assert!(matches!(error, JoinError::Dial { .. } | JoinError::TimedOut { .. }), "{error}");
    answering.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joins_that_are_dropped_do_no_harm() {
    let nodes = Nodes::new();
    let seed = nodes.builder("seed").start().await.unwrap();
    let node = nodes.builder("node").start().await.unwrap();
    let addr = seed.local_addr().to_string();
    for polls in 1..20 {
        let mut join = pin!(node.join(&addr));
        let mut left = polls;
        // Dropped after so many polls, wherever that is.
        poll_fn(|context| {
            left -= 1;
            match join.as_mut().poll(context) {
                Poll::Pending if left > 0 => Poll::Pending,
                Poll::Pending | Poll::Ready(_) => Poll::Ready(()),
            }
        })
        .await;
    }
    within("joining", node.join(&addr)).await.unwrap();
    let both = async { tokio::join!(node.join(&addr), node.join(&addr)) };
    let (one, two) = within("joining twice at once", both).await;
    assert_eq!((one.unwrap().through, two.unwrap().through), (seed.id(), seed.id()));
    all_know(&[seed, node], 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_seed_restarted_rejoins() {
    let nodes = Nodes::new();
    let seed = Killable::start(nodes.builder("seed")).await;
    let (id, addr) = (seed.cluster.id(), seed.cluster.local_addr());
    let node = nodes.builder("node").seeds([addr.to_string()]).start().await.unwrap();
    within("being in", node.joined()).await.unwrap();
    seed.kill().await;
    // Without a data directory it is another member, which knows nobody.
    let seed = nodes.builder("seed").bind(addr).start().await.unwrap();
    assert_ne!(seed.id(), id);
    all_hold(std::slice::from_ref(&node), seed.id(), MemberState::Alive).await;
    // The one that was there is dead, or was never known.
    all_know(&[seed, node], 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_at_the_address_of_a_dead_member_is_met() {
    let nodes = Nodes::new();
    let node = nodes.builder("node").start().await.unwrap();
    let seeds = [node.local_addr().to_string()];
    let other = Killable::start(nodes.builder("other").seeds(seeds)).await;
    let (id, addr) = (other.cluster.id(), other.cluster.local_addr());
    all_know(std::slice::from_ref(&node), 2).await;
    other.kill().await;
    all_hold(std::slice::from_ref(&node), id, MemberState::Dead).await;
    // It knows nobody and has no seed, nor has the node that remembers the dead one.
    let newcomer = nodes.builder("newcomer").bind(addr).start().await.unwrap();
    all_know(&[node, newcomer], 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seed_that_once_let_a_node_in_is_asked_again() {
    let nodes = Nodes::new();
    let addr = closed_addr();
    let seed = nodes.builder("seed").bind(addr).start().await.unwrap();
    let one = nodes.builder("one").seeds([addr.to_string()]).start().await.unwrap();
    let two = nodes.builder("two").seeds([one.local_addr()]).start().await.unwrap();
    let both = [one, two];
    all_know(&both, 3).await;
    within("leaving", seed.leave(GUARD)).await.unwrap();
    all_hold(&both, seed.id(), MemberState::Left).await;
    seed.shutdown().await;
    for node in &both {
        // As after the retention; whichever is told by the other has nothing to forget.
        let _ = within("forgetting", node.forget(seed.id())).await;
        until(node, "forgotten", |members| members.get(seed.id()).is_none()).await;
    }
    // Another cluster, which knows nobody here and has no seed, at the same address.
    let other = nodes.builder("other").bind(addr).start().await.unwrap();
    let far = nodes.builder("far").seeds([addr.to_string()]).start().await.unwrap();
    let [one, two] = both;
    all_know(&[one, two, other, far], 4).await;
}
