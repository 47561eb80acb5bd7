//! The UDP socket where the platform tells it nothing of ports that are refused: quinn's own.

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

/// What a host said of a port.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(dead_code, reason = "nothing is heard here")]
pub(crate) enum PortRefusal {
    /// Nobody has it.
    Of(SocketAddr),
    /// It is forged, or very late.
    Doubtful,
}

impl Socket {
    /// Takes a socket that is bound, inside of a runtime.
    pub(crate) fn new(socket: std::net::UdpSocket, gate: Arc<Gate>) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self { io: TokioRuntime.wrap_udp_socket(socket)?, gate }))
    }

    /// Waits for ever.
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
