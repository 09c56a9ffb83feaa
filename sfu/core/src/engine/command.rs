//! What control tells the engine.

use std::num::NonZeroU16;

use serde::{Deserialize, Serialize};

use super::handoff::Enclosed;
use crate::id::{AudioGroupKey, Mid, PeerKey, Rid, Ssrc, SubscriptionKey, TrackKey, TransportKey};
use crate::transport::ice::IceCredentials;
use crate::transport::srtp::SrtpKeys;

/// One instruction. Unknown keys are ignored: the thing may have ended while the command was on its way. One about what
/// has moved to another engine comes back ([`Event::Elsewhere`](super::event::Event::Elsewhere)).
#[derive(Debug, PartialEq)]
pub enum Command {
    /// Answer STUN checks for these credentials from now on.
    AddTransport {
        transport: TransportKey,
        ice: IceCredentials,
    },
    /// New credentials; the old ones stay valid until a check with the new ones is answered (ICE restart).
    RestartIce {
        transport: TransportKey,
        ice: IceCredentials,
    },
    /// The DTLS handshake ended: SRTP may flow.
    InstallKeys {
        transport: TransportKey,
        keys: SrtpKeys,
    },
    /// Send a DTLS datagram to the client, on its current path. Dropped while there is none.
    SendDtls {
        transport: TransportKey,
        datagram: Vec<u8>,
    },
    /// The transport and everything on it ends.
    RemoveTransport {
        transport: TransportKey,
    },
    /// The transport may move to another engine, which asks for it when the client comes there.
    OfferTransport {
        transport: TransportKey,
        to: PeerKey,
    },
    /// Another engine has the transport. Answer checks for these credentials, and take it over when the client sends more
    /// than plain checks.
    AwaitTransport {
        transport: TransportKey,
        ice: IceCredentials,
        owner: PeerKey,
    },
    /// Hand the transport over to whom it was offered, since that one asked
    /// ([`HandoffAsked`](super::event::Event::HandoffAsked)). What is enclosed comes out there.
    HandOver {
        transport: TransportKey,
        enclosed: Enclosed,
    },
    /// What a client sends on an m-line, or what another engine relays, becomes a track. Repeating it with the same key
    /// changes the description.
    Publish(Box<Publish>),
    Unpublish {
        track: TrackKey,
    },
    /// Drop a track's packets (muted) or forward them.
    SetMuted {
        track: TrackKey,
        muted: bool,
    },
    /// Forward at most so many voices of each [`AudioGroupKey`], those who spoke last; all of them if `None`, as in the
    /// beginning.
    LimitHeard {
        voices: Option<NonZeroU16>,
    },
    /// Give another engine, which has the track as one that is relayed, all that comes of it.
    RelayTo {
        track: TrackKey,
        peer: PeerKey,
    },
    StopRelay {
        track: TrackKey,
        peer: PeerKey,
    },
    /// Send a copy of a track on an m-line.
    Subscribe(Box<Subscribe>),
    Unsubscribe {
        subscription: SubscriptionKey,
    },
    /// What the subscriber wants to see of a track with several layers.
    SetTarget {
        subscription: SubscriptionKey,
        target: Target,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum MediaKind {
    Audio,
    Video,
}

/// What the engine has to know of a codec to forward it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Codec {
    Opus,
    /// Redundant audio (RFC 2198).
    Red,
    G711U,
    G711A,
    Vp8,
    Vp9,
    H264,
    H265,
    Av1,
}

/// A payload type and, for video, the one of its retransmissions (RFC 4588).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodecMapping {
    pub codec: Codec,
    pub payload_type: u8,
    pub rtx_payload_type: Option<u8>,
    /// Clock rate of the timestamps in Hz.
    pub clock_rate: u32,
}

/// Negotiated ids of RTP header extensions (RFC 8285), 1 to 14 for the one-byte form; 0 is never valid.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extensions {
    pub mid: Option<u8>,
    pub rid: Option<u8>,
    pub repaired_rid: Option<u8>,
    /// Client-to-mixer audio level (RFC 6464).
    pub audio_level: Option<u8>,
    /// Transport-wide sequence number.
    pub transport_cc: Option<u8>,
    pub abs_send_time: Option<u8>,
    pub abs_capture_time: Option<u8>,
    pub dependency_descriptor: Option<u8>,
    pub playout_delay: Option<u8>,
    pub video_orientation: Option<u8>,
}

/// From where the packets of a track come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Feed {
    /// The publisher's, whose client this engine has.
    Transport(TransportKey),
    /// Another engine relays them.
    Peer(PeerKey),
}

/// A track a client publishes on one m-line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publish {
    pub track: TrackKey,
    pub feed: Feed,
    pub mid: Mid,
    pub kind: MediaKind,
    pub codecs: Vec<CodecMapping>,
    pub extensions: Extensions,
    /// Layers by name, lowest first; empty without simulcast.
    pub rids: Vec<Rid>,
    /// SSRCs the description names: media and its retransmission (`a=ssrc-group:FID`). Often empty; then packets are
    /// matched by mid and rid, or by payload type if only one track takes it.
    pub ssrcs: Vec<SignalledSsrc>,
    /// The client answers generic NACKs on this m-line.
    pub nack: bool,
    /// The client sends transport-wide sequence numbers and wants feedback.
    pub transport_cc: bool,
    /// With whom an audio track competes for being heard. Without a group it is always forwarded, and so is one whose
    /// packets do not say how loud they are (RFC 6464).
    pub group: Option<AudioGroupKey>,
    /// Frames are encrypted end to end: nothing is made of their parts, and packets pass as they are.
    pub encrypted: bool,
    /// Earlier frames of audio may go along with each, for receivers whose networks lose packets.
    pub redundancy: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignalledSsrc {
    pub media: Ssrc,
    pub rtx: Option<Ssrc>,
}

/// A copy of a track for one client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscribe {
    pub subscription: SubscriptionKey,
    pub transport: TransportKey,
    pub track: TrackKey,
    pub mid: Mid,
    /// SSRC of the copy, and of its retransmissions. Chosen by control, unique on the transport.
    pub ssrc: Ssrc,
    pub rtx_ssrc: Option<Ssrc>,
    /// The receiver's payload types. A codec of the track that is not here is not forwarded. With RED and Opus, audio has
    /// earlier frames beside it while the receiver's network loses packets.
    pub codecs: Vec<CodecMapping>,
    pub extensions: Extensions,
    /// Canonical end-point identifier for RTCP (RFC 3550, section 6.5.1): one a publisher, so that its audio and video stay in step.
    pub cname: String,
    pub target: Target,
    pub priority: Priority,
}

/// What is served first where a client's network cannot carry everything. Audio always is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Priority {
    #[default]
    Camera,
    /// A shared screen: text that must be readable.
    Screen,
}

/// What a subscriber wants of a track.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// Nothing for now.
    Off,
    /// At most this layer, counted from 0, the lowest. [`Target::HIGHEST`] for all there is.
    Layer(u8),
}

impl Target {
    pub const HIGHEST: Self = Self::Layer(u8::MAX);
}
