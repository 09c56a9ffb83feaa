//! Where a worker's datagrams leave: the UDP socket, or the queue of a TCP connection.

use std::collections::HashMap;
use std::time::Duration;

use sfu_core::engine::path::{Path, Transmit};
use sfu_core::time::Time;
use tokio::sync::mpsc;

use super::send::BatchSender;
use super::socket::MediaSocket;

/// Longest life of a TCP connection that no authentic check has proven to be a client's. A client checks at once.
const PROOF_LIMIT: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub struct Outlet {
    udp: BatchSender,
    connections: HashMap<Path, Connection>,
    /// Datagrams that could not be sent: full buffers, unreachable clients, slow TCP connections.
    pub lost: u64,
}

/// A TCP connection. It ends when its queue is dropped.
#[derive(Debug)]
struct Connection {
    queue: mpsc::Sender<Vec<u8>>,
    opened_at: Time,
}

impl Outlet {
    pub fn new(socket: &MediaSocket) -> Self {
        Self { udp: BatchSender::new(socket), connections: HashMap::new(), lost: 0 }
    }

    pub fn open(&mut self, now: Time, path: Path, queue: mpsc::Sender<Vec<u8>>) {
        self.connections.insert(path, Connection { queue, opened_at: now });
    }

    /// Hangs up on connections that are not, or no longer, a client's. Returns how many.
    pub fn hang_up_strangers(&mut self, now: Time, is_client: impl Fn(&Path) -> bool) -> u64 {
        let before = self.connections.len();
        self.connections.retain(|path, connection| now.since(connection.opened_at) < PROOF_LIMIT || is_client(path));
        (before - self.connections.len()) as u64
    }

    pub fn close(&mut self, path: &Path) {
        self.connections.remove(path);
    }

    /// Queues a datagram on its TCP connection.
    pub fn send_tcp(&mut self, transmit: Transmit) {
        let connection = self.connections.get(&transmit.path);
        let sent = connection.is_some_and(|open| open.queue.try_send(transmit.payload).is_ok());
        self.lost += u64::from(!sent);
    }

    /// What follows is of another look at the sockets.
    pub fn begin_round(&mut self) {
        self.udp.begin_round();
    }

    /// Sends UDP datagrams.
    pub fn send_udp(&mut self, socket: &MediaSocket, datagrams: &[Transmit]) {
        self.lost += self.udp.send(socket, datagrams);
    }
}

#[cfg(test)]
mod tests {
    use mpsc::error::TryRecvError;

    use super::*;

    #[test]
    fn a_connection_without_an_authentic_check_is_hung_up_on() {
        let path = |connection| Path::Tcp { remote: ([192, 0, 2, 1], 50_000).into(), connection };
        let socket = MediaSocket::open(([127, 0, 0, 1], 0).into()).unwrap();
        let mut outlet = Outlet::new(&socket);
        let (queue, mut client) = mpsc::channel(1);
        outlet.open(Time::from_millis(5_000), path(1), queue);
        let (queue, mut stranger) = mpsc::channel(1);
        outlet.open(Time::from_millis(5_000), path(2), queue);
        let is_client = |known: &Path| *known == path(1);
        assert_eq!(outlet.hang_up_strangers(Time::from_millis(14_999), is_client), 0);
        assert_eq!(outlet.hang_up_strangers(Time::from_millis(15_000), is_client), 1);
        assert_eq!(stranger.try_recv(), Err(TryRecvError::Disconnected));
        assert_eq!(client.try_recv(), Err(TryRecvError::Empty));
        assert_eq!(outlet.hang_up_strangers(Time::from_millis(15_001), |_| false), 1, "its transport ended");
        assert_eq!(client.try_recv(), Err(TryRecvError::Disconnected));
    }
}
