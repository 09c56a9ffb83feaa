//! Packets that were sent and not yet heard of: when and how large, by transport-wide number.

use serde::{Deserialize, Serialize};

use crate::media::sequence::nearest;
use crate::time::Time;

/// Packets remembered: at 600 a second, which is some 5 Mb/s, for 1.7 seconds. A round trip, what waits in queues and
/// the interval of feedback must be shorter, or packets are forgotten before they are told about.
const REMEMBERED: usize = 1024;

/// One packet in eight bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    /// Microseconds, modulo 2^32.
    at: u32,
    bytes: u16,
    fate: Fate,
    probe: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Fate {
    /// No packet has this number.
    Unused,
    UnderWay,
    /// Told to be missing. It may still come.
    Missing,
    Arrived,
}

const UNUSED: Entry = Entry { at: 0, bytes: 0, fate: Fate::Unused, probe: 0 };

/// A packet that was told about for the first time, or that was told to be missing and arrived all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    pub sent_at: Time,
    pub bytes: u32,
    /// Number of the probe it belongs to; zero for none.
    pub probe: u8,
    pub found: bool,
}

/// The last packets sent. Takes eight kilobytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentPackets {
    entries: Vec<Entry>,
    highest: u64,
}

impl Default for SentPackets {
    fn default() -> Self {
        Self { entries: vec![UNUSED; REMEMBERED], highest: 0 }
    }
}

impl SentPackets {
    /// A packet was sent. Numbers ascend.
    pub fn note(&mut self, now: Time, number: u64, bytes: usize, probe: u8) {
        let skipped = number.saturating_sub(self.highest).saturating_sub(1).min(REMEMBERED as u64);
        for unused in 1..=skipped {
            self.entries[(number - unused) as usize % REMEMBERED] = UNUSED;
        }
        self.highest = number;
        let bytes = u16::try_from(bytes).unwrap_or(u16::MAX);
        let entry = Entry { at: now.as_micros() as u32, bytes, fate: Fate::UnderWay, probe };
        self.entries[number as usize % REMEMBERED] = entry;
    }

    /// Takes what feedback says of a number. `None` for packets it does not know, or knows this of already.
    pub fn tell(&mut self, now: Time, number: u16, arrived: bool) -> Option<Told> {
        let number = nearest(self.highest, number);
        if number > self.highest || number + REMEMBERED as u64 <= self.highest {
            return None;
        }
        let entry = &mut self.entries[number as usize % REMEMBERED];
        let found = match (entry.fate, arrived) {
            (Fate::UnderWay, _) => false,
            (Fate::Missing, true) => true,
            _ => return None,
        };
        entry.fate = if arrived { Fate::Arrived } else { Fate::Missing };
        let age = (now.as_micros() as u32).wrapping_sub(entry.at);
        let sent_at = Time::from_micros(now.as_micros().saturating_sub(u64::from(age)));
        Some(Told { sent_at, bytes: u32::from(entry.bytes), probe: entry.probe, found })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_millis(5_000_000_000);

    const TOLD: Told = Told { sent_at: NOW, bytes: 1200, probe: 0, found: false };

    #[test]
    fn each_packet_is_told_about_once_and_found_once() {
        let mut sent = SentPackets::default();
        for number in 70_000..70_010 {
            sent.note(NOW, number, 1200, 0);
        }
        let later = Time::from_millis(NOW.as_millis() + 300);
        let number = |number: u64| number as u16;
        assert_eq!(sent.tell(later, number(70_001), true), Some(TOLD));
        assert_eq!(sent.tell(later, number(70_001), true), None);
        assert_eq!(sent.tell(later, number(70_002), false), Some(TOLD));
        assert_eq!(sent.tell(later, number(70_002), false), None);
        assert_eq!(sent.tell(later, number(70_002), true), Some(Told { found: true, ..TOLD }));
        assert_eq!(sent.tell(later, number(70_010), true), None, "not sent yet");
        assert_eq!(sent.tell(later, number(69_999), true), None, "sent before anything was noted");
    }

    #[test]
    fn numbers_that_were_never_sent_and_those_overwritten_are_not_known() {
        let mut sent = SentPackets::default();
        sent.note(NOW, 1, 1200, 0);
        sent.note(NOW, 5, 1200, 0);
        assert_eq!(sent.tell(NOW, 3, true), None);
        assert_eq!(sent.tell(NOW, 5, true), Some(TOLD));
        sent.note(NOW, 1 + REMEMBERED as u64, 1200, 0);
        assert_eq!(sent.tell(NOW, 1, true), None);
    }
}
