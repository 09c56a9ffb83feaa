//! When counts alone are worth writing a status.
//!
//! Load and calls differ at nearly every look, and things that happen elsewhere may make many looks. What a person acts
//! on (conditions, addresses, SFUs) is written at once; counts wait for the next regular look.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::api::CallsClusterStatus;
use crate::cluster::RESYNC;

/// When each status was written last. One entry a `CallsCluster`, until it is forgotten.
#[derive(Debug, Default)]
pub struct Pace {
    written: Mutex<HashMap<(String, String), Instant>>,
}

impl Pace {
    /// Whether `new` should be written at `now` over what the API server has.
    pub fn is_due(
        &self,
        namespace: &str,
        name: &str,
        before: Option<&CallsClusterStatus>,
        new: &CallsClusterStatus,
        now: Instant,
    ) -> bool {
        let Some(before) = before else { return true };
        if before == new {
            return false;
        }
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let last = written.get(&(namespace.to_owned(), name.to_owned()));
        let is_early = last.is_some_and(|last| now.saturating_duration_since(*last) < RESYNC);
        !(is_early && differs_in_counts_alone(before, new))
    }

    /// Notes that it was written at `now`.
    pub fn note(&self, namespace: &str, name: &str, now: Instant) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.insert((namespace.to_owned(), name.to_owned()), now);
    }

    /// Forgets a `CallsCluster` that is gone.
    pub fn forget(&self, namespace: &str, name: &str) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.remove(&(namespace.to_owned(), name.to_owned()));
    }
}

fn differs_in_counts_alone(before: &CallsClusterStatus, new: &CallsClusterStatus) -> bool {
    let mut draining = before.draining.clone();
    for (before, new) in draining.iter_mut().zip(&new.draining) {
        before.calls_left = new.calls_left;
    }
    let mut autoscaler = before.autoscaler.clone();
    if let (Some(before), Some(new)) = (&mut autoscaler, &new.autoscaler) {
        before.reason.clone_from(&new.reason);
    }
    let recounted = CallsClusterStatus {
        draining,
        autoscaler,
        load: new.load.clone(),
        calls: new.calls,
        participants: new.participants,
        ..before.clone()
    };
    recounted == *new
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn status(ready: &str, calls: u32) -> CallsClusterStatus {
        CallsClusterStatus { ready: ready.into(), calls, ..CallsClusterStatus::default() }
    }

    #[test]
    fn counts_wait_for_the_next_regular_look_and_the_rest_does_not() {
        let pace = Pace::default();
        let began = Instant::now();
        let is_due = |before: Option<&CallsClusterStatus>, new, seconds| {
            pace.is_due("red", "blue", before, &new, began + Duration::from_secs(seconds))
        };
        let before = status("2/2", 3);
        assert!(is_due(None, status("", 0), 0), "the first status");
        assert!(is_due(Some(&before), status("2/2", 4), 0), "counts after a restart");
        pace.note("red", "blue", began);
        assert!(!is_due(Some(&before), status("2/2", 3), 60), "nothing new");
        assert!(!is_due(Some(&before), status("2/2", 4), 9), "counts too early");
        assert!(is_due(Some(&before), status("1/2", 4), 1), "an SFU that went");
        assert!(is_due(Some(&before), status("2/2", 4), 10), "counts in time");
        pace.forget("red", "blue");
        assert!(is_due(Some(&before), status("2/2", 4), 1), "another of the same name");
    }
}
