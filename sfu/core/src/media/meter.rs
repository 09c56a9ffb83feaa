//! How many bits a second something sends, over the time just past.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Time;

/// Parts the window is divided in: each leaves it as a whole, so the rate is off by a tenth at most.
const PARTS: usize = 10;

/// A sliding sum of bytes, in 64 bytes of memory whatever is counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateMeter {
    /// Length of a part in microseconds.
    width: u32,
    bytes: [u32; PARTS],
    /// Number of the newest part, and of the first there was.
    newest: u64,
    first: Option<u64>,
}

impl RateMeter {
    /// A meter over `window`.
    pub const fn new(window: Duration) -> Self {
        let width = window.as_micros() as u32 / PARTS as u32;
        Self { width, bytes: [0; PARTS], newest: 0, first: None }
    }

    /// Counts bytes. Those that come late count as if they came now.
    pub fn add(&mut self, now: Time, bytes: usize) {
        let part = now.as_micros() / u64::from(self.width);
        if self.first.is_none() {
            self.first = Some(part);
            self.newest = part;
        }
        let skipped = part.saturating_sub(self.newest).min(PARTS as u64);
        for ahead in 1..=skipped {
            self.bytes[(self.newest + ahead) as usize % PARTS] = 0;
        }
        if skipped == PARTS as u64 {
            self.bytes = [0; PARTS];
        }
        self.newest = self.newest.max(part);
        let slot = &mut self.bytes[self.newest as usize % PARTS];
        *slot = slot.saturating_add(bytes as u32);
    }

    /// Bits per second over the window that ends now; over less than that while the meter is young. Zero before
    /// anything was counted.
    pub fn rate(&self, now: Time) -> u64 {
        let Some(first) = self.first else { return 0 };
        let width = u64::from(self.width);
        let part = (now.as_micros() / width).max(self.newest);
        let oldest = (part + 1).saturating_sub(PARTS as u64).max(first);
        if oldest > self.newest {
            return 0;
        }
        let bytes: u64 = (oldest..=self.newest).map(|part| u64::from(self.bytes[part as usize % PARTS])).sum();
        // A part just begun tells nothing yet: at least one whole part is assumed to have passed.
        let passed = now.as_micros().saturating_sub(oldest * width).max(width);
        bytes * 8 * 1_000_000 / passed
    }

    /// The same without the parts of the window in which most came, three of ten: what comes now and then and much at
    /// once does not show. Looks at whole parts only, as soon as there are two.
    pub fn steady_rate(&self, now: Time) -> u64 {
        let Some(first) = self.first else { return 0 };
        let width = u64::from(self.width);
        let part = (now.as_micros() / width).max(self.newest);
        let oldest = (part + 1).saturating_sub(PARTS as u64).max(first);
        let count = (part - oldest) as usize;
        if count < 2 {
            return self.rate(now);
        }
        let mut parts = [0; PARTS];
        for (bytes, at) in parts.iter_mut().zip(oldest..part.min(self.newest + 1)) {
            *bytes = u64::from(self.bytes[at as usize % PARTS]);
        }
        let whole = &mut parts[..count];
        whole.sort_unstable();
        let kept = count - (count * 3).div_ceil(10);
        whole[..kept].iter().sum::<u64>() * 8 * 1_000_000 / (kept as u64 * width)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter() -> RateMeter {
        RateMeter::new(Duration::from_secs(1))
    }

    #[test]
    fn a_steady_stream_has_its_rate_from_the_start() {
        let mut meter = meter();
        assert_eq!(meter.rate(Time::from_millis(70)), 0);
        for at in 0..500 {
            let now = Time::from_millis(100 + at * 10);
            meter.add(now, 1250);
            if at > 20 {
                let rate = meter.rate(now);
                assert!((950_000..=1_100_000).contains(&rate), "{rate} at {at}");
            }
        }
    }

    #[test]
    fn what_comes_much_at_once_does_not_show_in_the_steady_rate() {
        let mut meter = RateMeter::new(Duration::from_secs(4));
        for at in 0..1_000 {
            let now = Time::from_millis(100_000 + at * 10);
            meter.add(now, if at % 130 == 0 { 100_000 } else { 1250 });
            if at > 100 {
                let (rate, steady) = (meter.rate(now), meter.steady_rate(now));
                assert!(rate >= 1_300_000, "{rate} at {at}");
                assert!((950_000..=1_050_000).contains(&steady), "{steady} at {at}");
            }
        }
        assert_eq!(meter.steady_rate(Time::from_millis(113_000)), 0, "it has ceased for most of the window");
    }

    #[test]
    fn what_is_older_than_the_window_is_forgotten() {
        let mut meter = meter();
        meter.add(Time::from_millis(0), 100_000);
        meter.add(Time::from_millis(1_500), 1_000);
        assert_eq!(meter.rate(Time::from_millis(1_599)), 8_000 * 1_000 / 999);
        assert_eq!(meter.rate(Time::from_millis(4_000)), 0);
        meter.add(Time::from_millis(90_000), 1_000);
        assert_eq!(meter.rate(Time::from_millis(90_000)), 8_888);
    }
}
