//! The network under a peer connection: a UDP socket, or ICE over TCP.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context as _, Result};
use str0m::Candidate;
use str0m::net::{Protocol, TcpType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, UdpSocket};
use tokio::sync::mpsc;

/// Largest datagram of a peer connection.
pub const MAX_DATAGRAM: usize = 2000;
/// Datagrams that may wait for a slow connection.
const QUEUE: usize = 1024;

/// How a client reaches the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// By UDP, from this address.
    Udp(Ipv4Addr),
    /// By TCP only: nothing it sends by UDP arrives.
    Tcp { from: Ipv4Addr, server: SocketAddr },
    /// Not at all: what it sends is lost.
    Nothing,
}

/// A socket and its addresses.
#[derive(Debug)]
pub struct Link {
    local: SocketAddr,
    socket: Socket,
}

#[derive(Debug)]
enum Socket {
    Udp(UdpSocket),
    Tcp { server: SocketAddr, incoming: mpsc::Receiver<Vec<u8>>, outgoing: mpsc::Sender<Vec<u8>> },
    Deaf(UdpSocket),
}

impl Link {
    pub async fn open(reach: Reach) -> Result<Self> {
        match reach {
            Reach::Udp(from) => {
                let socket = UdpSocket::bind((from, 0)).await?;
                Ok(Self { local: socket.local_addr()?, socket: Socket::Udp(socket) })
            }
            Reach::Nothing => {
                let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
                Ok(Self { local: socket.local_addr()?, socket: Socket::Deaf(socket) })
            }
            Reach::Tcp { from, server } => {
                let socket = TcpSocket::new_v4()?;
                socket.bind((from, 0).into())?;
                let stream = socket.connect(server).await.context("no media over TCP")?;
                stream.set_nodelay(true)?;
                let local = stream.local_addr()?;
                let (reader, writer) = stream.into_split();
                let (received, incoming) = mpsc::channel(QUEUE);
                let (outgoing, to_send) = mpsc::channel(QUEUE);
                tokio::spawn(read_frames(reader, received));
                tokio::spawn(write_frames(writer, to_send));
                Ok(Self { local, socket: Socket::Tcp { server, incoming, outgoing } })
            }
        }
    }

    pub const fn local(&self) -> SocketAddr {
        self.local
    }

    pub const fn protocol(&self) -> Protocol {
        match self.socket {
            Socket::Udp(_) | Socket::Deaf(_) => Protocol::Udp,
            Socket::Tcp { .. } => Protocol::Tcp,
        }
    }

    pub fn candidate(&self) -> Result<Candidate> {
        Ok(match self.protocol() {
            Protocol::Tcp => Candidate::builder().tcp().host(self.local).tcptype(TcpType::Active).build()?,
            _ => Candidate::host(self.local, "udp")?,
        })
    }

    /// Sends a datagram; what does not fit is lost, as on any network.
    pub fn send(&self, protocol: Protocol, destination: SocketAddr, datagram: &[u8]) {
        match &self.socket {
            Socket::Udp(socket) if protocol == Protocol::Udp => {
                let _ = socket.try_send_to(datagram, destination);
            }
            Socket::Tcp { outgoing, server, .. } if protocol == Protocol::Tcp && destination == *server => {
                let _ = outgoing.try_send(datagram.to_vec());
            }
            _ => (),
        }
    }

    /// The next datagram and whom it is from. Safe to be cancelled. An ended TCP connection is silent for ever.
    pub async fn receive(&mut self, buffer: &mut [u8; MAX_DATAGRAM]) -> Result<(usize, SocketAddr)> {
        match &mut self.socket {
            Socket::Udp(socket) | Socket::Deaf(socket) => Ok(socket.recv_from(buffer).await?),
            Socket::Tcp { server, incoming, .. } => match incoming.recv().await {
                Some(datagram) => {
                    let length = datagram.len().min(buffer.len());
                    buffer[..length].copy_from_slice(&datagram[..length]);
                    Ok((length, *server))
                }
                None => std::future::pending().await,
            },
        }
    }
}

/// Frames of RFC 4571: two bytes of length, then a datagram.
async fn read_frames(mut reader: OwnedReadHalf, received: mpsc::Sender<Vec<u8>>) {
    while let Ok(length) = reader.read_u16().await {
        let mut frame = vec![0; usize::from(length)];
        if reader.read_exact(&mut frame).await.is_err() || received.send(frame).await.is_err() {
            return;
        }
    }
}

async fn write_frames(mut writer: OwnedWriteHalf, mut to_send: mpsc::Receiver<Vec<u8>>) {
    while let Some(datagram) = to_send.recv().await {
        let Ok(length) = u16::try_from(datagram.len()) else { continue };
        let frame = [&length.to_be_bytes(), datagram.as_slice()].concat();
        if writer.write_all(&frame).await.is_err() {
            return;
        }
    }
}
