//! What the engine tells control.

use crate::engine::command::Command;
use crate::engine::handoff::Enclosed;
use crate::engine::path::Path;
use crate::id::{PeerKey, Rid, SubscriptionKey, TrackKey, TransportKey};

#[derive(Debug, PartialEq)]
pub enum Event {
    /// A DTLS datagram from an authenticated path, to be fed to the transport's association.
    Dtls {
        transport: TransportKey,
        datagram: Vec<u8>,
    },
    /// The client's checks chose a path: the first one means that ICE is connected.
    PathSelected {
        transport: TransportKey,
        path: Path,
    },
    /// Handling the transport panicked, so it has ended: a fault of ours. Its client has to connect anew.
    Failed {
        transport: TransportKey,
    },
    /// No check has been answered for the consent time (RFC 7675): the client is gone or its network is.
    ConsentLost {
        transport: TransportKey,
    },
    /// The engine a transport was offered to wants it: the client is there.
    HandoffAsked {
        transport: TransportKey,
    },
    /// Another engine has the transport from now on. What is left of it here passes stragglers on; remove it when no more
    /// come.
    HandedOver {
        transport: TransportKey,
    },
    /// This engine has the transport from now on.
    TakenUp {
        transport: TransportKey,
        enclosed: Enclosed,
    },
    /// The engine that was to have a transport gave it back, with what control had enclosed: this one has it again.
    GivenBack {
        transport: TransportKey,
        enclosed: Enclosed,
    },
    /// A command was not carried out, since what it is about has moved `to` another engine: it is to be given there.
    Elsewhere {
        command: Box<Command>,
        to: PeerKey,
    },
    /// A layer's first packet arrived; `rid` is `None` without simulcast.
    LayerStarted {
        track: TrackKey,
        rid: Option<Rid>,
    },
    /// A subscription's first packet left.
    SubscriptionStarted {
        subscription: SubscriptionKey,
    },
    /// The subscriber's network cannot carry the video any more: nothing of it is sent until it is resumed.
    SubscriptionPaused {
        subscription: SubscriptionKey,
    },
    SubscriptionResumed {
        subscription: SubscriptionKey,
    },
    /// How loud audio tracks were over the last interval; only tracks that sent something.
    AudioLevels(Vec<AudioLevel>),
    /// How a track arrives, once a second.
    TrackQuality {
        track: TrackKey,
        quality: Quality,
    },
    /// How a copy arrives at its subscriber, with each receiver report.
    SubscriptionQuality {
        subscription: SubscriptionKey,
        quality: Quality,
    },
}

impl Event {
    /// Whether its loss does no harm: the network repeats it, or a newer one follows.
    pub const fn is_repeated(&self) -> bool {
        matches!(
            self,
            Self::Dtls { .. } | Self::AudioLevels(_) | Self::TrackQuality { .. } | Self::SubscriptionQuality { .. }
        )
    }
}

/// Loudness of a track over an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AudioLevel {
    pub track: TrackKey,
    /// Loudest frame, in -dBov: 0 is loudest, 127 silence (RFC 6464).
    pub loudest: u8,
    /// Part of the interval's packets at or above the speech threshold, 0 to 100.
    pub active_percent: u8,
}

/// Network quality of one stream.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Quality {
    /// Lost share of the expected packets over the interval, 0.0 to 1.0.
    pub loss: f32,
    /// Interarrival jitter in milliseconds (RFC 3550, section 6.4.1).
    pub jitter_ms: f32,
    /// Round trip in milliseconds where a report allowed to measure it.
    pub rtt_ms: Option<f32>,
}
