//! VP8 (RFC 7741): a frame's payloads, without their descriptors, one after the other.

use sfu_core::media::vp8::Descriptor;

use super::Picture;

pub fn starts_keyframe(payload: &[u8]) -> bool {
    Descriptor::parse(payload).is_some_and(|descriptor| descriptor.starts_keyframe(payload))
}

pub fn depacketize<'a>(payloads: impl Iterator<Item = &'a [u8]>) -> Option<Picture> {
    let mut data = Vec::new();
    for (at, payload) in payloads.enumerate() {
        let descriptor = Descriptor::parse(payload)?;
        if descriptor.starts_frame != (at == 0) {
            return None;
        }
        data.extend_from_slice(payload.get(descriptor.length..)?);
    }
    // The inverse key frame flag (RFC 6386, section 9.1).
    let keyframe = data.first()? & 1 == 0;
    Some(Picture { keyframe, data })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_its_payloads_without_descriptors() {
        // S; then with a picture id of 15 bits.
        let payloads: [&[u8]; 2] = [&[0x10, 0x9c, 1], &[0x80, 0x80, 0x81, 0x02, 3]];
        assert!(starts_keyframe(payloads[0]) && !starts_keyframe(payloads[1]));
        let picture = depacketize(payloads.into_iter()).expect("whole");
        assert_eq!(picture, Picture { keyframe: true, data: vec![0x9c, 1, 3] });
        assert_eq!(depacketize(payloads[1..].iter().copied()), None, "the beginning is missing");
        assert_eq!(depacketize([payloads[0], payloads[0]].into_iter()), None, "two frames");
        assert_eq!(depacketize([].into_iter()), None);
    }
}
