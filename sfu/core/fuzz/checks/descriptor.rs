//! What must hold of any bytes that are taken for dependency descriptors, one after the other: what we write of one says
//! what it said but for what we changed, and frames are chosen that can be decoded.

use arrayvec::ArrayVec;
use sfu_core::media::allocate::MAX_LAYERS;
use sfu_core::media::dependency::{self, Descriptor, Layer, MAX_LENGTH, Structure};
use sfu_core::media::scalable::{Read, Scalable};
use sfu_core::time::Time;

#[path = "choosing.rs"]
mod choosing;
#[path = "chunks.rs"]
mod chunks;

use choosing::Chooser;
use chunks::chunks;

/// The first byte of each piece is not of the descriptor: the layer the subscriber may have, and whether a picture begins.
pub fn check(input: &[u8]) {
    let mut known = None;
    let (mut scalable, mut chooser) = (Scalable::default(), Chooser::default());
    let mut timestamp = 0;
    for (at, chunk) in chunks(input).enumerate() {
        let Some((&choice, data)) = chunk.split_first() else { continue };
        check_rewriting(data, u16::from(choice), &mut known);
        timestamp += u32::from(choice >> 7) * 3000;
        let now = Time::from_millis(at as u64);
        if let Read::Frame { part, .. } = scalable.read_descriptor(data, timestamp) {
            assert!(scalable.frame(part.frame).is_none_or(|frame| frame.number == part.frame));
            scalable.count(now, part.frame, data.len());
            let limit = Layer { spatial: choice & 3, temporal: choice >> 2 & 3 };
            chooser.decide(&scalable, part, limit);
        }
        assert!(scalable.points().len() <= MAX_LAYERS);
        for point in 0..MAX_LAYERS {
            scalable.rate(now, point);
        }
    }
}

fn check_rewriting(data: &[u8], number: u16, known: &mut Option<Structure>) {
    let Ok(read) = Descriptor::parse(data, known.as_ref()) else { return };
    let mut written = ArrayVec::new();
    if data.len() <= MAX_LENGTH {
        dependency::rewrite(data, read.places, 0, 0, &mut written).expect("it is no longer than it was");
        assert_eq!(written[..], *data, "nothing changed");
    }
    let structure = read.structure.as_ref().or(known.as_ref()).expect("it was read by one");
    let active = structure.all() ^ 1;
    if active != 0 && dependency::rewrite(data, read.places, number, active, &mut written).is_some() {
        let again = Descriptor::parse(&written, known.as_ref()).expect("what we write, we read");
        let frame_number = read.frame_number.wrapping_add(number);
        assert_eq!(again, Descriptor { frame_number, active: Some(active), places: again.places, ..read.clone() });
    }
    if read.structure.is_some() {
        *known = read.structure;
    }
}
