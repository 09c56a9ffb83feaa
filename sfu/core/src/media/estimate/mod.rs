//! How much a path to a subscriber carries, found from the subscriber's transport-wide feedback.
//!
//! Google congestion control on the sending side, as in draft-ietf-rmcat-gcc-02: [`arrival`] gathers packets into
//! bursts, [`trend`] sees a queue grow, [`rate`] and [`loss`] turn that and loss into a limit, [`probe`] finds out
//! whether there is more. In: packets sent and feedback. Out: a limit in bits per second, and padding to send.
//! It must not know what the packets carry.
//!
//! Numbers that last are integers, so that an estimator that was written down and read back goes on the same.

pub mod feedback;

mod arrival;
mod loss;
mod probe;
mod rate;
mod sent;
mod trend;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::arrival::Bursts;
use self::feedback::Statuses;
use self::loss::LossControl;
use self::probe::{Found, Prober};
use self::rate::RateControl;
use self::sent::SentPackets;
use self::trend::{Trend, Usage};
use crate::media::meter::RateMeter;
use crate::time::Time;

/// What is delivered is measured over this. Shorter, and single frames show; longer, and a path that became slow is
/// believed to be fast.
const DELIVERED: Duration = Duration::from_millis(500);
/// And over this, where more is sent than just before.
const JUST_DELIVERED: Duration = Duration::from_millis(150);
/// A receiver's clock that went this much faster or slower than ours from one packet to the next was set, and what was
/// measured by it before says nothing. No queue holds as much.
const CLOCK_SET: i64 = 3_000_000;
/// The reference time of feedback counts this many microseconds, in 24 bits.
const REFERENCE: i64 = 64_000;

/// What is known of one path. Some ten kilobytes, whatever happens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Estimator {
    sent: SentPackets,
    /// The last reference time, widened, in its own units.
    reference: Option<i64>,
    /// When the last packet was sent, by our clock, and arrived, by the receiver's.
    last: Option<(Time, i64)>,
    bursts: Bursts,
    trend: Trend,
    delivered: RateMeter,
    /// The same over the last moment.
    just_delivered: RateMeter,
    rate: RateControl,
    loss: LossControl,
    prober: Prober,
}

impl Default for Estimator {
    fn default() -> Self {
        Self {
            sent: SentPackets::default(),
            reference: None,
            last: None,
            bursts: Bursts::default(),
            trend: Trend::default(),
            delivered: RateMeter::new(DELIVERED),
            just_delivered: RateMeter::new(JUST_DELIVERED),
            rate: RateControl::default(),
            loss: LossControl::default(),
            prober: Prober::default(),
        }
    }
}

/// What became of packets, by one feedback packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fates {
    pub arrived: u32,
    pub missing: u32,
    /// Had been told to be missing, and only came late.
    pub found: u32,
}

/// Sums of one feedback packet.
#[derive(Default)]
struct Sums {
    fates: Fates,
    newest: Option<i64>,
    /// Bytes of the packet that came last.
    last_bytes: u64,
    /// The last of what the delay said, but over-use counts before all.
    usage: Option<Usage>,
    probed: Option<Found>,
}

impl Estimator {
    /// A packet was sent: its transport-wide number, widened, and its bytes as a datagram's payload.
    pub fn note_sent(&mut self, now: Time, number: u64, bytes: usize) {
        self.sent.note(now, number, bytes, self.prober.current());
        self.prober.handle_sent(now, bytes);
    }

    /// Takes in feedback: its reference time as on the wire, and what became of the packets. `round_trip` tells how long
    /// a change takes to be seen.
    pub fn handle_feedback(
        &mut self,
        now: Time,
        reference: u32,
        statuses: Statuses<'_>,
        round_trip: Duration,
    ) -> Fates {
        let wide = self.widen(reference);
        let reference = wide * REFERENCE;
        let mut sums = Sums::default();
        for status in statuses {
            let Some(told) = self.sent.tell(now, status.number, status.arrival.is_some()) else { continue };
            let Some(arrival) = status.arrival else {
                sums.fates.missing += 1;
                continue;
            };
            let arrival = reference + arrival;
            let count = if told.found { &mut sums.fates.found } else { &mut sums.fates.arrived };
            *count += 1;
            self.follow_clock(told.sent_at, arrival);
            if sums.newest.is_none_or(|newest| newest <= arrival) {
                (sums.newest, sums.last_bytes) = (Some(arrival), told.bytes.into());
            }
            self.delivered.add(receivers(arrival), told.bytes as usize);
            self.just_delivered.add(receivers(arrival), told.bytes as usize);
            if let Some(step) = self.bursts.handle_packet(told.sent_at, arrival) {
                let usage = self.trend.handle_step(step);
                sums.usage = sums.usage.filter(|known| *known == Usage::Over).or(Some(usage));
            }
            sums.probed = sums.probed.or(self.prober.handle_arrived(now, told.probe, arrival, told.bytes));
        }
        let Fates { arrived, missing, found } = sums.fates;
        self.loss.handle_told(arrived, missing, found);
        if let Some(newest) = sums.newest {
            // Feedback that tells nothing moves nothing: else a client could count it up without end.
            self.reference = Some(wide);
            let newest = receivers(newest);
            // The last packet's time began before the window did, which shows where there are few.
            let last = sums.last_bytes * 8_000_000 / JUST_DELIVERED.as_micros() as u64 * 10 / 9;
            let just_delivered = self.just_delivered.rate(newest).saturating_sub(last);
            self.update(now, (self.delivered.rate(newest), just_delivered), round_trip, &sums);
        }
        sums.fates
    }

    /// Begins to measure anew where the receiver's clock was set.
    fn follow_clock(&mut self, sent: Time, arrival: i64) {
        let Some((last_sent, last_arrival)) = self.last.replace((sent, arrival)) else { return };
        let sent_apart = sent.as_micros().cast_signed() - last_sent.as_micros().cast_signed();
        if (arrival - last_arrival - sent_apart).abs() > CLOCK_SET {
            self.bursts = Bursts::default();
            self.trend = Trend::default();
            self.delivered = RateMeter::new(DELIVERED);
            self.just_delivered = RateMeter::new(JUST_DELIVERED);
        }
    }

    fn update(&mut self, now: Time, (delivered, just): (u64, u64), round_trip: Duration, sums: &Sums) {
        let usage = sums.usage.unwrap_or(Usage::Settling);
        // While a queue grows, what arrives is what the path carries, and it may be only just more than before.
        let carried = if usage == Usage::Over { delivered.max(just) } else { delivered };
        self.rate.update(now, usage, carried, round_trip);
        self.loss.update(now, delivered, self.rate.limit());
        match sums.probed {
            _ if usage == Usage::Over => self.prober.put_off(now),
            Some(found) => self.raise_to(now, found.rate),
            None => (),
        }
    }

    fn raise_to(&mut self, now: Time, rate: u64) {
        self.rate.raise_to(now, rate);
        self.loss.raise_to(rate);
    }

    /// What the path carries, in bits per second; `None` while it has carried all there was.
    pub fn limit(&self) -> Option<u64> {
        [self.rate.limit(), self.loss.limit()].into_iter().flatten().min()
    }

    /// Bits per second to send at: what the path carries, or more while that is being found out.
    pub fn pace(&self) -> Option<u64> {
        self.limit().map(|limit| limit.max(self.prober.rate()))
    }

    /// Says how much would be sent if the path allowed it, in bits per second; zero if nothing is held back.
    pub fn want(&mut self, rate: u64) {
        let is_more = self.limit().is_some_and(|limit| rate > limit);
        self.prober.want(if is_more { rate } else { 0 });
    }

    /// Bytes of padding to send now, as a probe.
    pub fn padding_due(&mut self, now: Time) -> usize {
        self.limit().map_or(0, |limit| self.prober.due(now, limit))
    }

    /// There is nothing to make padding of. The path is taken to carry a quarter more, and media will show whether it
    /// does.
    pub fn guess(&mut self, now: Time) {
        self.prober.put_off(now);
        if let Some(limit) = self.limit() {
            self.raise_to(now, limit + limit / 4);
        }
    }

    /// When to ask for padding next.
    pub fn next_at(&self) -> Option<Time> {
        self.prober.next_at()
    }

    /// The reference time nearest to the last one. The first is placed one cycle above zero, so none is negative.
    fn widen(&self, reference: u32) -> i64 {
        const CYCLE: i64 = 1 << 24;
        let reference = i64::from(reference);
        let last = self.reference.unwrap_or(CYCLE + reference);
        let step = (reference - last).rem_euclid(CYCLE);
        last + if step < CYCLE / 2 { step } else { step - CYCLE }
    }
}

/// A moment of the receiver's clock.
fn receivers(micros: i64) -> Time {
    Time::from_micros(u64::try_from(micros).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Ssrc;
    use crate::media::rtcp::{Packet, Packets};
    use crate::media::twcc::FeedbackGenerator;

    /// A sender of constant rate, a path of some capacity with a queue, and a receiver that gives feedback.
    struct Path {
        estimator: Estimator,
        receiver: FeedbackGenerator,
        now: Time,
        number: u64,
        capacity: u64,
        /// When the link is free again.
        free: Time,
        under_way: std::collections::VecDeque<(Time, u16)>,
        padding: usize,
        /// How much later it is by the receiver's clock.
        clock: Duration,
    }

    const DELAY: Duration = Duration::from_millis(20);

    impl Path {
        fn new(capacity: u64) -> Self {
            Self {
                estimator: Estimator::default(),
                receiver: FeedbackGenerator::default(),
                now: Time::from_millis(1_000_000),
                number: 100_000,
                capacity,
                free: Time::ZERO,
                under_way: std::collections::VecDeque::new(),
                padding: 0,
                clock: Duration::ZERO,
            }
        }

        fn send(&mut self, bytes: usize) {
            self.number += 1;
            self.estimator.note_sent(self.now, self.number, bytes);
            self.free = self.free.max(self.now) + Duration::from_micros(bytes as u64 * 8_000_000 / self.capacity);
            self.under_way.push_back((self.free + DELAY, self.number as u16));
        }

        /// Sends packets of 1000 bytes at `rate` for so long; returns the limit at the end.
        fn run(&mut self, rate: u64, for_ms: u64) -> Option<u64> {
            let mut credit = 0;
            for _ in 0..for_ms {
                self.now += Duration::from_millis(1);
                credit += rate / 1000;
                while credit >= 8_000 {
                    credit -= 8_000;
                    self.send(1_000);
                }
                let padding = self.estimator.padding_due(self.now);
                for _ in 0..padding.div_ceil(300) {
                    self.padding += 300;
                    self.send(300);
                }
                while let Some((at, number)) = self.under_way.front().copied().filter(|(at, _)| *at <= self.now) {
                    self.under_way.pop_front();
                    self.receiver.handle_packet(at + self.clock, number);
                }
                let mut bytes = Vec::new();
                self.receiver.write_due(self.now + self.clock, &mut bytes, Ssrc(1), Ssrc(2));
                for packet in Packets::new(&bytes) {
                    let Packet::TransportWide { reference, statuses, .. } = packet else { continue };
                    self.estimator.handle_feedback(self.now, reference, statuses, Duration::from_millis(50));
                }
            }
            self.estimator.limit()
        }
    }

    #[test]
    fn a_path_that_carries_everything_has_no_limit() {
        assert_eq!(Path::new(5_000_000).run(2_000_000, 20_000), None);
    }

    #[test]
    fn a_path_that_is_too_narrow_is_found_out_and_its_rate_found() {
        let mut path = Path::new(1_000_000);
        path.run(900_000, 3_000);
        let mut found_after = 0;
        while path.run(2_000_000, 10).is_none() {
            found_after += 10;
        }
        assert!(found_after <= 300, "{found_after} ms");
        let limit = path.run(2_000_000, 500).expect("found");
        assert!((700_000..=1_000_000).contains(&limit), "{limit}");
    }

    #[test]
    fn a_path_of_few_packets_is_not_taken_for_more_than_it_carries() {
        for capacity in [100_000, 150_000, 200_000, 400_000] {
            let mut path = Path::new(capacity);
            path.run(capacity * 9 / 10, 3_000);
            path.run(capacity * 2, 3_000);
            let highest = (0..20).filter_map(|_| path.run(capacity * 3 / 2, 100)).max().expect("found");
            assert!(highest <= capacity, "{highest} of {capacity}");
        }
    }

    #[test]
    fn a_path_that_became_wider_is_found_by_probing() {
        let mut path = Path::new(1_000_000);
        path.run(2_000_000, 1_000);
        path.run(300_000, 3_000);
        path.capacity = 5_000_000;
        path.estimator.want(3_000_000);
        let limit = path.run(300_000, 4_000).expect("found before");
        assert!(limit >= 2_500_000, "{limit}");
        assert!(path.padding < 60_000, "{} bytes", path.padding);
    }

    #[test]
    fn probing_a_path_that_stays_narrow_does_not_raise_the_limit_above_it() {
        let mut path = Path::new(1_000_000);
        path.run(2_000_000, 1_000);
        path.run(300_000, 3_000);
        path.estimator.want(3_000_000);
        let mut highest = 0;
        for _ in 0..100 {
            highest = path.run(300_000, 200).expect("found before").max(highest);
        }
        assert!((700_000..=1_050_000).contains(&highest), "{highest}");
        assert!(path.padding < 150_000, "{} bytes in 20 s", path.padding);
    }

    #[test]
    fn what_arrives_is_measured_anew_when_the_receivers_clock_is_set() {
        for (before, after) in [(0, 3_600), (3_600, 0)] {
            let mut path = Path::new(1_000_000);
            path.clock = Duration::from_secs(before);
            path.run(900_000, 3_000);
            (path.clock, path.receiver) = (Duration::from_secs(after), FeedbackGenerator::default());
            path.run(900_000, 3_000);
            let found = (0..100).any(|_| path.run(2_000_000, 10).is_some());
            assert!(found, "nothing after a second");
            let limit = path.run(2_000_000, 500).expect("found");
            assert!((700_000..=1_000_000).contains(&limit), "{limit}");
        }
    }

    #[test]
    fn the_receivers_clock_may_wrap() {
        let mut estimator = Estimator::default();
        let mut told = |reference| *estimator.reference.insert(estimator.widen(reference));
        let wide = [0xff_fffe, 0xff_ffff, 3, 0xff_ffff, 4].map(&mut told);
        let base = 0x1ff_fffe;
        assert_eq!(wide, [base, base + 1, base + 5, base + 1, base + 6]);
    }
}
