use std::{
    net::{Ipv6Addr, SocketAddr},
    sync::Arc,
};

use super::*;
use crate::sync::budget::{BUDGET_WINDOW, LIST_BYTES_PER_SECOND};
use crate::{Config, Generation, Keys, Local, Name, PublicKey, Signature, Template, wire};

/// Keys of many members that anyone could forge.
struct ManyKeys(u32);

impl Keys for ManyKeys {
    fn public_key(&self) -> PublicKey {
        let mut key = [0; 32];
        key[..4].copy_from_slice(&self.0.to_be_bytes());
        PublicKey(key)
    }

    fn member_id(&self, key: &PublicKey) -> MemberId {
        let number = u32::from_be_bytes([key.0[0], key.0[1], key.0[2], key.0[3]]);
        // Spread over all buckets and rings.
        MemberId::from_u128(
            u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835),
        )
    }

    fn sign(&self, _: &[u8]) -> Signature {
        Signature([7; 64])
    }

    fn verify(&self, _: &PublicKey, _: &[u8], _: &Signature) -> bool {
        true
    }
}

/// A member with the longest name, and as many addresses as it may have.
fn local(number: u32) -> Local {
    let name = Name::try_from(format!("{number:0>64}").as_str()).unwrap();
    let addr = |port| SocketAddr::new(Ipv6Addr::from(u128::MAX - u128::from(number)).into(), port);
    Local { name, addrs: (1..=4).map(addr).collect(), generation: Generation(0) }
}

fn swim(number: u32, config: Config) -> Swim {
    let keys = Arc::new(ManyKeys(number));
    Swim::new(Instant::START, local(number), config, keys, number.into()).unwrap()
}

fn peer(number: u32) -> Peer {
    let keys = ManyKeys(number);
    Peer { id: keys.member_id(&keys.public_key()), addr: local(number).addrs[0] }
}

/// A core that has long known so many members.
fn acquainted(members: u32, config: Config) -> Swim {
    let all = (0..members).map(|number| (local(number), ManyKeys(number)));
    let template = Template::new(&config, all).unwrap();
    let mut swim = swim(0, config);
    swim.start_with(&template);
    swim
}

/// The streams that a core sends, by receiver.
fn streams(swim: &mut Swim) -> Vec<(MemberId, Vec<u8>)> {
    let outputs = std::iter::from_fn(|| swim.poll_output());
    let streams = outputs.filter_map(|output| match output {
        Output::Stream { to, payload } => Some((to.id, payload)),
        _ => None,
    });
    streams.collect()
}

fn parts(payload: &[u8]) -> Vec<Part> {
    wire::decode(payload, &ManyKeys(0)).unwrap().parts
}

/// The request of a member that is not started.
fn request(number: u32) -> Vec<u8> {
    let mut joiner = swim(number, Config::lan());
    joiner.join(Instant::START, peer(0));
    streams(&mut joiner).remove(0).1
}

#[test]
fn a_list_longer_than_a_stream_arrives_page_by_page_and_is_not_told_on() {
    let members = 50_000;
    let mut seed = acquainted(members, Config::lan());
    let mut joiner = swim(members, Config::lan());
    let now = Instant::START;
    joiner.join(now, peer(0));
    let (mut pages, mut is_joiners_turn) = (0, true);
    loop {
        let (from, to, sender) = match is_joiners_turn {
            true => (&mut joiner, &mut seed, peer(members)),
            false => (&mut seed, &mut joiner, peer(0)),
        };
        let sent = streams(from);
        if sent.is_empty() {
            break;
        }
        for (receiver, payload) in sent {
            assert!(receiver == to.id() && payload.len() <= MAX_PAGE_BYTES, "{}", payload.len());
            pages += usize::from(payload.len() > 1024 * 1024);
            to.handle_stream(now, sender, &payload);
        }
        is_joiners_turn = !is_joiners_turn;
    }
    assert_eq!(joiner.fingerprint(), seed.fingerprint());
    assert!(pages >= 3, "{pages} pages");
    // Everybody there knows all of it: the newcomer is the only news.
    let pushed = joiner.poll_timeout();
    let datagrams = |swim: &mut Swim| {
        swim.handle_timeout(now + Duration::from_secs(3));
        let outputs: Vec<_> = std::iter::from_fn(|| swim.poll_output()).collect();
        outputs.into_iter().filter(|output| matches!(output, Output::Datagram { .. })).count()
    };
    assert!(pushed.is_some() && datagrams(&mut joiner) < 100);
}

#[test]
fn what_joiners_are_told_in_a_second_is_bounded_and_who_comes_too_late_is_not_taken() {
    let (members, joiners) = (10_000, 60);
    let mut seed = acquainted(members, Config::lan());
    let second = BUDGET_WINDOW;
    let mut served = Vec::new();
    for now in [Instant::START, Instant::START + second * 3] {
        let (mut bytes, mut admitted) = (0, 0);
        for joiner in members..members + joiners {
            seed.handle_stream(now, peer(joiner), &request(joiner));
            let known = seed.list.get(peer(joiner).id).is_some();
            for (_, payload) in streams(&mut seed) {
                bytes += payload.len();
                match &parts(&payload)[0] {
                    Part::JoinReply(Ok(())) => admitted += 1,
                    Part::JoinReply(Err(JoinRefusal::Busy)) if now == Instant::START => {
                        assert!(!known, "it was refused, and is in the list");
                    }
                    Part::JoinReply(Err(JoinRefusal::Busy)) => {}
                    other => panic!("{other:?}"),
                }
            }
        }
        assert!((bytes as f64) < LIST_BYTES_PER_SECOND + MAX_PAGE_BYTES as f64 + 1e5, "{bytes}");
        served.push(admitted);
    }
    assert!(served.iter().all(|&served| (5..joiners).contains(&served)), "{served:?}");
    assert_eq!(seed.stats().joins_busy, u64::from(2 * joiners - served.iter().sum::<u32>()));
}

#[test]
fn who_asks_a_busy_member_asks_again_and_is_told_in_the_end() {
    let mut joiner = swim(1, Config::lan());
    joiner.join(Instant::START, peer(0));
    let busy = Payload::of(&Part::JoinReply(Err(JoinRefusal::Busy))).into_bytes();
    let (mut now, mut asked) = (Instant::START, 0);
    loop {
        let outputs: Vec<_> = std::iter::from_fn(|| joiner.poll_output()).collect();
        if let Some(Output::JoinEnded { result, .. }) =
            outputs.iter().find(|output| matches!(output, Output::JoinEnded { .. }))
        {
            assert_eq!(*result, Err(JoinRefusal::Busy));
            break;
        }
        if outputs.iter().any(|output| matches!(output, Output::Stream { .. })) {
            asked += 1;
            joiner.handle_stream(now, peer(0), &busy);
        } else {
            now = joiner.poll_timeout().unwrap().max(now);
            joiner.handle_timeout(now);
        }
    }
    assert_eq!(asked, MAX_TIMES_BUSY + 1);
    assert!(now - Instant::START < Duration::from_secs(12), "{now}");
}
