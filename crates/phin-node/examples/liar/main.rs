//! A member that lies, to try a cluster on this machine: it joins with the cluster key, and sends lies about one member to all
//! others.
//!
//! `PHIN_CLUSTER_KEY=… cargo run -p phin-node --example liar -- ADDR LIE VICTIM SECONDS [PROFILE [CLUSTER]]`
//!
//! - `ADDR`: the UDP address of a member to join through, on loopback.
//! - `LIE`: `verdict`, `signed-verdict`, `suspect`, `vote`, `signed-vote`, `list` or `forget` (the victim is dead), `clear` or
//!   `abstain` (it lives), `requests` or `ping-requests` (no lies, but work for others).
//! - `VICTIM`: the name of a member.
//! - `SECONDS`: how long it lies; a lie each 50 ms.
//! - `PROFILE`: `local`, `lan` or `wan`, as the members have it; `lan` by default.
//! - `CLUSTER`: the name of the cluster, `phin` by default.

mod liar;
mod lie;

use std::{error::Error, net::SocketAddr, time::Duration};

use phin_swim::{Config, SignedVotes};
use tokio::{sync::watch, time};

use crate::{
    liar::{Setup, run},
    lie::Lie,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [addr, lie, victim, seconds, more @ ..] = &arguments[..] else {
        return Err("usage: liar ADDR LIE VICTIM SECONDS [PROFILE [CLUSTER]]".into());
    };
    let through: SocketAddr = addr.parse()?;
    if !through.ip().is_loopback() {
        return Err("only members on this machine can be lied to".into());
    }
    let mut config = match more.first().map_or("lan", String::as_str) {
        "local" => Config::local(),
        "lan" => Config::lan(),
        "wan" => Config::wan(),
        other => return Err(format!("there is no profile `{other}`").into()),
    };
    config.signed_votes = SignedVotes::Sign;
    let setup = Setup {
        name: "liar".to_owned(),
        through,
        cluster: more.get(1).map_or("phin", String::as_str).parse()?,
        keys: std::env::var("PHIN_CLUSTER_KEY")?.parse()?,
        config,
        every: Duration::from_millis(50),
    };
    let lie: Lie = lie.parse()?;
    let (_order, orders) = watch::channel(Some((lie, victim.clone())));
    let seconds = Duration::from_secs(seconds.parse()?);
    tokio::select! {
        result = run(setup, orders) => result,
        () = time::sleep(seconds) => Ok(()),
    }
}
