//! Who is host: the first in, then whoever has been there longest.

use super::{Call, Changes};

/// The participant attribute that says who is host.
pub const HOST_ATTRIBUTE: &str = "host";
const HOST_VALUE: &str = "true";

impl Call {
    /// Gives the host attribute to the person present longest and takes it from everyone else.
    pub(super) fn elect_host(&mut self, changes: &mut Changes) {
        let host = self
            .participants
            .values()
            .filter(|participant| participant.is_person())
            .min_by_key(|participant| participant.order)
            .map(|participant| participant.id.clone());
        for participant in self.participants.values_mut() {
            let is_host = Some(&participant.id) == host.as_ref();
            let was_host = participant.attributes.contains_key(HOST_ATTRIBUTE);
            if is_host == was_host {
                continue;
            }
            if is_host {
                participant.attributes.insert(HOST_ATTRIBUTE.into(), HOST_VALUE.into());
            } else {
                participant.attributes.remove(HOST_ATTRIBUTE);
            }
            participant.version += 1;
            changes.update(&participant.id.clone());
        }
    }
}
