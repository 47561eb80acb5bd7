//! Where nodes are reached: IPv4, IPv6, elsewhere than bound, and elsewhere than before.

use std::net::SocketAddr;

use phin::{AdvertiseError, Change, MemberState, Notice};

use crate::nodes::{Nodes, all_know, state_of, until, within};

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("it is an address")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_of_ipv6_and_a_node_of_both_join_by_either() {
    let nodes = Nodes::new();
    let six = nodes.builder("six").bind(addr("[::1]:0")).start().await.unwrap();
    let both = nodes.builder("both").bind(addr("[::]:0")).advertise(addr("[::1]:0"));
    let both = both.start().await.unwrap();
    within("joining", both.join(six.local_addr())).await.unwrap();
    // By its IPv4 address too, although it advertises the other.
    let by_four = format!("127.0.0.1:{}", both.local_addr().port());
    let third = nodes.builder("third").bind(addr("[::]:0")).advertise(addr("[::1]:0"));
    let third = third.start().await.unwrap();
    let joined = within("joining", third.join(&by_four)).await.unwrap();
    assert_eq!(joined.through, both.id());
    all_know(&[six, both, third], 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_reached_where_it_says_and_may_say_otherwise_later() {
    let nodes = Nodes::new();
    let one = nodes.builder("one").start().await.unwrap();
    let two = nodes.builder("two").bind(addr("0.0.0.0:0")).advertise(addr("127.0.0.1:0"));
    let two = two.start().await.unwrap();
    within("joining", two.join(one.local_addr())).await.unwrap();
    all_know(&[one.clone(), two.clone()], 2).await;
    let mut changes = one.subscribe();
    within("moving", two.advertise(addr("127.0.0.2:0"))).await.unwrap();
    let moved = SocketAddr::new(addr("127.0.0.2:0").ip(), two.local_addr().port());
    assert_eq!(two.advertised(), moved);
    let change = async {
        loop {
            match changes.next().await.expect("the node runs") {
                Notice::Event { event, .. } => return event,
                _ => continue,
            }
        }
    };
    let event = within("the change", change).await;
    assert_eq!(
        (event.change, event.member.id(), event.member.addr()),
        (Change::Updated, two.id(), moved)
    );
    // It goes on being probed there, and answers.
    let before = one.stats().await.unwrap().swim;
    let probed = async {
        while one.stats().await.unwrap().swim.pings_sent < before.pings_sent + 10 {
            tokio::task::yield_now().await;
        }
    };
    within("ten more probes", probed).await;
    until(&one, "two alive", |members| {
        state_of(members, two.id()) == Some(MemberState::Alive)
            && members.get(two.id()).is_some_and(|member| member.addr() == moved)
    })
    .await;
    let error = two.advertise(addr("0.0.0.0:0")).await.unwrap_err();
    assert!(matches!(error, AdvertiseError::Unusable { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_join_through_a_seed_that_is_itself_joining_and_one_join_introduces_two_halves() {
    let nodes = Nodes::new();
    let (missing, middle) = (crate::nodes::closed_addr(), crate::nodes::closed_addr());
    let through_middle = nodes.builder("middle").bind(middle).seeds([missing.to_string()]);
    let mut cluster = vec![through_middle.start().await.unwrap()];
    for number in 0..16 {
        let builder = nodes.builder(&format!("n{number}")).seeds([middle.to_string()]);
        cluster.push(builder.start().await.unwrap());
    }
    all_know(&cluster, 17).await;
    // Two halves that were started apart, introduced by one join.
    let mut other = vec![nodes.builder("first").start().await.unwrap()];
    let first = other[0].local_addr();
    for number in 16..20 {
        let builder = nodes.builder(&format!("n{number}")).seeds([first.to_string()]);
        other.push(builder.start().await.unwrap());
    }
    all_know(&other, 5).await;
    within("joining", other[2].join(cluster[9].local_addr())).await.unwrap();
    cluster.extend(other);
    all_know(&cluster, 22).await;
}
