//! How loud one voice is over time, and whether it speaks, from the levels its packets carry (RFC 6464).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Time;

const SILENCE: u8 = 127;
/// Speech stands out of a voice's own background by at least this, in dB. So a microphone that is turned down is not
/// taken for silent. Less would take breathing for speech.
const ABOVE_BACKGROUND: u8 = 15;
/// A background quieter than this, in -dBov, counts as this: else the rustle of a room would stand out of the digital
/// silence that browsers make of pauses.
const QUIETEST_BACKGROUND: u8 = 75;
/// How long the background takes to be believed 1 dB louder. It is believed quieter at once, so every pause corrects it,
/// and silence without packets says nothing of it.
const BACKGROUND_RISE: Duration = Duration::from_secs(1);
/// Part of the way that loudness goes with each packet of speech, as divisors: up within a syllable, down over a word.
const ATTACK: u16 = 2;
const RELEASE: u16 = 16;

/// One voice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Voice {
    /// Smoothed level of what it speaks, in 1/256 dB below overload: the smaller, the louder. Pauses leave it as it is.
    level: u16,
    /// What is heard while nobody speaks, in -dBov.
    background: u8,
    background_at: Time,
}

/// How loud a voice is when it speaks. Greater is louder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Loudness(u16);

impl Loudness {
    /// Whether it is louder by at least so many dB.
    pub const fn exceeds(self, other: Self, decibel: u8) -> bool {
        self.0 >= other.0.saturating_add(in_fractions(decibel))
    }
}

impl Voice {
    /// A voice whose first packet says `level`, in -dBov.
    pub const fn new(now: Time, level: u8) -> Self {
        let background = if level < QUIETEST_BACKGROUND { level } else { QUIETEST_BACKGROUND };
        Self { level: in_fractions(SILENCE), background, background_at: now }
    }

    /// Takes in the level of a packet, in -dBov. Returns whether it is speech: at least as loud as `threshold`, or well
    /// above the voice's background.
    pub fn handle_level(&mut self, now: Time, level: u8, threshold: u8) -> bool {
        let level = level.min(SILENCE);
        self.learn_background(now, level.min(QUIETEST_BACKGROUND));
        let speaks = level <= threshold || level + ABOVE_BACKGROUND <= self.background;
        if speaks {
            self.follow(in_fractions(level));
        }
        speaks
    }

    const fn follow(&mut self, level: u16) {
        if level < self.level {
            self.level -= (self.level - level) / ATTACK;
        } else {
            self.level += (level - self.level) / RELEASE;
        }
    }

    fn learn_background(&mut self, now: Time, level: u8) {
        if level >= self.background {
            (self.background, self.background_at) = (level, now);
            return;
        }
        if now.since(self.background_at) >= BACKGROUND_RISE {
            self.background -= 1;
            self.background_at = now;
        }
    }

    pub const fn loudness(&self) -> Loudness {
        Loudness(u16::MAX - self.level)
    }
}

const fn in_fractions(decibel: u8) -> u16 {
    (decibel as u16) << 8
}

#[cfg(test)]
mod tests {
    use super::*;

    const THRESHOLD: u8 = 35;

    /// Packets of `level` every 20 ms from `from` until `until`, in milliseconds; how many were speech.
    fn play(voice: &mut Voice, level: u8, from: u64, until: u64) -> usize {
        let times = (from..until).step_by(20).map(Time::from_millis);
        times.filter(|now| voice.handle_level(*now, level, THRESHOLD)).count()
    }

    #[test]
    fn what_is_loud_is_speech_however_long_it_lasts() {
        let mut voice = Voice::new(Time::ZERO, 35);
        assert_eq!(play(&mut voice, 35, 0, 60_000), 3_000);
        assert_eq!(play(&mut voice, 36, 60_000, 61_000), 0);
    }

    #[test]
    fn a_quiet_microphone_speaks_when_it_stands_out_of_its_background() {
        let mut voice = Voice::new(Time::ZERO, 70);
        assert_eq!(play(&mut voice, 70, 0, 1_000), 0);
        assert_eq!(play(&mut voice, 56, 1_000, 2_000), 0);
        assert_eq!(play(&mut voice, 70, 2_000, 3_000), 0);
        assert_eq!(play(&mut voice, 50, 3_000, 4_000), 50);
    }

    #[test]
    fn noise_that_stays_becomes_the_background() {
        let mut voice = Voice::new(Time::ZERO, 127);
        assert_eq!(play(&mut voice, 127, 0, 1_000), 0);
        let spoken = play(&mut voice, 58, 1_000, 21_000);
        assert!((100..=200).contains(&spoken), "{spoken}: 3 dB at one a second");
        // Speech over it is told apart, and after a pause so is the noise.
        assert_eq!(play(&mut voice, 40, 21_000, 22_000), 50);
    }

    #[test]
    fn loudness_rises_within_a_syllable_and_stays_over_pauses() {
        let mut voice = Voice::new(Time::ZERO, 90);
        play(&mut voice, 90, 0, 2_000);
        let silent = voice.loudness();
        play(&mut voice, 20, 2_000, 2_080);
        let speaking = voice.loudness();
        assert!(speaking.exceeds(silent, 100), "of 107 dB, after 80 ms");
        play(&mut voice, 90, 2_080, 4_000);
        assert_eq!(voice.loudness(), speaking);
        play(&mut voice, 32, 4_000, 5_000);
        assert!(speaking.exceeds(voice.loudness(), 5), "it speaks more quietly now");
    }
}
