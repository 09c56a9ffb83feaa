//! Takes datagrams from a socket, many with one system call.

use std::io::IoSliceMut;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::RawFd;

use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg};

/// Datagrams a call takes. A burst of a screen is 8; when fewer come, the socket is empty without asking it again.
const BATCH: usize = 16;
/// No datagram of a calls server is longer.
const DATAGRAM_BYTES: usize = 2048;

/// Buffers, used for one socket after the other.
#[derive(Debug)]
pub struct Receiver {
    headers: MultiHeaders<SockaddrIn>,
    memory: Vec<u8>,
    received: [(usize, SocketAddr); BATCH],
}

impl Default for Receiver {
    fn default() -> Self {
        Self {
            headers: MultiHeaders::preallocate(BATCH, None),
            memory: vec![0; BATCH * DATAGRAM_BYTES],
            received: [(0, SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0))); BATCH],
        }
    }
}

impl Receiver {
    /// Takes what the socket has until it is empty, and hands each datagram to `take`. Returns how many there were.
    pub fn drain(&mut self, socket: RawFd, mut take: impl FnMut(SocketAddr, &mut [u8])) -> usize {
        let mut total = 0;
        loop {
            let received = self.receive(socket);
            for (datagram, (length, from)) in self.memory.chunks_mut(DATAGRAM_BYTES).zip(&self.received[..received]) {
                take(*from, &mut datagram[..*length]);
            }
            total += received;
            if received < BATCH {
                return total;
            }
        }
    }

    /// Errors are the network's news about datagrams sent earlier; what they mean shows in what does not come.
    fn receive(&mut self, socket: RawFd) -> usize {
        let mut memory = self.memory.chunks_mut(DATAGRAM_BYTES);
        let mut slices: [[IoSliceMut<'_>; 1]; BATCH] =
            std::array::from_fn(|_| [IoSliceMut::new(memory.next().unwrap_or_default())]);
        let Ok(messages) = recvmmsg(socket, &mut self.headers, slices.iter_mut(), MsgFlags::MSG_DONTWAIT, None) else {
            return 0;
        };
        let mut n = 0;
        for (message, received) in messages.zip(&mut self.received) {
            let from = message.address.map_or(received.1, |from| SocketAddr::V4(from.into()));
            *received = (message.bytes, from);
            n += 1;
        }
        n
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsRawFd as _;

    use super::*;

    #[test]
    fn a_socket_is_emptied_in_order() {
        let (socket, sender) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        for number in 0..20 {
            sender.send_to(&[number, 1, 2], socket.local_addr().unwrap()).unwrap();
        }
        let mut receiver = Receiver::default();
        let mut seen = Vec::new();
        let total = receiver.drain(socket.as_raw_fd(), |from, datagram| {
            assert_eq!((from, datagram.len()), (sender.local_addr().unwrap(), 3));
            seen.push(datagram[0]);
        });
        assert_eq!((total, seen), (20, (0..20).collect()));
        assert_eq!(receiver.drain(socket.as_raw_fd(), |_, _| panic!("empty")), 0);
    }
}
