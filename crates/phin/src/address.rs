//! Under which address others reach this node.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use crate::StartError;

/// The address to advertise for a node bound to `bound`: the one given, its port filled in where it
/// is 0; else the bound one; for a wildcard, the local address that traffic to elsewhere leaves
/// from.
pub(crate) fn advertised(
    given: Option<SocketAddr>,
    bound: SocketAddr,
) -> Result<SocketAddr, StartError> {
    let mut addr = given.unwrap_or(bound);
    if addr.port() == 0 {
        addr.set_port(bound.port());
    }
    if given.is_none() && addr.ip().is_unspecified() {
        let outward = outward_addr(addr.is_ipv6()).ok_or(StartError::NoRoute { addr })?;
        addr.set_ip(outward);
    }
    let is_usable = !addr.ip().is_unspecified() && !addr.ip().is_multicast();
    if is_usable { Ok(addr) } else { Err(StartError::Advertise { addr }) }
}

/// The local address that the system would send from to another network; asking sends nothing. A
/// wildcard IPv6 socket takes IPv4 traffic too.
fn outward_addr(allow_ipv6: bool) -> Option<IpAddr> {
    let ipv6 = || local_addr_towards(Ipv6Addr::UNSPECIFIED.into(), ELSEWHERE_V6.into());
    let ipv4 = || local_addr_towards(Ipv4Addr::UNSPECIFIED.into(), ELSEWHERE_V4.into());
    if allow_ipv6 { ipv6().or_else(ipv4) } else { ipv4() }
}

fn local_addr_towards(from: IpAddr, to: IpAddr) -> Option<IpAddr> {
    let socket = UdpSocket::bind((from, 0)).ok()?;
    socket.connect((to, DISCARD)).ok()?;
    let local = socket.local_addr().ok()?.ip();
    (!local.is_unspecified() && !local.is_loopback()).then_some(local)
}

/// Addresses reserved for documentation (RFC 5737, RFC 3849): routed as any other, and nobody's.
const ELSEWHERE_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const ELSEWHERE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
/// The discard port (RFC 863); a connected socket wants one.
const DISCARD: u16 = 9;

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().expect("the test's address is one")
    }

    #[test]
    fn a_specific_bound_address_is_advertised() {
        let found = advertised(None, addr("127.0.0.1:7000")).expect("it is specific");
        assert_eq!(found, addr("127.0.0.1:7000"));
    }

    #[test]
    fn a_given_address_wins_and_its_port_is_filled_in() {
        let given = Some(addr("192.0.2.7:0"));
        let found = advertised(given, addr("0.0.0.0:7000")).expect("it is specific");
        assert_eq!(found, addr("192.0.2.7:7000"));
    }

    #[test]
    fn a_wildcard_is_never_advertised() {
        let error = advertised(Some(addr("0.0.0.0:7000")), addr("0.0.0.0:7000")).unwrap_err();
        assert!(matches!(error, StartError::Advertise { .. }));
        // Without a route to elsewhere there is no answer, and the error says what to do.
        for wildcard in ["0.0.0.0:7000", "[::]:7000"] {
            match advertised(None, addr(wildcard)) {
                Ok(found) => assert!(!found.ip().is_unspecified() && found.port() == 7000),
                Err(error) => assert!(error.to_string().contains("set an address")),
            }
        }
    }
}
