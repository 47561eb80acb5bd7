//! Measures placement: what a key costs, and what a new list costs.

use std::{hint::black_box, net::Ipv4Addr, sync::Arc};

use criterion::{Criterion, criterion_group, criterion_main};
use phin::{Config, Filter, Generation, Members, Moment, Name, Placement};
use phin_benches::Stand;
use phin_swim::{Local, Swim, Template};

fn placement(criterion: &mut Criterion) {
    for count in [10, 100, 1_000, 10_000] {
        let members = members(count);
        let mut group = criterion.benchmark_group(format!("placement on {count} members"));
        group.bench_function("prepare", |bencher| {
            bencher.iter(|| Placement::of(black_box(&members), &Filter::default()));
        });
        let placement = Placement::of(&members, &Filter::default());
        group.bench_function("choose", |bencher| {
            bencher.iter(|| placement.choose(black_box("user-17")).map(|member| member.id()));
        });
        group.bench_function("three replicas", |bencher| {
            bencher.iter(|| placement.replicas(black_box("user-17"), 3).len());
        });
        group.bench_function("the first three of a ranking", |bencher| {
            bencher.iter(|| placement.rank(black_box("user-17")).take(3).count());
        });
        let placement = placement.spread_by("zone");
        group.bench_function("three replicas in three zones", |bencher| {
            bencher.iter(|| placement.replicas(black_box("user-17"), 3).len());
        });
        let placement = placement.spread_by("host");
        group.bench_function("three replicas on three of as many hosts", |bencher| {
            bencher.iter(|| placement.replicas(black_box("user-17"), 3).len());
        });
        group.finish();
    }
}

/// Members in three zones, each on a host of its own, with weights that all differ from those of their neighbours.
fn members(count: u32) -> Members {
    let all: Vec<_> = (0..count).map(|number| (local(number), Stand(number))).collect();
    let template = Template::new(&Config::lan(), all).expect("a preset is sound");
    let mut swim = Swim::new(Moment::START, local(0), Config::lan(), Arc::new(Stand(0)), 0)
        .expect("a preset is sound");
    template.give_to(&mut swim);
    swim.members()
}

fn local(number: u32) -> Local {
    let name = Name::try_from(&*format!("n{number}")).expect("a short name");
    let mut local = Local::new(name, vec![(Ipv4Addr::LOCALHOST, 7_646).into()], Generation(1));
    let (weight, zone) = ((1 + number % 200).to_string(), ["a", "b", "c"][number as usize % 3]);
    for (key, value) in [("zone", zone), ("weight", &weight), ("host", &number.to_string())] {
        local.profile.tags.set(key, value).expect("the tag is allowed");
    }
    local
}

criterion_group! { name = benches; config = phin_benches::quick(); targets = placement }
criterion_main!(benches);
