//! A copy of a track that wants an m-line, and the m-line it got.

use serde::{Deserialize, Serialize};

use crate::engine::command::{CodecMapping, Extensions, MediaKind};
use crate::id::{Mid, Ssrc, SubscriptionKey};

/// What a description says of a copy we send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    pub key: SubscriptionKey,
    pub kind: MediaKind,
    /// First part of `a=msid`. Characters it may not have are replaced by `_`, so that no text of one client can
    /// become a line in the description of another.
    pub stream_id: String,
    /// Second part of `a=msid`, treated alike.
    pub track_id: String,
    pub ssrc: Ssrc,
    pub rtx_ssrc: Option<Ssrc>,
    /// Treated alike.
    pub cname: String,
    /// Opus in two channels.
    pub stereo: bool,
}

/// The m-line of a subscription: what the engine has to know to send it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    pub subscription: SubscriptionKey,
    pub mid: Mid,
    /// The receiver's payload types, in its order of preference.
    pub codecs: Vec<CodecMapping>,
    pub extensions: Extensions,
}
