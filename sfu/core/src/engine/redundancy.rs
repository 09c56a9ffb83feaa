//! Redundant audio (RFC 2198) made of plain Opus, for subscribers whose networks lose packets and who take it.
//!
//! Each packet is encoded once, for all of them together. Sequence numbers stay as they are: it is the same packet with
//! more in it, so a subscriber changes between both with any.

use super::command::{Codec, CodecMapping};
use super::forward::Original;
use super::subscription::Subscription;
use super::track::{Source, Track};
use crate::media::history::Packet;
use crate::media::red::{self, Earlier};

/// Opus says silence in at most so many bytes (DTX). It is not worth repeating, nor is what was before it of use to it.
const SILENCE: usize = 2;
/// Longest frames that are repeated, in bytes: three fit a datagram. Speech takes a quarter of it.
const LONGEST: usize = 380;
/// Packets of a burst whose payloads are kept until the last subscriber has got it. Most bursts of audio are one packet.
const KEPT: u64 = 4;
/// Most earlier frames that go along.
const DISTANCES: u64 = 2;

/// How a subscriber gets redundant audio.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    red_payload_type: u8,
    opus_payload_type: u8,
    /// So many earlier frames.
    distance: u8,
}

/// The payloads of a burst's packets with one earlier frame and with two, made when they are asked for.
#[derive(Debug, Default)]
pub(super) struct Encodings {
    encodings: [Encoding; (KEPT * DISTANCES) as usize],
    /// How many were made since somebody asked.
    made: u64,
}

#[derive(Debug, Default)]
struct Encoding {
    /// The packet's number and the payload type of the frames.
    of: Option<(u64, u8)>,
    /// Empty if the packet is better sent as it is.
    payload: Vec<u8>,
}

impl Track {
    /// Whether its frames may be told apart from its packets.
    pub fn is_divisible(&self) -> bool {
        !self.description.encrypted
    }

    fn may_be_repeated(&self) -> bool {
        self.is_divisible() && self.description.redundancy
    }
}

impl Subscription {
    /// How it gets a track's audio with `distance` earlier frames beside each, if it does.
    fn wants_earlier(&self, track: &Track, distance: u8) -> Option<Wanted> {
        if distance == 0 || !track.may_be_repeated() {
            return None;
        }
        let find = |codec| self.description().codecs.iter().find(|mapping: &&CodecMapping| mapping.codec == codec);
        let (red, opus) = (find(Codec::Red)?, find(Codec::Opus)?);
        Some(Wanted { red_payload_type: red.payload_type, opus_payload_type: opus.payload_type, distance })
    }

    /// How many times as large its audio of a track may become where the network takes `distance` earlier frames.
    pub fn times(&self, track: &Track, distance: u8) -> u64 {
        self.wants_earlier(track, distance).map_or(1, |wanted| 1 + u64::from(wanted.distance))
    }

    /// Payload type and payload of a packet with earlier frames beside it, if it is to have any.
    pub(super) fn with_earlier<'a>(
        &self,
        original: &Original<'_>,
        distance: u8,
        encodings: &'a mut Encodings,
    ) -> Option<(u8, &'a [u8])> {
        if original.codec != Codec::Opus {
            return None;
        }
        let wanted = self.wants_earlier(original.track, distance)?;
        Some((wanted.red_payload_type, encodings.encode(original.source, original.packet, wanted)?))
    }
}

impl Encodings {
    /// What follows is of another stream, or of another time.
    pub fn clear(&mut self) {
        for encoding in &mut self.encodings {
            encoding.of = None;
        }
    }

    /// How many payloads were made since the last time.
    pub const fn take_made(&mut self) -> u64 {
        std::mem::replace(&mut self.made, 0)
    }

    /// The redundant payload of a packet. `None` if there is nothing to go along with it.
    fn encode(&mut self, source: &Source, packet: &Packet, wanted: Wanted) -> Option<&[u8]> {
        let Wanted { opus_payload_type: payload_type, distance, .. } = wanted;
        let at = packet.sequence % KEPT * DISTANCES + u64::from(distance).checked_sub(1)?;
        let encoding = self.encodings.get_mut(at as usize)?;
        let of = Some((packet.sequence, payload_type));
        if encoding.of != of {
            encoding.of = of;
            encoding.payload.clear();
            let back = (1..=u64::from(distance)).rev();
            let earlier = back.filter_map(|back| earlier(source, packet, payload_type, back));
            if is_sound(packet) && earlier.clone().next().is_some() {
                red::write(&mut encoding.payload, earlier, (payload_type, packet.payload()));
                self.made += 1;
            }
        }
        (!encoding.payload.is_empty()).then_some(&encoding.payload)
    }
}

fn is_sound(packet: &Packet) -> bool {
    (SILENCE + 1..=LONGEST).contains(&packet.payload().len())
}

/// The frame so many packets before, if it is there and of use.
fn earlier<'a>(source: &'a Source, packet: &Packet, payload_type: u8, back: u64) -> Option<Earlier<'a>> {
    let before = source.history.get(packet.sequence.checked_sub(back)?)?;
    let is_alike = is_sound(before) && before.header.payload_type == packet.header.payload_type;
    let age = packet.header.timestamp.wrapping_sub(before.header.timestamp);
    Some(Earlier { payload_type, age, data: before.payload() }).filter(|frame| is_alike && frame.fits())
}
