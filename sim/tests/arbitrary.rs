//! The core under arbitrary bytes, as `sim/fuzz` has them: random ones of fixed seeds, and those that once broke it.
#![expect(clippy::unwrap_used, reason = "what helps a test may fail as a test does")]

use phin_sim::arbitrary::{frame, payload, script, whole_list};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

#[test]
fn random_scripts_break_nothing() {
    for seed in 0..2_000 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut bytes = vec![0; rng.random_range(2..600)];
        rng.fill_bytes(&mut bytes);
        run(seed, &bytes, script);
    }
}

/// A payload of each kind (`wire/parts.txt`), as it is, damaged, cut and with another behind it.
#[test]
fn damaged_payloads_break_nothing() {
    let parts = include_str!("../../crates/phin-swim/src/wire/parts.txt");
    let parts: Vec<_> = parts.lines().filter(|line| !line.starts_with('#')).map(bytes_of).collect();
    assert!(parts.len() > 20);
    parts.iter().for_each(|part| payload(part));
    for seed in 0..10_000 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut bytes = parts[rng.random_range(..parts.len())].clone();
        if rng.random() {
            bytes.extend_from_slice(&parts[rng.random_range(..parts.len())][1..]);
        }
        for _ in 0..rng.random_range(1..4) {
            let place = rng.random_range(..bytes.len());
            bytes[place] = rng.random();
        }
        if rng.random_ratio(1, 4) {
            bytes.truncate(rng.random_range(..bytes.len()));
        }
        run(seed, &bytes, payload);
    }
}

/// The frames of a stream, damaged, cut and with another behind them.
#[test]
fn damaged_frames_break_nothing() {
    let frames = whole_list();
    let whole = frames.concat();
    frame(&whole);
    for seed in 0..10_000 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut bytes = whole.clone();
        if rng.random() {
            // Its parts without the welcome, which is out of place after the first.
            bytes.drain(1..WELCOME_BYTES);
            bytes.extend_from_within(1..);
        }
        for _ in 0..rng.random_range(1..4) {
            let place = rng.random_range(1..bytes.len());
            bytes[place] = rng.random();
        }
        if rng.random_ratio(1, 4) {
            bytes.truncate(rng.random_range(..bytes.len()));
        }
        run(seed, &bytes, frame);
    }
}

/// Says with which bytes it failed, for a regression test here.
fn run(seed: u64, bytes: &[u8], broken_by: fn(&[u8])) {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let result = std::panic::catch_unwind(|| broken_by(bytes));
    assert!(result.is_ok(), "seed {seed} breaks it, with the bytes {hex}");
}

fn bytes_of(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2);
    let bytes =
        digits.map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap());
    bytes.collect()
}

/// Version, kind, array, id, granted.
const WELCOME_BYTES: usize = 1 + 1 + 1 + 18 + 2;
