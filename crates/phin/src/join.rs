//! Joining through a seed address: resolve, dial, ask.

use std::{
    borrow::Cow,
    io,
    net::{Ipv6Addr, SocketAddr},
    sync::Weak,
    time::Duration,
};

use phin_quic::{DialError, Refusal};
use phin_swim::{MemberId, Peer};
use tokio::{
    net::lookup_host,
    sync::{mpsc, oneshot},
    time::timeout,
};

use crate::{
    JoinError, Stopped,
    command::{AfterLeaving, Command, NotJoined},
    keys::member_id,
    random::Random,
    transport::Dial,
};

/// Which member let this node in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Joined {
    /// Its identity.
    pub through: MemberId,
    /// Where it was reached.
    pub addr: SocketAddr,
}

/// Everything needed to join. It keeps neither the driver nor the node alive.
#[derive(Clone)]
pub(crate) struct Joiner {
    pub(crate) transport: Weak<dyn Dial>,
    pub(crate) commands: mpsc::WeakSender<Command>,
    pub(crate) random: Random,
}

impl Joiner {
    /// Joins through the first address of `seed` that lets this node in.
    pub(crate) async fn join(&self, seed: &str) -> Result<Joined, JoinError> {
        let mut worst = JoinError::ThisNode { seed: seed.to_owned() };
        for addr in resolve(seed, &self.random).await? {
            match self.join_at(addr, AfterLeaving::Return).await {
                Ok(Some(joined)) => return Ok(joined),
                Ok(None) => {}
                Err(error @ (JoinError::Stopped(_) | JoinError::Leaving)) => return Err(error),
                Err(error) => worst = telling(worst, error),
            }
        }
        Err(worst)
    }

    /// Joins through the member at `addr`; `None` if that is this node itself.
    pub(crate) async fn join_at(
        &self,
        addr: SocketAddr,
        after_leaving: AfterLeaving,
    ) -> Result<Option<Joined>, JoinError> {
        match self.dial(addr).await? {
            Some(through) => self.ask(through, after_leaving).await.map(Some),
            None => Ok(None),
        }
    }

    /// Connects to whichever member is at `addr`; `None` if that is this node itself.
    pub(crate) async fn dial(&self, addr: SocketAddr) -> Result<Option<Peer>, JoinError> {
        let transport = self.transport.upgrade().ok_or(Stopped)?;
        let dialled = timeout(MAX_DIAL_TIME, transport.dial(addr)).await;
        drop(transport);
        match dialled.map_err(|_| JoinError::TimedOut { addr, limit: MAX_DIAL_TIME })? {
            Ok(peer) => Ok(Some(Peer { id: member_id(peer), addr })),
            Err(DialError::OwnIdentity) => Ok(None),
            Err(source) => Err(JoinError::Dial { addr, source }),
        }
    }

    /// Asks a member that is connected to let this node in.
    pub(crate) async fn ask(
        &self,
        through: Peer,
        after_leaving: AfterLeaving,
    ) -> Result<Joined, JoinError> {
        let Peer { id, addr } = through;
        let (reply, ended) = oneshot::channel();
        let command = Command::Join { through, after_leaving, reply };
        let commands = self.commands.upgrade().ok_or(Stopped)?;
        commands.send(command).await.map_err(|_| Stopped)?;
        // Callers that wait here must not keep the node alive.
        drop(commands);
        let ended = timeout(MAX_ANSWER_TIME, ended).await;
        match ended.map_err(|_| JoinError::TimedOut { addr, limit: MAX_ANSWER_TIME })? {
            Ok(Ok(())) => Ok(Joined { through: id, addr }),
            Ok(Err(NotJoined::Refused(source))) => Err(JoinError::Refused { addr, source }),
            Ok(Err(NotJoined::Lost)) => Err(JoinError::Lost { addr }),
            Ok(Err(NotJoined::Leaving)) => Err(JoinError::Leaving),
            Err(oneshot::error::RecvError { .. }) => Err(Stopped.into()),
        }
    }
}

/// The addresses of a seed as they are now, in random order, so that many nodes with one list
/// of seeds do not all begin with the same.
pub(crate) async fn resolve(seed: &str, random: &Random) -> Result<Vec<SocketAddr>, JoinError> {
    let failed = |source| JoinError::Resolve { seed: seed.to_owned(), source };
    let mut addrs = lookup(with_port(seed, DEFAULT_PORT).into_owned()).await.map_err(failed)?;
    addrs.sort_unstable();
    addrs.dedup();
    if addrs.is_empty() {
        return Err(failed(io::ErrorKind::NotFound.into()));
    }
    random.shuffle(&mut addrs);
    addrs.truncate(MAX_ADDRS);
    Ok(addrs)
}

/// The addresses of "host:port", in the order of the system.
pub(crate) async fn lookup(host_and_port: String) -> io::Result<Vec<SocketAddr>> {
    let looked_up = timeout(MAX_RESOLVE_TIME, lookup_host(host_and_port)).await;
    looked_up.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map(Iterator::collect)
}

/// The address "host" or "host:port" with a port, the given one if it has none. An IPv6 address may stand without
/// brackets if it has none.
pub(crate) fn with_port(addr: &str, port: u16) -> Cow<'_, str> {
    if addr.parse::<Ipv6Addr>().is_ok() {
        return format!("[{addr}]:{port}").into();
    }
    if addr.is_empty() {
        return addr.into();
    }
    let has_port = addr.rsplit_once(':').is_some_and(|(_, rest)| !rest.ends_with(']'));
    if has_port { addr.into() } else { format!("{addr}:{port}").into() }
}

/// Whether a seed and this node do not belong together, which time alone will not change.
pub(crate) fn is_refusal(error: &DialError) -> bool {
    match error {
        DialError::Refused { refusal, .. } => *refusal != Refusal::Full,
        DialError::IdentityInUse => true,
        _ => false,
    }
}

/// The more informative of two reasons why a seed did not admit this node: an answer rather than silence.
fn telling(one: JoinError, other: JoinError) -> JoinError {
    let rank = |error: &JoinError| match error {
        JoinError::Refused { .. } => 3,
        JoinError::Dial { source, .. } if is_refusal(source) => 2,
        JoinError::Dial { .. } | JoinError::Lost { .. } | JoinError::TimedOut { .. } => 1,
        JoinError::Resolve { .. }
        | JoinError::ThisNode { .. }
        | JoinError::Leaving
        | JoinError::Stopped(_) => 0,
    };
    if rank(&other) >= rank(&one) { other } else { one }
}

/// The port of an address that names none.
pub const DEFAULT_PORT: u16 = 7646;
/// Names with more addresses are used in part, another part at each try.
const MAX_ADDRS: usize = 64;
const MAX_RESOLVE_TIME: Duration = Duration::from_secs(10);
const MAX_DIAL_TIME: Duration = Duration::from_secs(5);
/// How long a seed that was reached may take to let us in: longer than its application, and than it is asked again
/// while it is busy.
const MAX_ANSWER_TIME: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_a_port_gets_the_default_one() {
        for (given, expected) in [
            ("db.example", "db.example:7646"),
            ("db.example:9", "db.example:9"),
            ("10.0.0.1", "10.0.0.1:7646"),
            ("10.0.0.1:9", "10.0.0.1:9"),
            ("[::1]", "[::1]:7646"),
            ("[::1]:9", "[::1]:9"),
            ("fd00::1", "[fd00::1]:7646"),
        ] {
            assert_eq!(with_port(given, DEFAULT_PORT), expected);
        }
    }
}
