//! Bytes as a script of what happens to a few members.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| phin_sim::arbitrary::script(bytes));
