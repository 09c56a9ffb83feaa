//! The choice among the frames of a stream with several layers in it, without an engine around: no forwarded frame
//! refers to one that was left out.

use std::collections::BTreeMap;

use sfu_core::media::dependency::Layer;
use sfu_core::media::random::Random;
use sfu_core::media::rewrite::SourceId;
use sfu_core::media::scalable::{Read, Scalable};
use sfu_core::media::select::Selector;
use sfu_core::media::vp9;
use sfu_core::time::Time;

#[path = "engine/descriptors.rs"]
mod descriptors;
#[path = "engine/encoder.rs"]
#[allow(dead_code, reason = "scenarios use more of it")]
mod encoder;

use encoder::{Encoder, Heading, Mode, Telling};

const SOURCE: SourceId = SourceId(1);
/// Microseconds.
const PERIOD: u64 = 40_000;

#[derive(Debug, Clone, Copy)]
struct Setting {
    telling: Telling,
    mode: Mode,
    spatial: u8,
    temporal: u8,
    /// In percent: packets that never come.
    loss: u64,
    /// Packets come up to so many microseconds late.
    late: u64,
    /// In percent of pictures: another layer is wanted.
    changes: u64,
    seed: u64,
}

/// One packet on its way.
struct Packet {
    at: u64,
    /// The encoder's number of the frame.
    frame: u64,
    timestamp: u32,
    heading: Heading,
}

fn read(stream: &mut Scalable, packet: &Packet) -> Read {
    let Heading { payload, descriptor, .. } = &packet.heading;
    if !descriptor.is_empty() {
        return stream.read_descriptor(descriptor, packet.timestamp);
    }
    let read = vp9::Descriptor::parse(payload).expect("the encoder writes whole ones");
    stream.read_vp9(Time::from_micros(packet.at), &read, packet.timestamp)
}

/// Sends 200 pictures; returns how many frames were forwarded.
fn run(setting: Setting) -> usize {
    let Setting { telling, mode, spatial, temporal, loss, mut late, changes, seed } = setting;
    if telling == Telling::Vp9 {
        // What a frame refers to is not told: it is taken to be the last one that came, so that only in turn it is known.
        late = late.min(PERIOD - 1);
    }
    let mut random = Random::new(seed);
    let mut encoder = Encoder::new(mode, telling, spatial, temporal);
    let (mut stream, mut selector) = (Scalable::default(), None::<Selector>);
    let mut limit = Layer::HIGHEST;
    let mut under_way: Vec<Packet> = Vec::new();
    // By the encoder's numbers.
    let mut decided: BTreeMap<u64, bool> = BTreeMap::new();
    for picture in 0..200 {
        let now = picture * PERIOD;
        let is_key = picture == 0 || selector.as_ref().is_none_or(|selector| selector.needs_keyframe(&stream, limit));
        // A keyframe takes a while to come.
        let is_key = is_key && (picture == 0 || picture % 8 == 0);
        for (frame, packets) in encoder.encode(is_key, 2) {
            for heading in packets {
                if picture > 0 && random.next() % 100 < loss {
                    continue;
                }
                let at = now + random.next() % (late + 1);
                under_way.push(Packet { at, frame, timestamp: (picture * 3600) as u32, heading });
            }
        }
        if random.next() % 100 < changes {
            limit = Layer { spatial: (random.next() % 4) as u8, temporal: (random.next() % 4) as u8 };
        }
        under_way.sort_by_key(|packet| packet.at);
        let arrived = under_way.partition_point(|packet| packet.at < now + PERIOD);
        for packet in under_way.drain(..arrived) {
            let Read::Frame { part, .. } = read(&mut stream, &packet) else { continue };
            let Some(frame) = stream.frame(part.frame) else { continue };
            let forwarded = match &mut selector {
                Some(selector) => selector.decide(frame, &stream, limit),
                None if frame.restarts => {
                    selector = Some(Selector::default().begun(SOURCE, frame, &stream, limit));
                    true
                }
                None => continue,
            };
            let known = *decided.entry(packet.frame).or_insert(forwarded);
            assert_eq!(known, forwarded, "frame {} was decided on twice: {setting:?}", packet.frame);
        }
    }
    for (frame, _) in decided.iter().filter(|(_, forwarded)| **forwarded) {
        for needed in &encoder.log[frame].needs {
            assert_ne!(decided.get(needed), Some(&false), "{frame} needs {needed}: {setting:?}");
        }
    }
    decided.values().filter(|forwarded| **forwarded).count()
}

/// Frames said where one may go over to the lower layer; the one they refer to came later, and had not been of the higher
/// layer.
#[test]
fn nobody_goes_over_to_a_layer_before_it_is_known_that_nothing_is_missing_of_it() {
    let (telling, mode, seed) = (Telling::Vp9Flexible, Mode::Key, 3_013_522_126_344_477_880);
    run(Setting { telling, mode, spatial: 2, temporal: 1, loss: 0, late: 86_819, changes: 5, seed });
}

#[test]
fn without_loss_a_layer_that_is_wanted_is_forwarded_whole() {
    for telling in [Telling::Descriptor, Telling::Vp9, Telling::Vp9Flexible] {
        let (mode, seed) = (Mode::Full, 1);
        let forwarded = run(Setting { telling, mode, spatial: 3, temporal: 3, loss: 0, late: 0, changes: 0, seed });
        // VP9 does not tell at first how many layers there are.
        assert!((570..=600).contains(&forwarded), "{telling:?}: {forwarded}");
    }
}
