//! Which of a stream's latest packet indices have been seen.

use serde::{Deserialize, Serialize};

const WORD_BITS: u64 = 64;
const WORDS: u64 = 16;

/// Remembers the indices of the last 961 to 1024 packets of a stream, exactly; all older ones count as seen.
///
/// The size is libwebrtc's replay window. At 1,000 packets a second it is one second, longer than a retransmission
/// takes to arrive. A ring of words (RFC 6479): moving on clears words instead of shifting all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct IndexWindow {
    highest: Option<u64>,
    bits: [u64; WORDS as usize],
}

/// What a window says of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Fresh,
    Seen,
    TooOld,
}

/// An [`IndexWindow`], written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowState {
    /// Highest index seen; `None` before the first packet.
    pub highest: Option<u64>,
    bits: Vec<u64>,
}

impl IndexWindow {
    pub(super) const fn new() -> Self {
        Self { highest: None, bits: [0; WORDS as usize] }
    }

    /// A window in which every index up to and including `index` counts as seen.
    pub(super) const fn all_seen_up_to(index: u64) -> Self {
        Self { highest: Some(index), bits: [u64::MAX; WORDS as usize] }
    }

    pub(super) fn highest(&self) -> Option<u64> {
        self.highest
    }

    pub(super) fn check(&self, index: u64) -> Verdict {
        let Some(highest) = self.highest else { return Verdict::Fresh };
        if index > highest {
            Verdict::Fresh
        } else if index / WORD_BITS + WORDS <= highest / WORD_BITS {
            Verdict::TooOld
        } else if self.bits[word(index)] & bit(index) != 0 {
            Verdict::Seen
        } else {
            Verdict::Fresh
        }
    }

    /// Marks `index` as seen; only after [`check`](Self::check) called it fresh.
    pub(super) fn insert(&mut self, index: u64) {
        match self.highest {
            Some(highest) if index <= highest => {}
            Some(highest) => {
                let (old, new) = (highest / WORD_BITS, index / WORD_BITS);
                for passed in (old + 1..=new).take(WORDS as usize) {
                    self.bits[(passed % WORDS) as usize] = 0;
                }
                // Bits above the old highest in its own word may be set by `all_seen_up_to`.
                self.bits[word(highest)] &= u64::MAX >> (WORD_BITS - 1 - highest % WORD_BITS);
                if new - old >= WORDS {
                    self.bits = [0; WORDS as usize];
                }
                self.highest = Some(index);
            }
            None => self.highest = Some(index),
        }
        self.bits[word(index)] |= bit(index);
    }

    pub(super) fn export(&self) -> WindowState {
        WindowState { highest: self.highest, bits: self.bits.to_vec() }
    }

    /// A state whose ring has another size counts everything up to its highest index as seen.
    pub(super) fn restore(state: &WindowState) -> Self {
        match (<[u64; WORDS as usize]>::try_from(state.bits.as_slice()), state.highest) {
            (Ok(bits), highest) => Self { highest, bits },
            (Err(_), Some(highest)) => Self::all_seen_up_to(highest),
            (Err(_), None) => Self::new(),
        }
    }
}

fn word(index: u64) -> usize {
    (index / WORD_BITS % WORDS) as usize
}

fn bit(index: u64) -> u64 {
    1 << (index % WORD_BITS)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_index_is_fresh_once() {
        let mut window = IndexWindow::new();
        assert_eq!(window.check(100), Verdict::Fresh);
        window.insert(100);
        assert_eq!(window.check(100), Verdict::Seen);
        assert_eq!(window.check(99), Verdict::Fresh);
    }

    #[test]
    fn at_least_960_indices_back_are_remembered_and_older_ones_refused() {
        let mut window = IndexWindow::new();
        window.insert(10_000);
        assert_eq!(window.check(10_000 - 960), Verdict::Fresh);
        assert_eq!(window.check(10_000 - 1024), Verdict::TooOld);
    }

    #[test]
    fn everything_up_to_an_index_can_be_declared_seen() {
        let mut window = IndexWindow::all_seen_up_to(70);
        assert_eq!(window.check(70), Verdict::Seen);
        assert_eq!(window.check(0), Verdict::Seen);
        assert_eq!(window.check(71), Verdict::Fresh);
        window.insert(73);
        assert_eq!(window.check(72), Verdict::Fresh);
        assert_eq!(window.check(70), Verdict::Seen);
        assert_eq!(window.check(73), Verdict::Seen);
    }

    proptest! {
        #[test]
        fn no_index_is_ever_fresh_twice_and_recent_ones_are_fresh_once(
            start in 0_u64..1 << 20,
            steps in proptest::collection::vec((-1100_i64..1100, any::<bool>()), 1..400),
        ) {
            let mut window = IndexWindow::new();
            let mut seen = HashSet::new();
            let mut at = start.cast_signed() + 2000;
            for (step, written_down) in steps {
                at = (at + step).max(0);
                let index = at as u64;
                if written_down {
                    let json = serde_json::to_string(&window.export()).unwrap();
                    window = IndexWindow::restore(&serde_json::from_str(&json).unwrap());
                }
                let highest = seen.iter().max().copied();
                match window.check(index) {
                    Verdict::Fresh => {
                        prop_assert!(seen.insert(index));
                        window.insert(index);
                    }
                    Verdict::Seen => prop_assert!(seen.contains(&index)),
                    Verdict::TooOld => prop_assert!(highest.is_some_and(|h| h - index > 960)),
                }
            }
        }
    }
}
