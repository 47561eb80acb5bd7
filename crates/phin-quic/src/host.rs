//! Asks the kernel of a peer's host whether the peer's process and the host are there, with plain UDP datagrams.
//!
//! A connected UDP socket reports an ICMP *port unreachable* (RFC 792, RFC 4443 §3.1) as `ECONNREFUSED`. The port of
//! a running process is never refused, not even while the process is stopped. The port of a process that ended is
//! always refused, unless a firewall hides it. A port that no process uses shows whether the host is there at all.
//!
//! Linux answers a burst of six such datagrams and then one per second to each source address, so each host has a
//! budget here. Once it is spent, a missing answer means nothing.

use std::{
    collections::BTreeMap,
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    net::UdpSocket,
    sync::Semaphore,
    time::{Instant, timeout},
};

/// Asks hosts about peers. Cheap to clone; all clones share the budgets.
///
/// ```
/// use phin_quic::{HostAnswer, HostQuestion, HostQuestions};
/// use std::time::Duration;
///
/// # async fn run() {
/// let hosts = HostQuestions::new(9);
/// let (peer, patience) = ("192.0.2.7:7646".parse().unwrap(), Duration::from_millis(200));
/// if hosts.ask(peer, HostQuestion::IsPeerThere, patience).await == HostAnswer::PortRefused {
///     println!("the process has ended, and its host is up");
/// }
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct HostQuestions {
    shared: Arc<Shared>,
}

/// A question to a host.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HostQuestion {
    /// Is the host there? Sends a datagram to its closed port.
    IsThere,
    /// Is the peer's process there? Sends a datagram to the peer's port, then one to the closed port.
    IsPeerThere,
}

/// The answer of a host.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HostAnswer {
    /// The host refused the peer's port: no process has it.
    PortRefused,
    /// The host is there, and did not refuse the peer's port if it was asked about it.
    IsThere,
    /// No answer: the host is not there, or a firewall hides it.
    Nothing,
    /// The host was not asked, or not often enough, because its budget is spent or sending failed.
    Unknown,
}

#[derive(Debug)]
struct Shared {
    closed_port: u16,
    under_way: Semaphore,
    /// The budget left for each host; at most [`MAX_HOSTS`] entries.
    budgets: Mutex<BTreeMap<IpAddr, Budget>>,
    not_asked: AtomicU64,
}

#[derive(Clone, Copy, Debug)]
struct Budget {
    questions: f64,
    at: Instant,
}

impl HostQuestions {
    /// Creates a set of budgets. `closed_port` is a port that no process uses, such as 9 (*discard*).
    pub fn new(closed_port: u16) -> Self {
        let under_way = Semaphore::new(MAX_QUESTIONS);
        let (budgets, not_asked) = (Mutex::default(), AtomicU64::new(0));
        Self { shared: Arc::new(Shared { closed_port, under_way, budgets, not_asked }) }
    }

    /// Asks the host of a peer, and waits for `patience` for the answer to each datagram: at most twice. Cancelling is safe.
    pub async fn ask(
        &self,
        peer: SocketAddr,
        question: HostQuestion,
        patience: Duration,
    ) -> HostAnswer {
        // Many questions at once have one common cause; some answers are enough.
        let Ok(_permit) = self.shared.under_way.try_acquire() else {
            self.shared.not_asked.fetch_add(1, Ordering::Relaxed);
            return HostAnswer::Unknown;
        };
        if question == HostQuestion::IsPeerThere && self.spend(peer.ip()) {
            match self.send_to(peer, patience).await {
                Reply::Refused => return HostAnswer::PortRefused,
                Reply::Nothing | Reply::Answer => {}
                Reply::Unknown => return HostAnswer::Unknown,
            }
        }
        if !self.spend(peer.ip()) {
            self.shared.not_asked.fetch_add(1, Ordering::Relaxed);
            return HostAnswer::Unknown;
        }
        let closed = SocketAddr::new(peer.ip(), self.shared.closed_port);
        match self.send_to(closed, patience).await {
            Reply::Refused | Reply::Answer => HostAnswer::IsThere,
            Reply::Nothing => HostAnswer::Nothing,
            Reply::Unknown => HostAnswer::Unknown,
        }
    }

    /// Returns the number of questions not asked, because too many were under way or the host's budget was spent.
    pub fn not_asked(&self) -> u64 {
        self.shared.not_asked.load(Ordering::Relaxed)
    }

    /// Takes one question from the budget of a host. Returns `false` if none is left.
    fn spend(&self, host: IpAddr) -> bool {
        // The kernel does not limit errors on loopback.
        if host.is_loopback() {
            return true;
        }
        let now = Instant::now();
        let mut budgets = self.shared.budgets.lock().unwrap_or_else(|poison| poison.into_inner());
        if budgets.len() >= MAX_HOSTS && !budgets.contains_key(&host) {
            // A host whose budget is full again needs no entry.
            budgets.retain(|_, budget| now - budget.at < REFILL_TIME);
            if budgets.len() >= MAX_HOSTS {
                return false;
            }
        }
        let budget = budgets.entry(host).or_insert(Budget { questions: BURST, at: now });
        let refilled = budget.questions + (now - budget.at).as_secs_f64();
        *budget = Budget { questions: refilled.min(BURST), at: now };
        if budget.questions < 1.0 {
            return false;
        }
        budget.questions -= 1.0;
        true
    }

    async fn send_to(&self, to: SocketAddr, patience: Duration) -> Reply {
        let any: IpAddr = match to {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let Ok(socket) = UdpSocket::bind((any, 0)).await else {
            return Reply::Unknown;
        };
        let asked = async {
            socket.connect(to).await?;
            // No QUIC packet is that short, so a process that has the port ignores it.
            socket.send(&[0]).await?;
            socket.recv(&mut [0; 1]).await
        };
        match timeout(patience, asked).await {
            Ok(Ok(_)) => Reply::Answer,
            Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => Reply::Refused,
            // An *unreachable* error comes from a router, not from the host.
            Ok(Err(error)) if is_unreachable(error.kind()) => Reply::Nothing,
            Ok(Err(_)) => Reply::Unknown,
            Err(_) => Reply::Nothing,
        }
    }
}

enum Reply {
    Refused,
    Answer,
    Nothing,
    Unknown,
}

const fn is_unreachable(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable)
}

/// Questions under way at once. Further ones are answered [`HostAnswer::Unknown`].
const MAX_QUESTIONS: usize = 64;
/// Hosts with a budget that is not full. Further hosts are not asked.
const MAX_HOSTS: usize = 4_096;
/// Datagrams that a host answers in a burst. Linux (`icmp_ratelimit`) answers six; one is left for others on this
/// machine.
const BURST: f64 = 5.0;
/// The time in which a spent budget is full again, at one question per second.
const REFILL_TIME: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn questions() -> HostQuestions {
        // The closed port of these tests is one that was just given back.
        let free = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        HostQuestions::new(free.local_addr().unwrap().port())
    }

    const PATIENCE: Duration = Duration::from_millis(500);

    #[tokio::test]
    async fn a_port_without_process_is_refused() {
        let closed = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let answer = questions().ask(closed, HostQuestion::IsPeerThere, PATIENCE).await;
        assert_eq!(answer, HostAnswer::PortRefused);
    }

    #[tokio::test]
    async fn a_process_that_reads_nothing_is_there() {
        let stopped = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let addr = stopped.local_addr().unwrap();
        for question in [HostQuestion::IsPeerThere, HostQuestion::IsThere] {
            assert_eq!(questions().ask(addr, question, PATIENCE).await, HostAnswer::IsThere);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_spent_budget_means_unknown_and_fills_up_again() {
        let questions = questions();
        let host = "192.0.2.1".parse().unwrap();
        let spent = (0..10).filter(|_| questions.spend(host)).count();
        assert_eq!(spent, 5);
        let answer = questions.ask((host, 7).into(), HostQuestion::IsThere, PATIENCE).await;
        assert_eq!(answer, HostAnswer::Unknown);
        assert_eq!(questions.not_asked(), 1);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!((0..10).filter(|_| questions.spend(host)).count(), 2);
    }
}
