//! The peers that a node knows, as it keeps them for its next run.

use std::net::SocketAddr;

use phin_swim::{MemberId, MemberState, Members, Record};

use crate::sealed::{seal, unseal};

/// A peer as this node, or an earlier run of it, knew it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct KnownPeer {
    pub(crate) id: MemberId,
    /// Whether it was dead; members that left are not kept.
    pub(crate) is_dead: bool,
    /// Where it was reached, the preferred address first.
    pub(crate) addrs: Vec<SocketAddr>,
}

/// The peers to keep: the members in the list, except those that left, and those that an earlier run knew and this one
/// has not met. Beyond [`MAX_PEERS`] the dead give way, then those not met, then a choice that differs from node to
/// node.
pub(crate) fn known_peers(members: &Members, unmet: &[KnownPeer]) -> Vec<KnownPeer> {
    let me = members.me().id();
    let listed = members.iter().filter(|m| m.id() != me && m.state() != MemberState::Left);
    let listed = listed.map(|member| KnownPeer {
        id: member.id(),
        is_dead: member.state() == MemberState::Dead,
        addrs: member.record().addrs().collect(),
    });
    let unmet = unmet.iter().filter(|peer| members.get(peer.id).is_none()).cloned();
    let mut peers: Vec<_> = listed.chain(unmet).collect();
    if peers.len() > MAX_PEERS {
        let distance = |id: MemberId| number(id) ^ number(me);
        let is_unmet = |id| members.get(id).is_none();
        peers.sort_by_key(|peer| (peer.is_dead, is_unmet(peer.id), distance(peer.id)));
        peers.truncate(MAX_PEERS);
    }
    peers.sort_by_key(|peer| peer.id);
    peers
}

/// The text of a file with a line for each peer.
pub(crate) fn encode(peers: &[KnownPeer]) -> String {
    seal(FORMAT, peers.iter().map(encode_line))
}

/// The peers in a file that is whole and exactly as [`encode`] makes it.
pub(crate) fn decode(content: &[u8]) -> Option<Vec<KnownPeer>> {
    unseal(FORMAT, content, decode_line, encode).filter(|peers| peers.len() <= MAX_PEERS)
}

fn encode_line(KnownPeer { id, is_dead, addrs }: &KnownPeer) -> String {
    let state = if *is_dead { DEAD } else { LIVE };
    let addrs: Vec<_> = addrs.iter().map(ToString::to_string).collect();
    format!("{state} {id} {}", addrs.join(","))
}

fn decode_line(line: &str) -> Option<KnownPeer> {
    let mut words = line.split(' ');
    let is_dead = match words.next()? {
        LIVE => false,
        DEAD => true,
        _ => return None,
    };
    let id = u128::from_str_radix(words.next()?, 16).ok()?;
    let addrs: Result<Vec<_>, _> = words.next()?.split(',').map(str::parse).collect();
    let addrs = addrs.ok().filter(|addrs| addrs.len() <= Record::MAX_ADDRS)?;
    Some(KnownPeer { id: MemberId(id.to_be_bytes()), is_dead, addrs })
}

const fn number(id: MemberId) -> u128 {
    u128::from_be_bytes(id.0)
}

/// How many peers are kept; more than enough that one of them is found again.
pub(crate) const MAX_PEERS: usize = 1_024;
/// No file of [`MAX_PEERS`] peers is longer: of each its state, id, and [`Record::MAX_ADDRS`] of 47 characters.
pub(crate) const MAX_FILE_BYTES: u64 = 256 * 1_024;
const FORMAT: &str = "phin-peers 1";
const LIVE: &str = "live";
const DEAD: &str = "dead";

#[cfg(test)]
mod tests {
    use super::*;

    fn peers(count: u8) -> Vec<KnownPeer> {
        let peer = |number| KnownPeer {
            id: MemberId([number; 16]),
            is_dead: number % 3 == 0,
            addrs: vec![([10, 0, 0, number], 7_646).into(), "[fd00::1]:7646".parse().unwrap()],
        };
        (1..=count).map(peer).collect()
    }

    #[test]
    fn peers_survive_their_text() {
        for count in [0, 1, 200] {
            assert_eq!(decode(encode(&peers(count)).as_bytes()), Some(peers(count)));
        }
        let text = encode(&peers(1));
        assert!(text.starts_with("phin-peers 1\nlive 0101"), "{text}");
        assert!(text.contains(" 10.0.0.1:7646,[fd00::1]:7646\n"), "{text}");
    }

    #[test]
    fn any_single_damage_is_found() {
        let whole = encode(&peers(2)).into_bytes();
        for end in 0..whole.len() {
            assert_eq!(decode(&whole[..end]), None, "torn after {end} bytes");
        }
        for place in 0..whole.len() {
            for bit in 0..8 {
                let mut damaged = whole.clone();
                damaged[place] ^= 1 << bit;
                assert_eq!(decode(&damaged), None, "bit {bit} of byte {place} is turned");
            }
        }
    }

    #[test]
    fn files_have_a_limit_and_the_longest_list_fits() {
        let longest = "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535".parse().unwrap();
        let peer = |number: usize| KnownPeer {
            id: MemberId((number as u128).to_be_bytes()),
            is_dead: false,
            addrs: vec![longest; Record::MAX_ADDRS],
        };
        let fits: Vec<_> = (0..MAX_PEERS).map(peer).collect();
        let text = encode(&fits);
        assert!(text.len() as u64 <= MAX_FILE_BYTES, "{}", text.len());
        assert_eq!(decode(text.as_bytes()), Some(fits));
        let too_many: Vec<_> = (0..=MAX_PEERS).map(peer).collect();
        assert_eq!(decode(encode(&too_many).as_bytes()), None);
    }
}
