//! Dependency descriptors, written from tables.

/// Frames of a kind: as a row of the specification's tables (appendix A.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kind {
    pub spatial: u8,
    pub temporal: u8,
    /// A letter for each decode target: `-`, `D`, `S` or `R`.
    pub indications: String,
    pub needs: Vec<u32>,
    pub chains: Vec<u32>,
}

/// A structure, with the numbers of the chains that protect its decode targets.
#[derive(Debug, Clone)]
pub struct Table {
    pub offset: u8,
    pub kinds: Vec<Kind>,
    pub protected_by: Vec<u32>,
    pub n_chains: u32,
    pub resolutions: bool,
}

/// What one packet says.
#[derive(Debug, Clone, Copy)]
pub struct Told<'a> {
    pub begins: bool,
    pub ends: bool,
    pub number: u16,
    pub frame: &'a Kind,
    pub attach: bool,
    pub active: Option<u32>,
}

#[derive(Default)]
struct Bits(Vec<bool>);

impl Bits {
    fn push(&mut self, value: u32, count: usize) {
        self.0.extend((0..count).rev().map(|bit| value >> bit & 1 == 1));
    }

    /// `ns(n)` of the specification.
    fn push_one_of(&mut self, value: u32, values: u32) {
        let width = (u32::BITS - values.leading_zeros()) as usize;
        let short = (1 << width) - values;
        if value < short {
            self.push(value, width - 1);
        } else {
            self.push(value + short, width);
        }
    }

    fn bytes(mut self) -> Vec<u8> {
        while !self.0.len().is_multiple_of(8) {
            self.0.push(false);
        }
        self.0.chunks(8).map(|bits| bits.iter().fold(0, |byte, bit| byte << 1 | u8::from(*bit))).collect()
    }

    fn push_indications(&mut self, letters: &str) {
        for letter in letters.chars() {
            self.push("-DSR".find(letter).expect("one of four letters") as u32, 2);
        }
    }
}

impl Table {
    /// Writes a packet's descriptor: by a template, and what of its frame differs from that.
    pub fn write(&self, told: Told<'_>) -> Vec<u8> {
        let frame = told.frame;
        let is_layer = |kind: &&Kind| (kind.spatial, kind.temporal) == (frame.spatial, frame.temporal);
        let exact = self.kinds.iter().position(|kind| kind == frame);
        let similar = || self.kinds.iter().find(is_layer).and_then(|kind| self.kinds.iter().position(|k| k == kind));
        let at = exact.or_else(similar).expect("a template of the layer");
        let template = &self.kinds[at];
        let mut bits = Bits::default();
        bits.push(u32::from(told.begins), 1);
        bits.push(u32::from(told.ends), 1);
        bits.push((u32::from(self.offset) + at as u32) % 64, 6);
        bits.push(u32::from(told.number), 16);
        let custom =
            [template.indications != frame.indications, template.needs != frame.needs, template.chains != frame.chains];
        if !told.attach && told.active.is_none() && custom == [false; 3] {
            return bits.bytes();
        }
        bits.push(u32::from(told.attach), 1);
        bits.push(u32::from(told.active.is_some()), 1);
        for custom in custom {
            bits.push(u32::from(custom), 1);
        }
        if told.attach {
            self.push_structure(&mut bits);
        }
        if let Some(active) = told.active {
            bits.push(active, self.protected_by.len());
        }
        if custom[0] {
            bits.push_indications(&frame.indications);
        }
        if custom[1] {
            for distance in &frame.needs {
                let size = if *distance <= 16 { 1 } else { 2 };
                bits.push(size, 2);
                bits.push(distance - 1, 4 * size as usize);
            }
            bits.push(0, 2);
        }
        if custom[2] {
            for distance in &frame.chains {
                bits.push(*distance, 8);
            }
        }
        bits.bytes()
    }

    fn push_structure(&self, bits: &mut Bits) {
        let targets = self.protected_by.len() as u32;
        bits.push(u32::from(self.offset), 6);
        bits.push(targets - 1, 5);
        for pair in self.kinds.windows(2) {
            let step = match (pair[1].spatial - pair[0].spatial, pair[1].temporal.wrapping_sub(pair[0].temporal)) {
                (0, 0) => 0,
                (0, 1) => 1,
                (1, _) if pair[1].temporal == 0 => 2,
                _ => panic!("layers in another order than templates have: {pair:?}"),
            };
            bits.push(step, 2);
        }
        bits.push(3, 2);
        for kind in &self.kinds {
            bits.push_indications(&kind.indications);
        }
        for kind in &self.kinds {
            for distance in &kind.needs {
                bits.push(1, 1);
                bits.push(distance - 1, 4);
            }
            bits.push(0, 1);
        }
        bits.push_one_of(self.n_chains, targets + 1);
        if self.n_chains > 0 {
            for chain in &self.protected_by {
                bits.push_one_of(*chain, self.n_chains + 1);
            }
            for distance in self.kinds.iter().flat_map(|kind| &kind.chains) {
                bits.push(*distance, 4);
            }
        }
        bits.push(u32::from(self.resolutions), 1);
        if self.resolutions {
            for spatial in 0..=self.kinds.last().expect("some").spatial {
                bits.push(320 << spatial, 16);
                bits.push(180 << spatial, 16);
            }
        }
    }
}

#[allow(dead_code, reason = "scenarios make kinds of their own")]
impl Kind {
    pub fn new(layer: (u8, u8), indications: &str, needs: &[u32], chains: &[u32]) -> Self {
        let (spatial, temporal) = layer;
        Self { spatial, temporal, indications: indications.to_owned(), needs: needs.to_vec(), chains: chains.to_vec() }
    }
}
