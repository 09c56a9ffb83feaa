//! The one place that asks the clock for the media side.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sfu_core::time::{NtpTime, Time};

/// Translates between the system's clocks and [`Time`], the same for every thread of a process.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    origin: Instant,
    origin_since_epoch: Duration,
}

impl Clock {
    /// A clock whose [`Time::ZERO`] is now.
    pub fn start() -> Self {
        Self { origin: Instant::now(), origin_since_epoch: unix_now() }
    }

    pub fn now(&self) -> Time {
        Time::ZERO + self.origin.elapsed()
    }

    /// The wall clock at [`Time::ZERO`].
    pub fn origin_ntp(&self) -> NtpTime {
        NtpTime::from_unix(self.origin_since_epoch)
    }

    /// The instant of a [`Time`], for timers.
    pub fn instant(&self, time: Time) -> Instant {
        self.origin + time.since(Time::ZERO)
    }

    /// The time until `time`; zero if it has passed.
    pub fn until(&self, time: Time) -> Duration {
        time.since(self.now())
    }
}

/// Time since the Unix epoch; zero on a machine whose clock stands before it.
pub fn unix_now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Milliseconds since the Unix epoch.
pub fn unix_now_ms() -> i64 {
    i64::try_from(unix_now().as_millis()).unwrap_or(i64::MAX)
}
