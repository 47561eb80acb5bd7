//! Measures one step of the protocol core for each of its inputs, by cluster size, and its list and rings.

use std::{hint::black_box, time::Duration};

use criterion::{
    BatchSize, BenchmarkGroup, Criterion, criterion_group, criterion_main, measurement::WallTime,
};
use phin_swim::{
    Disconnection, HostAnswer, Instant, Output, Swim, Template, Unreachable,
    measured::{List, messages},
};

use phin_benches::{alone, core, id, member, outputs, peer, template};

fn steps(criterion: &mut Criterion) {
    for members in [100, 1_000, 10_000] {
        let template = template(members);
        let mut group = criterion.benchmark_group(format!("{members} members"));
        group.bench_function("ten protocol periods", |bencher| {
            let until = Instant::START + Duration::from_secs(10);
            bencher.iter_batched_ref(
                || core(&template),
                |swim| run_until(swim, until),
                BatchSize::SmallInput,
            );
        });
        group.bench_function("take a snapshot", |bencher| {
            let swim = core(&template);
            bencher.iter(|| swim.members());
        });
        bench_messages(&mut group, &template);
        bench_other_inputs(&mut group, &template);
        bench_list(&mut group, &template);
        group.finish();
    }
}

/// A message of each kind arrives.
fn bench_messages(group: &mut BenchmarkGroup<'_, WallTime>, template: &Template) {
    let all = messages(&core(template), id(1), id(2)).expect("both are on the list");
    for message in all {
        let payload = message.encode();
        let is_bulk = ["join", "join reply", "compare", "summary of a bucket", "want"]
            .contains(&message.name);
        step(group, template, &format!("receive {}", message.name), |swim| {
            let payload = black_box(&payload);
            match is_bulk {
                true => swim.handle_stream(MOMENT, peer(1), payload),
                false => swim.handle_datagram(MOMENT, peer(1), payload),
            }
        });
    }
}

/// Everything else that can happen to a core.
fn bench_other_inputs(group: &mut BenchmarkGroup<'_, WallTime>, template: &Template) {
    step(group, template, "connected", |swim| swim.handle_connected(MOMENT, peer(1)));
    step(group, template, "disconnected", |swim| {
        swim.handle_disconnected(MOMENT, id(1), Disconnection::Reset);
    });
    step(group, template, "unreachable", |swim| {
        swim.handle_unreachable(MOMENT, id(1), Unreachable::Refused);
    });
    step(group, template, "host answers", |swim| {
        swim.handle_host_answer(MOMENT, id(1), HostAnswer::Answers);
    });
    step(group, template, "first timer", |swim| {
        if let Some(due) = swim.poll_timeout() {
            swim.handle_timeout(due);
        }
    });
    step(group, template, "join", |swim| swim.join(MOMENT, peer(1)));
    step(group, template, "leave", |swim| {
        swim.leave(MOMENT);
    });
}

/// One input to a fresh core of the cluster, and everything that the core wants done because of it.
fn step(
    group: &mut BenchmarkGroup<'_, WallTime>,
    template: &Template,
    name: &str,
    input: impl Fn(&mut Swim),
) {
    group.bench_function(name, |bencher| {
        bencher.iter_batched_ref(
            || core(template),
            |swim| {
                input(swim);
                outputs(swim)
            },
            BatchSize::SmallInput,
        );
    });
}

/// The list, its fingerprint and its rings, when a member dies and returns.
fn bench_list(group: &mut BenchmarkGroup<'_, WallTime>, template: &Template) {
    let mut list = List::of(template).expect("the cluster has members");
    group.bench_function("a change of the list and its fingerprint", |bencher| {
        bencher.iter(|| {
            list.change(id(3));
            list.fingerprint()
        });
    });
    group.bench_function("ring neighbours after a change", |bencher| {
        bencher.iter_batched_ref(
            || {
                let mut list = List::of(template).expect("the cluster has members");
                list.change(id(3));
                list
            },
            |list| list.neighbours(id(0)),
            BatchSize::SmallInput,
        );
    });
}

/// A newcomer takes a list of a thousand that a member sent it.
fn merge(criterion: &mut Criterion) {
    const NEWCOMER: u32 = 5_000;
    let template = template(1_000);
    let asked = || {
        let mut newcomer = alone(NEWCOMER);
        newcomer.join(MOMENT, peer(1));
        let requests = streams(&mut newcomer);
        (newcomer, requests)
    };
    let mut answering = member(1, &template);
    for request in asked().1 {
        answering.handle_stream(MOMENT, peer(NEWCOMER), &request);
    }
    let lists = streams(&mut answering);
    criterion.bench_function("merge 1,000 records", |bencher| {
        bencher.iter_batched_ref(
            || asked().0,
            |newcomer| {
                for list in &lists {
                    newcomer.handle_stream(MOMENT, peer(1), black_box(list));
                    outputs(newcomer);
                }
            },
            BatchSize::SmallInput,
        );
    });
    let mut newcomer = asked().0;
    for list in &lists {
        newcomer.handle_stream(MOMENT, peer(1), list);
        outputs(&mut newcomer);
    }
    assert!(newcomer.members().live_len() > 1_000, "the list was merged");
}

fn streams(swim: &mut Swim) -> Vec<Vec<u8>> {
    let payload = |output| match output {
        Output::Stream { payload, .. } => Some(payload),
        _ => None,
    };
    outputs(swim).into_iter().filter_map(payload).collect()
}

/// Runs the timers.
fn run_until(swim: &mut Swim, until: Instant) {
    while let Some(due) = swim.poll_timeout().filter(|&due| due <= until) {
        swim.handle_timeout(due);
        outputs(swim);
    }
}

const MOMENT: Instant = Instant::START;

criterion_group! {
    name = benches;
    config = phin_benches::quick();
    targets = steps, merge
}
criterion_main!(benches);
