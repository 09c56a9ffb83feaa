//! Keys that relate things to one another. Chosen by control, unique for the life of a process, never reused.

use serde::{Deserialize, Serialize};

macro_rules! key {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);
    };
}

key!(
    /// One ICE + DTLS + SRTP association.
    TransportKey
);
key!(
    /// What a participant publishes: one microphone, camera or screen.
    TrackKey
);
key!(
    /// One outgoing copy of a track.
    SubscriptionKey
);

key!(
    /// Audio tracks of which only so many are forwarded at once: the microphones of a call.
    AudioGroupKey
);

/// Another engine, as the one that holds this key knows it: of another thread of the process, or of another SFU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PeerKey(pub u32);

/// A synchronisation source of RTP (RFC 3550, section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ssrc(pub u32);

/// Identification tag of an m-line (RFC 8843). At most 16 bytes on the wire.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Mid(pub String);

/// Name of an encoding of a track (RFC 8851).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rid(pub String);
