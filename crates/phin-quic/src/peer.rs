//! The far end of a connection.

use std::net::SocketAddr;

use crate::identity::PeerId;

/// The far end of a connection: which node, and where it is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Peer {
    /// The node, known by its key.
    pub id: PeerId,
    /// Its UDP address. An IPv4 address is never written as IPv6.
    pub addr: SocketAddr,
}

/// The address with IPv4 written as IPv4, also when it came through an IPv6 socket.
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
