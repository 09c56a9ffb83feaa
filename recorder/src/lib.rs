//! From the packets of a call to one file that plays.
//!
//! No clock, no socket, no file: an hour of a call is recorded in seconds.

// Samples, timestamps and moments are counted in 64 bits, which nothing here comes near the end of.
#![allow(clippy::cast_possible_wrap)]

pub mod screen;
pub mod timeline;
pub mod voices;
pub mod webm;

pub use sfu_core::time::{NtpTime, Time};
