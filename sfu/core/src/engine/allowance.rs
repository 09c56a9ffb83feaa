//! How much of control's time one client may take.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Time;

/// So many at once, and so many more in each second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    pub burst: u32,
    pub per_second: u32,
}

/// What a client has used of its rate. One point in time says it all: until when it has spent what time earns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Allowance {
    spent_until: Time,
}

impl Allowance {
    /// Takes one, if there is one left.
    pub fn take(&mut self, now: Time, rate: Rate) -> bool {
        let one = Duration::from_secs(1) / rate.per_second.max(1);
        let spent_until = self.spent_until.max(now) + one;
        let is_there = spent_until.since(now) <= one * rate.burst;
        if is_there {
            self.spent_until = spent_until;
        }
        is_there
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { burst: 4, per_second: 10 };

    fn taken(allowance: &mut Allowance, at_ms: u64) -> usize {
        (0..100).filter(|_| allowance.take(Time::from_millis(at_ms), RATE)).count()
    }

    #[test]
    fn after_a_burst_there_is_only_what_time_earns() {
        let mut allowance = Allowance::default();
        let all: Vec<_> = [0, 0, 99, 100, 300, 10_000].map(|at| taken(&mut allowance, at)).into();
        assert_eq!(all, [4, 0, 0, 1, 2, 4]);
    }
}
