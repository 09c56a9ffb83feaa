//! Voices: packets of many Opus streams in, frames of one Opus track out.
//!
//! Each voice is put in order, decoded, concealed where packets are missing, and kept at its place on the timeline
//! ([`voice`]); all are added up, kept from clipping ([`limiter`]) and encoded ([`mixdown`]). The caller says which 20 ms
//! are due: what has not come by then is missing.

mod codec;
mod limiter;
mod mixdown;
mod voice;

pub use codec::OpusError;
pub use mixdown::Mixdown;
pub use voice::{Heard, Voice};

/// Samples a second, of everything.
pub const RATE: u32 = 48_000;
/// Samples of one channel in 20 ms: what is mixed and encoded at a time.
pub const FRAME: usize = 960;

/// Sound of 20 ms, nominally within -1 and 1.
pub type Frame = [f32; FRAME];
