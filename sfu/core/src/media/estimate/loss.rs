//! The rate that loss allows, for paths whose queues are too short to be felt as delay.
//!
//! The loss-based controller of draft-ietf-rmcat-gcc-02, section 6.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::rate::MIN_RATE;
use crate::time::Time;

/// Loss is judged over each of these times at once: above this percentage the rate is too high. A network that loses one
/// packet in twenty, in bursts of eight, seems to lose one in five now and then for half a second, and one in ten for
/// two; a path that is too narrow loses on and on.
const TOO_MUCH: [(Duration, u32); 3] =
    [(Duration::from_millis(500), 35), (Duration::from_secs(2), 20), (Duration::from_secs(5), 10)];
/// Fewer packets say nothing.
const MIN_PACKETS: u32 = 60;
/// Above this percentage, what is lost is taken for what does not fit, and the limit falls by as much; else by half.
const ALL_OF_IT: u32 = TOO_MUCH[0].1;
/// Below this percentage over the shortest of the times the limit may grow, by so many percent.
const HARMLESS: u32 = 2;
const GROWTH: u64 = 5;

/// The loss-based limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LossControl {
    limit: Option<u64>,
    windows: [Window; TOO_MUCH.len()],
}

/// What became of packets since a moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Window {
    began: Option<Time>,
    arrived: u32,
    lost: u32,
}

impl Window {
    /// What it counted, if it is over; the next one begins.
    fn take(&mut self, now: Time, length: Duration) -> Option<(u32, u32)> {
        let began = *self.began.get_or_insert(now);
        let packets = self.arrived + self.lost;
        if now.since(began) < length || packets < MIN_PACKETS {
            return None;
        }
        let lost = self.lost;
        *self = Self { began: Some(now), ..Self::default() };
        Some((packets, lost))
    }
}

impl LossControl {
    /// Bits per second; `None` while loss limits nothing.
    pub const fn limit(&self) -> Option<u64> {
        self.limit
    }

    /// Takes what feedback told: packets that arrived, packets that did not, and how many that were told to be missing
    /// had only been late.
    pub fn handle_told(&mut self, arrived: u32, lost: u32, found: u32) {
        for window in &mut self.windows {
            window.arrived += arrived + found;
            window.lost = (window.lost + lost).saturating_sub(found);
        }
    }

    /// Judges what is over. `delivered` is the rate that arrives and `other` the limit found otherwise.
    pub fn update(&mut self, now: Time, delivered: u64, other: Option<u64>) {
        for (at, (length, too_much)) in TOO_MUCH.into_iter().enumerate() {
            let Some((packets, lost)) = self.windows[at].take(now, length) else { continue };
            if lost * 100 > packets * too_much {
                self.decrease(delivered, (packets, lost), other);
                self.windows = [Window { began: Some(now), ..Window::default() }; TOO_MUCH.len()];
                return;
            }
            if at == 0 && lost * 100 < packets * HARMLESS {
                self.increase(delivered, other);
            }
        }
    }

    fn decrease(&mut self, delivered: u64, (packets, lost): (u32, u32), other: Option<u64>) {
        // What was sent is what arrived and what did not.
        let sent = delivered * u64::from(packets) / u64::from(packets - lost).max(1);
        let rate = [self.limit, other].into_iter().flatten().fold(sent, u64::min);
        let too_much = rate * u64::from(lost) / u64::from(packets);
        let less = if lost * 100 > packets * ALL_OF_IT { too_much } else { too_much / 2 };
        self.limit = Some((rate - less).max(MIN_RATE));
    }

    fn increase(&mut self, delivered: u64, other: Option<u64>) {
        let Some(limit) = self.limit else { return };
        let grown = limit + limit * GROWTH / 100;
        // What the path carries beside it is no limit any more.
        self.limit = Some(grown).filter(|grown| *grown < other.unwrap_or(delivered * 2));
    }

    /// The path was seen to carry this much.
    pub fn raise_to(&mut self, rate: u64) {
        self.limit = self.limit.map(|limit| limit.max(rate));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Half a second, number `at`, in which of a hundred packets so many were lost.
    fn half(control: &mut LossControl, at: u32, lost: u32, delivered: u64, other: Option<u64>) -> Option<u64> {
        control.handle_told(100 - lost, lost, 0);
        control.update(Time::ZERO + at * TOO_MUCH[0].0, delivered, other);
        control.limit()
    }

    #[test]
    fn heavy_loss_lowers_the_limit_to_what_arrives_at_once() {
        let mut control = LossControl::default();
        assert_eq!(half(&mut control, 0, 50, 1_000_000, None), None, "a window has to pass");
        assert_eq!(half(&mut control, 1, 50, 1_000_000, None), Some(1_000_000), "of two million sent");
        assert_eq!(half(&mut control, 2, 40, 1_000_000, Some(900_000)), Some(540_000));
    }

    #[test]
    fn less_loss_has_to_last() {
        let lowered_after = |lost| {
            let mut control = LossControl::default();
            (0..40).find(|at| half(&mut control, *at, lost, 800_000, None).is_some())
        };
        assert_eq!([lowered_after(36), lowered_after(34), lowered_after(21)], [Some(1), Some(4), Some(4)]);
        assert_eq!([lowered_after(20), lowered_after(11), lowered_after(10)], [Some(10), Some(10), None]);
    }

    #[test]
    fn bursts_of_a_network_that_loses_a_twentieth_are_no_limit() {
        let mut control = LossControl::default();
        for at in 0..200 {
            // Two bursts of eight in half a second, and none in the next three.
            assert_eq!(half(&mut control, at, if at % 4 == 1 { 16 } else { 1 }, 800_000, None), None, "{at}");
        }
    }

    #[test]
    fn little_loss_lets_it_grow_until_it_is_no_limit() {
        let mut control = LossControl::default();
        half(&mut control, 0, 50, 900_000, None);
        assert_eq!(half(&mut control, 1, 50, 900_000, None), Some(900_000));
        assert_eq!(half(&mut control, 2, 5, 800_000, None), Some(900_000));
        assert_eq!(half(&mut control, 3, 0, 800_000, None), Some(945_000));
        assert_eq!(half(&mut control, 4, 0, 800_000, Some(900_000)), None);
    }

    #[test]
    fn what_was_only_late_was_not_lost() {
        let mut control = LossControl::default();
        control.handle_told(60, 40, 0);
        control.handle_told(0, 0, 40);
        control.update(Time::ZERO, 800_000, None);
        control.update(Time::ZERO + TOO_MUCH[0].0, 800_000, None);
        assert_eq!(control.limit(), None);
    }
}
