//! Who spoke when, as WebVTT beside the file: players show it as subtitles, and programs read it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use sfu_core::id::TrackKey;

/// Mean square of sound that is speech rather than a room: -46 dB.
const SPEECH: f32 = 2.5e-5;
/// A pause of at least this ends what is said.
const PAUSE: Duration = Duration::from_secs(1);
/// Shorter sounds are a cough or a cup, not speech.
const SHORTEST: Duration = Duration::from_millis(300);
/// Most entries: a hundred for each minute of an hour and a half. Later ones are counted only.
const MOST: usize = 10_000;

#[derive(Debug)]
struct Said {
    name: String,
    begin: Duration,
    end: Duration,
}

/// Listens to all voices.
#[derive(Debug, Default)]
pub struct Speakers {
    speaking: BTreeMap<TrackKey, Said>,
    said: Vec<Said>,
    left_out: u64,
}

/// Who spoke when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spoken {
    /// A WebVTT file (<https://www.w3.org/TR/webvtt1/>).
    pub text: String,
    /// Entries that it lacks, because there were too many.
    pub left_out: u64,
}

impl Speakers {
    /// Takes in how loud a voice is during the 20 ms that end at `time`.
    pub fn handle_voice(&mut self, track: TrackKey, name: &str, time: Duration, power: f32) {
        if power >= SPEECH {
            let said =
                self.speaking.entry(track).or_insert_with(|| Said { name: name.to_owned(), begin: time, end: time });
            said.end = time;
        } else if self.speaking.get(&track).is_some_and(|said| time.saturating_sub(said.end) >= PAUSE) {
            self.handle_end(track);
        }
    }

    /// The voice has gone.
    pub fn handle_end(&mut self, track: TrackKey) {
        if let Some(said) = self.speaking.remove(&track)
            && said.end.saturating_sub(said.begin) >= SHORTEST
        {
            if self.said.len() < MOST {
                self.said.push(said);
            } else {
                self.left_out += 1;
            }
        }
    }

    /// Everything so far.
    pub fn write(mut self) -> Spoken {
        while let Some((track, _)) = self.speaking.first_key_value() {
            self.handle_end(*track);
        }
        self.said.sort_by_key(|said| said.begin);
        let mut text = "WEBVTT\n".to_owned();
        for said in &self.said {
            let name: String = said.name.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            let name = name.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            let (begin, end) = (timestamp(said.begin), timestamp(said.end));
            // Writing to a string cannot fail.
            let _ = write!(text, "\n{begin} --> {end}\n<v {name}>{name}\n");
        }
        Spoken { text, left_out: self.left_out }
    }
}

fn timestamp(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{:02}:{:02}:{:02}.{:03}", seconds / 3600, seconds / 60 % 60, seconds % 60, time.subsec_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_written_with_its_speaker() {
        let mut speakers = Speakers::default();
        let (anna, ben) = (TrackKey(1), TrackKey(2));
        for frame in 0..500 {
            let time = Duration::from_millis(3_600_000 + frame * 20);
            let is_within = |from: u64, to: u64| if (from..to).contains(&(frame * 20)) { 0.01 } else { 0.0 };
            // A pause of half a second does not end it; a cup is not speech.
            speakers.handle_voice(anna, "Anna <host>", time, is_within(1000, 2000) + is_within(2500, 3000));
            speakers.handle_voice(ben, "Ben\n&", time, is_within(500, 600) + is_within(4000, 9000));
        }
        let expected = "WEBVTT\n\n\
            01:00:01.000 --> 01:00:02.980\n<v Anna &lt;host&gt;>Anna &lt;host&gt;\n\n\
            01:00:04.000 --> 01:00:08.980\n<v Ben &amp;>Ben &amp;\n";
        assert_eq!(speakers.write(), Spoken { text: expected.into(), left_out: 0 });
    }

    #[test]
    fn what_is_too_much_is_counted() {
        let mut speakers = Speakers::default();
        for second in 0..MOST as u64 + 3 {
            for tenth in 0..5 {
                speakers.handle_voice(TrackKey(1), "Anna", Duration::from_millis(second * 1000 + tenth * 100), 0.01);
            }
            speakers.handle_end(TrackKey(1));
        }
        let spoken = speakers.write();
        assert_eq!((spoken.text.matches("-->").count(), spoken.left_out), (MOST, 3));
    }
}
