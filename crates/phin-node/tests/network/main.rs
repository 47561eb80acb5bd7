//! Tests of the binary on separate networks: each node runs on its own host (a network namespace), connected by a
//! bridge with faults from nftables. Needs Linux, root, `ip` and `nft`; a skipped test prints a note. Without root:
//! `unshare --map-root-user --net cargo test -p phin-node --test network`.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "clippy takes only functions marked as tests for tests")]

mod addresses;
mod balance;
mod cluster;
mod container;
mod cuts;
mod floods;
mod forgeries;
mod hosts;
mod lan;
mod leads;
mod messages;
mod namespace;
mod node;
mod paths;
mod pods;
