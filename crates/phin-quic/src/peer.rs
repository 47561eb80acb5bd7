//! The far end of a connection.

use std::net::SocketAddr;

use crate::identity::PeerId;

/// The far end of a connection: the id of a node and its address.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Peer {
    /// The id of the node, which a connection proves.
    pub id: PeerId,
    /// The UDP address of the node. Never an IPv4 address mapped to IPv6.
    pub addr: SocketAddr,
}

/// Converts an IPv4 address that came through an IPv6 socket to IPv4.
pub(crate) fn canonical(addr: SocketAddr) -> SocketAddr {
    match addr {
        SocketAddr::V6(v6) if v6.ip().to_ipv4_mapped().is_some() => {
            SocketAddr::new(addr.ip().to_canonical(), addr.port())
        }
        SocketAddr::V4(_) | SocketAddr::V6(_) => addr,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv4_is_written_as_ipv4() {
        let addr = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert_eq!(canonical(addr("[::ffff:10.0.0.1]:5")), addr("10.0.0.1:5"));
        assert_eq!(canonical(addr("[::1]:5")), addr("[::1]:5"));
        assert_eq!(canonical(addr("10.0.0.1:5")), addr("10.0.0.1:5"));
    }
}
