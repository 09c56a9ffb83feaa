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

/// How much longer than a layer's picture the window may be that shows it.
const TOLERANCE: f64 = 1.1;

impl Track {
    /// Whether its frames are encrypted end to end.
    pub const fn is_encrypted(&self) -> bool {
        self.encryption != 0
    }

    /// The lowest layer (counted from 0) with which a viewer of `width` x `height` pixels misses nothing that can be seen;
    /// the highest if none is enough, or none was announced.
    ///
    /// Shorter sides are compared, so that a window of another shape than the picture does not take four times what it
    /// shows, and a window a little larger than a layer is content with it.
    pub fn layer_for_size(&self, width: u32, height: u32) -> u8 {
        if self.layers.is_empty() {
            return u8::MAX;
        }
        let enough = self
            .layers
            .iter()
            .position(|layer| f64::from(layer.width.min(layer.height)) * TOLERANCE >= f64::from(width.min(height)))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::tests::camera;

    #[test]
    fn a_window_gets_the_layer_that_fills_it() {
        let sizes = [(320, 180), (640, 360), (1280, 720)];
        let layers = |sizes: &[(u32, u32)]| {
            let layer = |(quality, (width, height)): (i32, &(u32, u32))| TrackLayer {
                quality,
                width: *width,
                height: *height,
                bitrate: 0,
            };
            Track { layers: (0..).zip(sizes).map(layer).collect(), ..camera("ana") }
        };
        let track = layers(&sizes);
        let cases = [
            ((160, 90), 0),
            ((320, 180), 0),
            ((340, 195), 0),
            ((360, 203), 1),
            ((400, 400), 2),
            ((250, 800), 1),
            ((1280, 720), 2),
            ((3840, 2160), 2),
            ((0, 0), 0),
        ];
        for ((width, height), layer) in cases {
            assert_eq!(track.layer_for_size(width, height), layer, "{width} x {height}");
        }
        assert_eq!(layers(&[(180, 320), (360, 640)]).layer_for_size(320, 180), 0, "a telephone held upright");
        assert_eq!(layers(&[]).layer_for_size(1, 1), u8::MAX);
    }
}
