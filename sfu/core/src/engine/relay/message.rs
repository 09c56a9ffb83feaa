//! What engines tell one another about a track.

use serde::{Deserialize, Serialize};

use crate::engine::handoff::Handoff;
use crate::id::{PeerKey, Ssrc, TrackKey, TransportKey};
use crate::media::history::Packet;
use crate::media::rewrite::SourceId;
use crate::media::rtp::MAX_PACKET;
use crate::media::scalable::Scalable;
use crate::media::timeline::Mapping;
use crate::time::Time;

/// A message and for whom it is.
#[derive(Debug, Serialize, Deserialize)]
pub struct Relay {
    pub peer: PeerKey,
    pub message: RelayMessage,
}

/// One message about one track, or about a transport that moves.
///
/// What is about a track can be understood alone: a message that is lost or late costs what it carries and nothing else.
/// What is about a transport comes in its order, behind all that was sent before, and the keys of one have to arrive
/// ([`may_be_lost`](Self::may_be_lost)); if the way they take breaks meanwhile, their session goes on as that of a dead
/// engine, from a checkpoint. Carries media in the clear, and keys: what takes it to another machine must keep it secret.
#[derive(Debug, Serialize, Deserialize)]
pub struct RelayMessage(pub(in crate::engine) Subject);

#[derive(Debug, Serialize, Deserialize)]
pub(in crate::engine) enum Subject {
    Track { track: TrackKey, content: Content },
    Transport { transport: TransportKey, content: Handoff },
}

/// What is said of a track. All but the last go the way of the media.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Content {
    /// Packets that just came.
    Fresh(RelayedPackets),
    /// Packets from before the relay began, of which a subscriber may still ask for one.
    Kept(RelayedPackets),
    /// What is known of the layers within a stream when its relay begins: without, they could not be told apart before the
    /// next keyframe, and frames would have other numbers than elsewhere.
    Layers {
        stream: Stream,
        layers: Box<Scalable>,
    },
    /// What the publisher's last sender report said of a stream's time.
    Report {
        stream: Stream,
        mapping: Mapping,
    },
    /// A stream has ended; none took its place yet.
    Ended {
        stream: Stream,
    },
    Muted(bool),
    /// Somebody needs a whole picture of this layer, and asks whoever relays the track.
    KeyframeWanted {
        layer: u8,
    },
}

/// A stream of the publisher: the layer it is, and by which numbers it is known everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stream {
    pub layer: u8,
    pub source: SourceId,
    pub ssrc: Ssrc,
    pub clock_rate: u32,
}

/// Packets of one stream, decrypted, in one piece of memory: before each its widened number, when it arrived, and its
/// length.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayedPackets {
    pub stream: Stream,
    bytes: Vec<u8>,
}

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelayedPacket<'a> {
    pub sequence: u64,
    pub arrival: Time,
    /// The whole RTP packet, at most [`MAX_PACKET`] long.
    pub bytes: &'a [u8],
}

/// What precedes a packet: number, arrival in microseconds, length.
const HEAD: usize = 8 + 8 + 2;

impl RelayedPackets {
    /// Packets written into `buffer`, whose memory is used again.
    pub fn new<'a>(stream: Stream, mut buffer: Vec<u8>, packets: impl Iterator<Item = &'a Packet> + Clone) -> Self {
        buffer.clear();
        buffer.reserve(packets.clone().map(|packet| HEAD + packet.bytes().len()).sum());
        for packet in packets {
            let Ok(length) = u16::try_from(packet.bytes().len()) else { continue };
            buffer.extend_from_slice(&packet.sequence.to_be_bytes());
            buffer.extend_from_slice(&packet.arrival.as_micros().to_be_bytes());
            buffer.extend_from_slice(&length.to_be_bytes());
            buffer.extend_from_slice(packet.bytes());
        }
        Self { stream, bytes: buffer }
    }

    /// The packets in the order they were written. Ends where one is cut short.
    pub fn iter(&self) -> impl Iterator<Item = RelayedPacket<'_>> {
        let mut rest = &self.bytes[..];
        std::iter::from_fn(move || {
            let (head, after) = rest.split_at_checked(HEAD)?;
            let sequence = u64::from_be_bytes(head[..8].try_into().ok()?);
            let arrival = Time::from_micros(u64::from_be_bytes(head[8..16].try_into().ok()?));
            let length = usize::from(u16::from_be_bytes([head[16], head[17]])).min(MAX_PACKET);
            let (bytes, after) = after.split_at_checked(length)?;
            rest = after;
            Some(RelayedPacket { sequence, arrival, bytes })
        })
    }

    /// The memory, for other packets.
    pub fn into_buffer(self) -> Vec<u8> {
        self.bytes
    }
}

impl RelayMessage {
    /// When the first of its fresh packets arrived, if it has some.
    pub fn arrival(&self) -> Option<Time> {
        match &self.0 {
            Subject::Track { content: Content::Fresh(packets), .. } => {
                packets.iter().next().map(|packet| packet.arrival)
            }
            _ => None,
        }
    }

    pub(in crate::engine) const fn track(track: TrackKey, content: Content) -> Self {
        Self(Subject::Track { track, content })
    }

    pub(in crate::engine) const fn transport(transport: TransportKey, content: Handoff) -> Self {
        Self(Subject::Transport { transport, content })
    }

    /// Whether its loss does no lasting harm. Who carries messages may drop such ones, but must keep all others until there
    /// is room for them.
    pub const fn may_be_lost(&self) -> bool {
        match &self.0 {
            Subject::Track { .. } => true,
            Subject::Transport { content, .. } => content.may_be_lost(),
        }
    }

    /// Bytes of media it carries.
    pub fn size(&self) -> usize {
        match &self.0 {
            Subject::Track { content: Content::Fresh(packets) | Content::Kept(packets), .. } => packets.bytes.len(),
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::media::extension::Located;
    use crate::media::history::History;
    use crate::media::rtp::{Header, write_header};

    const STREAM: Stream = Stream { layer: 1, source: SourceId(7), ssrc: Ssrc(5), clock_rate: 90_000 };

    fn history(payloads: &[Vec<u8>]) -> History {
        let mut history = History::new(64);
        for (sequence, payload) in (70_000..).zip(payloads) {
            let mut bytes = Vec::new();
            write_header(&mut bytes, 96, false, sequence as u16, 0, STREAM.ssrc);
            bytes.extend_from_slice(payload);
            let header = Header::parse(&bytes).expect("ours");
            history.insert(sequence, Time::from_millis(sequence), (&bytes, &header, Located::default()), (false, None));
        }
        history
    }

    proptest! {
        #[test]
        fn packets_come_out_as_they_went_in(
            payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 1..20)
        ) {
            let history = history(&payloads);
            let kept = (70_000..70_000 + payloads.len() as u64).filter_map(|sequence| history.get(sequence));
            let packets = RelayedPackets::new(STREAM, vec![1, 2, 3], kept);
            let read: Vec<_> = packets.iter().collect();
            prop_assert_eq!(read.len(), payloads.len());
            for ((packet, payload), sequence) in read.iter().zip(&payloads).zip(70_000..) {
                prop_assert_eq!((packet.sequence, packet.arrival), (sequence, Time::from_millis(sequence)));
                prop_assert_eq!(&packet.bytes[12..], &payload[..]);
            }
        }

        #[test]
        fn what_is_cut_short_is_read_as_far_as_it_goes(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let packets = RelayedPackets { stream: STREAM, bytes };
            prop_assert!(packets.iter().map(|packet| packet.bytes.len()).sum::<usize>() <= 100);
        }
    }
}
