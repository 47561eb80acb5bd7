//! Bytes as a frame for a watcher.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| phin_sim::arbitrary::frame(bytes));
