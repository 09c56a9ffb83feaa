//! Receive buffers of a worker, filled by one system call at a time.

use std::io::IoSliceMut;

use arrayvec::ArrayVec;
use quinn_udp::{BATCH_SIZE, RecvMeta};
use sfu_core::engine::path::Path;

use super::socket::MediaSocket;

/// Largest datagram taken in. Media stays below 1500 bytes; nothing sensible is larger.
const DATAGRAM_BYTES: usize = 2048;

#[derive(Debug)]
pub struct Batch {
    memory: Vec<u8>,
    buffer_bytes: usize,
    meta: [RecvMeta; BATCH_SIZE],
}

impl Batch {
    pub fn new(socket: &MediaSocket) -> Self {
        let buffer_bytes = DATAGRAM_BYTES * socket.gro_segments().max(1);
        Self { memory: vec![0; buffer_bytes * BATCH_SIZE], buffer_bytes, meta: [RecvMeta::default(); BATCH_SIZE] }
    }

    /// Receives what there is, and hands each datagram to `take`. Returns how many there were; 0 when the socket is
    /// empty. Errors other than "nothing there" are the network's news about earlier datagrams and are skipped.
    pub fn receive(&mut self, socket: &MediaSocket, mut take: impl FnMut(Path, &mut [u8])) -> usize {
        let mut slices: ArrayVec<IoSliceMut<'_>, BATCH_SIZE> =
            self.memory.chunks_exact_mut(self.buffer_bytes).map(IoSliceMut::new).collect();
        let Ok(received) = socket.receive(&mut slices, &mut self.meta) else { return 0 };
        let mut datagrams = 0;
        for (meta, slice) in self.meta.iter().zip(&mut slices).take(received) {
            let path = Path::Udp { remote: meta.addr, local: meta.dst_ip };
            for datagram in slice[..meta.len].chunks_mut(meta.stride.max(1)) {
                datagrams += 1;
                take(path, datagram);
            }
        }
        datagrams
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

    use sfu_core::engine::path::Transmit;

    use super::super::send::BatchSender;
    use super::*;

    fn socket() -> (MediaSocket, SocketAddr) {
        let socket = MediaSocket::open((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = socket.local_addr().unwrap();
        (socket, address)
    }

    fn to(remote: SocketAddr, payload: &[u8]) -> Transmit {
        Transmit { path: Path::Udp { remote, local: None }, payload: payload.to_vec() }
    }

    /// All there is: from where, and what.
    fn receive(batch: &mut Batch, socket: &MediaSocket) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut all = Vec::new();
        let mut take = |path: Path, datagram: &mut [u8]| {
            let Path::Udp { remote, .. } = path else { unreachable!("it came over UDP") };
            all.push((remote, datagram.to_vec()));
        };
        while batch.receive(socket, &mut take) > 0 {}
        all
    }

    #[test]
    fn datagrams_the_kernel_joined_are_handed_out_one_by_one() {
        let (sending, from) = socket();
        let (receiving, at) = socket();
        assert!(receiving.gro_segments() > 1, "this kernel joins none");
        let lengths = [200, 200, 200, 90];
        let datagrams: Vec<Transmit> = (0..).zip(lengths).map(|(fill, length)| to(at, &vec![fill; length])).collect();
        assert_eq!(BatchSender::new(&sending).send(&sending, &datagrams), 0, "none is lost");
        let mut batch = Batch::new(&receiving);
        let received = receive(&mut batch, &receiving);
        let expected: Vec<_> = datagrams.into_iter().map(|datagram| (from, datagram.payload)).collect();
        assert_eq!(received, expected);
    }

    #[test]
    fn a_client_that_is_gone_is_no_trouble_for_others() {
        let (server, at) = socket();
        let mut sender = BatchSender::new(&server);
        let gone = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let here = client.local_addr().unwrap();
        // For each datagram to the closed port, the kernel gets word that nobody is there.
        for _ in 0..3 {
            assert_eq!(sender.send(&server, &[to(gone, b"lost"), to(gone, b"lost"), to(here, b"media")]), 0);
            let mut buffer = [0; 16];
            assert_eq!(client.recv(&mut buffer).unwrap(), 5);
            client.send_to(b"answer", at).unwrap();
            assert_eq!(receive(&mut Batch::new(&server), &server), [(here, b"answer".to_vec())]);
        }
    }
}
