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
