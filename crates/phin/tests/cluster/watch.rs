//! Watchers: what they see, whom they follow, and what they cost.
#![expect(clippy::unwrap_used, reason = "what helps a test may fail as a test does")]

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc, time::Duration};

use phin::{
    Change, ClusterKey, DialError, Identity, MemberId, MemberState, Members, NotConnected, Notice,
    Refusal, RefusedBy, StartError, Subscription, WatchError, Watcher, WatcherState,
};
use phin_quic::{
    Credentials, FrameReceiver, IncomingWatcher, Transport, TransportConfig, WatchClient,
};

use crate::nodes::{Killable, Nodes, all_know, closed_addr, until, within};

fn watcher(nodes: &Nodes, seeds: impl IntoIterator<Item = SocketAddr>) -> Watcher {
    Watcher::builder().seeds(seeds).key(nodes.key.clone()).start().unwrap()
}

async fn connected(nodes: &Nodes, seeds: impl IntoIterator<Item = SocketAddr>) -> Watcher {
    let watcher = watcher(nodes, seeds);
    within("the watcher to connect", watcher.connected()).await.unwrap();
    watcher
}

async fn until_watched(watcher: &Watcher, what: &str, condition: impl Fn(&Members) -> bool) {
    within(what, watcher.wait_until(condition)).await.unwrap();
}

fn views(members: &Members) -> Vec<(MemberId, MemberState, u32, u32)> {
    let view = |member: &Arc<phin::Member>| {
        (member.id(), member.state(), member.generation().0, member.incarnation().0)
    };
    members.iter().map(view).collect()
}

/// Why no address works.
async fn failure(watcher: &Watcher) -> WatchError {
    match within("all addresses to fail", watcher.connected()).await {
        Err(NotConnected::Failed { mut failures }) => failures.remove(0).error,
        other => panic!("{other:?}"),
    }
}

/// The changes that have been reported, by member.
async fn changes_until(
    changes: &mut Subscription,
    last: impl Fn(Change, MemberId) -> bool,
) -> Vec<(Change, MemberId)> {
    let mut seen = Vec::new();
    loop {
        let next = within("a change", changes.next()).await.unwrap();
        if let Notice::Event { event, .. } = next {
            seen.push((event.change, event.member.id()));
            if last(event.change, event.member.id()) {
                return seen;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_has_the_list_and_each_change_and_is_no_member() {
    let nodes = Nodes::new();
    let all = nodes.start(3).await;
    let watcher = connected(&nodes, [all[0].local_addr()]).await;
    let (listed, watched) = (all[0].members(), watcher.members());
    assert_eq!(views(&watched), views(&listed));
    assert_eq!(watched.fingerprint(), listed.fingerprint());
    assert!(watched.owner().is_none());
    assert_eq!(watched.others().count(), 3);
    assert_eq!(watcher.connected_to(), Some(all[0].id()));
    for member in &watched {
        let [here, there] = [
            watcher.wall_clock(member.since()),
            all[0].wall_clock(listed.get(member.id()).unwrap().since()),
        ];
        let apart = here.max(there).duration_since(here.min(there)).unwrap();
        assert!(apart < Duration::from_secs(30), "{apart:?}");
    }

    let mut changes = watcher.subscribe();
    all[1].set_tag("zone", "b").await.unwrap();
    changes_until(&mut changes, |change, id| (change, id) == (Change::Updated, all[1].id())).await;
    let tagged = watcher.members().get(all[1].id()).unwrap().tag("zone").map(str::to_owned);
    assert_eq!(tagged.as_deref(), Some("b"));
    let late = nodes.builder("late").seeds([all[0].local_addr()]).start().await.unwrap();
    changes_until(&mut changes, |change, id| (change, id) == (Change::Joined, late.id())).await;
    late.leave(Duration::from_secs(60)).await.unwrap();
    changes_until(&mut changes, |change, id| (change, id) == (Change::Left, late.id())).await;

    all_know(&all, 3).await;
    // Not all need to have heard of the late one, which is gone.
    let nodes: Vec<_> = all.iter().map(|node| node.id()).chain([late.id()]).collect();
    for node in &all {
        let members = node.members();
        let is_node = members.iter().all(|member| nodes.contains(&member.id()));
        assert!(is_node, "the watcher is in nobody's list");
        assert!(
            node.links().await.unwrap().iter().all(|link| node.members().get(link.id).is_some())
        );
    }
    let stats = all[0].stats().await.unwrap();
    assert_eq!(stats.transport.watchers, 1);
    assert_eq!(stats.swim.unknown_senders, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_adds_no_probes() {
    let nodes = Nodes::new();
    let alone = nodes.builder("alone").start().await.unwrap();
    let watcher = connected(&nodes, [alone.local_addr()]).await;
    // A change of its own shows that the node has gone through its rounds meanwhile.
    for turn in ["1", "2", "3"] {
        alone.set_tag("turn", turn).await.unwrap();
        let has_it = |members: &Members| {
            members.get(alone.id()).is_some_and(|member| member.tag("turn") == Some(turn))
        };
        until_watched(&watcher, "the tag", has_it).await;
    }
    let stats = alone.stats().await.unwrap();
    assert_eq!((stats.swim.pings_sent, stats.transport.connections), (0, 0));
    assert_eq!((stats.transport.datagrams_sent, stats.transport.streams_sent), (0, 0));
    assert_eq!(alone.members().len(), 1);
    watcher.shutdown().await;
    assert!(within("the end", watcher.subscribe().next()).await.is_some());
    assert!(watcher.wait_until(|_| false).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn when_the_watched_member_dies_another_takes_over_without_a_false_event() {
    let nodes = Nodes::new();
    let mut all = vec![Killable::start(nodes.builder("node-0")).await];
    for number in 1..4 {
        let seed = all[0].cluster.local_addr();
        let builder = nodes.builder(&format!("node-{number}")).seeds([seed]);
        all.push(Killable::start(builder).await);
    }
    let clusters: Vec<_> = all.iter().map(|node| node.cluster.clone()).collect();
    all_know(&clusters, 4).await;
    // The seed is one member alone: the others are found in the list.
    let watcher = connected(&nodes, [clusters[0].local_addr()]).await;
    let mut changes = watcher.subscribe();
    drop(clusters);
    let mut seen = Vec::new();
    for _ in 0..2 {
        let watched = watcher.connected_to().unwrap();
        let place = all.iter().position(|node| node.cluster.id() == watched).unwrap();
        let killed = all.remove(place);
        killed.kill().await;
        let is_dead = |change, id| (change, id) == (Change::Dead, watched);
        seen.extend(changes_until(&mut changes, is_dead).await);
        let is_next = |state: &WatcherState| matches!(state, WatcherState::Connected { member, .. } if *member != watched);
        within("another member", watcher.wait_for_state(is_next)).await.unwrap();
    }
    let alive: BTreeSet<_> = all.iter().map(|node| node.cluster.id()).collect();
    let of_others = seen.iter().filter(|(_, id)| alive.contains(id)).collect::<Vec<_>>();
    assert!(of_others.is_empty(), "{of_others:?}");
    assert_eq!(watcher.stats().lost, 2);
    let next = watcher.connected_to().unwrap();
    let node = all.iter().find(|node| node.cluster.id() == next).unwrap();
    until(&node.cluster, "two dead", |members| members.live_len() == 2).await;
    let is_same = |members: &Members| views(members) == views(&node.cluster.members());
    until_watched(&watcher, "the same list", is_same).await;
    for node in all {
        node.kill().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_leaves_sends_its_watchers_on() {
    let nodes = Nodes::new();
    let all = nodes.start(3).await;
    let watcher = connected(&nodes, [all[0].local_addr()]).await;
    all[0].leave(Duration::from_secs(60)).await.unwrap();
    let is_elsewhere = |state: &WatcherState| matches!(state, WatcherState::Connected { member, .. } if *member != all[0].id());
    within("another member", watcher.wait_for_state(is_elsewhere)).await.unwrap();
    let has_left =
        |members: &Members| members.get(all[0].id()).unwrap().state() == MemberState::Left;
    until_watched(&watcher, "the departure", has_left).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_member_says_so_and_the_next_is_tried() {
    let nodes = Nodes::new();
    let full = nodes.builder("full").watchers(1).start().await.unwrap();
    let free = nodes.builder("free").seeds([full.local_addr()]).start().await.unwrap();
    all_know(&[full.clone(), free.clone()], 2).await;
    let first = connected(&nodes, [full.local_addr()]).await;
    let refused = watcher(&nodes, [full.local_addr()]);
    assert_eq!(failure(&refused).await, WatchError::Full);
    assert!(refused.stats().refused_full >= 1);
    for _ in 0..4 {
        let other = connected(&nodes, [full.local_addr(), free.local_addr()]).await;
        assert_eq!(other.connected_to(), Some(free.id()));
    }
    let stats = full.stats().await.unwrap().transport;
    assert!(stats.watchers == 1 && stats.watchers_refused >= 1, "{stats:?}");
    // The place is free again, and the one that was refused goes on trying.
    first.shutdown().await;
    let is_connected = |state: &WatcherState| matches!(state, WatcherState::Connected { .. });
    within("the place", refused.wait_for_state(is_connected)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_that_does_not_belong_is_told_why() {
    let nodes = Nodes::new();
    let node = nodes.builder("node").start().await.unwrap();
    let closed = nodes.builder("closed").watchers(0).start().await.unwrap();
    let refused = |refusal, by| WatchError::Dial(DialError::Refused { refusal, by });

    let builder = || Watcher::builder().seeds([node.local_addr()]);
    let wrong = builder().key(ClusterKey::generate()).start().unwrap();
    assert_eq!(failure(&wrong).await, refused(Refusal::WrongKey, RefusedBy::Us));
    let error = within("the error", wrong.connected()).await.unwrap_err().to_string();
    assert!(error.contains("issued with another cluster key"), "{error}");
    let other = builder().key(nodes.key.clone()).cluster("other").start().unwrap();
    assert_eq!(failure(&other).await, refused(Refusal::OtherCluster, RefusedBy::Peer));
    assert_eq!(failure(&watcher(&nodes, [closed.local_addr()])).await, WatchError::NotServed);
    let expected = WatchError::Dial(DialError::PortClosed);
    assert_eq!(failure(&watcher(&nodes, [closed_addr()])).await, expected);
    assert_eq!(node.stats().await.unwrap().transport.watchers, 0);
    assert!(wrong.members().is_empty());
    assert!(matches!(wrong.state(), WatcherState::Connecting { .. }));

    let start = |builder: phin::WatcherBuilder| builder.start().unwrap_err();
    assert!(matches!(start(builder()), StartError::NoCredentials));
    let key = nodes.key.clone();
    assert!(matches!(start(Watcher::builder().key(key)), StartError::NoSeeds));
    assert!(matches!(start(builder().seeds(["a:b:c"])), StartError::Seed { .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_has_not_joined_serves_no_watchers() {
    let nodes = Nodes::new();
    let seed = closed_addr();
    let waiting = nodes.builder("waiting").seeds([seed]).start().await.unwrap();
    let watcher = watcher(&nodes, [waiting.local_addr()]);
    assert_eq!(failure(&watcher).await, WatchError::NotReady);
    assert!(waiting.stats().await.unwrap().driver.watchers_not_ready >= 1);
    let _seed = nodes.builder("seed").bind(seed).start().await.unwrap();
    until_watched(&watcher, "both", |members| members.live_len() == 2).await;
}

fn credentials(nodes: &Nodes) -> Credentials {
    let cluster = "phin".parse().unwrap();
    Credentials::ClusterKey { cluster, keys: nodes.key.clone().into() }
}

/// A process with the key of the cluster that serves watchers as it likes.
struct Liar {
    transport: Transport,
    watchers: phin_quic::Watchers,
}

impl Liar {
    fn new(nodes: &Nodes) -> Self {
        let config = TransportConfig::new("127.0.0.1:0".parse().unwrap());
        let identity = Arc::new(Identity::generate());
        let (transport, _receiver) = Transport::bind(identity, credentials(nodes), config).unwrap();
        let watchers = transport.take_watchers().unwrap();
        Self { transport, watchers }
    }

    async fn next(&mut self) -> IncomingWatcher {
        within("a watcher", self.watchers.next()).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_sends_garbage_is_left_for_another() {
    let nodes = Nodes::new();
    let all = nodes.start(2).await;
    let mut liar = Liar::new(&nodes);
    let watcher = watcher(&nodes, [liar.transport.local_addr()]);
    let noise = (1..20_u8)
        .map(|salt| (1..=255_u8).map(|byte| byte.wrapping_mul(byte.wrapping_add(salt))).collect())
        .map(|noise: Vec<u8>| [vec![1], noise].concat());
    let welcome = [&[1, 1, 0x92, 0xc4, 16][..], &[7; 16], &[0x91, 1]].concat();
    let later = vec![9, 1];
    for garbage in noise.chain([Vec::new(), later, welcome.repeat(2)]).collect::<Vec<Vec<u8>>>() {
        let mut frames = liar.next().await.accept().await.unwrap();
        frames.send(&garbage).await.unwrap();
        within("the watcher to go", frames.ended()).await;
    }
    assert!(watcher.members().is_empty());
    assert!(matches!(watcher.state(), WatcherState::Connecting { .. }));
    drop(liar);

    // One that is silent is left, too.
    let mut silent = Liar::new(&nodes);
    let seeds = [silent.transport.local_addr(), all[0].local_addr()];
    let other = connected(&nodes, seeds).await;
    assert_eq!(other.members().live_len(), 2);
    if let Ok(tried) = tokio::time::timeout(Duration::ZERO, silent.watchers.next()).await {
        drop(tried);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_watchers_cost_a_node_little() {
    let nodes = Nodes::new();
    let node = nodes.builder("node").watchers(8).start().await.unwrap();
    let bind = "127.0.0.1:0".parse().unwrap();
    let client = WatchClient::bind(&Identity::generate(), &credentials(&nodes), bind).unwrap();
    let error = async |request: &[u8]| {
        // The refusal may come with the handshake, or as an answer to the request.
        let mut frames: FrameReceiver = match client.connect(node.local_addr(), request).await {
            Ok(frames) => frames,
            Err(refused) => return refused,
        };
        within("the refusal", frames.next()).await.unwrap_err()
    };
    for garbage in [&b""[..], b"garbage", &[1, 0xdd, 0xff, 0xff, 0xff, 0xff], &[2, 0x91, 1]] {
        assert!(matches!(error(garbage).await, WatchError::NotUnderstood { .. }));
    }
    // Eight that read no more once they have their places, and one for which there is none.
    let request = phin_swim::WatchRequest::members().encode();
    let mut held = Vec::new();
    for _ in 0..8 {
        let mut frames = client.connect(node.local_addr(), &request).await.unwrap();
        within("the list", frames.next()).await.unwrap();
        held.push(frames);
    }
    assert_eq!(error(&request).await, WatchError::Full);
    let stats = node.stats().await.unwrap().transport;
    assert_eq!((stats.watchers, stats.watchers_misused, stats.watchers_refused), (8, 4, 1));
    let member = nodes.builder("member").seeds([node.local_addr()]).start().await.unwrap();
    all_know(&[node.clone(), member], 2).await;
    drop(held);
    within("the place of one that went", async {
        while watcher(&nodes, [node.local_addr()]).connected().await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
