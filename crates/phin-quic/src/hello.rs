//! The hello: the first message of each side on a connection, which identifies the run of its process.
//!
//! The server sends its hello after the client's, so it also tells the client that it was accepted. In TLS 1.3 a
//! client completes its handshake before the server has checked its certificate (RFC 8446 §4.4.2.4, §6.2), and quinn
//! does not expose HANDSHAKE_DONE. The client's hello travels with its last handshake message, so this costs no round
//! trip.

use std::net::{IpAddr, SocketAddr};

use quinn::{Connection, ConnectionError};

/// The content of a hello.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Hello {
    /// A random number drawn when the transport was bound. Another number means that the peer restarted, and that
    /// connections to its previous run are dead.
    pub(crate) instance: u64,
    /// From the server: the number of connections that it had accepted before, so that both sides know the newer of
    /// two. Without meaning from the client.
    pub(crate) number: u64,
    /// From the server: the source address of the client's packets, which shows the client whether it is behind a NAT.
    /// `None` from clients, and from servers of earlier releases.
    pub(crate) observed: Option<SocketAddr>,
}

/// Why no hello arrived.
#[derive(Clone, Debug)]
pub(crate) enum HelloError {
    /// The connection ended, for example because the server refused this node.
    Connection(ConnectionError),
    /// The message is not a hello.
    Malformed,
    /// The other side is expelled, so this one closed the connection.
    Expelled,
}

impl From<ConnectionError> for HelloError {
    fn from(error: ConnectionError) -> Self {
        Self::Connection(error)
    }
}

impl Hello {
    /// Sends the hello as the first unidirectional stream of this side.
    pub(crate) async fn send(self, connection: &Connection) -> Result<(), ConnectionError> {
        let mut stream = connection.open_uni().await?;
        // These fail if the connection ends, which the reader of the answer notices, or if the peer stops the stream.
        let _ = stream.write_all(&self.encode()).await;
        let _ = stream.finish();
        Ok(())
    }

    /// Receives the hello of the other side.
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

    /// Decodes a hello. Ignores further bytes, which later releases may add.
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

/// Decodes the address at the beginning of `bytes`; `None` if this release knows no such address.
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
/// The codes of the address families.
const IPV4: u8 = 4;
const IPV6: u8 = 6;
/// The longest hello of this release: version, two numbers, an IPv6 address and port.
const MAX_OWN_BYTES: usize = 17 + 19;
/// The longest hello accepted, with room for later releases.
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
