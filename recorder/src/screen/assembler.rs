//! Puts a stream's packets in order and takes whole frames from them.

use std::collections::BTreeMap;
use std::time::Duration;

use sfu_core::media::rtp::Header;
use sfu_core::media::sequence::Unwrapper;
use sfu_core::time::Time;

use super::{Picture, VideoCodec};

/// How long a missing packet is waited for: several retransmissions on a slow path. Longer, and frames behind it come too
/// late for their place.
const PATIENCE: Duration = Duration::from_millis(500);
/// Packets and bytes that wait at most: more than half a second of any screen. A stream with more begins anew.
const MOST_WAITING: usize = 4096;
const MOST_BYTES: usize = 16 << 20;
/// So many packets in a row with numbers of the past mean that the sender counts anew.
const BELIEVED_AFTER: u32 = 100;

/// What is known of a packet beside its payload.
#[derive(Debug, Clone, Copy)]
pub struct Received {
    pub at: Time,
    /// Widened.
    pub timestamp: i64,
}

#[derive(Debug)]
struct Waiting {
    received: Received,
    marker: bool,
    payload: Vec<u8>,
}

/// A whole frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub timestamp: i64,
    pub picture: Picture,
}

/// One stream of video.
#[derive(Debug)]
pub struct Assembler {
    codec: VideoCodec,
    numbers: Unwrapper,
    waiting: BTreeMap<u64, Waiting>,
    bytes: usize,
    /// Number of the first packet of the next frame. `None` until a keyframe begins.
    next: Option<u64>,
    /// All packets from `next` to before this one are here, and none of them ends a frame.
    scanned: u64,
    /// The next frame is to be a keyframe: its first packet says so.
    begins: bool,
    /// Packets in a row with numbers of the past.
    past: u32,
}

impl Assembler {
    pub fn new(codec: VideoCodec) -> Self {
        Self {
            codec,
            numbers: Unwrapper::default(),
            waiting: BTreeMap::new(),
            bytes: 0,
            next: None,
            scanned: 0,
            begins: false,
            past: 0,
        }
    }

    /// Whether nothing can be shown before a keyframe comes.
    pub const fn needs_keyframe(&self) -> bool {
        self.next.is_none()
    }

    /// Whether a keyframe is on its way: its beginning is here.
    pub fn has_begun_keyframe(&self) -> bool {
        let first = self.next.and_then(|next| self.waiting.get(&next));
        first.is_some_and(|first| self.codec.starts_keyframe(&first.payload))
    }

    /// Takes in a packet. Returns whether it is of use.
    pub fn handle_rtp(&mut self, received: Received, header: &Header, payload: &[u8]) -> bool {
        let number = self.numbers.unwrap(header.sequence_number);
        if self.next.is_some_and(|next| number < next) {
            self.past += 1;
            if self.past >= BELIEVED_AFTER {
                self.begin_anew();
            }
            return false;
        }
        self.past = 0;
        if self.waiting.len() >= MOST_WAITING || self.bytes + payload.len() > MOST_BYTES {
            self.begin_anew();
            return false;
        }
        let waiting = Waiting { received, marker: header.marker, payload: payload.to_vec() };
        self.bytes += payload.len();
        if let Some(double) = self.waiting.insert(number, waiting) {
            self.bytes -= double.payload.len();
        }
        true
    }

    /// The next frame that can be decoded.
    pub fn poll(&mut self, now: Time) -> Option<Frame> {
        loop {
            let Some(next) = self.next else {
                self.find_keyframe(now)?;
                continue;
            };
            let Some(end) = self.end_of_frame(next) else {
                self.give_up_lost(now)?;
                continue;
            };
            let frame = self.take_frame(next, end);
            if frame.is_some() {
                return frame;
            }
        }
    }

    /// Forgets everything but that a keyframe is needed.
    pub fn begin_anew(&mut self) {
        *self = Self::new(self.codec);
    }

    /// Goes to the first packet that begins a keyframe. What is before it goes, if it is old: packets come out of order.
    fn find_keyframe(&mut self, now: Time) -> Option<()> {
        let begin = self.waiting.iter().find(|(_, packet)| self.codec.starts_keyframe(&packet.payload));
        let Some((begin, _)) = begin else {
            while let Some(entry) = self.waiting.first_entry()
                && now.since(entry.get().received.at) >= PATIENCE
            {
                self.bytes -= entry.remove().payload.len();
            }
            return None;
        };
        let begin = *begin;
        self.drop_before(begin);
        (self.next, self.scanned, self.begins) = (Some(begin), begin, true);
        Some(())
    }

    /// Number after the frame's last packet, if all of it is here.
    fn end_of_frame(&mut self, next: u64) -> Option<u64> {
        let timestamp = self.waiting.get(&next)?.received.timestamp;
        while let Some(packet) = self.waiting.get(&self.scanned) {
            // Without the mark at its end, a frame ends where the next begins.
            if packet.received.timestamp != timestamp {
                return Some(self.scanned);
            }
            self.scanned += 1;
            if packet.marker {
                return Some(self.scanned);
            }
        }
        None
    }

    /// Waits for a lost packet no longer, if it has been waited for. `None`: it is, or nothing is lost.
    fn give_up_lost(&mut self, now: Time) -> Option<()> {
        let (_, after) = self.waiting.range(self.scanned..).next()?;
        if now.since(after.received.at) < PATIENCE {
            return None;
        }
        // Also what is here of the frame: it will never be whole.
        self.drop_before(self.scanned);
        self.next = None;
        Some(())
    }

    fn take_frame(&mut self, next: u64, end: u64) -> Option<Frame> {
        let packets = self.waiting.range(next..end).map(|(_, packet)| packet);
        let timestamp = packets.clone().next()?.received.timestamp;
        // Packets of only padding have no payload.
        let payloads = packets.map(|packet| packet.payload.as_slice()).filter(|payload| !payload.is_empty());
        let is_padding = payloads.clone().next().is_none();
        let picture = if is_padding { None } else { self.codec.depacketize(payloads) };
        self.drop_before(end);
        (self.next, self.scanned) = (Some(end), end);
        let picture = picture.filter(|picture| picture.keyframe || !self.begins);
        if picture.is_none() && !is_padding {
            self.next = None;
        }
        self.begins &= is_padding;
        Some(Frame { timestamp, picture: picture? })
    }

    fn drop_before(&mut self, number: u64) {
        while let Some(entry) = self.waiting.first_entry()
            && *entry.key() < number
        {
            self.bytes -= entry.remove().payload.len();
        }
    }
}

#[cfg(test)]
mod tests;
