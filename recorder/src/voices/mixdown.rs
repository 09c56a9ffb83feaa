//! All voices as one Opus track.

use super::Frame;
use super::codec::{Encoder, OpusError};
use super::limiter::Limiter;

/// Limits and encodes. One frame behind.
#[derive(Debug)]
pub struct Mixdown {
    limiter: Limiter,
    encoder: Encoder,
    pre_skip: u16,
}

impl Mixdown {
    /// At so many bits a second.
    pub fn new(bitrate: u32) -> Result<Self, OpusError> {
        let mut encoder = Encoder::new(bitrate)?;
        let pre_skip = encoder.pre_skip()?;
        Ok(Self { limiter: Limiter::new(), encoder, pre_skip })
    }

    /// Samples the track has before its first.
    pub const fn pre_skip(&self) -> u16 {
        self.pre_skip
    }

    /// Takes in the sum of the voices, and gives back the packet of the frame before.
    pub fn push(&mut self, sum: &Frame) -> Option<Vec<u8>> {
        let frame = self.limiter.push(sum)?;
        Some(self.encoder.encode(&frame))
    }

    /// The packet of the last frame.
    pub fn finish(&mut self) -> Option<Vec<u8>> {
        let frame = self.limiter.finish()?;
        Some(self.encoder.encode(&frame))
    }
}
