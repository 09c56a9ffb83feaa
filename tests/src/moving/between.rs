//! The way from one engine to the other: everything arrives, in its order, a while later.

use std::collections::VecDeque;
use std::time::Duration;

use sfu_core::engine::relay::message::RelayMessage;
use sfu_core::time::Time;

#[derive(Debug)]
pub struct Between {
    delay: Duration,
    under_way: VecDeque<(Time, usize, RelayMessage)>,
}

impl Between {
    pub const fn new(delay: Duration) -> Self {
        Self { delay, under_way: VecDeque::new() }
    }

    pub fn send(&mut self, now: Time, to: usize, message: RelayMessage) {
        self.under_way.push_back((now + self.delay, to, message));
    }

    /// The next message that has arrived, and at which engine.
    pub fn poll(&mut self, now: Time) -> Option<(usize, RelayMessage)> {
        self.under_way.pop_front_if(|(due, ..)| *due <= now).map(|(_, to, message)| (to, message))
    }

    /// When the next one arrives.
    pub fn due(&self) -> Option<Time> {
        self.under_way.front().map(|(due, ..)| *due)
    }
}
