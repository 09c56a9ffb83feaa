//! What can be told of RTP streams from outside, without keys: their numbers, and their pauses.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;
use sfu_core::time::Time;

/// Numbers of one stream that may be missing at once; more is not a gap but another stream.
const MAX_MISSING: u64 = 10_000;

/// Whose packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// The browser's, as they came to either engine.
    Up,
    /// The engines', as they left.
    Down,
}

/// What was seen of one stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Seen {
    pub direction: Direction,
    pub ssrc: u32,
    pub payload_type: u8,
    pub packets: u64,
    pub missing: usize,
    pub doubled: u64,
    /// The longest time without a packet since the last move began.
    pub pause_ms: u64,
}

/// All streams of both connections.
#[derive(Debug, Default)]
pub struct Streams {
    all: BTreeMap<(Direction, u32), Stream>,
    /// DTLS records of handshakes that came from the browser.
    pub handshakes: u64,
}

#[derive(Debug)]
struct Stream {
    payload_type: u8,
    packets: u64,
    highest: u64,
    missing: BTreeSet<u64>,
    doubled: u64,
    last: Time,
    pause: Duration,
}

impl Streams {
    /// Looks at a datagram, and at its first bytes only.
    pub fn look(&mut self, now: Time, direction: Direction, datagram: &[u8]) {
        // RFC 7983, and for records RFC 6347: 20 changes the cipher, 22 is a handshake.
        match datagram {
            [20 | 22, ..] if direction == Direction::Up => self.handshakes += 1,
            [first, second, n0, n1, _, _, _, _, s0, s1, s2, s3, ..] if first >> 6 == 2 => {
                let payload_type = second & 0x7f;
                // RFC 5761, section 4: what would be 64 to 95 is RTCP.
                if !(64..96).contains(&payload_type) {
                    let ssrc = u32::from_be_bytes([*s0, *s1, *s2, *s3]);
                    self.note(now, (direction, ssrc), payload_type, u16::from_be_bytes([*n0, *n1]));
                }
            }
            _ => {}
        }
    }

    fn note(&mut self, now: Time, key: (Direction, u32), payload_type: u8, number: u16) {
        let stream = self.all.entry(key).or_insert_with(|| Stream::new(now, payload_type, number));
        stream.packets += 1;
        stream.pause = stream.pause.max(now.since(stream.last));
        stream.last = now;
        if stream.packets > 1 {
            stream.take(number);
        }
    }

    /// Pauses are counted anew from here.
    pub fn forget_pauses(&mut self) {
        for stream in self.all.values_mut() {
            stream.pause = Duration::ZERO;
        }
    }

    /// What was seen so far.
    pub fn tell(&self) -> Vec<Seen> {
        let tell = |((direction, ssrc), stream): (&(Direction, u32), &Stream)| Seen {
            direction: *direction,
            ssrc: *ssrc,
            payload_type: stream.payload_type,
            packets: stream.packets,
            missing: stream.missing.len(),
            doubled: stream.doubled,
            pause_ms: stream.pause.as_millis() as u64,
        };
        self.all.iter().map(tell).collect()
    }
}

impl Stream {
    fn new(now: Time, payload_type: u8, number: u16) -> Self {
        // One round in, so that what came before the first is no underflow.
        let highest = u64::from(number) + (1 << 16);
        Self {
            payload_type,
            packets: 0,
            highest,
            missing: BTreeSet::new(),
            doubled: 0,
            last: now,
            pause: Duration::ZERO,
        }
    }

    fn take(&mut self, number: u16) {
        let distance = i64::from(number.wrapping_sub(self.highest as u16).cast_signed());
        let wide = self.highest.saturating_add_signed(distance);
        if wide > self.highest {
            let first = (self.highest + 1).max(wide.saturating_sub(MAX_MISSING));
            self.missing.extend(first..wide);
            self.highest = wide;
        } else if !self.missing.remove(&wide) {
            self.doubled += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(number: u16) -> Vec<u8> {
        [&[0x80, 111][..], &number.to_be_bytes(), &[0; 4], &[0, 0, 0, 7]].concat()
    }

    #[test]
    fn numbers_that_never_come_are_missing_and_those_that_come_again_are_doubled() {
        let mut streams = Streams::default();
        for (at, number) in (0..).zip([65_534, 65_535, 2, 1, 2, 3]) {
            streams.look(Time::from_millis(at * 20), Direction::Up, &packet(number));
        }
        let seen = streams.tell().remove(0);
        assert_eq!((seen.packets, seen.missing, seen.doubled, seen.pause_ms), (6, 1, 1, 20));
        assert_eq!((seen.direction, seen.ssrc, seen.payload_type), (Direction::Up, 7, 111));
        streams.forget_pauses();
        assert_eq!(streams.tell()[0].pause_ms, 0);
    }

    #[test]
    fn handshakes_of_the_browser_are_told_from_data_and_from_rtcp() {
        let mut streams = Streams::default();
        for first in [20, 21, 22, 23, 0, 0x80] {
            let mut datagram = vec![0; 20];
            (datagram[0], datagram[1]) = (first, 200);
            streams.look(Time::ZERO, Direction::Up, &datagram);
            streams.look(Time::ZERO, Direction::Down, &datagram);
        }
        assert_eq!((streams.handshakes, streams.tell().len()), (2, 0));
    }
}
