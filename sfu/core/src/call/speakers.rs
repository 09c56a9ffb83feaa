//! Who speaks: levels of tracks, smoothed, to a list of changes worth telling.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ParticipantId;

/// Loudest frame at or above this counts as speech, in -dBov (35 is -35 dBov, LiveKit's threshold).
const ACTIVE_LEVEL: u8 = 35;
/// Least part of an interval above the threshold, in percent, to count as speech.
const ACTIVE_PERCENT: u8 = 40;
/// Weight of the newest interval in the running mean.
const SMOOTHING: f32 = 0.5;
/// Intervals of silence after which someone no longer speaks.
const SILENT_INTERVALS: u8 = 2;
/// Levels are told in eighths, so that a steady voice is not told again and again.
const STEPS: f32 = 8.0;

/// Running state of everyone who made a sound lately.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Speakers {
    voices: BTreeMap<ParticipantId, Voice>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Voice {
    /// Linear, 0.0 to 1.0, smoothed.
    level: f32,
    silent_intervals: u8,
    /// Loudest of the interval that is running, linear; `None` if nothing active came.
    heard: Option<f32>,
    /// What was told last.
    told: f32,
}

/// How loud someone is now; 0.0 is "no longer speaks".
#[derive(Debug, Clone, PartialEq)]
pub struct SpeakerChange {
    pub participant: ParticipantId,
    /// Linear, 0.0 to 1.0, in eighths.
    pub level: f32,
}

impl Speakers {
    /// Takes in the level of one of a participant's audio tracks: `loudest` in -dBov (0 loudest, 127 silence),
    /// `active_percent` of the interval at or above the speech threshold.
    pub fn hear(&mut self, participant: &ParticipantId, loudest: u8, active_percent: u8) {
        if loudest > ACTIVE_LEVEL || active_percent < ACTIVE_PERCENT {
            return;
        }
        let share = f32::from(active_percent.min(100)) / 100.0;
        let decibel = -f32::from(loudest) + 20.0 * share.log10();
        let linear = 10_f32.powf(decibel / 20.0).clamp(0.0, 1.0);
        let voice = self.voices.entry(participant.clone()).or_default();
        voice.heard = Some(voice.heard.map_or(linear, |heard| heard.max(linear)));
    }

    /// Ends an interval and returns whose told level changed.
    pub fn tick(&mut self) -> Vec<SpeakerChange> {
        let mut changes = Vec::new();
        self.voices.retain(|participant, voice| {
            match voice.heard.take() {
                Some(heard) => {
                    voice.level += SMOOTHING * (heard - voice.level);
                    voice.silent_intervals = 0;
                }
                None => voice.silent_intervals += 1,
            }
            let speaking = voice.silent_intervals < SILENT_INTERVALS;
            let level = if speaking { (voice.level * STEPS).ceil() / STEPS } else { 0.0 };
            if (level - voice.told).abs() > f32::EPSILON {
                voice.told = level;
                changes.push(SpeakerChange { participant: participant.clone(), level });
            }
            speaking
        });
        changes
    }

    /// The level of someone that was told last: for who begins to hear it. 0.0 if it does not speak.
    pub fn level(&self, participant: &ParticipantId) -> f32 {
        self.voices.get(participant).map_or(0.0, |voice| voice.told)
    }

    pub fn forget(&mut self, participant: &ParticipantId) {
        self.voices.remove(participant);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ana() -> ParticipantId {
        ParticipantId("PA_ana".into())
    }

    #[test]
    fn speech_is_told_once_and_its_end_after_two_silent_intervals() {
        let mut speakers = Speakers::default();
        let mut told = Vec::new();
        for interval in 0..8 {
            if interval < 5 {
                speakers.hear(&ana(), 20, 100);
            }
            told.push(speakers.tick().first().map(|change| change.level));
        }
        assert_eq!(told, [Some(0.125), None, None, None, None, None, Some(0.0), None]);
    }

    #[test]
    fn noise_below_the_threshold_is_not_speech() {
        let mut speakers = Speakers::default();
        speakers.hear(&ana(), 50, 100);
        speakers.hear(&ana(), 10, 20);
        assert_eq!(speakers.tick(), []);
    }

    #[test]
    fn a_louder_voice_has_a_higher_level() {
        let mut speakers = Speakers::default();
        for _ in 0..4 {
            speakers.hear(&ana(), 3, 100);
            speakers.tick();
        }
        assert!(speakers.level(&ana()) > 0.6);
    }
}
