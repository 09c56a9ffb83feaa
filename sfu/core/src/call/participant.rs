//! One person (or recorder) in a call.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Permissions, SubscriptionRules, Track, TrackId};

/// Id of one stay in a call (`PA_…`). A client that joins again gets another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ParticipantId(pub String);

/// Who it is, as the token says; one stay at a time for each identity.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Identity(pub String);

/// States only move forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ParticipantState {
    /// Signalling is up, media is not.
    Joined,
    /// Media transport connected.
    Active,
    Disconnected,
}

/// What the client can do, mirrored to others so that they can choose how to talk to it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientFeatures {
    /// Version of the signalling protocol.
    pub protocol: i32,
    /// Version of what clients say to one another.
    pub client_protocol: i32,
    pub capabilities: Vec<i32>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Participant {
    pub id: ParticipantId,
    pub identity: Identity,
    pub name: String,
    pub metadata: String,
    pub attributes: BTreeMap<String, String>,
    pub permissions: Permissions,
    /// LiveKit's participant kind as a number (0 standard, 2 egress, …).
    pub kind: i32,
    pub client: ClientFeatures,
    pub state: ParticipantState,
    /// Milliseconds since the Unix epoch.
    pub joined_at_ms: i64,
    /// Grows with every change of the public description; clients ignore older ones.
    pub version: u32,
    pub tracks: BTreeMap<TrackId, Track>,
    pub rules: SubscriptionRules,
    /// Place in the order of joins, set by the call.
    pub(super) order: u64,
}

impl Participant {
    /// A participant that has just said hello.
    pub fn new(id: ParticipantId, identity: Identity, permissions: Permissions, joined_at_ms: i64) -> Self {
        Self {
            id,
            identity,
            name: String::new(),
            metadata: String::new(),
            attributes: BTreeMap::new(),
            permissions,
            kind: 0,
            client: ClientFeatures::default(),
            state: ParticipantState::Joined,
            joined_at_ms,
            version: 1,
            tracks: BTreeMap::new(),
            rules: SubscriptionRules::default(),
            order: 0,
        }
    }

    /// Counts as a person: others see it, and it may be host.
    pub fn is_person(&self) -> bool {
        !self.permissions.hidden && !self.permissions.is_dependent()
    }

    /// Whether `other` may be told about this participant.
    pub fn is_visible_to(&self, other: &ParticipantId) -> bool {
        !self.permissions.hidden || self.id == *other
    }
}
