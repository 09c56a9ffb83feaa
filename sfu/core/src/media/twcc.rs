//! Transport-wide feedback to a publisher: which of its packets arrived, and when.
//! draft-holmer-rmcat-transport-wide-cc-extensions-01; the sender estimates its bandwidth from it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::Ssrc;
use crate::media::rtcp::{TRANSPORT_FEEDBACK, TRANSPORT_WIDE, write_start};
use crate::media::sequence::Unwrapper;
use crate::time::Time;

/// How often feedback is sent while packets come.
pub const INTERVAL: Duration = Duration::from_millis(50);
/// Arrivals remembered: late packets may still be told about.
const REMEMBERED: usize = 1024;
/// Packets one feedback tells about. Keeps it below the size of a datagram, whatever the arrivals.
const MAX_PACKETS: u64 = 400;
/// The reference time counts these.
const REFERENCE: i64 = 64_000;
/// Receive deltas count these, in microseconds.
const DELTA: i64 = 250;

/// Arrival times of one transport's packets by transport-wide number.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedbackGenerator {
    numbers: Unwrapper,
    /// Slot by number modulo their count; made with the first packet.
    arrivals: Vec<Option<(u64, Time)>>,
    /// The first number not told about yet.
    begin: u64,
    due: Option<Time>,
    count: u8,
}

impl FeedbackGenerator {
    /// A packet with a transport-wide number arrived.
    pub fn handle_packet(&mut self, now: Time, number: u16) {
        let first = self.arrivals.is_empty();
        if first {
            self.arrivals.resize(REMEMBERED, None);
        }
        let number = self.numbers.unwrap(number);
        let highest = self.numbers.highest().unwrap_or(number);
        if number + REMEMBERED as u64 <= highest {
            return;
        }
        let slot = &mut self.arrivals[(number % REMEMBERED as u64) as usize];
        if slot.is_some_and(|(known, _)| known == number) {
            return;
        }
        *slot = Some((number, now));
        self.begin = if first { number } else { self.begin.min(number) };
        // What has been overwritten cannot be told about any more.
        self.begin = self.begin.max((highest + 1).saturating_sub(REMEMBERED as u64));
        self.due.get_or_insert(now + INTERVAL);
    }

    pub const fn next_at(&self) -> Option<Time> {
        self.due
    }

    /// Appends the feedback that is due, as one packet or several. Returns how many.
    pub fn write_due(&mut self, now: Time, out: &mut Vec<u8>, sender: Ssrc, media: Ssrc) -> u64 {
        if self.due.is_none_or(|due| now < due) {
            return 0;
        }
        self.due = None;
        let Some(highest) = self.numbers.highest() else { return 0 };
        let mut written = 0;
        while self.begin <= highest {
            let Some(first) = (self.begin..=highest).find(|number| self.arrival(*number).is_some()) else { break };
            self.begin = self.write_one(first, highest, out, sender, media);
            written += 1;
        }
        self.begin = highest + 1;
        written
    }

    fn arrival(&self, number: u64) -> Option<Time> {
        let (known, at) = (*self.arrivals.get((number % REMEMBERED as u64) as usize)?)?;
        (known == number).then_some(at)
    }

    /// Writes one feedback packet that begins with the number `first`, which has arrived. Returns the next number.
    fn write_one(&mut self, first: u64, highest: u64, out: &mut Vec<u8>, sender: Ssrc, media: Ssrc) -> u64 {
        let start = out.len();
        let reference = self.arrival(first).map_or(0, |at| at.as_micros().cast_signed()) / REFERENCE;
        let mut previous = reference * REFERENCE;
        let mut symbols = Vec::with_capacity((highest - first + 1).min(MAX_PACKETS) as usize);
        let mut deltas = Vec::with_capacity(symbols.capacity());
        for number in first..=highest.min(first + MAX_PACKETS - 1) {
            let Some(at) = self.arrival(number) else {
                symbols.push(Symbol::NotReceived);
                continue;
            };
            let delta = (at.as_micros().cast_signed() - previous).div_euclid(DELTA);
            let Ok(delta) = i16::try_from(delta) else { break };
            previous += i64::from(delta) * DELTA;
            symbols.push(if (0..=255).contains(&delta) { Symbol::SmallDelta } else { Symbol::LargeDelta });
            deltas.push(delta);
        }
        // Trailing gaps may still be filled; they belong to the next feedback.
        while symbols.last() == Some(&Symbol::NotReceived) {
            symbols.pop();
        }
        write_start(out, TRANSPORT_WIDE, TRANSPORT_FEEDBACK, 0);
        out.extend_from_slice(&sender.0.to_be_bytes());
        out.extend_from_slice(&media.0.to_be_bytes());
        out.extend_from_slice(&(first as u16).to_be_bytes());
        out.extend_from_slice(&(symbols.len() as u16).to_be_bytes());
        out.extend_from_slice(&(reference as u32).to_be_bytes()[1..]);
        out.push(self.count);
        self.count = self.count.wrapping_add(1);
        write_chunks(out, &symbols);
        for delta in deltas {
            if (0..=255).contains(&delta) {
                out.push(delta as u8);
            } else {
                out.extend_from_slice(&delta.to_be_bytes());
            }
        }
        let padding = (4 - (out.len() - start) % 4) % 4;
        if padding > 0 {
            out[start] |= 0x20;
            out.resize(out.len() + padding, 0);
            if let Some(last) = out.last_mut() {
                *last = padding as u8;
            }
        }
        let words = ((out.len() - start) / 4 - 1) as u16;
        out[start + 2..start + 4].copy_from_slice(&words.to_be_bytes());
        first + symbols.len() as u64
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Symbol {
    NotReceived = 0,
    SmallDelta = 1,
    LargeDelta = 2,
}

/// Writes the status of each packet: runs of one status where they are long, otherwise vectors of 14 one-bit or seven
/// two-bit symbols (sections 3.1.3 and 3.1.4).
fn write_chunks(out: &mut Vec<u8>, mut symbols: &[Symbol]) {
    const ONE_BIT: usize = 14;
    const TWO_BITS: usize = 7;
    const MAX_RUN: usize = 0x1fff;
    while let Some(first) = symbols.first().copied() {
        let run = symbols.iter().take(MAX_RUN).take_while(|symbol| **symbol == first).count();
        let (chunk, length) = if run >= ONE_BIT || run == symbols.len() {
            ((first as u16) << 13 | run as u16, run)
        } else {
            let length = symbols.len().min(ONE_BIT);
            let small = symbols[..length].iter().all(|symbol| *symbol != Symbol::LargeDelta);
            let (bits, length) = if small { (1, length) } else { (2, symbols.len().min(TWO_BITS)) };
            let mut chunk = if small { 0x8000 } else { 0xc000 };
            for (at, symbol) in symbols[..length].iter().enumerate() {
                chunk |= (*symbol as u16) << (14 - bits * (at + 1));
            }
            (chunk, length)
        };
        out.extend_from_slice(&chunk.to_be_bytes());
        symbols = &symbols[length..];
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;
    use rtc_rtcp::transport_feedbacks::transport_layer_cc::{PacketStatusChunk, SymbolTypeTcc, TransportLayerCc};
    use rtc_shared::marshal::Unmarshal;

    use super::*;

    /// Reads feedback with another implementation: number and arrival in units of 250 us.
    fn read(mut bytes: &[u8]) -> Vec<(u16, i64)> {
        let mut arrivals = Vec::new();
        while !bytes.is_empty() {
            let length = 4 * (usize::from(u16::from_be_bytes([bytes[2], bytes[3]])) + 1);
            let feedback =
                TransportLayerCc::unmarshal(&mut Bytes::copy_from_slice(&bytes[..length])).expect("well-formed");
            bytes = &bytes[length..];
            let mut symbols = Vec::new();
            for chunk in &feedback.packet_chunks {
                match chunk {
                    PacketStatusChunk::RunLengthChunk(run) => {
                        symbols.extend(std::iter::repeat_n(run.packet_status_symbol, usize::from(run.run_length)));
                    }
                    PacketStatusChunk::StatusVectorChunk(vector) => symbols.extend(vector.symbol_list.iter().copied()),
                }
            }
            let mut at = i64::from(feedback.reference_time) * REFERENCE / DELTA;
            let mut deltas = feedback.recv_deltas.iter();
            for offset in 0..feedback.packet_status_count {
                if symbols[usize::from(offset)] != SymbolTypeTcc::PacketNotReceived {
                    at += deltas.next().expect("one for each").delta / DELTA;
                    arrivals.push((feedback.base_sequence_number.wrapping_add(offset), at));
                }
            }
        }
        arrivals
    }

    fn feedback(generator: &mut FeedbackGenerator, now: Time) -> Vec<u8> {
        let mut out = Vec::new();
        generator.write_due(now, &mut out, Ssrc(1), Ssrc(2));
        out
    }

    #[test]
    fn another_implementation_reads_arrivals_with_gaps_and_wraps() {
        let mut generator = FeedbackGenerator::default();
        let mut expected = Vec::new();
        for n in (0..60_u16).filter(|n| n % 7 != 3) {
            let at = Time::from_micros(1_000_000 + u64::from(n) * 700);
            let number = 65_500_u16.wrapping_add(n);
            generator.handle_packet(at, number);
            expected.push((number, at.as_micros().cast_signed() / DELTA));
        }
        assert_eq!(generator.next_at(), Some(Time::from_micros(1_050_000)));
        assert_eq!(read(&feedback(&mut generator, Time::from_micros(1_050_000))), expected);
        assert_eq!(generator.next_at(), None, "nothing more to tell");
    }

    #[test]
    fn a_late_packet_is_told_about_next_time() {
        let mut generator = FeedbackGenerator::default();
        for number in [1, 2, 4] {
            generator.handle_packet(Time::from_millis(1000), number);
        }
        assert_eq!(read(&feedback(&mut generator, Time::from_millis(1050))).len(), 3);
        generator.handle_packet(Time::from_millis(1060), 3);
        generator.handle_packet(Time::from_millis(1061), 5);
        let told: Vec<u16> = read(&feedback(&mut generator, Time::from_millis(1110))).iter().map(|(n, _)| *n).collect();
        assert_eq!(told, [3, 4, 5]);
    }

    #[test]
    fn a_long_pause_needs_two_packets() {
        let mut generator = FeedbackGenerator::default();
        generator.handle_packet(Time::from_millis(0), 1);
        generator.handle_packet(Time::from_millis(20_000), 2);
        assert_eq!(read(&feedback(&mut generator, Time::from_millis(20_000))), [(1, 0), (2, 80_000)]);
    }

    proptest! {
        #[test]
        fn every_arrival_is_told_once_read_by_another_implementation(
            steps in proptest::collection::vec((0_u16..300, 0_u64..40_000, -3_i32..5), 1..600),
        ) {
            let mut generator = FeedbackGenerator::default();
            let mut now = Time::from_millis(500);
            let mut number = 65_000_u16;
            for (jump, pause, step) in steps {
                now = Time::from_micros(now.as_micros() + pause);
                number = number.wrapping_add(if jump > 295 { jump } else { step as u16 });
                generator.handle_packet(now, number);
                let bytes = feedback(&mut generator, now);
                let told = read(&bytes);
                prop_assert!(bytes.is_empty() || !told.is_empty());
                for (_, at) in told {
                    prop_assert!(at <= now.as_micros().cast_signed() / DELTA);
                }
            }
        }
    }
}
