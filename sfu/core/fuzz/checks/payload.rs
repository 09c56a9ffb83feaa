//! What must hold of any payloads of a codec, one after the other: nothing is read outside of them, what is rewritten can
//! be read again, and frames of VP9's layers are chosen that can be decoded.

use sfu_core::engine::command::Codec;
use sfu_core::media::dependency::Layer;
use sfu_core::media::keyframe::starts_keyframe;
use sfu_core::media::picture::Numbers;
use sfu_core::media::scalable::{Read, Scalable};
use sfu_core::media::vp9;
use sfu_core::time::Time;

#[path = "choosing.rs"]
mod choosing;
#[path = "chunks.rs"]
mod chunks;

use choosing::Chooser;
use chunks::chunks;

const CODECS: [Codec; 5] = [Codec::Vp8, Codec::Vp9, Codec::H264, Codec::H265, Codec::Av1];

/// The first byte of each piece is not of the payload: how long after the one before it came, in 10 ms, and the layer the
/// subscriber may have.
pub fn check(input: &[u8]) {
    let (mut scalable, mut chooser) = (Scalable::default(), Chooser::default());
    let mut now = Time::ZERO;
    for chunk in chunks(input) {
        let Some((&choice, payload)) = chunk.split_first() else { continue };
        let keyframes = CODECS.map(|codec| starts_keyframe(codec, payload));
        check_numbers(Codec::Vp8, payload);
        check_numbers(Codec::Vp9, payload);
        let Some(descriptor) = vp9::Descriptor::parse(payload) else { continue };
        assert_eq!(keyframes[1], descriptor.starts_keyframe());
        now += std::time::Duration::from_millis(u64::from(choice >> 4) * 10);
        let timestamp = (now.as_micros() * 9 / 100) as u32;
        if let Read::Frame { part, .. } = scalable.read_vp9(now, &descriptor, timestamp) {
            scalable.count(now, part.frame, payload.len());
            chooser.decide(&scalable, part, Layer { spatial: choice & 3, temporal: choice >> 2 & 3 });
        }
    }
}

fn check_numbers(codec: Codec, payload: &[u8]) {
    let Some(numbers) = Numbers::of(codec, payload) else { return };
    let mut copy = payload.to_vec();
    numbers.rewrite(&mut copy, 0x1234, 0x56);
    assert!(Numbers::of(codec, &copy).is_some(), "what we write, we read");
    assert_eq!(starts_keyframe(codec, &copy), starts_keyframe(codec, payload));
    numbers.rewrite(&mut copy, 0, 0);
    assert_eq!(copy, payload, "nothing else was touched");
}
