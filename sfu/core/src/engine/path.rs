//! Where a datagram came from and where its answer goes.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

/// One way between a client and this SFU: a UDP 5-tuple, or a TCP connection framed as in RFC 4571.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Path {
    Udp {
        remote: SocketAddr,
        /// The address of ours the client sent to. Answers leave from it, or the client's ICE drops them; a socket
        /// bound to all addresses would choose by route. `None` where the system does not tell.
        local: Option<IpAddr>,
    },
    Tcp {
        remote: SocketAddr,
        /// Number of the connection, given by the listener, never reused.
        connection: u64,
    },
}

impl Path {
    /// The client's address.
    pub const fn remote(&self) -> SocketAddr {
        match self {
            Self::Udp { remote, .. } | Self::Tcp { remote, .. } => *remote,
        }
    }

    pub const fn is_tcp(&self) -> bool {
        matches!(self, Self::Tcp { .. })
    }
}

/// A datagram to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    pub path: Path,
    pub payload: Vec<u8>,
}
