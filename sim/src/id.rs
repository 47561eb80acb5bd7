//! Identities of members and hosts.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

/// An identity of one run of the simulator, never used again: a process that restarts with its data keeps it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct NodeId(pub u32);

/// A machine; its address is its number.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct HostId(pub u32);

impl NodeId {
    /// The identity as an index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl HostId {
    /// The host as an index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The address at which the members of the real core look for it.
    pub(crate) fn addr(self) -> SocketAddr {
        let [_, a, b, c] = self.0.to_be_bytes();
        SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, a, b, c)), PORT)
    }

    /// The host at this address.
    pub(crate) fn at(addr: SocketAddr) -> Self {
        match addr.ip() {
            IpAddr::V4(ip) => {
                let [_, a, b, c] = ip.octets();
                Self(u32::from_be_bytes([0, a, b, c]))
            }
            // No member of a run has such an address; no host has this number.
            IpAddr::V6(_) => Self(u32::MAX),
        }
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "m{}", self.0)
    }
}

/// Whom a message is for, and on which host it is looked for.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Peer {
    /// Who must be there.
    pub node: NodeId,
    /// Where.
    pub host: HostId,
}

/// phin's own port.
const PORT: u16 = 7846;
