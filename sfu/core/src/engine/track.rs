//! A track a client publishes: its layers, and the stream that currently is each layer.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::arena::{Arena, SubscriptionIndex, TransportIndex};
use super::command::{Codec, CodecMapping, MediaKind, Publish};
use super::config::EngineConfig;
use super::hearing::HeldBack;
use super::relay::Relayed;
use super::subscription::Subscription;
use crate::id::{PeerKey, Rid, Ssrc};
use crate::media::history::History;
use crate::media::keyframe::KeyframeRequest;
use crate::media::layer;
use crate::media::level::LevelMeter;
use crate::media::meter::RateMeter;
use crate::media::nack::NackGenerator;
use crate::media::receive::ReceiveStatistics;
use crate::media::rewrite::SourceId;
use crate::media::scalable::Scalable;
use crate::media::sequence::Unwrapper;
use crate::media::timeline::{Mapping, Side};
use crate::time::Time;

/// Layers a track may have. Browsers send three.
const MAX_LAYERS: usize = 8;
/// A layer's rate is measured over this: long enough for keyframes not to show much.
const RATE_WINDOW: Duration = Duration::from_secs(1);
/// And over this without the peaks, of which the lesser counts: a keyframe of a screen may have the bits of seconds, and
/// the screen would be paused for having sent one. Large pictures leave by and by, so what counts is the long run.
const STEADY_WINDOW: Duration = Duration::from_secs(4);
/// Streams that were replaced but may still be asked for packets.
const MAX_RETIRED: usize = 2;

/// Everything about one track.
#[derive(Debug, Serialize, Deserialize)]
pub struct Track {
    pub origin: Origin,
    pub description: Publish,
    pub muted: bool,
    /// Lowest first; at least one.
    pub layers: Vec<Layer>,
    /// Streams that sent layers before their SSRC changed, for retransmissions of what they sent.
    pub(super) retired: VecDeque<Source>,
    pub subscriptions: Vec<SubscriptionIndex>,
    /// Engines it is relayed to.
    pub peers: Vec<PeerKey>,
    pub level: LevelMeter,
    /// Set while others of its group are heard instead.
    pub held_back: Option<HeldBack>,
    pub(super) next_source: SourceId,
}

/// From where a track's packets come, and who is asked for lost ones and for keyframes.
#[derive(Debug, Serialize, Deserialize)]
pub enum Origin {
    /// The publisher's transport, which is here.
    Transport(TransportIndex),
    /// Another engine.
    Peer(Relayed),
}

impl Origin {
    pub const fn transport(&self) -> Option<TransportIndex> {
        match self {
            Self::Transport(index) => Some(*index),
            Self::Peer(_) => None,
        }
    }
}

/// One encoding of a track.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Layer {
    pub rid: Option<Rid>,
    pub source: Option<Source>,
    /// The last stream that was this layer, if there was one.
    pub(super) newest: Option<SourceId>,
    /// Outlives its source, so that a new SSRC does not allow more requests.
    pub keyframe: KeyframeRequest,
    /// How long ago it was that a packet came tells whether the layer is alive.
    pub last_packet: Option<Time>,
    /// How far its pictures have been apart lately.
    pub interval: Duration,
    /// Pictures that lower layers sent since its last packet, but for the first moments.
    pub outrun: u8,
    pub started: bool,
}

/// A stream of RTP packets of one SSRC.
#[derive(Debug, Serialize, Deserialize)]
pub struct Source {
    pub id: SourceId,
    pub ssrc: Ssrc,
    /// Where its retransmissions come, once one has come.
    pub rtx: Option<Ssrc>,
    pub clock_rate: u32,
    pub sequence: Unwrapper,
    pub history: History,
    pub statistics: ReceiveStatistics,
    /// What it sends, over the last second.
    pub rate: RateMeter,
    /// The same over longer, in which large keyframes do not show.
    pub steady: RateMeter,
    pub nack: NackGenerator,
    /// What the last sender report said of its time.
    pub mapping: Option<Mapping>,
    /// What is known of its layers, if it has some.
    pub scalable: Option<Box<Scalable>>,
}

impl Source {
    /// Counts what it sends.
    pub fn count(&mut self, now: Time, bytes: usize) {
        self.rate.add(now, bytes);
        self.steady.add(now, bytes);
    }

    /// Its time, as rewriting needs it.
    pub const fn side(&self) -> Side {
        Side { mapping: self.mapping, clock_rate: self.clock_rate }
    }
}

impl Layer {
    /// Whether it is being sent.
    pub fn is_alive(&self, now: Time) -> bool {
        self.outrun < layer::OUTRUN && self.sends(now)
    }

    /// Whether something came lately, if less than of the layers below.
    fn sends(&self, now: Time) -> bool {
        layer::is_alive(now, self.last_packet)
    }

    /// A packet came.
    pub fn note_packet(&mut self, now: Time) {
        let since = self.last_packet.replace(now).map(|last| now.since(last));
        // Packets of one picture come next to each other.
        if let Some(since) = since.filter(|since| (layer::SAME_PICTURE..layer::SILENCE).contains(since)) {
            self.interval = (self.interval * 3 + since) / 4;
        }
        self.outrun = 0;
    }

    /// Whether a stream came after all that were this layer so far.
    pub fn is_newer(&self, source: SourceId) -> bool {
        self.newest.is_none_or(|newest| source.is_after(newest))
    }

    /// A stream is known to have been this layer.
    pub fn expect(&mut self, source: SourceId) {
        if self.is_newer(source) {
            self.newest = Some(source);
        }
    }
}

impl Track {
    pub fn new(origin: Origin, description: Publish) -> Self {
        let mut track = Self {
            origin,
            description,
            muted: false,
            layers: Vec::new(),
            retired: VecDeque::new(),
            subscriptions: Vec::new(),
            peers: Vec::new(),
            level: LevelMeter::default(),
            held_back: None,
            next_source: SourceId(0),
        };
        track.lay_out();
        track
    }

    /// Makes the layers those of the description: by name; without names one for each signalled SSRC, or one.
    fn lay_out(&mut self) {
        let rids = &self.description.rids;
        let count = if rids.is_empty() { self.description.ssrcs.len().max(1) } else { rids.len() };
        self.layers.resize_with(count.min(MAX_LAYERS), Layer::default);
        for (at, layer) in self.layers.iter_mut().enumerate() {
            layer.rid = rids.get(at).cloned();
        }
    }

    /// Takes a new description of the same track.
    pub fn describe(&mut self, description: Publish) {
        self.description = description;
        self.lay_out();
    }

    pub fn layer(&self, layer: u8) -> Option<&Layer> {
        self.layers.get(usize::from(layer))
    }

    pub fn layer_mut(&mut self, layer: u8) -> Option<&mut Layer> {
        self.layers.get_mut(usize::from(layer))
    }

    /// The stream that is a layer.
    pub fn source_mut(&mut self, layer: u8) -> Option<&mut Source> {
        self.layer_mut(layer)?.source.as_mut()
    }

    /// Which layer has this name.
    pub fn layer_named(&self, rid: &str) -> Option<u8> {
        self.layers.iter().position(|layer| layer.rid.as_ref().is_some_and(|known| known.0 == rid)).map(|at| at as u8)
    }

    pub fn has_rids(&self) -> bool {
        !self.description.rids.is_empty()
    }

    /// The stream that is or was a layer, by its id.
    pub fn source(&self, id: SourceId) -> Option<&Source> {
        let current = self.layers.iter().filter_map(|layer| layer.source.as_ref());
        current.chain(&self.retired).find(|source| source.id == id)
    }

    /// The layer of a payload type, of media.
    pub fn codec(&self, payload_type: u8) -> Option<CodecMapping> {
        self.description.codecs.iter().find(|codec| codec.payload_type == payload_type).copied()
    }

    /// The codec whose retransmissions have this payload type.
    pub fn repaired_codec(&self, payload_type: u8) -> Option<CodecMapping> {
        self.description.codecs.iter().find(|codec| codec.rtx_payload_type == Some(payload_type)).copied()
    }

    /// The id of the next stream that comes from the publisher.
    pub const fn next_source(&self) -> SourceId {
        self.next_source
    }

    /// Another engine has given out ids up to this one.
    pub fn expect_source(&mut self, next: SourceId) {
        if next.is_after(self.next_source) {
            self.next_source = next;
        }
    }

    pub const fn is_relayed(&self) -> bool {
        matches!(self.origin, Origin::Peer(_))
    }

    /// Begins a stream: the layer is from now on sent under this SSRC. Returns where retransmissions of the stream that
    /// is replaced came, which are of no use any more.
    pub fn start_source(
        &mut self,
        config: &EngineConfig,
        layer: u8,
        id: SourceId,
        (ssrc, clock_rate): (Ssrc, u32),
    ) -> Option<Ssrc> {
        let capacity = match self.description.kind {
            MediaKind::Audio => config.audio_history,
            MediaKind::Video => config.video_history,
        };
        if !self.next_source.is_after(id) {
            self.next_source = id.next();
        }
        let source = Source {
            id,
            ssrc,
            rtx: None,
            clock_rate,
            sequence: Unwrapper::default(),
            history: History::new(capacity),
            statistics: ReceiveStatistics::new(clock_rate),
            rate: RateMeter::new(RATE_WINDOW),
            steady: RateMeter::new(STEADY_WINDOW),
            nack: NackGenerator::default(),
            mapping: None,
            scalable: None,
        };
        let replaced = self.layer_mut(layer).and_then(|layer| {
            layer.newest = Some(id);
            layer.source.replace(source)
        });
        let rtx = replaced.as_ref().and_then(|source| source.rtx);
        self.retire(replaced);
        rtx
    }

    /// A layer's stream has ended. What it sent may still be asked for.
    pub fn end_source(&mut self, layer: u8) {
        let Some(layer) = self.layer_mut(layer) else { return };
        layer.last_packet = None;
        let ended = layer.source.take();
        self.retire(ended);
    }

    fn retire(&mut self, source: Option<Source>) {
        let Some(source) = source else { return };
        if self.retired.len() == MAX_RETIRED {
            self.retired.pop_front();
        }
        self.retired.push_back(source);
    }

    /// Which layers send, lowest first.
    pub fn alive(&self, now: Time) -> impl DoubleEndedIterator<Item = bool> + ExactSizeIterator + Clone {
        self.layers.iter().map(move |layer| layer.is_alive(now))
    }

    /// A layer sent the last packet of a picture: those above it should not be far behind. Returns whether one of them has
    /// been given up with this.
    pub fn note_picture(&mut self, now: Time, layer: u8) -> bool {
        let mut given_up = false;
        for above in self.layers.iter_mut().skip(usize::from(layer) + 1) {
            if above.last_packet.is_some_and(|last| now.since(last) > layer::lag(above.interval)) {
                given_up |= above.is_alive(now) && above.outrun + 1 == layer::OUTRUN;
                above.outrun = above.outrun.saturating_add(1);
            }
        }
        given_up
    }

    /// Bits per second that a layer sends.
    pub fn rate(&self, now: Time, layer: u8) -> u64 {
        let source = self.layer(layer).and_then(|layer| layer.source.as_ref());
        source.map_or(0, |source| source.rate.rate(now).min(source.steady.steady_rate(now)))
    }

    /// Which layers have a stream, alive or not.
    pub fn known(&self) -> impl DoubleEndedIterator<Item = bool> + ExactSizeIterator + Clone {
        self.layers.iter().map(|layer| layer.source.is_some())
    }

    /// Asks with `ask` for the keyframes that are due. What nobody waits for any more is not asked for; what only other
    /// engines wait for is asked for once, since they repeat their wishes themselves.
    pub fn ask_for_keyframes(
        &mut self,
        now: Time,
        subscriptions: &Arena<SubscriptionIndex, Subscription>,
        mut ask: impl FnMut(u8, &Source),
    ) {
        for at in 0..self.layers.len() as u8 {
            let is_due = |layer: &Layer| layer.source.is_some() && layer.keyframe.is_due(now);
            if !self.layer(at).is_some_and(is_due) {
                continue;
            }
            let mut receivers = self.subscriptions.iter().filter_map(|index| subscriptions.get(*index));
            let is_awaited = receivers.any(|receiver| receiver.awaits_keyframe(self, at));
            let has_peers = !self.peers.is_empty();
            let Some(layer) = self.layer_mut(at) else { continue };
            if is_awaited || has_peers {
                layer.keyframe.take_due(now);
                layer.source.iter().for_each(|source| ask(at, source));
            }
            if !is_awaited {
                layer.keyframe.give_up();
            }
        }
    }

    /// Whether a packet of this SSRC is a straggler of a stream that has been replaced, or a retransmission of one.
    /// Going back to it would interrupt the one that is alive.
    pub fn is_straggler(&self, now: Time, layer: u8, ssrc: Ssrc) -> bool {
        let is_alive = self.layer(layer).is_some_and(|layer| layer.sends(now));
        is_alive && self.retired.iter().any(|source| source.ssrc == ssrc || source.rtx == Some(ssrc))
    }

    pub fn is_video(&self) -> bool {
        self.description.kind == MediaKind::Video
    }
}

/// Whether a codec carries pictures, which cannot be joined at any packet.
pub const fn needs_keyframe(codec: Codec) -> bool {
    matches!(codec, Codec::Vp8 | Codec::Vp9 | Codec::H264 | Codec::H265 | Codec::Av1)
}
