//! The paths a client has proven to be reachable on, and the one we send on.
//!
//! A pure machine: checks that were found authentic go in, what changed comes out. It must not know STUN.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::engine::path::Path;
use crate::time::Time;

/// A client that sends no check for this long has withdrawn its consent (RFC 7675, section 5.1).
pub const CONSENT_TIME: Duration = Duration::from_secs(30);
/// Paths remembered for one transport. A browser with several networks, IPv6 and TCP uses a handful.
const MAX_PATHS: usize = 8;

/// Paths of one transport.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connectivity {
    paths: Vec<KnownPath>,
    selected: Option<Path>,
    /// Whether the client chose the selected path, or we took the first that worked.
    nominated: bool,
    last_check: Time,
    consent_lost: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct KnownPath {
    path: Path,
    last_check: Time,
}

/// What a check changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Checked {
    /// The path was not known.
    pub added: bool,
    /// A path was forgotten to make room.
    pub evicted: Option<Path>,
    /// The path is now the one to send on, or is so again after consent had ended.
    pub selected: bool,
}

impl Connectivity {
    /// Consent counts from `now`, so that a client that never comes is noticed too.
    pub const fn new(now: Time) -> Self {
        Self { paths: Vec::new(), selected: None, nominated: false, last_check: now, consent_lost: false }
    }

    /// Notes an authentic check. The path last nominated is the one to send on; until the client nominates one, the
    /// first that works.
    pub fn handle_check(&mut self, now: Time, path: Path, nominated: bool) -> Checked {
        self.last_check = now;
        let regained = std::mem::take(&mut self.consent_lost);
        let mut checked = Checked::default();
        if let Some(known) = self.paths.iter_mut().find(|known| known.path == path) {
            known.last_check = now;
        } else {
            checked.added = true;
            checked.evicted = self.make_room();
            self.paths.push(KnownPath { path, last_check: now });
        }
        if self.selected.is_none() || (nominated && self.selected != Some(path)) {
            self.selected = Some(path);
            self.nominated = nominated;
            checked.selected = true;
        }
        self.nominated |= nominated;
        // Control heard that consent ended, so it has to hear that it is back.
        checked.selected |= regained && self.selected == Some(path);
        checked
    }

    /// Forgets the path checked longest ago, but never the selected one.
    fn make_room(&mut self) -> Option<Path> {
        if self.paths.len() < MAX_PATHS {
            return None;
        }
        let candidates = self.paths.iter().enumerate().filter(|(_, known)| Some(known.path) != self.selected);
        let (at, _) = candidates.min_by_key(|(_, known)| known.last_check)?;
        Some(self.paths.remove(at).path)
    }

    /// Forgets a path. Returns whether another one is now selected: the one checked last.
    pub fn remove(&mut self, path: &Path) -> bool {
        self.paths.retain(|known| known.path != *path);
        if self.selected != Some(*path) {
            return false;
        }
        self.nominated = false;
        self.selected = self.paths.iter().max_by_key(|known| known.last_check).map(|known| known.path);
        self.selected.is_some()
    }

    /// Nothing is sent until a path is checked from now on. What is still under way on the others is the client's.
    pub const fn start_over(&mut self, now: Time) {
        self.selected = None;
        self.nominated = false;
        self.last_check = now;
        self.consent_lost = false;
    }

    /// Whether a check came on the path at this time or later.
    pub fn is_checked_since(&self, path: &Path, since: Time) -> bool {
        self.paths.iter().any(|known| known.path == *path && known.last_check >= since)
    }

    /// The path to send on; none without consent, when nothing may be sent (RFC 7675, section 5.1).
    pub const fn selected(&self) -> Option<Path> {
        if self.consent_lost { None } else { self.selected }
    }

    pub fn paths(&self) -> impl Iterator<Item = Path> {
        self.paths.iter().map(|known| known.path)
    }

    /// When consent ends unless a check comes; `None` once it has ended.
    pub fn consent_ends(&self) -> Option<Time> {
        (!self.consent_lost).then(|| self.last_check + CONSENT_TIME)
    }

    /// Whether consent ended just now. True once; a later check begins anew.
    pub fn take_consent_lost(&mut self, now: Time) -> bool {
        let lost = self.consent_ends().is_some_and(|end| end <= now);
        self.consent_lost |= lost;
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(port: u16) -> Path {
        Path::Udp { remote: ([192, 0, 2, 1], port).into(), local: None }
    }

    #[test]
    fn the_first_path_is_used_until_the_client_nominates_one() {
        let mut connectivity = Connectivity::new(Time::ZERO);
        assert!(connectivity.handle_check(Time::ZERO, path(1), false).selected);
        assert!(!connectivity.handle_check(Time::ZERO, path(2), false).selected);
        assert!(connectivity.handle_check(Time::ZERO, path(3), true).selected);
        assert!(!connectivity.handle_check(Time::ZERO, path(3), true).selected, "it is already");
        assert!(!connectivity.handle_check(Time::ZERO, path(1), false).selected);
        assert!(connectivity.handle_check(Time::ZERO, path(1), true).selected, "the last nomination counts");
        assert_eq!(connectivity.selected(), Some(path(1)));
    }

    #[test]
    fn paths_are_bounded_and_the_selected_one_stays() {
        let mut connectivity = Connectivity::new(Time::ZERO);
        connectivity.handle_check(Time::ZERO, path(0), true);
        for port in 1..100 {
            connectivity.handle_check(Time::from_millis(u64::from(port)), path(port), false);
        }
        assert_eq!(connectivity.paths().count(), MAX_PATHS);
        assert!(connectivity.paths().any(|known| known == path(0)));
        assert!(connectivity.paths().any(|known| known == path(99)));
    }

    #[test]
    fn starting_over_waits_for_a_check_and_keeps_what_is_known() {
        let mut connectivity = Connectivity::new(Time::ZERO);
        connectivity.handle_check(Time::ZERO, path(1), true);
        connectivity.handle_check(Time::ZERO, path(2), false);
        let now = Time::from_millis(5);
        connectivity.start_over(now);
        assert_eq!((connectivity.selected(), connectivity.paths().count()), (None, 2));
        assert!(!connectivity.is_checked_since(&path(1), now));
        assert!(connectivity.handle_check(now, path(1), false).selected);
        assert!(connectivity.is_checked_since(&path(1), now) && !connectivity.is_checked_since(&path(2), now));
    }

    #[test]
    fn a_closed_path_gives_way_to_the_one_checked_last() {
        let mut connectivity = Connectivity::new(Time::ZERO);
        connectivity.handle_check(Time::from_millis(1), path(1), true);
        connectivity.handle_check(Time::from_millis(3), path(3), false);
        connectivity.handle_check(Time::from_millis(2), path(2), false);
        assert!(connectivity.remove(&path(1)));
        assert_eq!(connectivity.selected(), Some(path(3)));
        assert!(!connectivity.remove(&path(2)));
        assert!(!connectivity.remove(&path(3)), "none is left");
        assert_eq!(connectivity.selected(), None);
    }

    #[test]
    fn consent_is_lost_once_and_a_check_renews_it() {
        let mut connectivity = Connectivity::new(Time::ZERO);
        connectivity.handle_check(Time::from_millis(1000), path(1), true);
        assert!(!connectivity.take_consent_lost(Time::from_millis(30_999)));
        assert!(connectivity.take_consent_lost(Time::from_millis(31_000)));
        assert!(!connectivity.take_consent_lost(Time::from_millis(40_000)));
        assert_eq!((connectivity.consent_ends(), connectivity.selected()), (None, None));
        connectivity.handle_check(Time::from_millis(50_000), path(1), false);
        assert_eq!(connectivity.consent_ends(), Some(Time::from_millis(80_000)));
        assert_eq!(connectivity.selected(), Some(path(1)));
    }
}
