//! The first thing that each side says on a connection: which run of which process it is.
//!
//! The server speaks when it has heard the client, so its hello also tells the client that it was
//! accepted: in TLS 1.3 a client completes its handshake before the server has looked at its
//! certificate (RFC 8446 §4.4.2.4, §6.2), and QUIC's HANDSHAKE_DONE is not shown to us. The client's
//! hello travels with the last message of its handshake, so none of this costs a round trip.

use std::net::{IpAddr, SocketAddr};

use quinn::{Connection, ConnectionError};

/// What a side says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Hello {
    /// A number drawn at random when the transport was bound: another one means that the peer was
    /// started anew, and that connections to its former self are dead.
    pub(crate) instance: u64,
    /// The server's: how many connections it had accepted before, so that both sides know which
    /// of two is the newer one. The client's says nothing.
    pub(crate) number: u64,
    /// The server's: the address that the client's packets come from, by which a client learns that
    /// a NAT is between them. `None` from clients, and from servers of earlier releases.
    pub(crate) observed: Option<SocketAddr>,
}

/// Why there was no hello.
#[derive(Clone, Debug)]
pub(crate) enum HelloError {
    /// The connection ended, perhaps because the server refused us.
    Connection(ConnectionError),
    /// What came is no hello.
    Malformed,
}

impl From<ConnectionError> for HelloError {
    fn from(error: ConnectionError) -> Self {
        Self::Connection(error)
    }
}

impl Hello {
    /// Says it: as the first unidirectional stream of this side.
    pub(crate) async fn send(self, connection: &Connection) -> Result<(), ConnectionError> {
        let mut stream = connection.open_uni().await?;
        // These fail when the connection ends, which whoever waits for the answer will see, or
        // when the peer stops the stream, which is its loss.
        let _ = stream.write_all(&self.encode()).await;
        let _ = stream.finish();
        Ok(())
    }

    /// Hears it.
    pub(crate) async fn receive(connection: &Connection) -> Result<Self, HelloError> {
        let mut stream = connection.accept_uni().await?;
        match stream.read_to_end(MAX_HELLO_BYTES).await {
            Ok(bytes) => Self::decode(&bytes).ok_or(HelloError::Malformed),
            Err(_) => Err(match connection.close_reason() {
                Some(error) => HelloError::Connection(error),
                None => HelloError::Malformed,
            }),
        }
    }

    fn encode(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(MAX_OWN_BYTES);
        bytes.push(VERSION);
        bytes.extend(self.instance.to_be_bytes());
        bytes.extend(self.number.to_be_bytes());
        if let Some(addr) = self.observed {
            match addr.ip() {
                IpAddr::V4(ip) => {
                    bytes.push(IPV4);
                    bytes.extend(ip.octets());
                }
                IpAddr::V6(ip) => {
                    bytes.push(IPV6);
                    bytes.extend(ip.octets());
                }
            }
            bytes.extend(addr.port().to_be_bytes());
        }
        bytes
    }

    /// A later release may say more after this.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let (version, rest) = bytes.split_first()?;
        let (instance, rest) = rest.split_first_chunk()?;
        let (number, rest) = rest.split_first_chunk()?;
        (*version >= VERSION).then(|| Self {
            instance: u64::from_be_bytes(*instance),
            number: u64::from_be_bytes(*number),
            observed: decode_addr(rest),
        })
    }
}

/// The address at the beginning of `bytes`; `None` where there is none that this release knows.
fn decode_addr(bytes: &[u8]) -> Option<SocketAddr> {
    let (family, rest) = bytes.split_first()?;
    let (ip, rest) = match *family {
        IPV4 => rest.split_first_chunk::<4>().map(|(ip, rest)| (IpAddr::from(*ip), rest))?,
        IPV6 => rest.split_first_chunk::<16>().map(|(ip, rest)| (IpAddr::from(*ip), rest))?,
        _ => return None,
    };
    let (port, _more) = rest.split_first_chunk()?;
    Some(SocketAddr::new(ip.to_canonical(), u16::from_be_bytes(*port)))
}

const VERSION: u8 = 1;
/// The families of addresses.
const IPV4: u8 = 4;
const IPV6: u8 = 6;
/// The longest hello of this release: version, two numbers, an IPv6 address and port.
const MAX_OWN_BYTES: usize = 17 + 19;
/// Room for what later releases say.
const MAX_HELLO_BYTES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hello_survives_its_bytes_and_what_later_releases_add() {
        for observed in [None, Some("192.0.2.7:7646"), Some("[2001:db8::7]:1")] {
            let observed = observed.map(|addr| addr.parse().unwrap());
            let hello = Hello { instance: u64::MAX - 1, number: 3, observed };
            let mut bytes = hello.encode();
            assert!(bytes.len() <= MAX_OWN_BYTES);
            assert_eq!(Hello::decode(&bytes), Some(hello));
            bytes[0] = 2;
            bytes.extend_from_slice(b"more");
            assert_eq!(Hello::decode(&bytes), Some(hello));
        }
    }

    #[test]
    fn what_is_no_hello_is_refused() {
        let bytes = Hello { instance: 1, number: 2, observed: None }.encode();
        for length in 0..bytes.len() {
            assert_eq!(Hello::decode(&bytes[..length]), None);
        }
        assert_eq!(Hello::decode(&[0; MAX_OWN_BYTES]), None);
    }

    #[test]
    fn an_address_that_is_cut_off_or_of_another_kind_is_none() {
        let observed = "192.0.2.7:7646".parse().ok();
        let bytes = Hello { instance: 1, number: 2, observed }.encode();
        let expected = Hello { instance: 1, number: 2, observed: None };
        for length in 17..bytes.len() {
            assert_eq!(Hello::decode(&bytes[..length]), Some(expected));
        }
        let mut other = bytes;
        other[17] = 9;
        assert_eq!(Hello::decode(&other), Some(expected));
    }
}
