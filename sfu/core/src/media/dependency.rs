//! The dependency descriptor: which frames of a scalable stream need which, told in the clear beside the media.
//!
//! A header extension of the AV1 RTP specification (appendix A), used with VP9 too. A keyframe brings a [`Structure`] of
//! templates; each packet names one and says in what it differs. In: the extension's data. Out: the layer of the frame a
//! packet belongs to, for which *decode targets* (layers one may choose) it is needed, and which frames before it must
//! have been received. Of what another encoder may say, this reads what fits [`MAX_TEMPLATES`] and [`MAX_CHAINS`].

use arrayvec::ArrayVec;
use serde::{Deserialize, Serialize};

use crate::media::bits::{BitReader, BitWriter};

/// Identifiers of templates count modulo this; there are no more of them.
const MAX_TEMPLATES: usize = 64;
/// Chains of a structure that is understood. Encoders use one for each spatial layer.
pub const MAX_CHAINS: usize = 8;
const MAX_SPATIAL: u8 = 3;
const MAX_TEMPORAL: u8 = 7;
/// Frames before the present one whose reception is looked after. What reaches back further is taken to be there.
pub const MAX_DISTANCE: u32 = u128::BITS;
/// Longest header extension.
pub const MAX_LENGTH: usize = 255;

/// Bits of the mandatory fields, and with those that tell which others follow.
const MANDATORY: usize = 24;
const FLAGS_END: usize = MANDATORY + 5;

/// A spatial and a temporal layer, both counted from 0. Greater is better.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Layer {
    pub spatial: u8,
    pub temporal: u8,
}

impl Layer {
    pub const HIGHEST: Self = Self { spatial: u8::MAX, temporal: u8::MAX };

    /// Whether neither dimension is beyond that of `limit`.
    pub const fn is_within(self, limit: Self) -> bool {
        self.spatial <= limit.spatial && self.temporal <= limit.temporal
    }

    /// The better of each dimension.
    fn union(self, other: Self) -> Self {
        Self { spatial: self.spatial.max(other.spatial), temporal: self.temporal.max(other.temporal) }
    }
}

/// What a frame is to a decode target (table A.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Indication {
    NotPresent,
    /// No later frame needs it.
    Discardable,
    /// Who has this frame can decode all later ones of the target.
    Switch,
    Required,
}

/// What a frame is to each decode target, two bits each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Indications(u64);

impl Indications {
    pub const fn of(self, target: u8) -> Indication {
        match self.0 >> (2 * (target & 31)) & 3 {
            0 => Indication::NotPresent,
            1 => Indication::Discardable,
            2 => Indication::Switch,
            _ => Indication::Required,
        }
    }

    pub fn is_present(self, target: u8) -> bool {
        self.of(target) != Indication::NotPresent
    }

    pub const fn set(&mut self, target: u8, indication: Indication) {
        let at = 2 * (target & 31);
        self.0 = self.0 & !(3 << at) | (indication as u64) << at;
    }

    fn read(bits: &mut BitReader<'_>, targets: usize) -> Option<Self> {
        let mut indications = Self::default();
        for target in 0..targets {
            indications.0 |= u64::from(bits.read(2)?) << (2 * target);
        }
        Some(indications)
    }
}

/// What frames of one kind have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Template {
    pub layer: Layer,
    pub indications: Indications,
    /// Frames it refers to: bit `n` for the one `n + 1` before it.
    pub needs: u128,
    /// For each chain how far back its previous frame is; 0 if it begins here.
    pub chains: [u8; MAX_CHAINS],
}

/// A choice of layers a stream can be decoded at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecodeTarget {
    pub layer: Layer,
    /// The chain all of whose frames it takes to go on decoding it.
    pub chain: Option<u8>,
    /// Targets all of whose frames are frames of this one too, as a mask; itself among them.
    pub includes: u32,
}

/// What a keyframe says of the frames that follow. Equal are those that say the same, however they are written.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Structure {
    /// The identifier of the first template.
    pub template_offset: u8,
    pub templates: Vec<Template>,
    pub targets: Vec<DecodeTarget>,
    pub chains: u8,
    pub(super) written: Written,
}

impl PartialEq for Structure {
    fn eq(&self, other: &Self) -> bool {
        let Self { template_offset, templates, targets, chains, written: _ } = self;
        (template_offset, templates, targets, chains)
            == (&other.template_offset, &other.templates, &other.targets, &other.chains)
    }
}

impl Eq for Structure {}

/// A structure as it was written: some publishers repeat it in every packet, and what follows from it takes long to find
/// out.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Written {
    /// The descriptor it was in, from the structure's first byte to its last.
    bytes: Vec<u8>,
    /// Where it ended in the descriptor, counted in bits; 0 if it was not in one.
    end: usize,
}

impl Written {
    fn new(descriptor: &[u8], end: usize) -> Self {
        Self { bytes: descriptor[FLAGS_END / 8..end.div_ceil(8)].to_vec(), end }
    }

    /// Whether a descriptor brings the same one.
    fn is_in(&self, descriptor: &[u8]) -> bool {
        let Some((first, rest)) = self.bytes.split_first() else { return false };
        let Some((known_first, known_rest)) =
            descriptor.get(FLAGS_END / 8..self.end.div_ceil(8)).and_then(<[u8]>::split_first)
        else {
            return false;
        };
        // In the first byte it begins in the middle, and in the last one something else may follow.
        let begins = (first ^ known_first) & (0xff >> (FLAGS_END % 8)) == 0;
        let behind = self.end.div_ceil(8) * 8 - self.end;
        begins
            && match (rest.split_last(), known_rest.split_last()) {
                (Some((last, rest)), Some((known_last, known_rest))) => {
                    rest == known_rest && (last ^ known_last) >> behind == 0
                }
                _ => false,
            }
    }
}

/// A packet's descriptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    pub begins_frame: bool,
    pub ends_frame: bool,
    pub frame_number: u16,
    /// Whether it brings a structure.
    pub has_structure: bool,
    /// The structure it brings, unless that is written as the known one.
    pub structure: Option<Structure>,
    /// The decode targets that are being sent, if it says so.
    pub active: Option<u32>,
    /// The frame, by its template and what differs from it.
    pub frame: Template,
    pub places: Places,
}

/// Where in a descriptor the mask of active decode targets is, or would be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Places {
    /// Counted in bits.
    mask_at: u16,
    has_mask: bool,
    targets: u8,
}

/// Why a descriptor cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error("the descriptor's structure is not known")]
    UnknownStructure,
    #[error("the descriptor is cut short or has more than this reads")]
    Malformed,
}

impl Descriptor {
    /// Reads a descriptor, which may refer to the structure that is `known`.
    ///
    /// # Errors
    /// [`Unreadable::UnknownStructure`] if it does not refer to that and brings none.
    pub fn parse(data: &[u8], known: Option<&Structure>) -> Result<Self, Unreadable> {
        let mut bits = BitReader::new(data);
        let head = Head::read(&mut bits).ok_or(Unreadable::Malformed)?;
        let repeated = known.filter(|known| head.has_structure && known.written.is_in(data));
        let brought = if let Some(Structure { written, .. }) = repeated {
            bits.skip(written.end - FLAGS_END);
            None
        } else if head.has_structure {
            Some(Structure::read(data, &mut bits).ok_or(Unreadable::Malformed)?)
        } else {
            None
        };
        let structure = brought.as_ref().or(known).ok_or(Unreadable::UnknownStructure)?;
        let template = *structure.template(head.template).ok_or(Unreadable::UnknownStructure)?;
        let targets = structure.targets.len();
        let places = Places { mask_at: bits.position() as u16, has_mask: head.has_mask, targets: targets as u8 };
        let (active, frame) = head.read_rest(&mut bits, structure, template).ok_or(Unreadable::Malformed)?;
        let active = active.or_else(|| head.has_structure.then(|| structure.all()));
        Ok(Self {
            begins_frame: head.begins_frame,
            ends_frame: head.ends_frame,
            frame_number: head.frame_number,
            has_structure: head.has_structure,
            structure: brought,
            active,
            frame,
            places,
        })
    }
}

/// The fields of fixed place.
#[derive(Default)]
struct Head {
    begins_frame: bool,
    ends_frame: bool,
    template: u8,
    frame_number: u16,
    has_structure: bool,
    has_mask: bool,
    custom_indications: bool,
    custom_needs: bool,
    custom_chains: bool,
}

impl Head {
    fn read(bits: &mut BitReader<'_>) -> Option<Self> {
        let mut head = Self {
            begins_frame: bits.flag()?,
            ends_frame: bits.flag()?,
            template: bits.read(6)? as u8,
            frame_number: bits.read(16)? as u16,
            ..Self::default()
        };
        if bits.left() > 0 {
            head.has_structure = bits.flag()?;
            head.has_mask = bits.flag()?;
            head.custom_indications = bits.flag()?;
            head.custom_needs = bits.flag()?;
            head.custom_chains = bits.flag()?;
        }
        Some(head)
    }

    /// The mask of active decode targets, and what makes the frame differ from its template.
    fn read_rest(
        &self,
        bits: &mut BitReader<'_>,
        structure: &Structure,
        mut frame: Template,
    ) -> Option<(Option<u32>, Template)> {
        let targets = structure.targets.len();
        let active = if self.has_mask { Some(bits.read(targets)?) } else { None };
        if self.custom_indications {
            frame.indications = Indications::read(bits, targets)?;
        }
        if self.custom_needs {
            frame.needs = 0;
            loop {
                let size = bits.read(2)? as usize;
                if size == 0 {
                    break;
                }
                frame.needs |= at_distance(bits.read(4 * size)? + 1);
            }
        }
        if self.custom_chains {
            for chain in &mut frame.chains[..usize::from(structure.chains)] {
                *chain = bits.read(8)? as u8;
            }
        }
        Some((active, frame))
    }
}

/// The frame number of a descriptor, which needs no structure.
pub fn frame_number(data: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(data.get(1..3)?.try_into().ok()?))
}

/// The bit of a frame so far back, if it is looked after.
pub const fn at_distance(distance: u32) -> u128 {
    if distance == 0 || distance > MAX_DISTANCE { 0 } else { 1 << (distance - 1) }
}

impl Structure {
    fn template(&self, id: u8) -> Option<&Template> {
        let index = (usize::from(id) + MAX_TEMPLATES - usize::from(self.template_offset)) % MAX_TEMPLATES;
        self.templates.get(index)
    }

    /// The mask of all decode targets.
    pub fn all(&self) -> u32 {
        ((1_u64 << self.targets.len()) - 1) as u32
    }

    fn read(descriptor: &[u8], bits: &mut BitReader<'_>) -> Option<Self> {
        let template_offset = bits.read(6)? as u8;
        let targets = bits.read(5)? as usize + 1;
        let mut templates = read_layers(bits)?;
        for template in &mut templates {
            template.indications = Indications::read(bits, targets)?;
        }
        for template in &mut templates {
            while bits.flag()? {
                template.needs |= at_distance(bits.read(4)? + 1);
            }
        }
        let chains = bits.read_one_of(targets as u32 + 1)?;
        if chains as usize > MAX_CHAINS {
            return None;
        }
        let mut protected_by = [None; 32];
        if chains > 0 {
            for protected_by in &mut protected_by[..targets] {
                *protected_by = Some(bits.read_one_of(chains + 1)? as u8).filter(|chain| u32::from(*chain) < chains);
            }
            for template in &mut templates {
                for chain in &mut template.chains[..chains as usize] {
                    *chain = bits.read(4)? as u8;
                }
            }
        }
        if bits.flag()? {
            let highest = templates.iter().map(|template| template.layer.spatial).max()?;
            for _resolution in 0..=highest {
                bits.read(32)?;
            }
        }
        let targets = decode_targets(&templates, &protected_by[..targets]);
        let written = Written::new(descriptor, bits.position());
        Some(Self { template_offset, templates, targets, chains: chains as u8, written })
    }
}

/// Templates of which only the layers are known yet.
fn read_layers(bits: &mut BitReader<'_>) -> Option<Vec<Template>> {
    let mut layer = Layer::default();
    let mut templates = Vec::new();
    loop {
        if templates.len() == MAX_TEMPLATES || layer.spatial > MAX_SPATIAL || layer.temporal > MAX_TEMPORAL {
            return None;
        }
        templates.push(Template { layer, indications: Indications::default(), needs: 0, chains: [0; MAX_CHAINS] });
        match bits.read(2)? {
            0 => {}
            1 => layer.temporal += 1,
            2 => layer = Layer { spatial: layer.spatial + 1, temporal: 0 },
            _ => return Some(templates),
        }
    }
}

/// The layer of a decode target is not told, but follows from the frames it takes.
fn decode_targets(templates: &[Template], protected_by: &[Option<u8>]) -> Vec<DecodeTarget> {
    let count = protected_by.len() as u8;
    let present = |target: u8| templates.iter().filter(move |template| template.indications.is_present(target));
    let includes = |target: u8, other: u8| present(other).all(|template| template.indications.is_present(target));
    let describe = |(target, chain): (u8, &Option<u8>)| DecodeTarget {
        layer: present(target).map(|template| template.layer).fold(Layer::default(), Layer::union),
        chain: *chain,
        includes: (0..count).filter(|other| includes(target, *other)).fold(0, |mask, other| mask | 1 << other),
    };
    (0..count).zip(protected_by).map(describe).collect()
}

/// Writes a descriptor anew: with `number` added to the frame number, and `active` as the mask of active decode targets
/// if it is not 0. `None` if it would become too long.
pub fn rewrite(
    data: &[u8],
    places: Places,
    number: u16,
    active: u32,
    out: &mut ArrayVec<u8, MAX_LENGTH>,
) -> Option<()> {
    let (first, rest) = data.split_first()?;
    let (frame_number, _) = rest.split_first_chunk::<2>()?;
    let frame_number = u16::from_be_bytes(*frame_number).wrapping_add(number);
    out.clear();
    let mut writer = BitWriter::new(out);
    writer.write(u32::from(*first), 8)?;
    writer.write(u32::from(frame_number), 16)?;
    let mut reader = BitReader::new(data);
    reader.read(MANDATORY)?;
    if active == 0 {
        return writer.copy(&mut reader, data.len() * 8 - MANDATORY);
    }
    let targets = usize::from(places.targets);
    if reader.left() == 0 {
        writer.write(0b01000, FLAGS_END - MANDATORY)?;
        return writer.write(active, targets);
    }
    writer.write(reader.read(FLAGS_END - MANDATORY)? | 0b01000, FLAGS_END - MANDATORY)?;
    writer.copy(&mut reader, usize::from(places.mask_at).checked_sub(FLAGS_END)?)?;
    writer.write(active, targets)?;
    if places.has_mask {
        reader.read(targets)?;
    }
    let left = reader.left();
    writer.copy(&mut reader, left)
}

#[cfg(test)]
#[path = "dependency_tests.rs"]
mod tests;
