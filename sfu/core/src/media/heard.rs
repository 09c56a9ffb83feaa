//! Which voices of a group are heard: at most so many, and those who spoke last.
//!
//! Nobody loses the place without need: it takes somebody new who speaks while all places are taken. Then the one goes
//! who has been silent longest, at once, so that no first word waits. If all of them speak or have just spoken, the new
//! one has to be louder than the quietest of them; otherwise voices in conversation would take turns at every breath.
//! It must not know how packets are held back and let through again.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::media::voice::Voice;
use crate::time::Time;

/// A pause this long is none between words: who makes it may lose the place. The shorter, the more are those in
/// conversation toggled; the longer, the longer waits who joins in.
pub const HOLD: Duration = Duration::from_secs(1);
/// How much louder than the quietest who speaks one has to be to take its place, in dB: clearly louder to an ear. Two of
/// the same loudness do not take turns.
const MARGIN: u8 = 6;

/// Voices by whose they are.
///
/// Holds as many as there are, removes none by itself: the owner does, when one ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard<K: Ord> {
    voices: BTreeMap<K, Member>,
    /// Those who have a place, in the order they took it.
    heard: Vec<K>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Member {
    voice: Voice,
    spoke_at: Option<Time>,
    heard_since: Option<Time>,
    /// Whether nothing has been decided about it since it came, or came again.
    is_new: bool,
}

/// By what it is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Places there are.
    pub places: usize,
    /// A packet at least this loud is speech, in -dBov (RFC 6464).
    pub speech_threshold: u8,
}

/// What a packet changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Decision<K> {
    /// Nothing: who was heard still is, who was not is not.
    Unchanged,
    /// The voice is heard from this packet on, and in its favour another one is not any more.
    Heard { instead_of: Option<K> },
    /// The voice is new, or comes again, and there is no place for it now.
    NoPlace,
}

impl<K: Ord> Default for Heard<K> {
    fn default() -> Self {
        Self { voices: BTreeMap::new(), heard: Vec::new() }
    }
}

impl<K: Copy + Ord> Heard<K> {
    /// Takes in the level of a packet of `who`, in -dBov.
    pub fn handle_level(&mut self, now: Time, who: K, level: u8, rules: Rules) -> Decision<K> {
        let member = self.voices.entry(who).or_insert_with(|| Member::new(now, level));
        let is_new = std::mem::take(&mut member.is_new);
        let speaks = member.voice.handle_level(now, level, rules.speech_threshold);
        if speaks {
            member.spoke_at = Some(now);
        }
        if member.heard_since.is_some() {
            return Decision::Unchanged;
        }
        let voice = member.voice;
        if self.heard.len() < rules.places {
            self.admit(now, who);
            return Decision::Heard { instead_of: None };
        }
        let replaced = if speaks { self.replaceable(now, voice) } else { None };
        if let Some(replaced) = replaced {
            self.dismiss(replaced);
            self.admit(now, who);
            return Decision::Heard { instead_of: Some(replaced) };
        }
        if is_new { Decision::NoPlace } else { Decision::Unchanged }
    }

    /// A voice ended, or is to be judged no longer. Its place is free.
    pub fn remove(&mut self, who: K) {
        self.dismiss(who);
        self.voices.remove(&who);
    }

    /// A voice is silent on purpose: its place is free. What is known of it counts when it comes again, or the first word
    /// after a pause would be taken for its background.
    pub fn rest(&mut self, who: K) {
        self.dismiss(who);
        if let Some(member) = self.voices.get_mut(&who) {
            *member = Member { spoke_at: None, is_new: true, ..*member };
        }
    }

    /// Makes do with so many places; returns who lost theirs, those silent longest first.
    pub fn shrink(&mut self, places: usize) -> Vec<K> {
        let mut dismissed = Vec::new();
        while self.heard.len() > places
            && let Some((_, silent)) = self.longest_silent()
        {
            self.dismiss(silent);
            dismissed.push(silent);
        }
        dismissed
    }

    pub fn is_empty(&self) -> bool {
        self.voices.is_empty()
    }

    /// Whose place somebody who speaks as `voice` may take.
    fn replaceable(&self, now: Time, voice: Voice) -> Option<K> {
        let (spoke_at, silent) = self.longest_silent()?;
        if spoke_at.is_none_or(|at| now.since(at) >= HOLD) {
            return Some(silent);
        }
        let settled = self.members().filter(|(_, member)| member.heard_since.is_some_and(|at| now.since(at) >= HOLD));
        let (quietest, member) = settled.min_by_key(|(_, member)| member.voice.loudness())?;
        voice.loudness().exceeds(member.voice.loudness(), MARGIN).then_some(quietest)
    }

    /// Who of the heard spoke least lately; of those who never did, who has had a place for longest.
    fn longest_silent(&self) -> Option<(Option<Time>, K)> {
        let silent = self.members().min_by_key(|(_, member)| member.spoke_at);
        silent.map(|(who, member)| (member.spoke_at, who))
    }

    fn members(&self) -> impl Iterator<Item = (K, &Member)> {
        self.heard.iter().filter_map(|who| Some((*who, self.voices.get(who)?)))
    }

    fn admit(&mut self, now: Time, who: K) {
        if let Some(member) = self.voices.get_mut(&who) {
            member.heard_since = Some(now);
            self.heard.push(who);
        }
    }

    fn dismiss(&mut self, who: K) {
        if let Some(member) = self.voices.get_mut(&who) {
            member.heard_since = None;
        }
        self.heard.retain(|heard| *heard != who);
    }
}

impl Member {
    const fn new(now: Time, level: u8) -> Self {
        Self { voice: Voice::new(now, level), spoke_at: None, heard_since: None, is_new: true }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RULES: Rules = Rules { places: 3, speech_threshold: 35 };
    const SILENT: u8 = 80;
    const SPEECH: u8 = 25;

    /// A call whose voices send a packet each 20 ms.
    struct Call {
        heard: Heard<u32>,
        now: Time,
        levels: Vec<u8>,
        changes: Vec<(u64, u32, Option<u32>)>,
    }

    impl Call {
        fn new(voices: usize) -> Self {
            Self { heard: Heard::default(), now: Time::ZERO, levels: vec![SILENT; voices], changes: Vec::new() }
        }

        /// Goes on until `millis`; returns who began to be heard meanwhile, and whose place each took.
        fn run_until(&mut self, millis: u64) -> Vec<(u32, Option<u32>)> {
            let known = self.changes.len();
            while self.now < Time::from_millis(millis) {
                for (who, level) in (0_u32..).zip(&self.levels) {
                    if let Decision::Heard { instead_of } = self.heard.handle_level(self.now, who, *level, RULES) {
                        self.changes.push((self.now.as_millis(), who, instead_of));
                    }
                }
                self.now += Duration::from_millis(20);
            }
            self.changes[known..].iter().map(|(_, who, instead_of)| (*who, *instead_of)).collect()
        }

        fn heard(&self) -> Vec<u32> {
            let mut heard = self.heard.heard.clone();
            heard.sort_unstable();
            heard
        }
    }

    #[test]
    fn while_there_are_places_everybody_is_heard_from_the_first_packet() {
        let mut call = Call::new(3);
        assert_eq!(call.run_until(20), [(0, None), (1, None), (2, None)]);
        assert_eq!(call.run_until(60_000), []);
    }

    #[test]
    fn silence_beyond_the_places_is_not_heard() {
        let mut heard = Heard::default();
        for who in 0..3 {
            assert_eq!(heard.handle_level(Time::ZERO, who, SILENT, RULES), Decision::Heard { instead_of: None });
        }
        assert_eq!(heard.handle_level(Time::ZERO, 3, SILENT, RULES), Decision::NoPlace);
        assert_eq!(heard.handle_level(Time::ZERO, 3, SILENT, RULES), Decision::Unchanged);
    }

    #[test]
    fn who_speaks_is_heard_with_the_first_loud_packet_instead_of_who_was_silent_longest() {
        let mut call = Call::new(6);
        for (at, who) in [(1_000, 2), (3_000, 0), (5_000, 1)] {
            call.levels.fill(SILENT);
            call.levels[who] = SPEECH;
            call.run_until(at + 1_000);
        }
        call.levels.fill(SILENT);
        call.run_until(20_000);
        call.levels[5] = SPEECH;
        assert_eq!(call.run_until(20_020), [(5, Some(2))]);
        call.levels[4] = SPEECH;
        assert_eq!(call.run_until(20_040), [(4, Some(0))]);
        assert_eq!(call.run_until(60_000), [], "and nothing more happens");
    }

    #[test]
    fn a_pause_between_words_costs_nobody_the_place() {
        let mut call = Call::new(4);
        call.levels[..3].fill(SPEECH);
        call.run_until(2_000);
        // The fourth speaks as loud as the others, who make pauses of up to 0.9 s.
        call.levels[3] = SPEECH;
        for round in 0..30 {
            let (from, who) = (2_000 + round * 1_200, (round % 3) as usize);
            call.levels[who] = SILENT;
            assert_eq!(call.run_until(from + 900), [], "round {round}");
            call.levels[who] = SPEECH;
            assert_eq!(call.run_until(from + 1_200), [], "round {round}");
        }
        call.levels[1] = SILENT;
        assert_eq!(call.run_until(40_000), [(3, Some(1))], "a second of silence does");
    }

    #[test]
    fn who_is_clearly_louder_is_heard_although_all_speak() {
        let mut call = Call::new(4);
        call.levels = vec![20, 34, 26, SILENT];
        call.run_until(3_000);
        call.levels[3] = 29;
        assert_eq!(call.run_until(6_000), [], "5 dB louder than the quietest");
        call.levels[3] = 24;
        assert_eq!(call.run_until(9_000), [(3, Some(1))]);
        assert_eq!(call.run_until(30_000), [], "and it stays so");
    }

    #[test]
    fn steady_noise_above_the_threshold_does_not_lock_speech_out() {
        let mut call = Call::new(4);
        call.levels = vec![33, 34, 33, SILENT];
        call.run_until(10_000);
        call.levels[3] = 20;
        assert_eq!(call.run_until(10_100), [(3, Some(1))], "within 100 ms, the quietest of them");
    }

    #[test]
    fn a_quiet_microphone_is_heard_when_others_are_silent() {
        let mut call = Call::new(5);
        call.run_until(5_000);
        call.levels[4] = 48;
        assert_eq!(call.run_until(5_020), [(4, Some(0))]);
    }

    #[test]
    fn whose_place_is_free_leaves_it_to_the_next() {
        let mut heard = Heard::default();
        for who in 0..5 {
            let _ = heard.handle_level(Time::ZERO, who, SILENT, RULES);
        }
        heard.remove(1);
        assert_eq!(heard.handle_level(Time::ZERO, 4, SILENT, RULES), Decision::Heard { instead_of: None });
        assert_eq!(heard.handle_level(Time::ZERO, 3, SILENT, RULES), Decision::Unchanged);
        for who in [0, 2, 3, 4] {
            assert!(!heard.is_empty());
            heard.remove(who);
        }
        assert!(heard.is_empty());
    }

    #[test]
    fn with_fewer_places_those_silent_longest_go() {
        let mut call = Call::new(3);
        for (at, who) in [(1_000, 2), (2_000, 1)] {
            call.levels.fill(SILENT);
            call.levels[who] = SPEECH;
            call.run_until(at);
        }
        assert_eq!(call.heard.shrink(1), [0, 2]);
        assert_eq!(call.heard(), [1]);
    }

    #[test]
    fn three_in_conversation_among_thirty_keep_their_places() {
        let mut call = Call::new(30);
        for (turn, who) in (0_u64..90).zip([4, 17, 29].into_iter().cycle()) {
            call.levels.fill(SILENT);
            call.levels[who] = SPEECH;
            let began = call.run_until((turn + 1) * 1_500);
            assert!(turn < 3 || began.is_empty(), "turn {turn}: {began:?}");
        }
        assert_eq!(call.heard(), [4, 17, 29]);
    }

    #[test]
    fn thirty_in_turn_change_places_once_a_turn() {
        let mut call = Call::new(30);
        call.run_until(1_000);
        for turn in 0..90_u64 {
            let who = (turn * 7 % 30) as usize;
            call.levels.fill(SILENT);
            call.levels[who] = SPEECH;
            let began = call.run_until(1_000 + (turn + 1) * 1_500);
            assert!(call.heard().contains(&(who as u32)));
            assert!(began.len() <= 1, "turn {turn}: {began:?}");
        }
    }

    proptest! {
        /// Whatever levels come, no more than the places are heard, and as many as there can be.
        #[test]
        fn places_are_kept(levels in proptest::collection::vec((0_u32..8, 0_u8..=255, 0_u64..700), 1..600)) {
            let mut heard = Heard::default();
            let mut now = Time::ZERO;
            let mut audible = std::collections::BTreeSet::new();
            for (who, level, pause) in levels {
                now += Duration::from_millis(pause);
                if level == 255 {
                    heard.remove(who);
                    audible.remove(&who);
                    continue;
                }
                if let Decision::Heard { instead_of } = heard.handle_level(now, who, level, RULES) {
                    prop_assert!(audible.insert(who));
                    if let Some(replaced) = instead_of {
                        prop_assert!(audible.remove(&replaced));
                    }
                }
                prop_assert!(audible.len() <= RULES.places);
                prop_assert_eq!(&heard.heard.iter().copied().collect::<std::collections::BTreeSet<_>>(), &audible);
            }
        }
    }
}
