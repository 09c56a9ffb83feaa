//! The running numbers of pictures in the payload descriptors of VP8 and VP9. They run on across layers and publishers'
//! encoders only if somebody rewrites them.

use crate::engine::command::Codec;
use crate::media::{vp8, vp9};

/// What a payload's descriptor counts, and where that stands. Other codecs count nothing there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbers {
    pub picture_id: Option<PictureId>,
    /// Running index of pictures of the lowest temporal layer (TL0PICIDX), and its place.
    pub tl0_picture_index: Option<(u8, usize)>,
}

/// A picture id, its place in the payload and whether it has 15 bits or 7.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PictureId {
    pub value: u16,
    pub at: usize,
    pub long: bool,
}

impl Numbers {
    /// Those of an RTP payload. `None` for a codec without, and for a payload that is cut short.
    pub fn of(codec: Codec, payload: &[u8]) -> Option<Self> {
        match codec {
            Codec::Vp8 => Some(vp8::Descriptor::parse(payload)?.numbers),
            Codec::Vp9 => Some(vp9::Descriptor::parse(payload)?.numbers),
            _ => None,
        }
    }

    /// Adds to both, each within its width.
    pub fn rewrite(&self, payload: &mut [u8], picture_id: u16, tl0_picture_index: u8) {
        if let Some(PictureId { value, at, long }) = self.picture_id {
            let shifted = value.wrapping_add(picture_id);
            match payload.get_mut(at..at + 1 + usize::from(long)) {
                Some([high, low]) => {
                    *high = 0x80 | (shifted >> 8) as u8;
                    *low = shifted as u8;
                }
                Some([only]) => *only = shifted as u8 & 0x7f,
                _ => {}
            }
        }
        if let Some((value, at)) = self.tl0_picture_index
            && let Some(byte) = payload.get_mut(at)
        {
            *byte = value.wrapping_add(tl0_picture_index);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// VP8: X, S; I, L, T; 15-bit picture id 0x1234; index 7; TID; first byte of a keyframe.
    const VP8: [u8; 7] = [0x90, 0xe0, 0x92, 0x34, 7, 0x20, 0x10];
    /// VP9: I, L, B; the same id; TID 2; index 7; a byte of the picture.
    const VP9: [u8; 6] = [0xa8, 0x92, 0x34, 0x40, 7, 0xaa];

    fn rewritten<const N: usize>(codec: Codec, mut payload: [u8; N], picture_id: u16, index: u8) -> [u8; N] {
        Numbers::of(codec, &payload).expect("whole").rewrite(&mut payload, picture_id, index);
        payload
    }

    #[test]
    fn rewriting_wraps_within_each_width() {
        assert_eq!(rewritten(Codec::Vp8, VP8, 0x7fff - 0x1234 + 2, 250), [0x90, 0xe0, 0x80, 0x01, 1, 0x20, 0x10]);
        assert_eq!(rewritten(Codec::Vp9, VP9, 0x7fff - 0x1234 + 2, 250), [0xa8, 0x80, 0x01, 0x40, 1, 0xaa]);
        let short = "seven bits stay seven bits";
        assert_eq!(rewritten(Codec::Vp8, [0x90, 0x80, 0x7f, 0x10], 2, 0)[2], 1, "{short}");
        assert_eq!(rewritten(Codec::Vp9, [0x88, 0x7f, 0x10], 2, 0)[1], 1, "{short}");
    }

    #[test]
    fn vp9_in_flexible_mode_has_no_index_and_other_codecs_count_nothing() {
        let flexible = [0xb8, 0x12, 0x40, 0xaa];
        assert_eq!(Numbers::of(Codec::Vp9, &flexible).expect("whole").tl0_picture_index, None);
        assert_eq!(rewritten(Codec::Vp9, flexible, 1, 9), [0xb8, 0x13, 0x40, 0xaa]);
        assert_eq!(Numbers::of(Codec::H264, &VP8), None);
        assert_eq!(Numbers::of(Codec::Vp9, &VP9[..4]), None, "cut short");
    }

    proptest! {
        #[test]
        fn only_the_numbers_change(payload in proptest::collection::vec(any::<u8>(), 0..12), a: u16, b: u8) {
            for codec in [Codec::Vp8, Codec::Vp9] {
                let Some(numbers) = Numbers::of(codec, &payload) else { continue };
                let mut copy = payload.clone();
                numbers.rewrite(&mut copy, a, b);
                let read = Numbers::of(codec, &copy).expect("what we write, we read");
                let expected = numbers.picture_id.map(|id| {
                    let width = if id.long { 0x7fff } else { 0x7f };
                    PictureId { value: id.value.wrapping_add(a) & width, ..id }
                });
                prop_assert_eq!(read.picture_id, expected);
                numbers.rewrite(&mut copy, 0, 0);
                prop_assert_eq!(&copy, &payload, "nothing else was touched");
            }
        }
    }
}
