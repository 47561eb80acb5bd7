//! Measures the estimators: recording and querying.

use std::{hint::black_box, time::Duration};

use criterion::{Criterion, criterion_group, criterion_main};
use phin_accrual::{Evidence, LinkEstimator, PhiAccrual};

fn link(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("link");
    let mut link = LinkEstimator::new(Duration::from_millis(50));
    (1..100).for_each(|n| link.record_reply(Duration::from_micros(200 + n)));
    group.bench_function("record a reply", |bencher| {
        bencher.iter(|| link.record_reply(black_box(Duration::from_micros(250))));
    });
    group.bench_function("weight of a miss", |bencher| {
        bencher.iter(|| link.weight(black_box(Duration::from_millis(4))));
    });
    group.bench_function("deadline", |bencher| {
        bencher.iter(|| link.deadline(black_box(2.0)));
    });
    group.finish();
}

fn phi(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("phi-accrual");
    let second = Duration::from_secs(1);
    let mut detector = PhiAccrual::new(1_000, Duration::from_millis(50), second);
    (0..1_000).for_each(|n| detector.record(second + Duration::from_millis(n % 100)));
    group.bench_function("record an interval", |bencher| {
        bencher.iter(|| detector.record(black_box(second)));
    });
    group.bench_function("phi", |bencher| {
        bencher.iter(|| detector.phi(black_box(second * 2)));
    });
    group.bench_function("accrue evidence", |bencher| {
        bencher.iter(|| {
            let mut evidence = Evidence::default();
            (0..8).for_each(|_| evidence.record(black_box(2.5)));
            evidence.phi()
        });
    });
    group.finish();
}

criterion_group!(benches, link, phi);
criterion_main!(benches);
