//! Finding out whether a path carries more than flows over it: short bursts at a higher rate, made of media and padding.
//!
//! A limit cannot grow far above what is delivered, and the next layer may need several times that. So for a few
//! tens of milliseconds more is sent, and how fast it arrives tells what the path can do; the idea and most constants are
//! Chromium's. A burst costs little: at most some milliseconds between two of the [`PAUSES`].

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Time;

/// How long a burst is sent: longer than from one picture of others' to the next, or the path seems to be free where it is
/// not. Longer if it has too few packets by then, but never longer than the second of these.
const DURATION: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(250));
/// Padding is added this often.
const INTERVAL: Duration = Duration::from_millis(5);
/// Between two bursts, unless the first one found room: from the first of these to the second, by chance. Those who share
/// a path would otherwise go on to probe it at the same moments, and nobody would find what is free.
const PAUSES: (Duration, Duration) = (Duration::from_millis(1_250), Duration::from_millis(2_500));
/// After the path was found to be full.
const PUT_OFF: Duration = Duration::from_secs(2);
/// A burst that is not told about for this long has been lost.
const PATIENCE: Duration = Duration::from_secs(1);
/// Part of a burst's packets that must have arrived, in percent.
const ENOUGH: u32 = 80;
/// Packets that must have arrived: fewer say nothing about a rate.
const MIN_PACKETS: u32 = 5;
/// A path that carried this percentage of a burst's rate may carry still more.
const PROMISING: u64 = 70;
/// Where less arrives than was sent, the path was full: a little of that is left free, in percent.
const FULL: (u64, u64) = (90, 95);
/// The rate of a burst, as a multiple of the limit.
const STEP: u64 = 2;
/// No burst is faster, in bits per second: 125 kilobytes.
const MAX_RATE: u64 = 20_000_000;

/// The burst that is being sent or told about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Burst {
    rate: u64,
    /// What the path was known to carry when it began.
    limit: u64,
    began: Time,
    /// Whether it is still being sent.
    open: bool,
    packets: u32,
    bytes: u64,
    looked_at: Time,
    /// Sent at the last moment of sending, which says nothing of the time after it.
    last_bytes: u64,
    last_sent: Time,
    arrived: Arrived,
}

/// What of a burst has arrived, by the receiver's clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Arrived {
    packets: u32,
    bytes: u64,
    first: Option<(i64, u32)>,
    last: i64,
}

/// What a burst showed, in bits per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    pub rate: u64,
}

/// Probing of one transport.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prober {
    burst: Option<Burst>,
    /// Number of the burst, never zero once there was one.
    number: u8,
    next: Time,
    /// Bits per second that would be sent if the path allowed it; zero while nothing more is wanted.
    wanted: u64,
}

impl Prober {
    /// What packets sent now belong to; zero for no burst.
    pub fn current(&self) -> u8 {
        if self.burst.is_some_and(|burst| burst.open) { self.number } else { 0 }
    }

    /// Bits per second of the burst that is being sent; zero for none.
    pub fn rate(&self) -> u64 {
        self.burst.filter(|burst| burst.open).map_or(0, |burst| burst.rate)
    }

    /// Says how much would be sent; zero if that is what is being sent. Then nothing is probed, nor waited for.
    pub const fn want(&mut self, rate: u64) {
        self.wanted = rate;
        if rate == 0 {
            self.burst = None;
        }
    }

    /// The path was found to be full: it is left alone for a while.
    pub fn put_off(&mut self, now: Time) {
        self.next = self.next.max(now + PUT_OFF);
        self.burst = None;
    }

    /// When to call [`Self::due`] next.
    pub fn next_at(&self) -> Option<Time> {
        match self.burst {
            Some(burst) if burst.open => Some(burst.looked_at + INTERVAL),
            Some(burst) => Some(burst.began + PATIENCE),
            None => (self.wanted > 0).then_some(self.next),
        }
    }

    /// How many bytes of padding to send now. `limit` is what the path is known to carry.
    pub fn due(&mut self, now: Time, limit: u64) -> usize {
        if let Some(burst) = &mut self.burst {
            if !burst.open {
                if now.since(burst.began) >= PATIENCE {
                    self.burst = None;
                    self.next = self.next.max(now);
                }
                return 0;
            }
            let sent_for = now.since(burst.began);
            if sent_for >= DURATION.1 || (sent_for >= DURATION.0 && burst.packets > MIN_PACKETS) {
                burst.open = false;
                return 0;
            }
        } else {
            if self.wanted <= limit || now < self.next {
                return 0;
            }
            self.begin(now, limit);
        }
        let Some(burst) = &mut self.burst else { return 0 };
        burst.looked_at = now;
        let passed = now.since(burst.began) + INTERVAL;
        let due = burst.rate * passed.as_micros() as u64 / 8_000_000;
        due.saturating_sub(burst.bytes) as usize
    }

    fn begin(&mut self, now: Time, limit: u64) {
        let rate = (limit * STEP).min(self.wanted).min(MAX_RATE);
        self.number = self.number.checked_add(1).unwrap_or(1);
        self.next = now + pause(now, limit);
        self.burst = Some(Burst {
            rate,
            limit,
            began: now,
            open: true,
            packets: 0,
            bytes: 0,
            last_bytes: 0,
            last_sent: now,
            looked_at: now,
            arrived: Arrived::default(),
        });
    }

    /// A packet was sent, of media or padding.
    pub fn handle_sent(&mut self, now: Time, bytes: usize) {
        let Some(burst) = self.burst.as_mut().filter(|burst| burst.open) else { return };
        burst.packets += 1;
        burst.bytes += bytes as u64;
        if burst.last_sent != now {
            (burst.last_sent, burst.last_bytes) = (now, 0);
        }
        burst.last_bytes += bytes as u64;
    }

    /// A packet of the burst `number` arrived. Returns what the burst showed, once enough of it has arrived.
    pub fn handle_arrived(&mut self, now: Time, number: u8, arrival: i64, bytes: u32) -> Option<Found> {
        let burst = self.burst.as_mut().filter(|_| number != 0 && number == self.number)?;
        let arrived = &mut burst.arrived;
        arrived.packets += 1;
        arrived.bytes += u64::from(bytes);
        arrived.first.get_or_insert((arrival, bytes));
        arrived.last = arrived.last.max(arrival);
        let is_enough =
            !burst.open && arrived.packets >= MIN_PACKETS && arrived.packets * 100 >= burst.packets * ENOUGH;
        if !is_enough {
            return None;
        }
        let found = burst.found();
        let Burst { rate, limit, .. } = *burst;
        // The rest of it may be under way still, and would not be counted again.
        self.burst = None;
        // What is known already promises nothing, and the path is left alone as others may need it.
        if found.is_some_and(|found| found.rate > limit && found.rate * 100 >= rate * PROMISING) {
            self.next = now;
        }
        found
    }
}

/// Differs from moment to moment and from path to path.
fn pause(now: Time, limit: u64) -> Duration {
    let spread = PAUSES.1.saturating_sub(PAUSES.0).as_micros() as u64;
    let chance = (now.as_micros() ^ limit.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    PAUSES.0 + Duration::from_micros(chance % spread)
}

impl Burst {
    fn found(&self) -> Option<Found> {
        let (first, first_bytes) = self.arrived.first?;
        let sent_in = self.last_sent.since(self.began).as_micros() as u64;
        let arrived_in = u64::try_from(self.arrived.last - first).ok()?;
        let per_second = |bytes: u64, micros: u64| (bytes * 8_000_000).checked_div(micros);
        let sent = per_second(self.bytes - self.last_bytes, sent_in)?;
        // All at once is faster than can be measured.
        let arrived = per_second(self.arrived.bytes - u64::from(first_bytes), arrived_in).unwrap_or(sent);
        let rate = if arrived * 100 < sent * FULL.0 { arrived * FULL.1 / 100 } else { arrived.min(sent) };
        Some(Found { rate })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PADDING: usize = 300;

    /// Probes a path of `capacity` once, from `from` on; returns what was found and the bytes sent.
    fn probe(prober: &mut Prober, from: u64, limit: u64, capacity: u64) -> (Option<u64>, usize) {
        let (mut sent, mut found) = (Vec::new(), None);
        let mut free = 0;
        for ms in from..from + 300 {
            let now = Time::from_millis(ms);
            let due = prober.due(now, limit);
            for _ in 0..due.div_ceil(PADDING) {
                let number = prober.current();
                prober.handle_sent(now, PADDING);
                free = now.as_micros().max(free) + PADDING as u64 * 8_000_000 / capacity;
                sent.push((number, free.cast_signed()));
            }
        }
        let now = Time::from_millis(from + 300);
        for (number, arrival) in &sent {
            found = found.or(prober.handle_arrived(now, *number, *arrival, PADDING as u32));
        }
        (found.map(|found| found.rate), sent.len() * PADDING)
    }

    /// The next burst is a pause after the last one.
    fn assert_pauses_since(prober: &Prober, began: u64) {
        let next = prober.next_at().expect("more is wanted");
        assert!(next >= Time::from_millis(began) + PAUSES.0 && next <= Time::from_millis(began) + PAUSES.1, "{next:?}");
    }

    #[test]
    fn those_who_begin_together_do_not_stay_together() {
        let next = |limit| {
            let mut prober = Prober::default();
            prober.want(3_000_000);
            prober.due(Time::from_millis(1_000), limit);
            prober.next
        };
        let apart = next(900_000).since(next(901_000)).max(next(901_000).since(next(900_000)));
        assert!(apart >= Duration::from_millis(50), "{apart:?}");
    }

    #[test]
    fn a_free_path_shows_the_rate_it_was_asked_for_and_is_asked_for_more_at_once() {
        let mut prober = Prober::default();
        prober.want(3_000_000);
        let (found, bytes) = probe(&mut prober, 1_000, 500_000, 100_000_000);
        let found = found.expect("all arrived");
        assert!((900_000..=1_300_000).contains(&found), "{found}");
        assert!((5_500..=8_000).contains(&bytes), "{bytes} bytes");
        assert_eq!(prober.next_at(), Some(Time::from_millis(1_300)));
    }

    #[test]
    fn a_full_path_shows_what_it_carries_and_is_left_alone() {
        let mut prober = Prober::default();
        prober.want(3_000_000);
        let (found, _) = probe(&mut prober, 1_000, 1_500_000, 1_600_000);
        let found = found.expect("all arrived");
        assert!((1_400_000..=1_600_000).contains(&found), "{found}");
        assert_pauses_since(&prober, 1_000);
    }

    #[test]
    fn what_shows_no_more_than_is_known_is_not_repeated_at_once() {
        let mut prober = Prober::default();
        // A little more than the limit is wanted, and the path carries the limit.
        prober.want(1_700_000);
        let (found, _) = probe(&mut prober, 1_000, 1_600_000, 1_590_000);
        assert!(found.is_some_and(|found| found <= 1_600_000), "{found:?}");
        assert_pauses_since(&prober, 1_000);
    }

    #[test]
    fn a_burst_at_a_low_rate_lasts_until_it_can_be_measured() {
        let mut prober = Prober::default();
        prober.want(3_000_000);
        let (found, bytes) = probe(&mut prober, 1_000, 60_000, 10_000_000);
        let found = found.expect("all arrived");
        assert!((60_000..=160_000).contains(&found), "{found}");
        assert!(bytes <= 2_400, "{bytes} bytes");
    }

    #[test]
    fn nothing_is_sent_where_nothing_more_is_wanted_or_the_path_is_full() {
        let mut prober = Prober::default();
        assert_eq!((prober.next_at(), prober.due(Time::from_millis(1_000), 100_000)), (None, 0));
        prober.want(90_000);
        assert_eq!(prober.due(Time::from_millis(1_000), 100_000), 0);
        prober.want(900_000);
        prober.put_off(Time::from_millis(1_000));
        assert_eq!(prober.due(Time::from_millis(2_999), 100_000), 0);
        assert!(prober.due(Time::from_millis(3_000), 100_000) > 0);
    }

    #[test]
    fn a_burst_that_nobody_tells_about_is_given_up() {
        let mut prober = Prober::default();
        prober.want(900_000);
        for ms in 5_000..5_060 {
            let now = Time::from_millis(ms);
            if prober.due(now, 300_000) > 0 {
                prober.handle_sent(now, PADDING);
            }
        }
        assert_eq!((prober.current(), prober.next_at()), (0, Some(Time::from_millis(6_000))));
        assert_eq!(prober.due(Time::from_millis(6_000), 300_000), 0);
        assert_pauses_since(&prober, 5_000);
    }
}
