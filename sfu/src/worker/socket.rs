//! A worker's UDP socket: one of several on the same port.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, RawFd};

use quinn_udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

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
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        let socket = std::net::UdpSocket::from(socket);
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        // Smaller buffers still work; they only drop earlier under a burst.
        let _ = state.set_recv_buffer_size(UdpSockRef::from(&socket), BUFFER_BYTES);
        let _ = state.set_send_buffer_size(UdpSockRef::from(&socket), BUFFER_BYTES);
        Ok(Self { socket: mio::net::UdpSocket::from_std(socket), state })
    }

    /// What the kernel granted for received and for sent datagrams, in bytes.
    ///
    /// # Errors
    /// If the kernel does not say.
    pub fn buffers(&self) -> io::Result<(usize, usize)> {
        let socket = SockRef::from(&self.socket);
        // Linux tells twice what it was asked for, its own bookkeeping included (socket(7)).
        Ok((socket.recv_buffer_size()? / 2, socket.send_buffer_size()? / 2))
    }

    /// Says in the log which kernel setting makes room, if less was granted than asked for.
    pub fn check_buffers(&self) {
        match self.buffers() {
            Ok((received, sent)) if received.min(sent) < BUFFER_BYTES => tracing::warn!(
                received_kib = received / 1024,
                sent_kib = sent / 1024,
                wanted_kib = BUFFER_BYTES / 1024,
                "the kernel grants small socket buffers, so large bursts lose packets: raise net.core.rmem_max and \
                 net.core.wmem_max on this node"
            ),
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "the kernel does not say how large the socket's buffers are"),
        }
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

    /// Datagrams one message may hold when the kernel cuts it (GSO); 1 if it does not.
    pub fn max_gso_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    /// For system calls of [`super::send`].
    pub fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    #[cfg(test)]
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    #[cfg(test)]
    pub fn receive_one(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.recv(buffer)
    }

    /// Sends one datagram without waiting, from `local` if that is given.
    pub fn send(&self, remote: SocketAddr, local: Option<IpAddr>, payload: &[u8]) -> io::Result<()> {
        let transmit =
            Transmit { destination: remote, ecn: None, contents: payload, segment_size: None, src_ip: local };
        self.state.try_send(UdpSockRef::from(&self.socket), &transmit)
    }
}

impl AsFd for MediaSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
