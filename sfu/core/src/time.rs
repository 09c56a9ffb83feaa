//! Time as the core knows it: microseconds since an origin the caller chose.

use std::ops::{Add, AddAssign, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A point on a monotonic clock: microseconds since the caller's origin.
///
/// A plain number and not `std::time::Instant`, because an instant can neither be written down nor moved to
/// another process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Time(u64);

impl Time {
    pub const ZERO: Self = Self(0);

    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    pub const fn from_millis(millis: u64) -> Self {
        Self(millis * 1000)
    }

    pub const fn as_micros(self) -> u64 {
        self.0
    }

    pub const fn as_millis(self) -> u64 {
        self.0 / 1000
    }

    /// Time since `earlier`; zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)))
    }
}

impl AddAssign<Duration> for Time {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl Sub<Duration> for Time {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)))
    }
}

/// A point on the wall clock as RTCP sends it (RFC 3550, section 4): seconds since 1900 in 32.32 fixed point.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NtpTime(u64);

impl NtpTime {
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub const fn bits(self) -> u64 {
        self.0
    }

    /// From the time since the Unix epoch.
    pub fn from_unix(since_epoch: Duration) -> Self {
        const EPOCH_DIFFERENCE: u64 = 2_208_988_800;
        let seconds = (since_epoch.as_secs() + EPOCH_DIFFERENCE) << 32;
        Self(seconds | ((u64::from(since_epoch.subsec_nanos()) << 32) / 1_000_000_000))
    }

    /// The middle 32 bits, which sender and receiver reports carry: 1/65536 second units.
    pub const fn middle(self) -> u32 {
        (self.0 >> 16) as u32
    }
}

impl Add<Duration> for NtpTime {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        let fraction = (u64::from(duration.subsec_nanos()) << 32) / 1_000_000_000;
        Self(self.0.wrapping_add(duration.as_secs() << 32).wrapping_add(fraction))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_never_runs_below_its_origin() {
        assert_eq!(Time::from_millis(1) - Duration::from_secs(1), Time::ZERO);
        assert_eq!(Time::ZERO.since(Time::from_millis(5)), Duration::ZERO);
    }

    #[test]
    fn ntp_time_of_the_unix_epoch() {
        assert_eq!(NtpTime::from_unix(Duration::ZERO).bits() >> 32, 2_208_988_800);
        let half = NtpTime::from_unix(Duration::from_millis(1500));
        assert_eq!(half.middle(), (2_208_988_801_u64 << 16) as u32 | 0x8000);
    }
}
