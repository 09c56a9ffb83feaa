//! 16-bit counters of the wire widened to 64 bits, so that nobody behind this file thinks of wrap-around.

use serde::{Deserialize, Serialize};

/// Follows a 16-bit counter across its wraps.
///
/// A value counts as the one nearest to the highest seen so far, as in RFC 3711, section 3.3.1. The first value is
/// placed one cycle above zero, so that packets sent before it have numbers too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unwrapper {
    highest: Option<u64>,
}

impl Unwrapper {
    /// The wide number of `value`, which from now on is known.
    pub fn unwrap(&mut self, value: u16) -> u64 {
        let wide = self.peek(value);
        self.learn(wide);
        wide
    }

    /// The wide number of `value`, without learning from it.
    pub fn peek(&self, value: u16) -> u64 {
        self.highest.map_or(1 << 16 | u64::from(value), |highest| nearest(highest, value))
    }

    /// A wide number is known from elsewhere.
    pub fn learn(&mut self, wide: u64) {
        self.highest = Some(self.highest.map_or(wide, |highest| highest.max(wide)));
    }

    pub const fn highest(&self) -> Option<u64> {
        self.highest
    }
}

/// The number nearest to `reference` whose low 16 bits are `value`; never below zero.
pub fn nearest(reference: u64, value: u16) -> u64 {
    let step = value.wrapping_sub(reference as u16).cast_signed();
    reference.checked_add_signed(i64::from(step)).unwrap_or_else(|| u64::from(value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn wraps_forward_and_back() {
        let mut unwrapper = Unwrapper::default();
        let first = unwrapper.unwrap(65_534);
        assert_eq!(unwrapper.unwrap(1), first + 3);
        assert_eq!(unwrapper.unwrap(65_535), first + 1);
        assert_eq!(unwrapper.highest(), Some(first + 3));
    }

    #[test]
    fn packets_before_the_first_have_numbers_too() {
        let mut unwrapper = Unwrapper::default();
        let first = unwrapper.unwrap(3);
        assert_eq!(unwrapper.unwrap(65_530), first - 9);
    }

    proptest! {
        #[test]
        fn a_walk_of_small_steps_is_followed(start: u16, steps in proptest::collection::vec(-5_000_i64..5_000, 1..400)) {
            let mut unwrapper = Unwrapper::default();
            let mut position = unwrapper.unwrap(start);
            let mut highest = position;
            for step in steps {
                let Some(next) = position.checked_add_signed(step) else { continue };
                if highest.abs_diff(next) >= 1 << 15 { continue }
                prop_assert_eq!(unwrapper.unwrap(next as u16), next);
                position = next;
                highest = highest.max(next);
            }
        }
    }
}
