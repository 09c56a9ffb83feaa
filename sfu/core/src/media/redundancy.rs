//! Whether a client's audio is sent with earlier frames beside each (RFC 2198), by what its network loses.
//!
//! Packets that a client asks for again tell of loss a moment after it, and before any retransmission hides it from
//! reports; reports (RFC 3550, section 6.4.1) tell it every few seconds, of clients that never ask.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Time;

/// Lost parts, in 256ths, from which on one earlier frame goes along, and two. Below the first, what Opus conceals is
/// hardly heard; above the second, two in a row are often lost.
const FROM: [u32; 2] = [5, 32];
/// A frame goes along so long after it was needed last: loss comes in bursts.
const CALM: Duration = Duration::from_secs(10);
/// The part lost is taken of so many packets at least, and of no more than twice as many: a second or two of one voice.
/// A single one that was lost is no reason for anything.
const WINDOW: u32 = 64;

/// What is known of the loss of a client's audio.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redundancy {
    /// Packets sent lately, and how many of them the client asked for again.
    sent: u32,
    lost: u32,
    /// When one earlier frame was needed last, and when two.
    needed: [Option<Time>; 2],
}

impl Redundancy {
    /// An audio packet was sent.
    pub const fn handle_sent(&mut self) {
        if self.sent == 2 * WINDOW {
            self.sent = WINDOW;
            self.lost /= 2;
        }
        self.sent += 1;
    }

    /// The client asks for a packet, for the first time.
    pub fn handle_lost(&mut self, now: Time) {
        self.lost = self.lost.saturating_add(1);
        self.judge(now, self.lost.saturating_mul(256) / self.sent.max(WINDOW));
    }

    /// A report says how many packets of a stream were lost since the last one, and what part of all, in 256ths.
    pub fn handle_report(&mut self, now: Time, fraction_lost: u8, lost: u64) {
        if lost > 1 {
            self.judge(now, u32::from(fraction_lost));
        }
    }

    fn judge(&mut self, now: Time, part: u32) {
        for (needed, from) in self.needed.iter_mut().zip(FROM) {
            if part >= from {
                *needed = Some(now);
            }
        }
    }

    /// So many earlier frames go along with each: 0, 1 or 2.
    pub fn distance(&self, now: Time) -> u8 {
        let is_needed = |needed: &&Option<Time>| needed.is_some_and(|at| now.since(at) < CALM);
        self.needed.iter().filter(is_needed).count() as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Time {
        Time::from_millis(second * 1000)
    }

    #[test]
    fn reports_of_more_loss_take_more_and_calm_takes_it_back() {
        let mut redundancy = Redundancy::default();
        let mut after = |second: u64, fraction: u8| {
            redundancy.handle_report(at(second), fraction, 9);
            redundancy.distance(at(second))
        };
        assert_eq!([after(1, 0), after(2, 4), after(3, 5), after(4, 0), after(5, 32)], [0, 0, 1, 1, 2]);
        assert_eq!([after(9, 5), after(14, 0), after(15, 0), after(18, 0), after(19, 0)], [2, 2, 1, 1, 0]);
    }

    #[test]
    fn a_part_of_next_to_nothing_is_nothing() {
        let mut redundancy = Redundancy::default();
        redundancy.handle_report(at(1), 128, 1);
        assert_eq!(redundancy.distance(at(1)), 0, "one packet of two");
    }

    #[test]
    fn a_few_packets_asked_for_in_a_row_are_enough_and_one_now_and_then_is_not() {
        let mut redundancy = Redundancy::default();
        redundancy.handle_lost(at(0));
        assert_eq!(redundancy.distance(at(0)), 0);
        let mut redundancy = Redundancy::default();
        for second in 0..100 {
            // A voice of 50 packets a second, of which one is lost every four seconds.
            (0..50).for_each(|_| redundancy.handle_sent());
            if second % 4 == 1 {
                redundancy.handle_lost(at(second));
            }
            assert_eq!(redundancy.distance(at(second)), 0, "{second}");
        }
        (0..50).for_each(|_| redundancy.handle_sent());
        redundancy.handle_lost(at(100));
        assert_eq!(redundancy.distance(at(100)), 0);
        (0..2).for_each(|_| redundancy.handle_lost(at(100)));
        assert_eq!((redundancy.distance(at(100)), redundancy.distance(at(109))), (1, 1));
        assert_eq!(redundancy.distance(at(110)), 0);
    }

    #[test]
    fn an_eighth_lost_takes_two() {
        let mut redundancy = Redundancy::default();
        for _ in 0..200 {
            (0..8).for_each(|_| redundancy.handle_sent());
            redundancy.handle_lost(at(1));
        }
        assert_eq!(redundancy.distance(at(1)), 2);
        let mut redundancy = Redundancy::default();
        for _ in 0..200 {
            (0..20).for_each(|_| redundancy.handle_sent());
            redundancy.handle_lost(at(1));
        }
        assert_eq!(redundancy.distance(at(1)), 1, "a twentieth");
    }
}
