//! How loud a track was over an interval (RFC 6464).

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How often loudness is told: ten audio frames.
pub const INTERVAL: Duration = Duration::from_millis(200);

const SILENCE: u8 = 127;

/// Levels of one track since they were last taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LevelMeter {
    loudest: u8,
    packets: u32,
    active: u32,
}

impl Default for LevelMeter {
    fn default() -> Self {
        Self { loudest: SILENCE, packets: 0, active: 0 }
    }
}

impl LevelMeter {
    /// A frame of `level` -dBov; those at most `threshold`, so at least that loud, are speech. Returns whether it is
    /// the interval's first.
    pub fn handle_level(&mut self, level: u8, threshold: u8) -> bool {
        self.loudest = self.loudest.min(level);
        self.packets += 1;
        self.active += u32::from(level <= threshold);
        self.packets == 1
    }

    /// The loudest level and the percentage of speech, and begins anew. `None` if nothing came.
    pub fn take(&mut self) -> Option<(u8, u8)> {
        let Self { loudest, packets, active } = std::mem::take(self);
        let percent = (active * 100).checked_div(packets)?;
        Some((loudest, percent as u8))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loudest_frame_and_share_of_speech() {
        let mut meter = LevelMeter::default();
        assert_eq!(meter.take(), None);
        assert!(meter.handle_level(127, 35));
        for level in [20, 35, 36] {
            assert!(!meter.handle_level(level, 35));
        }
        assert_eq!(meter.take(), Some((20, 50)));
        assert_eq!(meter.take(), None);
    }
}
