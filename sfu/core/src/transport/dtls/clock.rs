//! The library counts in `Instant`s, of which only differences matter: ours begin at an arbitrary one.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use crate::time::Time;

#[expect(clippy::disallowed_methods, reason = "an Instant cannot be made otherwise; no time is read from it")]
static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

pub(super) fn instant(time: Time) -> Instant {
    ORIGIN.checked_add(Duration::from_micros(time.as_micros())).unwrap_or(*ORIGIN)
}

/// The time an instant stands for, rounded up to the microsecond.
pub(super) fn time(instant: Instant) -> Time {
    Time::ZERO + (instant.saturating_duration_since(*ORIGIN) + Duration::from_nanos(999))
}
