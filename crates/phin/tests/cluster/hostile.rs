//! A peer that was let in and sends garbage.

use std::sync::Arc;

use phin_quic::{Credentials, Identity, Peer, PeerId, Transport, TransportConfig};

use crate::nodes::{Nodes, all_know, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_is_counted_and_harms_nobody() {
    let nodes = Nodes::new();
    let all = nodes.start(3).await;
    let target = &all[0];
    let cluster = "phin".parse().unwrap();
    let credentials = Credentials::ClusterKey { cluster, keys: nodes.key.clone().into() };
    let config = TransportConfig::new("127.0.0.1:0".parse().unwrap());
    let identity = Arc::new(Identity::generate());
    let (hostile, _receiver) = Transport::bind(identity, credentials, config).unwrap();
    let to = Peer { id: PeerId::from_bytes(target.id().0), addr: target.local_addr() };
    within("the handshake", hostile.dial(to.addr)).await.unwrap();

    for payload in garbage() {
        hostile.send_datagram(to, payload.clone().into());
        hostile.send_stream(to, payload.into());
    }
    // Streams arrive whole or are reported; of datagrams some may be lost.
    let counted = async {
        loop {
            let swim = target.stats().await.unwrap().swim;
            if swim.malformed_messages + swim.unknown_versions >= garbage().count() as u64 {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    within("the garbage to be counted", counted).await;
    all_know(&all, 3).await;
    assert_eq!(target.members().len(), 3, "who only sends garbage is no member");
}

/// Nothing, noise, a version from the future, and a message cut short; all of it small enough for a
/// datagram.
fn garbage() -> impl Iterator<Item = Vec<u8>> {
    let noise = (0..20_u8).map(|salt| (0..=255_u8).map(|byte| byte.wrapping_mul(salt)).collect());
    let future = vec![0xff, 0x00, 0x01];
    let cut = vec![phin_swim::WIRE_VERSION, 0x92];
    noise.chain([future, cut])
}
