//! Where a worker's datagrams leave: the UDP socket, or the queue of a TCP connection.

use std::collections::HashMap;

use quinn_udp::Transmit as UdpTransmit;
use sfu_core::engine::path::{Path, Transmit};
use tokio::sync::mpsc;

use super::socket::MediaSocket;

#[derive(Debug, Default)]
pub struct Outlet {
    connections: HashMap<Path, mpsc::Sender<Vec<u8>>>,
    /// Datagrams that could not be sent: full buffers, unreachable clients, slow TCP connections.
    pub lost: u64,
}

impl Outlet {
    pub fn open(&mut self, path: Path, queue: mpsc::Sender<Vec<u8>>) {
        self.connections.insert(path, queue);
    }

    pub fn close(&mut self, path: &Path) {
        self.connections.remove(path);
    }

    /// Sends one datagram; gives its buffer back when it is free again.
    pub fn send(&mut self, socket: &MediaSocket, transmit: Transmit) -> Option<Vec<u8>> {
        match transmit.path {
            Path::Udp { remote, local } => {
                let sent = socket.send(&UdpTransmit {
                    destination: remote,
                    ecn: None,
                    contents: &transmit.payload,
                    segment_size: None,
                    src_ip: local,
                });
                self.lost += u64::from(sent.is_err());
                Some(transmit.payload)
            }
            Path::Tcp { .. } => {
                let queue = self.connections.get(&transmit.path);
                let sent = queue.is_some_and(|queue| queue.try_send(transmit.payload).is_ok());
                self.lost += u64::from(!sent);
                None
            }
        }
    }
}
