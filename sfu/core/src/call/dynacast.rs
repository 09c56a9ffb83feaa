//! What of each video is watched by anybody, so that its publisher can leave the rest out ("dynacast").
//!
//! More than was told is told at once: somebody waits for it. Less is told once it has been so for a while, because
//! people scroll, switch views and come back, and a layer that begins anew costs a keyframe and a moment of blur.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::subscribing::receives;
use super::{Call, Participant, Track, TrackId};
use crate::engine::command::{MediaKind, Target};
use crate::time::Time;

/// How long something has to be watched by nobody (LiveKit's time for it).
const PAUSE: Duration = Duration::from_secs(5);
/// The same for a track that is new: those who are to see it are being told of it (LiveKit's time for it).
const NEW_PAUSE: Duration = Duration::from_secs(10);

/// How much of a track is watched, from nothing to all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Watched {
    Nothing,
    /// Layers up to this one of LiveKit's qualities: 0 low, 1 medium.
    UpTo(i32),
    Everything,
}

impl Watched {
    /// Whether layers of LiveKit's `quality` (0 low to 2 high) are watched.
    pub const fn includes(self, quality: i32) -> bool {
        match self {
            Self::Nothing => false,
            Self::UpTo(highest) => quality <= highest,
            Self::Everything => true,
        }
    }
}

/// What publishers were told of their tracks. What they were not told of, they send all of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dynacast {
    tracks: BTreeMap<TrackId, Told>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Told {
    watched: Watched,
    /// Since when less is watched, and how long that has to last.
    less: Option<(Time, Duration)>,
}

/// A publisher is to be told this of a track.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    pub track: TrackId,
    pub watched: Watched,
}

impl Dynacast {
    /// Compares what is watched in `call` with what was told. Forgets tracks that are gone.
    pub fn look(&mut self, now: Time, call: &Call) -> Vec<Announcement> {
        self.tracks.retain(|id, _| call.track(id).is_some());
        let mut announcements = Vec::new();
        for publisher in call.participants() {
            for track in publisher.tracks.values().filter(|track| track.kind == MediaKind::Video) {
                if let Some(watched) = self.compare(now, &track.id, call.watched(publisher, track)) {
                    announcements.push(Announcement { track: track.id.clone(), watched });
                }
            }
        }
        announcements
    }

    /// When to look next although nothing has changed; `None` if only a change makes a difference.
    pub fn next_at(&self) -> Option<Time> {
        self.tracks.values().filter_map(|told| told.less.map(|(since, pause)| since + pause)).min()
    }

    /// What holds of a track by what its publisher was told; `None` before it was looked at, and of audio.
    pub fn told(&self, track: &TrackId) -> Option<Watched> {
        self.tracks.get(track).map(|told| told.watched)
    }

    fn compare(&mut self, now: Time, track: &TrackId, watched: Watched) -> Option<Watched> {
        let is_new = !self.tracks.contains_key(track);
        let pause = if is_new { NEW_PAUSE } else { PAUSE };
        let told = self.tracks.entry(track.clone()).or_insert(Told { watched: Watched::Everything, less: None });
        if watched < told.watched {
            let (since, pause) = *told.less.get_or_insert((now, pause));
            if now.since(since) < pause {
                return None;
            }
        }
        told.less = None;
        let changed = watched != told.watched;
        told.watched = watched;
        changed.then_some(watched)
    }
}

impl Call {
    /// How much of a video anybody is to receive.
    pub fn watched(&self, publisher: &Participant, track: &Track) -> Watched {
        let mut most = Watched::Nothing;
        for listener in self.participants.values().filter(|listener| receives(listener, publisher, track)) {
            most = most.max(track.watched_at(self.target_for(&listener.id, track)));
            if most == Watched::Everything {
                break;
            }
        }
        most
    }
}

impl Track {
    /// How much of it somebody with this target watches. The highest layer there is counts as everything, whatever its
    /// quality is called.
    fn watched_at(&self, target: Target) -> Watched {
        match target {
            Target::Off => Watched::Nothing,
            Target::Layer(layer) => match self.layers.get(usize::from(layer)) {
                Some(described) if usize::from(layer) + 1 < self.layers.len() => Watched::UpTo(described.quality),
                _ => Watched::Everything,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::TrackSettings;
    use crate::call::tests::{call_of, camera, id};
    use crate::call::track::TrackLayer;

    /// A call in which Ana shows her camera; what she is told, by the second.
    struct Watching {
        call: Call,
        dynacast: Dynacast,
        told: Vec<(u64, Watched)>,
        second: u64,
    }

    impl Watching {
        fn new(names: &[&str]) -> Self {
            let mut call = call_of(names);
            call.publish(&id("ana"), camera("ana")).unwrap();
            Self { call, dynacast: Dynacast::default(), told: Vec::new(), second: 0 }
        }

        /// Looks each second until then; returns what was told.
        fn until(&mut self, second: u64) -> Vec<(u64, Watched)> {
            let known = self.told.len();
            while self.second < second {
                self.second += 1;
                for announcement in self.dynacast.look(Time::from_millis(self.second * 1_000), &self.call) {
                    self.told.push((self.second, announcement.watched));
                }
            }
            self.told[known..].to_vec()
        }

        fn shows(&mut self, who: &str, settings: TrackSettings) {
            self.call.set_track_settings(&id(who), &[camera("ana").id], settings).unwrap();
        }
    }

    const HIDDEN: TrackSettings = TrackSettings { disabled: true, width: 0, height: 0, quality: 2 };

    const fn size(width: u32, height: u32) -> TrackSettings {
        TrackSettings { disabled: false, width, height, quality: 2 }
    }

    #[test]
    fn what_everybody_watches_needs_no_word() {
        let mut watching = Watching::new(&["ana", "ben"]);
        assert_eq!(watching.until(60), []);
        assert_eq!(watching.dynacast.next_at(), None);
    }

    #[test]
    fn a_video_nobody_receives_is_stopped_after_ten_seconds_and_resumed_at_once() {
        let mut watching = Watching::new(&["ana"]);
        assert_eq!(watching.until(10), []);
        assert_eq!(watching.dynacast.next_at(), Some(Time::from_millis(11_000)));
        assert_eq!(watching.until(30), [(11, Watched::Nothing)]);
        watching.call.join(crate::call::tests::person("ben"));
        assert_eq!(watching.until(31), [(31, Watched::Everything)]);
    }

    #[test]
    fn layers_nobody_shows_are_left_out_after_five_seconds() {
        let mut watching = Watching::new(&["ana", "ben", "cyn"]);
        watching.until(5);
        watching.shows("ben", size(300, 160));
        assert_eq!(watching.until(20), [], "Cyn has said nothing and gets all");
        watching.shows("cyn", size(640, 360));
        assert_eq!(watching.until(40), [(26, Watched::UpTo(1))]);
        watching.shows("cyn", HIDDEN);
        assert_eq!(watching.until(50), [(46, Watched::UpTo(0))]);
        watching.shows("ben", size(1_280, 720));
        assert_eq!(watching.until(51), [(51, Watched::Everything)]);
    }

    #[test]
    fn who_looks_away_for_a_moment_changes_nothing() {
        let mut watching = Watching::new(&["ana", "ben"]);
        for round in 0..10 {
            watching.shows("ben", HIDDEN);
            assert_eq!(watching.until(round * 10 + 4), []);
            watching.shows("ben", size(1_280, 720));
            assert_eq!(watching.until(round * 10 + 10), []);
        }
    }

    #[test]
    fn a_stream_of_one_spatial_layer_is_watched_as_a_whole_whatever_its_quality_is_called() {
        let mut watching = Watching::new(&["ana", "ben"]);
        // As LiveKit's client announces a screen of L1T3.
        let mut screen = camera("ana");
        screen.layers = vec![TrackLayer { quality: 0, width: 1_920, height: 1_080, bitrate: 0 }];
        watching.call.publish(&id("ana"), screen).unwrap();
        watching.until(20);
        watching.shows("ben", size(200, 100));
        assert_eq!(watching.until(40), []);
        watching.shows("ben", HIDDEN);
        assert_eq!(watching.until(60), [(46, Watched::Nothing)]);
    }

    #[test]
    fn a_track_that_ends_is_forgotten() {
        let mut watching = Watching::new(&["ana"]);
        watching.until(20);
        watching.call.unpublish(&id("ana"), &camera("ana").id);
        watching.until(21);
        assert_eq!(watching.dynacast, Dynacast::default());
    }

    #[test]
    fn qualities_up_to_the_one_watched_are_included() {
        let included = |watched: Watched| [0, 1, 2].map(|quality| watched.includes(quality));
        assert_eq!(included(Watched::Nothing), [false, false, false]);
        assert_eq!(included(Watched::UpTo(1)), [true, true, false]);
        assert_eq!(included(Watched::Everything), [true, true, true]);
    }
}
