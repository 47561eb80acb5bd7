//! Measures the time until real nodes in network namespaces know of a death or a pause, for each kind of fault.
//! Prints a table. Needs Linux, root, `ip` and `nft`.
//!
//! `cargo bench -p phin-node --bench network -- --sizes 8,16,32 --trials 20`

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a program of its own")]

#[cfg(target_os = "linux")]
#[path = "../tests/network/cluster.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod cluster;
#[cfg(target_os = "linux")]
#[path = "../tests/network/lan.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod lan;
#[cfg(target_os = "linux")]
#[path = "../tests/network/namespace.rs"]
mod namespace;
#[cfg(target_os = "linux")]
#[path = "../tests/network/node.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod node;

#[cfg(target_os = "linux")]
#[path = "network/measure.rs"]
mod measure;

fn main() {
    #[cfg(target_os = "linux")]
    measure::main();
    #[cfg(not(target_os = "linux"))]
    println!("network namespaces are Linux's");
}
