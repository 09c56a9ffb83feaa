//! Which packets of an incoming stream are missing, and when to ask for them (RFC 4585, section 6.2.1).

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Time;

/// A packet that is merely late gets this long before it counts as lost.
const REORDER_TOLERANCE: Duration = Duration::from_millis(15);
/// How often one packet is asked for. With a fifth lost each way, ten requests miss one packet in 30,000.
const MAX_REQUESTS: u8 = 10;
/// A packet this late is of no use to a viewer of a live call.
const MAX_AGE: Duration = Duration::from_secs(2);
/// More than this missing at once is an outage: only a keyframe helps.
const MAX_MISSING: usize = 256;
/// Shortest and longest pause between two requests for a packet.
const RETRY: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));
/// Assumed before a round trip has been measured.
const DEFAULT_ROUND_TRIP: Duration = Duration::from_millis(100);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Missing {
    sequence: u64,
    since: Time,
    requested: Time,
    requests: u8,
}

/// Missing packets of one stream.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct NackGenerator {
    /// Ascending by number.
    missing: VecDeque<Missing>,
    highest: Option<u64>,
    round_trip: Option<Duration>,
    next: Option<Time>,
}

/// What an arrival means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    Expected,
    /// So much is missing that asking for it is useless; the list was cleared.
    Outage,
}

impl NackGenerator {
    /// A packet arrived, at first or again. `sequence` is its widened number.
    pub fn handle_packet(&mut self, now: Time, sequence: u64) -> Arrival {
        let Some(highest) = self.highest else {
            self.highest = Some(sequence);
            return Arrival::Expected;
        };
        if sequence <= highest {
            self.found(now, sequence);
            return Arrival::Expected;
        }
        self.highest = Some(sequence);
        let gap = sequence - highest - 1;
        if self.missing.len() as u64 + gap > MAX_MISSING as u64 {
            self.missing.clear();
            self.next = None;
            return Arrival::Outage;
        }
        for sequence in highest + 1..sequence {
            self.missing.push_back(Missing { sequence, since: now, requested: now, requests: 0 });
        }
        if gap > 0 {
            let due = now + REORDER_TOLERANCE;
            self.next = Some(self.next.map_or(due, |next| next.min(due)));
        }
        Arrival::Expected
    }

    fn found(&mut self, now: Time, sequence: u64) {
        let Ok(at) = self.missing.binary_search_by_key(&sequence, |missing| missing.sequence) else { return };
        let Some(missing) = self.missing.remove(at) else { return };
        // Only the answer to a single request tells how long an answer takes.
        if missing.requests == 1 {
            let sample = now.since(missing.requested);
            self.round_trip = Some(self.round_trip.map_or(sample, |known| (known * 7 + sample) / 8));
        }
        if self.missing.is_empty() {
            self.next = None;
        }
    }

    /// When to call [`Self::take_due`] next.
    pub const fn next_at(&self) -> Option<Time> {
        self.next
    }

    /// Appends the numbers to ask for now, ascending. Numbers that are too old are given up.
    pub fn take_due(&mut self, now: Time, due: &mut Vec<u64>) {
        if self.next.is_none_or(|next| now < next) {
            return;
        }
        let pause = self.pause();
        self.missing.retain(|missing| {
            now.since(missing.since) < MAX_AGE && (missing.requests < MAX_REQUESTS || now < missing.requested + pause)
        });
        self.next = None;
        for missing in &mut self.missing {
            let mut at = missing.requested + if missing.requests == 0 { REORDER_TOLERANCE } else { pause };
            if at <= now {
                if missing.requests < MAX_REQUESTS {
                    due.push(missing.sequence);
                }
                missing.requests += 1;
                missing.requested = now;
                at = now + pause;
            }
            self.next = Some(self.next.map_or(at, |next| next.min(at)));
        }
    }

    /// Time from a request to its answer, as far as it is known.
    pub const fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    fn pause(&self) -> Duration {
        let round_trip = self.round_trip.unwrap_or(DEFAULT_ROUND_TRIP);
        // A quarter above the mean, or half of all answers would come after the next request.
        (round_trip + round_trip / 4).clamp(RETRY.0, RETRY.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::from_millis(millis)
    }

    fn due(generator: &mut NackGenerator, now: Time) -> Vec<u64> {
        let mut due = Vec::new();
        generator.take_due(now, &mut due);
        due
    }

    #[test]
    fn reordering_is_not_loss() {
        let mut generator = NackGenerator::default();
        for sequence in [10, 12, 11, 14, 13] {
            generator.handle_packet(at(0), sequence);
        }
        assert_eq!(generator.next_at(), None);
        assert_eq!(due(&mut generator, at(1000)), Vec::<u64>::new());
    }

    #[test]
    fn a_gap_is_asked_for_after_the_tolerance_and_again_after_a_round_trip() {
        let mut generator = NackGenerator::default();
        generator.handle_packet(at(0), 10);
        generator.handle_packet(at(5), 13);
        assert_eq!(generator.next_at(), Some(at(20)));
        assert_eq!(due(&mut generator, at(19)), Vec::<u64>::new());
        assert_eq!(due(&mut generator, at(20)), [11, 12]);
        assert_eq!(generator.next_at(), Some(at(145)));
        generator.handle_packet(at(60), 11);
        assert_eq!(generator.round_trip(), Some(Duration::from_millis(40)));
        assert_eq!(due(&mut generator, at(145)), [12]);
        assert_eq!(generator.next_at(), Some(at(195)), "the measured round trip counts from now on");
    }

    #[test]
    fn a_packet_that_never_comes_is_given_up() {
        let mut generator = NackGenerator::default();
        generator.handle_packet(at(0), 10);
        generator.handle_packet(at(0), 12);
        let mut requests = 0;
        let mut steps = 0;
        while let Some(next) = generator.next_at() {
            requests += due(&mut generator, next).len();
            steps += 1;
            assert!(steps < 100, "it must end");
        }
        assert_eq!(requests, usize::from(MAX_REQUESTS));
    }

    #[test]
    fn an_outage_clears_the_list() {
        let mut generator = NackGenerator::default();
        generator.handle_packet(at(0), 10);
        assert_eq!(generator.handle_packet(at(0), 10 + 300), Arrival::Outage);
        assert_eq!(generator.next_at(), None);
        assert_eq!(generator.handle_packet(at(0), 10 + 302), Arrival::Expected);
        assert_eq!(due(&mut generator, at(15)), [311]);
    }
}
