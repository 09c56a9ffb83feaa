//! What one client sends: frames with the time they were written in them, as RTP packets.

use std::time::Duration;

use sfu_core::id::Ssrc;
use sfu_core::media::rtcp::{SenderInfo, write_sender_report, write_source_description};
use sfu_core::media::rtp::{ExtensionForm, ExtensionWriter, write_header};
use sfu_core::time::{NtpTime, Time};
use sfu_core::transport::srtp::{OutboundStream, Profile, SealError, Sealer};

use super::offer::{ExtensionIds, OPUS, VP8};
use super::scenario::{Layer, Source};

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

/// Between the SSRCs of two layers of a source: further apart than clients are.
const LAYER_STEP: u32 = 1_000_000;

/// A source and its counters.
#[derive(Debug)]
pub struct Publisher {
    source: Source,
    /// One for each layer, the smallest first.
    encodings: Vec<Encoding>,
    ids: ExtensionIds,
    transport_number: u16,
    header: Vec<u8>,
    payload: [u8; MAX_PACKET],
    sealed: [u8; MAX_PACKET],
}

/// One layer and its counters.
#[derive(Debug)]
struct Encoding {
    layer: Layer,
    ssrc: Ssrc,
    stream: OutboundStream,
    index: u64,
    picture: u16,
    keyframe_wanted: bool,
    n_packets: u32,
    n_octets: u32,
}

impl Publisher {
    /// # Errors
    /// [`SealError`] if the sealer has too many streams.
    pub fn new(source: Source, ssrc: u32, ids: ExtensionIds, sealer: &mut Sealer) -> Result<Self, SealError> {
        let encoding = |(number, layer): (usize, &Layer)| {
            let ssrc = Ssrc(ssrc + number as u32 * LAYER_STEP);
            let stream = sealer.open_stream(ssrc)?;
            let layer = *layer;
            let (index, picture, keyframe_wanted) = (1000, 0, true);
            Ok(Encoding { layer, ssrc, stream, index, picture, keyframe_wanted, n_packets: 0, n_octets: 0 })
        };
        Ok(Self {
            source,
            encodings: source.layers().iter().enumerate().map(encoding).collect::<Result<_, SealError>>()?,
            ids,
            transport_number: 0,
            header: Vec::with_capacity(64),
            payload: [0; MAX_PACKET],
            sealed: [0; MAX_PACKET],
        })
    }

    pub const fn source(&self) -> Source {
        self.source
    }

    /// Of its first layer: the name it reports under.
    pub fn ssrc(&self) -> Ssrc {
        self.encodings[0].ssrc
    }

    /// The next frame of the layer with this SSRC, if it is one of this source, is to be one that stands alone.
    pub fn want_keyframe(&mut self, ssrc: Ssrc) {
        for encoding in self.encodings.iter_mut().filter(|encoding| encoding.ssrc == ssrc) {
            encoding.keyframe_wanted = true;
        }
    }

    /// Writes a frame in every layer and hands each of its packets to `send`. Returns how many there were in the largest,
    /// which is what a receiver gets who has the network for it.
    pub fn send_frame(&mut self, now: Time, sealer: &mut Sealer, mut send: impl FnMut(&[u8])) -> u64 {
        let mut n_sent = 0;
        for number in 0..self.encodings.len() {
            n_sent = self.send_layer(number, now, sealer, &mut send);
        }
        n_sent
    }

    fn send_layer(&mut self, number: usize, now: Time, sealer: &mut Sealer, send: &mut impl FnMut(&[u8])) -> u64 {
        let timestamp = timestamp(self.source, now);
        let encoding = &mut self.encodings[number];
        let Layer { packets, payload_bytes, .. } = encoding.layer;
        let keyframe = std::mem::take(&mut encoding.keyframe_wanted);
        encoding.picture = encoding.picture.wrapping_add(1) & 0x7fff;
        let mut n_sent = 0;
        for packet in 0..packets {
            self.write_header(number, timestamp, packet + 1 == packets);
            let encoding = &mut self.encodings[number];
            let payload = &mut self.payload[..payload_bytes];
            write_payload(payload, self.source, encoding, packet == 0, keyframe);
            stamp(payload, now);
            self.sealed[..self.header.len()].copy_from_slice(&self.header);
            let (stream, index) = (encoding.stream, encoding.index);
            let sealed = sealer.seal_rtp_into(stream, index, self.header.len(), payload, &mut self.sealed);
            encoding.index += 1;
            let Ok(len) = sealed else { continue };
            send(&self.sealed[..len]);
            n_sent += 1;
            encoding.n_packets = encoding.n_packets.wrapping_add(1);
            encoding.n_octets = encoding.n_octets.wrapping_add(payload_bytes as u32);
        }
        n_sent
    }

    fn write_header(&mut self, number: usize, timestamp: u32, is_last: bool) {
        let (payload_type, marker) = match self.source {
            Source::Voice => (OPUS, false),
            Source::Screen | Source::Camera => (VP8, is_last),
        };
        let Encoding { layer, ssrc, index, .. } = &self.encodings[number];
        self.header.clear();
        write_header(&mut self.header, payload_type, marker, *index as u16, timestamp, *ssrc);
        let mut extension = ExtensionWriter::new(&mut self.header, ExtensionForm::OneByte);
        if let Some(id) = self.ids.mid {
            extension.push(id, MID);
        }
        if let (Some(id), Some(rid)) = (self.ids.rid, layer.rid) {
            extension.push(id, rid.as_bytes());
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

    /// Writes the reports that go with it once a second. `wall_clock` is that of `now`.
    pub fn write_report(&self, now: Time, wall_clock: NtpTime, out: &mut Vec<u8>) {
        for encoding in &self.encodings {
            let info = SenderInfo {
                ssrc: encoding.ssrc,
                ntp: wall_clock,
                timestamp: timestamp(self.source, now),
                packets: encoding.n_packets,
                octets: encoding.n_octets,
            };
            write_sender_report(out, &info);
        }
        write_source_description(out, self.ssrc(), "bench");
    }
}

/// The same in all layers.
fn timestamp(source: Source, now: Time) -> u32 {
    (now.as_micros() * source.clock_rate() / 1_000_000) as u32
}

/// Writes what stands at the beginning of a payload.
fn write_payload(payload: &mut [u8], source: Source, encoding: &Encoding, is_first: bool, keyframe: bool) {
    match source {
        Source::Voice => payload[0] = OPUS_TOC,
        Source::Screen | Source::Camera => {
            // Payload descriptor with a long picture id (RFC 7741, section 4.2).
            let start = if is_first { 0x10 } else { 0 };
            let [high, low] = encoding.picture.to_be_bytes();
            payload[..4].copy_from_slice(&[0x80 | start, 0x80, 0x80 | high, low]);
            if is_first {
                // Frame tag, and for a keyframe the start code and the size (RFC 6386, section 9.1).
                let ([w0, w1], [h0, h1]) =
                    ((encoding.layer.width as u16).to_le_bytes(), (encoding.layer.height as u16).to_le_bytes());
                let key = [0x10, 0, 0, 0x9d, 0x01, 0x2a, w0, w1, h0, h1];
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
    12 + 8 + source.largest().payload_bytes + Profile::AeadAes128Gcm.rtp_overhead()
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
        let ids = ExtensionIds { mid: Some(1), rid: Some(4), audio_level: Some(2), transport_cc: Some(3) };
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
        publisher.want_keyframe(Ssrc(4711));
        assert!(is_key(&mut publisher));
    }

    #[test]
    fn a_camera_is_three_streams_that_are_told_apart_and_asked_for_keyframes_one_by_one() {
        let (mut publisher, mut sealer, mut opener) = publisher(Source::Camera);
        let mut layers = |publisher: &mut Publisher| {
            let mut packets: Vec<(u32, usize, bool)> = Vec::new();
            publisher.send_frame(Time::ZERO, &mut sealer, |packet| {
                let mut packet = packet.to_vec();
                let opened = opener.open_rtp(&mut packet).expect("sealed for it");
                let header = Header::parse(&packet).expect("a packet");
                let rid = header.elements(&packet).find(|(id, _)| *id == 4).expect("a rid").1.of(&packet).to_vec();
                let layer = [b"q", b"h", b"f"].iter().position(|name| name[..] == rid).expect("one of three");
                let payload = &packet[opened.header_len..opened.len];
                packets.push((header.ssrc.0, layer, payload[0] & 0x10 != 0 && payload[4] & 1 == 0));
            });
            packets
        };
        let first = layers(&mut publisher);
        let ssrcs: Vec<_> = first.iter().map(|(ssrc, layer, _)| (*ssrc, *layer)).collect();
        assert_eq!(ssrcs[..4], [(4711, 0), (1_004_711, 1), (1_004_711, 1), (2_004_711, 2)]);
        assert_eq!((ssrcs.len(), first.iter().filter(|(_, _, key)| *key).count()), (10, 3));
        publisher.want_keyframe(Ssrc(1_004_711));
        let keys: Vec<_> =
            layers(&mut publisher).into_iter().filter(|(_, _, key)| *key).map(|(ssrc, ..)| ssrc).collect();
        assert_eq!(keys, [1_004_711]);
    }

    #[test]
    fn a_receiver_is_to_get_the_largest_layer() {
        let (mut publisher, mut sealer, _) = publisher(Source::Camera);
        assert_eq!(publisher.send_frame(Time::ZERO, &mut sealer, |_| ()), 7);
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
