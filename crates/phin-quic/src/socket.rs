//! The UDP socket on Linux: like quinn's own for tokio, but it also reports refused ports.
//!
//! A host answers a packet to a port without a process with an ICMP *port unreachable*, which quotes the packet.
//! Linux queues these errors for an unconnected socket that enables `IP_RECVERR` (ip(7)). So every packet to a
//! process that has ended is a question to its host, and none of the few answers of a rate-limited kernel is wasted.
//!
//! Anyone can forge such a message: neither address is secret. But only a node on the path can quote a packet, which
//! begins with a random connection ID. A message that quotes no recent packet is ignored.

use std::{
    future::Future,
    hash::{BuildHasher, RandomState},
    io::{self, IoSliceMut},
    net::SocketAddr,
    os::fd::AsRawFd,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use nix::{
    errno::Errno,
    libc,
    sys::socket::{
        ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt,
        sockopt::{Ipv4RecvErr, Ipv6RecvErr},
    },
};
use quinn::{
    AsyncUdpSocket, UdpPoller,
    udp::{RecvMeta, Transmit, UdpSocketState},
};
use tokio::{
    io::Interest,
    net::UdpSocket,
    time::{Sleep, sleep},
};

use crate::{gate::Gate, peer::canonical};

/// A UDP socket behind a gate, which reports refusals of the packets that it sent.
#[derive(Debug)]
pub(crate) struct Socket {
    io: UdpSocket,
    state: UdpSocketState,
    gate: Arc<Gate>,
    sent: Sent,
    /// Whether the last packet found no room in the send buffer.
    is_full: AtomicBool,
}

/// A host's refusal of a port.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum PortRefusal {
    /// No process has the port at this address.
    Of(SocketAddr),
    /// The refusal quotes no recent packet: it is forged, or very late.
    Doubtful,
}

impl Socket {
    /// Wraps a bound socket. Must be called inside a tokio runtime.
    pub(crate) fn new(socket: std::net::UdpSocket, gate: Arc<Gate>) -> io::Result<Arc<Self>> {
        // Without these options no refusals are reported, and hosts are still asked. An IPv6 socket carries IPv4 too.
        let _ = setsockopt(&socket, Ipv4RecvErr, &true);
        let _ = setsockopt(&socket, Ipv6RecvErr, &true);
        let state = UdpSocketState::new((&socket).into())?;
        let (io, sent) = (UdpSocket::from_std(socket)?, Sent::new());
        Ok(Arc::new(Self { io, state, gate, sent, is_full: AtomicBool::new(false) }))
    }

    /// Waits for the next refusal. Cancel safe.
    pub(crate) async fn refusal(&self) -> io::Result<PortRefusal> {
        loop {
            let next = self.io.async_io(Interest::ERROR, || self.next_error()).await?;
            if let Some(refusal) = next {
                return Ok(refusal);
            }
        }
    }

    /// Takes the next error from the queue; `None` if it is not a refusal.
    fn next_error(&self) -> io::Result<Option<PortRefusal>> {
        let (mut quoted, mut control) = ([0; MARKED_BYTES], [0; CONTROL_BYTES]);
        let mut parts = [IoSliceMut::new(&mut quoted)];
        let (socket, flags) = (self.io.as_raw_fd(), MsgFlags::MSG_ERRQUEUE);
        let error = recvmsg::<SockaddrStorage>(socket, &mut parts, Some(&mut control), flags)?;
        let is_refusal = error.cmsgs()?.any(|message| match message {
            ControlMessageOwned::Ipv4RecvErr(error, _)
            | ControlMessageOwned::Ipv6RecvErr(error, _) => is_refusal(error),
            _ => false,
        });
        let bytes = error.bytes;
        let to = error.address.and_then(|to| {
            let v4 = to.as_sockaddr_in().map(|&to| SocketAddr::V4(to.into()));
            v4.or_else(|| to.as_sockaddr_in6().map(|&to| SocketAddr::V6(to.into())))
        });
        let Some(to) = to.map(canonical).filter(|_| is_refusal) else { return Ok(None) };
        let is_ours = bytes == MARKED_BYTES && self.sent.has(to, &quoted);
        Ok(Some(if is_ours { PortRefusal::Of(to) } else { PortRefusal::Doubtful }))
    }
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Poller { socket: self, pause: None })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.gate.sent(transmit);
        self.sent.record(transmit);
        for _ in 0..PENDING_ERRORS {
            let result = self.state.try_send((&self.io).into(), transmit);
            let is_full = matches!(&result, Err(e) if e.kind() == io::ErrorKind::WouldBlock);
            self.is_full.store(is_full, Ordering::Relaxed);
            if result.is_ok() || is_full {
                return result;
            }
            // The error may be a pending one of an earlier packet, reported once. This packet was not sent.
        }
        self.state.send((&self.io).into(), transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.io.poll_recv_ready(cx))?;
            let receive = || self.state.recv((&self.io).into(), bufs, meta);
            // An error here belongs to a packet sent earlier, and is reported once.
            if let Ok(received) = self.io.try_io(Interest::READABLE, receive) {
                self.gate.received(bufs, &mut meta[..received]);
                return Poll::Ready(Ok(received));
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.local_addr()
    }

    fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }

    fn max_transmit_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.state.gro_segments()
    }
}

/// Waits until sending may succeed again. Uses a timer, because the reactor considers a socket writable forever once
/// it has signalled an error, and waiting for that would spin.
#[derive(Debug)]
struct Poller {
    socket: Arc<Socket>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl UdpPoller for Poller {
    fn poll_writable(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.pause.is_none() && self.socket.is_full.load(Ordering::Relaxed) {
            self.pause = Some(Box::pin(sleep(FULL_PAUSE)));
        }
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        Poll::Ready(Ok(()))
    }
}

/// The packets sent recently, each as a mark: a hash of its destination and its first bytes.
#[derive(Debug)]
struct Sent {
    hasher: RandomState,
    marks: Box<[AtomicU64]>,
    next: AtomicUsize,
}

impl Sent {
    fn new() -> Self {
        let marks = (0..MAX_MARKS).map(|_| AtomicU64::new(0)).collect();
        Self { hasher: RandomState::new(), marks, next: AtomicUsize::new(0) }
    }

    fn record(&self, transmit: &Transmit<'_>) {
        let to = canonical(transmit.destination);
        // The kernel makes one packet of each segment.
        let segment = transmit.segment_size.unwrap_or(MAX_PACKET_BYTES).max(1);
        for packet in transmit.contents.chunks(segment) {
            let place = self.next.fetch_add(1, Ordering::Relaxed) % MAX_MARKS;
            self.marks[place].store(self.mark(to, packet), Ordering::Relaxed);
        }
    }

    fn has(&self, to: SocketAddr, packet: &[u8]) -> bool {
        let wanted = self.mark(to, packet);
        self.marks.iter().any(|mark| mark.load(Ordering::Relaxed) == wanted)
    }

    fn mark(&self, to: SocketAddr, packet: &[u8]) -> u64 {
        let beginning = &packet[..packet.len().min(MARKED_BYTES)];
        self.hasher.hash_one((to.ip(), to.port(), beginning))
    }
}

/// Whether an error reports that no process has the port.
const fn is_refusal(error: libc::sock_extended_err) -> bool {
    let is_from_network =
        matches!(error.ee_origin, libc::SO_EE_ORIGIN_ICMP | libc::SO_EE_ORIGIN_ICMP6);
    is_from_network && error.ee_errno == Errno::ECONNREFUSED as u32
}

/// Packets remembered. A refusal of an older one is ignored.
const MAX_MARKS: usize = 1_024;
/// Bytes of a packet compared: no more than the shortest QUIC packet has, and more than a connection ID.
const MARKED_BYTES: usize = 16;
/// The longest UDP packet.
const MAX_PACKET_BYTES: usize = 65_535;
/// Room for an error, the address of its sender, and the control messages of any packet.
const CONTROL_BYTES: usize = 256;
/// How often a packet is sent again after the kernel reported the error of an earlier one.
const PENDING_ERRORS: u32 = 2;
/// The wait before sending again after the send buffer was full.
const FULL_PAUSE: Duration = Duration::from_millis(1);

// The socket of other platforms, so that it is compiled and tested here too.
#[cfg(test)]
mod other;

#[cfg(test)]
mod tests {
    use super::*;

    fn transmit(
        to: &str,
        contents: &'static [u8],
        segment_size: Option<usize>,
    ) -> Transmit<'static> {
        let destination = to.parse().unwrap();
        Transmit { destination, ecn: None, contents, segment_size, src_ip: None }
    }

    #[test]
    fn a_packet_is_known_by_its_beginning_and_where_it_went_as_long_as_it_is_one_of_the_last() {
        let (sent, to) = (Sent::new(), "192.0.2.1:7".parse().unwrap());
        let other = |text: &str| text.parse::<SocketAddr>().unwrap();
        let first = b"a packet, and what follows";
        sent.record(&transmit("192.0.2.1:7", first, None));
        assert!(sent.has(to, b"a packet, and wh"));
        assert!(!sent.has(to, b"a packet, and wH"));
        assert!(!sent.has(to, b"a packet"), "too little to know it by");
        assert!(!sent.has(other("192.0.2.1:8"), first) && !sent.has(other("192.0.2.2:7"), first));
        for _ in 0..MAX_MARKS - 1 {
            sent.record(&transmit("192.0.2.9:7", b"another packet", None));
        }
        assert!(sent.has(to, first));
        sent.record(&transmit("192.0.2.9:7", b"another packet", None));
        assert!(!sent.has(to, first));
    }

    #[test]
    fn each_segment_is_a_packet_and_ipv4_is_ipv4_in_ipv6() {
        let sent = Sent::new();
        let contents = b"0123456789abcdefFEDCBA9876543210rest of packets!";
        sent.record(&transmit("[::ffff:192.0.2.1]:7", contents, Some(20)));
        let to = "192.0.2.1:7".parse().unwrap();
        for begins_at in [0, 20, 40] {
            assert!(sent.has(to, &contents[begins_at..]), "{begins_at}");
        }
        assert!(!sent.has(to, &contents[1..]));
    }
}
