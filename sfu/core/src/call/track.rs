//! What a participant publishes.

use serde::{Deserialize, Serialize};

use crate::engine::command::MediaKind;
use crate::id::TrackKey;

/// Id of a published track (`TR_…`), seen by clients.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TrackId(pub String);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TrackSource {
    Unknown,
    Camera,
    Microphone,
    ScreenShare,
    ScreenShareAudio,
}

/// One encoding of a video track, as announced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrackLayer {
    /// LiveKit's quality: 0 low, 1 medium, 2 high.
    pub quality: i32,
    pub width: u32,
    pub height: u32,
    /// Bits per second.
    pub bitrate: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Track {
    pub id: TrackId,
    /// Its key in the media engine.
    pub key: TrackKey,
    pub kind: MediaKind,
    pub source: TrackSource,
    pub name: String,
    pub muted: bool,
    pub width: u32,
    pub height: u32,
    /// Lowest quality first; empty for audio.
    pub layers: Vec<TrackLayer>,
    pub simulcast: bool,
    /// Such as `video/VP8`.
    pub mime_type: String,
    pub mid: String,
    /// The client's name for the stream it belongs to (`camera`, `screen`).
    pub stream: String,
    pub stereo: bool,
    pub disable_dtx: bool,
    pub disable_red: bool,
    /// LiveKit's encryption type: 0 none, 1 GCM, 2 custom. Encrypted frames pass through untouched.
    pub encryption: i32,
    /// LiveKit's audio features, passed on.
    pub audio_features: Vec<i32>,
}

impl Track {
    /// The highest layer (counted from 0) no larger than what a viewer of `width` x `height` pixels can use;
    /// always at least one. All there is if no layers were announced.
    pub fn layer_for_size(&self, width: u32, height: u32) -> u8 {
        if self.layers.is_empty() {
            return u8::MAX;
        }
        let enough = self
            .layers
            .iter()
            .position(|layer| layer.width >= width && layer.height >= height)
            .unwrap_or(self.layers.len().saturating_sub(1));
        u8::try_from(enough).unwrap_or(u8::MAX)
    }

    /// The layer of LiveKit's `quality` (0 low to 2 high), counted from 0.
    pub fn layer_for_quality(&self, quality: i32) -> u8 {
        if self.layers.is_empty() {
            return u8::MAX;
        }
        let layer = self.layers.iter().rposition(|layer| layer.quality <= quality).unwrap_or(0);
        u8::try_from(layer).unwrap_or(u8::MAX)
    }
}
