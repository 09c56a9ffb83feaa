//! Which frames of a stream with several layers in one (SVC) a subscriber gets.
//!
//! In: frames, and the layer the subscriber may have. Out: whether each is forwarded, such that every forwarded frame
//! refers to forwarded ones only. A frame that has not come is taken to come: it will be repeated, and has its number.

use serde::{Deserialize, Serialize};

use crate::media::dependency::{Layer, at_distance};
use crate::media::rewrite::SourceId;
use crate::media::scalable::{Frame, Point, Scalable};

/// The decisions of one subscription.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selector {
    /// The stream they are about.
    source: Option<SourceId>,
    current: Option<Current>,
    /// The one before it, for frames before this number that come late: their pictures are to be whole.
    before: Option<(Current, u64)>,
    /// The newest frame that was decided on.
    newest: u64,
    timestamp: u32,
    /// Decisions: bit `n` of both is about the frame `n` before the newest.
    decided: u128,
    forwarded: u128,
    /// Of those that are forwarded: have not come yet, and with them what they refer to is not known.
    awaited: u128,
    /// It does not get what it should before a keyframe comes.
    waits: bool,
    /// What cannot be lowered is rather not sent at all: it fills the path.
    hurries: bool,
    /// The number of the last frame, as the subscriber saw it.
    pub last_number: Option<u16>,
}

/// The decode target being forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Current {
    point: Point,
    structure: u32,
}

impl Selector {
    /// Forwarding of a stream begins with this frame. Returns the selector that has decided so.
    pub fn begun(&self, source: SourceId, frame: &Frame, stream: &Scalable, limit: Layer) -> Self {
        let current = stream.best(limit).map(|point| Current { point, structure: frame.structure });
        Self {
            source: Some(source),
            current,
            before: None,
            newest: frame.number,
            timestamp: frame.timestamp,
            decided: u128::MAX,
            forwarded: 1,
            awaited: 0,
            waits: false,
            hurries: false,
            last_number: self.last_number,
        }
    }

    /// Whether the decisions are about this stream.
    pub fn is_of(&self, source: SourceId) -> bool {
        self.source == Some(source)
    }

    /// Whether the decisions, made of a stream as another engine knows it, hold for the stream as it is known here.
    pub fn goes_on_with(&self, stream: &Scalable) -> bool {
        self.current.is_some_and(|current| stream.agrees_on(self.newest, current.structure))
    }

    /// The decode target being forwarded.
    pub fn point(&self) -> Option<Point> {
        self.current.map(|current| current.point)
    }

    /// What was decided of a frame; `None` if nothing was, or it is forgotten.
    pub fn decision(&self, number: u64) -> Option<bool> {
        let back = self.newest.checked_sub(number)?;
        let bit = u32::try_from(back).ok().and_then(|back| 1_u128.checked_shl(back))?;
        (self.decided & bit != 0).then_some(self.forwarded & bit != 0)
    }

    /// Whether a frame is so old that it is not known any more what was decided of it.
    pub fn has_forgotten(&self, number: u64) -> bool {
        self.newest.checked_sub(number).is_some_and(|back| back >= u64::from(u128::BITS))
    }

    /// Decides on a frame, once.
    pub fn decide(&mut self, frame: &Frame, stream: &Scalable, limit: Layer) -> bool {
        if let Some(decision) = self.decision(frame.number) {
            self.keep_promise(frame, stream);
            return decision;
        }
        if frame.number > self.newest {
            self.turn(frame, stream, limit);
        } else if self.has_forgotten(frame.number) {
            return false;
        }
        let current = match self.before {
            Some((before, until)) if frame.number < until => Some(before),
            _ => self.current,
        };
        let current = current.filter(|current| current.structure == frame.structure);
        let is_in = current.is_some_and(|current| frame.is_in(current.point.target));
        let has_all = self.has_all(frame);
        // A keyframe tells the structure, even where the target takes none of its frames.
        let forwarded = has_all && (is_in || (frame.restarts && self.current.is_some()));
        self.waits |= is_in && !has_all;
        self.note(frame.number, frame.timestamp, forwarded);
        if forwarded {
            self.promise(frame, current.and_then(|current| stream.chain_of(current.point.target)));
        }
        forwarded
    }

    /// Whether only a keyframe gets it to where it should be.
    pub fn needs_keyframe(&self, stream: &Scalable, limit: Layer) -> bool {
        let Some(desired) = stream.best(limit) else { return false };
        let Some(current) = self.point() else { return true };
        let is_included = stream.included_in(current.target) >> desired.target & 1 == 1;
        self.waits || (desired.layer.spatial != current.layer.spatial && !is_included)
    }

    /// If it cannot get less at once, it is to get nothing until a keyframe comes.
    pub const fn hurry(&mut self) {
        self.hurries = true;
    }

    /// Goes over to another decode target with this frame, the newest so far, if that is to be and can be.
    fn turn(&mut self, frame: &Frame, stream: &Scalable, limit: Layer) {
        let Some(desired) = stream.best(limit) else { return };
        if frame.restarts {
            self.before = self.current.map(|current| (current, frame.number));
            self.current = Some(Current { point: desired, structure: frame.structure });
            (self.waits, self.hurries) = (false, false);
            return;
        }
        let Some(Current { point: current, structure }) = self.current else { return };
        if current == desired || structure != frame.structure {
            self.hurries &= current != desired;
            return;
        }
        let begins_picture = frame.timestamp != self.timestamp && frame.layer.spatial <= stream.lowest();
        let included = stream.included_in(current.target);
        let can_switch = self.has_surely_all(frame);
        let is_reachable = |point: &Point| {
            let is_in_time = begins_picture || point.layer.spatial == current.layer.spatial;
            let switches = can_switch && frame.switches_to(point.target);
            is_in_time && (included >> point.target & 1 == 1 || switches)
        };
        let reachable = || stream.targets().filter(is_reachable);
        let within = reachable().filter(|point| point.layer.is_within(limit)).max_by_key(|point| point.layer);
        // Of the same spatial layer less can be had at once, though it is more than wanted.
        let least = || reachable().filter(|point| point.layer.spatial == current.layer.spatial).min_by_key(|p| p.layer);
        // What has all of its frames already is gone over to when the next picture begins.
        let is_soon = included >> desired.target & 1 == 1;
        let otherwise = || if is_soon { Some(current) } else { least().filter(|_| !self.hurries) };
        if let Some(next) = within.or_else(otherwise) {
            if next != current {
                self.before = self.current.map(|current| (current, frame.number));
            }
            self.current = Some(Current { point: next, structure: frame.structure });
        } else if self.hurries && begins_picture {
            self.current = None;
        }
    }

    /// Whether no frame it refers to was left out.
    fn has_all(&self, frame: &Frame) -> bool {
        let left_out = self.decided & !self.forwarded;
        self.aligned(frame.number, frame.needs) & left_out == 0
    }

    /// Whether all it refers to came and was forwarded: where something else begins with it, nothing may turn out later to
    /// be missing.
    fn has_surely_all(&self, frame: &Frame) -> bool {
        let came = self.decided & self.forwarded & !self.awaited;
        self.aligned(frame.number, frame.needs) & !came == 0
    }

    /// Frames that are so far before `number`, in terms of the decisions' bits.
    fn aligned(&self, number: u64, distances: u128) -> u128 {
        let shift = |by: u64| u32::try_from(by).unwrap_or(u32::MAX);
        match number.checked_sub(self.newest) {
            Some(0) => distances << 1,
            Some(ahead) => distances.checked_shr(shift(ahead - 1)).unwrap_or_default(),
            None => distances.checked_shl(shift(self.newest - number + 1)).unwrap_or_default(),
        }
    }

    fn note(&mut self, number: u64, timestamp: u32, forwarded: bool) {
        if number > self.newest {
            let ahead = u32::try_from(number - self.newest).unwrap_or(u32::MAX);
            self.decided = self.decided.checked_shl(ahead).unwrap_or_default();
            self.forwarded = self.forwarded.checked_shl(ahead).unwrap_or_default();
            self.awaited = self.awaited.checked_shl(ahead).unwrap_or_default();
            (self.newest, self.timestamp) = (number, timestamp);
        }
        let bit = 1_u128 << (self.newest - number);
        self.decided |= bit;
        self.forwarded |= if forwarded { bit } else { 0 };
    }

    /// What a forwarded frame refers to is forwarded too when it comes, and so is the frame before it of its chain.
    fn promise(&mut self, frame: &Frame, chain: Option<u8>) {
        let distance = chain.and_then(|chain| frame.chains.get(usize::from(chain))).copied().unwrap_or_default();
        let needed = frame.needs | at_distance(u32::from(distance));
        let new = self.aligned(frame.number, needed) & !self.decided;
        self.decided |= new;
        self.forwarded |= new;
        self.awaited |= new;
    }

    /// A frame came that was to be forwarded when it comes: so is, from now on, what that one refers to.
    fn keep_promise(&mut self, frame: &Frame, stream: &Scalable) {
        let bit = self.newest.checked_sub(frame.number).and_then(|back| 1_u128.checked_shl(u32::try_from(back).ok()?));
        let Some(bit) = bit.filter(|bit| self.awaited & bit != 0) else { return };
        self.awaited &= !bit;
        // Too late for those that refer to it, if something was left out that it refers to.
        self.waits |= !self.has_all(frame);
        self.promise(frame, self.point().and_then(|point| stream.chain_of(point.target)));
    }
}
