//! Bits of a byte string, first the most significant one of each byte.

use arrayvec::ArrayVec;

/// Reads bit fields one after the other.
#[derive(Debug, Clone)]
pub struct BitReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> BitReader<'a> {
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How many bits have been read.
    pub const fn position(&self) -> usize {
        self.at
    }

    /// How many bits there still are.
    pub const fn left(&self) -> usize {
        self.bytes.len() * 8 - self.at
    }

    pub fn flag(&mut self) -> Option<bool> {
        Some(self.read(1)? == 1)
    }

    /// A number of at most 32 bits. `None` if there are fewer left.
    pub fn read(&mut self, count: usize) -> Option<u32> {
        if count > self.left() {
            return None;
        }
        let mut value = 0_u64;
        for at in self.at..self.at + count {
            value = value << 1 | u64::from(self.bytes[at / 8] >> (7 - at % 8) & 1);
        }
        self.at += count;
        Some(value as u32)
    }

    /// Leaves out so many bits, or all that are left.
    pub fn skip(&mut self, count: usize) {
        self.at += count.min(self.left());
    }

    /// One of `values` numbers, the first of which take a bit less than the others (`ns(n)` of the AV1 specifications).
    pub fn read_one_of(&mut self, values: u32) -> Option<u32> {
        let width = u32::BITS - values.leading_zeros();
        let short = (1 << width) - values;
        let value = self.read(width.checked_sub(1)? as usize)?;
        if value < short {
            return Some(value);
        }
        Some((value << 1) - short + self.read(1)?)
    }
}

/// Writes bit fields one after the other, as many as fit.
#[derive(Debug)]
pub struct BitWriter<'a, const CAPACITY: usize> {
    out: &'a mut ArrayVec<u8, CAPACITY>,
    /// Bits of the last byte that are not used yet.
    free: usize,
}

impl<'a, const CAPACITY: usize> BitWriter<'a, CAPACITY> {
    /// Goes on behind what `out` holds.
    pub const fn new(out: &'a mut ArrayVec<u8, CAPACITY>) -> Self {
        Self { out, free: 0 }
    }

    /// Adds the lower `count` bits of a number, at most 32. `None` if there is no room.
    pub fn write(&mut self, value: u32, count: usize) -> Option<()> {
        for bit in (0..count).rev() {
            if self.free == 0 {
                self.out.try_push(0).ok()?;
                self.free = 8;
            }
            self.free -= 1;
            if let Some(last) = self.out.last_mut() {
                *last |= ((value >> bit & 1) as u8) << self.free;
            }
        }
        Some(())
    }

    /// Adds the next `count` bits of a reader. `None` if there are fewer, or no room.
    pub fn copy(&mut self, from: &mut BitReader<'_>, count: usize) -> Option<()> {
        let mut left = count;
        while left > 0 {
            let step = left.min(8);
            self.write(from.read(step)?, step)?;
            left -= step;
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_cross_bytes() {
        let mut reader = BitReader::new(&[0b1010_0110, 0b0111_0001]);
        assert_eq!((reader.read(3), reader.read(7), reader.flag()), (Some(0b101), Some(0b001_1001), Some(true)));
        assert_eq!((reader.position(), reader.left(), reader.read(6)), (11, 5, None));
        assert_eq!(reader.read(5), Some(0b1_0001));
    }

    #[test]
    fn the_first_of_an_odd_number_of_values_take_a_bit_less() {
        // Five values: 0, 1 and 2 in two bits, 3 and 4 in three.
        let mut reader = BitReader::new(&[0b0001_1011, 0b0111_0000]);
        let read: Vec<_> = std::iter::from_fn(|| reader.read_one_of(5)).take(5).collect();
        assert_eq!(read, [0, 1, 2, 3, 4]);
        assert_eq!(BitReader::new(&[0xff]).read_one_of(1), Some(0), "no choice takes no bits");
    }

    #[test]
    fn what_is_written_and_copied_is_read() {
        let mut out = ArrayVec::<u8, 3>::new();
        let mut writer = BitWriter::new(&mut out);
        let mut source = BitReader::new(&[0b1100_1010, 0b1111_0000]);
        assert_eq!(
            (writer.write(0b101, 3), writer.copy(&mut source, 12), writer.write(1, 1)),
            (Some(()), Some(()), Some(()))
        );
        assert_eq!(writer.write(0x1ff, 9), None, "nine bits do not fit into the eight that are left");
        assert_eq!(out[..2], [0b1011_1001, 0b0101_1111]);
    }
}
