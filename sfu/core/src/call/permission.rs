//! What a token allows, with every default resolved.

use serde::{Deserialize, Serialize};

use super::TrackSource;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permissions {
    pub publish: bool,
    /// Sources that may be published; empty means all.
    pub publish_sources: Vec<TrackSource>,
    pub subscribe: bool,
    pub publish_data: bool,
    pub update_own_metadata: bool,
    /// Not announced to others.
    pub hidden: bool,
    /// A recorder: does not count as a person, keeps no call alive, and no audience leaves it out.
    pub recorder: bool,
    /// A program that serves the people of a call: does not count as a person, and keeps no call alive.
    pub agent: bool,
}

impl Default for Permissions {
    /// What a token grants that says nothing but "may join".
    fn default() -> Self {
        Self {
            publish: true,
            publish_sources: Vec::new(),
            subscribe: true,
            publish_data: true,
            update_own_metadata: false,
            hidden: false,
            recorder: false,
            agent: false,
        }
    }
}

impl Permissions {
    /// Is here for the sake of others only.
    pub const fn is_dependent(&self) -> bool {
        self.recorder || self.agent
    }

    pub fn may_publish(&self, source: TrackSource) -> bool {
        self.publish && (self.publish_sources.is_empty() || self.publish_sources.contains(&source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_list_of_sources_allows_all() {
        assert!(Permissions::default().may_publish(TrackSource::ScreenShare));
    }

    #[test]
    fn a_list_of_sources_narrows_publishing() {
        let permissions = Permissions { publish_sources: vec![TrackSource::Microphone], ..Permissions::default() };
        assert!(permissions.may_publish(TrackSource::Microphone));
        assert!(!permissions.may_publish(TrackSource::Camera));
    }
}
