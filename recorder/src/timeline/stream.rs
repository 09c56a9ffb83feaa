//! One stream's timestamps: widened, and placed on our clock by sender reports or by arrival.

use std::time::Duration;

use sfu_core::time::{NtpTime, Time};

use super::least::Least;
use super::sender::{SenderClock, SenderTime};
use super::{Micros, micros};

/// A timestamp this far from what time's passing lets expect is strange. More than any stream's patience: what is behind a
/// large picture on a narrow path comes late too.
const STRANGE: Micros = 4_000_000;
/// How much strange packets may differ from one another to count as agreeing.
const AGREE: Micros = 1_000_000;
/// So many packets with strange timestamps that agree mean that the stream began anew.
const BELIEVED_AFTER: u32 = 3;
/// How long every packet has to be late before that counts as the way's new length.
const WINDOW: Duration = Duration::from_secs(1);
/// How much later than the packets' arrivals reports may place them. Both are a network's least delay, which reports,
/// being rare, know less well.
const AHEAD: Micros = 300_000;

/// The timestamps of one SSRC.
#[derive(Debug, Clone)]
pub struct Stream {
    rate: u32,
    /// How long after its capture a packet may come and be of use.
    patience: Micros,
    highest: Option<i64>,
    /// Arrival of a packet less its timestamp as a time.
    arrivals: Least,
    /// The same of the packets since a moment.
    recent: Option<(Time, Micros)>,
    strange: Option<(Micros, u32)>,
    /// This timestamp is that moment.
    report: Option<(i64, SenderTime)>,
}

impl Stream {
    /// A stream whose clock ticks `rate` times a second, of at least 1.
    pub fn new(rate: u32, patience: Duration) -> Self {
        Self {
            rate: rate.max(1),
            patience: patience.as_micros() as Micros,
            highest: None,
            arrivals: Least::default(),
            recent: None,
            strange: None,
            report: None,
        }
    }

    /// Takes in a packet's timestamp. Returns it widened to 64 bits; `None` for one that cannot be believed (yet).
    pub fn handle_packet(&mut self, now: Time, timestamp: u32) -> Option<i64> {
        let wide = self.widen(timestamp);
        let sample = self.sample(now, wide);
        let Some(least) = self.arrivals.get(now) else {
            self.begin(now, wide, sample);
            return Some(wide);
        };
        let off = sample - least;
        // However long the packets of one picture take, it is the picture that was believed at its first.
        if off.abs() > STRANGE && self.highest != Some(wide) {
            let agreeing = match self.strange {
                Some((other, count)) if (other - off).abs() <= AGREE => count + 1,
                _ => 1,
            };
            self.strange = Some((off, agreeing));
            if agreeing < BELIEVED_AFTER {
                return None;
            }
            self.begin(now, wide, sample);
            return Some(wide);
        }
        self.strange = None;
        self.highest = self.highest.max(Some(wide));
        self.arrivals.learn(now, sample);
        self.follow_longer_ways(now, sample, least);
        Some(wide)
    }

    /// Takes in a sender report of the stream.
    pub fn handle_report(&mut self, clock: &mut SenderClock, now: Time, ntp: NtpTime, timestamp: u32) {
        if let Some(moment) = clock.handle_report(now, ntp) {
            let wide = self.widen(timestamp);
            self.highest.get_or_insert(wide);
            self.report = Some((wide, moment));
        }
    }

    /// When what has this timestamp was captured. `None` before the first packet.
    pub fn captured(&self, clock: &SenderClock, now: Time, timestamp: i64) -> Option<Micros> {
        let by_arrival = self.arrivals.get(now)? + micros(timestamp, self.rate);
        let by_report = self.report.and_then(|(reported, moment)| {
            Some(clock.local(now, moment)?.wrapping_add(micros(timestamp - reported, self.rate)))
        });
        let is_likely =
            |moment: &Micros| (by_arrival.saturating_sub(self.patience)..=by_arrival + AHEAD).contains(moment);
        Some(by_report.filter(is_likely).unwrap_or(by_arrival))
    }

    fn sample(&self, now: Time, wide: i64) -> Micros {
        now.as_micros() as Micros - micros(wide, self.rate)
    }

    /// The number nearest to the highest whose low 32 bits are `timestamp`.
    fn widen(&self, timestamp: u32) -> i64 {
        self.highest.map_or(i64::from(timestamp), |highest| {
            highest + i64::from(timestamp.wrapping_sub(highest as u32).cast_signed())
        })
    }

    fn begin(&mut self, now: Time, wide: i64, sample: Micros) {
        if self.arrivals.get(now).is_some() {
            self.report = None;
        }
        self.highest = Some(wide);
        self.arrivals.set(now, sample);
        (self.recent, self.strange) = (None, None);
    }

    /// A way that has become longer for good: without this, all that comes on it would be too late for ever.
    fn follow_longer_ways(&mut self, now: Time, sample: Micros, least: Micros) {
        let (since, recent) = self.recent.map_or((now, sample), |(since, recent)| (since, recent.min(sample)));
        self.recent = Some((since, recent));
        if now.since(since) >= WINDOW {
            self.recent = None;
            if recent - least > self.patience {
                self.arrivals.set(now, recent);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RATE: u32 = 48_000;
    const PATIENCE: Duration = Duration::from_millis(600);

    fn ntp(millis: u64) -> NtpTime {
        NtpTime::from_unix(Duration::from_secs(1_700_000_000) + Duration::from_millis(millis))
    }

    fn millis(at: u64) -> Time {
        Time::from_millis(at)
    }

    fn captured(stream: &Stream, clock: &SenderClock, now: u64, wide: i64) -> i64 {
        (stream.captured(clock, millis(now), wide).expect("there was a packet") + 500) / 1000
    }

    #[test]
    fn before_the_first_report_the_quickest_packet_decides() {
        let mut stream = Stream::new(RATE, PATIENCE);
        let clock = SenderClock::default();
        let first = stream.handle_packet(millis(1_050), u32::MAX).expect("the first");
        let second = stream.handle_packet(millis(1_030), 959).expect("20 ms later, across the wrap");
        assert_eq!(second - first, 960);
        assert_eq!(captured(&stream, &clock, 1_050, first), 1_010);
        assert_eq!(captured(&stream, &clock, 1_050, second), 1_030);
    }

    #[test]
    fn two_streams_of_a_sender_are_related_by_its_reports() {
        let mut clock = SenderClock::default();
        let (mut voice, mut screen) = (Stream::new(48_000, PATIENCE), Stream::new(90_000, PATIENCE));
        // Captured at the same moment; the picture takes 150 ms longer.
        let voice_at = voice.handle_packet(millis(1_020), 7).expect("the first");
        let screen_at = screen.handle_packet(millis(1_170), 90_000).expect("the first");
        assert_eq!(captured(&screen, &clock, 1_170, screen_at), 1_170, "by arrival");
        voice.handle_report(&mut clock, millis(2_020), ntp(1_000), 7 + 48_000);
        screen.handle_report(&mut clock, millis(2_020), ntp(1_000), 180_000);
        assert_eq!(captured(&voice, &clock, 2_020, voice_at), 1_020);
        assert_eq!(captured(&screen, &clock, 2_020, screen_at), 1_020);
    }

    #[test]
    fn a_report_that_makes_no_sense_is_left_aside() {
        let mut clock = SenderClock::default();
        let mut stream = Stream::new(RATE, PATIENCE);
        let wide = stream.handle_packet(millis(1_000), 0).expect("the first");
        stream.handle_report(&mut clock, millis(1_000), ntp(0), 48_000 * 3_600);
        assert_eq!(captured(&stream, &clock, 1_000, wide), 1_000, "not an hour ago");
    }

    #[test]
    fn absurd_timestamps_are_dropped_until_they_agree() {
        let clock = SenderClock::default();
        let mut stream = Stream::new(RATE, PATIENCE);
        stream.handle_packet(millis(1_000), 0).expect("the first");
        for (at, absurd) in [(1_020, 1 << 31), (1_040, 1 << 30), (1_060, 3 << 30), (1_080, 77 << 20)] {
            assert_eq!(stream.handle_packet(millis(at), absurd), None);
        }
        stream.handle_packet(millis(1_100), 4_800).expect("usual");
        // The sender counts from elsewhere now.
        assert_eq!(stream.handle_packet(millis(1_120), 2_000_000_000), None);
        assert_eq!(stream.handle_packet(millis(1_140), 2_000_000_960), None);
        let wide = stream.handle_packet(millis(1_160), 2_000_001_920).expect("the third");
        assert_eq!(captured(&stream, &clock, 1_160, wide), 1_160);
    }

    #[test]
    fn a_picture_that_takes_long_is_one_picture_and_not_strange() {
        let clock = SenderClock::default();
        let mut stream = Stream::new(90_000, Duration::from_secs(3));
        let wide = stream.handle_packet(millis(1_000), 7).expect("the first");
        for at in (1_010..7_000).step_by(10) {
            assert_eq!(stream.handle_packet(millis(at), 7), Some(wide), "at {at}");
        }
        let next = stream.handle_packet(millis(7_010), 7 + 9_000).expect("what waited behind it");
        let lag = 7_010 - captured(&stream, &clock, 7_010, next);
        assert!((0..3_000).contains(&lag), "{lag}");
    }

    #[test]
    fn a_way_that_becomes_longer_for_good_is_followed_within_two_seconds() {
        let clock = SenderClock::default();
        let mut stream = Stream::new(RATE, PATIENCE);
        let mut late = 0;
        for packet in 0..200_u32 {
            let capture = u64::from(packet) * 20;
            let now = capture + if packet < 50 { 20 } else { 1_020 };
            let wide = stream.handle_packet(millis(now), packet * 960).expect("usual");
            late += u32::from(now as i64 - captured(&stream, &clock, now, wide) > 600);
        }
        assert!((40..=101).contains(&late), "{late}");
    }

    proptest! {
        #[test]
        fn nothing_on_the_wire_places_a_packet_far_from_its_arrival(
            inputs in proptest::collection::vec((any::<bool>(), any::<u32>(), any::<u64>(), 0..3_000_u64), 1..100),
        ) {
            let mut clock = SenderClock::default();
            let mut stream = Stream::new(RATE, PATIENCE);
            let mut now = 10_000_000;
            for (is_report, timestamp, bits, step) in inputs {
                now += step;
                if is_report {
                    stream.handle_report(&mut clock, millis(now), NtpTime::from_bits(bits), timestamp);
                    continue;
                }
                let is_continued = stream.highest == Some(stream.widen(timestamp));
                if let Some(wide) = stream.handle_packet(millis(now), timestamp).filter(|_| !is_continued) {
                    let captured = captured(&stream, &clock, now, wide);
                    prop_assert!((now as i64 - 5_000..=now as i64 + 2_400).contains(&captured), "{captured} at {now}");
                }
            }
        }
    }
}
