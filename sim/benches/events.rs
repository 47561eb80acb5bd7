//! Events a second: how fast the engine and the protocols on it are.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use phin_sim::{Instant, Knowledge, NetworkConfig, ProtocolKind, Setup, Simulation, secs};

fn events(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("simulate 10 s of a calm cluster");
    group.sample_size(10);
    for protocol in [ProtocolKind::Phin, ProtocolKind::Lifeguard, ProtocolKind::Heartbeat] {
        for nodes in [64, 512] {
            let simulate = || {
                let setup = Setup {
                    seed: 1,
                    nodes,
                    knowledge: Knowledge::Everyone,
                    network: NetworkConfig::lan(),
                    firewalled_every: 0,
                };
                let mut run = Simulation::new(setup, protocol.make(1, nodes));
                run.run_until(Instant::START + secs(10));
                run.events()
            };
            group.throughput(Throughput::Elements(simulate()));
            group.bench_function(format!("{protocol}, {nodes} members"), |bencher| {
                bencher.iter(|| black_box(simulate()));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, events);
criterion_main!(benches);
