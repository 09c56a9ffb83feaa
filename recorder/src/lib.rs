//! Records calls: from the packets of a call to one file that plays.
//!
//! ```text
//! RTP ─→ screen    whole frames ───────────┐
//!  │                                       ├─→ webm ─→ bytes, in order
//!  └──→ voices    decoded, mixed, encoded ─┘
//!          ↑ when was it captured?
//! SR ──→ timeline
//! ```
//!
//! In: RTP packets, sender reports, which tracks come, go and are muted, and the time. Out: the bytes of a WebM file,
//! append only, and wishes such as a keyframe. No clock, no socket, no file: an hour of a call is recorded in seconds.
//!
//! [`Recording`] puts it together. **The drain rule:** after every call of one of its methods, poll until there is
//! nothing left.
//!
//! Files can have VP8, VP9 or AV1; the program records VP8 and does not choose the others yet.
//!
//! Around it is what the program `calls-recorder` does: [`session`] joins a call as a hidden participant, [`feed`] gives
//! a recording what a session tells, and [`record()`] has the clock and the file. Another program can call that too.

// Samples, timestamps and moments are counted in 64 bits, which nothing here comes near the end of.
#![allow(clippy::cast_possible_wrap)]

pub mod cli;
pub mod feed;
pub mod program;
mod record;
mod recording;
pub mod screen;
pub mod session;
pub mod speakers;
pub mod timeline;
pub mod voices;
pub mod webm;

pub use calls_client::signal::ApiKey;
pub use record::{End, Job, Progress, Recorded, record};
pub use recording::{
    AddTrackError, Counters, Event, Finished, Kind, OpenError, Options, ParticipantKey, Recording, Track,
};
pub use sfu_core::engine::command::Codec;
pub use sfu_core::id::TrackKey;
pub use sfu_core::time::{NtpTime, Time};
