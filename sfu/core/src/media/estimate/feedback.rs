//! What a receiver says of the arrival of packets, read in place: draft-holmer-rmcat-transport-wide-cc-extensions-01,
//! section 3.1.

/// Statuses of one feedback packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statuses<'a> {
    chunks: &'a [u8],
    deltas: &'a [u8],
    /// The chunk being read: its remaining symbols, the next one in the highest bits, or a run of one symbol.
    chunk: Chunk,
    next: u16,
    left: u16,
    /// Arrival of the last packet, in microseconds since the reference time.
    arrival: i64,
}

/// One packet's fate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// Transport-wide number.
    pub number: u16,
    /// When it arrived, in microseconds since the feedback's reference time; `None` if it has not.
    pub arrival: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chunk {
    Run {
        symbol: u8,
        left: u16,
    },
    /// Symbols of `width` bits, the next one at the top of 16.
    Vector {
        bits: u16,
        width: u8,
        left: u8,
    },
}

const NONE: Chunk = Chunk::Run { symbol: 0, left: 0 };
const SMALL_DELTA: u8 = 1;
const LARGE_DELTA: u8 = 2;
/// Deltas count these microseconds.
const DELTA: i64 = 250;
/// Packets of one feedback that are looked at. Two bytes can tell of 8191 that are missing, and nobody remembers so many.
const MAX_PACKETS: u16 = 1024;

impl<'a> Statuses<'a> {
    /// `body` is what follows the feedback's counters: chunks for `packets` packets, then deltas. `None` if the chunks
    /// are cut short. Costs a pass over the chunks.
    pub fn new(base: u16, packets: u16, body: &'a [u8]) -> Option<Self> {
        let mut told = 0_u32;
        let mut length = 0;
        while told < u32::from(packets) {
            let chunk = u16::from_be_bytes(body.get(length..length + 2)?.try_into().ok()?);
            let symbols = Chunk::of(chunk).len();
            // A run of nothing is useless, and many of them would take long.
            if symbols == 0 {
                return None;
            }
            told += u32::from(symbols);
            length += 2;
        }
        let (chunks, deltas) = body.split_at_checked(length)?;
        Some(Self { chunks, deltas, chunk: NONE, next: base, left: packets.min(MAX_PACKETS), arrival: 0 })
    }

    fn symbol(&mut self) -> Option<u8> {
        if self.chunk.len() == 0 {
            let (chunk, rest) = self.chunks.split_at_checked(2)?;
            self.chunks = rest;
            self.chunk = Chunk::of(u16::from_be_bytes(chunk.try_into().ok()?));
        }
        Some(self.chunk.take())
    }

    fn delta(&mut self, length: usize) -> Option<i64> {
        let (delta, rest) = self.deltas.split_at_checked(length)?;
        self.deltas = rest;
        Some(match *delta {
            [small] => i64::from(small),
            [high, low] => i64::from(i16::from_be_bytes([high, low])),
            _ => return None,
        })
    }
}

impl Chunk {
    fn of(chunk: u16) -> Self {
        match chunk >> 14 {
            0 | 1 => Self::Run { symbol: (chunk >> 13 & 3) as u8, left: chunk & 0x1fff },
            2 => Self::Vector { bits: chunk << 2, width: 1, left: 14 },
            _ => Self::Vector { bits: chunk << 2, width: 2, left: 7 },
        }
    }

    const fn len(self) -> u16 {
        match self {
            Self::Run { left, .. } => left,
            Self::Vector { left, .. } => left as u16,
        }
    }

    fn take(&mut self) -> u8 {
        match self {
            Self::Run { symbol, left } => {
                *left -= 1;
                *symbol
            }
            Self::Vector { bits, width, left } => {
                let symbol = *bits >> (16 - *width);
                *bits <<= *width;
                *left -= 1;
                symbol as u8
            }
        }
    }
}

impl Iterator for Statuses<'_> {
    type Item = Status;

    /// Ends early where deltas are missing.
    fn next(&mut self) -> Option<Status> {
        if self.left == 0 {
            return None;
        }
        let delta = match self.symbol()? {
            SMALL_DELTA => Some(self.delta(1)?),
            LARGE_DELTA => Some(self.delta(2)?),
            _ => None,
        };
        let number = self.next;
        self.next = number.wrapping_add(1);
        self.left -= 1;
        let arrival = delta.map(|delta| {
            self.arrival += delta * DELTA;
            self.arrival
        });
        Some(Status { number, arrival })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::id::Ssrc;
    use crate::media::rtcp::{Packet, Packets};
    use crate::media::twcc::FeedbackGenerator;
    use crate::time::Time;

    fn statuses(body: &[u8], packets: u16) -> Option<Vec<(u16, Option<i64>)>> {
        Some(Statuses::new(65_535, packets, body)?.map(|status| (status.number, status.arrival)).collect())
    }

    #[test]
    fn the_drafts_kinds_of_chunks_are_read() {
        // A run of two lost, seven two-bit symbols, one-bit symbols of which two count.
        let body = [0x00, 2, 0b1101_0010, 0b0000_0001, 0b1010_0000, 0, 4, 0xff, 0xfe, 8, 1];
        let expected = [
            (65_535, None),
            (0, None),
            (1, Some(1_000)),
            (2, None),
            (3, Some(500)),
            (4, None),
            (5, None),
            (6, None),
            (7, Some(2_500)),
            (8, Some(2_750)),
            (9, None),
        ];
        assert_eq!(statuses(&body, 11).expect("well-formed"), expected);
    }

    #[test]
    fn what_is_cut_short_is_refused_or_ends_early() {
        assert_eq!(statuses(&[0x20], 1), None);
        assert_eq!(statuses(&[0x00, 0x00, 0x20, 1], 1), None, "a run of nothing");
        assert_eq!(statuses(&[0x20, 3, 4, 4], 3).expect("whole chunks").len(), 2);
        assert_eq!(statuses(&[0x1f, 0xff], 8191).expect("all missing").len(), 1024, "more are not looked at");
    }

    proptest! {
        #[test]
        fn what_we_write_of_arrivals_is_what_we_read(steps in proptest::collection::vec((1_u16..4, 0_u64..9_000), 1..300)) {
            let mut generator = FeedbackGenerator::default();
            let (mut now, mut number, mut expected) = (Time::from_millis(9_000), 65_400_u16, Vec::new());
            for (step, pause) in steps {
                number = number.wrapping_add(step);
                now = Time::from_micros(now.as_micros() + pause * 250);
                generator.handle_packet(now, number);
                expected.push((number, now.as_micros().cast_signed()));
            }
            let mut bytes = Vec::new();
            generator.write_due(Time::from_millis(3_600_000), &mut bytes, Ssrc(1), Ssrc(2));
            let mut read = Vec::new();
            for packet in Packets::new(&bytes) {
                let Packet::TransportWide { reference, statuses, .. } = packet else { panic!("{packet:?}") };
                let reference = i64::from(reference) * 64_000;
                read.extend(statuses.filter_map(|status| Some((status.number, reference + status.arrival?))));
            }
            prop_assert_eq!(read, expected);
        }
    }
}
