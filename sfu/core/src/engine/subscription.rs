//! A copy of a track for one client: what was sent last, and how it goes on.

use serde::{Deserialize, Serialize};

use super::arena::{TrackIndex, TransportIndex};
use super::command::{Codec, CodecMapping, Subscribe, Target};
use super::track::Track;
use crate::media::picture::Numbers;
use crate::media::report::SenderStatistics;
use crate::media::resend::{Budget, SealedRing};
use crate::media::rewrite::{Offsets, Rewriter};
use crate::media::select::Selector;
use crate::media::timeline::LastSent;
use crate::time::Time;
use crate::transport::srtp::OutboundStream;

/// Everything about one subscription.
#[derive(Debug, Serialize, Deserialize)]
pub struct Subscription {
    pub transport: TransportIndex,
    pub track: TrackIndex,
    /// What the client's network lets it have.
    pub allowed: Allowed,
    /// The layer being forwarded.
    pub current: Option<u8>,
    /// The layer it should be; a switch waits for a keyframe.
    pub wanted: Option<u8>,
    pub rewriter: Rewriter,
    pub last: Option<LastSent>,
    pub last_picture: Option<LastPicture>,
    /// What it gets of a stream with several layers in one.
    pub selector: Option<Box<Selector>>,
    /// Open once the transport has keys.
    pub stream: Option<OutboundStream>,
    pub rtx_stream: Option<OutboundStream>,
    /// Number of the next retransmission.
    pub next_rtx: u64,
    pub budget: Budget,
    pub sealed: SealedRing,
    pub statistics: SenderStatistics,
    pub description: Subscribe,
}

/// How much of a track a client's network can carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Allowed {
    Everything,
    /// At most this layer.
    UpTo(u8),
    Nothing,
}

/// The running numbers of VP8 or VP9 as the subscriber last saw them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastPicture {
    pub picture_id: u16,
    pub tl0_picture_index: u8,
}

impl Subscription {
    /// `first` is the first sequence number.
    pub const fn new(
        now: Time,
        (transport, track): (TransportIndex, TrackIndex),
        description: Subscribe,
        first: u64,
    ) -> Self {
        Self {
            transport,
            track,
            allowed: Allowed::Everything,
            current: None,
            wanted: None,
            rewriter: Rewriter::new(first),
            last: None,
            last_picture: None,
            selector: None,
            stream: None,
            rtx_stream: None,
            next_rtx: first,
            budget: Budget::new(now),
            sealed: SealedRing::new(),
            statistics: SenderStatistics::new(),
            description,
        }
    }

    /// Nothing has been sent yet and the first number is to be this one.
    pub fn begin_at(&mut self, first: u64) {
        self.rewriter = Rewriter::new(first);
    }

    /// What is wanted and can be carried.
    pub fn target(&self) -> Target {
        match (self.description.target, self.allowed) {
            (_, Allowed::Nothing) => Target::Off,
            (Target::Layer(wanted), Allowed::UpTo(layer)) => Target::Layer(wanted.min(layer)),
            (target, _) => target,
        }
    }

    /// How a packet of this codec goes out; `None` if the receiver cannot take it.
    pub fn outgoing(&self, codec: Codec) -> Option<CodecMapping> {
        self.description.codecs.iter().find(|mapping| mapping.codec == codec).copied()
    }

    /// Whether it is waiting for the keyframe with which another layer begins.
    pub fn is_waiting(&self) -> bool {
        self.wanted.is_some() && self.wanted != self.current
    }

    /// Whether a keyframe of this layer is of use: to begin with it, or because it is what is shown.
    pub fn awaits_keyframe(&self, track: &Track, layer: u8) -> bool {
        let begins = self.wanted == Some(layer) && (self.is_waiting() || self.waits_for_layer(track));
        begins || self.current == Some(layer)
    }

    /// Nothing is forwarded until the next keyframe.
    pub const fn interrupt(&mut self) {
        self.current = None;
        self.rewriter.pause();
    }

    /// What to add to running numbers so that a picture that has these follows the last one sent.
    pub fn picture_offsets(&self, numbers: Option<Numbers>) -> (u16, u8) {
        let (Some(last), Some(numbers)) = (self.last_picture, numbers) else { return (0, 0) };
        let picture_id = numbers.picture_id.map_or(0, |id| last.picture_id.wrapping_add(1).wrapping_sub(id.value));
        let index = numbers
            .tl0_picture_index
            .map_or(0, |(index, _)| last.tl0_picture_index.wrapping_add(1).wrapping_sub(index));
        (picture_id & 0x7fff, index)
    }

    /// Notes the running numbers of a packet that was sent and is newer than all before.
    pub fn handle_picture(&mut self, numbers: &Numbers, offsets: Offsets) {
        let Some(id) = numbers.picture_id else { return };
        self.last_picture = Some(LastPicture {
            picture_id: id.value.wrapping_add(offsets.picture_id) & 0x7fff,
            tl0_picture_index: numbers
                .tl0_picture_index
                .map_or(0, |(index, _)| index.wrapping_add(offsets.tl0_picture_index)),
        });
    }
}
