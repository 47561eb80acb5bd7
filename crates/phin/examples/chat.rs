//! Three members talk about a topic: what one publishes, all read, and what one sends reaches one alone. `cargo run -p phin
//! --example chat`.
#![expect(clippy::print_stdout, reason = "an example shows what happens")]

use std::error::Error;

use phin::{Cluster, ClusterKey, Route, Topic, TopicNotice, TopicSubscription};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let key = ClusterKey::generate();
    let node = |name: &str| Cluster::builder().name(name).key(key.clone()).local();
    let ann = node("ann").start().await?;
    let seed = ann.local_addr().to_string();
    let bob = node("bob").seeds([&*seed]).start().await?;
    let eve = node("eve").seeds([&*seed]).start().await?;
    for node in [&ann, &bob, &eve] {
        node.wait_until(|members| members.len() == 3).await?;
    }

    let talk: Topic = "talk".parse()?;
    let mut subscriptions = [&ann, &bob, &eve].map(|node| node.subscribe_topic(&talk));
    ann.publish(&talk, "Who is there?").await?;
    for (node, subscription) in [&ann, &bob, &eve].into_iter().zip(&mut subscriptions) {
        println!("{} reads {}", node.name(), next(node, subscription).await);
    }
    bob.send(eve.id(), &talk, "I am not.").await?;
    println!("{} reads {}", eve.name(), next(&eve, &mut subscriptions[2]).await);
    Ok(())
}

/// The next message, with who wrote it and for whom.
async fn next(node: &Cluster, subscription: &mut TopicSubscription) -> String {
    let Some(TopicNotice::Message(message)) = subscription.next().await else {
        return "nothing, because a message is missing".to_owned();
    };
    let members = node.members();
    let from = members.get(message.from).map_or("?", |member| member.name());
    let how = if message.route == Route::Sent { "to me" } else { "to all" };
    format!("{from} {how}: {}", String::from_utf8_lossy(&message.body))
}
