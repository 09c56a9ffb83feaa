//! A simulated scalable encoder: which frames a picture has, what each refers to, and how that is told.

use std::collections::BTreeMap;

use crate::descriptors::{Kind, Table, Told};

/// How spatial layers depend on each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Each on the one below it, in every picture (`L3T3`).
    Full,
    /// In keyframes only (`L3T3_KEY`).
    Key,
    /// Never (`S3T3`).
    Independent,
}

/// How a frame's place is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Telling {
    /// AV1 with the dependency descriptor, and a payload that says nothing.
    Descriptor,
    /// VP9's payload descriptor, not in flexible mode.
    Vp9,
    /// The same in flexible mode.
    Vp9Flexible,
}

#[derive(Debug)]
pub struct Encoder {
    mode: Mode,
    telling: Telling,
    spatial: u8,
    /// Temporal layers of pictures, over and over.
    pattern: &'static [u8],
    /// Spatial layers that are being sent.
    pub active: u8,
    table: Table,
    coder: Coder,
    picture_id: u16,
    /// Every frame so far by number.
    pub log: BTreeMap<u64, Encoded>,
}

/// A frame that was encoded.
#[derive(Debug, Clone)]
pub struct Encoded {
    pub number: u64,
    pub picture: u64,
    pub kind: Kind,
    pub is_key: bool,
    /// Frames it cannot be decoded without.
    pub needs: Vec<u64>,
    /// Packets it was sent in.
    pub parts: u8,
}

/// What a packet begins with, and its dependency descriptor.
#[derive(Debug, Clone)]
pub struct Heading {
    pub spatial: usize,
    pub payload: Vec<u8>,
    pub descriptor: Vec<u8>,
}

/// Frames sent of each layer, and of each chain.
#[derive(Debug, Clone)]
struct Coder {
    mode: Mode,
    spatial: u8,
    temporal: u8,
    number: u64,
    picture: u64,
    since_key: u64,
    last: BTreeMap<(u8, u8), u64>,
    chains: Vec<Option<u64>>,
}

impl Coder {
    /// The frames of the next picture.
    fn picture(&mut self, is_key: bool, temporal: u8, active: u8) -> Vec<Encoded> {
        if is_key {
            self.last.clear();
            self.chains.fill(None);
        }
        let frames = (0..active).map(|spatial| self.frame(is_key, spatial, temporal)).collect();
        self.picture += 1;
        frames
    }

    fn frame(&mut self, is_key: bool, spatial: u8, temporal: u8) -> Encoded {
        let number = self.number;
        self.number += 1;
        // The lowest temporal layer refers to itself, the others to what is below them.
        let below = if temporal == 0 { 1 } else { temporal };
        let inter = (0..below).filter_map(|temporal| self.last.get(&(spatial, temporal))).max().copied();
        let uses_lower = spatial > 0 && (self.mode == Mode::Full || (self.mode == Mode::Key && is_key));
        let needs: Vec<u64> = inter.into_iter().chain(uses_lower.then(|| number - 1)).collect();
        let target = |at: u8| (self.spatial - 1 - at / self.temporal, self.temporal - 1 - at % self.temporal);
        let letter = |at| {
            let (s, t) = target(at);
            let is_used =
                s == spatial || (s > spatial && (self.mode == Mode::Full || (self.mode == Mode::Key && is_key)));
            match () {
                () if !is_used || temporal > t => '-',
                () if is_key => 'S',
                () if s > spatial => 'R',
                () if temporal == t && temporal > 0 => 'D',
                () => 'S',
            }
        };
        let indications: String = (0..self.spatial * self.temporal).map(letter).collect();
        let distances = self.chains.iter().map(|last| last.map_or(0, |last| (number - last) as u32)).collect();
        let kind = Kind {
            spatial,
            temporal,
            indications,
            needs: needs.iter().map(|needed| (number - needed) as u32).collect(),
            chains: distances,
        };
        for (chain, last) in (0..).zip(&mut self.chains) {
            let lower = spatial < chain && (self.mode == Mode::Full || (self.mode == Mode::Key && is_key));
            if temporal == 0 && (spatial == chain || lower) {
                *last = Some(number);
            }
        }
        self.last.insert((spatial, temporal), number);
        Encoded { number, picture: self.picture, kind, is_key, needs, parts: 0 }
    }
}

impl Encoder {
    pub fn new(mode: Mode, telling: Telling, spatial: u8, temporal: u8) -> Self {
        let pattern: &[u8] = match temporal {
            1 => &[0],
            2 => &[0, 1],
            _ => &[0, 2, 1, 2],
        };
        let coder = Coder {
            mode,
            spatial,
            temporal,
            number: 65_000,
            picture: 0,
            since_key: 0,
            last: BTreeMap::new(),
            chains: vec![None; usize::from(spatial)],
        };
        let protected_by = (0..spatial * temporal).map(|at| u32::from(spatial - 1 - at / temporal)).collect();
        let table = Table {
            offset: 17,
            kinds: kinds(coder.clone(), pattern, spatial),
            protected_by,
            n_chains: u32::from(spatial),
            resolutions: true,
        };
        Self {
            mode,
            telling,
            spatial,
            pattern,
            active: spatial,
            table,
            coder,
            picture_id: 32_700,
            log: BTreeMap::new(),
        }
    }

    /// Spatial layers used by higher ones apart from keyframes.
    pub fn is_nested(&self) -> bool {
        self.mode == Mode::Full
    }

    /// Encodes a picture: of each frame what its packets begin with.
    pub fn encode(&mut self, is_key: bool, parts: u8) -> Vec<(u64, Vec<Heading>)> {
        if is_key {
            self.coder.since_key = 0;
            self.table.offset = (self.table.offset + 31) % 64;
        }
        let temporal = self.pattern[(self.coder.since_key % self.pattern.len() as u64) as usize];
        self.coder.since_key += 1;
        let mut headings = Vec::new();
        for frame in self.coder.picture(is_key, temporal, self.active) {
            let packets = (0..parts).map(|part| self.heading(&frame, part, parts)).collect();
            headings.push((frame.number, packets));
            self.log.insert(frame.number, Encoded { parts, ..frame });
        }
        self.picture_id = self.picture_id.wrapping_add(1) & 0x7fff;
        headings
    }

    fn heading(&self, frame: &Encoded, part: u8, parts: u8) -> Heading {
        let (begins, ends) = (part == 0, part + 1 == parts);
        let spatial = usize::from(frame.kind.spatial);
        let attach = frame.is_key && begins && frame.kind.spatial == 0;
        match self.telling {
            Telling::Descriptor => {
                let all = (1_u32 << self.table.protected_by.len()) - 1;
                let temporal = self.table.protected_by.len() as u32 / u32::from(self.spatial);
                let off = u32::from(self.spatial - self.active) * temporal;
                let active = (self.active < self.spatial && begins).then_some(all >> off << off);
                let told = Told { begins, ends, number: frame.number as u16, frame: &frame.kind, attach, active };
                Heading { spatial, payload: vec![0xff], descriptor: self.table.write(told) }
            }
            Telling::Vp9 | Telling::Vp9Flexible => {
                Heading { spatial, payload: self.vp9(frame, begins, ends), descriptor: Vec::new() }
            }
        }
    }

    /// I, P, L, F, B, E, Z; a picture id of 15 bits; TID, U, SID, D; TL0PICIDX or what is referred to. Always five bytes.
    fn vp9(&self, frame: &Encoded, begins: bool, ends: bool) -> Vec<u8> {
        let kind = &frame.kind;
        let inter: Vec<u64> = frame.needs.iter().filter(|n| self.log[n].picture != frame.picture).copied().collect();
        let is_flexible = self.telling == Telling::Vp9Flexible;
        let uses_lower = inter.len() < frame.needs.len();
        let unused_above = self.mode == Mode::Independent || (self.mode == Mode::Key && !frame.is_key);
        let bits = [true, !inter.is_empty(), true, is_flexible, begins, ends, false, unused_above];
        let first = bits.into_iter().fold(0, |byte, bit| byte << 1 | u8::from(bit));
        let [high, low] = self.picture_id.to_be_bytes();
        let layers = kind.temporal << 5 | 1 << 4 | kind.spatial << 1 | u8::from(uses_lower);
        let last = match inter.first() {
            Some(needed) if is_flexible => ((frame.picture - self.log[needed].picture) as u8) << 1,
            // Without references there is no byte of them: what follows is payload.
            _ => 9,
        };
        vec![first, 0x80 | high, low, layers, last]
    }
}

/// The kinds of frames there are, as far as a template can tell them.
fn kinds(mut coder: Coder, pattern: &[u8], spatial: u8) -> Vec<Kind> {
    let mut kinds: Vec<Kind> = Vec::new();
    for picture in 0..2 * pattern.len() {
        for frame in coder.picture(picture == 0, pattern[picture % pattern.len()], spatial) {
            let fits = frame.kind.needs.iter().all(|n| *n <= 16) && frame.kind.chains.iter().all(|n| *n < 16);
            if fits && !kinds.contains(&frame.kind) {
                kinds.push(frame.kind);
            }
        }
    }
    kinds.sort_by_key(|kind| (kind.spatial, kind.temporal));
    kinds
}
