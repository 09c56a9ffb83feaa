//! What a worker measures of itself, once a second.

use std::time::Duration;

use sfu_core::engine::{EngineStats, Protection};

/// Upper bounds of the delay histogram in microseconds; the last bucket is everything above.
pub const DELAY_BOUNDS_US: [u64; 10] = [50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 50_000, 100_000];

/// How long datagrams took, from when they were there at the latest to the last copy being sent: a pause before they were
/// read is counted in full.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DelayHistogram {
    /// One more than [`DELAY_BOUNDS_US`]: the last counts what is above all bounds.
    pub counts: [u64; DELAY_BOUNDS_US.len() + 1],
    pub sum_us: u64,
}

impl DelayHistogram {
    /// Records `n` datagrams that took `delay`.
    pub fn record(&mut self, delay: Duration, n: u64) {
        let us = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
        let bucket = DELAY_BOUNDS_US.iter().position(|bound| us <= *bound).unwrap_or(DELAY_BOUNDS_US.len());
        self.counts[bucket] += n;
        self.sum_us = self.sum_us.saturating_add(us.saturating_mul(n));
    }
}

/// Totals since the worker started, and its busy share of the last second.
#[derive(Debug, Clone)]
pub struct WorkerReport {
    pub worker: usize,
    /// Share of the last interval the thread was working and not waiting, 0.0 to 1.0.
    pub busy: f32,
    /// Total time the thread was working.
    pub busy_total: Duration,
    pub delay: DelayHistogram,
    pub engine: EngineStats,
    /// Of the transports that have keys now.
    pub protection: Protection,
    /// Datagrams of clients that could not be sent.
    pub lost: u64,
    /// Messages that did not fit this worker's inbox.
    pub inbox_dropped: u64,
    /// Reports and events that did not fit control's queue: only such as are told again and again.
    pub events_dropped: u64,
    /// Datagrams handed to another worker.
    pub strays: u64,
    /// TCP connections hung up on because no client is at their end.
    pub strangers: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_land_in_the_bucket_that_holds_them() {
        let mut histogram = DelayHistogram::default();
        histogram.record(Duration::from_micros(50), 2);
        histogram.record(Duration::from_micros(51), 1);
        histogram.record(Duration::from_secs(1), 1);
        assert_eq!(histogram.counts[0], 2);
        assert_eq!(histogram.counts[1], 1);
        assert_eq!(histogram.counts[DELAY_BOUNDS_US.len()], 1);
        assert_eq!(histogram.sum_us, 2 * 50 + 51 + 1_000_000);
    }
}
