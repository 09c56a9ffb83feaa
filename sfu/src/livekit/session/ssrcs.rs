//! Which SSRC the next copy for a client gets.
//!
//! They are counted, not drawn: two copies on one transport must never share one. One that is given back rests for as
//! long as others are about to be used, so that packets under way and reports of what ended are not taken for the new
//! copy's; then it is used again, its numbers going on where they stopped. So whoever stays in a call for days while
//! others come and go costs no more than on the first.

use std::collections::VecDeque;

use sfu_core::id::Ssrc;

/// Away from small numbers, which some clients use for probing.
const FIRST: u32 = 0x1000_0000;
/// So many rest before the first of them is used again: a minute of the largest churn anybody was seen to have.
const RESTING: usize = 1024;

/// The SSRCs of one transport of a client.
#[derive(Debug, Default)]
pub struct Ssrcs {
    n_counted: u32,
    /// Those given back, the longest ago first.
    resting: VecDeque<Ssrc>,
}

impl Ssrcs {
    /// One that no copy has.
    pub fn take(&mut self) -> Ssrc {
        if self.resting.len() > RESTING
            && let Some(rested) = self.resting.pop_front()
        {
            return rested;
        }
        self.n_counted += 1;
        Ssrc(FIRST | self.n_counted)
    }

    /// A copy has ended.
    pub fn give_back(&mut self, ssrc: Ssrc) {
        self.resting.push_back(ssrc);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn whoever_stays_while_others_come_and_go_uses_no_more_of_them() {
        let mut ssrcs = Ssrcs::default();
        let mut present: VecDeque<Ssrc> = (0..100).map(|_| ssrcs.take()).collect();
        let mut used: BTreeSet<Ssrc> = present.iter().copied().collect();
        for _ in 0..100_000 {
            let left = present.pop_front().expect("a hundred are present");
            ssrcs.give_back(left);
            let came = ssrcs.take();
            assert!(!present.contains(&came), "{came:?} belongs to two");
            assert_ne!(came, left, "used again without rest");
            present.push_back(came);
            used.insert(came);
        }
        assert_eq!(used.len(), 100 + RESTING);
    }
}
