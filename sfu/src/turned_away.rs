//! Calls an SFU that leaves has sent elsewhere or not begun, so that they are not begun at it a moment later, when it
//! stays after all.
//!
//! Whoever was turned away goes to another SFU, and claims say so. Somebody else may still be on the way here with what
//! was true before: the call would be in two places. So a name is remembered for as long as a claim stands. Where
//! nobody else takes calls, nobody has gone anywhere, and no name is noted. Pure: time is passed in.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use fleet::api::CLAIM_SECONDS;

/// Names remembered at most, the latest ones: as many as a registrar holds claims.
const MAX_NAMES: usize = 65_536;
/// How long: as long as the claim that sends people elsewhere.
const REMEMBERED: Duration = Duration::from_secs(CLAIM_SECONDS);

/// The names.
#[derive(Debug, Default)]
pub struct TurnedAway {
    at: HashMap<String, Instant>,
    /// Oldest first; a name that was noted again is here twice, and only the later one counts.
    noted: VecDeque<(Instant, String)>,
}

impl TurnedAway {
    /// The call goes, or was told to go, to another SFU.
    pub fn note(&mut self, call: &str, now: Instant) {
        self.forget_old(now);
        if self.noted.len() >= MAX_NAMES {
            self.forget_first();
        }
        self.at.insert(call.to_owned(), now);
        self.noted.push_back((now, call.to_owned()));
    }

    /// Whether the call is to be at another SFU.
    pub fn contains(&mut self, call: &str, now: Instant) -> bool {
        self.forget_old(now);
        self.at.contains_key(call)
    }

    fn forget_old(&mut self, now: Instant) {
        while self.noted.front().is_some_and(|(at, _)| now.duration_since(*at) >= REMEMBERED) {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        let Some((at, call)) = self.noted.pop_front() else { return };
        if self.at.get(&call) == Some(&at) {
            self.at.remove(&call);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_remembered_for_as_long_as_a_claim_after_it_was_noted_last() {
        let (mut away, start) = (TurnedAway::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        away.note("standup", start);
        away.note("standup", after(10));
        assert!(away.contains("standup", after(CLAIM_SECONDS + 9)));
        assert!(!away.contains("retro", after(1)));
        assert!(!away.contains("standup", after(CLAIM_SECONDS + 10)));
        assert!(away.noted.is_empty());
    }

    #[test]
    fn of_too_many_names_the_oldest_goes() {
        let (mut away, now) = (TurnedAway::default(), Instant::now());
        for n in 0..=MAX_NAMES {
            away.note(&n.to_string(), now);
        }
        assert_eq!(away.noted.len(), MAX_NAMES);
        assert!(!away.contains("0", now) && away.contains("1", now));
    }
}
