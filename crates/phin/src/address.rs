//! Under which address others reach this node.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    time::Duration,
};

use phin_swim::Members;
use tokio::{
    sync::{mpsc, watch},
    time::sleep,
};
use tracing::{info, warn};

use crate::{StartError, command::Command};

/// The address to advertise for a node bound to `bound`: the one given, its port filled in where it
/// is 0; else the bound one; for a wildcard, the local address that traffic to elsewhere leaves
/// from, or the only one that this host has.
pub(crate) fn advertised(
    given: Option<SocketAddr>,
    bound: SocketAddr,
) -> Result<SocketAddr, StartError> {
    let mut addr = given.unwrap_or(bound);
    if addr.port() == 0 {
        addr.set_port(bound.port());
    }
    if given.is_none() && addr.ip().is_unspecified() {
        let allow_ipv6 = addr.is_ipv6();
        let found = choose_addr(None, outward_addr(allow_ipv6), &local_addrs(allow_ipv6));
        addr.set_ip(found.ok_or(StartError::NoRoute { addr })?);
    }
    let is_usable = !addr.ip().is_unspecified() && !addr.ip().is_multicast();
    if is_usable { Ok(addr) } else { Err(StartError::Advertise { addr }) }
}

/// Follows the addresses of this host, for a node that listens on all of them and was given none to advertise.
///
/// The interfaces are read every [`LOOK_INTERVAL`]. Netlink would tell of changes at once, but on Linux alone, and the
/// members need about as long to notice that the old address no longer works.
pub(crate) struct AddressWatch {
    pub(crate) bound: SocketAddr,
    pub(crate) members: watch::Receiver<Members>,
    pub(crate) commands: mpsc::WeakSender<Command>,
}

impl AddressWatch {
    pub(crate) async fn run(self) {
        let mut has_warned = false;
        loop {
            sleep(LOOK_INTERVAL).await;
            let advertised = self.members.borrow().me().addr();
            let allow_ipv6 = self.bound.is_ipv6();
            let addrs = local_addrs(allow_ipv6);
            let found = choose_addr(Some(advertised.ip()), outward_addr(allow_ipv6), &addrs);
            let Some(ip) = found else {
                if !std::mem::replace(&mut has_warned, true) {
                    warn!(addr = %advertised, "this host lost the advertised address and has no other");
                }
                continue;
            };
            has_warned = false;
            if ip == advertised.ip() {
                continue;
            }
            let addr = SocketAddr::new(ip, advertised.port());
            info!(from = %advertised, to = %addr, "this host's address changed; advertising the new one");
            let Some(commands) = self.commands.upgrade() else { return };
            if commands.send(Command::Moved { addr }).await.is_err() {
                return;
            }
        }
    }
}

/// Which of a host's addresses to advertise: the present one for as long as the host has it, so that a host with several
/// does not go back and forth; else the one that traffic to other networks leaves from; else the only one there is.
fn choose_addr(
    present: Option<IpAddr>,
    outward: Option<IpAddr>,
    local: &[IpAddr],
) -> Option<IpAddr> {
    let only = match local {
        [only] => Some(*only),
        _ => None,
    };
    present.filter(|ip| local.contains(ip)).or(outward).or(only)
}

/// The addresses of this host's interfaces at which others can reach it.
#[cfg(unix)]
fn local_addrs(allow_ipv6: bool) -> Vec<IpAddr> {
    let interfaces = nix::ifaddrs::getifaddrs().into_iter().flatten();
    let mut addrs: Vec<_> = interfaces
        .filter_map(|interface| {
            let addr = interface.address?;
            let ipv4 = addr.as_sockaddr_in().map(|addr| IpAddr::V4(addr.ip()));
            ipv4.or_else(|| addr.as_sockaddr_in6().map(|addr| IpAddr::V6(addr.ip())))
        })
        .filter(|ip| is_reachable(*ip) && (allow_ipv6 || ip.is_ipv4()))
        .collect();
    addrs.sort_unstable();
    addrs.dedup();
    addrs
}

/// Without a way to ask, the address that traffic leaves from is all that is known.
#[cfg(not(unix))]
fn local_addrs(allow_ipv6: bool) -> Vec<IpAddr> {
    outward_addr(allow_ipv6).into_iter().collect()
}

/// Whether other hosts may reach an address that is known without its interface.
const fn is_reachable(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_link_local() && !ip.is_unspecified(),
        IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unicast_link_local() && !ip.is_unspecified(),
    }
}

/// Whether packets that come from `observed` were given that address by a NAT: it is neither one of those that the node
/// advertises nor another one of this host. A source port says nothing: it is not where a node behind a NAT listens.
pub(crate) fn is_translated(
    observed: IpAddr,
    mut advertised: impl Iterator<Item = SocketAddr>,
) -> bool {
    !advertised.any(|addr| addr.ip() == observed) && !is_of_this_host(observed)
}

/// Whether the system lets a socket use the address, which sends nothing. A link-local address, which needs an interface
/// with it, comes through no NAT.
fn is_of_this_host(ip: IpAddr) -> bool {
    let is_link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    is_link_local || UdpSocket::bind((ip, 0)).is_ok()
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
/// How often the addresses of this host are looked at; it takes some ten microseconds.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().expect("the test's address is one")
    }

    #[test]
    fn the_present_address_stays_until_it_is_gone() {
        let ip = |text: &str| text.parse::<IpAddr>().expect("the test's address is one");
        let (a, b, c) = (ip("10.0.0.1"), ip("10.0.0.2"), ip("10.0.0.3"));
        for (present, outward, local, expected) in [
            // At the start.
            (None, Some(a), &[a, b][..], Some(a)),
            (None, None, &[a][..], Some(a)),
            (None, None, &[a, b][..], None),
            (None, None, &[][..], None),
            // Later.
            (Some(a), Some(b), &[a, b][..], Some(a)),
            (Some(a), Some(b), &[b, c][..], Some(b)),
            (Some(a), None, &[b][..], Some(b)),
            (Some(a), None, &[b, c][..], None),
            (Some(a), None, &[][..], None),
        ] {
            let found = choose_addr(present, outward, local);
            assert_eq!(found, expected, "{present:?} {outward:?} {local:?}");
        }
    }

    #[test]
    fn only_an_address_of_neither_the_record_nor_the_host_is_a_nats() {
        let advertised = ["192.0.2.7:7646", "127.0.0.1:7646"].map(addr);
        for (observed, expected) in [
            ("192.0.2.7", false),
            ("192.0.2.8", true),
            ("2001:db8::1", true),
            // Another address of the host: it has several.
            ("127.0.0.2", false),
            ("fe80::7", false),
        ] {
            let ip = observed.parse().expect("the test's address is one");
            assert_eq!(is_translated(ip, advertised.into_iter()), expected, "{observed}");
        }
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
