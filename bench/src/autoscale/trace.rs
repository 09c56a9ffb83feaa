//! What a fleet is asked to carry: people in calls, second by second for weeks, made of single calls.

use super::random::Random;

/// Seconds from one value of a trace to the next.
pub const STEP_SECONDS: i64 = 5;
pub const HOUR: i64 = 3600;
pub const DAY: i64 = 24 * HOUR;
pub const WEEK: i64 = 7 * DAY;
/// People that keep one SFU busy, on the average.
pub const PEOPLE_PER_SFU: f64 = 200.0;
/// How much the cost of a person differs from hour to hour (standard deviation), as cameras go on and off.
const COST_DEVIATION: f64 = 0.06;
/// How soon the cost of a person is another, in seconds.
const COST_SECONDS: f64 = 1200.0;

/// Load and calls, a value every [`STEP_SECONDS`]. It begins on a Monday.
#[derive(Debug, Clone)]
pub struct Trace {
    /// In SFUs.
    pub load: Vec<f32>,
    pub people: Vec<u32>,
    pub calls: Vec<u32>,
}

/// A call: its people come within a while after `start` and leave within a minute of `end`.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// Seconds since the beginning.
    pub start: f64,
    pub end: f64,
    pub people: u32,
    /// Seconds within which they come.
    pub arrive_within: f64,
}

/// Adds up calls.
#[derive(Debug)]
pub struct Adder {
    people: Vec<i32>,
    calls: Vec<i32>,
}

impl Adder {
    pub fn new(weeks: u32) -> Self {
        let steps = (i64::from(weeks) * WEEK / STEP_SECONDS) as usize;
        Self { people: vec![0; steps], calls: vec![0; steps] }
    }

    /// What lies outside the trace is left out.
    pub fn add(&mut self, call: &Call, random: &mut Random) {
        let last = self.people.len();
        let step = |time: f64| (time.max(0.0) / STEP_SECONDS as f64) as usize;
        let change = |of: &mut [i32], from: f64, to: f64| {
            let (from, to) = (step(from), step(to));
            if from < last && to > from {
                of[from] += 1;
                if to < last {
                    of[to] -= 1;
                }
            }
        };
        change(&mut self.calls, call.start, call.end);
        for _ in 0..call.people {
            let from = call.start + random.between(0.0, call.arrive_within);
            change(&mut self.people, from, call.end + random.between(0.0, 60.0));
        }
    }

    /// The trace of all that was added.
    pub fn into_trace(self, random: &mut Random) -> Trace {
        let sums = |changes: Vec<i32>| {
            let sum = |sum: &mut i32, change| {
                *sum += change;
                Some((*sum).max(0) as u32)
            };
            changes.into_iter().scan(0, sum).collect::<Vec<u32>>()
        };
        let people = sums(self.people);
        let keep = 1.0 - STEP_SECONDS as f64 / COST_SECONDS;
        let step = COST_DEVIATION * (1.0 - keep * keep).sqrt();
        let mut dearer = 0.0;
        let load = |people: &u32| {
            dearer = keep * dearer + step * random.normal();
            (f64::from(*people) / PEOPLE_PER_SFU * (1.0 + dearer)) as f32
        };
        Trace { load: people.iter().map(load).collect(), people, calls: sums(self.calls) }
    }
}
