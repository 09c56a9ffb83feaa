//! When to look at the socket: at once while little comes, and every half millisecond while much does.
//!
//! A thread that wakes for each packet pays several times more for waking than for the packet. So, once packets come
//! closer than that, the worker leaves the socket alone for a moment after each look and takes what has gathered. And a
//! picture whose first packets came first is worth a glance for the others, which are on their way: together they leave
//! as one message to each subscriber.

use std::time::Duration;

/// Between two looks while much comes. It and the sleeper's own lateness are the most this adds to a packet's delay.
const INTERVAL: Duration = Duration::from_micros(500);
/// Looks closer than this mean that much comes.
const DENSE: Duration = Duration::from_micros(250);
/// Pause before the next glance at a picture that has begun.
pub const GLANCE: Duration = Duration::from_micros(60);
/// Glances at one picture.
pub const MAX_GLANCES: usize = 3;

/// Decides on one worker's pauses.
#[derive(Debug, Default)]
pub struct Gathering {
    /// When the last look that found something began, counted from any origin.
    last: Option<Duration>,
    /// The socket was left alone before this look.
    gathering: bool,
}

impl Gathering {
    /// How long to leave the socket alone after a look that began at `began`, found so many datagrams, and is over at
    /// `now`; all counted from one origin.
    pub fn pause(&mut self, began: Duration, n_datagrams: usize, now: Duration) -> Duration {
        if n_datagrams == 0 {
            self.gathering = false;
            return Duration::ZERO;
        }
        let since = self.last.replace(began).map(|last| began.saturating_sub(last));
        // A pause that gathered but one packet was not worth it.
        self.gathering = if self.gathering { n_datagrams > 1 } else { since.is_some_and(|since| since < DENSE) };
        if self.gathering { (began + INTERVAL).saturating_sub(now) } else { Duration::ZERO }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn us(us: u64) -> Duration {
        Duration::from_micros(us)
    }

    #[test]
    fn few_packets_are_taken_at_once() {
        let mut gathering = Gathering::default();
        for packet in 0..10 {
            let began = us(1_000 * packet);
            assert_eq!(gathering.pause(began, 1, began + us(20)), Duration::ZERO);
        }
    }

    #[test]
    fn many_packets_gather_until_few_come() {
        let mut gathering = Gathering::default();
        assert_eq!(gathering.pause(us(0), 1, us(20)), Duration::ZERO);
        assert_eq!(gathering.pause(us(200), 1, us(220)), us(480), "less than the time a look is worth");
        assert_eq!(gathering.pause(us(700), 4, us(780)), us(420));
        assert_eq!(gathering.pause(us(1_200), 1, us(1_220)), Duration::ZERO, "but one had gathered");
        assert_eq!(gathering.pause(us(1_400), 1, us(1_420)), us(480));
        assert_eq!(gathering.pause(us(1_900), 0, us(1_901)), Duration::ZERO);
    }

    #[test]
    fn a_busy_worker_never_pauses() {
        let mut gathering = Gathering::default();
        for look in 0..10 {
            let began = us(600 * look);
            assert_eq!(gathering.pause(began, 50, began + us(600)), Duration::ZERO);
        }
    }
}
