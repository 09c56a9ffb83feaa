//! Who receives what: automatic subscription, what people asked for, and what publishers allow.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Call, Changes, Identity, Participant, ParticipantId, Refused, Track, TrackId};
use crate::engine::command::Target;

/// Most names in a publisher's audience, listeners and tracks together: far more than a call has people.
const MAX_AUDIENCE: usize = 4096;
/// Longest name in an audience, in bytes: that of an identity.
const MAX_AUDIENCE_NAME_BYTES: usize = 256;

/// What a participant asked to receive, and whom it lets receive what it publishes. Only tracks that are there are
/// named, and they are forgotten when they end, so it grows no further than the call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscriptionRules {
    /// Receive everything unless told otherwise.
    pub automatic: bool,
    /// Asked for by name.
    wanted: BTreeSet<TrackId>,
    /// Declined by name.
    unwanted: BTreeSet<TrackId>,
    settings: BTreeMap<TrackId, TrackSettings>,
    /// Who may receive this participant's tracks.
    audience: Audience,
}

impl Default for SubscriptionRules {
    fn default() -> Self {
        Self {
            automatic: true,
            wanted: BTreeSet::new(),
            unwanted: BTreeSet::new(),
            settings: BTreeMap::new(),
            audience: Audience::Everyone,
        }
    }
}

impl SubscriptionRules {
    fn wants(&self, track: &TrackId) -> bool {
        self.wanted.contains(track) || (self.automatic && !self.unwanted.contains(track))
    }

    pub(super) fn forget(&mut self, track: &TrackId) {
        self.wanted.remove(track);
        self.unwanted.remove(track);
        self.settings.remove(track);
    }
}

/// Who may receive a publisher's tracks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Audience {
    Everyone,
    Only(Listeners),
}

/// Who is named in an audience. Nobody, if empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listeners {
    by_id: BTreeMap<ParticipantId, Admitted>,
    by_identity: BTreeMap<Identity, Admitted>,
}

/// To which of the publisher's tracks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Admitted {
    All,
    Only(BTreeSet<TrackId>),
}

impl Admitted {
    fn has(&self, track: &TrackId) -> bool {
        match self {
            Self::All => true,
            Self::Only(tracks) => tracks.contains(track),
        }
    }

    fn add(&mut self, tracks: Option<BTreeSet<TrackId>>) {
        match (self, tracks) {
            (Self::All, _) => (),
            (known, None) => *known = Self::All,
            (Self::Only(known), Some(tracks)) => known.extend(tracks),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    pub who: ListenerName,
    /// `None` for all of the publisher's tracks.
    pub tracks: Option<BTreeSet<TrackId>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ListenerName {
    Id(ParticipantId),
    Identity(Identity),
}

impl Audience {
    pub fn nobody() -> Self {
        Self::Only(Listeners::default())
    }

    /// Those who are named, and nobody else.
    ///
    /// # Errors
    /// [`Refused::LimitExceeded`] if that is more than can be kept.
    pub fn only(named: impl IntoIterator<Item = Listener>) -> Result<Self, Refused> {
        let mut listeners = Listeners::default();
        let mut n_names = 0;
        for Listener { who, tracks } in named {
            n_names += 1 + tracks.as_ref().map_or(0, BTreeSet::len);
            let longest = tracks.iter().flatten().map(|track| track.0.len()).max().unwrap_or_default();
            if n_names > MAX_AUDIENCE || longest.max(who.len()) > MAX_AUDIENCE_NAME_BYTES {
                return Err(Refused::LimitExceeded);
            }
            let nothing = || Admitted::Only(BTreeSet::new());
            let admitted = match who {
                ListenerName::Id(id) => listeners.by_id.entry(id).or_insert_with(nothing),
                ListenerName::Identity(identity) => listeners.by_identity.entry(identity).or_insert_with(nothing),
            };
            admitted.add(tracks);
        }
        Ok(Self::Only(listeners))
    }

    /// Recorders record what there is: no audience leaves them out.
    fn admits(&self, listener: &Participant, track: &TrackId) -> bool {
        match self {
            Self::Everyone => true,
            Self::Only(_) if listener.permissions.recorder => true,
            Self::Only(listeners) => {
                let named = [listeners.by_id.get(&listener.id), listeners.by_identity.get(&listener.identity)];
                named.into_iter().flatten().any(|admitted| admitted.has(track))
            }
        }
    }
}

impl ListenerName {
    fn len(&self) -> usize {
        match self {
            Self::Id(ParticipantId(name)) | Self::Identity(Identity(name)) => name.len(),
        }
    }
}

/// How a subscriber shows a track, which decides the layer it gets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrackSettings {
    /// Not shown now: send nothing.
    pub disabled: bool,
    /// Pixels it is shown at; 0 if not told.
    pub width: u32,
    pub height: u32,
    /// LiveKit's quality (0 low to 2 high), used when the size is not told.
    pub quality: i32,
}

impl Call {
    /// What `id` is to receive now, with who publishes it.
    pub fn wanted_by(&self, id: &ParticipantId) -> Vec<(&Participant, &Track)> {
        let Some(listener) = self.participants.get(id) else { return Vec::new() };
        self.participants.values().flat_map(|publisher| wanted_of(listener, publisher)).collect()
    }

    /// What `id` is to receive now of one publisher.
    pub fn wanted_from(&self, id: &ParticipantId, publisher: &ParticipantId) -> Vec<(&Participant, &Track)> {
        let (Some(listener), Some(publisher)) = (self.participants.get(id), self.participants.get(publisher)) else {
            return Vec::new();
        };
        wanted_of(listener, publisher).collect()
    }

    /// The layer of `track` that `id` is to receive, from how it shows the track.
    pub fn target_for(&self, id: &ParticipantId, track: &Track) -> Target {
        let settings = self.participants.get(id).and_then(|participant| participant.rules.settings.get(&track.id));
        match settings {
            None => Target::HIGHEST,
            Some(settings) if settings.disabled => Target::Off,
            Some(settings) if settings.width > 0 && settings.height > 0 => {
                Target::Layer(track.layer_for_size(settings.width, settings.height))
            }
            Some(settings) => Target::Layer(track.layer_for_quality(settings.quality)),
        }
    }

    /// A participant asks for tracks, or declines them. Tracks that are not there (any more) are skipped.
    pub fn set_subscribed(
        &mut self,
        id: &ParticipantId,
        tracks: &[TrackId],
        subscribed: bool,
    ) -> Result<Changes, Refused> {
        let rules = &mut self.participants.get_mut(id).ok_or(Refused::NotHere)?.rules;
        for track in tracks.iter().filter(|track| self.publishers.contains_key(*track)) {
            let (to, from) = if subscribed {
                (&mut rules.wanted, &mut rules.unwanted)
            } else {
                (&mut rules.unwanted, &mut rules.wanted)
            };
            from.remove(track);
            to.insert(track.clone());
        }
        Ok(Changes::of_listener(id))
    }

    /// A participant says how it shows tracks. Tracks that are not there (any more) are skipped.
    pub fn set_track_settings(
        &mut self,
        id: &ParticipantId,
        tracks: &[TrackId],
        settings: TrackSettings,
    ) -> Result<(), Refused> {
        let rules = &mut self.participants.get_mut(id).ok_or(Refused::NotHere)?.rules;
        for track in tracks.iter().filter(|track| self.publishers.contains_key(*track)) {
            rules.settings.insert(track.clone(), settings);
        }
        Ok(())
    }

    /// A publisher says who may receive its tracks.
    pub fn set_audience(&mut self, id: &ParticipantId, audience: Audience) -> Result<Changes, Refused> {
        let rules = &mut self.participants.get_mut(id).ok_or(Refused::NotHere)?.rules;
        let changed = rules.audience != audience;
        rules.audience = audience;
        Ok(if changed { Changes::of_publisher(id) } else { Changes::default() })
    }
}

/// What `listener` is to receive of `publisher`. Of who is hidden, nothing: nobody knows whose it would be.
fn wanted_of<'c>(
    listener: &'c Participant,
    publisher: &'c Participant,
) -> impl Iterator<Item = (&'c Participant, &'c Track)> {
    let tracks = publisher.tracks.values().filter(|track| receives(listener, publisher, track));
    tracks.map(move |track| (publisher, track))
}

/// Whether `listener` is to receive a track of `publisher`.
pub(super) fn receives(listener: &Participant, publisher: &Participant, track: &Track) -> bool {
    listener.permissions.subscribe
        && !publisher.permissions.hidden
        && publisher.id != listener.id
        && listener.rules.wants(&track.id)
        && publisher.rules.audience.admits(listener, &track.id)
}
