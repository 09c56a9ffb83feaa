//! Packets gathered into bursts, and how the time between two bursts changed on the way.
//!
//! The pre-filter of draft-ietf-rmcat-gcc-02, section 5.2: packets sent together are one measurement, since they delay
//! one another; and so are packets that a link held back and then let go at once.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Time;

/// Packets sent within this belong together.
const BURST: Duration = Duration::from_millis(5);
/// Packets that arrive this close together, closer than they were sent, were held back together...
const HELD: i64 = 5_000;
/// ...but not for longer than this.
const MAX_HELD: i64 = 100_000;
/// A receiver's clock that jumps by more than this was set, and what came before says nothing.
const MAX_JUMP: i64 = 3_000_000;

/// Time between two bursts, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    pub sent: i64,
    pub arrived: i64,
    /// When the later burst had arrived, by the receiver's clock.
    pub at: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Burst {
    first_sent: Time,
    last_sent: Time,
    first_arrival: i64,
    last_arrival: i64,
}

impl Burst {
    fn takes(&self, sent: Time, arrival: i64) -> bool {
        if sent.since(self.first_sent) <= BURST {
            return true;
        }
        let sent_apart = micros(self.last_sent, sent);
        let arrived_apart = arrival - self.last_arrival;
        arrived_apart < sent_apart && arrived_apart <= HELD && arrival - self.first_arrival < MAX_HELD
    }
}

/// The burst that is arriving and the one before it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bursts {
    previous: Option<Burst>,
    current: Option<Burst>,
}

impl Bursts {
    /// A packet arrived, at `arrival` microseconds of the receiver's clock. Returns the step to the burst that ended
    /// before it, if one did.
    pub fn handle_packet(&mut self, sent: Time, arrival: i64) -> Option<Step> {
        let begun = Burst { first_sent: sent, last_sent: sent, first_arrival: arrival, last_arrival: arrival };
        let Some(current) = &mut self.current else {
            self.current = Some(begun);
            return None;
        };
        if (arrival - current.last_arrival).abs() > MAX_JUMP {
            *self = Self { previous: None, current: Some(begun) };
            return None;
        }
        // Overtaken on the way: it says nothing about queues.
        if sent < current.first_sent {
            return None;
        }
        if current.takes(sent, arrival) {
            current.last_sent = current.last_sent.max(sent);
            current.last_arrival = current.last_arrival.max(arrival);
            return None;
        }
        let ended = std::mem::replace(current, begun);
        let before = self.previous.replace(ended)?;
        Some(Step {
            sent: micros(before.last_sent, ended.last_sent),
            arrived: ended.last_arrival - before.last_arrival,
            at: ended.last_arrival,
        })
    }
}

fn micros(from: Time, to: Time) -> i64 {
    to.as_micros().cast_signed() - from.as_micros().cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(packets: &[(u64, i64)]) -> Vec<(i64, i64)> {
        let mut bursts = Bursts::default();
        let step = |(sent, arrival): &(u64, i64)| bursts.handle_packet(Time::from_millis(*sent), arrival * 1000);
        packets.iter().filter_map(step).map(|step| (step.sent / 1000, step.arrived / 1000)).collect()
    }

    #[test]
    fn bursts_are_measured_and_not_packets() {
        let packets = [(0, 20), (1, 21), (2, 29), (40, 60), (41, 62), (80, 130), (120, 140)];
        assert_eq!(steps(&packets), [(39, 33), (39, 68)]);
    }

    #[test]
    fn what_was_held_back_and_let_go_at_once_is_one_burst() {
        assert_eq!(steps(&[(0, 20), (40, 100), (60, 101), (80, 102), (120, 140), (160, 180)]), [(80, 82), (40, 38)]);
    }

    #[test]
    fn what_was_overtaken_is_left_out_and_a_clock_that_was_set_begins_anew() {
        assert_eq!(steps(&[(0, 20), (40, 60), (20, 61), (80, 100), (120, 140)]), [(40, 40), (40, 40)]);
        assert_eq!(steps(&[(0, 20), (40, 60), (80, 9_000), (120, 9_040), (160, 9_080)]), [(40, 40)]);
    }
}
