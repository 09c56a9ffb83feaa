//! Who receives what: automatic subscription, what people asked for, and what publishers allow.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Call, Changes, Identity, Participant, ParticipantId, Refused, Track, TrackId};
use crate::engine::command::Target;

/// Most tracks a participant may name in its rules, so that they cannot grow without end.
const MAX_RULES: usize = 10_000;

/// What a participant asked to receive, and whom it lets receive what it publishes.
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

    pub(super) fn forget<'a>(&mut self, tracks: impl IntoIterator<Item = &'a TrackId>) {
        for track in tracks {
            self.wanted.remove(track);
            self.unwanted.remove(track);
            self.settings.remove(track);
        }
    }
}

/// Who may receive a publisher's tracks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Audience {
    Everyone,
    Only(Vec<Listener>),
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
    fn admits(&self, listener: &Participant, track: &TrackId) -> bool {
        match self {
            Self::Everyone => true,
            Self::Only(listeners) => listeners.iter().any(|entry| {
                let named = match &entry.who {
                    ListenerName::Id(id) => *id == listener.id,
                    ListenerName::Identity(identity) => *identity == listener.identity,
                };
                named && entry.tracks.as_ref().is_none_or(|tracks| tracks.contains(track))
            }),
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
        let Some(listener) = self.participants.get(id).filter(|participant| participant.permissions.subscribe) else {
            return Vec::new();
        };
        self.participants
            .values()
            .filter(|publisher| publisher.id != listener.id)
            .flat_map(|publisher| publisher.tracks.values().map(move |track| (publisher, track)))
            .filter(|(publisher, track)| {
                listener.rules.wants(&track.id) && publisher.rules.audience.admits(listener, &track.id)
            })
            .collect()
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

    /// A participant asks for tracks, or declines them.
    pub fn set_subscribed(
        &mut self,
        id: &ParticipantId,
        tracks: &[TrackId],
        subscribed: bool,
    ) -> Result<Changes, Refused> {
        let rules = &mut self.participants.get_mut(id).ok_or(Refused::NotHere)?.rules;
        if rules.wanted.len() + rules.unwanted.len() + tracks.len() > MAX_RULES {
            return Err(Refused::LimitExceeded);
        }
        for track in tracks {
            let (to, from) = if subscribed {
                (&mut rules.wanted, &mut rules.unwanted)
            } else {
                (&mut rules.unwanted, &mut rules.wanted)
            };
            from.remove(track);
            to.insert(track.clone());
        }
        Ok(Changes { subscriptions: true, ..Changes::default() })
    }

    /// A participant says how it shows tracks.
    pub fn set_track_settings(
        &mut self,
        id: &ParticipantId,
        tracks: &[TrackId],
        settings: TrackSettings,
    ) -> Result<(), Refused> {
        let rules = &mut self.participants.get_mut(id).ok_or(Refused::NotHere)?.rules;
        if rules.settings.len() + tracks.len() > MAX_RULES {
            return Err(Refused::LimitExceeded);
        }
        for track in tracks {
            rules.settings.insert(track.clone(), settings);
        }
        Ok(())
    }

    /// A publisher says who may receive its tracks.
    pub fn set_audience(&mut self, id: &ParticipantId, audience: Audience) -> Result<Changes, Refused> {
        let rules = &mut self.participants.get_mut(id).ok_or(Refused::NotHere)?.rules;
        let changed = rules.audience != audience;
        rules.audience = audience;
        Ok(Changes { subscriptions: changed, ..Changes::default() })
    }
}
