//! Packets that were taken in and wait to be forwarded together.
//!
//! A picture comes as several packets at once. Forwarding them together looks up each subscriber once, keeps its key and
//! numbers in the processor's cache, and leaves its copies next to each other, so that they go out as one message.

use super::Engine;
use super::arena::TrackIndex;
use super::suspects::Cause;
use crate::time::Time;

/// Packets that may wait, of all tracks. At most what the shortest history keeps, so that none is overwritten before it
/// is forwarded.
pub const MAX_BURST: usize = 64;

/// Packets of the histories that nobody has got yet.
#[derive(Debug, Default)]
pub struct Burst {
    fresh: Vec<Fresh>,
    /// The layer of which part of a picture waits, and more is to be expected.
    open: Option<(TrackIndex, u8)>,
}

/// One of them. In their order, what came later of a layer is later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fresh {
    pub track: TrackIndex,
    pub layer: u8,
    pub sequence: u64,
}

impl Fresh {
    const fn stream(&self) -> (TrackIndex, u8) {
        (self.track, self.layer)
    }
}

impl Engine {
    /// Whether part of a picture waits to be forwarded, whose other packets are likely to be here in a moment: publishers
    /// send a picture's packets close to each other.
    pub const fn expects_more(&self) -> bool {
        self.burst.open.is_some()
    }

    /// Has a packet forwarded with the others of its burst, in which the numbers of a layer ascend one by one. `ends` if
    /// it is the last of a picture, as sound always is.
    pub(super) fn forward_soon(&mut self, now: Time, fresh: Fresh, ends: bool) {
        if !ends {
            self.burst.open = Some(fresh.stream());
        } else if self.burst.open == Some(fresh.stream()) {
            self.burst.open = None;
        }
        self.burst.fresh.push(fresh);
        if self.burst.fresh.len() >= MAX_BURST {
            self.forward_burst(now);
        }
    }

    /// Forwards and relays what waits. Comes before everything that changes who gets what.
    pub(super) fn forward_burst(&mut self, now: Time) {
        self.burst.open = None;
        let mut fresh = std::mem::take(&mut self.burst.fresh);
        fresh.sort_unstable();
        let cause = self.suspects.cause;
        for run in fresh.chunk_by(|a, b| a.stream() == b.stream()) {
            self.suspects.cause = Cause::of(self.publisher_of(run[0].track));
            self.relay_burst(run);
            self.forward(now, run);
        }
        self.suspects.cause = cause;
        fresh.clear();
        self.burst.fresh = fresh;
    }
}
