//! Identities of members and hosts.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

/// The identity of a member, unique in a run. A process that restarts with its data keeps it.
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

    /// The address of the host for the real core.
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
            // No member has an IPv6 address, and no host this number.
            IpAddr::V6(_) => Self(u32::MAX),
        }
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "m{}", self.0)
    }
}

/// A member and the host at which it is contacted.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Peer {
    /// The member.
    pub node: NodeId,
    /// The host.
    pub host: HostId,
}

/// phin's own port.
const PORT: u16 = 7846;
