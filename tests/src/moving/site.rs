//! An engine and its sockets: one port, at as many addresses of this machine as clients are told.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use sfu_core::engine::path::{Path, Transmit};
use sfu_core::engine::{Engine, EngineConfig};
use sfu_core::time::NtpTime;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

/// Larger than any datagram of a browser's.
const MAX_DATAGRAM: usize = 2048;

#[derive(Debug)]
pub struct Site {
    number: usize,
    pub engine: Engine,
    port: u16,
    sockets: BTreeMap<IpAddr, Arc<UdpSocket>>,
    incoming: mpsc::Sender<Datagram>,
    /// Datagrams that the kernel did not take.
    pub unsent: u64,
}

/// What came, and to which engine.
#[derive(Debug)]
pub struct Datagram {
    pub site: usize,
    pub path: Path,
    pub bytes: Vec<u8>,
}

impl Site {
    pub fn new(number: usize, wall_clock: NtpTime, incoming: mpsc::Sender<Datagram>) -> Self {
        let config = EngineConfig { worker: number as u8, wall_clock, seed: number as u64, ..EngineConfig::default() };
        let engine = Engine::new(config);
        Self { number, engine, port: 0, sockets: BTreeMap::new(), incoming, unsent: 0 }
    }

    /// Listens at an address, always on the same port; returns both.
    pub async fn listen(&mut self, address: IpAddr) -> Result<SocketAddr> {
        if !self.sockets.contains_key(&address) {
            let wanted = SocketAddr::new(address, self.port);
            let socket = UdpSocket::bind(wanted).await.with_context(|| format!("failed to listen at {wanted}"))?;
            self.port = socket.local_addr()?.port();
            let socket = Arc::new(socket);
            tokio::spawn(receive(self.number, address, Arc::clone(&socket), self.incoming.clone()));
            self.sockets.insert(address, socket);
        }
        Ok(SocketAddr::new(address, self.port))
    }

    /// Sends from the address that the client sent to.
    pub fn send(&mut self, transmit: Transmit) {
        if let Path::Udp { remote, local: Some(local) } = transmit.path
            && let Some(socket) = self.sockets.get(&local)
        {
            self.unsent += u64::from(socket.try_send_to(&transmit.payload, remote).is_err());
        }
        self.engine.recycle(transmit.payload);
    }
}

/// Hands over what comes, until nobody takes it.
async fn receive(site: usize, local: IpAddr, socket: Arc<UdpSocket>, incoming: mpsc::Sender<Datagram>) {
    let mut buffer = [0; MAX_DATAGRAM];
    loop {
        // An error is of a client that has gone (ICMP).
        let Ok((length, remote)) = socket.recv_from(&mut buffer).await else { continue };
        let path = Path::Udp { remote, local: Some(local) };
        if incoming.send(Datagram { site, path, bytes: buffer[..length].to_vec() }).await.is_err() {
            return;
        }
    }
}
