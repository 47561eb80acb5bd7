//! Measures the wire format: encoding, decoding and length of a message of each kind.
#![expect(clippy::print_stdout, reason = "lengths are measured, too")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use phin_benches::{Stand, core, id, template};
use phin_swim::measured::{is_readable, messages};

fn wire(criterion: &mut Criterion) {
    let core = core(&template(1_000));
    let messages = messages(&core, id(1), id(2)).expect("both are on the list");
    let keys = Stand(0);
    let mut group = criterion.benchmark_group("wire");
    for message in &messages {
        let payload = message.encode();
        println!("{}: {} bytes", message.name, payload.len());
        group.bench_function(format!("encode {}", message.name), |bencher| {
            bencher.iter(|| black_box(message).encode());
        });
        group.bench_function(format!("decode {}", message.name), |bencher| {
            bencher.iter(|| is_readable(black_box(&payload), &keys));
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = phin_benches::quick();
    targets = wire
}
criterion_main!(benches);
