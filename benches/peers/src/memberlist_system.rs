//! The crate `memberlist`: HashiCorp's memberlist (SWIM and Lifeguard) in Rust, over UDP and TCP in clear.

use std::{net::SocketAddr, time::Duration};

use memberlist::{
    Options,
    delegate::{CompositeDelegate, EventKind, EventSubscriber, SubscribleEventDelegate},
    net::NetTransportOptions,
    proto::MaybeResolvedAddress,
    tokio::{TokioSocketAddrResolver, TokioTcp, TokioTcpMemberlist},
};
use phin_bench::{Node, Spec, Starting, System, Told};
use smol_str::SmolStr;

/// memberlist with one of two settings.
#[derive(Clone, Copy)]
pub(crate) enum Memberlist {
    /// `Options::lan`, whose period is 0.5 s.
    Lan,
    /// The same with phin's period, and the original's probe timeout.
    Tuned,
}

impl Memberlist {
    fn options(self) -> Options {
        match self {
            Self::Lan => Options::lan(),
            Self::Tuned => Options::lan()
                .with_probe_interval(Duration::from_secs(1))
                .with_probe_timeout(Duration::from_millis(500)),
        }
    }
}

impl System for Memberlist {
    fn name(&self) -> &'static str {
        match self {
            Self::Lan => "memberlist",
            Self::Tuned => "memberlist-tuned",
        }
    }

    fn settings(&self) -> String {
        let options = self.options();
        format!(
            "crate memberlist 0.8.5, UDP and TCP in clear; Options::lan() with period {:?}, probe timeout {:?}, gossip \
             every {:?}, push-pull every {:?}",
            options.probe_interval(),
            options.probe_timeout(),
            options.gossip_interval(),
            options.push_pull_interval(),
        )
    }

    fn start(&'static self, spec: Spec, told: Told) -> Starting {
        Box::pin(async move {
            let addr = SocketAddr::new(spec.ip, spec.port);
            let (delegate, events) = SubscribleEventDelegate::unbounded();
            let delegate = CompositeDelegate::new().with_event_delegate(delegate);
            let mut transport =
                NetTransportOptions::<SmolStr, TokioSocketAddrResolver, TokioTcp>::with_stream_layer_options(
                    spec.name.as_str().into(),
                    (),
                );
            transport.add_bind_address(addr);
            let node: TokioTcpMemberlist<_, _, _> =
                memberlist::Memberlist::with_delegate(delegate, transport, self.options())
                    .await
                    .map_err(|error| error.to_string())?;
            tokio::spawn(tell(events, told));
            if let Some(seed) = spec.seed {
                node.join(MaybeResolvedAddress::Resolved(seed))
                    .await
                    .map_err(|error| error.to_string())?;
            }
            Ok(Box::new(Started { addr, _node: node }) as Box<dyn Node>)
        })
    }
}

async fn tell(events: EventSubscriber<SmolStr, SocketAddr>, told: Told) {
    while let Ok(event) = events.recv().await {
        match event.kind() {
            EventKind::Join => told.up(event.node_state().id()),
            EventKind::Leave => told.down(event.node_state().id()),
            _ => {}
        }
    }
}

struct Started<T> {
    addr: SocketAddr,
    _node: T,
}

impl<T: Send + Sync> Node for Started<T> {
    fn addr(&self) -> SocketAddr {
        self.addr
    }
}
