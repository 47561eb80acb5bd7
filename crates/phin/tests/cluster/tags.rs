//! Tags and the serving state of members, changed while nodes run.

use std::{error::Error as _, pin::pin, task::Poll};

use phin::{
    Change, Cluster, Event, Filter, MemberId, Members, Notice, ServingState, SetTagError,
    StartError, Stopped, Subscription, TagError, Tags,
};
use tokio::task::JoinSet;

use crate::nodes::{Nodes, all_know, until, within};

fn tag(members: &Members, id: MemberId, key: &str) -> Option<String> {
    members.get(id)?.tag(key).map(str::to_owned)
}

/// Sets a tag, and waits until the other node knows.
async fn spread(node: &Cluster, key: &str, value: &str, other: &Cluster) {
    node.set_tag(key, value).await.expect("the tag is allowed");
    until(other, &format!("{key}={value}"), |members| {
        tag(members, node.id(), key).as_deref() == Some(value)
    })
    .await;
}

/// The next change of this kind: a busy machine may bring suspicions in between.
async fn next(changes: &mut Subscription, kind: Change) -> Event {
    loop {
        match within("a change", changes.next()).await.expect("the node runs") {
            Notice::Event { event, .. } if event.change == kind => return event,
            _ => continue,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tags_are_known_with_the_member_and_changes_tell_both() {
    let nodes = Nodes::new();
    let one = nodes.builder("one").start().await.unwrap();
    let mut changes = one.subscribe();
    let mut more = Tags::new();
    more.set("zone", "a").unwrap();
    let builder = nodes.builder("two").seeds([one.local_addr().to_string()]);
    let builder = builder.tag("role", "db").tags(more).tag("role", "web,api");
    let two = builder.serving(ServingState::Draining).start().await.unwrap();
    let joined = next(&mut changes, Change::Joined).await;
    let tags =
        |event: &Event| event.member.tags().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>();
    assert_eq!(tags(&joined), ["role=web,api", "zone=a"]);
    assert_eq!(joined.member.serving(), ServingState::Draining);

    two.change_tags([("zone", Some("b")), ("role", None)]).await.unwrap();
    assert_eq!(
        tag(&two.members(), two.id(), "zone").as_deref(),
        Some("b"),
        "the list has it already"
    );
    let updated = next(&mut changes, Change::Updated).await;
    assert_eq!(tags(&updated), ["zone=b"]);
    let before = updated.before.expect("it was known");
    assert_eq!((before.tag("role"), before.tag("zone")), (Some("web,api"), Some("a")));

    let reason = "disk full".try_into().unwrap();
    two.set_serving(ServingState::NotServing(reason)).await.unwrap();
    until(&one, "not serving", |members| {
        members.get(two.id()).is_some_and(|two| two.serving().reason() == Some("disk full"))
    })
    .await;
    assert_eq!(two.serving().await.unwrap().as_str(), "not-serving");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_change_tags_at_once_lose_nothing() {
    let nodes = Nodes::new();
    let [one, two] = &nodes.start(2).await[..] else { unreachable!("two were started") };
    let mut callers = JoinSet::new();
    for number in 0..Tags::MAX_TAGS {
        let one = one.clone();
        callers.spawn(async move { one.set_tag(&format!("k{number}"), "v").await });
    }
    for result in callers.join_all().await {
        result.unwrap();
    }
    assert_eq!(one.tags().await.unwrap().len(), Tags::MAX_TAGS);
    until(two, "all tags", |members| {
        members.get(one.id()).is_some_and(|one| one.tags().count() == Tags::MAX_TAGS)
    })
    .await;
    assert_eq!(one.remove_tag("k3").await.unwrap().as_deref(), Some("v"));
    assert_eq!(one.remove_tag("k3").await.unwrap(), None);
    one.set_tags(Tags::new()).await.unwrap();
    assert!(one.tags().await.unwrap().is_empty());
    until(two, "no tags", |members| {
        members.get(one.id()).is_some_and(|one| one.tags().count() == 0)
    })
    .await;
}

// On one thread, so that the driver does not answer before a future is dropped.
#[tokio::test]
async fn a_call_that_is_dropped_leaves_the_node_sound() {
    let nodes = Nodes::new();
    let one = nodes.builder("one").start().await.unwrap();
    for number in 0..Tags::MAX_TAGS - 1 {
        let key = format!("k{number}");
        let mut call = pin!(one.set_tag(&key, "v"));
        let polled = std::future::poll_fn(|context| Poll::Ready(call.as_mut().poll(context))).await;
        assert!(polled.is_pending(), "the driver has yet to answer");
    }
    one.set_tag("last", "v").await.unwrap();
    // Commands are carried out in their order, and each was given before its future was dropped.
    assert_eq!(one.tags().await.unwrap().len(), Tags::MAX_TAGS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tag_beyond_a_limit_is_refused_where_it_is_set() {
    let nodes = Nodes::new();
    let error = nodes.builder("one").tag("Role", "web").start().await.unwrap_err();
    assert!(matches!(error, StartError::Tags(TagError::Key { .. })), "{error}");
    let reason = error.source().unwrap().to_string();
    assert!(reason.contains("1 to 32 characters a-z"), "{reason}");
    let too_long = nodes.builder("one").tag("a", "x".repeat(128)).tag("b", "x".repeat(127));
    assert!(matches!(
        too_long.start().await,
        Err(StartError::Tags(TagError::TooLong { bytes: 257 }))
    ));

    let one = nodes.builder("one").tag("a", "x".repeat(128)).tag("b", "x").start().await.unwrap();
    let error = one.set_tag("c", &"x".repeat(128)).await.unwrap_err();
    assert!(matches!(error, SetTagError::Tag(TagError::TooLong { bytes: 260 })), "{error}");
    assert_eq!(error.to_string(), "the tags of a member have at most 256 bytes together, not 260");
    let half = [("a", None), ("c d", Some("x"))];
    assert!(one.change_tags(half).await.is_err());
    assert_eq!(one.tags().await.unwrap().len(), 2, "none of them was changed");
    // Room that one gives up is there for the other, in whatever order they come.
    let swap = [("b", Some("x".repeat(127))), ("a", Some("x".to_owned()))];
    assert_eq!(one.change_tags(swap).await.unwrap().get("a"), Some("x"));

    one.shutdown().await;
    assert_eq!(one.tags().await, Err(Stopped));
    assert!(matches!(one.set_tag("a", "b").await, Err(SetTagError::Stopped(_))));
    assert_eq!(one.set_serving(ServingState::Draining).await, Err(Stopped));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_hears_of_members_that_match_or_did() {
    let nodes = Nodes::new();
    let all = nodes.start(3).await;
    let [one, two, three] = &all[..] else { unreachable!("three were started") };
    let filter: Filter = "zone=a".parse().unwrap();
    let mut changes = one.subscribe().matching(filter.clone());
    assert!(
        matches!(changes.next().await, Some(Notice::Snapshot(members)) if members.live_len() == 3)
    );
    spread(two, "zone", "b", one).await;
    spread(three, "zone", "a", one).await;
    let entered = next(&mut changes, Change::Updated).await;
    assert_eq!((entered.member.id(), entered.member.tag("zone")), (three.id(), Some("a")));
    let matching = one.members();
    let matching: Vec<_> = matching.matching(&filter).map(|member| member.id()).collect();
    assert_eq!(matching, [three.id()]);
    spread(three, "zone", "b", one).await;
    assert_eq!(
        next(&mut changes, Change::Updated).await.member.tag("zone"),
        Some("b"),
        "it no longer matches"
    );
    spread(three, "zone", "c", one).await;
    spread(two, "zone", "a", one).await;
    assert_eq!(
        next(&mut changes, Change::Updated).await.member.id(),
        two.id(),
        "the rest is left out"
    );
    all_know(&all, 3).await;
}

#[test]
fn the_guide_shows_the_example() {
    // The guide's programs are run as documentation tests.
    let example = include_str!("../../examples/service.rs");
    let guide = include_str!("../../../../docs/guide/tags.md");
    let (_, code) = example.split_once("\n\n").expect("code follows the head");
    assert!(guide.contains(code), "copy examples/service.rs into docs/guide/tags.md");
}
