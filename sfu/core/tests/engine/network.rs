//! One direction of a client's access: delays, loses, reorders and doubles datagrams as a seed says.

use std::time::Duration;

use sfu_core::media::random::Random;

/// How bad one direction is. Probabilities are in percent.
#[derive(Debug, Clone, Copy)]
pub struct Link {
    pub delay: Duration,
    /// Datagrams that take up to this much longer overtake one another.
    pub jitter: Duration,
    pub loss: u64,
    pub doubled: u64,
}

pub const PERFECT: Link = Link { delay: Duration::from_millis(10), jitter: Duration::ZERO, loss: 0, doubled: 0 };

/// A fifth lost, and reordering of about one video frame.
pub const BAD: Link =
    Link { delay: Duration::from_millis(20), jitter: Duration::from_millis(30), loss: 20, doubled: 2 };

impl Link {
    /// After what delay each copy of a datagram arrives; none if it is lost.
    pub fn carry(&self, random: &mut Random) -> Vec<Duration> {
        let copies = if random.next() % 100 < self.loss {
            0
        } else if random.next() % 100 < self.doubled {
            2
        } else {
            1
        };
        let jitter = self.jitter.as_micros() as u64;
        let mut delay = || self.delay + Duration::from_micros(if jitter == 0 { 0 } else { random.next() % jitter });
        (0..copies).map(|_| delay()).collect()
    }
}
