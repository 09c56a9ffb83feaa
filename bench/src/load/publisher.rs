//! What one client sends: frames with the time they were written in them, as RTP packets.

use std::time::Duration;

use sfu_core::id::Ssrc;
use sfu_core::media::rtcp::{SenderInfo, write_sender_report, write_source_description};
use sfu_core::media::rtp::{ExtensionForm, ExtensionWriter, write_header};
use sfu_core::time::{NtpTime, Time};
use sfu_core::transport::srtp::{OutboundStream, Profile, SealError, Sealer};

use super::offer::{ExtensionIds, OPUS, VP8};
use super::scenario::Source;

/// Bytes at the end of each payload that say when it was written. At its end, because servers rewrite its beginning.
const STAMP_BYTES: usize = 8;
/// A valid Opus table-of-contents byte: CELT, 20 ms, mono, one frame (RFC 6716, section 3.1).
const OPUS_TOC: u8 = 0xf8;
/// A voice at a usual level, in dBov below the loudest, with the bit that says it is speech (RFC 6464).
const AUDIO_LEVEL: u8 = 0x80 | 0x1e;
/// The largest packet that is made: header, payload, tag.
const MAX_PACKET: usize = 1500;
/// The one m-line on which a client sends.
const MID: &[u8] = b"0";

/// A source and its counters.
#[derive(Debug)]
pub struct Publisher {
    source: Source,
    ssrc: Ssrc,
    stream: OutboundStream,
    ids: ExtensionIds,
    index: u64,
    transport_number: u16,
    picture: u16,
    keyframe_wanted: bool,
    n_packets: u32,
    n_octets: u32,
    header: Vec<u8>,
    payload: [u8; MAX_PACKET],
    sealed: [u8; MAX_PACKET],
}

impl Publisher {
    /// # Errors
    /// [`SealError`] if the sealer has too many streams.
    pub fn new(source: Source, ssrc: u32, ids: ExtensionIds, sealer: &mut Sealer) -> Result<Self, SealError> {
        let ssrc = Ssrc(ssrc);
        Ok(Self {
            source,
            ssrc,
            stream: sealer.open_stream(ssrc)?,
            ids,
            index: 1000,
            transport_number: 0,
            picture: 0,
            keyframe_wanted: true,
            n_packets: 0,
            n_octets: 0,
            header: Vec::with_capacity(64),
            payload: [0; MAX_PACKET],
            sealed: [0; MAX_PACKET],
        })
    }

    pub const fn source(&self) -> Source {
        self.source
    }

    pub const fn ssrc(&self) -> Ssrc {
        self.ssrc
    }

    /// The next frame is to be one that stands alone.
    pub fn want_keyframe(&mut self) {
        self.keyframe_wanted = true;
    }

    /// Writes a frame and hands each of its packets to `send`. Returns how many there were.
    pub fn send_frame(&mut self, now: Time, sealer: &mut Sealer, mut send: impl FnMut(&[u8])) -> u64 {
        let n_packets = self.source.packets();
        let timestamp = self.timestamp(now);
        let keyframe = std::mem::take(&mut self.keyframe_wanted);
        self.picture = self.picture.wrapping_add(1) & 0x7fff;
        let mut n_sent = 0;
        for number in 0..n_packets {
            self.write_header(timestamp, number + 1 == n_packets);
            let payload_bytes = self.source.payload_bytes();
            write_payload(&mut self.payload[..payload_bytes], self.source, number == 0, self.picture, keyframe);
            stamp(&mut self.payload[..payload_bytes], now);
            self.sealed[..self.header.len()].copy_from_slice(&self.header);
            let payload = &self.payload[..payload_bytes];
            let sealed = sealer.seal_rtp_into(self.stream, self.index, self.header.len(), payload, &mut self.sealed);
            self.index += 1;
            let Ok(len) = sealed else { continue };
            send(&self.sealed[..len]);
            n_sent += 1;
            self.n_packets = self.n_packets.wrapping_add(1);
            self.n_octets = self.n_octets.wrapping_add(payload_bytes as u32);
        }
        n_sent
    }

    fn timestamp(&self, now: Time) -> u32 {
        (now.as_micros() * self.source.clock_rate() / 1_000_000) as u32
    }

    fn write_header(&mut self, timestamp: u32, is_last: bool) {
        let (payload_type, marker) = match self.source {
            Source::Voice => (OPUS, false),
            Source::Screen => (VP8, is_last),
        };
        self.header.clear();
        write_header(&mut self.header, payload_type, marker, self.index as u16, timestamp, self.ssrc);
        let mut extension = ExtensionWriter::new(&mut self.header, ExtensionForm::OneByte);
        if let Some(id) = self.ids.mid {
            extension.push(id, MID);
        }
        if let Some(id) = self.ids.audio_level.filter(|_| self.source == Source::Voice) {
            extension.push(id, &[AUDIO_LEVEL]);
        }
        if let Some(id) = self.ids.transport_cc {
            extension.push(id, &self.transport_number.to_be_bytes());
            self.transport_number = self.transport_number.wrapping_add(1);
        }
        extension.finish();
    }

    /// Writes the report that goes with it once a second. `wall_clock` is that of `now`.
    pub fn write_report(&self, now: Time, wall_clock: NtpTime, out: &mut Vec<u8>) {
        let info = SenderInfo {
            ssrc: self.ssrc,
            ntp: wall_clock,
            timestamp: self.timestamp(now),
            packets: self.n_packets,
            octets: self.n_octets,
        };
        write_sender_report(out, &info);
        write_source_description(out, self.ssrc, "bench");
    }
}

/// Writes what stands at the beginning of a payload.
fn write_payload(payload: &mut [u8], source: Source, is_first: bool, picture: u16, keyframe: bool) {
    match source {
        Source::Voice => payload[0] = OPUS_TOC,
        Source::Screen => {
            // Payload descriptor with a long picture id (RFC 7741, section 4.2).
            let start = if is_first { 0x10 } else { 0 };
            let [high, low] = picture.to_be_bytes();
            payload[..4].copy_from_slice(&[0x80 | start, 0x80, 0x80 | high, low]);
            if is_first {
                // Frame tag, and for a keyframe the start code and a size of 1920 x 1080 (RFC 6386, section 9.1).
                let key = [0x10, 0, 0, 0x9d, 0x01, 0x2a, 0x80, 0x07, 0x38, 0x04];
                let delta = [0x11, 0, 0, 0, 0, 0, 0, 0, 0, 0];
                payload[4..14].copy_from_slice(if keyframe { &key } else { &delta });
            } else {
                payload[4..14].fill(0);
            }
        }
    }
}

fn stamp(payload: &mut [u8], now: Time) {
    let at = payload.len() - STAMP_BYTES;
    payload[at..].copy_from_slice(&now.as_micros().to_be_bytes());
}

/// How long ago a payload was written; `None` if it has no stamp of the past.
pub fn age(payload: &[u8], now: Time) -> Option<Duration> {
    let (_, stamp) = payload.split_last_chunk::<STAMP_BYTES>()?;
    let written = u64::from_be_bytes(*stamp);
    (written <= now.as_micros()).then(|| now.since(Time::from_micros(written)))
}

/// Bytes of a sealed packet that carries a mid alone in its header, which is what receivers get from servers.
pub fn packet_bytes(source: Source) -> usize {
    12 + 8 + source.payload_bytes() + Profile::AeadAes128Gcm.rtp_overhead()
}

#[cfg(test)]
mod tests {
    use sfu_core::media::rtp::Header;
    use sfu_core::transport::srtp::{MasterKey, Opener};

    use super::*;

    fn key() -> MasterKey {
        MasterKey::new(Profile::AeadAes128Gcm, &[1; 16], &[2; 12]).unwrap()
    }

    /// Opened packets of a frame.
    fn frame(publisher: &mut Publisher, sealer: &mut Sealer, opener: &mut Opener, now: Time) -> Vec<(Header, Vec<u8>)> {
        let mut packets = Vec::new();
        publisher.send_frame(now, sealer, |packet| {
            let mut packet = packet.to_vec();
            let opened = opener.open_rtp(&mut packet).expect("sealed for it");
            let header = Header::parse(&packet).expect("a packet");
            packets.push((header, packet[opened.header_len..opened.len].to_vec()));
        });
        packets
    }

    fn publisher(source: Source) -> (Publisher, Sealer, Opener) {
        let mut sealer = Sealer::new(key()).unwrap();
        let ids = ExtensionIds { mid: Some(1), audio_level: Some(2), transport_cc: Some(3) };
        let publisher = Publisher::new(source, 4711, ids, &mut sealer).unwrap();
        (publisher, sealer, Opener::new(key()).unwrap())
    }

    #[test]
    fn a_voice_says_when_it_was_written() {
        let (mut publisher, mut sealer, mut opener) = publisher(Source::Voice);
        let packets = frame(&mut publisher, &mut sealer, &mut opener, Time::from_millis(40));
        let [(_, payload)] = &packets[..] else { panic!("{packets:?}") };
        assert_eq!((payload.len(), payload[0]), (80, OPUS_TOC));
        assert_eq!(age(payload, Time::from_millis(43)), Some(Duration::from_millis(3)));
        assert_eq!(age(payload, Time::from_millis(39)), None, "written in the future");
    }

    #[test]
    fn a_screen_is_a_burst_that_begins_with_a_keyframe_when_one_is_wanted() {
        let (mut publisher, mut sealer, mut opener) = publisher(Source::Screen);
        let mut is_key = |publisher: &mut Publisher| {
            let packets = frame(publisher, &mut sealer, &mut opener, Time::ZERO);
            assert_eq!(packets.len(), 8);
            assert!(packets.iter().all(|(_, payload)| payload.len() == 1041));
            assert!(packets.iter().all(|(_, payload)| age(payload, Time::ZERO).is_some()));
            let starts: Vec<_> = packets.iter().map(|(_, payload)| payload[0] & 0x10 != 0).collect();
            assert_eq!(starts, [true, false, false, false, false, false, false, false]);
            packets[0].1[4] & 1 == 0
        };
        assert!(is_key(&mut publisher), "the first");
        assert!(!is_key(&mut publisher));
        publisher.want_keyframe();
        assert!(is_key(&mut publisher));
    }

    #[test]
    fn extensions_carry_what_servers_look_for() {
        let (mut publisher, mut sealer, _) = publisher(Source::Voice);
        let mut numbers = Vec::new();
        for _ in 0..2 {
            publisher.send_frame(Time::ZERO, &mut sealer, |packet| {
                let header = Header::parse(packet).expect("a packet");
                let found: Vec<_> = header.elements(packet).map(|(id, span)| (id, span.of(packet).to_vec())).collect();
                assert_eq!(found[0], (1, b"0".to_vec()));
                assert_eq!(found[1], (2, vec![AUDIO_LEVEL]));
                numbers.push(found[2].1.clone());
            });
        }
        assert_eq!(numbers, [[0, 0], [0, 1]]);
    }
}
