//! Two nodes in one process; one watches the other come and go: `cargo run -p phin --example
//! embed`.
#![expect(clippy::print_stdout, reason = "an example shows what happens")]

use std::{error::Error, time::Duration};

use phin::{Change, Cluster, ClusterKey, Notice};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let key = ClusterKey::generate();
    let watcher = Cluster::builder().name("watcher").key(key.clone()).local().start().await?;
    let mut changes = watcher.subscribe();

    let seed = watcher.local_addr();
    let guest = Cluster::builder().name("guest").key(key).seeds([seed]).local().start().await?;
    guest.joined().await?;
    let departure = guest.leave(Duration::from_secs(2)).await?;
    println!("{} of {} members know that the guest left", departure.confirmed, departure.asked);
    guest.shutdown().await;

    while let Some(notice) = changes.next().await {
        match notice {
            Notice::Snapshot(members) => println!("at first: {} member", members.live_len()),
            Notice::Event { event, .. } => {
                println!("{}: {} {}", event.version, event.member.name(), event.change);
                if event.change == Change::Left {
                    break;
                }
            }
            Notice::Missed { events, members } => {
                println!("missed {events} changes; now {} members", members.live_len());
            }
            _ => {}
        }
    }
    watcher.shutdown().await;
    Ok(())
}
