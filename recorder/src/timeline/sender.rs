//! A sender's wall clock, and how far it is from ours.

use sfu_core::time::{NtpTime, Time};

use super::Micros;
use super::least::Least;

/// A report that disagrees with the earlier ones by more is strange: neither clocks nor networks do that slowly.
const STRANGE: Micros = 400_000;
/// How much strange reports may differ from one another to count as agreeing.
const AGREE: Micros = 100_000;
/// So many strange reports that agree mean that the sender's clock was set.
const BELIEVED_AFTER: u32 = 3;

/// A moment of a sender's clock in microseconds, as if that clock had never been set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenderTime(Micros);

/// One person's clock, shared by all streams of theirs.
#[derive(Debug, Clone, Default)]
pub struct SenderClock {
    /// Arrival of a report less the moment it tells.
    offset: Least,
    /// What the sender's clock was set by, all in all. So moments told before stay good, also those of streams whose next
    /// report is yet to come.
    correction: Micros,
    /// How far off the last reports were, and how many agree on it.
    strange: Option<(Micros, u32)>,
}

impl SenderClock {
    /// Takes in the wall clock of a sender report. Returns the moment it means; `None` if it cannot be believed (yet).
    pub fn handle_report(&mut self, now: Time, ntp: NtpTime) -> Option<SenderTime> {
        // Zero: the sender has no wall clock (RFC 3550, section 6.4.1).
        if ntp.bits() == 0 {
            return None;
        }
        let moment = wall_micros(ntp).wrapping_add(self.correction);
        let sample = (now.as_micros() as Micros).wrapping_sub(moment);
        let Some(least) = self.offset.get(now) else {
            self.offset.set(now, sample);
            return Some(SenderTime(moment));
        };
        let off = sample.wrapping_sub(least);
        if off.unsigned_abs() <= STRANGE.unsigned_abs() {
            self.strange = None;
            self.offset.learn(now, sample);
            return Some(SenderTime(moment));
        }
        let agreeing = match self.strange {
            Some((other, count)) if other.abs_diff(off) <= AGREE.unsigned_abs() => count + 1,
            _ => 1,
        };
        self.strange = Some((off, agreeing));
        if agreeing < BELIEVED_AFTER {
            return None;
        }
        self.strange = None;
        self.correction = self.correction.wrapping_add(off);
        Some(SenderTime(moment.wrapping_add(off)))
    }

    /// The moment of our clock. `None` before the first report.
    pub fn local(&self, now: Time, moment: SenderTime) -> Option<Micros> {
        Some(moment.0.wrapping_add(self.offset.get(now)?))
    }
}

/// Microseconds since 1900.
const fn wall_micros(ntp: NtpTime) -> Micros {
    let (seconds, fraction) = (ntp.bits() >> 32, ntp.bits() & 0xffff_ffff);
    (seconds * 1_000_000 + ((fraction * 1_000_000) >> 32)) as Micros
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn ntp(millis: u64) -> NtpTime {
        NtpTime::from_unix(Duration::from_secs(1_700_000_000) + Duration::from_millis(millis))
    }

    /// Where a moment of the sender's clock lies, in milliseconds of ours.
    fn local(clock: &SenderClock, now: u64, moment: SenderTime) -> i64 {
        (clock.local(Time::from_millis(now), moment).expect("reported") + 500) / 1000
    }

    #[test]
    fn the_report_with_the_lowest_delay_places_the_senders_clock() {
        let mut clock = SenderClock::default();
        let moment = clock.handle_report(Time::from_millis(5_090), ntp(0)).expect("the first");
        assert_eq!(local(&clock, 5_090, moment), 5_090);
        clock.handle_report(Time::from_millis(6_020), ntp(1_000)).expect("quicker");
        assert_eq!(local(&clock, 6_020, moment), 5_020);
        clock.handle_report(Time::from_millis(7_200), ntp(2_000)).expect("slower");
        assert_eq!(local(&clock, 7_200, moment), 5_020);
    }

    #[test]
    fn a_clock_that_is_set_moves_nothing() {
        let mut clock = SenderClock::default();
        let before = clock.handle_report(Time::from_millis(1_000), ntp(1_000)).expect("the first");
        // Set forward by an hour.
        let set = 3_600_000;
        assert_eq!(clock.handle_report(Time::from_millis(2_000), ntp(set + 2_000)), None);
        assert_eq!(clock.handle_report(Time::from_millis(3_010), ntp(set + 3_000)), None);
        let after = clock.handle_report(Time::from_millis(4_000), ntp(set + 4_000)).expect("the third");
        assert_eq!(local(&clock, 4_000, after), 4_000);
        // But for a clock that might run slower: 250 millionths of three seconds.
        assert_eq!(local(&clock, 4_000, before), 1_001, "what was told before stays good");
        let next = clock.handle_report(Time::from_millis(5_000), ntp(set + 5_000)).expect("usual");
        assert_eq!(local(&clock, 5_000, next), 5_000);
    }

    #[test]
    fn single_strange_reports_are_not_believed() {
        let mut clock = SenderClock::default();
        clock.handle_report(Time::from_millis(1_000), ntp(1_000)).expect("the first");
        for at in [2_000, 3_000, 4_000, 5_000] {
            assert_eq!(clock.handle_report(Time::from_millis(at), ntp(at * 7)), None, "they do not agree");
        }
        assert_eq!(clock.handle_report(Time::from_millis(6_000), NtpTime::from_bits(0)), None, "no clock");
        let moment = clock.handle_report(Time::from_millis(7_000), ntp(7_000)).expect("usual");
        assert_eq!(local(&clock, 7_000, moment), 7_000);
    }
}
