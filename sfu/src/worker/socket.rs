//! A worker's UDP socket: one of several on the same port.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;

use quinn_udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol, Socket, Type};

/// Kernel buffers. A second of a busy call is some megabytes; the kernel may grant less (`net.core.rmem_max`).
const BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// A non-blocking UDP socket with the kernel's batching and segmentation where it has them.
#[derive(Debug)]
pub struct MediaSocket {
    socket: mio::net::UdpSocket,
    state: UdpSocketState,
}

impl MediaSocket {
    /// Binds `address` with `SO_REUSEPORT`, so that every worker may have it.
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_reuse_port(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(false)?;
        }
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        let socket = std::net::UdpSocket::from(socket);
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        // Smaller buffers still work; they only drop earlier under a burst.
        let _ = state.set_recv_buffer_size(UdpSockRef::from(&socket), BUFFER_BYTES);
        let _ = state.set_send_buffer_size(UdpSockRef::from(&socket), BUFFER_BYTES);
        Ok(Self { socket: mio::net::UdpSocket::from_std(socket), state })
    }

    pub fn source(&mut self) -> &mut mio::net::UdpSocket {
        &mut self.socket
    }

    /// Datagrams one received buffer may hold when the kernel joins them (GRO).
    pub fn gro_segments(&self) -> usize {
        self.state.gro_segments()
    }

    pub fn receive(&self, buffers: &mut [IoSliceMut<'_>], meta: &mut [RecvMeta]) -> io::Result<usize> {
        self.state.recv(UdpSockRef::from(&self.socket), buffers, meta)
    }

    /// Sends without waiting. An error is one datagram lost: `WouldBlock` when the kernel's buffer is full, or what
    /// an earlier datagram's ICMP answer said.
    pub fn send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.state.try_send(UdpSockRef::from(&self.socket), transmit)
    }
}
