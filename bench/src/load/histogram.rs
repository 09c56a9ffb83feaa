//! A histogram of delays that never allocates after it was made.

use std::time::Duration;

/// Values below this many microseconds have a bucket each.
const EXACT: u64 = 64;
/// Buckets of each doubling above: a value is known to one part in 32.
const STEPS: u64 = 32;
/// `EXACT` is this power of two.
const EXACT_BITS: u32 = 6;
/// Doublings above: up to 67 seconds, and what is longer counts as that.
const DOUBLINGS: u64 = 20;
const BUCKETS: usize = (EXACT + DOUBLINGS * STEPS) as usize;

/// How often which delay occurred.
#[derive(Debug, Clone)]
pub struct Histogram {
    counts: Box<[u32]>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS].into_boxed_slice(), total: 0 }
    }
}

impl Histogram {
    pub fn record(&mut self, delay: Duration) {
        let micros = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
        self.counts[bucket(micros)] += 1;
        self.total += 1;
    }

    pub const fn total(&self) -> u64 {
        self.total
    }

    pub fn clear(&mut self) {
        self.counts.fill(0);
        self.total = 0;
    }

    /// Adds what another one counted.
    pub fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.total += other.total;
    }

    /// The delay that `percent` of all do not exceed (nearest rank), at most one part in 32 too long; `None` if
    /// nothing was recorded.
    pub fn percentile(&self, percent: f64) -> Option<Duration> {
        let rank = ((percent / 100.0 * self.total as f64).ceil() as u64).clamp(1, self.total.max(1));
        let mut below = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            below += u64::from(*count);
            if below >= rank {
                return Some(Duration::from_micros(largest(bucket)));
            }
        }
        None
    }
}

fn bucket(micros: u64) -> usize {
    if micros < EXACT {
        return micros as usize;
    }
    let doubling = u64::from(micros.ilog2() - EXACT_BITS);
    if doubling >= DOUBLINGS {
        return BUCKETS - 1;
    }
    let step = (micros >> (doubling + u64::from(EXACT_BITS) - u64::from(STEPS.ilog2()))) - STEPS;
    (EXACT + doubling * STEPS + step) as usize
}

/// The largest value that falls into a bucket.
fn largest(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < EXACT {
        return bucket;
    }
    let (doubling, step) = ((bucket - EXACT) / STEPS, (bucket - EXACT) % STEPS);
    let width = (EXACT / STEPS) << doubling;
    (STEPS + step + 1) * width - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_falls_into_a_bucket_that_is_narrow_enough() {
        let mut before = 0;
        for micros in (0..100_000).chain([1_000_000, 60_000_000]) {
            let largest = largest(bucket(micros));
            assert!(largest >= micros && largest - micros <= micros / 32, "{micros}: {largest}");
            assert!(bucket(micros) >= before, "{micros}");
            before = bucket(micros);
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn percentiles_are_nearest_ranks() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.percentile(50.0), None);
        for micros in 1..=50 {
            histogram.record(Duration::from_micros(micros));
        }
        assert_eq!(histogram.percentile(50.0), Some(Duration::from_micros(25)));
        assert_eq!(histogram.percentile(99.9), Some(Duration::from_micros(50)));
        let mut sum = Histogram::default();
        sum.merge(&histogram);
        sum.merge(&histogram);
        assert_eq!((sum.total(), sum.percentile(2.0)), (100, Some(Duration::from_micros(1))));
        sum.clear();
        assert_eq!((sum.total(), sum.percentile(50.0)), (0, None));
    }
}
