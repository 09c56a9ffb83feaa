//! Finds whose a key of the media engine is, and which call someone is in.

use std::collections::{BTreeSet, HashMap, HashSet};

use sfu_core::call::{Participant, ParticipantId};

/// Kept by whoever adds and removes sessions. Transports, tracks and subscriptions share one map: their keys come
/// from one counter ([`super::Context::key`]).
#[derive(Debug, Default)]
pub struct Registry {
    participants: HashMap<ParticipantId, Registered>,
    owners: HashMap<u64, ParticipantId>,
    n_people: usize,
    /// Calls that may have become empty.
    left: BTreeSet<String>,
}

#[derive(Debug)]
struct Registered {
    call: String,
    keys: HashSet<u64>,
    is_person: bool,
}

impl Registry {
    pub fn add(&mut self, participant: &Participant, call: &str) {
        let is_person = participant.is_person();
        let registered = Registered { call: call.to_owned(), keys: HashSet::new(), is_person };
        self.n_people += usize::from(is_person);
        self.participants.insert(participant.id.clone(), registered);
    }

    /// Forgets a participant and every key it had.
    pub fn remove(&mut self, participant: &ParticipantId) {
        let Some(registered) = self.participants.remove(participant) else { return };
        self.n_people -= usize::from(registered.is_person);
        for key in registered.keys {
            self.owners.remove(&key);
        }
        self.left.insert(registered.call);
    }

    /// People in all calls.
    pub fn n_people(&self) -> usize {
        self.n_people
    }

    /// A call may have nobody in it.
    pub fn look_at(&mut self, call: &str) {
        self.left.insert(call.to_owned());
    }

    /// The calls that may have become empty since it was asked last.
    pub fn take_left(&mut self) -> BTreeSet<String> {
        std::mem::take(&mut self.left)
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
    use sfu_core::call::{Identity, Permissions};

    use super::*;

    fn participant(name: &str, permissions: Permissions) -> Participant {
        Participant::new(ParticipantId(format!("PA_{name}")), Identity(name.into()), permissions, 0)
    }

    #[test]
    fn people_are_counted_and_the_call_somebody_left_is_named_once() {
        let mut registry = Registry::default();
        let recorder = Permissions { recorder: true, ..Permissions::default() };
        let (ana, recorder) = (participant("ana", Permissions::default()), participant("recorder", recorder));
        registry.add(&ana, "standup");
        registry.add(&recorder, "standup");
        assert_eq!((registry.n_people(), registry.take_left().len()), (1, 0));
        registry.remove(&ana.id);
        registry.remove(&ana.id);
        registry.remove(&recorder.id);
        assert_eq!((registry.n_people(), registry.take_left()), (0, BTreeSet::from(["standup".to_owned()])));
        assert_eq!(registry.take_left().len(), 0);
    }

    #[test]
    fn who_leaves_leaves_no_key_behind() {
        let mut registry = Registry::default();
        let ana = ParticipantId("PA_ana".into());
        registry.add(&participant("ana", Permissions::default()), "standup");
        registry.add_key(1, &ana);
        registry.add_key(2, &ana);
        registry.remove_key(1);
        assert_eq!((registry.owner(1), registry.owner(2)), (None, Some(&ana)));
        registry.remove(&ana);
        registry.add_key(3, &ana);
        assert_eq!((registry.owner(2), registry.owner(3), registry.call_of(&ana)), (None, None, None));
    }
}
