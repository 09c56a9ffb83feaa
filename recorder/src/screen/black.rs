//! What is seen while nobody shows anything: one black picture in each codec, a keyframe of 1920 by 1080.
//!
//! The files beside this one are made by ffmpeg (Debian 12); `tail` leaves out what IVF puts before the frame, and before
//! AV1's its temporal delimiter, which blocks of a file do not have:
//!
//! ```sh
//! black() { ffmpeg -f lavfi -i color=black:size=1920x1080:rate=1 -frames:v 1 -pix_fmt yuv420p "$@" -f ivf -; }
//! black -c:v libvpx -crf 63 -b:v 100k | tail -c +45 > black.vp8
//! black -c:v libvpx-vp9 -crf 63 -b:v 0 | tail -c +45 > black.vp9
//! black -c:v libaom-av1 -crf 63 -b:v 0 | tail -c +47 > black.av1
//! ```

use super::VideoCodec;
use crate::webm::VideoTrack;

const WIDTH: u32 = 1920;
const HEIGHT: u32 = 1080;

const VP8: &[u8] = include_bytes!("black.vp8");
const VP9: &[u8] = include_bytes!("black.vp9");
const AV1: &[u8] = include_bytes!("black.av1");

/// The configuration of AV1 (<https://aomediacodec.github.io/av1-isobmff/#av1codecconfigurationbox>): version 1, profile
/// 0 at level 4.0, 8 bits and 4:2:0, no delay said. Screens may have other levels; decoders look at the stream.
const AV1_CONFIGURATION: [u8; 4] = [0x81, 0x08, 0x0c, 0x00];

/// A keyframe that is black.
pub const fn keyframe(codec: VideoCodec) -> &'static [u8] {
    match codec {
        VideoCodec::Vp8 => VP8,
        VideoCodec::Vp9 => VP9,
        VideoCodec::Av1 => AV1,
    }
}

/// A track that begins with it.
pub fn track(codec: VideoCodec) -> VideoTrack {
    let private = match codec {
        VideoCodec::Vp8 | VideoCodec::Vp9 => Vec::new(),
        VideoCodec::Av1 => AV1_CONFIGURATION.to_vec(),
    };
    VideoTrack { codec, width: WIDTH, height: HEIGHT, private }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_keyframes_and_small_enough_to_be_repeated() {
        // VP8 (RFC 6386, section 9.1): the start code, and 14 bits each of width and height.
        assert_eq!(VP8[0] & 1, 0);
        assert_eq!(VP8[3..10], [0x9d, 0x01, 0x2a, 0x80, 0x07, 0x38, 0x04]);
        // VP9 (bitstream specification, section 6.2): marker, profile 0, keyframe; the sync code.
        assert_eq!(VP9[0] >> 2, 0b10_0000);
        assert_eq!(VP9[1..4], [0x49, 0x83, 0x42]);
        // AV1: a sequence header with a size, of profile 0 and the level that the configuration says.
        assert_eq!(AV1[0], 0x0a);
        for codec in [VideoCodec::Vp8, VideoCodec::Vp9, VideoCodec::Av1] {
            let length = keyframe(codec).len();
            assert!(length < 3600, "{codec:?} takes {length} bytes each time");
        }
    }
}
