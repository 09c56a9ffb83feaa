//! Audio of a call is forwarded of those who are heard, and held back of the others.
//!
//! In: levels of audio packets before these are forwarded. Out: marks on tracks that [`forward`](super::forward) obeys,
//! and, when somebody begins to be heard, the last packets before the loud one, so that no word loses its beginning.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Engine;
use super::arena::TrackIndex;
use super::burst::Fresh;
use super::command::Publish;
use super::track::{Source, Track};
use crate::id::AudioGroupKey;
use crate::media::heard::{Decision, Heard, Rules};
use crate::media::history::Packet;
use crate::media::rewrite::SourceId;
use crate::time::Time;

/// How far back from the first loud packet forwarding begins: soft consonants are quieter than the vowel that follows
/// them. What is sent in one go here is delay for who hears it, until its player has caught up.
const PREROLL: Duration = Duration::from_millis(100);
/// Packets looked at for it: those of 10 ms are the shortest browsers send.
const MAX_PREROLL: u64 = 10;

/// Who is heard in each group.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Hearing {
    /// Voices of one group that are forwarded at once; all of them if `None`.
    limit: Option<NonZeroU16>,
    groups: BTreeMap<AudioGroupKey, Heard<TrackIndex>>,
}

/// Where forwarding of a track ended: what comes late from before is still forwarded, since receivers miss it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldBack {
    source: Option<SourceId>,
    /// The last number of `source` that is forwarded.
    last: u64,
}

impl HeldBack {
    /// Whether a packet is held back.
    pub fn holds(self, source: SourceId, sequence: u64) -> bool {
        self.source != Some(source) || sequence > self.last
    }
}

impl Engine {
    /// A packet that is not forwarded yet says how loud it is, in -dBov, or does not: then its track is not judged.
    pub(super) fn hear(&mut self, now: Time, (index, layer): (TrackIndex, u8), level: Option<u8>) {
        let Some(limit) = self.hearing.limit else { return };
        let Some(track) = self.tracks.get(index) else { return };
        let Some(group) = track.description.group else { return };
        let Some(level) = level else {
            if track.held_back.is_some() {
                self.forward_burst(now);
                self.forget_voice(index);
            }
            return;
        };
        let rules = Rules { places: usize::from(limit.get()), speech_threshold: self.config.speech_threshold };
        let decision = self.hearing.groups.entry(group).or_default().handle_level(now, index, level, rules);
        if decision != Decision::Unchanged {
            self.forward_burst(now);
        }
        match decision {
            Decision::Unchanged => {}
            Decision::NoPlace => self.hold_back(index),
            Decision::Heard { instead_of } => {
                if let Some(replaced) = instead_of {
                    self.hold_back(replaced);
                }
                self.begin_to_hear(now, (index, layer));
            }
        }
    }

    /// Changes how many of each group are heard.
    pub(super) fn limit_heard(&mut self, limit: Option<NonZeroU16>) {
        self.hearing.limit = limit;
        let mut no_more = Vec::new();
        let mut again = Vec::new();
        if let Some(limit) = limit {
            let groups = self.hearing.groups.values_mut();
            no_more.extend(groups.flat_map(|group| group.shrink(usize::from(limit.get()))));
        } else {
            self.hearing.groups.clear();
            again.extend(self.tracks.iter().map(|(index, _)| index));
        }
        for index in no_more {
            self.hold_back(index);
        }
        for index in again {
            self.release(index);
        }
    }

    /// A track is muted: others have its place, and it is judged when it comes again.
    pub(super) fn rest_voice(&mut self, index: TrackIndex) {
        let group = self.tracks.get(index).and_then(|track| track.description.group);
        if let Some(heard) = group.and_then(|group| self.hearing.groups.get_mut(&group)) {
            heard.rest(index);
        }
        self.release(index);
    }

    /// A track ends or belongs to another group: it is judged no longer, or anew.
    pub(super) fn forget_voice(&mut self, index: TrackIndex) {
        let Some(group) = self.tracks.get(index).and_then(|track| track.description.group) else { return };
        if let Some(heard) = self.hearing.groups.get_mut(&group) {
            heard.remove(index);
            if heard.is_empty() {
                self.hearing.groups.remove(&group);
            }
        }
        self.release(index);
    }

    fn hold_back(&mut self, index: TrackIndex) {
        if let Some(track) = self.tracks.get_mut(index) {
            track.held_back = Some(track.newest());
        }
    }

    /// Packets of the track are forwarded again, beginning with any. Returns where they ended to be.
    fn release(&mut self, index: TrackIndex) -> Option<HeldBack> {
        let track = self.tracks.get_mut(index)?;
        let ended = track.held_back.take()?;
        for subscription in &track.subscriptions {
            if let Some(subscription) = self.subscriptions.get_mut(*subscription) {
                subscription.interrupt();
            }
        }
        Some(ended)
    }

    /// Forwards what came just before, if it was held back.
    fn begin_to_hear(&mut self, now: Time, (index, layer): (TrackIndex, u8)) {
        let Some(ended) = self.release(index) else { return };
        let Some(source) = self.tracks.get(index).and_then(|track| track.layer(layer)?.source.as_ref()) else { return };
        let newest = source.highest();
        let oldest = (newest.saturating_sub(MAX_PREROLL - 1)..=newest).find(|sequence| {
            let packet = source.history.get(*sequence);
            let can_begin = |packet: &Packet| !packet.payload().is_empty() && now.since(packet.arrival) <= PREROLL;
            ended.holds(source.id, *sequence) && packet.is_some_and(can_begin)
        });
        // Every subscription begins anew, and where one begins, what came later follows.
        if let Some(oldest) = oldest {
            self.forward(now, &[Fresh { track: index, layer, sequence: oldest }]);
        }
    }
}

impl Track {
    /// Whether a packet is not forwarded, because others of the group are heard instead.
    pub fn holds_back(&self, source: SourceId, sequence: u64) -> bool {
        self.held_back.is_some_and(|held_back| held_back.holds(source, sequence))
    }

    /// Whether a new description leaves it in its group, with levels to be judged by.
    pub fn competes_as(&self, description: &Publish) -> bool {
        let known = &self.description;
        known.group == description.group
            && known.extensions.audio_level.is_some() == description.extensions.audio_level.is_some()
    }

    /// Where a track that is held back from now on ends.
    fn newest(&self) -> HeldBack {
        let source = self.layers.iter().find_map(|layer| layer.source.as_ref());
        HeldBack { source: source.map(|source| source.id), last: source.map_or(0, Source::highest) }
    }
}
