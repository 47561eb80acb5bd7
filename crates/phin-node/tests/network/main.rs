//! The binary on networks of the tests' own: each node on a host of its own (a network namespace), joined by a bridge
//! that loses what nftables tells it to. Needs Linux, root, `ip` and `nft`; a test says when it is skipped for want of
//! them. Without root: `unshare --map-root-user --net cargo test -p phin-node --test network`.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "clippy takes only functions marked as tests for tests")]

mod addresses;
mod cluster;
mod cuts;
mod floods;
mod forgeries;
mod hosts;
mod lan;
mod namespace;
mod node;
mod paths;
