//! RTP packets (RFC 3550) and their header extensions (RFC 8285), read in place and written into a buffer.

use serde::{Deserialize, Serialize};

use crate::id::Ssrc;

/// Length of the header without contributing sources and extensions.
pub const FIXED_HEADER: usize = 12;

/// Longest packet that is accepted: a UDP datagram cannot carry more, and offsets fit 16 bits.
pub const MAX_PACKET: usize = u16::MAX as usize;

const ONE_BYTE_PROFILE: u16 = 0xBEDE;
/// The lower four bits are for the application and ignored (RFC 8285, section 4.3).
const TWO_BYTE_PROFILE: u16 = 0x1000;

/// A part of a packet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    pub start: u16,
    pub end: u16,
}

impl Span {
    pub const fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    pub const fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// The part itself; empty if `packet` is shorter than the one it was found in.
    pub fn of(self, packet: &[u8]) -> &[u8] {
        packet.get(usize::from(self.start)..usize::from(self.end)).unwrap_or_default()
    }
}

/// How elements of a header extension are written (RFC 8285, section 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExtensionForm {
    OneByte,
    TwoByte,
}

/// What a packet says of itself, and where its parts lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    pub marker: bool,
    pub payload_type: u8,
    pub sequence_number: u16,
    /// In units of the codec's clock.
    pub timestamp: u32,
    pub ssrc: Ssrc,
    /// The extension's elements, without profile and length. `None` also for profiles other than RFC 8285.
    pub extension: Option<(ExtensionForm, Span)>,
    /// The payload without padding. Empty in packets that are only padding.
    pub payload: Span,
}

impl Header {
    /// Reads a decrypted packet. `None` if it is not RTP or is cut short.
    pub fn parse(packet: &[u8]) -> Option<Self> {
        if packet.len() < FIXED_HEADER || packet.len() > MAX_PACKET || packet[0] >> 6 != 2 {
            return None;
        }
        let contributing = usize::from(packet[0] & 0x0f);
        let mut payload_start = FIXED_HEADER + 4 * contributing;
        let mut extension = None;
        if packet[0] & 0x10 != 0 {
            let profile = read_u16(packet, payload_start)?;
            let length = 4 * usize::from(read_u16(packet, payload_start + 2)?);
            let span = Span { start: to_u16(payload_start + 4)?, end: to_u16(payload_start + 4 + length)? };
            extension = match profile {
                ONE_BYTE_PROFILE => Some((ExtensionForm::OneByte, span)),
                profile if profile & 0xfff0 == TWO_BYTE_PROFILE => Some((ExtensionForm::TwoByte, span)),
                _ => None,
            };
            payload_start += 4 + length;
        }
        let padding = if packet[0] & 0x20 == 0 { 0 } else { usize::from(*packet.last()?) };
        let payload_end = packet.len().checked_sub(padding)?;
        if payload_start > payload_end || (packet[0] & 0x20 != 0 && padding == 0) {
            return None;
        }
        Some(Self {
            marker: packet[1] & 0x80 != 0,
            payload_type: packet[1] & 0x7f,
            sequence_number: u16::from_be_bytes([packet[2], packet[3]]),
            timestamp: u32::from_be_bytes([packet[4], packet[5], packet[6], packet[7]]),
            ssrc: Ssrc(u32::from_be_bytes([packet[8], packet[9], packet[10], packet[11]])),
            extension,
            payload: Span { start: to_u16(payload_start)?, end: to_u16(payload_end)? },
        })
    }

    /// The extension's elements: id and place of the data.
    pub fn elements<'a>(&self, packet: &'a [u8]) -> Elements<'a> {
        let (form, span) = self.extension.unwrap_or((ExtensionForm::OneByte, Span::default()));
        Elements { packet, form, next: span.start, end: span.end }
    }
}

/// Goes through a header extension. Ends at the first element that does not fit.
#[derive(Debug, Clone)]
pub struct Elements<'a> {
    packet: &'a [u8],
    form: ExtensionForm,
    next: u16,
    end: u16,
}

impl Iterator for Elements<'_> {
    type Item = (u8, Span);

    fn next(&mut self) -> Option<Self::Item> {
        while self.next < self.end {
            let first = *self.packet.get(usize::from(self.next))?;
            if first == 0 {
                self.next += 1;
                continue;
            }
            let (id, start, length) = match self.form {
                // Id 15 means that nothing after it may be read (RFC 8285, section 4.2).
                ExtensionForm::OneByte if first >> 4 == 15 => return None,
                ExtensionForm::OneByte => (first >> 4, self.next + 1, u16::from(first & 0x0f) + 1),
                ExtensionForm::TwoByte => {
                    let length = *self.packet.get(usize::from(self.next) + 1)?;
                    (first, self.next.checked_add(2)?, u16::from(length))
                }
            };
            let end = start.checked_add(length).filter(|end| *end <= self.end)?;
            self.next = end;
            return Some((id, Span { start, end }));
        }
        None
    }
}

/// Writes the fixed header: version 2, no padding, no contributing sources, no extension yet.
pub fn write_header(
    out: &mut Vec<u8>,
    payload_type: u8,
    marker: bool,
    sequence_number: u16,
    timestamp: u32,
    ssrc: Ssrc,
) {
    let mut header = [0; FIXED_HEADER];
    header[0] = 0x80;
    header[1] = u8::from(marker) << 7 | payload_type & 0x7f;
    header[2..4].copy_from_slice(&sequence_number.to_be_bytes());
    header[4..8].copy_from_slice(&timestamp.to_be_bytes());
    header[8..12].copy_from_slice(&ssrc.0.to_be_bytes());
    out.extend_from_slice(&header);
}

/// Writes a header extension behind a header that [`write_header`] wrote at the start of the buffer.
#[derive(Debug)]
pub struct ExtensionWriter<'a> {
    out: &'a mut Vec<u8>,
    form: ExtensionForm,
    start: usize,
}

impl<'a> ExtensionWriter<'a> {
    pub fn new(out: &'a mut Vec<u8>, form: ExtensionForm) -> Self {
        let start = out.len();
        let profile = match form {
            ExtensionForm::OneByte => ONE_BYTE_PROFILE,
            ExtensionForm::TwoByte => TWO_BYTE_PROFILE,
        };
        out.extend_from_slice(&profile.to_be_bytes());
        out.extend_from_slice(&[0, 0]);
        Self { out, form, start }
    }

    /// Adds an element. One that the form cannot express (empty, longer than 16 bytes or an id above 14 in the
    /// one-byte form) is left out; [`needs_two_bytes`] tells beforehand.
    pub fn push(&mut self, id: u8, data: &[u8]) {
        match self.form {
            ExtensionForm::OneByte => {
                if needs_two_bytes(id, data.len()) || id == 0 {
                    return;
                }
                self.out.push(id << 4 | (data.len() - 1) as u8);
            }
            ExtensionForm::TwoByte => {
                let Ok(length) = u8::try_from(data.len()) else { return };
                if id == 0 {
                    return;
                }
                self.out.extend_from_slice(&[id, length]);
            }
        }
        self.out.extend_from_slice(data);
    }

    /// Pads, writes the length and sets the header's extension bit; takes the extension back if it is empty.
    pub fn finish(self) {
        let body = self.start + 4;
        if self.out.len() == body {
            self.out.truncate(self.start);
            return;
        }
        while !(self.out.len() - body).is_multiple_of(4) {
            self.out.push(0);
        }
        let words = ((self.out.len() - body) / 4) as u16;
        self.out[self.start + 2..self.start + 4].copy_from_slice(&words.to_be_bytes());
        self.out[self.start - FIXED_HEADER] |= 0x10;
    }
}

/// Whether an element can only be written in the two-byte form.
pub const fn needs_two_bytes(id: u8, length: usize) -> bool {
    id > 14 || length == 0 || length > 16
}

/// Whether a datagram whose first byte says RTP or RTCP is RTCP: packet types 192 to 223 (RFC 5761, section 4).
pub fn is_rtcp(datagram: &[u8]) -> bool {
    datagram.get(1).is_some_and(|byte| (192..=223).contains(byte))
}

fn read_u16(packet: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(packet.get(at..at + 2)?.try_into().ok()?))
}

fn to_u16(value: usize) -> Option<u16> {
    u16::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet(form: ExtensionForm, elements: &[(u8, &[u8])], payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        write_header(&mut out, 96, true, 7, 90_000, Ssrc(0xdead_beef));
        let mut writer = ExtensionWriter::new(&mut out, form);
        for (id, data) in elements {
            writer.push(*id, data);
        }
        writer.finish();
        out.extend_from_slice(payload);
        out
    }

    #[test]
    fn reads_what_it_wrote_in_both_forms() {
        for form in [ExtensionForm::OneByte, ExtensionForm::TwoByte] {
            let bytes = packet(form, &[(1, b"0"), (4, &[1, 2, 3])], b"payload");
            let header = Header::parse(&bytes).expect("a packet of ours");
            assert_eq!((header.payload_type, header.marker, header.sequence_number), (96, true, 7));
            assert_eq!((header.timestamp, header.ssrc), (90_000, Ssrc(0xdead_beef)));
            assert_eq!(header.payload.of(&bytes), b"payload");
            let elements: Vec<_> = header.elements(&bytes).map(|(id, span)| (id, span.of(&bytes).to_vec())).collect();
            assert_eq!(elements, [(1, b"0".to_vec()), (4, vec![1, 2, 3])]);
        }
    }

    #[test]
    fn an_empty_extension_is_not_written() {
        let bytes = packet(ExtensionForm::OneByte, &[], b"x");
        assert_eq!(bytes.len(), FIXED_HEADER + 1);
        assert_eq!(bytes[0], 0x80);
    }

    #[test]
    fn padding_is_not_payload() {
        let mut bytes = packet(ExtensionForm::OneByte, &[], b"ab");
        bytes[0] |= 0x20;
        bytes.extend_from_slice(&[0, 0, 3]);
        assert_eq!(Header::parse(&bytes).expect("padded").payload.of(&bytes), b"ab");
        let mut all = packet(ExtensionForm::OneByte, &[], &[0, 0, 0, 4]);
        all[0] |= 0x20;
        assert!(Header::parse(&all).expect("only padding").payload.is_empty());
    }

    #[test]
    fn broken_packets_are_refused() {
        let whole = packet(ExtensionForm::OneByte, &[(1, b"abc")], b"");
        for cut in 0..whole.len() {
            assert_eq!(Header::parse(&whole[..cut]), None, "{cut} bytes");
        }
        let mut padding_too_long = packet(ExtensionForm::OneByte, &[], &[200]);
        padding_too_long[0] |= 0x20;
        assert_eq!(Header::parse(&padding_too_long), None);
        let mut padding_of_nothing = packet(ExtensionForm::OneByte, &[], &[0]);
        padding_of_nothing[0] |= 0x20;
        assert_eq!(Header::parse(&padding_of_nothing), None);
    }

    #[test]
    fn a_long_element_needs_the_two_byte_form() {
        assert!(needs_two_bytes(3, 17) && needs_two_bytes(15, 1) && needs_two_bytes(1, 0));
        let bytes = packet(ExtensionForm::OneByte, &[(3, &[0; 17])], b"");
        assert_eq!(bytes.len(), FIXED_HEADER, "left out rather than written wrong");
    }

    #[test]
    fn rtcp_is_told_from_rtp_by_its_second_byte() {
        assert!(is_rtcp(&[0x80, 200]) && is_rtcp(&[0x81, 206]));
        assert!(!is_rtcp(&[0x80, 0x80 | 63]) && !is_rtcp(&[0x80, 111]) && !is_rtcp(&[0x80]));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(mut bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(first) = bytes.first_mut() { *first = 0x80 | (*first & 0x3f) }
            if let Some(header) = Header::parse(&bytes) {
                prop_assert!(header.payload.of(&bytes).len() == header.payload.len());
                for (_, span) in header.elements(&bytes) {
                    prop_assert_eq!(span.of(&bytes).len(), span.len());
                }
            }
        }
    }
}
