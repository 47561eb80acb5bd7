//! The baselines do what their papers state.

use std::{sync::Arc, time::Duration};

use phin_sim::{
    Kill, Measured, Measurement, NetworkConfig, Protocol, ProtocolKind,
    baselines::{ProbeOrder, SuspicionRule, SwimConfig, SwimProtocol},
    cores, run_all, secs,
};

fn measure(nodes: u32, runs: u64, make: impl Fn(u64) -> Arc<dyn Protocol> + Sync) -> Measured {
    let measurement = Measurement {
        nodes,
        network: NetworkConfig::lan(),
        warm_up: secs(10),
        kills: nodes / 8,
        kill: Kill::Host,
        patience: secs(120),
        load: None,
        faults: Vec::new(),
    };
    let seeds: Vec<_> = (0..runs).collect();
    let results = run_all(&seeds, cores(), "", |&seed| measurement.run(seed, make(seed)));
    let mut measured = Measured::default();
    results.into_iter().for_each(|result| measured.merge(result));
    assert_eq!((measured.unnoticed, measured.false_positives), (0, 0));
    measured
}

fn messages_per_second(measured: &Measured) -> f64 {
    measured.idle.0 as f64 / measured.idle.2
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let len = values.len() as f64;
    values.sum::<f64>() / len
}

/// SWIM §3.1: with random choice, the expected number of periods until a failure is detected is e/(e − 1).
#[test]
fn swim_with_random_choice_detects_after_e_over_e_minus_1_periods() {
    let config = SwimConfig {
        order: ProbeOrder::Random,
        suspicion: SuspicionRule::None,
        ..SwimConfig::PAPER
    };
    let measured = measure(64, 80, |_| Arc::new(SwimProtocol { nodes: 64, config }));
    // The probe that finds it takes a period of its own.
    let periods =
        measured.first.iter().map(|first| (first.as_secs_f64() - 1.0).max(0.0).ceil().max(1.0));
    let periods = mean(periods);
    let expected = std::f64::consts::E / (std::f64::consts::E - 1.0);
    assert!((periods / expected - 1.0).abs() < 0.06, "{periods} periods instead of {expected}");
    assert!((messages_per_second(&measured) - 2.0).abs() < 0.05);
}

/// SWIM §4.3: round-robin finds every failure within 2n − 1 periods of the first member's round. SWIM §5: the
/// suspicion lasts 3⌈ln(n + 1)⌉ periods.
#[test]
fn swim_waits_out_its_suspicion() {
    let measured = measure(32, 10, |_| ProtocolKind::Swim.make(0, 32));
    for (first, suspected) in measured.first.iter().zip(&measured.suspected) {
        assert!(*suspected <= secs(2 * 32), "{suspected:?}");
        let waited = *first - *suspected;
        // Fewer members are left with each kill, but ⌈ln(n + 1)⌉ stays 4 down to 20.
        assert!(waited >= secs(12) && waited < secs(13), "{waited:?}");
    }
}

/// Lifeguard §IV.B with memberlist's constants: at least 4·log10(n) s of suspicion, and about as much where others
/// confirm it.
#[test]
fn lifeguard_waits_at_least_four_times_the_logarithm() {
    let measured = measure(100, 4, |_| ProtocolKind::Lifeguard.make(0, 100));
    // 12 of 100 are killed one by one.
    let least = Duration::from_secs_f64(4.0 * 88_f64.log10());
    assert!(measured.first.iter().zip(&measured.suspected).all(|(f, s)| *f - *s >= least));
    let waited = mean(measured.first.iter().map(|first| first.as_secs_f64()));
    assert!((8.5..11.5).contains(&waited), "{waited}");
    assert!((2.0..2.2).contains(&messages_per_second(&measured)));
}

#[test]
fn heartbeats_cost_the_square_and_take_their_timeout() {
    let measured = measure(32, 10, |_| ProtocolKind::Heartbeat.make(0, 32));
    assert!(measured.all.iter().all(|all| *all >= secs(4) && *all <= secs(5) + secs(1) / 5));
    assert!((messages_per_second(&measured) - 31.0).abs() < 0.1);
}

/// Hayashibara et al., SRDS 2004: phi adapts to what arrives, so a regular network is judged sooner than any timeout
/// set beforehand.
#[test]
fn phi_accrual_on_a_regular_network_is_quicker_than_a_timeout() {
    let measured = measure(32, 10, |_| ProtocolKind::HeartbeatPhi.make(0, 32));
    assert!(measured.all.iter().all(|all| *all <= secs(2) + secs(1) / 2));
}
