//! The rate the delay allows: more by and by, less at once when a queue builds up.
//!
//! The rate controller of draft-ietf-rmcat-gcc-02, section 5.5 and 5.6. One difference: before the first over-use there
//! is no limit. Most subscribers can take all they ask for, and need neither a slow start nor probes to show it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::trend::Usage;
use crate::time::Time;

/// Below this there is no video worth sending, in bits per second; probing begins here.
pub const MIN_RATE: u64 = 50_000;
/// What is left of the delivered rate after over-use, in percent.
const DECREASE: u64 = 85;
/// Over-use while little flows says little about how much would: a jump of the delay is then often the radio's. So the
/// first limit is no lower than this, in bits per second, and each one after it no lower than half of the one before.
const FIRST_LIMIT: u64 = 300_000;
/// Growth far from the capacity: percent in a second.
const GROWTH: u64 = 8;
/// A limit may not exceed what is delivered by more than this: half as much again, and a little.
const MAX_LEAD: (u64, u64) = (150, 10_000);
/// Least growth near the capacity, in bits per second each second.
const MIN_GROWTH: u64 = 4_000;
/// Taken as the time until the effect of a change is seen, above the round trip.
const REACTION: Duration = Duration::from_millis(100);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
enum State {
    #[default]
    Hold,
    Increase,
}

/// The delay-based limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateControl {
    limit: Option<u64>,
    state: State,
    changed: Time,
    decreased: Option<Time>,
    capacity: Capacity,
}

/// Where over-use was found lately: mean and spread of the rates delivered then, in bits per second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Capacity {
    mean: Option<u64>,
    deviation: u64,
}

impl Capacity {
    fn handle_over_use(&mut self, delivered: u64) {
        let mean = self.mean.map_or(delivered, |mean| (mean * 19 + delivered) / 20);
        let distance = delivered.abs_diff(mean);
        self.deviation = ((self.deviation * 19 + distance) / 20).clamp(mean / 50, mean / 15);
        self.mean = Some(mean);
    }

    fn range(&self) -> Option<(u64, u64)> {
        let mean = self.mean?;
        Some((mean.saturating_sub(3 * self.deviation), mean + 3 * self.deviation))
    }
}

impl RateControl {
    /// Bits per second; `None` while no limit was found.
    pub const fn limit(&self) -> Option<u64> {
        self.limit
    }

    /// Takes what the delay says, and the rate that arrives, in bits per second. `response` is the round trip.
    pub fn update(&mut self, now: Time, usage: Usage, delivered: u64, response: Duration) {
        match usage {
            Usage::Over if self.is_answered(now, delivered, response) => self.decrease(now, delivered),
            Usage::Over | Usage::Settling => self.hold(now),
            Usage::Normal if self.state == State::Hold => {
                self.state = State::Increase;
                self.changed = now;
            }
            Usage::Normal => self.increase(now, delivered, response),
        }
    }

    /// The path was seen to carry this much.
    pub fn raise_to(&mut self, now: Time, rate: u64) {
        if let Some(limit) = &mut self.limit
            && rate > *limit
        {
            *limit = rate;
            self.changed = now;
            if self.capacity.range().is_some_and(|(_, highest)| rate > highest) {
                self.capacity = Capacity::default();
            }
        }
    }

    const fn hold(&mut self, now: Time) {
        self.state = State::Hold;
        self.changed = now;
    }

    /// Whether what was done about the last over-use has had time to be seen, or was by far not enough.
    fn is_answered(&self, now: Time, delivered: u64, response: Duration) -> bool {
        self.decreased.is_none_or(|at| now.since(at) >= response + REACTION)
            || self.limit.is_some_and(|limit| delivered < limit / 2)
    }

    fn decrease(&mut self, now: Time, delivered: u64) {
        let outside = self.capacity.range().is_some_and(|(lowest, _)| delivered < lowest);
        if outside {
            self.capacity = Capacity::default();
        }
        let floor = self.limit.map_or(FIRST_LIMIT, |limit| limit / 2);
        let mut rate = (delivered * DECREASE / 100).max(floor);
        if let Some(limit) = self.limit {
            if rate > limit {
                rate = self.capacity.mean.map_or(rate, |mean| mean * DECREASE / 100);
            }
            rate = rate.min(limit);
        }
        self.limit = Some(rate.max(MIN_RATE));
        self.capacity.handle_over_use(delivered);
        self.decreased = Some(now);
        self.hold(now);
    }

    fn increase(&mut self, now: Time, delivered: u64, response: Duration) {
        let Some(limit) = self.limit else { return };
        if self.capacity.range().is_some_and(|(_, highest)| delivered > highest) {
            self.capacity = Capacity::default();
        }
        let passed = now.since(self.changed).min(Duration::from_secs(1)).as_millis() as u64;
        let near = self.capacity.range().is_some_and(|(lowest, _)| limit >= lowest);
        let per_second = if near {
            packet_bits(limit) * 1000 / (response + REACTION).as_millis() as u64
        } else {
            limit * GROWTH / 100
        };
        let added = per_second.max(MIN_GROWTH) * passed / 1000;
        // Too small a step would be lost in rounding; the time for it is kept.
        if added == 0 {
            return;
        }
        self.changed = now;
        let highest = delivered * MAX_LEAD.0 / 100 + MAX_LEAD.1;
        self.limit = Some(limit.max((limit + added).min(highest)));
    }
}

/// Bits of an average packet at this rate: of a frame, of which there are thirty a second, in packets of 1200 bytes.
const fn packet_bits(rate: u64) -> u64 {
    let frame = rate / 30;
    frame / frame.div_ceil(1200 * 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUND_TRIP: Duration = Duration::from_millis(50);

    fn run(control: &mut RateControl, from: u64, steps: u64, usage: Usage, delivered: u64) {
        for step in 0..steps {
            control.update(Time::from_millis(from + step * 50), usage, delivered, ROUND_TRIP);
        }
    }

    #[test]
    fn there_is_no_limit_until_one_is_found() {
        let mut control = RateControl::default();
        run(&mut control, 0, 100, Usage::Normal, 3_000_000);
        assert_eq!(control.limit(), None);
        run(&mut control, 5_000, 1, Usage::Over, 1_000_000);
        assert_eq!(control.limit(), Some(850_000));
    }

    #[test]
    fn near_the_capacity_it_grows_by_packets_and_away_from_it_by_parts() {
        let mut control = RateControl::default();
        run(&mut control, 0, 1, Usage::Over, 1_000_000);
        run(&mut control, 50, 21, Usage::Normal, 850_000);
        assert_eq!(control.limit(), Some(920_637), "8 % in a second, by small steps");
        control.raise_to(Time::from_millis(1_100), 960_000);
        run(&mut control, 1_150, 20, Usage::Normal, 900_000);
        let grown = control.limit().expect("found") - 960_000;
        assert!((40_000..70_000).contains(&grown), "{grown}: a packet of 1 kB every 150 ms");
    }

    #[test]
    fn a_limit_that_is_not_used_does_not_run_away() {
        let mut control = RateControl::default();
        run(&mut control, 0, 1, Usage::Over, 1_000_000);
        run(&mut control, 50, 2_000, Usage::Normal, 300_000);
        assert_eq!(control.limit(), Some(850_000));
        control.raise_to(Time::from_millis(200_000), 2_000_000);
        assert_eq!(control.limit(), Some(2_000_000));
    }

    #[test]
    fn over_use_at_a_rate_above_the_limit_never_raises_it() {
        let mut control = RateControl::default();
        run(&mut control, 0, 1, Usage::Over, 400_000);
        run(&mut control, 50, 1, Usage::Over, 2_000_000);
        assert_eq!(control.limit(), Some(340_000));
    }

    #[test]
    fn where_little_flows_the_limit_falls_by_steps() {
        let mut control = RateControl::default();
        let mut limits = Vec::new();
        for step in 0..7 {
            run(&mut control, step * 50, 1, Usage::Over, 40_000);
            limits.extend(control.limit());
        }
        assert_eq!(limits, [300_000, 150_000, 75_000, 75_000, 75_000, MIN_RATE, MIN_RATE]);
    }
}
