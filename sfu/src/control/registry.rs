//! Finds whose a key of the media engine is, and which call someone is in.

use std::collections::HashMap;

use sfu_core::call::ParticipantId;

/// Kept by whoever adds and removes sessions. Transports, tracks and subscriptions share one map: their keys come
/// from one counter ([`super::Context::key`]).
#[derive(Debug, Default)]
pub struct Registry {
    calls: HashMap<ParticipantId, String>,
    owners: HashMap<u64, ParticipantId>,
}

impl Registry {
    pub fn add(&mut self, participant: &ParticipantId, call: &str) {
        self.calls.insert(participant.clone(), call.to_owned());
    }

    /// Forgets a participant and the keys it had.
    pub fn remove(&mut self, participant: &ParticipantId, keys: impl IntoIterator<Item = u64>) {
        self.calls.remove(participant);
        for key in keys {
            self.owners.remove(&key);
        }
    }

    pub fn add_key(&mut self, key: u64, owner: &ParticipantId) {
        self.owners.insert(key, owner.clone());
    }

    pub fn remove_key(&mut self, key: u64) {
        self.owners.remove(&key);
    }

    pub fn owner(&self, key: u64) -> Option<&ParticipantId> {
        self.owners.get(&key)
    }

    pub fn call_of(&self, participant: &ParticipantId) -> Option<&str> {
        self.calls.get(participant).map(String::as_str)
    }
}
