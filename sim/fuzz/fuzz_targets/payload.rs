//! Bytes as a payload from the network.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| phin_sim::arbitrary::payload(bytes));
