//! What waits to be taken out of an engine, and the buffers it is written into.

use std::collections::VecDeque;

use crate::engine::event::Event;
use crate::engine::path::{Path, Transmit};
use crate::engine::stats::{Count, EngineStats};

/// Buffers kept for reuse: as many as one burst to a large call takes.
const MAX_SPARE: usize = 4096;
/// Datagrams and events that may wait. By the drain rule there are only those of one call of the engine; the bound
/// keeps a caller that broke it from running out of memory.
const MAX_WAITING: usize = 65_536;
/// Room for a packet as browsers send it, with what sealing adds.
const BUFFER: usize = 1600;

/// Outgoing datagrams and events in order.
#[derive(Debug, Default)]
pub struct Output {
    transmits: VecDeque<Transmit>,
    events: VecDeque<Event>,
    spare: Vec<Vec<u8>>,
    pub stats: EngineStats,
}

impl Output {
    /// An empty buffer, used before if there is one.
    pub fn buffer(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_else(|| Vec::with_capacity(BUFFER))
    }

    /// Takes a buffer back.
    pub fn recycle(&mut self, mut buffer: Vec<u8>) {
        if self.spare.len() < MAX_SPARE && buffer.capacity() > 0 {
            buffer.clear();
            self.spare.push(buffer);
        }
    }

    /// Queues a datagram and counts it under what `kind` chooses.
    pub fn transmit(&mut self, path: Path, payload: Vec<u8>, kind: fn(&mut EngineStats) -> &mut Count) {
        if self.transmits.len() >= MAX_WAITING {
            self.stats.dropped.overflow += 1;
            return self.recycle(payload);
        }
        kind(&mut self.stats).add(payload.len());
        self.transmits.push_back(Transmit { path, payload });
    }

    pub fn event(&mut self, event: Event) {
        if self.events.len() >= MAX_WAITING {
            self.stats.dropped.overflow += 1;
            return;
        }
        self.events.push_back(event);
    }

    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }
}
