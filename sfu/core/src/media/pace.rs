//! Large pictures leave a little at a time, so that what must not wait does not wait behind them.
//!
//! In: everything that is sent to a client, and what its path carries. Out: what is to wait, in order, and until when.
//! A path is taken to be a queue that empties at its rate; what is sent fills it, and pictures wait as long as there is
//! more in it than [`ALLOWANCE`]. So on a fast path nothing waits, and a burst stays one. What waits is hurried so that
//! nothing waits longer than [`LONGEST`], as Chromium's pacer does it.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Time;

/// What may be under way at once, as the time the path needs for it: the delay that sound gets at most by a picture.
const ALLOWANCE: Duration = Duration::from_millis(10);
/// What was lost does not wait, but is not sent at all while as much is under way as the path needs this long for.
const FULL: Duration = Duration::from_millis(40);
/// Nothing waits longer than this: a picture that comes later is of no use. A screen's keyframe of 250 kB takes as long
/// on 1 Mb/s. Otherwise pictures leave at what the path is known to carry, and no faster: a queue that stands in front of
/// it has to empty.
const LONGEST: Duration = Duration::from_secs(2);
/// What has waited for all this time leaves within this.
const AT_LAST: Duration = Duration::from_millis(10);
/// Things that may wait, fewer than packets that the shortest history of video keeps: half a megabyte.
const MAX_WAITING: usize = 448;

/// What waits to be sent to one client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pacer<T> {
    /// When the path has carried all that was sent.
    free_at: Time,
    waiting: VecDeque<Waiting<T>>,
    /// Sums over what waits: bytes, and microseconds of when each came.
    bytes: u64,
    since: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Waiting<T> {
    thing: T,
    bytes: u32,
    since: Time,
}

impl<T> Default for Pacer<T> {
    fn default() -> Self {
        Self { free_at: Time::ZERO, waiting: VecDeque::new(), bytes: 0, since: 0 }
    }
}

impl<T> Pacer<T> {
    /// Bytes were sent on a path that carries `limit` bits per second.
    pub fn handle_sent(&mut self, now: Time, bytes: usize, limit: u64) {
        let rate = limit.max(self.hurry(now)).max(1);
        let takes = Duration::from_micros(bytes as u64 * 8_000_000 / rate);
        self.free_at = self.free_at.max(now) + takes;
    }

    /// Bits per second at which all that waits leaves in time.
    fn hurry(&self, now: Time) -> u64 {
        let Some(mean) = self.since.checked_div(self.waiting.len() as u64) else { return 0 };
        let left = LONGEST.saturating_sub(now.since(Time::from_micros(mean))).max(AT_LAST);
        self.bytes * 8_000 / left.as_millis() as u64
    }

    /// The path has no known limit (any more): what waits may leave.
    pub const fn release(&mut self) {
        self.free_at = Time::ZERO;
    }

    /// Whether what is to be sent now has to wait. Behind others that wait everything has to.
    pub fn must_wait(&self, now: Time) -> bool {
        !self.waiting.is_empty() || self.free_at > now + ALLOWANCE
    }

    /// Has something wait that will be about so many bytes. More than may wait leaves with the next [`pop`](Self::pop).
    pub fn push(&mut self, now: Time, thing: T, bytes: usize) {
        self.bytes += bytes as u64;
        self.since += now.as_micros();
        self.waiting.push_back(Waiting { thing, bytes: bytes as u32, since: now });
    }

    /// What may be sent now, if anything. Say that it was with [`handle_sent`](Self::handle_sent).
    pub fn pop(&mut self, now: Time) -> Option<T> {
        if self.free_at > now + ALLOWANCE && self.waiting.len() <= MAX_WAITING {
            return None;
        }
        let Waiting { thing, bytes, since } = self.waiting.pop_front()?;
        self.bytes -= u64::from(bytes);
        self.since -= since.as_micros();
        Some(thing)
    }

    /// When something that waits may be sent.
    pub fn next_at(&self) -> Option<Time> {
        match self.waiting.len() {
            0 => None,
            1..=MAX_WAITING => Some(self.free_at - ALLOWANCE),
            _ => Some(Time::ZERO),
        }
    }

    /// What waits, in order.
    pub fn waiting(&self) -> impl Iterator<Item = &T> {
        self.waiting.iter().map(|waiting| &waiting.thing)
    }

    /// How long the first of what waits has waited.
    pub fn waited(&self, now: Time) -> Duration {
        self.waiting.front().map_or(Duration::ZERO, |first| now.since(first.since))
    }

    /// Whether as much waits as may, so that what comes leaves at once.
    pub fn is_overflowing(&self) -> bool {
        self.waiting.len() >= MAX_WAITING
    }

    /// Whether so much is under way that not even what was lost is sent again: it can be asked for later.
    pub fn is_full(&self, now: Time) -> bool {
        self.free_at > now + FULL
    }

    /// Forgets what waits and is not kept.
    pub fn retain(&mut self, is_kept: impl Fn(&T) -> bool) {
        self.waiting.retain(|waiting| is_kept(&waiting.thing));
        self.bytes = self.waiting.iter().map(|waiting| u64::from(waiting.bytes)).sum();
        self.since = self.waiting.iter().map(|waiting| waiting.since.as_micros()).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u64 = 2_000_000;

    /// Sends so many packets of 1000 bytes that come at once, by the millisecond: when each left.
    fn leave(packets: usize, limit: u64) -> Vec<u64> {
        let mut pacer = Pacer::default();
        let mut left = Vec::new();
        for packet in 0..packets {
            if pacer.must_wait(Time::ZERO) {
                pacer.push(Time::ZERO, packet, 1_000);
            } else {
                pacer.handle_sent(Time::ZERO, 1_000, limit);
                left.push(0);
            }
        }
        while let Some(at) = pacer.next_at() {
            let now = Time::from_millis(at.as_micros().div_ceil(1000));
            while let Some(packet) = pacer.pop(now) {
                assert_eq!(packet, left.len(), "in order");
                pacer.handle_sent(now, 1_000, limit);
                left.push(now.as_millis());
            }
        }
        assert_eq!((pacer.bytes, pacer.since), (0, 0));
        left
    }

    #[test]
    fn a_picture_leaves_as_the_path_carries_it() {
        let left = leave(100, RATE);
        assert_eq!(left[..6], [0, 0, 0, 2, 6, 10], "2 Mb/s, and what it carries in ten milliseconds at once");
        assert_eq!(left[99], 386);
    }

    #[test]
    fn on_a_fast_path_nothing_waits() {
        assert!(leave(100, 100_000_000).iter().all(|at| *at == 0));
    }

    #[test]
    fn nothing_waits_longer_than_is_useful() {
        let left = leave(400, 500_000);
        assert!((1_900..=2_020).contains(&left[399]), "{}", left[399]);
        assert!((900..=1_100).contains(&left[200]), "half of it in half of the time: {}", left[200]);
    }

    #[test]
    fn what_is_more_than_may_wait_leaves_at_once() {
        let left = leave(600, 500_000);
        assert_eq!((left[150], left[152] > 0), (0, true));
    }

    #[test]
    fn what_is_forgotten_takes_no_room() {
        let mut pacer = Pacer::default();
        pacer.handle_sent(Time::ZERO, 100_000, RATE);
        for thing in 0..10 {
            pacer.push(Time::from_millis(thing), thing, 1_000);
        }
        pacer.retain(|thing| thing % 2 == 1);
        pacer.release();
        assert_eq!(std::iter::from_fn(|| pacer.pop(Time::ZERO)).collect::<Vec<_>>(), [1, 3, 5, 7, 9]);
        assert_eq!((pacer.next_at(), pacer.bytes, pacer.since), (None, 0, 0));
    }
}
