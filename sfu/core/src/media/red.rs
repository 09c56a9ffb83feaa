//! Redundant audio (RFC 2198): a frame with earlier ones beside it, for receivers whose networks lose packets.

use crate::media::rtp::{Header, write_header};

/// Blocks one packet may have. Browsers send two or three.
const MAX_BLOCKS: usize = 8;
/// Set in the first byte of every block's header but the last.
const FOLLOWED: u8 = 0x80;
/// Widths of the fields of a header: how much earlier a frame is, and how long.
const AGE_BITS: u32 = 14;
const LENGTH_BITS: u32 = 10;

/// The primary block of a redundant payload: its payload type and data. `None` if the payload is cut short.
pub fn primary(payload: &[u8]) -> Option<(u8, &[u8])> {
    let mut redundant = 0;
    let mut headers = payload;
    for _ in 0..MAX_BLOCKS {
        let first = *headers.first()?;
        if first & FOLLOWED == 0 {
            // The last header, one byte long, is the primary's; its data is what is left.
            return Some((first, headers.get(1 + redundant..)?));
        }
        let header = headers.get(..4)?;
        redundant += usize::from(u16::from_be_bytes([header[2], header[3]]) & 0x3ff);
        headers = &headers[4..];
    }
    None
}

/// An earlier frame that goes along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Earlier<'a> {
    pub payload_type: u8,
    /// How much earlier than the primary it is, in units of the codec's clock.
    pub age: u32,
    pub data: &'a [u8],
}

impl Earlier<'_> {
    /// Whether it can be told, and is earlier at all.
    pub const fn fits(&self) -> bool {
        self.payload_type < FOLLOWED && self.age > 0 && self.age < 1 << AGE_BITS && self.data.len() < 1 << LENGTH_BITS
    }
}

/// The earlier frames of a redundant payload that has a [`primary`], oldest first as they are written.
pub fn earlier(payload: &[u8]) -> impl DoubleEndedIterator<Item = Earlier<'_>> + ExactSizeIterator + Clone {
    let is_followed = |header: &&[u8]| header[0] & FOLLOWED != 0;
    let count = payload.chunks_exact(4).take(MAX_BLOCKS).take_while(is_followed).count();
    let length = |header: &[u8]| usize::from(u16::from_be_bytes([header[2], header[3]]) & 0x3ff);
    let headers = move || payload.chunks_exact(4).take(count);
    let first = 4 * count + 1;
    // Few blocks: going over their lengths again for each costs less than keeping where they begin.
    (0..count).map(move |at| {
        let start = first + headers().take(at).map(length).sum::<usize>();
        let header = headers().nth(at).unwrap_or(&[0; 4]);
        let word = u32::from_be_bytes([0, header[1], header[2], header[3]]);
        Earlier {
            payload_type: header[0] & !FOLLOWED,
            age: word >> LENGTH_BITS,
            data: payload.get(start..start + length(header)).unwrap_or_default(),
        }
    })
}

/// Writes a redundant payload: earlier frames, oldest first, all of which [fit](Earlier::fits), and the primary.
pub fn write<'a>(
    out: &mut Vec<u8>,
    earlier: impl Iterator<Item = Earlier<'a>> + Clone,
    (payload_type, primary): (u8, &[u8]),
) {
    for frame in earlier.clone() {
        let [_, high, middle, low] = (frame.age << LENGTH_BITS | frame.data.len() as u32).to_be_bytes();
        out.extend_from_slice(&[FOLLOWED | frame.payload_type, high, middle, low]);
    }
    out.push(payload_type & !FOLLOWED);
    for frame in earlier {
        out.extend_from_slice(frame.data);
    }
    out.extend_from_slice(primary);
}

/// Writes the packet that a redundant one would be without redundancy, and its header. Padding is left out.
pub fn restore_primary(
    out: &mut Vec<u8>,
    (header, packet): (&Header, &[u8]),
    (payload_type, data): (u8, &[u8]),
) -> Option<Header> {
    const PADDING: u8 = 0x20;
    out.clear();
    out.extend_from_slice(packet.get(..usize::from(header.payload.start))?);
    *out.first_mut()? &= !PADDING;
    out[1] = out[1] & 0x80 | payload_type & 0x7f;
    out.extend_from_slice(data);
    Header::parse(out)
}

/// Writes the packet that an earlier frame came in, or should have, and its header. What its header extensions said is
/// not known.
pub fn restore_earlier(out: &mut Vec<u8>, header: &Header, sequence_number: u16, frame: Earlier<'_>) -> Option<Header> {
    out.clear();
    let timestamp = header.timestamp.wrapping_sub(frame.age);
    write_header(out, frame.payload_type, false, sequence_number, timestamp, header.ssrc);
    out.extend_from_slice(frame.data);
    Header::parse(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::id::Ssrc;

    const fn frame(age: u32, data: &[u8]) -> Earlier<'_> {
        Earlier { payload_type: 111, age, data }
    }

    #[test]
    fn the_primary_is_what_the_redundancy_leaves() {
        // One redundant block of 3 bytes, 960 samples old.
        let payload = [0xef, 0x0f, 0x00, 3, 111, 1, 2, 3, 9, 8];
        assert_eq!(primary(&payload), Some((111, &[9, 8][..])));
        assert_eq!(primary(&[111, 9, 8]), Some((111, &[9, 8][..])), "no redundancy");
        assert_eq!(primary(&[111]), Some((111, &[][..])));
    }

    #[test]
    fn a_payload_is_written_as_the_rfc_draws_it() {
        // RFC 2198, section 4: a primary of type 5 and a redundant block of type 7 in one packet, with a timestamp
        // offset; here of 160 samples and 4 bytes, as 8 kHz audio in packets of 20 ms has it.
        let mut out = Vec::new();
        write(&mut out, [Earlier { payload_type: 7, age: 160, data: &[1, 2, 3, 4] }].into_iter(), (5, &[9]));
        // F=1 and type 7; 14 bits of offset, 10 bits of length; F=0 and type 5.
        let bits = 160_u32 << 10 | 4;
        assert_eq!(out, [0x87, (bits >> 16) as u8, (bits >> 8) as u8, bits as u8, 0x05, 1, 2, 3, 4, 9]);
        assert_eq!((out[1], out[2], out[3]), (0x02, 0x80, 0x04));
        // The largest of both.
        out.clear();
        write(&mut out, [frame(16_383, &[0; 1023])].into_iter(), (111, &[]));
        assert_eq!(out[..5], [0xef, 0xff, 0xff, 0xff, 0x6f]);
    }

    #[test]
    fn what_is_written_is_what_browsers_write() {
        let frames = [frame(1920, &[1, 2]), frame(960, &[3, 4, 5])];
        let mut out = Vec::new();
        write(&mut out, frames.into_iter(), (111, &[9, 8]));
        assert_eq!(out, [0xef, 0x1e, 0x00, 2, 0xef, 0x0f, 0x00, 3, 111, 1, 2, 3, 4, 5, 9, 8]);
        assert_eq!(primary(&out), Some((111, &[9, 8][..])));
        assert_eq!(earlier(&out).collect::<Vec<_>>(), frames);
    }

    #[test]
    fn what_cannot_be_told_does_not_fit() {
        assert!(frame(1, &[]).fits() && frame(16_383, &[0; 1023]).fits());
        assert!(!frame(0, &[]).fits() && !frame(16_384, &[]).fits() && !frame(1, &[0; 1024]).fits());
        assert!(!frame(0_u32.wrapping_sub(960), &[]).fits(), "later");
        assert!(!Earlier { payload_type: 128, age: 1, data: &[] }.fits());
    }

    #[test]
    fn cut_payloads_are_refused() {
        assert_eq!(primary(&[]), None);
        assert_eq!(primary(&[0xef, 0, 0]), None);
        assert_eq!(primary(&[0xef, 0, 0, 3, 111, 1]), None);
        assert_eq!(primary(&[0xef; 200]), None, "headers without end");
    }

    #[test]
    fn packets_are_restored_from_their_parts() {
        let mut packet = Vec::new();
        write_header(&mut packet, 63, true, 7, 10_000, Ssrc(5));
        packet[0] |= 0x20;
        write(&mut packet, [frame(960, &[1, 2])].into_iter(), (111, &[3]));
        packet.extend_from_slice(&[0, 2]);
        let header = Header::parse(&packet).expect("whole");
        let payload = header.payload.of(&packet);
        let mut out = Vec::new();
        let restored = restore_primary(&mut out, (&header, &packet), primary(payload).expect("whole")).expect("whole");
        assert_eq!((restored.payload_type, restored.marker, restored.payload.of(&out)), (111, true, &[3][..]));
        assert_eq!((restored.sequence_number, restored.timestamp, restored.ssrc), (7, 10_000, Ssrc(5)));
        let first = earlier(payload).next().expect("one");
        let restored = restore_earlier(&mut out, &header, 6, first).expect("whole");
        assert_eq!((restored.payload_type, restored.marker, restored.payload.of(&out)), (111, false, &[1, 2][..]));
        assert_eq!((restored.sequence_number, restored.timestamp, restored.ssrc), (6, 9_040, Ssrc(5)));
    }

    proptest! {
        #[test]
        fn any_payload_is_read_or_refused(payload in proptest::collection::vec(any::<u8>(), 0..60)) {
            let read: Vec<_> = earlier(&payload).collect();
            prop_assert!(read.len() <= MAX_BLOCKS);
            if let Some((_, data)) = primary(&payload) {
                prop_assert!(payload.ends_with(data));
                let parts = read.iter().map(|frame| 4 + frame.data.len()).sum::<usize>();
                prop_assert_eq!(parts + 1 + data.len(), payload.len(), "nothing is left over, nothing read twice");
            }
        }

        #[test]
        fn what_is_written_is_read(
            frames in proptest::collection::vec((0..128_u8, 1..1_u32 << 14, proptest::collection::vec(any::<u8>(), 0..1024)), 0..7),
            (payload_type, data) in (0..128_u8, proptest::collection::vec(any::<u8>(), 0..300)),
        ) {
            let frames: Vec<_> =
                frames.iter().map(|(payload_type, age, data)| Earlier { payload_type: *payload_type, age: *age, data }).collect();
            prop_assert!(frames.iter().all(Earlier::fits));
            let mut out = Vec::new();
            write(&mut out, frames.iter().copied(), (payload_type, &data));
            prop_assert_eq!(primary(&out), Some((payload_type, data.as_slice())));
            prop_assert_eq!(earlier(&out).collect::<Vec<_>>(), frames);
        }
    }
}
