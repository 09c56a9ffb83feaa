//! The rate that loss allows, for paths whose queues are too short to be felt as delay.
//!
//! The loss-based controller of draft-ietf-rmcat-gcc-02, section 6.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::rate::MIN_RATE;
use crate::time::Time;

/// Loss is judged over at least this time and so many packets: with fewer, a network that loses one packet in twenty by
/// chance seems to lose one in ten every other second.
const WINDOW: Duration = Duration::from_millis(500);
const MIN_PACKETS: u32 = 60;
/// Above this percentage the rate is too high; below the other, it may grow.
const TOO_MUCH: u32 = 10;
const HARMLESS: u32 = 2;
/// Growth over a window without harm, in percent.
const GROWTH: u64 = 5;

/// The loss-based limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LossControl {
    limit: Option<u64>,
    began: Option<Time>,
    arrived: u32,
    lost: u32,
}

impl LossControl {
    /// Bits per second; `None` while loss limits nothing.
    pub const fn limit(&self) -> Option<u64> {
        self.limit
    }

    /// Takes what feedback told: packets that arrived, packets that did not, and how many that were told to be missing
    /// had only been late.
    pub fn handle_told(&mut self, arrived: u32, lost: u32, found: u32) {
        self.arrived += arrived + found;
        self.lost = (self.lost + lost).saturating_sub(found);
    }

    /// Judges the window, if it is over. `delivered` is the rate that arrives and `other` the limit found otherwise.
    pub fn update(&mut self, now: Time, delivered: u64, other: Option<u64>) {
        let began = *self.began.get_or_insert(now);
        let packets = self.arrived + self.lost;
        if now.since(began) < WINDOW || packets < MIN_PACKETS {
            return;
        }
        let lost = self.lost;
        (self.began, self.arrived, self.lost) = (Some(now), 0, 0);
        if lost * 100 > packets * TOO_MUCH {
            // What was sent is what arrived and what did not.
            let sent = delivered * u64::from(packets) / u64::from(packets - lost).max(1);
            let rate = [self.limit, other].into_iter().flatten().fold(sent, u64::min);
            self.limit = Some((rate - rate * u64::from(lost) / u64::from(2 * packets)).max(MIN_RATE));
        } else if lost * 100 < packets * HARMLESS
            && let Some(limit) = self.limit
        {
            let grown = limit + limit * GROWTH / 100;
            // What the path carries beside it is no limit any more.
            self.limit = Some(grown).filter(|grown| *grown < other.unwrap_or(delivered * 2));
        }
    }

    /// The path was seen to carry this much.
    pub fn raise_to(&mut self, rate: u64) {
        self.limit = self.limit.map(|limit| limit.max(rate));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The end of the window `at`, in which of a hundred packets so many were lost.
    fn window(control: &mut LossControl, at: u32, lost: u32, delivered: u64, other: Option<u64>) -> Option<u64> {
        control.handle_told(100 - lost, lost, 0);
        control.update(Time::ZERO + at * WINDOW, delivered, other);
        control.limit()
    }

    #[test]
    fn heavy_loss_lowers_the_limit_by_half_of_it() {
        let mut control = LossControl::default();
        assert_eq!(window(&mut control, 0, 50, 1_000_000, None), None, "a window has to pass");
        assert_eq!(window(&mut control, 1, 50, 1_000_000, None), Some(1_500_000), "of two million sent");
        assert_eq!(window(&mut control, 2, 20, 1_000_000, Some(900_000)), Some(810_000));
    }

    #[test]
    fn some_loss_changes_nothing_and_little_lets_it_grow_until_it_is_no_limit() {
        let mut control = LossControl::default();
        window(&mut control, 0, 20, 800_000, None);
        assert_eq!(window(&mut control, 1, 20, 800_000, None), Some(900_000));
        assert_eq!(window(&mut control, 2, 5, 800_000, None), Some(900_000));
        assert_eq!(window(&mut control, 3, 0, 800_000, None), Some(945_000));
        assert_eq!(window(&mut control, 4, 0, 800_000, Some(900_000)), None);
    }

    #[test]
    fn what_was_only_late_was_not_lost() {
        let mut control = LossControl::default();
        control.handle_told(80, 20, 0);
        control.handle_told(0, 0, 20);
        control.update(Time::ZERO, 800_000, None);
        control.update(Time::ZERO + WINDOW, 800_000, None);
        assert_eq!(control.limit(), None);
    }
}
