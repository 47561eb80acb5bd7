//! A gRPC service on several servers, and a client that balances its calls over those that take some.
//!
//! Each server is a member of a phin cluster, and its tag `grpc` says where it serves. The client feeds a tower balancer from the
//! membership list. `src/client.rs` is the part to copy.

pub mod client;
pub mod echo;
pub mod server;

/// Any error.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// The tag of a member that says where it serves gRPC.
pub const ADDR_TAG: &str = "grpc";
