//! What waits to be taken out of an engine, and the buffers it is written into.

use std::collections::VecDeque;

use crate::engine::event::Event;
use crate::engine::path::{Path, Transmit};
use crate::engine::relay::message::{Relay, RelayMessage};
use crate::engine::stats::{Count, EngineStats};
use crate::id::PeerKey;

/// Buffers kept for reuse: as many as one burst to a large call takes.
const MAX_SPARE: usize = 4096;
/// Buffers of relayed packets kept for reuse: as many messages as wait between two threads in ordinary times.
const MAX_SPARE_RELAYS: usize = 64;
/// Datagrams, events and relays that may wait. By the drain rule there are only datagrams of one call of the engine, and
/// events that control had no room for; the bound keeps a caller that broke it from running out of memory.
const MAX_WAITING: usize = 65_536;
/// Of these, events that are told again and again. The rest is for those that come once, and each transport has few.
const MAX_REPEATED: usize = 8192;
/// Room for a packet as browsers send it, with what sealing adds.
const BUFFER: usize = 1600;

/// Outgoing datagrams, events and relays, each in order.
#[derive(Debug, Default)]
pub struct Output {
    transmits: VecDeque<Transmit>,
    events: VecDeque<Event>,
    relays: VecDeque<Relay>,
    spare: Vec<Vec<u8>>,
    spare_relays: Vec<Vec<u8>>,
    pub stats: EngineStats,
}

impl Output {
    /// An empty buffer, used before if there is one.
    pub fn buffer(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_else(|| Vec::with_capacity(BUFFER))
    }

    /// Takes a buffer back. Small ones, as checks are written into, are not kept: media would have to enlarge them.
    pub fn recycle(&mut self, mut buffer: Vec<u8>) {
        if self.spare.len() < MAX_SPARE && buffer.capacity() >= BUFFER {
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
        let limit = if event.is_repeated() { MAX_REPEATED } else { MAX_WAITING };
        if self.events.len() >= limit {
            self.stats.events_dropped += 1;
            return;
        }
        self.events.push_back(event);
    }

    /// A buffer for packets that are relayed, used before if there is one.
    pub fn relay_buffer(&mut self) -> Vec<u8> {
        self.spare_relays.pop().unwrap_or_default()
    }

    pub fn recycle_relay(&mut self, buffer: Vec<u8>) {
        if self.spare_relays.len() < MAX_SPARE_RELAYS {
            self.spare_relays.push(buffer);
        }
    }

    pub fn relay(&mut self, peer: PeerKey, message: RelayMessage) {
        if self.relays.len() >= MAX_WAITING && message.may_be_lost() {
            self.stats.dropped.overflow += 1;
            return;
        }
        self.stats.relay.sent.add(message.size());
        self.relays.push_back(Relay { peer, message });
    }

    pub fn poll_relay(&mut self) -> Option<Relay> {
        self.relays.pop_front()
    }

    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::TransportKey;

    #[test]
    fn a_flood_of_dtls_leaves_room_for_what_is_told_once() {
        let transport = TransportKey(1);
        let mut output = Output::default();
        for _ in 0..2 * MAX_WAITING {
            output.event(Event::Dtls { transport, datagram: vec![22] });
        }
        output.event(Event::ConsentLost { transport });
        let told = std::iter::from_fn(|| output.poll_event()).collect::<Vec<_>>();
        assert_eq!(told.len(), MAX_REPEATED + 1);
        assert_eq!(told.last(), Some(&Event::ConsentLost { transport }));
        assert_eq!(output.stats.events_dropped, (2 * MAX_WAITING - MAX_REPEATED) as u64);
    }
}
