//! What a receiver report says of one incoming stream (RFC 3550, section 6.4.1 and appendices A.3 and A.8).

use serde::{Deserialize, Serialize};

use crate::id::Ssrc;
use crate::media::rtcp::ReportBlock;
use crate::time::{NtpTime, Time};

/// Counts one incoming stream. Retransmissions are not counted: they are another stream (RFC 4588).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReceiveStatistics {
    clock_rate: u32,
    /// Number of the first packet, widened.
    base: Option<u64>,
    highest: u64,
    received: u64,
    expected_before: u64,
    received_before: u64,
    /// Arrival minus timestamp, in units of the clock, of the last packet.
    transit: Option<u32>,
    /// Sixteen times the jitter, in units of the clock.
    jitter: u32,
    last_sender_report: Option<(u32, Time)>,
}

/// How the stream did since the previous report.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    pub expected: u64,
    pub lost: u64,
    pub jitter_ms: f32,
}

impl ReceiveStatistics {
    pub const fn new(clock_rate: u32) -> Self {
        Self {
            clock_rate,
            base: None,
            highest: 0,
            received: 0,
            expected_before: 0,
            received_before: 0,
            transit: None,
            jitter: 0,
            last_sender_report: None,
        }
    }

    /// A packet arrived: `sequence` is its widened number, `timestamp` counts the codec's clock.
    pub fn handle_packet(&mut self, now: Time, sequence: u64, timestamp: u32) {
        // A packet from before the first one would make more received than expected.
        let base = *self.base.get_or_insert(sequence);
        if sequence < base {
            return;
        }
        self.received += 1;
        let newest = sequence >= self.highest;
        self.highest = self.highest.max(sequence);
        if !newest {
            return;
        }
        let arrival = (u128::from(now.as_micros()) * u128::from(self.clock_rate) / 1_000_000) as u32;
        let transit = arrival.wrapping_sub(timestamp);
        if let Some(previous) = self.transit.replace(transit) {
            let difference = transit.wrapping_sub(previous).cast_signed().unsigned_abs();
            // A jump of the timestamps by more than ten seconds is a new start of the source and not jitter.
            if difference < self.clock_rate.saturating_mul(10) {
                self.jitter = self.jitter - ((self.jitter + 8) >> 4) + difference.min(u32::MAX >> 5);
            }
        }
    }

    /// A sender report arrived, whose time of sending our report refers to.
    pub fn handle_sender_report(&mut self, now: Time, sent: NtpTime) {
        self.last_sender_report = Some((sent.middle(), now));
    }

    /// The block for our next report, and how the stream did since the previous one. `None` before the first packet.
    pub fn report(&mut self, now: Time, ssrc: Ssrc) -> Option<(ReportBlock, Interval)> {
        let expected = self.highest - self.base? + 1;
        let lost = expected.saturating_sub(self.received);
        let expected_now = expected - self.expected_before;
        let received_now = self.received - self.received_before;
        let lost_now = expected_now.saturating_sub(received_now);
        self.expected_before = expected;
        self.received_before = self.received;
        let fraction_lost = (lost_now * 256).checked_div(expected_now).map_or(0, |part| part.min(255) as u8);
        let (last_sender_report, delay) = self.last_sender_report.map_or((0, 0), |(middle, arrived)| {
            let delay = now.since(arrived).as_micros() * 65_536 / 1_000_000;
            (middle, u32::try_from(delay).unwrap_or(u32::MAX))
        });
        let jitter = self.jitter >> 4;
        let block = ReportBlock {
            ssrc,
            fraction_lost,
            total_lost: lost.min(0x7f_ffff) as u32,
            highest_sequence: self.highest as u32,
            jitter,
            last_sender_report,
            delay_since_last_sender_report: delay,
        };
        let jitter_ms = jitter as f32 * 1000.0 / self.clock_rate.max(1) as f32;
        Some((block, Interval { expected: expected_now, lost: lost_now, jitter_ms }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SSRC: Ssrc = Ssrc(5);

    #[test]
    fn nothing_is_reported_before_the_first_packet() {
        assert_eq!(ReceiveStatistics::new(48_000).report(Time::ZERO, SSRC), None);
    }

    #[test]
    fn loss_is_counted_in_total_and_since_the_last_report() {
        let mut statistics = ReceiveStatistics::new(90_000);
        for sequence in (100..200).filter(|sequence| sequence % 4 != 3) {
            statistics.handle_packet(Time::ZERO, sequence, 0);
        }
        let (block, interval) = statistics.report(Time::ZERO, SSRC).expect("packets came");
        // 199 was lost too, but nothing after it says so.
        assert_eq!((block.total_lost, block.fraction_lost, block.highest_sequence), (24, 62, 198));
        assert_eq!((interval.expected, interval.lost), (99, 24));
        for sequence in 199..=298 {
            statistics.handle_packet(Time::ZERO, sequence, 0);
        }
        let (block, interval) = statistics.report(Time::ZERO, SSRC).expect("packets came");
        assert_eq!((block.total_lost, block.fraction_lost), (24, 0));
        assert_eq!((interval.expected, interval.lost), (100, 0));
    }

    #[test]
    fn an_even_stream_has_no_jitter_and_an_uneven_one_has() {
        let mut even = ReceiveStatistics::new(48_000);
        let mut uneven = ReceiveStatistics::new(48_000);
        for n in 0..500_u32 {
            let at = u64::from(n) * 20;
            even.handle_packet(Time::from_millis(at), 1000 + u64::from(n), n * 960);
            uneven.handle_packet(Time::from_millis(at + u64::from(n % 2) * 10), 1000 + u64::from(n), n * 960);
        }
        assert_eq!(even.report(Time::ZERO, SSRC).expect("packets").0.jitter, 0);
        // The difference of neighbours is 10 ms, 480 units, each time.
        let (block, interval) = uneven.report(Time::ZERO, SSRC).expect("packets");
        assert!((470..=480).contains(&block.jitter), "{}", block.jitter);
        assert!((9.7..=10.0).contains(&interval.jitter_ms));
    }

    #[test]
    fn delay_since_the_sender_report_is_in_65536ths_of_a_second() {
        let mut statistics = ReceiveStatistics::new(90_000);
        statistics.handle_packet(Time::ZERO, 1, 0);
        statistics.handle_sender_report(Time::from_millis(1000), NtpTime::from_bits(0x0001_2345_6789_abcd));
        let (block, _) = statistics.report(Time::from_millis(1500), SSRC).expect("packets");
        assert_eq!((block.last_sender_report, block.delay_since_last_sender_report), (0x2345_6789, 32_768));
    }

    #[test]
    fn a_packet_from_before_the_first_does_not_upset_the_count() {
        let mut statistics = ReceiveStatistics::new(90_000);
        statistics.handle_packet(Time::ZERO, 10, 0);
        statistics.handle_packet(Time::ZERO, 8, 0);
        assert_eq!(statistics.report(Time::ZERO, SSRC).expect("packets").0.total_lost, 0);
    }
}
