//! Numbers that need to differ, not to be secret: first sequence numbers, phases of timers.

use serde::{Deserialize, Serialize};

/// SplitMix64 (Steele, Lea and Flood, 2014): small, and its state is one number that can be written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Random(u64);

impl Random {
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_give_equal_numbers_and_they_differ() {
        let (mut a, mut b) = (Random::new(7), Random::new(7));
        let numbers: Vec<u64> = (0..100).map(|_| a.next()).collect();
        assert!(numbers.iter().all(|number| *number == b.next()));
        assert_eq!(numbers.iter().collect::<std::collections::BTreeSet<_>>().len(), 100);
    }
}
