//! The UDP socket where the platform tells it nothing of ports that are refused: quinn's own.

use std::{future::pending, io, net::SocketAddr, sync::Arc};

use quinn::{AsyncUdpSocket, Runtime, TokioRuntime};

/// A UDP socket.
#[derive(Debug)]
pub(crate) struct Socket(Arc<dyn AsyncUdpSocket>);

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
    pub(crate) fn new(socket: std::net::UdpSocket) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self(TokioRuntime.wrap_udp_socket(socket)?)))
    }

    /// As the endpoint takes it.
    pub(crate) fn for_endpoint(&self) -> Arc<dyn AsyncUdpSocket> {
        self.0.clone()
    }

    /// Waits for ever.
    pub(crate) async fn refusal(&self) -> io::Result<PortRefusal> {
        pending().await
    }
}
