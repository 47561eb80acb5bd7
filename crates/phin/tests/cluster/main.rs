//! A few real nodes in one process: over QUIC on loopback where sockets, disks or certificates matter, else on a network in
//! memory, where no real time passes. On loopback no test waits for time to pass: each waits for what should happen, under
//! a guard that is far longer than it takes.

mod addresses;
mod admission;
mod assigned_ids;
mod credentials;
mod data;
mod doubt;
mod forget;
mod hostile;
mod join;
mod leadership;
mod leave;
mod lifecycle;
#[path = "../../../phin-quic/tests/it/log.rs"]
mod log;
mod membership;
mod messages;
mod nodes;
mod placement;
mod publish;
mod queries;
mod restart;
mod subscribe;
mod tags;
mod test_cluster;
mod watch;
