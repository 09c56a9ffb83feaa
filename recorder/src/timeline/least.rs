//! The least of noisy delays: what the network adds is never negative, so the smallest sample is nearest to the truth.

use sfu_core::time::Time;

use super::{MICROS_PER_SECOND, Micros};

/// How fast the least may rise by itself, in millionths. Clocks differ by up to 100; more than twice that leaves room for
/// clocks that are being set right. More lets an hour of congestion pass for a slow clock.
const RISE: i64 = 250;

/// The smallest sample, which rises slowly, as a clock does that runs slower than ours.
#[derive(Debug, Clone, Copy, Default)]
pub struct Least {
    sample: Option<(Micros, Time)>,
}

impl Least {
    /// What it is now. `None` before the first sample.
    pub fn get(&self, now: Time) -> Option<Micros> {
        let (value, at) = self.sample?;
        let passed = now.since(at).as_micros() as i64;
        Some(
            value.saturating_add(
                passed / MICROS_PER_SECOND * RISE + passed % MICROS_PER_SECOND * RISE / MICROS_PER_SECOND,
            ),
        )
    }

    pub fn learn(&mut self, now: Time, sample: Micros) {
        if self.get(now).is_none_or(|least| sample <= least) {
            self.sample = Some((sample, now));
        }
    }

    /// Forgets all samples but this one.
    pub fn set(&mut self, now: Time, sample: Micros) {
        self.sample = Some((sample, now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_sample_wins_and_a_slow_clock_is_followed() {
        let mut least = Least::default();
        assert_eq!(least.get(Time::ZERO), None);
        least.learn(Time::ZERO, 5_000);
        least.learn(Time::from_millis(20), 3_000);
        least.learn(Time::from_millis(40), 9_000);
        assert_eq!(least.get(Time::from_millis(20)), Some(3_000));
        // 100 ppm for an hour, and jitter that is zero once in ten seconds.
        for second in 1..3600_i64 {
            let jitter = if second % 10 == 0 { 0 } else { 30_000 };
            let now = Time::from_millis(1000 * second as u64);
            let truth = 3_000 + 100 * second;
            least.learn(now, truth + jitter);
            let error = least.get(now).expect("learned") - truth;
            assert!((-1_200..=1_600).contains(&error), "{error} µs at {second} s");
        }
    }
}
