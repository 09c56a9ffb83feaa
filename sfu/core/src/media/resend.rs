//! What keeps answering NACKs from doing harm, and how to answer them without RTX.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Time;

/// Credit that may pile up, in bytes: a burst of lost packets is answered at once.
const MAX_CREDIT: u64 = 256 * 1024;
/// Credit earned by time, in bytes per second, so that a quiet stream can be repaired too.
const CREDIT_PER_SECOND: u64 = 16 * 1024;
/// Two requests for one packet this close together are one request that was doubled on the way.
const TOO_SOON: Duration = Duration::from_millis(10);
/// And if they are closer than this part of a round trip, in percent, the second was made before the answer to the first
/// can have come: on a path that is full already, to answer both keeps it full. Half of it, since it wavers.
const ON_ITS_WAY: u32 = 50;
/// Answers remembered to notice that.
const REMEMBERED: usize = 64;
/// Sound this old was played long ago, or left out: receivers' buffers seldom hold as much.
const TOO_LATE_FOR_SOUND: Duration = Duration::from_millis(500);
/// A picture this old is not waited for any more: receivers ask for a keyframe instead. A large one may have waited for
/// two seconds of it before it was sent at all.
const TOO_LATE_FOR_PICTURES: Duration = Duration::from_secs(3);

/// Whether a packet of a track that was to be sent at `since` is of no use any more.
pub fn is_too_late(now: Time, since: Time, is_video: bool) -> bool {
    now.since(since) >= if is_video { TOO_LATE_FOR_PICTURES } else { TOO_LATE_FOR_SOUND }
}

/// What one subscription may have sent again: half of what it is sent, and a little more. Nobody who loses more than
/// that is helped by more packets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    credit: u64,
    updated: Time,
    /// Octets that had been sent by then.
    octets_then: u32,
    answered: VecDeque<(u64, Time)>,
}

impl Budget {
    pub const fn new(now: Time) -> Self {
        Self { credit: MAX_CREDIT / 4, updated: now, octets_then: 0, answered: VecDeque::new() }
    }

    /// Whether the packet `sequence` of `bytes` may be sent again now; if so, it is paid for. `octets` have been sent for
    /// the first time so far, in a count that wraps. `round_trip` is that of a path which is known to have a limit: on any
    /// other a packet is lost by chance, and each answer is another one.
    pub fn spend(
        &mut self,
        now: Time,
        octets: u32,
        (sequence, bytes): (u64, usize),
        round_trip: Option<Duration>,
    ) -> bool {
        let sent = octets.wrapping_sub(std::mem::replace(&mut self.octets_then, octets));
        self.credit = (self.credit + u64::from(sent) / 2).min(MAX_CREDIT);
        let micros = u64::try_from(now.since(self.updated).as_micros()).unwrap_or(u64::MAX);
        let earned = micros.saturating_mul(CREDIT_PER_SECOND) / 1_000_000;
        self.credit = self.credit.saturating_add(earned).min(MAX_CREDIT);
        // Only the time that earned whole bytes is used up.
        self.updated += Duration::from_micros(earned * 1_000_000 / CREDIT_PER_SECOND);
        let too_soon = TOO_SOON.max(round_trip.unwrap_or_default() * ON_ITS_WAY / 100);
        let is_coming = self.answered.iter().any(|(answered, at)| *answered == sequence && now.since(*at) < too_soon);
        if is_coming || self.credit < bytes as u64 {
            return false;
        }
        self.credit -= bytes as u64;
        if self.answered.len() == REMEMBERED {
            self.answered.pop_front();
        }
        self.answered.push_back((sequence, now));
        true
    }
}

/// Packets exactly as they were sent, for streams without RTX.
///
/// Such a stream is repaired on its own SSRC under the old number. Sealing a packet again would use a nonce twice
/// unless every byte were the same, and header extensions that count or tell the time are not. So the sealed packet
/// itself is kept and sent again: whatever happens, the same bytes.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SealedRing {
    packets: VecDeque<Sealed>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Sealed {
    sequence: u64,
    at: Time,
    bytes: Vec<u8>,
}

/// More than a second of audio, all there is without RTX in browsers.
const RING: usize = 64;

impl SealedRing {
    pub const fn new() -> Self {
        Self { packets: VecDeque::new() }
    }

    /// Keeps a packet that is sent now.
    pub fn keep(&mut self, now: Time, sequence: u64, sealed: &[u8]) {
        let oldest = if self.packets.len() == RING { self.packets.pop_front() } else { None };
        let mut bytes = oldest.map_or_else(Vec::new, |oldest| oldest.bytes);
        bytes.clear();
        bytes.extend_from_slice(sealed);
        self.packets.push_back(Sealed { sequence, at: now, bytes });
    }

    /// When the packet was sent, and the packet, sealed, if it is there.
    pub fn find(&self, sequence: u64) -> Option<(Time, &[u8])> {
        self.packets.iter().rev().find(|kept| kept.sequence == sequence).map(|kept| (kept.at, &kept.bytes[..]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_what_is_sent_may_be_sent_again() {
        let mut budget = Budget::new(Time::ZERO);
        let mut sequence = 0;
        let mut spend = |octets| {
            sequence += 1;
            budget.spend(Time::ZERO, octets, (sequence, 1000), None)
        };
        let before = u32::MAX - 1_000;
        while spend(before) {}
        assert_eq!((0..50).filter(|_| spend(before.wrapping_add(20_000))).count(), 10);
    }

    #[test]
    fn time_earns_credit_too() {
        let mut budget = Budget::new(Time::ZERO);
        assert!(budget.spend(Time::ZERO, 0, (1, 64 * 1024), None), "what there is at first");
        assert!(!budget.spend(Time::from_millis(900), 0, (2, 16 * 1024), None));
        assert!(budget.spend(Time::from_millis(1000), 0, (2, 16 * 1024), None));
    }

    #[test]
    fn a_doubled_request_is_answered_once() {
        let mut budget = Budget::new(Time::ZERO);
        assert!(budget.spend(Time::ZERO, 0, (7, 100), None));
        assert!(!budget.spend(Time::from_millis(9), 0, (7, 100), None));
        assert!(budget.spend(Time::from_millis(10), 0, (7, 100), None));
    }

    #[test]
    fn a_request_that_did_not_wait_for_the_answer_is_not_answered() {
        let (mut budget, round_trip) = (Budget::new(Time::ZERO), Some(Duration::from_millis(300)));
        assert!(budget.spend(Time::ZERO, 0, (7, 100), round_trip));
        assert!(budget.spend(Time::from_millis(100), 0, (8, 100), round_trip), "another packet");
        assert!(!budget.spend(Time::from_millis(140), 0, (7, 100), round_trip));
        assert!(budget.spend(Time::from_millis(150), 0, (7, 100), round_trip));
    }

    #[test]
    fn the_last_sealed_packets_are_kept() {
        let mut ring = SealedRing::new();
        for sequence in 1..=70 {
            ring.keep(Time::from_millis(sequence), sequence, &[sequence as u8]);
        }
        assert_eq!(ring.find(70), Some((Time::from_millis(70), &[70][..])));
        assert_eq!(ring.find(6), None, "only the last 64");
        assert_eq!(ring.find(7), Some((Time::from_millis(7), &[7][..])));
    }
}
