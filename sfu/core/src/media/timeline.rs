//! How a stream's timestamps relate to the publisher's clock, and so to another stream's.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::{NtpTime, Time};

/// What a publisher's last sender report says of one stream: this timestamp is that moment of its clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mapping {
    pub ntp: NtpTime,
    pub timestamp: u32,
    /// When the report came.
    pub arrival: Time,
}

impl Mapping {
    /// The same relation, at a later moment: what the publisher would report now.
    pub fn at(self, now: Time, clock_rate: u32) -> (NtpTime, u32) {
        let passed = now.since(self.arrival);
        (self.ntp + passed, self.timestamp.wrapping_add(ticks(passed, clock_rate)))
    }
}

/// The last packet a subscriber got before a switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastSent {
    /// As the subscriber saw it.
    pub timestamp: u32,
    pub at: Time,
}

/// A stream as seen at a switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Side {
    pub mapping: Option<Mapping>,
    pub clock_rate: u32,
}

/// How far the publisher's reports may disagree with the passing of time before they are not believed.
const TRUST: Duration = Duration::from_secs(2);

/// What to add to the new stream's timestamps so that they continue the old one's.
///
/// Where the publisher has reported on both, its clock relates them exactly, and audio and video stay in step across
/// the switch. Otherwise the time that passed since the last packet decides. The first packet, whose timestamp is
/// `first`, always comes after the last one sent.
pub fn align(now: Time, last: LastSent, old: (Side, u32), new: Side, first: u32) -> u32 {
    let (old, old_offset) = old;
    let elapsed = ticks(now.since(last.at), new.clock_rate).max(1);
    let by_time = last.timestamp.wrapping_add(elapsed);
    let by_reports = old.mapping.zip(new.mapping).map(|(old_mapping, new_mapping)| {
        // Moment of the new stream's first packet, as a distance from the old stream's report.
        let since_report =
            f64::from(first.wrapping_sub(new_mapping.timestamp).cast_signed()) / f64::from(new.clock_rate);
        let between = ntp_seconds(old_mapping.ntp, new_mapping.ntp);
        let in_ticks = ((since_report + between) * f64::from(old.clock_rate)).round() as i64;
        old_mapping.timestamp.wrapping_add(in_ticks as u32).wrapping_add(old_offset)
    });
    let believed = by_reports.filter(|timestamp| {
        let trust = ticks(TRUST, new.clock_rate);
        timestamp.wrapping_sub(by_time).cast_signed().unsigned_abs() < trust
    });
    let mut timestamp = believed.unwrap_or(by_time);
    if timestamp.wrapping_sub(last.timestamp).cast_signed() <= 0 {
        timestamp = last.timestamp.wrapping_add(1);
    }
    timestamp.wrapping_sub(first)
}

/// A time in units of a clock, modulo 2^32.
pub fn ticks(time: Duration, clock_rate: u32) -> u32 {
    (time.as_micros() * u128::from(clock_rate) / 1_000_000) as u32
}

fn ntp_seconds(from: NtpTime, to: NtpTime) -> f64 {
    const FRACTION: f64 = 4_294_967_296.0;
    to.bits().wrapping_sub(from.bits()).cast_signed() as f64 / FRACTION
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u32 = 90_000;

    fn ntp(millis: u64) -> NtpTime {
        NtpTime::from_unix(Duration::from_millis(1_000_000 + millis))
    }

    fn side(mapping: Option<(u64, u32)>) -> Side {
        let mapping = mapping.map(|(millis, timestamp)| Mapping { ntp: ntp(millis), timestamp, arrival: Time::ZERO });
        Side { mapping, clock_rate: RATE }
    }

    #[test]
    fn reports_relate_two_layers_exactly() {
        // Old: 0 ms is 1,000. New: 500 ms is 4,000,000,000. The new one's first packet is of 2,000 ms.
        let first = 4_000_000_000_u32.wrapping_add(1500 * 90);
        let last = LastSent { timestamp: 1_000 + 7 + 1_960 * 90, at: Time::from_millis(100) };
        let old = (side(Some((0, 1_000))), 7);
        let offset = align(Time::from_millis(155), last, old, side(Some((500, 4_000_000_000))), first);
        assert_eq!(first.wrapping_add(offset), 1_000 + 7 + 2_000 * 90);
    }

    #[test]
    fn without_reports_the_time_that_passed_counts() {
        let last = LastSent { timestamp: 5_000, at: Time::from_millis(100) };
        let offset = align(Time::from_millis(133), last, (side(None), 0), side(Some((0, 0))), 77);
        assert_eq!(77_u32.wrapping_add(offset), 5_000 + 33 * 90);
    }

    #[test]
    fn reports_far_from_the_truth_are_not_believed() {
        let last = LastSent { timestamp: 5_000, at: Time::ZERO };
        let old = (side(Some((0, 5_000))), 0);
        let offset = align(Time::from_millis(10), last, old, side(Some((60_000, 0))), 0);
        assert_eq!(offset, 5_000 + 10 * 90);
    }

    #[test]
    fn time_never_stands_still_or_runs_back() {
        let last = LastSent { timestamp: 5_000, at: Time::ZERO };
        let old = (side(Some((0, 5_000))), 0);
        let offset = align(Time::ZERO, last, old, side(Some((0, 100))), 10);
        assert_eq!(10_u32.wrapping_add(offset), 5_001);
    }

    #[test]
    fn a_mapping_goes_on_with_time() {
        let mapping = Mapping { ntp: ntp(0), timestamp: u32::MAX, arrival: Time::from_millis(10) };
        assert_eq!(mapping.at(Time::from_millis(1010), RATE), (ntp(1000), RATE - 1));
    }
}
