//! When which transport wants to be looked at, so that a tick touches those alone.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use sfu_core::id::TransportKey;
use sfu_core::time::Time;

/// Deadlines of all transports. One that is no longer wanted stays until it comes: each transport knows the one that
/// counts, and sets an earlier one or, when that has come, the next.
#[derive(Debug, Default)]
pub struct Timers {
    heap: BinaryHeap<Reverse<(Time, TransportKey)>>,
}

impl Timers {
    pub fn insert(&mut self, at: Time, transport: TransportKey) {
        self.heap.push(Reverse((at, transport)));
    }

    /// When the next one comes.
    pub fn next(&self) -> Option<Time> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes out all that have come. A deadline that is set while they are handled comes with the next call.
    pub fn take_due(&mut self, now: Time) -> Vec<(Time, TransportKey)> {
        let mut due = Vec::new();
        while let Some(Reverse(next)) = self.heap.peek().copied()
            && next.0 <= now
        {
            self.heap.pop();
            due.push(next);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_comes_out_in_order_and_once() {
        let mut timers = Timers::default();
        let at = Time::from_millis;
        for (ms, key) in [(30, 3), (10, 1), (20, 2)] {
            timers.insert(at(ms), TransportKey(key));
        }
        assert_eq!(timers.take_due(at(9)), []);
        assert_eq!(timers.take_due(at(20)), [(at(10), TransportKey(1)), (at(20), TransportKey(2))]);
        assert_eq!(timers.take_due(at(20)), []);
        assert_eq!(timers.next(), Some(at(30)));
    }
}
