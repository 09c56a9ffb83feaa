//! Redundant audio (RFC 2198) of publishers, taken apart as it comes: behind this file there is plain Opus, and the
//! frames that were lost on the way are there as if they had come.
//!
//! Who gets earlier frames beside each, and how many, is then decided for each subscriber by what its network loses, and
//! receivers without redundancy get what the publisher's redundancy saved.

use super::Engine;
use super::arena::TrackIndex;
use super::command::Codec;
use super::receive::Taken;
use super::track::{Source, Track};
use crate::media::extension::Located;
use crate::media::red::{self, Earlier};
use crate::time::Time;

impl Engine {
    /// Takes in a redundant packet of a stream whose highest number before it is `before`.
    pub(super) fn take_redundant(&mut self, now: Time, at: (TrackIndex, u8), taken: &Taken<'_>, before: Option<u64>) {
        let payload = taken.header.payload.of(taken.bytes);
        let is_opus = |payload_type| {
            let track = self.tracks.get(at.0);
            track.and_then(|track| track.codec(payload_type)).is_some_and(|mapping| mapping.codec == Codec::Opus)
        };
        let primary = red::primary(payload).filter(|(payload_type, _)| is_opus(*payload_type));
        let Some(primary) = primary else {
            // An empty one is padding, with which browsers probe.
            if payload.is_empty() {
                self.note_arrival(now, at, taken);
            } else {
                self.output.stats.dropped.malformed += 1;
                // It came all the same, and asking for it again would bring the same.
                if let Some(source) = self.source_mut(at) {
                    source.nack.handle_packet(now, taken.sequence);
                }
            }
            return;
        };
        let mut restored = std::mem::take(&mut self.scratch.payload);
        self.recover(now, at, taken, (primary.0, before), &mut restored);
        if let Some(header) = red::restore_primary(&mut restored, (&taken.header, taken.bytes), primary) {
            self.note_divided(now, at, &Taken { bytes: &restored, header, ..*taken });
        }
        self.scratch.payload = restored;
    }

    /// Takes in the frames beside a packet that came in none of their own. They count backwards from it: browsers repeat
    /// the last frames without a gap.
    fn recover(
        &mut self,
        now: Time,
        (index, layer): (TrackIndex, u8),
        taken: &Taken<'_>,
        (payload_type, before): (u8, Option<u64>),
        restored: &mut Vec<u8>,
    ) {
        // A stream does not begin with what was repeated, nor does it go on so after it was muted.
        let is_kept = |before: &u64| {
            let source = self.tracks.get(index).and_then(|track| track.layer(layer)?.source.as_ref());
            source.is_some_and(|source| source.history.get(*before).is_some())
        };
        let before = before.filter(|before| before + 1 < taken.sequence).filter(is_kept);
        let Some(before) = before else { return };
        let frames = red::earlier(taken.header.payload.of(taken.bytes));
        for (frame, back) in frames.clone().zip((1..=frames.len() as u64).rev()) {
            let sequence = taken.sequence.saturating_sub(back);
            let is_alike = frame.payload_type == payload_type && frame.fits() && !frame.data.is_empty();
            let Some(track) = self.tracks.get(index).filter(|track| !track.muted) else { return };
            if sequence <= before || !is_alike || !track.can_be_next(layer, taken, frame) {
                continue;
            }
            let Some(header) = red::restore_earlier(restored, &taken.header, sequence as u16, frame) else { continue };
            self.output.stats.redundancy.recovered += 1;
            let located = Located::default();
            let taken = Taken { sequence, arrival: taken.arrival, bytes: restored, header, located };
            self.note_divided(now, (index, layer), &taken);
        }
    }

    /// Takes in a frame as a packet of its own, which counts as much as it is without others beside it: so much of it is
    /// sent on.
    fn note_divided(&mut self, now: Time, at: (TrackIndex, u8), taken: &Taken<'_>) {
        if let Some(source) = self.source_mut(at) {
            source.count(now, taken.bytes.len());
        }
        self.note_arrival(now, at, taken);
    }

    fn source_mut(&mut self, (index, layer): (TrackIndex, u8)) -> Option<&mut Source> {
        self.tracks.get_mut(index)?.source_mut(layer)
    }
}

impl Track {
    /// Whether a frame beside a packet is later than what came last of the layer. It is not if its publisher leaves
    /// out frames that are not worth repeating: then its number would be another one's.
    fn can_be_next(&self, layer: u8, taken: &Taken<'_>, frame: Earlier<'_>) -> bool {
        let source = self.layer(layer).and_then(|layer| layer.source.as_ref());
        let newest = source.and_then(|source| source.history.newest());
        let timestamp = taken.header.timestamp.wrapping_sub(frame.age);
        newest.is_none_or(|newest| timestamp.wrapping_sub(newest.header.timestamp).cast_signed() > 0)
    }
}
