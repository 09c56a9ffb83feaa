//! Our addresses as ICE candidates (RFC 8839, section 5.1; RFC 6544).

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Protocol {
    Udp,
    /// The client connects, we listen.
    TcpPassive,
}

/// One address a client may send its checks to.
///
/// Its `Display` is the candidate without `a=`, which is also what a trickled `RTCIceCandidateInit` carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Candidate {
    pub protocol: Protocol,
    pub address: SocketAddr,
    /// Among candidates of one protocol, the highest is tried first. [`u16::MAX`] for the only address; a host that
    /// moves a client raises it on the new one.
    pub local_preference: u16,
}

impl Candidate {
    /// RFC 8445, section 5.1.2.1. Every candidate is of type host, component 1.
    pub const fn priority(&self) -> u32 {
        // Browsers give their own host candidates the same two type preferences: UDP first, TCP if it must be.
        let type_preference: u32 = match self.protocol {
            Protocol::Udp => 126,
            Protocol::TcpPassive => 90,
        };
        (type_preference << 24) | ((self.local_preference as u32) << 8) | 255
    }

    /// Equal for candidates of the same address and protocol, which are frozen and unfrozen together.
    fn foundation(&self) -> u32 {
        let octets: &[u8] = match self.address.ip() {
            IpAddr::V4(ip) => &ip.octets(),
            IpAddr::V6(ip) => &ip.octets(),
        };
        // FNV-1a: stable over builds, unlike the standard library's hasher.
        let seed = 0x811c_9dc5 ^ self.protocol as u32;
        octets.iter().fold(seed, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (protocol, suffix) = match self.protocol {
            Protocol::Udp => ("udp", ""),
            Protocol::TcpPassive => ("tcp", " tcptype passive"),
        };
        write!(
            f,
            "candidate:{} 1 {protocol} {} {} {} typ host{suffix}",
            self.foundation(),
            self.priority(),
            self.address.ip(),
            self.address.port()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(protocol: Protocol, address: &str) -> Candidate {
        Candidate { protocol, address: address.parse().expect("valid"), local_preference: u16::MAX }
    }

    #[test]
    fn candidates_are_written_as_browsers_read_them() {
        let text = candidate(Protocol::Udp, "192.0.2.1:7882").to_string();
        assert!(text.ends_with(" 1 udp 2130706431 192.0.2.1 7882 typ host"), "{text}");
        let text = candidate(Protocol::TcpPassive, "[2001:db8::1]:7881").to_string();
        assert!(text.ends_with(" 1 tcp 1526726655 2001:db8::1 7881 typ host tcptype passive"), "{text}");
    }

    #[test]
    fn any_udp_address_comes_before_any_tcp_address() {
        let udp = Candidate { local_preference: 0, ..candidate(Protocol::Udp, "192.0.2.1:1") };
        assert!(udp.priority() > candidate(Protocol::TcpPassive, "192.0.2.1:1").priority());
    }

    #[test]
    fn foundations_tell_protocols_and_addresses_apart() {
        let udp = candidate(Protocol::Udp, "192.0.2.1:1");
        assert_eq!(udp.foundation(), candidate(Protocol::Udp, "192.0.2.1:2").foundation());
        assert_ne!(udp.foundation(), candidate(Protocol::TcpPassive, "192.0.2.1:1").foundation());
        assert_ne!(udp.foundation(), candidate(Protocol::Udp, "192.0.2.2:1").foundation());
    }
}
