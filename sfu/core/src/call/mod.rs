//! Who is here, who publishes, who receives what, who may.
//!
//! A [`Call`] is a plain value: every method decides and returns [`Changes`], and nothing here sends anything. The
//! caller tells the people of a change and brings subscriptions in line with [`Call::wanted_by`]. It must not know:
//! sockets, SDP, LiveKit's messages.

pub mod dynacast;
pub mod host;
pub mod participant;
pub mod permission;
pub mod quality;
pub mod speakers;
pub mod subscribing;
pub mod track;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use participant::{ClientFeatures, Identity, Participant, ParticipantId, ParticipantState};
pub use permission::Permissions;
pub use subscribing::{SubscriptionRules, TrackSettings};
pub use track::{Track, TrackId, TrackSource};

/// Most attributes a participant may have, keys and values together, in bytes (LiveKit's limit).
pub const MAX_ATTRIBUTES_BYTES: usize = 64 * 1024;
/// Most metadata of a participant, in bytes (LiveKit's limit).
pub const MAX_METADATA_BYTES: usize = 512 * 1024;
/// Most bytes of a participant's name (LiveKit's limit).
pub const MAX_NAME_BYTES: usize = 256;
/// Most tracks one participant may publish at once.
pub const MAX_TRACKS: usize = 32;

/// One call: the people in it, what they publish, and what each wants to receive.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// LiveKit's room name; the same for every call held under a link.
    pub name: String,
    /// Id of this very call (`RM_…`).
    pub id: String,
    /// Milliseconds since the Unix epoch.
    pub created_at_ms: i64,
    pub metadata: String,
    participants: BTreeMap<ParticipantId, Participant>,
    /// Who publishes which track.
    publishers: BTreeMap<TrackId, ParticipantId>,
    /// Counts joins, so that "longest present" has an order even within a millisecond.
    joins: u64,
}

/// What a decision changed, for the caller to tell.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Changes {
    /// Participants whose public description changed (a join is one).
    pub updated: Vec<ParticipantId>,
    /// Participants that are no longer here, as they were last.
    pub left: Vec<Participant>,
    /// Whose tracks appeared, disappeared, or changed their audience: what others receive of them wants reconciling.
    pub publishers: BTreeSet<ParticipantId>,
    /// Whose own wishes changed: all they receive wants reconciling.
    pub listeners: BTreeSet<ParticipantId>,
}

impl Changes {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn of_publisher(id: &ParticipantId) -> Self {
        Self { publishers: BTreeSet::from([id.clone()]), ..Self::default() }
    }

    fn of_listener(id: &ParticipantId) -> Self {
        Self { listeners: BTreeSet::from([id.clone()]), ..Self::default() }
    }

    /// Takes in what a later decision changed, so that both are told at once.
    pub fn merge(&mut self, later: Self) {
        for id in &later.updated {
            self.update(id);
        }
        self.left.extend(later.left);
        self.publishers.extend(later.publishers);
        self.listeners.extend(later.listeners);
    }

    fn update(&mut self, id: &ParticipantId) {
        if !self.updated.contains(id) {
            self.updated.push(id.clone());
        }
    }
}

/// Why a request of a participant is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refused {
    #[error("the participant is not in the call")]
    NotHere,
    #[error("there is no such track")]
    NoSuchTrack,
    #[error("the token does not grant this")]
    NotAllowed,
    #[error("a size limit is exceeded")]
    LimitExceeded,
}

impl Call {
    pub fn new(name: impl Into<String>, id: impl Into<String>, created_at_ms: i64) -> Self {
        Self {
            name: name.into(),
            id: id.into(),
            created_at_ms,
            metadata: String::new(),
            participants: BTreeMap::new(),
            publishers: BTreeMap::new(),
            joins: 0,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.participants.is_empty()
    }

    /// Everyone is gone at once, and nobody is left to be told.
    pub fn clear(&mut self) {
        self.participants.clear();
        self.publishers.clear();
    }

    /// Everyone, hidden ones included, in the order of their ids.
    pub fn participants(&self) -> impl Iterator<Item = &Participant> {
        self.participants.values()
    }

    /// Whether anybody is here for whose sake the call is held: not only recorders and agents.
    pub fn is_attended(&self) -> bool {
        self.participants.values().any(|participant| !participant.permissions.is_dependent())
    }

    /// Whether a recorder is here, which everybody is to know.
    pub fn is_recorded(&self) -> bool {
        self.participants.values().any(|participant| participant.permissions.recorder)
    }

    /// Number of participants that count as people: not hidden, no recorders, no agents.
    pub fn n_people(&self) -> usize {
        self.participants.values().filter(|participant| participant.is_person()).count()
    }

    /// Number of participants that publish something.
    pub fn n_publishers(&self) -> usize {
        self.participants.values().filter(|participant| !participant.tracks.is_empty()).count()
    }

    pub fn get(&self, id: &ParticipantId) -> Option<&Participant> {
        self.participants.get(id)
    }

    pub fn by_identity(&self, identity: &Identity) -> Option<&Participant> {
        self.participants.values().find(|participant| participant.identity == *identity)
    }

    /// A track by its id, with who publishes it.
    pub fn track(&self, id: &TrackId) -> Option<(&Participant, &Track)> {
        let participant = self.participants.get(self.publishers.get(id)?)?;
        Some((participant, participant.tracks.get(id)?))
    }

    /// Someone joins. Whoever was here under the same identity leaves first.
    pub fn join(&mut self, mut participant: Participant) -> Changes {
        let mut changes = Changes::default();
        let old: Vec<_> = self
            .participants
            .values()
            .filter(|other| other.identity == participant.identity)
            .map(|other| other.id.clone())
            .collect();
        for id in old {
            self.remove(&id, &mut changes);
        }
        self.joins += 1;
        participant.order = self.joins;
        let id = participant.id.clone();
        self.participants.insert(id.clone(), participant);
        changes.update(&id);
        changes.listeners.insert(id);
        self.elect_host(&mut changes);
        changes
    }

    /// A participant's transport is up: it takes part from now on.
    pub fn activate(&mut self, id: &ParticipantId) -> Changes {
        let mut changes = Changes::default();
        if let Some(participant) = self.participants.get_mut(id)
            && participant.state != ParticipantState::Active
        {
            participant.state = ParticipantState::Active;
            participant.version += 1;
            changes.update(id);
        }
        changes
    }

    pub fn leave(&mut self, id: &ParticipantId) -> Changes {
        let mut changes = Changes::default();
        self.remove(id, &mut changes);
        self.elect_host(&mut changes);
        changes
    }

    fn remove(&mut self, id: &ParticipantId, changes: &mut Changes) {
        let Some(mut participant) = self.participants.remove(id) else { return };
        participant.state = ParticipantState::Disconnected;
        participant.version += 1;
        for track in participant.tracks.keys() {
            self.publishers.remove(track);
            self.forget_wishes(track);
        }
        if !participant.tracks.is_empty() {
            changes.publishers.insert(id.clone());
        }
        changes.left.push(participant);
    }

    /// A track has ended: what people wanted of it is of no use any more.
    fn forget_wishes(&mut self, track: &TrackId) {
        for participant in self.participants.values_mut() {
            participant.rules.forget(track);
        }
    }

    /// Whether a participant may publish from `source`, before there is a track.
    pub fn may_publish(&self, id: &ParticipantId, source: TrackSource) -> Result<(), Refused> {
        let participant = self.participants.get(id).ok_or(Refused::NotHere)?;
        if !participant.permissions.may_publish(source) {
            return Err(Refused::NotAllowed);
        }
        if participant.tracks.len() >= MAX_TRACKS {
            return Err(Refused::LimitExceeded);
        }
        Ok(())
    }

    /// Media of a track arrives: others may have it.
    pub fn publish(&mut self, id: &ParticipantId, track: Track) -> Result<Changes, Refused> {
        self.may_publish(id, track.source)?;
        let participant = self.participants.get_mut(id).ok_or(Refused::NotHere)?;
        participant.version += 1;
        self.publishers.insert(track.id.clone(), id.clone());
        participant.tracks.insert(track.id.clone(), track);
        let mut changes = Changes::of_publisher(id);
        changes.update(id);
        Ok(changes)
    }

    pub fn unpublish(&mut self, id: &ParticipantId, track: &TrackId) -> Changes {
        let Some(participant) = self.participants.get_mut(id) else { return Changes::default() };
        if participant.tracks.remove(track).is_none() {
            return Changes::default();
        }
        participant.version += 1;
        self.publishers.remove(track);
        self.forget_wishes(track);
        let mut changes = Changes::of_publisher(id);
        changes.update(id);
        changes
    }

    /// Changes a published track in place, for example its dimensions.
    pub fn change_track(
        &mut self,
        id: &ParticipantId,
        track: &TrackId,
        change: impl FnOnce(&mut Track),
    ) -> Result<Changes, Refused> {
        let participant = self.participants.get_mut(id).ok_or(Refused::NotHere)?;
        let track = participant.tracks.get_mut(track).ok_or(Refused::NoSuchTrack)?;
        let before = track.clone();
        change(track);
        let mut changes = Changes::default();
        if *track != before {
            participant.version += 1;
            changes.update(id);
        }
        Ok(changes)
    }

    pub fn set_muted(&mut self, id: &ParticipantId, track: &TrackId, muted: bool) -> Result<Changes, Refused> {
        self.change_track(id, track, |track| track.muted = muted)
    }

    /// A participant changes its own name, metadata and attributes.
    ///
    /// Empty name and metadata mean unchanged, an attribute with an empty value is removed. What the SFU decides
    /// ([`host::HOST_ATTRIBUTE`]) is not theirs to set and silently kept.
    pub fn describe_self(&mut self, id: &ParticipantId, description: SelfDescription) -> Result<Changes, Refused> {
        let participant = self.participants.get_mut(id).ok_or(Refused::NotHere)?;
        if !participant.permissions.update_own_metadata {
            return Err(Refused::NotAllowed);
        }
        let mut attributes = participant.attributes.clone();
        for (key, value) in description.attributes {
            if key == host::HOST_ATTRIBUTE {
                continue;
            }
            if value.is_empty() {
                attributes.remove(&key);
            } else {
                attributes.insert(key, value);
            }
        }
        let attributes_bytes: usize = attributes.iter().map(|(key, value)| key.len() + value.len()).sum();
        if attributes_bytes > MAX_ATTRIBUTES_BYTES
            || description.metadata.len() > MAX_METADATA_BYTES
            || description.name.len() > MAX_NAME_BYTES
        {
            return Err(Refused::LimitExceeded);
        }
        participant.attributes = attributes;
        if !description.name.is_empty() {
            participant.name = description.name;
        }
        if !description.metadata.is_empty() {
            participant.metadata = description.metadata;
        }
        participant.version += 1;
        let mut changes = Changes::default();
        changes.update(id);
        Ok(changes)
    }
}

/// What a participant says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SelfDescription {
    pub name: String,
    pub metadata: String,
    pub attributes: BTreeMap<String, String>,
}

#[cfg(test)]
pub(crate) mod tests;
