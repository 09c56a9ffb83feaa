//! What an engine does with what its peers tell.

use super::message::{Content, RelayMessage, RelayedPacket, RelayedPackets, Stream, Subject};
use crate::engine::Engine;
use crate::engine::arena::TrackIndex;
use crate::engine::receive::Taken;
use crate::engine::track::Track;
use crate::id::{PeerKey, TrackKey};
use crate::media::extension::Located;
use crate::media::rtp::Header;
use crate::time::Time;

impl Engine {
    /// Takes what another engine, `from`, says. Packets are forwarded with the next
    /// [`handle_timeout`](Self::handle_timeout), as those of clients are.
    ///
    /// What is about a track that is not here, or not relayed to us, is dropped and counted in
    /// [`Dropped::unrelated`](crate::engine::Dropped::unrelated): it crossed a command on its way.
    pub fn handle_relay(&mut self, now: Time, from: PeerKey, message: RelayMessage) {
        self.output.stats.relay.received.add(message.size());
        self.suspects.cause = self.suspect_of_relay(&message);
        match message.0 {
            Subject::Track { track, content } => self.handle_track_relay(now, track, content),
            Subject::Transport { transport, content } => {
                self.handle_handoff(now, from, transport, content);
                self.count_things();
            }
        }
    }

    fn handle_track_relay(&mut self, now: Time, key: TrackKey, content: Content) {
        let Some(index) = self.index.tracks.get(&key).copied() else {
            self.output.stats.dropped.unrelated += 1;
            return;
        };
        if let Content::KeyframeWanted { layer } = content {
            return self.want_keyframe(index, layer);
        }
        if !self.tracks.get(index).is_some_and(Track::is_relayed) {
            self.output.stats.dropped.unrelated += 1;
            return;
        }
        match content {
            Content::Fresh(packets) => {
                self.take_fresh(now, index, &packets);
                self.output.recycle_relay(packets.into_buffer());
            }
            Content::Kept(packets) => {
                self.take_kept(now, index, &packets);
                self.output.recycle_relay(packets.into_buffer());
            }
            Content::Report { stream, mapping } => {
                if self.meet_stream(now, index, stream) {
                    self.set_mapping(index, stream.layer, mapping);
                }
            }
            Content::Layers { stream, layers } => {
                if self.meet_stream(now, index, stream)
                    && let Some(source) = self.tracks.get_mut(index).and_then(|track| track.source_mut(stream.layer))
                {
                    source.learn_layers(layers);
                }
            }
            Content::Ended { stream } => self.take_end(now, index, stream),
            Content::Muted(muted) => {
                self.forward_burst(now);
                self.set_muted(now, key, muted);
            }
            Content::KeyframeWanted { .. } => {}
        }
    }

    /// Whether a stream is the one its layer is made of, as it becomes if it is newer.
    fn meet_stream(&mut self, now: Time, index: TrackIndex, stream: Stream) -> bool {
        let Some(layer) = self.tracks.get(index).and_then(|track| track.layer(stream.layer)) else { return false };
        if layer.source.as_ref().is_some_and(|source| source.id == stream.source) {
            return true;
        }
        if !layer.is_newer(stream.source) {
            return false;
        }
        self.forward_burst(now);
        let Some(track) = self.tracks.get_mut(index) else { return false };
        track.start_source(&self.config, stream.layer, stream.source, (stream.ssrc, stream.clock_rate));
        // Whoever waits for one of its pictures asks; a layer that nobody watches, or that is off, needs none.
        self.interrupt_layer(index, stream.layer);
        self.retarget_all(now, index);
        self.schedule_relayed(now, index);
        true
    }

    fn take_fresh(&mut self, now: Time, index: TrackIndex, packets: &RelayedPackets) {
        let stream = packets.stream;
        if !self.meet_stream(now, index, stream) {
            self.output.stats.dropped.unrelated += 1;
            return;
        }
        if self.tracks.get(index).is_some_and(|track| track.muted)
            && let Some(track) = self.tracks.get(index).map(|track| track.description.track)
        {
            // Nothing is relayed of a muted track: that it no longer is was lost on the way.
            self.set_muted(now, track, false);
        }
        for packet in packets.iter() {
            let Some((header, located)) = self.read_relayed(index, &packet) else { continue };
            // One without any was restored from redundancy: how loud it was has been lost.
            if header.extension.is_some() {
                self.hear(now, (index, stream.layer), located.audio_level(packet.bytes));
            }
            let changed = self.note_alive(now, (index, stream.layer), header.marker);
            if let Some(source) = self.tracks.get_mut(index).and_then(|track| track.source_mut(stream.layer)) {
                source.sequence.learn(packet.sequence);
                source.count(now, packet.bytes.len());
            }
            if changed {
                self.retarget_all(now, index);
            }
            let taken =
                Taken { sequence: packet.sequence, arrival: packet.arrival, bytes: packet.bytes, header, located };
            self.keep_and_forward(now, (index, stream.layer), &taken);
        }
    }

    /// Keeps packets for those who ask for them again, and for those who came in the middle of the stream and would miss
    /// them.
    fn take_kept(&mut self, now: Time, index: TrackIndex, packets: &RelayedPackets) {
        if !self.meet_stream(now, index, packets.stream) {
            return;
        }
        self.forward_burst(now);
        for packet in packets.iter() {
            let Some((header, located)) = self.read_relayed(index, &packet) else { continue };
            let Some(track) = self.tracks.get_mut(index) else { return };
            let codec = track.codec(header.payload_type);
            let Some(source) = track.source_mut(packets.stream.layer) else { return };
            let told = source.read_layers(now, codec.map(|mapping| mapping.codec), (packet.bytes, &header, located));
            source.sequence.learn(packet.sequence);
            let parts = (packet.bytes, &header, located);
            source.history.insert(packet.sequence, packet.arrival, parts, (told.starts_keyframe, told.part));
        }
        let subscriptions = self.tracks.get(index).map(|track| track.subscriptions.clone()).unwrap_or_default();
        for subscription in subscriptions {
            self.catch_up(now, subscription);
        }
    }

    /// The parts of a packet, if it is one and of a codec of the track's.
    fn read_relayed(&mut self, index: TrackIndex, packet: &RelayedPacket<'_>) -> Option<(Header, Located)> {
        let track = self.tracks.get(index)?;
        let Some(header) = Header::parse(packet.bytes) else {
            self.output.stats.dropped.malformed += 1;
            return None;
        };
        if track.codec(header.payload_type).is_none() {
            self.output.stats.dropped.no_codec += 1;
            return None;
        }
        let located = Located::find(&header, packet.bytes, &track.description.extensions);
        Some((header, located))
    }

    fn take_end(&mut self, now: Time, index: TrackIndex, stream: Stream) {
        let source = self.tracks.get_mut(index).and_then(|track| track.source_mut(stream.layer));
        if source.is_some_and(|source| source.id == stream.source) {
            self.end_source(now, index, stream.layer);
        }
    }
}
