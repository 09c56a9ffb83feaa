//! The few fields of RTP and RTCP packets that protection needs.

/// Length of the fixed RTP header in bytes (RFC 3550, section 5.1).
pub(super) const RTP_FIXED_LEN: usize = 12;
/// The first bytes of a compound RTCP packet, which stay in the clear: header and sender SSRC (RFC 3711, section 3.4).
pub(super) const RTCP_CLEAR_LEN: usize = 8;

/// Length of an RTP header with its contributing sources and extension, in bytes. `None` if the packet is no RTP or
/// ends before its header does. RFC 3550, sections 5.1 and 5.3.1.
pub(super) fn rtp_header_len(packet: &[u8]) -> Option<usize> {
    let first = *packet.first()?;
    if first >> 6 != 2 {
        return None;
    }
    let mut len = RTP_FIXED_LEN + 4 * usize::from(first & 0x0F);
    if first & 0x10 != 0 {
        let words = packet.get(len + 2..len + 4)?;
        len += 4 + 4 * usize::from(u16::from_be_bytes([words[0], words[1]]));
    }
    (packet.len() >= len).then_some(len)
}

/// Reads four bytes at `at`; `None` beyond the end.
pub(super) fn read_u32(packet: &[u8], at: usize) -> Option<u32> {
    packet.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes)
}

/// Reads two bytes at `at`; `None` beyond the end.
pub(super) fn read_u16(packet: &[u8], at: usize) -> Option<u16> {
    packet.get(at..at + 2)?.try_into().ok().map(u16::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_length_counts_sources_and_extension() {
        let mut packet = vec![0x92; 1];
        packet.resize(12 + 8, 0);
        packet.extend_from_slice(&[0xBE, 0xDE, 0, 1, 1, 2, 3, 4]);
        assert_eq!(rtp_header_len(&packet), Some(28));
        packet.pop();
        assert_eq!(rtp_header_len(&packet), None, "extension cut short");
        assert_eq!(rtp_header_len(&[0x40; 12]), None, "version 1");
        assert_eq!(rtp_header_len(&[0x80; 11]), None);
        assert_eq!(rtp_header_len(&[]), None);
    }
}
