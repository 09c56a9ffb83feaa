//! How packets of pictures begin in each codec, without layers in one stream: as encoders and packetizers of browsers
//! have them.

use sfu_core::engine::command::Codec;
use sfu_core::media::keyframe::starts_keyframe;
use sfu_core::media::picture::Numbers;
use sfu_core::media::vp8;

pub const VP8: u8 = 96;
pub const VP9: u8 = 98;
pub const H264: u8 = 102;
pub const H265: u8 = 104;
pub const AV1: u8 = 35;

/// All codecs of pictures, by their payload types.
pub const PICTURES: [(Codec, u8); 5] =
    [(Codec::Vp8, VP8), (Codec::Vp9, VP9), (Codec::H264, H264), (Codec::H265, H265), (Codec::Av1, AV1)];

/// Where a packet stands in its stream.
pub struct Place {
    /// Packet of its frame, from 0.
    pub part: u8,
    pub is_last: bool,
    pub is_keyframe: bool,
    /// Number of the picture, where the codec has one.
    pub picture_id: u16,
    /// Pictures of the lowest temporal layer so far.
    pub base_index: u8,
}

impl Place {
    /// What stands before the picture's data.
    pub fn head(&self, payload_type: u8) -> Vec<u8> {
        let [high, low] = self.picture_id.to_be_bytes();
        let (high, is_first) = (0x80 | high, self.part == 0);
        let bit = |is: bool, bit: u8| if is { bit } else { 0 };
        match payload_type {
            // X, S; I, L; the picture's first byte says whether it is a keyframe.
            VP8 => vec![0x80 | bit(is_first, 0x10), 0xc0, high, low, self.base_index, bit(!self.is_keyframe, 1) | 0x10],
            // I, L, P, B, E; TL0PICIDX.
            VP9 => {
                let first = 0xa0 | bit(!self.is_keyframe, 0x40) | bit(is_first, 0x08) | bit(self.is_last, 0x04);
                vec![first, high, low, 0, self.base_index]
            }
            // STAP-A of SPS, PPS and SEI; or the fragments of a slice.
            H264 if self.is_keyframe && is_first => vec![0x78, 0, 2, 0x67, 0x42, 0, 2, 0x68, 0xce, 0, 54, 0x06],
            H264 => {
                let begins = self.part == u8::from(self.is_keyframe);
                let slice = if self.is_keyframe { 5 } else { 1 };
                vec![0x7c, bit(begins, 0x80) | bit(self.is_last, 0x40) | slice]
            }
            // VPS, SPS and then the fragments of a slice.
            H265 if self.is_keyframe && self.part < 2 => vec![if is_first { 0x40 } else { 0x42 }, 0x01],
            H265 => {
                let begins = self.part == if self.is_keyframe { 2 } else { 0 };
                let slice = if self.is_keyframe { 19 } else { 1 };
                vec![0x62, 0x01, bit(begins, 0x80) | bit(self.is_last, 0x40) | slice]
            }
            // Z, Y, W=1, N.
            AV1 => {
                vec![bit(!is_first, 0x80) | bit(!self.is_last, 0x40) | 0x10 | bit(is_first && self.is_keyframe, 0x08)]
            }
            other => unreachable!("{other} is no payload type of pictures"),
        }
    }
}

/// What can be read of a packet's head without its stream.
#[derive(Default)]
pub struct Head {
    pub length: usize,
    pub starts_keyframe: bool,
    pub picture_id: Option<u16>,
    pub base_index: Option<u8>,
}

impl Head {
    /// That of a payload; empty for sound.
    pub fn read(payload_type: u8, payload: &[u8]) -> Self {
        let codec = PICTURES.iter().find(|(_, known)| *known == payload_type).map(|(codec, _)| *codec);
        let (Some(codec), Some(first)) = (codec, payload.first()) else { return Self::default() };
        let length = match codec {
            Codec::Vp8 => vp8::Descriptor::parse(payload).map_or(0, |descriptor| descriptor.length + 1),
            Codec::Vp9 => 5,
            Codec::H264 if first & 0x1f == 24 => 12,
            Codec::H265 if first >> 1 & 0x3f == 49 => 3,
            Codec::H264 | Codec::H265 => 2,
            _ => 1,
        };
        let numbers = Numbers::of(codec, payload);
        Self {
            length,
            starts_keyframe: starts_keyframe(codec, payload),
            picture_id: numbers.and_then(|numbers| Some(numbers.picture_id?.value)),
            base_index: numbers.and_then(|numbers| Some(numbers.tl0_picture_index?.0)),
        }
    }
}
