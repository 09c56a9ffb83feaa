//! The packets of one incoming stream, decrypted, shared by all who receive it: copied from when they come and again
//! when somebody asks for one that was lost.

use serde::{Deserialize, Serialize};

use crate::media::extension::Located;
use crate::media::rtp::Header;
use crate::media::scalable::Part;
use crate::time::Time;

/// A kept packet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Packet {
    /// Its widened sequence number.
    pub sequence: u64,
    pub arrival: Time,
    pub header: Header,
    pub extensions: Located,
    /// Whether a decoder can begin here.
    pub starts_keyframe: bool,
    /// Of what frame it is a part, if that is told outside of the media.
    pub part: Option<Part>,
    bytes: Vec<u8>,
}

impl Packet {
    /// The whole packet as it was sent, without encryption.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn payload(&self) -> &[u8] {
        self.header.payload.of(&self.bytes)
    }
}

/// What became of a packet that was to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inserted {
    Fresh,
    /// It is there already.
    Duplicate,
    /// Newer ones have taken its place.
    TooOld,
}

/// The last packets by number.
///
/// Memory is bounded: `capacity` slots, each as large as the largest packet it held. Slots are made with the first
/// packet and their buffers reused, so in steady state nothing is allocated.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct History {
    capacity: u16,
    slots: Vec<Option<Packet>>,
    highest: u64,
}

impl History {
    pub const fn new(capacity: u16) -> Self {
        Self { capacity, slots: Vec::new(), highest: 0 }
    }

    /// Keeps a packet unless it is known or too old.
    pub fn insert(
        &mut self,
        sequence: u64,
        arrival: Time,
        (bytes, header, extensions): (&[u8], &Header, Located),
        (starts_keyframe, part): (bool, Option<Part>),
    ) -> Inserted {
        if self.slots.is_empty() {
            self.slots.resize(usize::from(self.capacity.max(1)), None);
        }
        if sequence + self.slots.len() as u64 <= self.highest {
            return Inserted::TooOld;
        }
        let at = self.position(sequence);
        let slot = &mut self.slots[at];
        let mut buffer = match slot.take() {
            Some(kept) if kept.sequence >= sequence => {
                let inserted = if kept.sequence == sequence { Inserted::Duplicate } else { Inserted::TooOld };
                *slot = Some(kept);
                return inserted;
            }
            Some(kept) => kept.bytes,
            None => Vec::new(),
        };
        buffer.clear();
        buffer.extend_from_slice(bytes);
        *slot = Some(Packet { sequence, arrival, header: *header, extensions, starts_keyframe, part, bytes: buffer });
        self.highest = self.highest.max(sequence);
        Inserted::Fresh
    }

    /// Whether this number follows the highest one that is kept. So does any, while none is.
    pub const fn is_next(&self, sequence: u64) -> bool {
        self.slots.is_empty() || sequence == self.highest + 1
    }

    /// The packet with the highest number.
    pub fn newest(&self) -> Option<&Packet> {
        self.get(self.highest)
    }

    /// The packet with this number, if it is still kept.
    pub fn get(&self, sequence: u64) -> Option<&Packet> {
        if self.slots.is_empty() {
            return None;
        }
        self.slots[self.position(sequence)].as_ref().filter(|packet| packet.sequence == sequence)
    }

    /// All that is kept, by number.
    pub fn iter(&self) -> impl Iterator<Item = &Packet> {
        let oldest = (self.highest + 1).saturating_sub(self.slots.len() as u64);
        let kept = if self.slots.is_empty() { 0..0 } else { oldest..self.highest + 1 };
        kept.filter_map(|sequence| self.get(sequence))
    }

    /// Takes a packet out, to be put back.
    pub fn take(&mut self, sequence: u64) -> Option<Packet> {
        self.get(sequence)?;
        let at = self.position(sequence);
        self.slots[at].take()
    }

    /// Puts a packet back to where it was taken from.
    pub fn put_back(&mut self, packet: Packet) {
        let at = self.position(packet.sequence);
        self.slots[at] = Some(packet);
    }

    fn position(&self, sequence: u64) -> usize {
        (sequence % self.slots.len() as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::id::Ssrc;
    use crate::media::rtp::write_header;

    fn insert(history: &mut History, sequence: u64) -> Inserted {
        let mut bytes = Vec::new();
        write_header(&mut bytes, 96, false, sequence as u16, 0, Ssrc(1));
        bytes.extend_from_slice(&sequence.to_be_bytes());
        let header = Header::parse(&bytes).expect("ours");
        history.insert(sequence, Time::ZERO, (&bytes, &header, Located::default()), (false, None))
    }

    #[test]
    fn old_packets_give_way_and_do_not_come_back() {
        let mut history = History::new(4);
        for sequence in 10..=14 {
            assert_eq!(insert(&mut history, sequence), Inserted::Fresh);
        }
        assert_eq!(history.get(10), None);
        assert_eq!(history.iter().map(|packet| packet.sequence).collect::<Vec<_>>(), [11, 12, 13, 14]);
        assert_eq!(history.get(11).expect("kept").payload(), 11_u64.to_be_bytes());
        assert_eq!(insert(&mut history, 10), Inserted::TooOld);
        assert_eq!(insert(&mut history, 12), Inserted::Duplicate);
        assert_eq!(insert(&mut history, 100), Inserted::Fresh);
        assert_eq!(insert(&mut history, 15), Inserted::TooOld, "even if its slot is free");
    }

    proptest! {
        #[test]
        fn no_number_is_fresh_twice(steps in proptest::collection::vec(-40_i64..60, 1..400)) {
            let mut history = History::new(32);
            let mut fresh = std::collections::BTreeSet::new();
            let mut sequence = 70_000_u64;
            for step in steps {
                sequence = sequence.saturating_add_signed(step);
                if insert(&mut history, sequence) == Inserted::Fresh {
                    prop_assert!(fresh.insert(sequence), "{} twice", sequence);
                    prop_assert_eq!(history.get(sequence).expect("just kept").sequence, sequence);
                }
            }
        }
    }
}
