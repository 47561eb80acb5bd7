//! The UDP socket on platforms other than Linux: quinn's own, which does not report refused ports.
//!
//! Tests compile it on Linux as well, because they run there.

use std::{
    future::pending,
    io::{self, IoSliceMut},
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use quinn::{
    AsyncUdpSocket, Runtime, TokioRuntime, UdpPoller,
    udp::{RecvMeta, Transmit},
};

use crate::gate::Gate;

/// A UDP socket behind a gate.
#[derive(Debug)]
pub(crate) struct Socket {
    io: Arc<dyn AsyncUdpSocket>,
    gate: Arc<Gate>,
}

/// A host's refusal of a port. Never constructed here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(dead_code, reason = "this socket reports no refusals")]
pub(crate) enum PortRefusal {
    /// No process has the port at this address.
    Of(SocketAddr),
    /// It is forged, or very late.
    Doubtful,
}

impl Socket {
    /// Wraps a bound socket. Must be called inside a tokio runtime.
    pub(crate) fn new(socket: std::net::UdpSocket, gate: Arc<Gate>) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self { io: TokioRuntime.wrap_udp_socket(socket)?, gate }))
    }

    /// Never completes: this socket reports no refusals.
    pub(crate) async fn refusal(&self) -> io::Result<PortRefusal> {
        pending().await
    }
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.io.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.gate.sent(transmit);
        self.io.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let received = ready!(self.io.poll_recv(cx, bufs, meta))?;
        self.gate.received(bufs, &mut meta[..received]);
        Poll::Ready(Ok(received))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.local_addr()
    }

    fn may_fragment(&self) -> bool {
        self.io.may_fragment()
    }

    fn max_transmit_segments(&self) -> usize {
        self.io.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.io.max_receive_segments()
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, pin::pin, task::Waker};

    use super::*;

    fn bind() -> Arc<Socket> {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        Socket::new(socket, Gate::new(Arc::default())).unwrap()
    }

    #[tokio::test]
    async fn packets_arrive_and_nothing_is_reported_as_refused() {
        let (sender, receiver) = (bind(), bind());
        assert!(sender.max_transmit_segments() > 0 && receiver.max_receive_segments() > 0);
        let destination = receiver.local_addr().unwrap();
        let transmit = Transmit {
            destination,
            ecn: None,
            contents: b"hello",
            segment_size: None,
            src_ip: None,
        };
        let mut writable = sender.clone().create_io_poller();
        while sender.try_send(&transmit).is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock) {
            poll_fn(|cx| writable.as_mut().poll_writable(cx)).await.unwrap();
        }

        let (mut buf, mut meta) = ([0; 64], [RecvMeta::default()]);
        let mut bufs = [IoSliceMut::new(&mut buf)];
        let received = poll_fn(|cx| receiver.poll_recv(cx, &mut bufs, &mut meta)).await.unwrap();
        assert_eq!((received, meta[0].addr), (1, sender.local_addr().unwrap()));
        assert_eq!(&buf[..meta[0].len], b"hello");
        let refusal = pin!(sender.refusal()).poll(&mut Context::from_waker(Waker::noop()));
        assert!(refusal.is_pending());
    }
}
