//! What is wished of an autoscaler, as the simulator and the operator both write it.

use crate::schedule::Schedule;

/// How a fleet is scaled.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Never fewer SFUs; at least 1.
    pub min: u32,
    /// Never more SFUs. Where it contradicts `min` or the schedule, it wins.
    pub max: u32,
    /// How busy the SFUs should be together, in percent.
    pub target_percent: f64,
    /// Room beyond the target, for what comes before another SFU is ready.
    pub buffer: Buffer,
    /// How far ahead to look, in seconds; `None`: no forecast.
    pub horizon_seconds: Option<u32>,
    /// Floors by the calendar.
    pub schedule: Schedule,
    /// SFUs that may be added within a minute.
    pub pods_per_minute: u32,
    /// For how long fewer must do before SFUs leave, in seconds.
    pub stabilization_seconds: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            min: 1,
            max: 10,
            target_percent: 60.0,
            buffer: Buffer::default(),
            horizon_seconds: None,
            schedule: Schedule::default(),
            pods_per_minute: 10,
            stabilization_seconds: 300,
        }
    }
}

/// Room beyond the target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Buffer {
    /// Of the load: with 20, SFUs are there for 1.2 times the load.
    Percent(f64),
    /// Calls as large as those that run, on the average.
    Calls(f64),
    /// SFUs.
    Pods(f64),
}

impl Default for Buffer {
    fn default() -> Self {
        Self::Percent(0.0)
    }
}
