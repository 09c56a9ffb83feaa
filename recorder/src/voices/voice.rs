//! One voice: its packets in order, decoded, concealed, and at their place on the timeline.
//!
//! The voice's clock and ours differ, and where its sound belongs becomes known better with time. In a pause it is just
//! put to its place. While it sounds, a few samples more or fewer than 960 become a frame of 960, too few to be heard;
//! only what is far off jumps.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use sfu_core::media::red;
use sfu_core::media::rtp::Header;
use sfu_core::media::sequence::Unwrapper;
use sfu_core::time::{NtpTime, Time};

use super::codec::{self, Decoder, LONGEST_PACKET, OpusError, SHORTEST_FRAME, Scratch, duration};
use super::{FRAME, Frame, RATE};
use crate::timeline::{SenderClock, Stream};

/// Packets that wait at most: of 20 ms, ten seconds. More are of no use, since they come only so late.
const MOST_WAITING: usize = 512;
/// So many packets in a row with numbers of the past mean that the sender counts anew.
const BELIEVED_AFTER: u32 = 20;
/// Longest gap that is concealed, in samples; what comes after it would be made up. Longer ones fade away.
const LONGEST_CONCEALED: i64 = LONGEST_PACKET as i64;
/// How long sound that just ends fades, in samples: 20 ms. At once would be heard as a click.
const FADE: usize = 960;
/// Samples below are silence: -70 dB, less than the rustle of any room.
const QUIET: f32 = 0.0003;
/// A voice that is off its place by more samples jumps there: 100 ms. Drawing it there would take too long.
const JUMP: i64 = 4800;
/// A frame is stretched by one sample for so many that the voice is off its place: within 1 ms it is left alone.
const OFF_FOR_ONE: i64 = 48;
/// Most samples that a frame is stretched or squeezed by. 8 of 960 is a seventh of a semitone; 40 ms are made good in
/// four seconds.
const MOST_STRETCHED: i64 = 8;

/// What one frame of a voice was.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Heard {
    /// Packets that came too late for their place.
    pub late: u32,
    /// Samples made up for packets that did not come, in 48ths of a millisecond.
    pub concealed: u32,
    /// Loudness: the mean square of the samples.
    pub power: f32,
}

#[derive(Debug)]
struct Waiting {
    timestamp: i64,
    duration: usize,
    payload: Vec<u8>,
}

/// A stream of Opus, plain or with redundancy (RFC 2198).
#[derive(Debug)]
pub struct Voice {
    /// The payload type that means redundancy.
    redundant: Option<u8>,
    patience: Duration,
    stream: Stream,
    numbers: Unwrapper,
    waiting: BTreeMap<u64, Waiting>,
    decoder: Decoder,
    scratch: Scratch,
    /// What is decoded and not heard yet.
    decoded: VecDeque<f32>,
    /// Timestamp of the next sample to be heard.
    next: i64,
    /// Number of the last packet that was decoded, if what comes next goes on from it.
    last: Option<u64>,
    /// What was decoded last was sound, which must not just end.
    sounds: bool,
    /// Packets in a row with numbers of the past.
    past: u32,
    heard: Heard,
}

impl Voice {
    /// A voice whose packets may come `patience` after they were captured.
    pub fn new(redundant: Option<u8>, patience: Duration) -> Result<Self, OpusError> {
        Ok(Self {
            redundant,
            patience,
            stream: Stream::new(RATE, patience),
            numbers: Unwrapper::default(),
            waiting: BTreeMap::new(),
            decoder: Decoder::new()?,
            scratch: codec::scratch(),
            decoded: VecDeque::new(),
            next: 0,
            last: None,
            sounds: false,
            past: 0,
            heard: Heard::default(),
        })
    }

    /// Takes in a packet. Returns whether it was understood and is of use.
    pub fn handle_rtp(&mut self, now: Time, header: &Header, payload: &[u8]) -> bool {
        let is_redundant = self.redundant == Some(header.payload_type);
        let primary = if is_redundant { red::primary(payload).map(|(_, data)| data) } else { Some(payload) };
        let Some(primary) = primary.filter(|primary| !primary.is_empty()) else { return false };
        let Some(timestamp) = self.stream.handle_packet(now, header.timestamp) else { return false };
        let number = self.number(header.sequence_number);
        if is_redundant {
            let earlier = red::earlier(payload).rev();
            for (number, frame) in (0..number).rev().zip(earlier) {
                self.store(number, timestamp - i64::from(frame.age), frame.data);
            }
        }
        self.store(number, timestamp, primary)
    }

    pub fn handle_report(&mut self, clock: &mut SenderClock, now: Time, ntp: NtpTime, timestamp: u32) {
        self.stream.handle_report(clock, now, ntp, timestamp);
    }

    /// Whether there is something that has not been heard.
    pub fn has_more(&self) -> bool {
        self.sounds || !self.decoded.is_empty() || !self.waiting.is_empty()
    }

    /// Forgets what has not been heard, and that what comes next goes on from it.
    fn interrupt(&mut self) {
        self.waiting.clear();
        self.decoded.clear();
        self.last = None;
    }

    /// The stream is another one from here on.
    pub fn begin_anew(&mut self) {
        self.interrupt();
        self.stream = Stream::new(RATE, self.patience);
        self.numbers = Unwrapper::default();
    }

    /// Adds to `sum` what belongs to the 20 ms that begin with sample `start` of the timeline, which begins at `origin`.
    pub fn mix(&mut self, now: Time, clock: &SenderClock, origin: Time, start: i64, sum: &mut Frame) -> Heard {
        self.heard = Heard::default();
        let Some(length) = self.place(now, clock, origin, start) else { return self.heard };
        while self.decoded.len() < length {
            self.decode_more(length - self.decoded.len());
        }
        self.add(length, sum);
        self.decoded.drain(..length);
        self.next += length as i64;
        self.heard
    }

    fn number(&mut self, sequence_number: u16) -> u64 {
        let number = self.numbers.unwrap(sequence_number);
        let is_past = self.last.is_some_and(|last| number <= last);
        self.past = if is_past { self.past + 1 } else { 0 };
        if self.past < BELIEVED_AFTER {
            return number;
        }
        self.past = 0;
        self.interrupt();
        self.numbers = Unwrapper::default();
        self.numbers.unwrap(sequence_number)
    }

    fn store(&mut self, number: u64, timestamp: i64, payload: &[u8]) -> bool {
        let Some(duration) = duration(payload) else { return false };
        if self.last.is_some_and(|last| number <= last) {
            return false;
        }
        self.waiting.entry(number).or_insert_with(|| Waiting { timestamp, duration, payload: payload.to_vec() });
        if self.waiting.len() > MOST_WAITING {
            self.waiting.pop_first();
        }
        true
    }

    /// Decides from which of the voice's samples the frame is made, and from how many. `None` if there is nothing.
    fn place(&mut self, now: Time, clock: &SenderClock, origin: Time, start: i64) -> Option<usize> {
        let is_pause = self.decoded.is_empty() && !self.sounds;
        let reference = if is_pause { self.waiting.first_key_value()?.1.timestamp } else { self.next };
        let captured = self.stream.captured(clock, now, reference)? - origin.as_micros() as i64;
        // Where the reference belongs, in samples of the timeline.
        let wanted = captured.saturating_mul(i64::from(RATE)) / 1_000_000;
        if is_pause {
            self.next = reference - (wanted - start);
            return Some(FRAME);
        }
        let off = wanted - start;
        if off.abs() > JUMP {
            self.decoded.clear();
            self.next = reference - off;
            return Some(FRAME);
        }
        let stretched = (off / OFF_FOR_ONE).clamp(-MOST_STRETCHED, MOST_STRETCHED);
        Some((FRAME as i64 - stretched) as usize)
    }

    /// Makes at least one sample, unless there is only a packet to throw away.
    fn decode_more(&mut self, missing: usize) {
        let at = self.next + self.decoded.len() as i64;
        let Some((number, packet)) = self.waiting.first_key_value() else { return self.fall_silent(missing, FADE) };
        let (number, gap) = (*number, packet.timestamp - at);
        if gap + packet.duration as i64 <= 0 {
            self.waiting.pop_first();
            self.last = Some(number);
            self.heard.late += 1;
            return;
        }
        if gap <= 0 {
            let Some((_, packet)) = self.waiting.pop_first() else { return };
            self.last = Some(number);
            let decoded = self.decoder.decode(&packet.payload, &mut self.scratch).unwrap_or(0);
            let sound = self.scratch.get((-gap) as usize..decoded).unwrap_or_default();
            self.sounds = sound.iter().any(|sample| sample.abs() > QUIET);
            self.decoded.extend(sound);
            return;
        }
        let is_lost = self.last.is_some_and(|last| number > last + 1);
        let restored = gap as usize / SHORTEST_FRAME * SHORTEST_FRAME;
        if is_lost && self.sounds && gap <= LONGEST_CONCEALED && restored > 0 {
            let out = &mut self.scratch[..restored];
            self.decoder.restore(&packet.payload, out);
            self.decoded.extend(&*out);
            self.heard.concealed += restored as u32;
            self.last = Some(number - 1);
            return;
        }
        self.fall_silent(missing.min(gap as usize), FADE.min(gap as usize));
    }

    /// Nothing comes for `length` samples and more, or what is lost is too much to be made up. Sound fades within `fade`.
    fn fall_silent(&mut self, length: usize, fade: usize) {
        if !std::mem::take(&mut self.sounds) {
            self.decoded.extend(std::iter::repeat_n(0.0, length));
            return;
        }
        let out = &mut self.scratch[..FADE];
        self.decoder.conceal(out);
        self.decoded
            .extend(out.iter().take(fade).enumerate().map(|(at, sample)| sample * (1.0 - at as f32 / fade as f32)));
    }

    /// Adds `length` samples, made 960.
    fn add(&mut self, length: usize, sum: &mut Frame) {
        let decoded = &*self.decoded.make_contiguous();
        self.heard.power = decoded[..length].iter().map(|sample| sample * sample).sum::<f32>() / length as f32;
        if length == FRAME {
            for (sum, sample) in sum.iter_mut().zip(decoded) {
                *sum += sample;
            }
            return;
        }
        let step = length as f32 / FRAME as f32;
        for (at, sum) in sum.iter_mut().enumerate() {
            let place = at as f32 * step;
            let (before, part) = (place as usize, place.fract());
            let next = decoded.get(before + 1).unwrap_or(&decoded[before]);
            *sum += decoded[before] + (next - decoded[before]) * part;
        }
    }
}

#[cfg(test)]
mod tests;
