//! Media from clients: opened, matched to a track and a layer, counted, kept, and handed on to be forwarded.

use super::Engine;
use super::arena::{TrackIndex, TransportIndex};
use super::burst::Fresh;
use super::command::Codec;
use super::event::Event;
use super::path::Path;
use super::suspects::Cause;
use super::track::{Origin, Source, Track};
use super::transport::{MAX_ROUTES, Route, Transport};
use crate::id::Ssrc;
use crate::media::extension::{Kind, Located};
use crate::media::history::Inserted;
use crate::media::level;
use crate::media::nack::Arrival;
use crate::media::rtp::Header;
use crate::media::rtx;
use crate::time::Time;
use crate::transport::srtp::OpenError;

/// A packet of a known stream, whole and in the clear.
#[derive(Debug, Clone, Copy)]
pub(super) struct Taken<'a> {
    /// Its widened number.
    pub sequence: u64,
    pub arrival: Time,
    pub bytes: &'a [u8],
    pub header: Header,
    pub located: Located,
}

impl Engine {
    /// Opens a media packet and takes it in.
    pub(super) fn handle_srtp(&mut self, now: Time, path: Path, datagram: &mut [u8]) {
        let dropped = &mut self.output.stats.dropped;
        let Some(index) = self.index.paths.get(&path).copied() else {
            dropped.unknown_path += 1;
            return;
        };
        self.suspects.cause = Cause::Transport(index);
        if self.admit_media(now, index, path, datagram, 0) {
            self.open_rtp(now, index, datagram);
        }
    }

    /// Opens a media packet that is ours.
    pub(super) fn open_rtp(&mut self, now: Time, index: TransportIndex, datagram: &mut [u8]) {
        let dropped = &mut self.output.stats.dropped;
        let Some(srtp) = self.transports.get_mut(index).and_then(|transport| transport.srtp.as_mut()) else {
            dropped.no_keys += 1;
            return;
        };
        let length = datagram.len();
        match srtp.opener.open_rtp(datagram) {
            Ok(opened) => self.handle_rtp(now, index, &datagram[..opened.len], length),
            Err(error) => self.count_unopened(error),
        }
    }

    pub(super) const fn count_unopened(&mut self, error: OpenError) {
        let dropped = &mut self.output.stats.dropped;
        match error {
            OpenError::NotAPacket => dropped.malformed += 1,
            OpenError::Forged => dropped.forged += 1,
            OpenError::Replayed | OpenError::TooOld => dropped.replayed += 1,
            OpenError::TooManySsrcs => dropped.too_many_ssrcs += 1,
        }
    }

    fn handle_rtp(&mut self, now: Time, index: TransportIndex, packet: &[u8], length: usize) {
        let Some(transport) = self.transports.get_mut(index) else { return };
        let Some(header) = Header::parse(packet) else {
            self.output.stats.dropped.malformed += 1;
            return;
        };
        let located = Located::find(&header, packet, &transport.extensions);
        if transport.wants_feedback
            && let Some(number) = located.transport_sequence(packet)
        {
            transport.arrivals.handle_packet(now, number);
            let due = transport.arrivals.next_at();
            self.schedule_at(index, due);
        }
        let Some(route) = self.route_of(now, index, &header, located, packet) else { return };
        match route {
            Route::Media { track, layer } => {
                self.output.stats.received.rtp.add(length);
                self.handle_media(now, index, (track, layer), (packet, header, located));
            }
            Route::Repair { track, layer } => {
                self.output.stats.received.rtx.add(length);
                self.handle_repair(now, index, (track, layer), (packet, &header));
            }
        }
    }

    /// What a packet's stream carries; a stream seen for the first time is matched to a track and remembered.
    fn route_of(
        &mut self,
        now: Time,
        index: TransportIndex,
        header: &Header,
        located: Located,
        packet: &[u8],
    ) -> Option<Route> {
        let transport = self.transports.get_mut(index)?;
        if let Some(route) = transport.routes.get(&header.ssrc) {
            return Some(*route);
        }
        let tracks = transport.tracks.iter().filter_map(|track| Some((*track, self.tracks.get(*track)?)));
        let route = match_stream(tracks, header, located, packet).filter(|route| {
            let (Route::Media { track, layer } | Route::Repair { track, layer }) = *route;
            self.tracks.get(track).is_some_and(|track| !track.is_straggler(now, layer, header.ssrc))
        });
        let dropped = &mut self.output.stats.dropped;
        let Some(route) = route else {
            dropped.unmatched += 1;
            return None;
        };
        if !transport.set_route(header.ssrc, route) {
            dropped.too_many_ssrcs += 1;
            return None;
        }
        Some(route)
    }

    /// Takes in a packet of a layer.
    fn handle_media(
        &mut self,
        now: Time,
        transport: TransportIndex,
        (index, layer_index): (TrackIndex, u8),
        (packet, header, located): (&[u8], Header, Located),
    ) {
        let Some(track) = self.tracks.get_mut(index) else { return };
        let Some(codec) = track.codec(header.payload_type) else {
            self.output.stats.dropped.no_codec += 1;
            return;
        };
        let current = track.layer(layer_index).and_then(|layer| layer.source.as_ref());
        if current.is_none_or(|source| source.ssrc != header.ssrc) {
            self.forward_burst(now);
            let Some(track) = self.tracks.get_mut(index) else { return };
            let id = track.next_source();
            let rtx = track.start_source(&self.config, layer_index, id, (header.ssrc, codec.clock_rate));
            if let (Some(rtx), Some(transport)) = (rtx, self.transports.get_mut(transport)) {
                transport.routes.remove(&rtx);
            }
            self.handle_source_replaced(index, layer_index);
        }
        let Some(track) = self.tracks.get_mut(index) else { return };
        if !track.muted {
            let level = located.audio_level(packet);
            if level.is_some_and(|level| track.level.handle_level(level, self.config.speech_threshold)) {
                self.schedule.levels.get_or_insert(now + level::INTERVAL);
            }
            self.hear(now, (index, layer_index), level);
        }
        let changed = self.note_alive(now, (index, layer_index), header.marker);
        let is_divisible = self.tracks.get(index).is_some_and(Track::is_divisible);
        let Some(source) = self.tracks.get_mut(index).and_then(|track| track.source_mut(layer_index)) else { return };
        let before = source.sequence.highest();
        let sequence = source.sequence.unwrap(header.sequence_number);
        source.statistics.handle_packet(now, sequence, header.timestamp);
        let is_divided = codec.codec == Codec::Red && is_divisible;
        if !is_divided {
            source.count(now, packet.len());
        }
        if changed {
            self.retarget_all(now, index);
        }
        let taken = Taken { sequence, arrival: now, bytes: packet, header, located };
        if is_divided {
            self.take_redundant(now, (index, layer_index), &taken, before);
        } else {
            self.note_arrival(now, (index, layer_index), &taken);
        }
    }

    /// A packet of a layer came, the last of a picture or not. Returns whether other layers are alive than before.
    pub(super) fn note_alive(&mut self, now: Time, (index, layer_index): (TrackIndex, u8), ends: bool) -> bool {
        let Some(track) = self.tracks.get_mut(index) else { return false };
        let given_up = ends && track.is_video() && track.note_picture(now, layer_index);
        let Some(layer) = track.layers.get_mut(usize::from(layer_index)) else { return false };
        let revived = !layer.is_alive(now);
        layer.note_packet(now);
        // Of a track that is relayed, its home tells.
        if !std::mem::replace(&mut layer.started, true) && track.origin.transport().is_some() {
            self.output.event(Event::LayerStarted { track: track.description.track, rid: layer.rid.clone() });
        }
        revived || given_up
    }

    /// Takes in a retransmission: the packet it carries is treated as if it had come late.
    fn handle_repair(
        &mut self,
        now: Time,
        transport: TransportIndex,
        (index, layer_index): (TrackIndex, u8),
        (packet, header): (&[u8], &Header),
    ) {
        let Some(track) = self.tracks.get_mut(index) else { return };
        let Some(codec) = track.repaired_codec(header.payload_type) else {
            self.output.stats.dropped.no_codec += 1;
            return;
        };
        let Some(source) = track.layer_mut(layer_index).and_then(|layer| layer.source.as_mut()) else { return };
        // Browsers probe for bandwidth with empty retransmissions.
        let Some(retransmission) = rtx::read(header, packet) else { return };
        let ssrc = source.ssrc;
        source.rtx = Some(header.ssrc);
        let sequence = source.sequence.peek(retransmission.sequence_number);
        let Some(extensions) = self.transports.get(transport).map(|transport| transport.extensions) else {
            return;
        };
        let mut restored = std::mem::take(&mut self.scratch.payload);
        if let Some(header) = rtx::restore(&mut restored, (header, packet), retransmission, ssrc, codec.payload_type) {
            let located = Located::find(&header, &restored, &extensions);
            let taken = Taken { sequence, arrival: now, bytes: &restored, header, located };
            self.note_arrival(now, (index, layer_index), &taken);
        }
        self.scratch.payload = restored;
    }

    /// The part that a packet of a client and its retransmission have in common.
    pub(super) fn note_arrival(&mut self, now: Time, (index, layer_index): (TrackIndex, u8), taken: &Taken<'_>) {
        let Some(track) = self.tracks.get_mut(index) else { return };
        let (muted, is_video, asks) = (track.muted, track.is_video(), track.description.nack);
        let Some(layer) = track.layer_mut(layer_index) else { return };
        let Some(source) = layer.source.as_mut() else { return };
        let arrival = source.nack.handle_packet(now, taken.sequence);
        if muted {
            self.output.stats.dropped.muted += 1;
            return;
        }
        let nack = if asks { source.nack.next_at() } else { None };
        if arrival == Arrival::Outage && is_video {
            layer.keyframe.want();
        }
        self.schedule_origin(index, nack);
        self.keep_and_forward(now, (index, layer_index), taken);
    }

    /// Puts a packet into its stream's history and has it forwarded.
    pub(super) fn keep_and_forward(&mut self, now: Time, (index, layer_index): (TrackIndex, u8), taken: &Taken<'_>) {
        let Taken { sequence, arrival, bytes, header, located } = *taken;
        let kept = self.tracks.get(index).and_then(|track| track.layer(layer_index)?.source.as_ref());
        let is_next = kept.is_none_or(|source| source.history.is_next(sequence));
        if !is_next {
            // Within a burst numbers ascend one by one, so that nothing that waits is overwritten.
            self.forward_burst(now);
        }
        let Some(track) = self.tracks.get_mut(index) else { return };
        let codec = track.codec(header.payload_type);
        let Some(layer) = track.layer_mut(layer_index) else { return };
        let Some(source) = layer.source.as_mut() else { return };
        let source_id = source.id;
        let told = source.read_layers(now, codec.map(|mapping| mapping.codec), (bytes, &header, located));
        let starts = told.starts_keyframe;
        let inserted = source.history.insert(sequence, arrival, (bytes, &header, located), (starts, told.part));
        if let (Inserted::Fresh, Some(part), Some(scalable)) = (inserted, told.part, &mut source.scalable) {
            scalable.count(now, part.frame, bytes.len());
        }
        if inserted == Inserted::Fresh && starts {
            layer.keyframe.satisfy();
        }
        let keyframe = layer.keyframe.next_at();
        self.schedule_origin(index, keyframe);
        if inserted != Inserted::Fresh {
            self.output.stats.dropped.duplicate += 1;
            return;
        }
        let Some(track) = self.tracks.get(index) else { return };
        // What a peer relays comes as bursts that wait for nothing.
        let ends = header.marker || !track.is_video() || matches!(track.origin, Origin::Peer(_));
        if track.holds_back(source_id, sequence) {
            self.output.stats.dropped.unheard += 1;
            // Peers decide for themselves who is heard.
            if track.peers.is_empty() {
                return;
            }
        }
        if starts {
            // Who goes over to this layer gets what came before of the other one.
            self.forward_burst(now);
        }
        self.forward_soon(now, Fresh { track: index, layer: layer_index, sequence }, ends);
        if !is_next {
            self.forward_burst(now);
            if told.is_news {
                self.forward_held(now, (index, layer_index), sequence);
            }
        }
    }
}

/// Finds the track and layer of a stream that was not seen before: by mid and rid (RFC 8843, section 9.2; RFC 8852), or
/// by payload type if only one track takes it and has no named layers.
fn match_stream<'a>(
    mut tracks: impl Iterator<Item = (TrackIndex, &'a Track)> + Clone,
    header: &Header,
    located: Located,
    packet: &[u8],
) -> Option<Route> {
    let takes = |track: &Track| {
        track.codec(header.payload_type).is_some() || track.repaired_codec(header.payload_type).is_some()
    };
    let (index, track) = if let Some(mid) = located.text(Kind::Mid, packet) {
        tracks.find(|(_, track)| track.description.mid.0 == mid && takes(track))?
    } else {
        let mut candidates = tracks.filter(|(_, track)| takes(track));
        candidates.next().filter(|_| candidates.next().is_none())?
    };
    let is_repair = track.codec(header.payload_type).is_none();
    let layer = if track.has_rids() {
        let kind = if is_repair { Kind::RepairedRid } else { Kind::Rid };
        track.layer_named(located.text(kind, packet)?)?
    } else {
        0
    };
    Some(if is_repair { Route::Repair { track: index, layer } } else { Route::Media { track: index, layer } })
}

impl Transport {
    /// Notes what a stream carries. It takes the place of the one that carried that before. `false` if the client uses
    /// too many streams.
    pub fn set_route(&mut self, ssrc: Ssrc, route: Route) -> bool {
        self.routes.retain(|known, carried| *known == ssrc || *carried != route);
        if self.routes.len() >= MAX_ROUTES && !self.routes.contains_key(&ssrc) {
            return false;
        }
        self.routes.insert(ssrc, route);
        true
    }
}

impl Source {
    /// The newest number seen.
    pub fn highest(&self) -> u64 {
        self.sequence.highest().unwrap_or_default()
    }
}
