//! The VP9 payload descriptor (RFC 9628, section 4.2): the layer of a frame, and what it was predicted from.

use crate::media::picture::{Numbers, PictureId};

/// What the descriptor says of the frame a packet belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptor {
    pub begins_frame: bool,
    pub ends_frame: bool,
    /// The frame is predicted from earlier pictures (P).
    pub predicted: bool,
    /// All spatial layers of a picture have the same.
    pub numbers: Numbers,
    /// `None` for a stream without layers.
    pub layers: Option<Layers>,
    /// The frame is no reference for higher spatial layers of its picture (Z).
    pub unused_above: bool,
    /// How many pictures back those are that it refers to, in flexible mode.
    pub references: References,
}

/// The layer indices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layers {
    pub spatial: u8,
    pub temporal: u8,
    /// From here on, higher temporal layers refer to nothing before this picture that is above its own (U).
    pub switching_point: bool,
    /// The frame is predicted from the layer below it (D).
    pub uses_lower: bool,
}

/// Which earlier pictures a frame refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum References {
    /// As the structure of the group of pictures says; none if it is not [`Descriptor::predicted`].
    ByStructure,
    /// So many pictures back each; 0 for none.
    Back([u8; 3]),
}

impl Descriptor {
    /// Reads the descriptor at the start of an RTP payload. `None` if it is cut short.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let first = *payload.first()?;
        let has = |bit: u8| first & bit != 0;
        let mut at = 1;
        let mut next = || {
            at += 1;
            payload.get(at - 1).copied()
        };
        let predicted = has(0x40);
        let picture_id = if has(0x80) {
            let high = next()?;
            let long = high & 0x80 != 0;
            let value = if long { u16::from(high & 0x7f) << 8 | u16::from(next()?) } else { u16::from(high) };
            Some(PictureId { value, at: 1, long })
        } else {
            None
        };
        let (is_layered, is_flexible) = (has(0x20), has(0x10));
        let mut tl0_picture_index = None;
        let layers = if is_layered {
            let byte = next()?;
            if !is_flexible {
                let place = 2 + picture_id.map_or(0, |id| 1 + usize::from(id.long));
                tl0_picture_index = Some((next()?, place));
            }
            Some(Layers {
                temporal: byte >> 5,
                switching_point: byte & 0x10 != 0,
                spatial: byte >> 1 & 0x07,
                uses_lower: byte & 1 != 0,
            })
        } else {
            None
        };
        let mut references = References::ByStructure;
        if is_flexible {
            let mut back = [0; 3];
            let mut follows = predicted;
            for distance in &mut back {
                if follows {
                    let byte = next()?;
                    (*distance, follows) = (byte >> 1, byte & 1 != 0);
                }
            }
            references = References::Back(back);
        }
        Some(Self {
            begins_frame: has(0x08),
            ends_frame: has(0x04),
            predicted,
            numbers: Numbers { picture_id, tl0_picture_index },
            layers,
            unused_above: has(0x01),
            references,
        })
    }

    /// Whether a decoder can begin with the packet: a frame begins that is not predicted from another picture, and is of
    /// the lowest spatial layer.
    pub fn starts_keyframe(&self) -> bool {
        self.begins_frame && !self.predicted && self.layers.is_none_or(|layers| layers.spatial == 0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_field_is_read() {
        // I, P, L, B; a 15-bit picture id; TID 2, U, SID 1, D; TL0PICIDX.
        let descriptor = Descriptor::parse(&[0xe8, 0x92, 0x34, 0x53, 7, 0xaa]).expect("whole");
        let layers = Layers { spatial: 1, temporal: 2, switching_point: true, uses_lower: true };
        assert_eq!(
            descriptor,
            Descriptor {
                begins_frame: true,
                ends_frame: false,
                predicted: true,
                numbers: Numbers {
                    picture_id: Some(PictureId { value: 0x1234, at: 1, long: true }),
                    tl0_picture_index: Some((7, 4)),
                },
                layers: Some(layers),
                unused_above: false,
                references: References::ByStructure,
            }
        );
        // I, L, E, Z; a 7-bit picture id.
        let short = Descriptor::parse(&[0xa5, 0x12, 0x00, 7]).expect("whole");
        assert_eq!(short.numbers.picture_id, Some(PictureId { value: 0x12, at: 1, long: false }));
        assert!(!short.predicted && short.unused_above);
        assert!(short.ends_frame && !short.begins_frame);
    }

    #[test]
    fn references_are_told_in_flexible_mode() {
        // I, P, L, F: two of them, 1 and 4 pictures back.
        let descriptor = Descriptor::parse(&[0xf0, 0x05, 0x00, 0x03, 0x08, 0xaa]).expect("whole");
        assert_eq!(descriptor.references, References::Back([1, 4, 0]));
        let intra = Descriptor::parse(&[0xb0, 0x05, 0x00, 0xaa]).expect("whole");
        assert_eq!(intra.references, References::Back([0; 3]));
    }

    #[test]
    fn a_stream_without_layers_has_none() {
        assert_eq!(Descriptor::parse(&[0x8c, 0x81, 0x02]).expect("whole").layers, None);
    }

    proptest! {
        #[test]
        fn any_payload_is_read_or_refused(payload in proptest::collection::vec(any::<u8>(), 0..12)) {
            if let Some(layers) = Descriptor::parse(&payload).and_then(|descriptor| descriptor.layers) {
                prop_assert!(layers.spatial < 8 && layers.temporal < 8);
            }
        }
    }
}
