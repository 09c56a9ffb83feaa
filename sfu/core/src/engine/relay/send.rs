//! What an engine gives its peers of a track.

use std::time::Duration;

use arrayvec::ArrayVec;

use super::message::{Content, RelayMessage, RelayedPackets, Stream};
use crate::engine::Engine;
use crate::engine::arena::TrackIndex;
use crate::engine::burst::{Fresh, MAX_BURST};
use crate::engine::output::Output;
use crate::engine::track::{Source, Track};
use crate::id::{PeerKey, TrackKey};
use crate::media::history::Packet;
use crate::time::Time;

/// Peers one track may be relayed to: the other threads of a process, or the SFUs a call is spread over.
const MAX_PEERS: usize = 256;
/// How old a packet may be that is given along when a relay begins: who asks for an older one would get it too late.
const KEPT: Duration = Duration::from_millis(500);

impl Source {
    /// How peers know it.
    const fn stream(&self, layer: u8) -> Stream {
        Stream { layer, source: self.id, ssrc: self.ssrc, clock_rate: self.clock_rate }
    }
}

impl Track {
    /// Its streams with what each is to peers.
    fn streams(&self) -> impl Iterator<Item = (Stream, &Source)> {
        let layers = (0_u8..).zip(&self.layers);
        layers.filter_map(|(at, layer)| layer.source.as_ref().map(|source| (source.stream(at), source)))
    }
}

impl Engine {
    /// Begins to relay a track, with what its peer has to know before the next packet.
    pub(in crate::engine) fn relay_to(&mut self, now: Time, key: TrackKey, peer: PeerKey) {
        let Some(index) = self.index.tracks.get(&key).copied() else { return };
        let Some(track) = self.tracks.get_mut(index) else { return };
        if track.peers.contains(&peer) {
            return;
        }
        if track.peers.len() >= MAX_PEERS {
            tracing::warn!(track = key.0, "relayed to too many");
            return;
        }
        track.peers.push(peer);
        let output = &mut self.output;
        output.relay(peer, RelayMessage::track(key, Content::Muted(track.muted)));
        for (stream, source) in track.streams() {
            if let Some(mapping) = source.mapping {
                output.relay(peer, RelayMessage::track(key, Content::Report { stream, mapping }));
            }
            if let Some(layers) = source.scalable.clone() {
                output.relay(peer, RelayMessage::track(key, Content::Layers { stream, layers }));
            }
            relay_kept(now, key, (stream, source), peer, output);
        }
    }

    pub(in crate::engine) fn stop_relay(&mut self, key: TrackKey, peer: PeerKey) {
        let track = self.index.tracks.get(&key).and_then(|index| self.tracks.get_mut(*index));
        if let Some(track) = track {
            track.peers.retain(|known| *known != peer);
        }
    }

    /// Gives packets of one layer to all peers.
    pub(in crate::engine) fn relay_burst(&mut self, burst: &[Fresh]) {
        let Some(&Fresh { track: index, layer, .. }) = burst.first() else { return };
        let Self { tracks, output, .. } = self;
        let Some(track) = tracks.get(index).filter(|track| !track.peers.is_empty()) else { return };
        let Some(source) = track.layer(layer).and_then(|layer| layer.source.as_ref()) else { return };
        let packets = burst.iter().filter_map(|fresh| source.history.get(fresh.sequence));
        for peer in &track.peers {
            let packets = RelayedPackets::new(source.stream(layer), output.relay_buffer(), packets.clone());
            output.relay(*peer, RelayMessage::track(track.description.track, Content::Fresh(packets)));
        }
    }

    /// Tells all peers something about a layer's stream.
    pub(in crate::engine) fn relay_about(&mut self, index: TrackIndex, layer: u8, content: impl Fn(Stream) -> Content) {
        let Self { tracks, output, .. } = self;
        let Some(track) = tracks.get(index) else { return };
        let Some(source) = track.layer(layer).and_then(|layer| layer.source.as_ref()) else { return };
        for peer in &track.peers {
            let content = content(source.stream(layer));
            output.relay(*peer, RelayMessage::track(track.description.track, content));
        }
    }

    pub(in crate::engine) fn relay_muted(&mut self, index: TrackIndex, muted: bool) {
        let Self { tracks, output, .. } = self;
        let Some(track) = tracks.get(index) else { return };
        for peer in &track.peers {
            output.relay(*peer, RelayMessage::track(track.description.track, Content::Muted(muted)));
        }
    }
}

/// Gives a peer the last packets of a stream, in messages of a bounded size.
fn relay_kept(now: Time, track: TrackKey, (stream, source): (Stream, &Source), peer: PeerKey, output: &mut Output) {
    let is_young = |packet: &&Packet| now.since(packet.arrival) <= KEPT;
    let mut packets = source.history.iter().filter(is_young);
    loop {
        let some: ArrayVec<&Packet, MAX_BURST> = packets.by_ref().take(MAX_BURST).collect();
        if some.is_empty() {
            return;
        }
        let packets = RelayedPackets::new(stream, output.relay_buffer(), some.iter().copied());
        output.relay(peer, RelayMessage::track(track, Content::Kept(packets)));
    }
}
