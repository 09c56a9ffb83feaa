//! Sender reports about what a subscriber gets (RFC 3550, section 6.4.1), and the round trip its reports tell.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::Ssrc;
use crate::media::rtcp::{ReportBlock, SenderInfo};
use crate::media::timeline::Mapping;
use crate::time::Time;

/// How often each transport's reports are sent.
pub const INTERVAL: Duration = Duration::from_secs(1);
/// Each subscription is reported on at every third of its transport's reports, and at the first it can be.
pub const SENDER_REPORT_TURNS: u32 = 3;
/// Reports remembered until the receiver refers to them.
const REMEMBERED: usize = 3;

/// What was sent on one SSRC, retransmissions apart. Both counts wrap, as they do on the wire.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    pub packets: u32,
    /// Of payload.
    pub octets: u32,
}

impl Sent {
    pub const NOTHING: Self = Self { packets: 0, octets: 0 };

    /// Counts a packet.
    pub const fn add(&mut self, payload: usize) {
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(payload as u32);
    }
}

/// What reports about one SSRC tell and told, beside [`Sent`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SenderStatistics {
    /// Of the packets, how many the receiver had reported as lost, and how many had been sent by then.
    lost: u32,
    packets_then: u32,
    /// The next number to be given out by then, and numbers without packet that the receiver had not missed by then.
    next_then: u64,
    missing_then: u64,
    /// The first number the receiver has not asked for yet, and none after it.
    not_asked: u64,
    /// Middle bits of the NTP time in the last reports, and when they were sent.
    reports: VecDeque<(u32, Time)>,
}

impl SenderStatistics {
    pub const fn new() -> Self {
        Self { lost: 0, packets_then: 0, next_then: 0, missing_then: 0, not_asked: 0, reports: VecDeque::new() }
    }

    /// The first packet is sent, under this number.
    pub const fn begin(&mut self, first: u64) {
        self.next_then = first;
    }

    pub fn has_reported(&self) -> bool {
        !self.reports.is_empty()
    }

    /// The report to send now. The clock is the publisher's, so all its streams share one and audio and video stay in
    /// step; `timestamp_offset` is what rewriting adds to its timestamps.
    pub fn report(
        &mut self,
        now: Time,
        (ssrc, sent): (Ssrc, Sent),
        (mapping, clock_rate): (Mapping, u32),
        timestamp_offset: u32,
    ) -> SenderInfo {
        let (ntp, timestamp) = mapping.at(now, clock_rate);
        if self.reports.len() == REMEMBERED {
            self.reports.pop_front();
        }
        self.reports.push_back((ntp.middle(), now));
        let timestamp = timestamp.wrapping_add(timestamp_offset);
        SenderInfo { ssrc, ntp, timestamp, packets: sent.packets, octets: sent.octets }
    }

    /// Packets that a block reports as lost and no block before it did. No more than were sent since then: whatever the
    /// receiver claims, the sum stays below what was sent.
    pub fn newly_lost(&mut self, block: &ReportBlock, sent: Sent) -> u64 {
        // 24 bits with a sign (RFC 3550, section 6.4.1): duplicates can make it negative.
        let total = if block.total_lost < 1 << 23 { block.total_lost } else { 0 };
        let since = sent.packets.wrapping_sub(self.packets_then);
        let lost = total.saturating_sub(self.lost).min(since);
        self.lost = self.lost.max(total);
        self.packets_then = sent.packets;
        u64::from(lost)
    }

    /// Of the packets that a block reports as lost and no block before it did, those that were lost on the way to the
    /// receiver, and what part of all they are, in 256ths. Up to `next`, numbers were given out: what has one and was
    /// never sent was lost before it came to us.
    pub fn newly_lost_on_the_way(&mut self, block: &ReportBlock, sent: Sent, next: u64) -> (u64, u8) {
        let since = u64::from(sent.packets.wrapping_sub(self.packets_then));
        let missing = next.saturating_sub(self.next_then).saturating_sub(since);
        let lost = self.newly_lost(block, sent);
        // A gap is seen there a moment after it was seen here, maybe behind the next block.
        let excused = std::mem::replace(&mut self.missing_then, missing.saturating_sub(lost)) + missing;
        self.next_then = next;
        let lost = lost.saturating_sub(excused);
        let part = u8::try_from(lost * 256 / since.max(1)).unwrap_or(u8::MAX);
        (lost, part.min(block.fraction_lost))
    }

    /// The receiver asks for a packet, by its widened number. Whether neither it nor a later one was asked for before: the
    /// same packet is asked for until it comes.
    pub const fn newly_asked(&mut self, number: u64) -> bool {
        let is_new = number >= self.not_asked;
        if is_new {
            self.not_asked = number + 1;
        }
        is_new
    }

    /// The round trip that a block about this stream tells: time since our report, less the time the receiver held it.
    pub fn round_trip(&self, now: Time, block: &ReportBlock) -> Option<Duration> {
        let (_, sent) = self.reports.iter().rev().find(|(middle, _)| *middle == block.last_sender_report)?;
        let held = Duration::from_micros(u64::from(block.delay_since_last_sender_report) * 1_000_000 / 65_536);
        // Clocks of a different speed can make it look negative.
        Some(now.since(*sent).saturating_sub(held))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::NtpTime;

    #[test]
    fn the_report_speaks_the_publishers_clock_and_our_timestamps() {
        let mut statistics = SenderStatistics::default();
        let sent = Sent { packets: 2, octets: 150 };
        let ntp = NtpTime::from_unix(Duration::from_secs(1000));
        let mapping = Mapping { ntp, timestamp: 48_000, arrival: Time::from_millis(500) };
        let info = statistics.report(Time::from_millis(1500), (Ssrc(7), sent), (mapping, 48_000), 5);
        let expected = SenderInfo {
            ssrc: Ssrc(7),
            ntp: NtpTime::from_unix(Duration::from_secs(1001)),
            timestamp: 96_005,
            packets: 2,
            octets: 150,
        };
        assert_eq!(info, expected);
    }

    #[test]
    fn lost_packets_are_counted_once_and_no_more_than_were_sent() {
        let mut statistics = SenderStatistics::default();
        let mut sent = Sent::NOTHING;
        let mut reported = |n_sent, total_lost| {
            (0..n_sent).for_each(|_| sent.add(100));
            let block = ReportBlock {
                ssrc: Ssrc(7),
                fraction_lost: 0,
                total_lost,
                highest_sequence: 0,
                jitter: 0,
                last_sender_report: 0,
                delay_since_last_sender_report: 0,
            };
            statistics.newly_lost(&block, sent)
        };
        assert_eq!(reported(50, 3), 3);
        assert_eq!(reported(50, 3), 0);
        assert_eq!(reported(50, 0xff_fffe), 0, "-2: more came than was sent");
        assert_eq!(reported(50, 7), 4);
        assert_eq!(reported(50, 100_000), 50, "nobody can lose what was not sent");
    }

    #[test]
    fn what_never_came_to_us_was_not_lost_on_the_way_from_us() {
        let mut statistics = SenderStatistics::default();
        statistics.begin(1_000);
        let mut sent = Sent::NOTHING;
        let mut reported = |n_sent, next, total_lost, fraction_lost| {
            (0..n_sent).for_each(|_| sent.add(100));
            let block = ReportBlock {
                ssrc: Ssrc(7),
                fraction_lost,
                total_lost,
                highest_sequence: 0,
                jitter: 0,
                last_sender_report: 0,
                delay_since_last_sender_report: 0,
            };
            statistics.newly_lost_on_the_way(&block, sent, next)
        };
        assert_eq!(reported(64, 1_064, 8, 32), (8, 32));
        assert_eq!(reported(64, 1_136, 16, 28), (0, 0), "eight never came");
        assert_eq!(reported(64, 1_202, 22, 24), (4, 16), "and two");
        assert_eq!(reported(70, 1_266, 30, 16), (8, 16), "what came late filled gaps");
        assert_eq!(reported(64, 1_336, 33, 12), (0, 0), "six never came");
        assert_eq!(reported(64, 1_400, 40, 28), (4, 16), "of which three are told of now");
    }

    #[test]
    fn the_round_trip_leaves_out_what_the_receiver_held() {
        let mut statistics = SenderStatistics::default();
        let mapping = Mapping { ntp: NtpTime::from_bits(0x1_2345_0000_0000), timestamp: 0, arrival: Time::ZERO };
        let info = statistics.report(Time::from_millis(1000), (Ssrc(7), Sent::NOTHING), (mapping, 48_000), 0);
        let mut block = ReportBlock {
            ssrc: Ssrc(7),
            fraction_lost: 0,
            total_lost: 0,
            highest_sequence: 0,
            jitter: 0,
            last_sender_report: info.ntp.middle(),
            delay_since_last_sender_report: 32_768,
        };
        assert_eq!(statistics.round_trip(Time::from_millis(1540), &block), Some(Duration::from_millis(40)));
        block.last_sender_report = 0;
        assert_eq!(statistics.round_trip(Time::from_millis(1540), &block), None);
    }
}
