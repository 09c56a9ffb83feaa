//! Warnings about what one client can cause without end.

use std::time::Duration;

use sfu_core::time::Time;

/// Between two warnings of one kind.
const PAUSE: Duration = Duration::from_mins(1);

/// Lets one warning through in a minute, and counts what it stands for.
#[derive(Debug, Default)]
pub struct Throttle {
    next: Time,
    n: u64,
}

impl Throttle {
    /// It happened again. How often since the last warning, if it is time for one.
    pub fn note(&mut self, now: Time) -> Option<u64> {
        self.n += 1;
        if now < self.next {
            return None;
        }
        self.next = now + PAUSE;
        Some(std::mem::take(&mut self.n))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_has_one_warning_that_says_how_often() {
        let mut throttle = Throttle::default();
        let warnings: Vec<_> = [5, 6, 7, 64, 66].map(|s| throttle.note(Time::from_millis(s * 1000))).into();
        assert_eq!(warnings, [Some(1), None, None, None, Some(4)]);
    }
}
