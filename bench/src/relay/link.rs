//! One direction of a network: which datagrams come through, and when. No sockets, no clock, and chance from a seed.

use std::time::Duration;

use serde::Serialize;
use sfu_core::media::random::Random;
use sfu_core::time::Time;

use super::network::{Loss, Network};

/// For how long datagrams are held back alike.
const HOLD_PERIOD: Duration = Duration::from_millis(100);

/// A direction at work.
#[derive(Debug, Clone)]
pub struct Link {
    network: Network,
    began: Time,
    /// How long the network's course takes.
    course: Duration,
    random: Random,
    in_bad_times: bool,
    /// When the bottleneck has sent what it has.
    free_at: Time,
    /// When the last datagram that keeps its place comes out.
    last_out: Time,
    held: Duration,
    hold_until: Time,
    counted: Counted,
}

/// What became of datagrams.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counted {
    /// All that came.
    pub datagrams: u64,
    /// Lost by chance.
    pub lost: u64,
    /// Dropped by the full queue.
    pub overflowed: u64,
    /// Of those that came through.
    pub bytes: u64,
}

impl Link {
    /// Links with the same network and seed treat the same datagrams alike.
    pub const fn new(network: Network, began: Time, course: Duration, seed: u64) -> Self {
        Self {
            network,
            began,
            course,
            random: Random::new(seed),
            in_bad_times: false,
            free_at: Time::ZERO,
            last_out: Time::ZERO,
            held: Duration::ZERO,
            hold_until: Time::ZERO,
            counted: Counted { datagrams: 0, lost: 0, overflowed: 0, bytes: 0 },
        }
    }

    /// Another network from now on. What is on its way stays so, and nothing that follows overtakes it by this change.
    pub fn change(&mut self, network: Network, now: Time, course: Duration) {
        (self.network, self.began, self.course) = (network, now, course);
        (self.in_bad_times, self.hold_until) = (false, now);
    }

    /// When a datagram comes out; `None` if it does not.
    pub fn carry(&mut self, now: Time, bytes: usize) -> Option<Time> {
        self.counted.datagrams += 1;
        if self.loses() {
            self.counted.lost += 1;
            return None;
        }
        let Some(sent) = self.transmit(now, bytes) else {
            self.counted.overflowed += 1;
            return None;
        };
        self.counted.bytes += bytes as u64;
        let overtakes = self.chance(self.network.overtaking);
        let held = self.hold(now);
        let arrives = sent + self.network.delay;
        if overtakes {
            return Some(arrives);
        }
        self.last_out = self.last_out.max(arrives + held);
        Some(self.last_out)
    }

    /// What was counted since the last time.
    pub const fn take_counted(&mut self) -> Counted {
        std::mem::replace(&mut self.counted, Counted { datagrams: 0, lost: 0, overflowed: 0, bytes: 0 })
    }

    fn chance(&mut self, of_a_thousand: u64) -> bool {
        self.random.next() % 1000 < of_a_thousand
    }

    fn loses(&mut self) -> bool {
        let Loss { good, bad, begins, ends } = self.network.loss;
        let turn = if self.in_bad_times { ends } else { begins };
        self.in_bad_times ^= self.chance(turn);
        self.chance(if self.in_bad_times { bad } else { good })
    }

    /// When the bottleneck has sent it; `None` if its queue is too long.
    fn transmit(&mut self, now: Time, bytes: usize) -> Option<Time> {
        let Some(rate) = self.network.rate(now.since(self.began), self.course) else { return Some(now) };
        let start = self.free_at.max(now);
        if start.since(now) > self.network.queue {
            return None;
        }
        self.free_at = start + Duration::from_micros(bytes as u64 * 8_000_000 / rate);
        Some(self.free_at)
    }

    fn hold(&mut self, now: Time) -> Duration {
        if now >= self.hold_until {
            self.hold_until = now + HOLD_PERIOD;
            let longest = self.network.hold.as_micros() as u64;
            self.held = Duration::from_micros(if longest == 0 { 0 } else { self.random.next() % longest });
        }
        self.held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COURSE: Duration = Duration::from_secs(30);

    fn link(name: &str, seed: u64) -> Link {
        Link::new(Network::named(name).expect("known"), Time::ZERO, COURSE, seed)
    }

    /// Datagrams of 1000 bytes, `n` of them at these intervals; when each came out.
    fn carry(link: &mut Link, n: u64, interval: Duration) -> Vec<Option<Time>> {
        (0..n).map(|number| link.carry(Time::ZERO + interval * number as u32, 1000)).collect()
    }

    #[test]
    fn a_clean_way_delays_and_nothing_else() {
        let mut link = link("clean", 1);
        let out = carry(&mut link, 3, Duration::from_millis(5));
        assert_eq!(out, [20, 25, 30].map(|at| Some(Time::from_millis(at))));
        assert_eq!(link.take_counted(), Counted { datagrams: 3, lost: 0, overflowed: 0, bytes: 3000 });
        assert_eq!(link.take_counted(), Counted::default());
    }

    #[test]
    fn equal_seeds_lose_the_same() {
        let lost = |seed| carry(&mut link("loss", seed), 1000, Duration::from_millis(1));
        assert_eq!(lost(7), lost(7));
        assert_ne!(lost(7), lost(8));
    }

    #[test]
    fn a_twentieth_is_lost_one_by_one_or_in_bursts() {
        for (name, shortest, longest) in [("loss", 1.0, 1.2), ("bursts", 3.0, 6.0)] {
            let out = carry(&mut link(name, 3), 100_000, Duration::from_millis(1));
            let n_lost = out.iter().filter(|out| out.is_none()).count();
            assert!((4_000..6_000).contains(&n_lost), "{name} loses {n_lost} of 100000");
            let n_bursts = out.windows(2).filter(|pair| pair[0].is_some() && pair[1].is_none()).count();
            let length = n_lost as f64 / n_bursts as f64;
            assert!((shortest..longest).contains(&length), "{name} loses {length} in a row");
        }
    }

    #[test]
    fn a_narrow_link_sends_at_its_rate_and_drops_what_would_wait_too_long() {
        let mut link = link("narrow", 1);
        // Four times what fits: a datagram takes 8 ms.
        let out = carry(&mut link, 4000, Duration::from_millis(2));
        let through: Vec<Time> = out.iter().flatten().copied().collect();
        assert!(through.windows(2).all(|pair| pair[1].since(pair[0]) >= Duration::from_millis(8)));
        let counted = link.take_counted();
        assert!((1000..1050).contains(&(through.len() as u64)), "{counted:?}");
        assert_eq!(counted.overflowed + through.len() as u64, 4000);
        // In front of the last: the queue, itself, and the way.
        let last = through.last().expect("some came through").since(Time::from_millis(7998));
        assert!(last <= Duration::from_millis(250 + 8 + 20), "{last:?}");
    }

    #[test]
    fn a_link_that_heals_is_as_wide_as_before() {
        let mut link = link("steps", 1);
        let n_through = |link: &mut Link, from: u64| {
            // Half a second at 4 Mbit/s, after as much to begin to fill the queue.
            let at = |number: u64| Time::from_millis(from + number * 2);
            let through: Vec<u64> = (0..500).filter(|number| link.carry(at(*number), 1000).is_some()).collect();
            through.into_iter().filter(|number| *number >= 250).count()
        };
        let through = [1_000, 15_000, 25_000].map(|from| n_through(&mut link, from));
        // The queue is full after three quarters of a second; from then on, three of four come through.
        assert!((205..=230).contains(&through[0]) && (25..=40).contains(&through[1]), "{through:?}");
        assert!(through[0].abs_diff(through[2]) < 10, "{through:?}");
    }

    #[test]
    fn jitter_reorders_only_those_that_overtake() {
        let out: Vec<Time> =
            carry(&mut link("jitter", 5), 10_000, Duration::from_millis(4)).into_iter().flatten().collect();
        assert_eq!(out.len(), 10_000, "nothing is lost");
        let waits: Vec<Duration> =
            out.iter().enumerate().map(|(number, at)| at.since(Time::from_millis(number as u64 * 4))).collect();
        let (shortest, longest) = (waits.iter().min().expect("some"), waits.iter().max().expect("some"));
        assert_eq!(*shortest, Duration::from_millis(20));
        assert!(*longest > Duration::from_millis(65) && *longest < Duration::from_millis(70), "{longest:?}");
        let n_reordered = out.windows(2).filter(|pair| pair[1] < pair[0]).count();
        assert!((300..500).contains(&n_reordered), "{n_reordered} of 10000 came before the one ahead of them");
    }

    #[test]
    fn what_changes_does_not_turn_back_what_is_on_its_way() {
        let mut link = link("narrow", 1);
        let queued = carry(&mut link, 20, Duration::ZERO).pop().flatten().expect("it fits");
        link.change(Network::named("clean").expect("known"), Time::from_millis(1), COURSE);
        assert_eq!(link.carry(Time::from_millis(2), 1000), Some(queued));
        let later = queued + Duration::from_millis(1);
        assert_eq!(link.carry(later, 1000), Some(later + Duration::from_millis(20)));
    }
}
