//! A copy of a track for one client: what was sent last, and how it goes on.
//!
//! Every packet to every client passes here, so what it looks at is kept together and small ([`Subscription`]), apart
//! from what is of use now and then ([`Rest`]).

use std::mem::size_of;

use serde::{Deserialize, Serialize};

use super::arena::{TrackIndex, TransportIndex};
use super::command::{Codec, CodecMapping, Subscribe, Target};
use super::handoff::SubscriptionState;
use super::track::Track;
use crate::id::Ssrc;
use crate::media::extension::WrittenIds;
use crate::media::picture::Numbers;
use crate::media::report::{SenderStatistics, Sent};
use crate::media::resend::{Budget, SealedRing};
use crate::media::rewrite::{Offsets, Rewriter};
use crate::media::select::Selector;
use crate::media::timeline::LastSent;
use crate::time::Time;
use crate::transport::srtp::OutboundStream;

/// A subscription, as a packet needs it.
#[derive(Debug, Serialize, Deserialize)]
#[repr(align(64))]
pub struct Subscription {
    pub rewriter: Rewriter,
    pub last: Option<Last>,
    pub sent: Sent,
    pub transport: TransportIndex,
    pub track: TrackIndex,
    /// Open once the transport has keys.
    pub stream: Option<OutboundStream>,
    ssrc: Ssrc,
    ids: WrittenIds,
    /// The codec of the last packet and the payload type it has there.
    mapping: Option<(Codec, u8)>,
    /// The layer being forwarded.
    pub current: Option<u8>,
    /// The layer it should be; a switch waits for a keyframe.
    pub wanted: Option<u8>,
    /// The client has reported on the stream, so it knows which m-line that is.
    pub is_known: bool,
    /// The client repairs without retransmissions of their own, and has asked for a packet.
    pub keeps_sealed: bool,
    pub rest: Box<Rest>,
}

/// Two cache lines. What a packet does not need belongs into [`Rest`].
const _: () = assert!(size_of::<Option<Subscription>>() == 128);

/// What is looked at once in many packets: but for the mid, until it is known, the selector of a stream with several layers
/// in one, and the codecs while audio is made redundant.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Rest {
    description: Subscribe,
    /// What the client's network lets it have.
    pub allowed: Allowed,
    /// What it gets of a stream with several layers in one.
    pub selector: Option<Box<Selector>>,
    pub rtx_stream: Option<OutboundStream>,
    /// Number of the next retransmission.
    pub next_rtx: u64,
    /// What has a number below this is not sent again.
    pub given_up: u64,
    pub budget: Budget,
    pub sealed: SealedRing,
    pub statistics: SenderStatistics,
}

impl Rest {
    /// What control says of the subscription.
    pub const fn description(&self) -> &Subscribe {
        &self.description
    }
}

/// The newest packet that was sent, packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Last {
    at: Time,
    timestamp: u32,
    picture: LastPicture,
}

impl Last {
    /// When it was sent, and with which timestamp.
    pub const fn sent(self) -> LastSent {
        LastSent { timestamp: self.timestamp, at: self.at }
    }
}

/// How much of a track a client's network can carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Allowed {
    Everything,
    /// At most this layer.
    UpTo(u8),
    Nothing,
}

/// The running numbers of VP8 or VP9 as the subscriber last saw them, if it did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct LastPicture {
    seen: bool,
    tl0_picture_index: u8,
    picture_id: u16,
}

impl Subscription {
    /// `first` is the first sequence number.
    pub fn new(
        now: Time,
        (transport, track): (TransportIndex, TrackIndex),
        description: Subscribe,
        first: u64,
    ) -> Self {
        Self {
            rewriter: Rewriter::new(first),
            last: None,
            sent: Sent::NOTHING,
            transport,
            track,
            stream: None,
            ssrc: description.ssrc,
            ids: WrittenIds::new(&description.extensions),
            mapping: None,
            current: None,
            wanted: None,
            is_known: false,
            keeps_sealed: false,
            rest: Box::new(Rest {
                description,
                allowed: Allowed::Everything,
                selector: None,
                rtx_stream: None,
                next_rtx: first,
                given_up: 0,
                budget: Budget::new(now),
                sealed: SealedRing::new(),
                statistics: SenderStatistics::new(),
            }),
        }
    }

    /// As another engine goes on with it. Taken apart without a rest pattern: a new field that is not carried along does
    /// not compile. What must not outlive an owner that died is for `leave_out` (`handoff/crash.rs`).
    pub fn describe_state(&self) -> SubscriptionState {
        let Self {
            rewriter,
            last,
            sent,
            transport: _,
            track: _,
            stream,
            ssrc: _,
            ids: _,
            mapping: _,
            current,
            wanted,
            is_known,
            keeps_sealed,
            rest,
        } = self;
        SubscriptionState {
            rewriter: rewriter.clone(),
            last: *last,
            sent: *sent,
            stream: *stream,
            current: *current,
            wanted: *wanted,
            is_known: *is_known,
            keeps_sealed: *keeps_sealed,
            rest: rest.clone(),
        }
    }

    /// Goes on with what another engine has written down.
    pub fn resume((transport, track): (TransportIndex, TrackIndex), state: SubscriptionState) -> Self {
        let SubscriptionState { rewriter, last, sent, stream, current, wanted, is_known, keeps_sealed, rest } = state;
        let (ssrc, ids) = (rest.description.ssrc, WrittenIds::new(&rest.description.extensions));
        Self {
            rewriter,
            last,
            sent,
            transport,
            track,
            stream,
            ssrc,
            ids,
            mapping: None,
            current,
            wanted,
            is_known,
            keeps_sealed,
            rest,
        }
    }

    /// What control says of it.
    pub const fn description(&self) -> &Subscribe {
        &self.rest.description
    }

    /// Control describes the same stream anew.
    pub fn describe(&mut self, description: Subscribe) {
        self.is_known &= description.mid == self.rest.description.mid;
        self.ssrc = description.ssrc;
        self.ids = WrittenIds::new(&description.extensions);
        self.mapping = None;
        self.rest.description = description;
    }

    pub const fn set_target(&mut self, target: Target) {
        self.rest.description.target = target;
    }

    pub const fn ssrc(&self) -> Ssrc {
        self.ssrc
    }

    /// The ids under which its extensions are written.
    pub const fn ids(&self) -> WrittenIds {
        self.ids
    }

    /// The mid to write into a packet: none once the client knows whose the stream is (RFC 8843, section 15).
    /// Retransmissions have another SSRC, which the description names beside this one (`a=ssrc-group:FID`).
    pub fn mid(&self) -> &str {
        if self.is_known { "" } else { &self.rest.description.mid.0 }
    }

    /// Nothing has been sent yet and the first number is to be this one.
    pub fn begin_at(&mut self, first: u64) {
        self.rewriter = Rewriter::new(first);
    }

    /// What is wanted and can be carried.
    pub fn target(&self) -> Target {
        match (self.rest.description.target, self.rest.allowed) {
            (_, Allowed::Nothing) => Target::Off,
            (Target::Layer(wanted), Allowed::UpTo(layer)) => Target::Layer(wanted.min(layer)),
            (target, _) => target,
        }
    }

    /// The payload type of a codec at the receiver; `None` if it cannot take it.
    pub fn payload_type(&mut self, codec: Codec) -> Option<u8> {
        if let Some((known, payload_type)) = self.mapping
            && known == codec
        {
            return Some(payload_type);
        }
        let payload_type = self.outgoing(codec)?.payload_type;
        self.mapping = Some((codec, payload_type));
        Some(payload_type)
    }

    /// How a codec goes out; `None` if the receiver cannot take it.
    pub fn outgoing(&self, codec: Codec) -> Option<CodecMapping> {
        self.rest.description.codecs.iter().find(|mapping| mapping.codec == codec).copied()
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
        let last = self.last.map(|last| last.picture).filter(|picture| picture.seen);
        let (Some(last), Some(numbers)) = (last, numbers) else { return (0, 0) };
        let picture_id = numbers.picture_id.map_or(0, |id| last.picture_id.wrapping_add(1).wrapping_sub(id.value));
        let index = numbers
            .tl0_picture_index
            .map_or(0, |(index, _)| last.tl0_picture_index.wrapping_add(1).wrapping_sub(index));
        (picture_id & 0x7fff, index)
    }

    /// Notes a packet that was sent and is newer than all before, and its running numbers.
    pub fn handle_newest(&mut self, sent: LastSent, numbers: Option<&Numbers>, offsets: Offsets) {
        let before = self.last.map_or_else(LastPicture::default, |last| last.picture);
        let picture = numbers.and_then(|numbers| LastPicture::new(numbers, offsets)).unwrap_or(before);
        self.last = Some(Last { at: sent.at, timestamp: sent.timestamp, picture });
    }
}

impl LastPicture {
    fn new(numbers: &Numbers, offsets: Offsets) -> Option<Self> {
        let picture_id = numbers.picture_id?.value.wrapping_add(offsets.picture_id) & 0x7fff;
        let index = numbers.tl0_picture_index;
        let tl0_picture_index = index.map_or(0, |(index, _)| index.wrapping_add(offsets.tl0_picture_index));
        Some(Self { seen: true, tl0_picture_index, picture_id })
    }
}
