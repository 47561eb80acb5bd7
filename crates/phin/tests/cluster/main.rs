//! A few real nodes in one process, over QUIC on loopback. No test waits for time to pass: each
//! waits for what should happen, under a guard that is far longer than it takes.

mod addresses;
mod admission;
mod doubt;
mod forget;
mod hostile;
mod join;
mod leave;
mod lifecycle;
#[path = "../../../phin-quic/tests/it/log.rs"]
mod log;
mod membership;
mod nodes;
mod restart;
mod subscribe;
mod tags;
