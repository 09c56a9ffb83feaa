//! How many SFUs a fleet should have, and why.
//!
//! ```text
//! Observation ─→ Autoscaler ─────────────────────────────→ decide ─→ Decision
//!  load, calls,   what it remembers: recent answers, recent   pure     a number, and its
//!  replicas       rises, the forecast's history                        reason as a sentence
//! ```
//!
//! In: a [`Policy`], and every few seconds an [`Observation`]. Out: a [`Decision`]. No clock, no client and no thread: the
//! operator looks every ten seconds, the simulator lets weeks pass in one.
//!
//! Load is counted in SFUs: 1.0 is one SFU whose media threads are all busy all the time.

mod autoscaler;
mod decision;
mod forecast;
mod history;
mod policy;
mod reason;
mod schedule;

pub use autoscaler::{Autoscaler, Observation};
pub use decision::{Decision, Known, decide};
pub use forecast::{Ahead, Forecast};
pub use history::HistoryError;
pub use policy::{Buffer, Policy};
pub use reason::{Cause, Limit};
pub use schedule::{Entry, Schedule, ScheduleError};
