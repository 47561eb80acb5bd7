//! The application's word on newcomers.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use phin::{Builder, JoinError, JoinRefusal, MemberState};
use phin_quic::{Credentials, Identity, Peer, Transport, TransportConfig};
use tokio::sync::{Semaphore, mpsc};

use crate::nodes::{Nodes, all_hold, all_know, until, within};

/// Lets in whose name begins with `good`.
fn choosy(builder: Builder) -> Builder {
    builder.admit(|newcomer| async move {
        match newcomer.name.starts_with("good") {
            true => Ok(()),
            false => Err(format!("{} is not good", newcomer.name)),
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_refused_learns_the_reason_and_neither_side_knows_the_other() {
    let nodes = Nodes::new();
    let seed = choosy(nodes.builder("seed")).start().await.unwrap();
    let addr = seed.local_addr().to_string();
    let bad = nodes.builder("bad").start().await.unwrap();
    let error = within("the refusal", bad.join(&addr)).await.unwrap_err();
    let JoinError::Refused { source: JoinRefusal::NotAdmitted(reason), .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(reason, "bad is not good");
    assert_eq!((seed.members().len(), bad.members().len()), (1, 1));
    let good = nodes.builder("good").start().await.unwrap();
    within("joining", good.join(&addr)).await.unwrap();
    all_know(&[seed.clone(), good.clone()], 2).await;
    // The hook is a door, not a filter: a member without one lets in whoever has the key.
    within("joining", bad.join(good.local_addr())).await.unwrap();
    all_hold(&[seed, good], bad.id(), MemberState::Alive).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_hook_is_told_who_asks_and_only_the_member_that_is_asked_asks_it() {
    let nodes = Nodes::new();
    let (asked, mut newcomers) = mpsc::unbounded_channel();
    let mut cluster = Vec::new();
    for name in ["one", "two", "three"] {
        let asked = asked.clone();
        let builder = nodes.builder(name).admit(move |newcomer| {
            let asked = asked.clone();
            async move { asked.send((name, newcomer)).map_err(|_| "the test has ended".to_owned()) }
        });
        let seeds = cluster.first().map(|seed: &phin::Cluster| seed.local_addr().to_string());
        cluster.push(builder.seeds(seeds).start().await.unwrap());
        all_know(&cluster, cluster.len()).await;
    }
    let [one, two, three] = &cluster[..] else { panic!("three were started") };
    for node in [two, three] {
        let (by, newcomer) = within("the question", newcomers.recv()).await.unwrap();
        assert_eq!((by, newcomer.id, &*newcomer.name), ("one", node.id(), node.name()));
        assert_eq!(newcomer.addrs, [node.advertised()]);
        // On loopback nothing translates addresses.
        assert_eq!((newcomer.seen_at, newcomer.generation.0), (node.local_addr(), 1));
    }
    assert!(newcomers.try_recv().is_err());
    // A member that left is no newcomer.
    within("leaving", two.leave(crate::nodes::GUARD)).await.unwrap();
    all_hold(std::slice::from_ref(one), two.id(), MemberState::Left).await;
    within("joining", two.join(three.local_addr())).await.unwrap();
    all_know(&cluster, 3).await;
    assert!(newcomers.try_recv().is_err());
}

/// One decision, counted among those under way for as long as it lasts.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn among(under_way: Arc<AtomicUsize>, most: &AtomicUsize) -> Self {
        most.fetch_max(under_way.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        Self(under_way)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hook_that_waits_holds_up_no_others_and_is_asked_no_more_than_so_many_at_once() {
    let nodes = Nodes::new();
    let gate = Arc::new(Semaphore::new(0));
    let (under_way, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seed = nodes.builder("seed").admit({
        let (gate, under_way, most) = (gate.clone(), under_way.clone(), most.clone());
        move |_| {
            let (gate, under_way, most) = (gate.clone(), under_way.clone(), most.clone());
            async move {
                let _counted = Counted::among(under_way, &most);
                gate.acquire().await.map(drop).map_err(|error| error.to_string())
            }
        }
    });
    let seed = seed.start().await.unwrap();
    let addr = seed.local_addr().to_string();
    let mut newcomers = Vec::new();
    for number in 0..70 {
        let builder = nodes.builder(&format!("n{number}")).seeds([&*addr]);
        newcomers.push(builder.start().await.unwrap());
    }
    let busy = async {
        while seed.stats().await.unwrap().swim.joins_busy == 0 {
            tokio::task::yield_now().await;
        }
    };
    within("a newcomer beyond the limit", busy).await;
    assert_eq!(seed.members().len(), 1);
    gate.add_permits(1);
    // Who was admitted lets others know at once; who was told to come back does.
    all_know(std::slice::from_ref(&seed), 71).await;
    assert!(most.load(Ordering::SeqCst) <= 64);
    let ids: BTreeSet<_> = newcomers.iter().map(phin::Cluster::id).collect();
    until(&newcomers[0], "everybody", |members| {
        ids.iter().all(|&id| members.get(id).is_some_and(|member| member.state().is_live()))
    })
    .await;
}

/// Connected with the key, and never joined.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_never_joins_has_a_budget_and_holds_nobody_up() {
    let nodes = Nodes::new();
    let seed = nodes.builder("seed").start().await.unwrap();
    let keys = nodes.key.clone().into();
    let credentials = Credentials::ClusterKey { cluster: "phin".parse().unwrap(), keys };
    let config = TransportConfig::new("127.0.0.1:0".parse().unwrap());
    let identity = Arc::new(Identity::generate());
    let (outsider, _receiver) = Transport::bind(identity, credentials, config).unwrap();
    let id = within("dialling", outsider.dial(seed.local_addr())).await.unwrap();
    let flooded = async {
        while seed.stats().await.unwrap().driver.outsiders_dropped < 10 {
            // Nothing that the protocol knows; decoding it would count.
            outsider.send_stream(Peer { id, addr: seed.local_addr() }, vec![0; 200_000].into());
            tokio::task::yield_now().await;
        }
    };
    within("the end of its budget", flooded).await;
    let stats = seed.stats().await.unwrap();
    // What the budget has room for, and some that was refilled.
    assert!(stats.swim.unknown_versions + stats.swim.malformed_messages >= 5, "{stats:?}");
    let newcomer = nodes.builder("newcomer").start().await.unwrap();
    within("joining", newcomer.join(seed.local_addr())).await.unwrap();
    all_know(&[seed, newcomer], 2).await;
}
