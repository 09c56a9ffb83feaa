//! One peer connection from its parts.
//!
//! A datagram's first byte says which part it is for (RFC 7983): [`ice`] answers connectivity checks, [`association`]
//! takes DTLS with the data channels inside, [`srtp`] seals and opens media. Each part is a value: it is told the
//! time, it can be written down, and read back elsewhere it goes on where it stopped.
//! The parts must not know calls, participants or session descriptions.

pub mod association;
pub mod certificate;
pub mod dtls;
mod guard;
pub mod ice;
pub mod sctp;
pub mod srtp;

use serde::{Deserialize, Serialize};

/// Which side of the DTLS handshake we are (`a=setup`, RFC 8842).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DtlsRole {
    /// We send the ClientHello: our description says `active`.
    Client,
    /// We wait for it: our description says `passive`, or `actpass` in an offer.
    Server,
}

/// The protocol of a datagram on a WebRTC port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DatagramKind {
    Stun,
    Dtls,
    Rtp,
    Rtcp,
}

impl DatagramKind {
    /// Tells by the first byte, and RTCP from RTP by the second. `None` for what belongs to none of them.
    /// RFC 7983, section 7; RFC 5761, section 4.
    pub fn of(datagram: &[u8]) -> Option<Self> {
        match (*datagram.first()?, *datagram.get(1)?) {
            (0..=3, _) => Some(Self::Stun),
            (20..=63, _) => Some(Self::Dtls),
            (128..=191, 192..=223) => Some(Self::Rtcp),
            (128..=191, _) => Some(Self::Rtp),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_two_bytes_tell_the_protocol() {
        assert_eq!(DatagramKind::of(&[0, 1, 0, 0]), Some(DatagramKind::Stun));
        assert_eq!(DatagramKind::of(&[22, 254]), Some(DatagramKind::Dtls));
        assert_eq!(DatagramKind::of(&[0x80, 111]), Some(DatagramKind::Rtp));
        assert_eq!(DatagramKind::of(&[0x90, 0x80 | 0x6f]), Some(DatagramKind::Rtp), "with the marker bit");
        assert_eq!(DatagramKind::of(&[0x80, 200]), Some(DatagramKind::Rtcp));
        assert_eq!(DatagramKind::of(&[0x40, 0]), None, "a TURN channel");
        assert_eq!(DatagramKind::of(&[0x80]), None, "too short for any of them");
    }
}
