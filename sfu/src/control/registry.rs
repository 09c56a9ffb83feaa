//! Finds whose a key of the media engine is, and which call someone is in.

use std::collections::{HashMap, HashSet};

use sfu_core::call::ParticipantId;

/// Kept by whoever adds and removes sessions. Transports, tracks and subscriptions share one map: their keys come
/// from one counter ([`super::Context::key`]).
#[derive(Debug, Default)]
pub struct Registry {
    participants: HashMap<ParticipantId, Registered>,
    owners: HashMap<u64, ParticipantId>,
}

#[derive(Debug)]
struct Registered {
    call: String,
    keys: HashSet<u64>,
}

impl Registry {
    pub fn add(&mut self, participant: &ParticipantId, call: &str) {
        let registered = Registered { call: call.to_owned(), keys: HashSet::new() };
        self.participants.insert(participant.clone(), registered);
    }

    /// Forgets a participant and every key it had.
    pub fn remove(&mut self, participant: &ParticipantId) {
        for key in self.participants.remove(participant).into_iter().flat_map(|registered| registered.keys) {
            self.owners.remove(&key);
        }
    }

    /// A key of someone who is registered; of nobody else's.
    pub fn add_key(&mut self, key: u64, owner: &ParticipantId) {
        if let Some(registered) = self.participants.get_mut(owner) {
            registered.keys.insert(key);
            self.owners.insert(key, owner.clone());
        }
    }

    pub fn remove_key(&mut self, key: u64) {
        if let Some(registered) = self.owners.remove(&key).and_then(|owner| self.participants.get_mut(&owner)) {
            registered.keys.remove(&key);
        }
    }

    pub fn owner(&self, key: u64) -> Option<&ParticipantId> {
        self.owners.get(&key)
    }

    pub fn call_of(&self, participant: &ParticipantId) -> Option<&str> {
        self.participants.get(participant).map(|registered| registered.call.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_leaves_leaves_no_key_behind() {
        let mut registry = Registry::default();
        let ana = ParticipantId("PA_ana".into());
        registry.add(&ana, "standup");
        registry.add_key(1, &ana);
        registry.add_key(2, &ana);
        registry.remove_key(1);
        assert_eq!((registry.owner(1), registry.owner(2)), (None, Some(&ana)));
        registry.remove(&ana);
        registry.add_key(3, &ana);
        assert_eq!((registry.owner(2), registry.owner(3), registry.call_of(&ana)), (None, None, None));
    }
}
