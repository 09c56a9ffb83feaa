//! RTCP (RFC 3550, RFC 4585, RFC 5104): reading compound packets in place, writing those that we send.
//!
//! Reading borrows and never allocates; every list is walked within the packet that carries it, so a compound packet
//! costs no more than its bytes. Packets that this SFU has no use for are skipped.

use crate::id::Ssrc;
use crate::media::estimate::feedback::Statuses;
use crate::time::NtpTime;

pub const SENDER_REPORT: u8 = 200;
pub const RECEIVER_REPORT: u8 = 201;
pub const SOURCE_DESCRIPTION: u8 = 202;
pub const GOODBYE: u8 = 203;
pub const TRANSPORT_FEEDBACK: u8 = 205;
pub const PAYLOAD_FEEDBACK: u8 = 206;

/// Formats of transport feedback: generic NACK (RFC 4585, section 6.2.1) and transport-wide feedback.
const NACK: u8 = 1;
pub const TRANSPORT_WIDE: u8 = 15;
/// Formats of payload feedback: PLI (RFC 4585, section 6.3.1), FIR (RFC 5104, section 4.3.1) and application layer.
const PICTURE_LOSS: u8 = 1;
const FULL_INTRA_REQUEST: u8 = 4;
const APPLICATION_LAYER: u8 = 15;

/// Most report blocks a report can carry: its count has five bits.
pub const MAX_REPORT_BLOCKS: usize = 31;

const REPORT_BLOCK: usize = 24;

/// How one stream is received (RFC 3550, section 6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportBlock {
    pub ssrc: Ssrc,
    /// Lost part since the last report, in 256ths.
    pub fraction_lost: u8,
    /// Packets lost since the start, 24 bits. We never report a negative number.
    pub total_lost: u32,
    /// Highest sequence number, extended by the count of its wraps.
    pub highest_sequence: u32,
    /// In units of the stream's clock.
    pub jitter: u32,
    /// Middle 32 bits of the NTP time in the last sender report, zero if there was none.
    pub last_sender_report: u32,
    /// In 1/65536 seconds.
    pub delay_since_last_sender_report: u32,
}

/// One packet of a compound packet.
#[derive(Debug, Clone, PartialEq)]
pub enum Packet<'a> {
    SenderReport {
        ssrc: Ssrc,
        ntp: NtpTime,
        timestamp: u32,
        blocks: ReportBlocks<'a>,
    },
    ReceiverReport {
        ssrc: Ssrc,
        blocks: ReportBlocks<'a>,
    },
    Goodbye {
        sources: Sources<'a>,
    },
    Nack {
        media: Ssrc,
        lost: LostNumbers<'a>,
    },
    PictureLoss {
        media: Ssrc,
    },
    FullIntraRequest {
        targets: FirTargets<'a>,
    },
    /// Receiver estimated maximum bitrate (draft-alvestrand-rmcat-remb-03), in bits per second.
    Remb {
        bitrate: u64,
    },
    /// Transport-wide feedback: base sequence number, count of packets told about, count of the feedback packet, the
    /// receiver's time in 64 ms (24 bits), and what became of the packets.
    TransportWide {
        base: u16,
        packets: u16,
        count: u8,
        reference: u32,
        statuses: Statuses<'a>,
    },
    /// Something else, well-formed.
    Other {
        packet_type: u8,
    },
}

/// Goes through a compound packet. Ends at the first packet that is not well-formed.
#[derive(Debug, Clone)]
pub struct Packets<'a> {
    rest: &'a [u8],
}

impl<'a> Packets<'a> {
    pub const fn new(compound: &'a [u8]) -> Self {
        Self { rest: compound }
    }

    fn take(&mut self) -> Option<(u8, u8, &'a [u8])> {
        let header = self.rest.get(..4)?;
        if header[0] >> 6 != 2 {
            return None;
        }
        let length = 4 * usize::from(u16::from_be_bytes([header[2], header[3]]));
        let mut body = self.rest.get(4..4 + length)?;
        if header[0] & 0x20 != 0 {
            let padding = usize::from(*body.last()?);
            body = body.get(..body.len().checked_sub(padding)?)?;
        }
        self.rest = &self.rest[4 + length..];
        Some((header[0] & 0x1f, header[1], body))
    }
}

impl<'a> Iterator for Packets<'a> {
    type Item = Packet<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let (count, packet_type, body) = self.take()?;
        let packet = read(count, packet_type, body);
        if packet.is_none() {
            self.rest = &[];
        }
        packet
    }
}

fn read(count: u8, packet_type: u8, body: &[u8]) -> Option<Packet<'_>> {
    let count_words = usize::from(count);
    Some(match (packet_type, count) {
        (SENDER_REPORT, _) => Packet::SenderReport {
            ssrc: Ssrc(word(body, 0)?),
            ntp: NtpTime::from_bits(u64::from(word(body, 4)?) << 32 | u64::from(word(body, 8)?)),
            timestamp: word(body, 12)?,
            blocks: ReportBlocks(body.get(24..24 + REPORT_BLOCK * count_words)?),
        },
        (RECEIVER_REPORT, _) => Packet::ReceiverReport {
            ssrc: Ssrc(word(body, 0)?),
            blocks: ReportBlocks(body.get(4..4 + REPORT_BLOCK * count_words)?),
        },
        (GOODBYE, _) => Packet::Goodbye { sources: Sources(body.get(..4 * count_words)?) },
        (TRANSPORT_FEEDBACK, NACK) => {
            Packet::Nack { media: Ssrc(word(body, 4)?), lost: LostNumbers { pairs: body.get(8..)?, pending: None } }
        }
        (TRANSPORT_FEEDBACK, TRANSPORT_WIDE) => {
            let (base, packets) = ((word(body, 8)? >> 16) as u16, word(body, 8)? as u16);
            Packet::TransportWide {
                base,
                packets,
                count: word(body, 12)? as u8,
                reference: word(body, 12)? >> 8,
                statuses: Statuses::new(base, packets, body.get(16..)?)?,
            }
        }
        (PAYLOAD_FEEDBACK, PICTURE_LOSS) => Packet::PictureLoss { media: Ssrc(word(body, 4)?) },
        (PAYLOAD_FEEDBACK, FULL_INTRA_REQUEST) => Packet::FullIntraRequest { targets: FirTargets(body.get(8..)?) },
        (PAYLOAD_FEEDBACK, APPLICATION_LAYER) if body.get(8..12) == Some(b"REMB") => {
            let estimate = word(body, 12)?;
            let (exponent, mantissa) = (estimate >> 18 & 0x3f, u64::from(estimate & 0x3_ffff));
            Packet::Remb { bitrate: mantissa.checked_shl(exponent).filter(|b| b >> exponent == mantissa)? }
        }
        _ => Packet::Other { packet_type },
    })
}

/// The report blocks of a report.
#[derive(Debug, Clone, PartialEq)]
pub struct ReportBlocks<'a>(&'a [u8]);

impl Iterator for ReportBlocks<'_> {
    type Item = ReportBlock;

    fn next(&mut self) -> Option<Self::Item> {
        let (block, rest) = self.0.split_at_checked(REPORT_BLOCK)?;
        self.0 = rest;
        let lost = word(block, 4)?;
        Some(ReportBlock {
            ssrc: Ssrc(word(block, 0)?),
            fraction_lost: (lost >> 24) as u8,
            total_lost: lost & 0xff_ffff,
            highest_sequence: word(block, 8)?,
            jitter: word(block, 12)?,
            last_sender_report: word(block, 16)?,
            delay_since_last_sender_report: word(block, 20)?,
        })
    }
}

/// Sources that say goodbye.
#[derive(Debug, Clone, PartialEq)]
pub struct Sources<'a>(&'a [u8]);

impl Iterator for Sources<'_> {
    type Item = Ssrc;

    fn next(&mut self) -> Option<Self::Item> {
        let (source, rest) = self.0.split_at_checked(4)?;
        self.0 = rest;
        Some(Ssrc(word(source, 0)?))
    }
}

/// Streams whose whole picture is wanted.
#[derive(Debug, Clone, PartialEq)]
pub struct FirTargets<'a>(&'a [u8]);

impl Iterator for FirTargets<'_> {
    type Item = Ssrc;

    fn next(&mut self) -> Option<Self::Item> {
        let (target, rest) = self.0.split_at_checked(8)?;
        self.0 = rest;
        Some(Ssrc(word(target, 0)?))
    }
}

/// Sequence numbers asked for again: each pair of the packet names one and, as bits, those of the 16 after it.
#[derive(Debug, Clone, PartialEq)]
pub struct LostNumbers<'a> {
    pairs: &'a [u8],
    /// The pair being walked: its first number, and the bits that are left.
    pending: Option<(u16, u16)>,
}

impl Iterator for LostNumbers<'_> {
    type Item = u16;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some((first, bits)) = self.pending.filter(|(_, bits)| *bits != 0) {
            let offset = bits.trailing_zeros() as u16;
            self.pending = Some((first, bits & (bits - 1)));
            return Some(first.wrapping_add(offset + 1));
        }
        let (pair, rest) = self.pairs.split_at_checked(4)?;
        self.pairs = rest;
        let first = u16::from_be_bytes([pair[0], pair[1]]);
        self.pending = Some((first, u16::from_be_bytes([pair[2], pair[3]])));
        Some(first)
    }
}

/// What a sender report says of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenderInfo {
    pub ssrc: Ssrc,
    pub ntp: NtpTime,
    /// The same moment in units of the stream's clock.
    pub timestamp: u32,
    pub packets: u32,
    /// Payload bytes, without headers and padding.
    pub octets: u32,
}

pub fn write_sender_report(out: &mut Vec<u8>, info: &SenderInfo) {
    write_start(out, 0, SENDER_REPORT, 6);
    put(out, info.ssrc.0);
    out.extend_from_slice(&info.ntp.bits().to_be_bytes());
    put(out, info.timestamp);
    put(out, info.packets);
    put(out, info.octets);
}

/// Writes at most [`MAX_REPORT_BLOCKS`] blocks; further ones are left out.
pub fn write_receiver_report(out: &mut Vec<u8>, sender: Ssrc, blocks: &[ReportBlock]) {
    let blocks = &blocks[..blocks.len().min(MAX_REPORT_BLOCKS)];
    write_start(out, blocks.len() as u8, RECEIVER_REPORT, 1 + (REPORT_BLOCK / 4 * blocks.len()) as u16);
    put(out, sender.0);
    for block in blocks {
        put(out, block.ssrc.0);
        put(out, u32::from(block.fraction_lost) << 24 | block.total_lost & 0xff_ffff);
        put(out, block.highest_sequence);
        put(out, block.jitter);
        put(out, block.last_sender_report);
        put(out, block.delay_since_last_sender_report);
    }
}

/// Writes a source description with one canonical name, cut at 255 bytes.
pub fn write_source_description(out: &mut Vec<u8>, ssrc: Ssrc, cname: &str) {
    const CNAME: u8 = 1;
    let name = &cname.as_bytes()[..cname.len().min(255)];
    // At least one zero byte ends the list of items, and it fills the last word.
    let words = (2 + name.len()) / 4 + 1;
    write_start(out, 1, SOURCE_DESCRIPTION, 1 + words as u16);
    put(out, ssrc.0);
    let end = out.len() + 4 * words;
    out.extend_from_slice(&[CNAME, name.len() as u8]);
    out.extend_from_slice(name);
    out.resize(end, 0);
}

/// Asks for packets again. `lost` are ascending numbers, of which the low 16 bits go on the wire.
pub fn write_nack(out: &mut Vec<u8>, sender: Ssrc, media: Ssrc, lost: &[u64]) {
    let start = out.len();
    write_start(out, NACK, TRANSPORT_FEEDBACK, 2);
    put(out, sender.0);
    put(out, media.0);
    let mut lost = lost.iter().copied().peekable();
    while let Some(first) = lost.next() {
        let mut bits = 0_u16;
        while let Some(next) = lost.next_if(|next| (1..=16).contains(&next.wrapping_sub(first))) {
            bits |= 1 << (next - first - 1);
        }
        put(out, u32::from(first as u16) << 16 | u32::from(bits));
    }
    let words = ((out.len() - start) / 4 - 1) as u16;
    out[start + 2..start + 4].copy_from_slice(&words.to_be_bytes());
}

pub fn write_picture_loss(out: &mut Vec<u8>, sender: Ssrc, media: Ssrc) {
    write_start(out, PICTURE_LOSS, PAYLOAD_FEEDBACK, 2);
    put(out, sender.0);
    put(out, media.0);
}

/// Writes a header: `words` is the length of what follows it, in 32-bit words.
pub fn write_start(out: &mut Vec<u8>, count: u8, packet_type: u8, words: u16) {
    out.extend_from_slice(&[0x80 | count, packet_type]);
    out.extend_from_slice(&words.to_be_bytes());
}

fn put(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_be_bytes());
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use proptest::prelude::*;
    use rtc_rtcp::packet::unmarshal;

    use super::*;

    const BLOCK: ReportBlock = ReportBlock {
        ssrc: Ssrc(9),
        fraction_lost: 64,
        total_lost: 0x01_0203,
        highest_sequence: 0x0001_0007,
        jitter: 300,
        last_sender_report: 0xabcd_ef01,
        delay_since_last_sender_report: 32_768,
    };

    fn everything() -> Vec<u8> {
        let mut out = Vec::new();
        let info = SenderInfo {
            ssrc: Ssrc(1),
            ntp: NtpTime::from_bits(0x1122_3344_5566_7788),
            timestamp: 90,
            packets: 3,
            octets: 400,
        };
        write_sender_report(&mut out, &info);
        write_receiver_report(&mut out, Ssrc(2), &[BLOCK, BLOCK]);
        write_source_description(&mut out, Ssrc(1), "a-cname");
        write_nack(&mut out, Ssrc(2), Ssrc(9), &[65_530, 65_531, 65_546, 65_547, 65_600]);
        write_picture_loss(&mut out, Ssrc(2), Ssrc(9));
        out
    }

    #[test]
    fn reads_what_it_wrote() {
        let bytes = everything();
        let packets: Vec<_> = Packets::new(&bytes).collect();
        let Packet::SenderReport { ssrc, ntp, timestamp, blocks } = &packets[0] else { panic!("{packets:?}") };
        assert_eq!((*ssrc, ntp.bits(), *timestamp), (Ssrc(1), 0x1122_3344_5566_7788, 90));
        assert_eq!(blocks.clone().count(), 0);
        let Packet::ReceiverReport { ssrc: Ssrc(2), blocks } = &packets[1] else { panic!("{packets:?}") };
        assert_eq!(blocks.clone().collect::<Vec<_>>(), [BLOCK, BLOCK]);
        assert_eq!(packets[2], Packet::Other { packet_type: SOURCE_DESCRIPTION });
        let Packet::Nack { media: Ssrc(9), lost } = &packets[3] else { panic!("{packets:?}") };
        assert_eq!(lost.clone().collect::<Vec<_>>(), [65_530, 65_531, 10, 11, 64]);
        assert_eq!(packets[4], Packet::PictureLoss { media: Ssrc(9) });
        assert_eq!(packets.len(), 5);
    }

    #[test]
    fn another_implementation_reads_the_same() {
        let bytes = everything();
        let theirs = unmarshal(&mut BytesMut::from(&bytes[..]).freeze()).expect("well-formed");
        assert_eq!(theirs.len(), 5);
        let report = theirs[1].as_any().downcast_ref::<rtc_rtcp::receiver_report::ReceiverReport>().expect("RR");
        assert_eq!((report.ssrc, report.reports.len(), report.reports[0].total_lost), (2, 2, 0x01_0203));
        let names = theirs[2].as_any().downcast_ref::<rtc_rtcp::source_description::SourceDescription>().expect("SDES");
        assert_eq!(&names.chunks[0].items[0].text[..], b"a-cname");
        let nack = theirs[3]
            .as_any()
            .downcast_ref::<rtc_rtcp::transport_feedbacks::transport_layer_nack::TransportLayerNack>()
            .expect("NACK");
        assert_eq!(nack.nacks[0].packet_id, 65_530);
    }

    #[test]
    fn names_of_every_length_are_padded_to_words() {
        for length in 0..20 {
            let mut out = Vec::new();
            write_source_description(&mut out, Ssrc(1), &"x".repeat(length));
            assert_eq!(out.len() % 4, 0);
            assert!(unmarshal(&mut BytesMut::from(&out[..]).freeze()).is_ok(), "{length}");
        }
    }

    #[test]
    fn remb_is_read_and_an_impossible_one_refused() {
        let mut out =
            vec![0x8f, 206, 0, 5, 0, 0, 0, 1, 0, 0, 0, 0, b'R', b'E', b'M', b'B', 1, 0x0b, 0xd0, 0x90, 0, 0, 0, 7];
        assert_eq!(Packets::new(&out).next(), Some(Packet::Remb { bitrate: 0x3_d090 << 2 }));
        out[17] = 0xff;
        assert_eq!(Packets::new(&out).next(), None);
    }

    #[test]
    fn full_intra_requests_name_their_targets() {
        let bytes = [0x84, 206, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 3, 0, 0, 0];
        let Some(Packet::FullIntraRequest { targets }) = Packets::new(&bytes).next() else { panic!() };
        assert_eq!(targets.collect::<Vec<_>>(), [Ssrc(9)]);
    }

    #[test]
    fn goodbye_names_its_sources() {
        let bytes = [0x82, 203, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2];
        let Some(Packet::Goodbye { sources }) = Packets::new(&bytes).next() else { panic!() };
        assert_eq!(sources.collect::<Vec<_>>(), [Ssrc(1), Ssrc(2)]);
    }

    proptest! {
        #[test]
        fn numbers_asked_for_are_the_numbers_read(mut lost in proptest::collection::btree_set(0_u64..2_000, 1..100)) {
            lost.insert(65_536);
            let lost: Vec<u64> = lost.into_iter().collect();
            let mut out = Vec::new();
            write_nack(&mut out, Ssrc(1), Ssrc(2), &lost);
            let Some(Packet::Nack { lost: read, .. }) = Packets::new(&out).next() else { panic!() };
            prop_assert_eq!(read.collect::<Vec<_>>(), lost.iter().map(|n| *n as u16).collect::<Vec<_>>());
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            drain(&bytes);
        }

        #[test]
        fn mutated_packets_are_read_or_refused(at in 0_usize..200, value: u8, cut in 0_usize..200) {
            let mut bytes = everything();
            let length = bytes.len();
            bytes[at % length] = value;
            bytes.truncate(length - cut % length);
            drain(&bytes);
        }
    }

    fn drain(bytes: &[u8]) {
        for packet in Packets::new(bytes) {
            match packet {
                Packet::SenderReport { blocks, .. } | Packet::ReceiverReport { blocks, .. } => drop(blocks.count()),
                Packet::Goodbye { sources } => drop(sources.count()),
                Packet::Nack { lost, .. } => drop(lost.count()),
                Packet::FullIntraRequest { targets } => drop(targets.count()),
                Packet::TransportWide { packets, statuses, .. } => assert!(statuses.count() <= usize::from(packets)),
                _ => {}
            }
        }
    }
}
