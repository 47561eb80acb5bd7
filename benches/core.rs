//! One step of the protocol core, by cluster size: a protocol period, and the ping of a peer.

use std::{
    hint::black_box,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use phin_swim::{
    Config, Generation, Instant, Keys, Local, MemberId, Name, Output, Peer, PublicKey, Signature,
    Swim, Template,
};

fn steps(criterion: &mut Criterion) {
    for members in [100, 1_000, 10_000] {
        let mut group = criterion.benchmark_group(format!("{members} members"));
        let config = Config::lan();
        let template = Template::new(&config, (0..members).map(|n| (local(n), Stand(n))));
        let template = template.expect("a preset is sound");
        let start = || {
            let keys = Arc::new(Stand(0));
            let mut swim = Swim::new(Instant::START, local(0), config.clone(), keys, 1)
                .expect("a preset is sound");
            swim.start_with(&template);
            swim
        };
        group.bench_function("ten protocol periods", |bencher| {
            bencher.iter_batched_ref(
                start,
                |swim| {
                    run_until(swim, Instant::START + Duration::from_secs(10));
                },
                BatchSize::SmallInput,
            );
        });
        let ping = a_ping(start);
        let from = Peer { id: Stand(1).member_id(&Stand(1).public_key()), addr: addr(1) };
        let mut swim = start();
        group.bench_function("answer a ping", |bencher| {
            bencher.iter(|| {
                swim.handle_datagram(Instant::START, from, black_box(&ping));
                while swim.poll_output().is_some() {}
            });
        });
        group.bench_function("take a snapshot", |bencher| bencher.iter(|| swim.members()));
        group.finish();
    }
}

/// Runs the timers, and returns the datagrams sent.
fn run_until(swim: &mut Swim, until: Instant) -> Vec<Vec<u8>> {
    let mut sent = Vec::new();
    while let Some(due) = swim.poll_timeout().filter(|&due| due <= until) {
        swim.handle_timeout(due);
        while let Some(output) = swim.poll_output() {
            if let Output::Datagram { payload, .. } = output {
                sent.push(payload);
            }
        }
    }
    sent
}

/// What a core sends first: a ping.
fn a_ping(start: impl Fn() -> Swim) -> Vec<u8> {
    let sent = run_until(&mut start(), Instant::START + Duration::from_secs(3));
    sent.into_iter().next().expect("a core pings within two periods")
}

fn local(n: u32) -> Local {
    let name = Name::try_from(format!("n{n}").as_str()).expect("a short name");
    Local { name, addrs: vec![addr(n)], generation: Generation(1) }
}

fn addr(n: u32) -> SocketAddr {
    (Ipv4Addr::from(0x0a00_0000 + n), 7_646).into()
}

/// Keys that cost nothing: signatures are the transport's to measure.
struct Stand(u32);

impl Keys for Stand {
    fn public_key(&self) -> PublicKey {
        let mut key = [0; 32];
        key[..4].copy_from_slice(&self.0.to_be_bytes());
        PublicKey(key)
    }

    fn member_id(&self, key: &PublicKey) -> MemberId {
        let number = u32::from_be_bytes([key.0[0], key.0[1], key.0[2], key.0[3]]);
        // An odd constant near 2¹²⁸ divided by the golden ratio spreads consecutive numbers over the rings.
        let spread =
            (u128::from(number) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        MemberId(spread.to_be_bytes())
    }

    fn sign(&self, _message: &[u8]) -> Signature {
        Signature([0; 64])
    }

    fn verify(&self, _key: &PublicKey, _message: &[u8], _signature: &Signature) -> bool {
        true
    }
}

criterion_group!(benches, steps);
criterion_main!(benches);
