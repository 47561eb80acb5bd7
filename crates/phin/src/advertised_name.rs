//! A name to advertise: resolved at the start, and again for as long as the node runs.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};
use tracing::{info, warn};

use crate::{StartError, command::Command, join::with_port, random::Random};

/// A name under which others reach this node, which is bound to an address.
///
/// `R` looks up "host:port": [`lookup`](crate::join::lookup), except in tests.
pub(crate) struct AdvertisedName<R> {
    name: String,
    bound: SocketAddr,
    resolve: R,
}

impl<R, F> AdvertisedName<R>
where
    R: Fn(String) -> F,
    F: Future<Output = io::Result<Vec<SocketAddr>>>,
{
    /// # Errors
    /// When the name is not of the form host or host:port.
    pub(crate) fn new(name: &str, bound: SocketAddr, resolve: R) -> Result<Self, StartError> {
        let with_port = with_port(name, 0);
        let (host, port) = with_port.rsplit_once(':').unwrap_or_default();
        match port.parse::<u16>() {
            Ok(_) if !host.is_empty() => Ok(Self { name: name.to_owned(), bound, resolve }),
            _ => {
                let source = io::Error::new(io::ErrorKind::InvalidInput, "expected host:port");
                Err(StartError::AdvertisedName { name: name.to_owned(), source })
            }
        }
    }

    /// The address that the name leads to. A name that does not resolve is tried again for a while: the name of a
    /// pod, for example, may appear a moment after its process has started.
    ///
    /// # Errors
    /// When it does not resolve in that time.
    pub(crate) async fn resolve_first(&self) -> Result<SocketAddr, StartError> {
        let began = Instant::now();
        loop {
            match self.address(None).await {
                Ok(addr) => return Ok(addr),
                Err(source) if began.elapsed() >= MAX_START_TIME => {
                    return Err(StartError::AdvertisedName { name: self.name.clone(), source });
                }
                Err(_) => sleep(START_INTERVAL).await,
            }
        }
    }

    /// Resolves the name again and again, and has the node advertise what it leads to now.
    pub(crate) async fn follow(
        self,
        mut present: SocketAddr,
        to: mpsc::WeakSender<Command>,
        random: Random,
    ) {
        let mut has_warned = false;
        loop {
            sleep(random.jittered(INTERVAL)).await;
            let addr = match self.address(Some(present)).await {
                Ok(addr) => addr,
                Err(error) => {
                    if !std::mem::replace(&mut has_warned, true) {
                        warn!(name = self.name, addr = %present, %error, "the advertised name does not resolve; keeping its last address");
                    }
                    continue;
                }
            };
            has_warned = false;
            if addr == present {
                continue;
            }
            info!(name = self.name, from = %present, to = %addr, "the advertised name has a new address; advertising it");
            let Some(commands) = to.upgrade() else { return };
            if commands.send(Command::Moved { addr }).await.is_err() {
                return;
            }
            present = addr;
        }
    }

    async fn address(&self, present: Option<SocketAddr>) -> io::Result<SocketAddr> {
        // Port 0 stands for the bound one.
        let mut found = (self.resolve)(with_port(&self.name, 0).into_owned()).await?;
        for addr in found.iter_mut().filter(|addr| addr.port() == 0) {
            addr.set_port(self.bound.port());
        }
        choose(&found, present, self.bound)
            .ok_or_else(|| io::Error::other("none of its addresses is one that others can reach"))
    }
}

/// Which of a name's addresses to advertise: the present one while the name has it, so that a name with several does
/// not lead back and forth; else the least of the family that the node is bound to, or else of the other.
fn choose(
    found: &[SocketAddr],
    present: Option<SocketAddr>,
    bound: SocketAddr,
) -> Option<SocketAddr> {
    let is_usable = |addr: &&SocketAddr| {
        let ip = addr.ip();
        // Some hosts have their own name at 127.0.1.1.
        let is_elsewhere = bound.ip().is_loopback() || !ip.is_loopback();
        is_elsewhere && !ip.is_unspecified() && !ip.is_multicast()
    };
    let present = present.filter(|present| found.contains(present));
    let first = || {
        found
            .iter()
            .filter(is_usable)
            .min_by_key(|addr| (addr.is_ipv4() != bound.is_ipv4(), **addr))
    };
    present.or_else(|| first().copied())
}

/// For how long a name that does not resolve is tried at the start, and how often.
const MAX_START_TIME: Duration = Duration::from_secs(10);
const START_INTERVAL: Duration = Duration::from_secs(1);
/// How often the name is resolved while the node runs, as seeds are.
const INTERVAL: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, sync::Mutex};

    use super::*;

    type Answer = io::Result<Vec<SocketAddr>>;

    fn addr(text: &str) -> SocketAddr {
        text.parse().expect("the test's address is one")
    }

    /// Gives these answers in turn, and then none.
    fn answering(
        answers: impl IntoIterator<Item = Answer>,
    ) -> impl Fn(String) -> std::pin::Pin<Box<dyn Future<Output = Answer> + Send>> {
        let answers = Mutex::new(answers.into_iter().collect::<VecDeque<_>>());
        move |name| {
            assert_eq!(name, "node.example:0");
            let next = answers.lock().expect("no test panics with it").pop_front();
            Box::pin(async move {
                match next {
                    Some(answer) => answer,
                    None => std::future::pending().await,
                }
            })
        }
    }

    fn named(
        answers: impl IntoIterator<Item = Answer>,
    ) -> AdvertisedName<impl Fn(String) -> std::pin::Pin<Box<dyn Future<Output = Answer> + Send>>>
    {
        AdvertisedName::new("node.example", addr("0.0.0.0:7646"), answering(answers))
            .expect("the name is of the right form")
    }

    fn unknown() -> Answer {
        Err(io::ErrorKind::NotFound.into())
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_does_not_resolve_is_tried_for_a_while_at_the_start() {
        let late = named([unknown(), unknown(), Ok(vec![addr("10.0.0.1:0")])]);
        assert_eq!(late.resolve_first().await.ok(), Some(addr("10.0.0.1:7646")));

        let began = Instant::now();
        let never = named((0..100).map(|_| unknown())).resolve_first().await;
        assert!(matches!(never, Err(StartError::AdvertisedName { .. })), "{never:?}");
        assert!(began.elapsed() >= MAX_START_TIME);
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_is_followed_and_its_last_address_is_kept_while_it_has_none() {
        let [a, b, c] = ["10.0.0.1:0", "10.0.0.2:0", "10.0.0.3:9"].map(addr);
        let [to_b, to_c] = [addr("10.0.0.2:7646"), c];
        let answers = [
            Ok(vec![a]),
            unknown(),
            // It has the present one still.
            Ok(vec![b, a]),
            Ok(vec![c, b]),
            Ok(vec![b]),
            Ok(vec![]),
            Ok(vec![c]),
        ];
        let (commands, mut received) = mpsc::channel(8);
        let random = Random::new(1);
        let following = named(answers).follow(addr("10.0.0.1:7646"), commands.downgrade(), random);
        let following = tokio::spawn(following);
        for expected in [to_b, to_c] {
            match received.recv().await {
                Some(Command::Moved { addr }) => assert_eq!(addr, expected),
                other => panic!("{other:?}"),
            }
        }
        assert!(received.try_recv().is_err());
        following.abort();
    }

    #[test]
    fn an_address_is_one_that_others_reach_if_possible_of_the_bound_family() {
        let [four, six] = ["10.0.0.1:1", "[fd00::1]:1"].map(addr);
        let [loopback, any] = ["127.0.1.1:1", "0.0.0.0:1"].map(addr);
        for (found, bound, expected) in [
            (&[four, six][..], "0.0.0.0:1", Some(four)),
            (&[four, six], "[::]:1", Some(six)),
            (&[six], "0.0.0.0:1", Some(six)),
            (&[loopback, four], "0.0.0.0:1", Some(four)),
            (&[loopback, any], "0.0.0.0:1", None),
            (&[loopback], "127.0.0.1:1", Some(loopback)),
        ] {
            assert_eq!(choose(found, None, addr(bound)), expected, "{found:?} at {bound}");
        }
    }

    #[test]
    fn a_name_of_another_form_is_refused_at_once() {
        for name in ["", ":7646", "node.example:port", "node.example:70000"] {
            let refused = AdvertisedName::new(name, addr("0.0.0.0:7646"), |_| async { unknown() });
            assert!(matches!(refused, Err(StartError::AdvertisedName { .. })), "{name:?}");
        }
    }
}
