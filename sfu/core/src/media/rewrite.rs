//! One continuous stream for a subscriber, made from whatever streams its publisher sends.
//!
//! A subscriber sees one SSRC whose numbers have no gaps but those of lost packets, while behind it layers are
//! switched, the track is muted and the publisher's SSRC changes. The numbers are mapped in *segments*: from one
//! outgoing number on, packets come from one source with constant offsets. So the mapping is a pure function that also
//! works backwards: an outgoing number asked for again leads to the source's packet (RFC 7667, section 3.7).

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::media::sequence::nearest;

/// Segments remembered. A packet older than the oldest of them cannot be asked for any more. Where packets are left out
/// of every picture, each picture takes one: this is two seconds of 60 pictures.
const MAX_SEGMENTS: usize = 128;
/// A jump of the source beyond this is no loss but a new start; the receiver must not see it, since it follows the
/// roll-over counter of SRTP only across less than 2^15.
const MAX_GAP: u64 = 4096;

/// A stream of the publisher: changes with layer and SSRC, so that numbers of different streams are never mixed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SourceId(pub u32);

impl SourceId {
    /// The one that comes after.
    pub const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }

    /// Whether it was given out after `other`; they wrap.
    pub const fn is_after(self, other: Self) -> bool {
        self.0.wrapping_sub(other.0).cast_signed() > 0
    }
}

/// What is added to fields of the source's packets within a segment, each modulo its width.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offsets {
    pub timestamp: u32,
    /// Picture id of VP8 or VP9, 15 bits.
    pub picture_id: u16,
    /// Index of the base layer's picture, of the same.
    pub tl0_picture_index: u8,
    /// Frame number of the dependency descriptor, 16 bits.
    pub frame_number: u16,
    /// What of a stream with layers is forwarded.
    pub selection: Selection,
}

/// What of a stream with several layers in one is forwarded within a segment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    /// The highest spatial layer: with its frame a picture ends.
    pub spatial: Option<u8>,
    /// The decode targets that can be decoded, as a mask, if the receiver has to be told.
    pub targets: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Segment {
    first_out: u64,
    source: SourceId,
    first_in: u64,
    offsets: Offsets,
    /// Whether it is being continued; otherwise only packets that came late may pass.
    open: bool,
}

impl Segment {
    /// Whether this packet joins it.
    fn continues_with(&self, source: SourceId, sequence: u64) -> bool {
        self.open && self.source == source && sequence >= self.first_in
    }

    /// The outgoing number of a packet of its source that is not before its first.
    const fn number_of(&self, sequence: u64) -> u64 {
        self.first_out + (sequence - self.first_in)
    }
}

/// Where a packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mapped {
    /// Its outgoing number, widened; also the SRTP index.
    pub sequence: u64,
    pub offsets: Offsets,
    /// Whether it is newer than all that were sent or left out before it.
    pub newest: bool,
}

/// Which packet of which source an outgoing number stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    pub source: SourceId,
    pub sequence: u64,
    pub out: u64,
    pub offsets: Offsets,
}

/// The mapping of one subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rewriter {
    /// The one that packets join, or joined until the pause.
    last: Option<Segment>,
    /// The next number nobody has had.
    next_out: u64,
    /// Apart, since a packet seldom asks for it.
    ended: Option<Box<Ended>>,
}

/// What came before the last segment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Ended {
    /// Ascending by outgoing number.
    segments: VecDeque<Segment>,
    /// What was forwarded last by another owner of this mapping, of whose end nothing is known.
    by_another: Option<(SourceId, Offsets)>,
}

impl Rewriter {
    /// `first` is the number of the first packet. Below 2^15, an early loss cannot make the receiver guess the
    /// roll-over counter wrong (RFC 3711, section 3.3.1).
    pub const fn new(first: u64) -> Self {
        Self { last: None, next_out: first, ended: None }
    }

    /// The source that is being forwarded.
    pub fn source(&self) -> Option<SourceId> {
        self.last.filter(|last| last.open).map(|last| last.source)
    }

    /// The source that was forwarded last, and what was added to it, whether or not it still is.
    pub fn last(&self) -> Option<(SourceId, Offsets)> {
        match &self.last {
            Some(last) => Some((last.source, last.offsets)),
            None => self.ended.as_ref()?.by_another,
        }
    }

    /// The next number nobody has had.
    pub const fn next(&self) -> u64 {
        self.next_out
    }

    /// Leaves out numbers that another owner may have used. What it sent is not known, so nothing from before can be
    /// asked for any more.
    pub fn leave_out(&mut self, numbers: u64) {
        self.ended = self.last().map(|last| Box::new(Ended { by_another: Some(last), ..Ended::default() }));
        self.last = None;
        self.next_out += numbers;
    }

    /// The number that a packet has, or would have if it were sent now; nothing changes by that.
    pub fn number_of(&self, source: SourceId, sequence: u64) -> Option<u64> {
        match &self.last {
            Some(last) if last.continues_with(source, sequence) => Some(last.number_of(sequence)),
            _ => self.map_late(source, sequence).map(|mapped| mapped.sequence),
        }
    }

    /// All segments, the last one first.
    fn segments(&self) -> impl Iterator<Item = &Segment> {
        let ended = self.ended.iter().flat_map(|ended| ended.segments.iter().rev());
        self.last.iter().chain(ended)
    }

    /// Puts a segment behind all others.
    fn push(&mut self, segment: Segment) {
        // A segment nothing was sent from leaves no trace.
        if let Some(last) = self.last.take().filter(|last| last.first_out < segment.first_out) {
            let ended = &mut self.ended.get_or_insert_default().segments;
            if ended.len() + 1 == MAX_SEGMENTS {
                ended.pop_front();
            }
            ended.push_back(Segment { open: false, ..last });
        }
        self.last = Some(segment);
    }

    /// From here on, packets of `source` follow, beginning with its packet `first_in`. `false`, and nothing changes, if
    /// that packet has had its chance to be sent already: a second number for it would show it twice.
    pub fn begin(&mut self, source: SourceId, first_in: u64, offsets: Offsets) -> bool {
        let mut end = self.next_out;
        for segment in self.segments() {
            if segment.source == source && first_in < segment.first_in + (end - segment.first_out) {
                return false;
            }
            end = segment.first_out;
        }
        self.push(Segment { first_out: self.next_out, source, first_in, offsets, open: true });
        true
    }

    /// Nothing new follows until the next [`begin`](Self::begin). What was sent may still be asked for.
    pub const fn pause(&mut self) {
        if let Some(last) = &mut self.last {
            last.open = false;
        }
    }

    /// The number of a source's packet that is to be sent. `None` if it is none of those being forwarded: from before
    /// its segment, or after the subscriber was switched to another source.
    pub fn map(&mut self, source: SourceId, sequence: u64) -> Option<Mapped> {
        let last = self.last?;
        if last.continues_with(source, sequence) {
            let out = last.number_of(sequence);
            if out >= self.next_out + MAX_GAP && self.begin(source, sequence, last.offsets) {
                return self.map(source, sequence);
            }
            let newest = out >= self.next_out;
            self.next_out = self.next_out.max(out + 1);
            return Some(Mapped { sequence: out, offsets: last.offsets, newest });
        }
        self.map_late(source, sequence)
    }

    /// A packet that belongs into a segment which has ended, or into the sent part of the last one.
    fn map_late(&self, source: SourceId, sequence: u64) -> Option<Mapped> {
        let mut end = self.next_out;
        for segment in self.segments() {
            if segment.source == source && sequence >= segment.first_in {
                let out = segment.number_of(sequence);
                if out < end {
                    return Some(Mapped { sequence: out, offsets: segment.offsets, newest: false });
                }
            }
            end = segment.first_out;
        }
        None
    }

    /// A packet of the source is not to be sent, and the receiver shall not miss it. Works only for the packet that
    /// would be next; otherwise `false`, and something must be sent under its number.
    pub fn skip(&mut self, source: SourceId, sequence: u64) -> bool {
        let Some(last) = self.last else { return true };
        if !last.continues_with(source, sequence) {
            return self.map_late(source, sequence).is_none();
        }
        if last.number_of(sequence) != self.next_out {
            return false;
        }
        self.begin(source, sequence + 1, last.offsets)
    }

    /// A packet of the source is not to be sent, and the receiver shall not miss it, whatever is missing before it: that
    /// keeps its numbers and may still come. `false` if the packet has a number already, under which something must be
    /// sent.
    pub fn omit(&mut self, source: SourceId, sequence: u64) -> bool {
        let Some(last) = self.last else { return true };
        if !last.continues_with(source, sequence) {
            return self.map_late(source, sequence).is_none();
        }
        if last.number_of(sequence) < self.next_out {
            return false;
        }
        self.continue_from(last, sequence, last.offsets);
        if let Some(segment) = &mut self.last {
            segment.first_in = sequence + 1;
        }
        true
    }

    /// From this packet of the source on, other offsets hold; numbers run on, and what is missing before it keeps its
    /// own. Nothing changes if it, or one after it, has been sent.
    pub fn turn(&mut self, source: SourceId, sequence: u64, offsets: Offsets) {
        let Some(last) = self.last.filter(|last| last.continues_with(source, sequence)) else { return };
        if last.number_of(sequence) >= self.next_out && last.offsets != offsets {
            self.continue_from(last, sequence, offsets);
        }
    }

    /// Begins a segment with a packet of the last one's source that is newer than all before.
    fn continue_from(&mut self, last: Segment, sequence: u64, offsets: Offsets) {
        let out = last.number_of(sequence);
        // As with a jump that is sent: nothing before it is waited for.
        if out < self.next_out + MAX_GAP {
            self.next_out = out;
        }
        self.push(Segment { first_out: self.next_out, first_in: sequence, offsets, ..last });
    }

    /// Which packet was sent, or should have been, under the 16-bit number of an outgoing packet.
    pub fn origin(&self, sequence_number: u16) -> Option<Origin> {
        let out = nearest(self.next_out.checked_sub(1)?, sequence_number);
        if out >= self.next_out {
            return None;
        }
        let segment = self.segments().find(|segment| segment.first_out <= out)?;
        let sequence = segment.first_in + (out - segment.first_out);
        Some(Origin { source: segment.source, sequence, out, offsets: segment.offsets })
    }
}

#[cfg(test)]
#[path = "rewrite_tests.rs"]
mod tests;
