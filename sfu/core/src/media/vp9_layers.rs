//! What VP9's payload descriptors say of a stream's layers, in the terms of the dependency descriptor.
//!
//! Each pair of a spatial and a temporal layer is a decode target. A frame is numbered by its picture and its spatial
//! layer. What it refers to is told in flexible mode; else it is taken to need the last frame of a lower temporal layer,
//! which with VP9's switching points is enough to know where to go up.

use serde::{Deserialize, Serialize};

use crate::media::dependency::{DecodeTarget, Indication, Indications, Layer, MAX_CHAINS, Structure, at_distance};
use crate::media::layer::is_alive;
use crate::media::picture::PictureId;
use crate::media::scalable::Frame;
use crate::media::sequence::Unwrapper;
use crate::media::vp9::{Descriptor, Layers, References};
use crate::time::Time;

/// Layers of a kind that are told apart. Encoders send three; a stream that has more is not taken apart.
const SIDE: u8 = 4;
const TARGETS: u8 = SIDE * SIDE;

/// What is known of a stream's layers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vp9Layers {
    pictures: Unwrapper,
    /// When a layer was sent last, spatial and temporal.
    seen: [[Option<Time>; SIDE as usize]; 2],
    /// The last frame of each spatial layer, and in it of each temporal one.
    last: [[Option<u64>; SIDE as usize]; SIDE as usize],
    /// Higher spatial layers use lower ones in keyframes only.
    independent: bool,
    changed: bool,
    active: u32,
}

impl Vp9Layers {
    /// Takes in what a packet says of the frame it belongs to. `None` for a stream without layers, or with more than can
    /// be told apart.
    pub fn read(&mut self, now: Time, descriptor: &Descriptor, timestamp: u32) -> Option<Frame> {
        let layers = descriptor.layers.filter(|layers| layers.spatial < SIDE && layers.temporal < SIDE)?;
        let picture = self.widen(descriptor.numbers.picture_id?);
        let number = picture * u64::from(SIDE) + u64::from(layers.spatial);
        self.note_layer(now, layers);
        if descriptor.predicted && descriptor.unused_above && !self.independent {
            let is_top = (layers.spatial + 1..SIDE).all(|spatial| self.active >> (spatial * SIDE) & 1 == 0);
            self.independent |= !is_top;
            self.changed |= !is_top;
        }
        let needs = self.needs(descriptor, layers, number);
        let last = &mut self.last[usize::from(layers.spatial)][usize::from(layers.temporal)];
        *last = Some(number).max(*last);
        Some(Frame {
            number,
            timestamp,
            layer: Layer { spatial: layers.spatial, temporal: layers.temporal },
            structure: 0,
            restarts: !descriptor.predicted && layers.spatial == 0,
            indications: indications(descriptor, layers),
            needs,
            chains: [0; MAX_CHAINS],
        })
    }

    /// Whether decode targets include each other otherwise than they did. Said once.
    pub const fn take_changed(&mut self) -> bool {
        std::mem::replace(&mut self.changed, false)
    }

    /// The decode targets that are sent, as a mask.
    pub const fn active(&self) -> u32 {
        self.active
    }

    /// The decode targets.
    pub fn structure(&self) -> Structure {
        let describe = |target: u8| {
            let layer = Layer { spatial: target / SIDE, temporal: target % SIDE };
            let included = |other: &u8| {
                let other = Layer { spatial: other / SIDE, temporal: other % SIDE };
                other.is_within(layer) && (!self.independent || other.spatial == layer.spatial)
            };
            let includes = (0..TARGETS).filter(included).fold(0, |mask, other| mask | 1 << other);
            DecodeTarget { layer, chain: None, includes }
        };
        Structure { targets: (0..TARGETS).map(describe).collect(), ..Structure::default() }
    }

    /// Picture ids have 15 bits or 7: in the upper bits of 16 their wraps are followed all the same.
    fn widen(&mut self, id: PictureId) -> u64 {
        let unused = if id.long { 1 } else { 9 };
        self.pictures.unwrap(id.value << unused) >> unused
    }

    fn note_layer(&mut self, now: Time, layers: Layers) {
        self.seen[0][usize::from(layers.spatial)] = Some(now);
        self.seen[1][usize::from(layers.temporal)] = Some(now);
        let is_sent = |kind: usize, layer: u8| is_alive(now, self.seen[kind][usize::from(layer)]);
        let sent = (0..TARGETS).filter(|target| is_sent(0, target / SIDE) && is_sent(1, target % SIDE));
        self.active = sent.fold(0, |mask, target| mask | 1 << target);
    }

    fn needs(&self, descriptor: &Descriptor, layers: Layers, number: u64) -> u128 {
        let mut needs = if layers.uses_lower && layers.spatial > 0 { at_distance(1) } else { 0 };
        if !descriptor.predicted {
            return needs;
        }
        match descriptor.references {
            References::Back(back) => {
                let pictures = back.into_iter().map(|pictures| u32::from(pictures) * u32::from(SIDE));
                needs |= pictures.map(at_distance).fold(0, |needs, distance| needs | distance);
            }
            References::ByStructure => {
                let below = &self.last[usize::from(layers.spatial)][..usize::from(layers.temporal).max(1)];
                let before = below.iter().flatten().filter_map(|below| number.checked_sub(*below)).min();
                needs |= before.map_or(0, |distance| at_distance(u32::try_from(distance).unwrap_or_default()));
            }
        }
        needs
    }
}

/// What a frame is to each decode target. A switching point is one within its own spatial layer.
fn indications(descriptor: &Descriptor, layers: Layers) -> Indications {
    let mut indications = Indications::default();
    for target in 0..TARGETS {
        let layer = Layer { spatial: target / SIDE, temporal: target % SIDE };
        let is_used = layer.spatial == layers.spatial || (layer.spatial > layers.spatial && !descriptor.unused_above);
        let switches = !descriptor.predicted || (layers.switching_point && layer.spatial == layers.spatial);
        if is_used && layers.temporal <= layer.temporal {
            indications.set(target, if switches { Indication::Switch } else { Indication::Required });
        }
    }
    indications
}
