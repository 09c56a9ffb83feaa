//! Screens: packets of VP8, VP9 and AV1 in, whole frames out, untouched.
//!
//! [`Assembler`] puts a stream's packets in order and takes frames from them; the payload formats are in a file each.
//! What cannot be decoded is never given out: after a lost packet, nothing until the next keyframe. [`black`] is what is
//! seen while nobody shows anything.
//!
//! H.264 needs another kind of file, so it is refused until there is one: its depacketiser belongs here.

mod assembler;
mod av1;
pub mod black;
mod vp8;
mod vp9;

use sfu_core::engine::command::Codec;

pub use assembler::{Assembler, Frame, Received};

/// Ticks a second of video's timestamps, for all codecs (RFC 7741, RFC 9628, AV1's payload format).
pub const RATE: u32 = 90_000;

/// Codecs of pictures that WebM can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VideoCodec {
    Vp8,
    Vp9,
    Av1,
}

impl VideoCodec {
    /// `None` for what is no picture, or not one for WebM.
    pub const fn of(codec: Codec) -> Option<Self> {
        match codec {
            Codec::Vp8 => Some(Self::Vp8),
            Codec::Vp9 => Some(Self::Vp9),
            Codec::Av1 => Some(Self::Av1),
            _ => None,
        }
    }

    /// Whether a payload is the first of a frame that a decoder can begin with.
    fn starts_keyframe(self, payload: &[u8]) -> bool {
        match self {
            Self::Vp8 => vp8::starts_keyframe(payload),
            Self::Vp9 => vp9::starts_keyframe(payload),
            Self::Av1 => av1::starts_keyframe(payload),
        }
    }

    /// The frame that a row of payloads is. `None` if it is not whole.
    fn depacketize<'a>(self, payloads: impl Iterator<Item = &'a [u8]> + Clone) -> Option<Picture> {
        match self {
            Self::Vp8 => vp8::depacketize(payloads),
            Self::Vp9 => vp9::depacketize(payloads),
            Self::Av1 => av1::depacketize(payloads),
        }
    }
}

/// A frame as files have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    pub keyframe: bool,
    pub data: Vec<u8>,
}
