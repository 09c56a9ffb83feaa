//! A fleet that does as it is told, in virtual time.
//!
//! Calls are shared out evenly, which is what directors aim at. An SFU serves [`START_SECONDS`] after it is wanted, and
//! one that is not wanted any more costs [`DRAIN_SECONDS`] while its calls go; wanted again meanwhile, it stays.

use std::collections::VecDeque;

use super::scaler::{Look, Scaler};
use super::trace::{STEP_SECONDS, Trace};

/// From the wish for an SFU until it serves, on a node that is there.
pub const START_SECONDS: i64 = 60;
/// For how long one that leaves still costs.
pub const DRAIN_SECONDS: i64 = 60;
/// Load of an SFU, as a share, from which on people notice: not all are as busy as the average.
pub const OVERLOAD: f64 = 0.9;

/// What became of a fleet.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Outcome {
    /// Minutes in which SFUs were busier than [`OVERLOAD`].
    pub overload_minutes: f64,
    /// Hours of all SFUs, those that start or leave included.
    pub pod_hours: f64,
    /// SFUs that left with their calls.
    pub departures: f64,
}

#[derive(Debug)]
struct Fleet {
    ready: u32,
    /// When each serves.
    starting: VecDeque<i64>,
    /// When each is gone.
    leaving: VecDeque<i64>,
}

impl Fleet {
    /// SFUs that are wanted.
    fn wanted(&self) -> u32 {
        self.ready + self.starting.len() as u32
    }

    fn pass(&mut self, now: i64) {
        while self.starting.front().is_some_and(|ready| *ready <= now) {
            self.starting.pop_front();
            self.ready += 1;
        }
        while self.leaving.front().is_some_and(|gone| *gone <= now) {
            self.leaving.pop_front();
        }
    }

    /// Returns how many begin to leave.
    fn want(&mut self, wanted: u32, now: i64) -> u32 {
        while self.wanted() < wanted {
            match self.leaving.pop_back() {
                Some(_) => self.ready += 1,
                None => self.starting.push_back(now + START_SECONDS),
            }
        }
        while self.wanted() > wanted && self.starting.pop_back().is_some() {}
        let surplus = self.wanted() - wanted.min(self.wanted());
        self.ready -= surplus;
        self.leaving.extend((0..surplus).map(|_| now + DRAIN_SECONDS));
        surplus
    }

    fn cost(&self) -> u32 {
        self.wanted() + self.leaving.len() as u32
    }
}

/// Lets `scaler` have a fleet for as long as the trace is.
pub fn simulate(trace: &Trace, scaler: &mut dyn Scaler) -> Outcome {
    let mut fleet = Fleet { ready: 1, starting: VecDeque::new(), leaving: VecDeque::new() };
    let period = (scaler.period_seconds() / STEP_SECONDS) as usize;
    let mut n_overloaded = 0u64;
    let mut n_pods = 0u64;
    let mut n_left = 0u64;
    let times = (0i64..).step_by(STEP_SECONDS as usize);
    for ((step, load), now) in trace.load.iter().enumerate().zip(times) {
        fleet.pass(now);
        let (load, ready) = (f64::from(*load), f64::from(fleet.ready));
        if step % period == 0 {
            let look = Look {
                now,
                people: trace.people[step],
                // Nobody is busier than all the time.
                busy: load.min(ready),
                calls: trace.calls[step],
                wanted: fleet.wanted(),
                ready: fleet.ready,
            };
            let wanted = scaler.look(&look);
            n_left += u64::from(fleet.want(wanted, now));
        }
        n_overloaded += u64::from(load > OVERLOAD * f64::from(fleet.ready));
        n_pods += u64::from(fleet.cost());
    }
    Outcome {
        overload_minutes: n_overloaded as f64 * STEP_SECONDS as f64 / 60.0,
        pod_hours: n_pods as f64 * STEP_SECONDS as f64 / 3600.0,
        departures: n_left as f64,
    }
}
