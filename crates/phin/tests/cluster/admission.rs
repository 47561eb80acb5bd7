//! The application's word on newcomers.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use phin::{Builder, JoinError, JoinRefusal, MemberState, testing::TestCluster};
use phin_quic::{Credentials, Identity, Peer, Transport, TransportConfig};
use tokio::sync::{Semaphore, mpsc};

use crate::nodes::{Nodes, all_hold, all_know, within};

/// No node listens here.
const NOBODY: &str = "10.9.9.9:7646";

/// Lets in whose name begins with `good`.
fn choosy(builder: Builder) -> Builder {
    builder.admit(|newcomer| async move {
        match newcomer.name.starts_with("good") {
            true => Ok(()),
            false => Err(format!("{} is not good", newcomer.name)),
        }
    })
}

#[tokio::test(start_paused = true)]
async fn who_is_refused_learns_the_reason_and_neither_side_knows_the_other() {
    let mut cluster = TestCluster::builder().configure(|_, builder| choosy(builder)).start(1).await;
    let addr = cluster.node(0).local_addr().to_string();
    let bad = cluster.add(|builder| builder.name("bad").seeds([NOBODY])).await;
    let error = within("the refusal", cluster.node(bad).join(&addr)).await.unwrap_err();
    let JoinError::Refused { source: JoinRefusal::NotAdmitted(reason), .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(reason, "bad is not good");
    assert_eq!((cluster.node(0).members().len(), cluster.node(bad).members().len()), (1, 1));
    // The hook is a door, not a filter: a member without one lets in whoever has the key.
    let good = cluster.add(|builder| builder.name("good").admit(|_| async { Ok(()) })).await;
    within("being in", cluster.node(good).joined()).await.unwrap();
    let addr = cluster.node(good).local_addr().to_string();
    within("joining", cluster.node(bad).join(&addr)).await.unwrap();
    cluster.converged().await;
    assert_eq!(cluster.node(0).members().live_len(), 3);
}

#[tokio::test(start_paused = true)]
async fn the_hook_is_told_who_asks_and_only_the_member_that_is_asked_asks_it() {
    let (asked, mut newcomers) = mpsc::unbounded_channel();
    let builder = TestCluster::builder().configure(move |number, builder| {
        let asked = asked.clone();
        let first = (number > 0).then(|| "10.0.0.1:7646".to_owned());
        builder.seeds(first).admit(move |newcomer| {
            let asked = asked.clone();
            async move {
                asked.send((number, newcomer)).map_err(|_| "the test has ended".to_owned())
            }
        })
    });
    let cluster = builder.start(3).await;
    let [one, two, three] = [0, 1, 2].map(|number| cluster.node(number));
    assert_eq!(one.local_addr().to_string(), "10.0.0.1:7646");
    for node in [two, three] {
        let (by, newcomer) = within("the question", newcomers.recv()).await.unwrap();
        assert_eq!((by, newcomer.id, &*newcomer.name), (0, node.id(), node.name()));
        assert_eq!(newcomer.addrs, [node.advertised()]);
        // Nothing translates addresses.
        assert_eq!((newcomer.seen_at, newcomer.generation.0), (node.local_addr(), 1));
    }
    assert!(newcomers.try_recv().is_err());
    // A member that left is no newcomer.
    within("leaving", two.leave(crate::nodes::GUARD)).await.unwrap();
    all_hold(std::slice::from_ref(one), two.id(), MemberState::Left).await;
    within("joining", two.join(&three.local_addr().to_string())).await.unwrap();
    cluster.converged().await;
    assert_eq!(one.members().live_len(), 3);
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

#[tokio::test(start_paused = true)]
async fn a_hook_that_waits_holds_up_no_others_and_is_asked_no_more_than_so_many_at_once() {
    let gate = Arc::new(Semaphore::new(0));
    let (under_way, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let builder = TestCluster::builder().configure({
        let (gate, under_way, most) = (gate.clone(), under_way.clone(), most.clone());
        move |number, builder| {
            if number > 0 {
                return builder.seeds(["10.0.0.1:7646"]);
            }
            let (gate, under_way, most) = (gate.clone(), under_way.clone(), most.clone());
            builder.admit(move |_| {
                let (gate, under_way, most) = (gate.clone(), under_way.clone(), most.clone());
                async move {
                    let _counted = Counted::among(under_way, &most);
                    gate.acquire().await.map(drop).map_err(|error| error.to_string())
                }
            })
        }
    });
    let mut cluster = builder.start(1).await;
    for _ in 0..70 {
        cluster.add(|builder| builder).await;
    }
    let seed = cluster.node(0);
    let busy = async {
        while seed.stats().await.unwrap().swim.joins_busy == 0
            || under_way.load(Ordering::SeqCst) < 64
        {
            // tidy: allow sleep: a counter tells nobody
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    within("a newcomer beyond the limit", busy).await;
    assert_eq!(seed.members().len(), 1);
    gate.add_permits(1);
    // A node that was admitted lets others know at once; one that was told to come back does.
    cluster.converged().await;
    assert_eq!((seed.members().live_len(), most.load(Ordering::SeqCst)), (71, 64));
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
    // The number that the budget has room for, and some that was refilled.
    assert!(stats.swim.unknown_versions + stats.swim.malformed_messages >= 5, "{stats:?}");
    let newcomer = nodes.builder("newcomer").start().await.unwrap();
    within("joining", newcomer.join(seed.local_addr())).await.unwrap();
    all_know(&[seed, newcomer], 2).await;
}
