//! The VP8 payload descriptor (RFC 7741, section 4.2).

use crate::media::picture::{Numbers, PictureId};

/// What the descriptor says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptor {
    /// The packet begins a partition (S) and that is the first (PID 0): a frame begins.
    pub starts_frame: bool,
    pub numbers: Numbers,
    /// Length of the descriptor: where the VP8 payload begins.
    pub length: usize,
}

impl Descriptor {
    /// Reads the descriptor at the start of an RTP payload. `None` if it is cut short.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let first = *payload.first()?;
        let numbers = Numbers { picture_id: None, tl0_picture_index: None };
        let mut descriptor = Self { starts_frame: first & 0x17 == 0x10, numbers, length: 1 };
        if first & 0x80 == 0 {
            return Some(descriptor);
        }
        let flags = *payload.get(1)?;
        let mut at = 2;
        if flags & 0x80 != 0 {
            let high = *payload.get(at)?;
            let long = high & 0x80 != 0;
            let value =
                if long { u16::from(high & 0x7f) << 8 | u16::from(*payload.get(at + 1)?) } else { u16::from(high) };
            descriptor.numbers.picture_id = Some(PictureId { value, at, long });
            at += if long { 2 } else { 1 };
        }
        if flags & 0x40 != 0 {
            descriptor.numbers.tl0_picture_index = Some((*payload.get(at)?, at));
            at += 1;
        }
        // TID and KEYIDX share a byte.
        if flags & 0x30 != 0 {
            payload.get(at)?;
            at += 1;
        }
        descriptor.length = at;
        Some(descriptor)
    }

    /// Whether a keyframe begins here: the first payload byte's inverse key frame flag (RFC 6386, section 9.1).
    pub fn starts_keyframe(&self, payload: &[u8]) -> bool {
        self.starts_frame && payload.get(self.length).is_some_and(|byte| byte & 1 == 0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// X, S; I, L, T; 15-bit picture id 0x1234; index 7; TID; first byte of a keyframe.
    const KEYFRAME: [u8; 7] = [0x90, 0xe0, 0x92, 0x34, 7, 0x20, 0x10];

    #[test]
    fn reads_every_field() {
        let descriptor = Descriptor::parse(&KEYFRAME).expect("whole");
        assert_eq!(descriptor.numbers.picture_id, Some(PictureId { value: 0x1234, at: 2, long: true }));
        assert_eq!(descriptor.numbers.tl0_picture_index, Some((7, 4)));
        assert_eq!(descriptor.length, 6);
        assert!(descriptor.starts_frame && descriptor.starts_keyframe(&KEYFRAME));
    }

    #[test]
    fn only_the_first_packet_of_a_keyframe_starts_it() {
        let delta = [0x10, 0x01];
        assert!(!Descriptor::parse(&delta).expect("whole").starts_keyframe(&delta));
        let continued = [0x00, 0x00];
        assert!(!Descriptor::parse(&continued).expect("whole").starts_keyframe(&continued));
        let second_partition = [0x11, 0x00];
        assert!(!Descriptor::parse(&second_partition).expect("whole").starts_keyframe(&second_partition));
    }

    #[test]
    fn cut_descriptors_are_refused() {
        for length in 0..6 {
            assert_eq!(Descriptor::parse(&KEYFRAME[..length]), None, "{length}");
        }
    }

    proptest! {
        #[test]
        fn any_payload_is_read_or_refused(payload in proptest::collection::vec(any::<u8>(), 0..12)) {
            if let Some(descriptor) = Descriptor::parse(&payload) {
                prop_assert!(descriptor.length <= payload.len());
            }
        }
    }
}
