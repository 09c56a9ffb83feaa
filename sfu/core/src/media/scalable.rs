//! The frames of a stream with several layers in one (SVC), as far as they are told outside of the media.
//!
//! In: each packet's dependency descriptor or VP9 payload descriptor, once. Out: what each frame is to whom, for all
//! subscribers to choose from, the operating points there are, and what each takes of a network.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::media::allocate::MAX_LAYERS;
use crate::media::dependency::{
    self, Descriptor, Indication, Indications, Layer, MAX_CHAINS, Places, Structure, Unreadable,
};
use crate::media::meter::RateMeter;
use crate::media::sequence::Unwrapper;
use crate::media::vp9;
use crate::media::vp9_layers::Vp9Layers;
use crate::time::Time;

/// Frames that are remembered: as many as a [`Selector`](crate::media::select::Selector) remembers its decisions on.
const REMEMBERED: usize = dependency::MAX_DISTANCE as usize;
/// A point's rate is measured over this, as a layer's.
const RATE_WINDOW: Duration = Duration::from_secs(1);

/// What every packet of a frame tells of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The frame's number, widened.
    pub frame: u64,
    pub spatial: u8,
    /// Whether the frame ends with this packet.
    pub ends: bool,
    /// Of its dependency descriptor; without meaning if it has none.
    pub places: Places,
}

/// A frame, to those who choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    pub number: u64,
    /// All frames of a picture have the same.
    pub timestamp: u32,
    pub layer: Layer,
    /// Which structure its decode targets are of.
    pub structure: u32,
    /// A decoder can begin here, at whatever target.
    pub restarts: bool,
    pub indications: Indications,
    /// Frames it refers to: bit `n` for the one `n + 1` before it.
    pub needs: u128,
    pub chains: [u8; MAX_CHAINS],
}

/// A decode target that is offered to the allocation of a network's rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point {
    pub target: u8,
    pub layer: Layer,
}

/// What became of a packet's description.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    Frame {
        part: Part,
        /// A decoder can begin with this packet.
        starts: bool,
        /// Packets that could not be understood before may be now.
        is_news: bool,
    },
    /// It belongs to a structure that has not come, or is damaged.
    Unclear,
    /// Nothing is known of the stream's layers: all of it is one.
    Whole,
}

/// Everything about the layers of one stream.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Scalable {
    /// `None` until one has come that is understood.
    structure: Option<Structure>,
    /// The one before it, for packets that come late.
    previous: Option<Structure>,
    /// Counts structures.
    version: u32,
    /// The first frame of the structure.
    since: u64,
    /// The decode targets that are sent.
    active: u32,
    numbers: Unwrapper,
    vp9: Option<Vp9Layers>,
    frames: Vec<Option<Frame>>,
    /// Lowest first.
    points: Vec<Point>,
    rates: Vec<RateMeter>,
}

impl Scalable {
    /// Takes in a packet's dependency descriptor.
    pub fn read_descriptor(&mut self, data: &[u8], timestamp: u32) -> Read {
        // By the number, for identifiers of templates are used again.
        let is_late = dependency::frame_number(data).is_some_and(|number| self.numbers.peek(number) < self.since);
        let known = if is_late { &self.previous } else { &self.structure };
        let descriptor = match Descriptor::parse(data, known.as_ref()) {
            Ok(descriptor) => descriptor,
            Err(_) if self.structure.is_none() => return Read::Whole,
            Err(Unreadable::UnknownStructure | Unreadable::Malformed) => return Read::Unclear,
        };
        let newest = self.numbers.highest();
        let number = self.numbers.unwrap(descriptor.frame_number);
        let brought = descriptor.structure.filter(|_| !is_late);
        let is_news = brought.is_some_and(|structure| self.take_structure(structure, number));
        if let Some(active) = descriptor.active.filter(|_| !is_late && newest.is_none_or(|newest| newest <= number)) {
            self.set_active(active);
        }
        let frame = descriptor.frame;
        let restarts = descriptor.has_structure && frame.needs == 0;
        self.remember(Frame {
            number,
            timestamp,
            layer: frame.layer,
            structure: self.version.wrapping_sub(u32::from(is_late)),
            restarts,
            indications: frame.indications,
            needs: frame.needs,
            chains: frame.chains,
        });
        let part = Part {
            frame: number,
            spatial: frame.layer.spatial,
            ends: descriptor.ends_frame,
            places: descriptor.places,
        };
        Read::Frame { part, starts: restarts && descriptor.begins_frame, is_news }
    }

    /// Takes in a packet's VP9 payload descriptor.
    pub fn read_vp9(&mut self, now: Time, descriptor: &vp9::Descriptor, timestamp: u32) -> Read {
        let known = self.vp9.get_or_insert_default();
        let Some(frame) = known.read(now, descriptor, timestamp) else { return Read::Whole };
        if known.take_changed() || self.structure.is_none() {
            let structure = known.structure();
            self.structure = Some(structure);
        }
        let active = known.active();
        self.set_active(active);
        self.remember(frame);
        let part = Part {
            frame: frame.number,
            spatial: frame.layer.spatial,
            ends: descriptor.ends_frame,
            places: Places::default(),
        };
        Read::Frame { part, starts: descriptor.starts_keyframe(), is_news: false }
    }

    /// Returns whether it is another one than before.
    fn take_structure(&mut self, structure: Structure, number: u64) -> bool {
        if self.structure.as_ref() == Some(&structure) {
            // As it is written now it may come again.
            self.structure = Some(structure);
            return false;
        }
        self.since = number;
        self.previous = self.structure.replace(structure);
        self.version = self.version.wrapping_add(1);
        self.active = 0;
        true
    }

    fn set_active(&mut self, active: u32) {
        if self.active == active {
            return;
        }
        self.active = active;
        let points = self.list_points();
        if self.points != points {
            self.rates.clear();
            self.rates.resize(points.len(), RateMeter::new(RATE_WINDOW));
            self.points = points;
        }
    }

    /// Of the lowest spatial layer every temporal one, of the others all temporal ones together: who sees little of a
    /// picture is helped more by its size than by its smoothness.
    fn list_points(&self) -> Vec<Point> {
        let mut active: Vec<_> = self.targets().collect();
        active.sort_unstable_by_key(|point| point.layer);
        let Some(lowest) = active.first().map(|point| point.layer.spatial) else { return Vec::new() };
        let is_last = |at: usize| active.get(at + 1).is_none_or(|next| next.layer.spatial > active[at].layer.spatial);
        let chosen = (0..active.len()).filter(|at| active[*at].layer.spatial == lowest || is_last(*at));
        let mut points: Vec<_> = chosen.map(|at| active[at]).collect();
        points.dedup_by_key(|point| point.layer);
        let surplus = points.len().saturating_sub(MAX_LAYERS);
        points.drain(..surplus);
        points
    }

    /// The decode targets that are sent.
    pub fn targets(&self) -> impl Iterator<Item = Point> {
        let all = self.structure.iter().flat_map(|structure| (0..).zip(&structure.targets));
        all.filter(|(target, _)| self.active >> target & 1 == 1)
            .map(|(target, described)| Point { target, layer: described.layer })
    }

    fn remember(&mut self, frame: Frame) {
        if self.frames.is_empty() {
            self.frames.resize(REMEMBERED, None);
        }
        let slot = &mut self.frames[(frame.number % REMEMBERED as u64) as usize];
        match slot {
            Some(known) if known.number > frame.number => {}
            // The packet that tells that it is a keyframe may not be the first to come.
            Some(known) if known.number == frame.number => known.restarts |= frame.restarts,
            _ => *slot = Some(frame),
        }
    }

    /// The frame of this number, if it is remembered.
    pub fn frame(&self, number: u64) -> Option<&Frame> {
        let slot = self.frames.get((number % REMEMBERED as u64) as usize)?;
        slot.as_ref().filter(|frame| frame.number == number)
    }

    /// Whether a frame of this number and structure may be one of this stream, as far as is remembered.
    pub fn agrees_on(&self, number: u64, structure: u32) -> bool {
        let is_near = |known: &Frame| known.number.abs_diff(number) < REMEMBERED as u64;
        self.frames.iter().flatten().any(|known| is_near(known) && known.structure == structure)
    }

    /// Whether layers can be told apart.
    pub const fn is_known(&self) -> bool {
        self.structure.is_some()
    }

    /// The best decode target that is sent and within `limit`; the lowest if none is.
    pub fn best(&self, limit: Layer) -> Option<Point> {
        let within = self.targets().filter(|point| point.layer.is_within(limit)).max_by_key(|point| point.layer);
        within.or_else(|| self.targets().min_by_key(|point| point.layer))
    }

    /// Decode targets all of whose frames are frames of this one, as a mask.
    pub fn included_in(&self, target: u8) -> u32 {
        let described = self.structure.as_ref().and_then(|structure| structure.targets.get(usize::from(target)));
        described.map_or(0, |described| described.includes)
    }

    /// The chain that protects a decode target.
    pub fn chain_of(&self, target: u8) -> Option<u8> {
        self.structure.as_ref()?.targets.get(usize::from(target))?.chain
    }

    /// The mask of decode targets to tell a receiver who gets `target`; 0 if there is nothing to tell.
    pub fn mask_for(&self, target: u8) -> u32 {
        let Some(structure) = self.structure.as_ref().filter(|structure| !structure.templates.is_empty()) else {
            return 0;
        };
        let mask = self.included_in(target) & self.active;
        if mask == structure.all() { 0 } else { mask }
    }

    /// The lowest spatial layer that is sent: pictures begin with it.
    pub fn lowest(&self) -> u8 {
        self.targets().map(|point| point.layer.spatial).min().unwrap_or_default()
    }

    /// What may be chosen for a network, lowest first.
    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// Counts a packet of a frame.
    pub fn count(&mut self, now: Time, frame: u64, bytes: usize) {
        let Some(indications) = self.frame(frame).map(|frame| frame.indications) else { return };
        for (point, rate) in self.points.iter().zip(&mut self.rates) {
            if indications.is_present(point.target) {
                rate.add(now, bytes);
            }
        }
    }

    /// Bits per second that a point takes.
    pub fn rate(&self, now: Time, point: usize) -> u64 {
        self.rates.get(point).map_or(0, |rate| rate.rate(now))
    }
}

impl Frame {
    /// Whether the frame belongs to a decode target.
    pub fn is_in(&self, target: u8) -> bool {
        self.indications.is_present(target)
    }

    /// Whether who has this frame may go over to the target.
    pub fn switches_to(&self, target: u8) -> bool {
        self.indications.of(target) == Indication::Switch
    }
}
