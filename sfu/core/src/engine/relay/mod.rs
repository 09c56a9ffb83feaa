//! Tracks whose publisher another engine has.
//!
//! The engine that has the publisher's transport is the track's *home*. It opens the packets, asks for lost ones and for
//! keyframes, and relays what comes to its peers, once for each of them and burst: [`send`]. A peer takes that into a
//! track like any other, with layers and history, and does everything else by itself: layers, NACKs, who is heard, what
//! each path carries: [`take`]. It may relay in turn. Streams have the same [`SourceId`](crate::media::rewrite::SourceId)
//! and packets the same number everywhere, so that a subscription may go on in another engine.

mod send;
mod take;

pub mod message;

use serde::{Deserialize, Serialize};

use super::Engine;
use super::arena::TrackIndex;
use super::track::Origin;
use crate::id::PeerKey;
use crate::media::report::INTERVAL;
use crate::time::Time;

use self::message::{Content, RelayMessage};

/// What a track that is relayed to us needs beside what all have.
#[derive(Debug, Serialize, Deserialize)]
pub struct Relayed {
    /// Who relays it, and is asked for keyframes.
    pub peer: PeerKey,
    /// When to look again which layers are alive.
    next_look: Time,
    /// When the schedule looks at this track next.
    pub scheduled: Option<Time>,
}

impl Relayed {
    pub const fn new(now: Time, peer: PeerKey) -> Self {
        Self { peer, next_look: now, scheduled: None }
    }
}

impl Engine {
    /// Somebody needs a whole picture of this layer: whoever has the publisher is asked for one.
    pub(in crate::engine) fn want_keyframe(&mut self, index: TrackIndex, layer: u8) {
        let Some(track) = self.tracks.get_mut(index).filter(|track| track.is_video() && !track.muted) else { return };
        let Some(layer) = track.layer_mut(layer) else { return };
        layer.keyframe.want();
        let due = layer.keyframe.next_at();
        self.schedule_origin(index, due);
    }

    /// Does for a relayed track what a transport does for those that are published on it.
    pub(in crate::engine) fn handle_relayed_timeout(&mut self, now: Time, index: TrackIndex) {
        let Some(track) = self.tracks.get_mut(index) else { return };
        let Origin::Peer(relayed) = &mut track.origin else { return };
        if now >= relayed.next_look {
            relayed.next_look = now + INTERVAL;
            self.retarget_all(now, index);
        }
        self.ask_for_keyframes(now, index);
        self.schedule_relayed(now, index);
    }

    fn ask_for_keyframes(&mut self, now: Time, index: TrackIndex) {
        let Self { tracks, subscriptions, output, .. } = self;
        let Some(track) = tracks.get_mut(index).filter(|track| !track.muted) else { return };
        let Origin::Peer(Relayed { peer, .. }) = track.origin else { return };
        let key = track.description.track;
        track.ask_for_keyframes(now, subscriptions, |layer, _| {
            output.relay(peer, RelayMessage::track(key, Content::KeyframeWanted { layer }));
        });
    }

    /// Makes sure that a relayed track is looked at when its next deadline comes.
    pub(in crate::engine) fn schedule_relayed(&mut self, now: Time, index: TrackIndex) {
        let Some(track) = self.tracks.get(index) else { return };
        let Origin::Peer(relayed) = &track.origin else { return };
        let asks = track.layers.iter().filter(|layer| !track.muted && layer.source.is_some());
        let next = asks.filter_map(|layer| layer.keyframe.next_at()).chain([relayed.next_look]).min();
        self.schedule_origin(index, next.map(|at| at.max(now)));
    }
}
