//! Whether a client's audio is sent with earlier frames beside each (RFC 2198), by what its network loses.
//!
//! Transport-wide feedback and packets that a client asks for again tell of loss a moment after it, and before any
//! retransmission hides it from reports; reports (RFC 3550, section 6.4.1) tell it every few seconds, of clients that do
//! neither.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Time;

/// Lost parts, in 256ths, from which on one earlier frame goes along, and two. Below the first, what Opus conceals is
/// hardly heard; above the second, two in a row are often lost.
const FROM: [u32; 2] = [5, 32];
/// A frame goes along so long after it was needed last: loss comes in bursts.
const CALM: Duration = Duration::from_secs(10);
/// Of what a path carries, redundant audio may have this much, in percent.
const SHARE: u64 = 80;
/// The part lost is taken of so many packets at least, and of no more than twice as many: a second or two of one voice.
/// A single one that was lost is no reason for anything.
const WINDOW: u32 = 64;

/// What is known of the loss of a client's audio.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redundancy {
    /// Packets sent lately, and how many of them the client asked for again.
    sent: u32,
    lost: u32,
    /// Packets of any kind that feedback told of lately, and how many of them were missing.
    told: u32,
    missing: u32,
    /// When one earlier frame was needed last, and when two.
    needed: [Option<Time>; 2],
    /// So many the client's path has room for; `None` if nothing is known of that.
    room: Option<u8>,
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

    /// Feedback tells of so many packets of any kind that arrived, that did not, and that had only been late.
    pub fn handle_told(&mut self, now: Time, arrived: u32, missing: u32, found: u32) {
        self.told += arrived + missing;
        self.missing = (self.missing + missing).saturating_sub(found);
        if self.told >= WINDOW {
            self.judge(now, self.missing.saturating_mul(256) / self.told);
            (self.told, self.missing) = (0, 0);
        }
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

    /// The client's path carries `limit` bits per second, and its audio has `plain` without earlier frames. Where what is
    /// lost is what the path cannot carry, repeating it makes more of it be lost.
    pub fn fit(&mut self, limit: Option<u64>, plain: u64) {
        let fits = |limit: u64, distance: u64| plain * (1 + distance) * 100 <= limit * SHARE;
        self.room = limit.map(|limit| (1..=2).filter(|distance| fits(limit, *distance)).count() as u8);
    }

    /// So many earlier frames go along with each: 0, 1 or 2.
    pub fn distance(&self, now: Time) -> u8 {
        let is_needed = |needed: &&Option<Time>| needed.is_some_and(|at| now.since(at) < CALM);
        let needed = self.needed.iter().filter(is_needed).count() as u8;
        needed.min(self.room.unwrap_or(needed))
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
    fn what_the_path_has_no_room_for_does_not_go_along() {
        let mut redundancy = Redundancy::default();
        redundancy.handle_report(at(1), 64, 9);
        let mut after = |limit| {
            redundancy.fit(limit, 50_000);
            redundancy.distance(at(1))
        };
        assert_eq!(
            [after(Some(190_000)), after(Some(187_000)), after(Some(125_000)), after(Some(124_000))],
            [2, 1, 1, 0]
        );
        assert_eq!(after(None), 2, "nothing is known of a limit");
    }

    #[test]
    fn feedback_tells_of_loss_within_a_moment_and_what_is_late_is_not_lost() {
        let mut redundancy = Redundancy::default();
        for at in 0..20 {
            redundancy.handle_told(Time::from_millis(at * 50), 7, 1, u32::from(at > 0));
            assert_eq!(redundancy.distance(Time::from_millis(at * 50)), 0, "{at}");
        }
        redundancy.handle_told(Time::from_millis(1_000), 30, 2, 0);
        redundancy.handle_told(Time::from_millis(1_050), 30, 2, 0);
        assert_eq!(redundancy.distance(Time::from_millis(1_050)), 1);
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
