//! The retransmission payload format (RFC 4588): a packet sent again on a stream of its own, behind its old number.

use crate::id::Ssrc;
use crate::media::rtp::{Header, Span};

/// Length of the original sequence number before the payload.
const NUMBER: usize = 2;

/// What was sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retransmission {
    pub sequence_number: u16,
    /// The original payload within the packet.
    pub payload: Span,
}

/// Reads a packet of a retransmission stream. `None` for one that carries nothing: browsers probe with padding.
pub fn read(header: &Header, packet: &[u8]) -> Option<Retransmission> {
    let number = header.payload.of(packet).get(..NUMBER)?;
    let payload = Span { start: header.payload.start + NUMBER as u16, end: header.payload.end };
    Some(Retransmission { sequence_number: u16::from_be_bytes([number[0], number[1]]), payload })
}

/// Writes the packet as it was at first into `out`, and its header. Padding is not restored: nobody needs it.
pub fn restore(
    out: &mut Vec<u8>,
    (header, packet): (&Header, &[u8]),
    retransmission: Retransmission,
    ssrc: Ssrc,
    payload_type: u8,
) -> Option<Header> {
    const PADDING: u8 = 0x20;
    out.clear();
    out.extend_from_slice(packet.get(..usize::from(header.payload.start))?);
    *out.first_mut()? &= !PADDING;
    out[1] = out[1] & 0x80 | payload_type & 0x7f;
    out[2..4].copy_from_slice(&retransmission.sequence_number.to_be_bytes());
    out[8..12].copy_from_slice(&ssrc.0.to_be_bytes());
    out.extend_from_slice(retransmission.payload.of(packet));
    Header::parse(out)
}

/// Writes the payload of a retransmission of `payload`.
pub fn write_payload(out: &mut Vec<u8>, sequence_number: u16, payload: &[u8]) {
    out.extend_from_slice(&sequence_number.to_be_bytes());
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::rtp::write_header;

    #[test]
    fn what_was_sent_again_is_restored() {
        let mut packet = Vec::new();
        write_header(&mut packet, 97, true, 5, 1234, Ssrc(2));
        write_payload(&mut packet, 0xfff0, b"payload");
        packet[0] |= 0x20;
        packet.extend_from_slice(&[0, 0, 3]);
        let header = Header::parse(&packet).expect("ours");
        let retransmission = read(&header, &packet).expect("carries a packet");
        let mut out = vec![1, 2, 3];
        let restored = restore(&mut out, (&header, &packet), retransmission, Ssrc(1), 96).expect("whole");
        assert_eq!((restored.ssrc, restored.payload_type, restored.sequence_number), (Ssrc(1), 96, 0xfff0));
        assert_eq!((restored.marker, restored.timestamp), (true, 1234));
        assert_eq!(restored.payload.of(&out), b"payload");
    }

    #[test]
    fn padding_carries_nothing() {
        let mut packet = Vec::new();
        write_header(&mut packet, 97, false, 5, 1234, Ssrc(2));
        packet[0] |= 0x20;
        packet.extend_from_slice(&[0, 0, 0, 4]);
        assert_eq!(read(&Header::parse(&packet).expect("ours"), &packet), None);
    }
}
