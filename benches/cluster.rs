//! Cores of a large cluster, for benchmarks that need one.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use criterion::Criterion;
use phin_swim::{
    Config, Generation, Instant, Keys, Local, MemberId, Name, Output, Peer, PublicKey, Signature,
    Swim, Template,
};

/// With this many benches of steps that differ so much, each needs less precision than one alone.
pub fn quick() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(30)
}

/// The list of a cluster of so many.
///
/// # Panics
/// Never: a preset is sound.
pub fn template(members: u32) -> Template {
    let all = (0..members).map(|n| (local(n), Stand(n)));
    Template::new(&Config::lan(), all).expect("a preset is sound")
}

/// The first member of that cluster.
pub fn core(template: &Template) -> Swim {
    member(0, template)
}

/// A member of that cluster.
pub fn member(number: u32, template: &Template) -> Swim {
    let mut swim = alone(number);
    template.give_to(&mut swim);
    swim
}

/// A member that knows itself only.
///
/// # Panics
/// Never: a preset is sound.
pub fn alone(number: u32) -> Swim {
    let keys = Arc::new(Stand(number));
    Swim::new(Instant::START, local(number), Config::lan(), keys, number.into())
        .expect("a preset is sound")
}

/// Everything that a core wants done.
pub fn outputs(swim: &mut Swim) -> Vec<Output> {
    std::iter::from_fn(|| swim.poll_output()).collect()
}

/// How to reach a member.
pub fn peer(number: u32) -> Peer {
    Peer { id: id(number), addr: addr(number) }
}

/// The id of a member.
pub fn id(number: u32) -> MemberId {
    Stand(number).member_id(&Stand(number).public_key())
}

fn local(number: u32) -> Local {
    let name = Name::try_from(format!("n{number}").as_str()).expect("a short name");
    Local::new(name, vec![addr(number)], Generation(1))
}

fn addr(number: u32) -> SocketAddr {
    (Ipv4Addr::from(0x0a00_0000 + number), 7_646).into()
}

/// Keys that cost nothing: signatures are the transport's to measure.
#[derive(Clone, Copy, Debug)]
pub struct Stand(pub u32);

impl Keys for Stand {
    fn public_key(&self) -> PublicKey {
        let mut key = [0; 32];
        key[..4].copy_from_slice(&self.0.to_be_bytes());
        PublicKey(key)
    }

    fn member_id(&self, key: &PublicKey) -> MemberId {
        let number = u32::from_be_bytes([key.0[0], key.0[1], key.0[2], key.0[3]]);
        // An odd constant near 2¹²⁸ divided by the golden ratio spreads consecutive numbers over the rings.
        let spread =
            (u128::from(number) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        MemberId(spread.to_be_bytes())
    }

    fn sign(&self, _message: &[u8]) -> Signature {
        Signature([0; 64])
    }

    fn verify(&self, _key: &PublicKey, _message: &[u8], _signature: &Signature) -> bool {
        true
    }
}
