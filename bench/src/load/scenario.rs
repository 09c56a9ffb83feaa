//! The scenarios by name: how many calls of how many people, and what is sent in them.

use std::ops::Range;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a person publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// A voice: Opus, 50 packets a second of 80 bytes.
    Voice,
    /// A shared screen: VP8 at 1 Mbit/s, 120 packets a second in bursts of 8.
    Screen,
    /// A camera: VP8 in three layers (simulcast), 25 frames a second.
    Camera,
}

/// One encoding of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layer {
    /// Its name in packets (RFC 8852); none where a source has but one.
    pub rid: Option<&'static str>,
    /// Packets of a frame, sent at once.
    pub packets: usize,
    /// Bytes of a packet's payload.
    pub payload_bytes: usize,
    pub width: u32,
    pub height: u32,
}

const VOICE: [Layer; 1] = [Layer { rid: None, packets: 1, payload_bytes: 80, width: 0, height: 0 }];
/// 1 Mbit/s over 120 packets a second.
const SCREEN: [Layer; 1] =
    [Layer { rid: None, packets: 8, payload_bytes: 1_000_000 / 8 / 120, width: 1920, height: 1080 }];
/// Some 150 and 450 kbit/s and 1.5 Mbit/s, as livekit-client sends 720 lines.
const CAMERA: [Layer; 3] = [
    Layer { rid: Some("q"), packets: 1, payload_bytes: 750, width: 320, height: 180 },
    Layer { rid: Some("h"), packets: 2, payload_bytes: 1125, width: 640, height: 360 },
    Layer { rid: Some("f"), packets: 7, payload_bytes: 1070, width: 1280, height: 720 },
];

impl Source {
    /// Between two frames.
    pub const fn interval(self) -> Duration {
        match self {
            Self::Voice => Duration::from_millis(20),
            Self::Screen => Duration::from_nanos(1_000_000_000 / 15),
            Self::Camera => Duration::from_millis(40),
        }
    }

    /// Its encodings, the smallest first.
    pub const fn layers(self) -> &'static [Layer] {
        match self {
            Self::Voice => &VOICE,
            Self::Screen => &SCREEN,
            Self::Camera => &CAMERA,
        }
    }

    /// The encoding a receiver gets who has the network for it.
    pub const fn largest(self) -> Layer {
        match self {
            Self::Voice => VOICE[0],
            Self::Screen => SCREEN[0],
            Self::Camera => CAMERA[2],
        }
    }

    /// Of its RTP timestamps, in Hz.
    pub const fn clock_rate(self) -> u64 {
        match self {
            Self::Voice => 48_000,
            Self::Screen | Self::Camera => 90_000,
        }
    }
}

/// A load, the same for each server.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scenario {
    pub name: &'static str,
    /// What it stands for.
    pub about: &'static str,
    pub calls: usize,
    /// In each call.
    pub people: usize,
    /// Of them, the first speak.
    pub voices: usize,
    /// And the next share their screens.
    pub screens: usize,
    /// And the next show their faces, in three layers of which each receiver gets one.
    pub cameras: usize,
    /// Calls are added until the server is as busy as this says.
    pub fill: Option<Fill>,
}

/// How busy a server is made: CPU of its process, as a share of a core.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fill {
    /// Ours, with one media thread.
    pub ours: f64,
    pub peer: f64,
}

/// Where a person's load is nothing out of the ordinary.
const PLAIN: Scenario =
    Scenario { name: "", about: "", calls: 1, people: 0, voices: 0, screens: 0, cameras: 0, fill: None };

/// All scenarios.
pub const SCENARIOS: [Scenario; 9] = [
    Scenario { name: "A", about: "a meeting: 1 call of 100, 2 speak", people: 100, voices: 2, ..PLAIN },
    Scenario { name: "B", about: "an all-hands: 1 call of 200, 2 speak", people: 200, voices: 2, ..PLAIN },
    Scenario {
        name: "C",
        about: "a shared screen: 1 call of 50, 1 screen of 1 Mbit/s in bursts of 8",
        people: 50,
        screens: 1,
        ..PLAIN
    },
    Scenario { name: "D", about: "many small calls: 50 of 2, both speak", calls: 50, people: 2, voices: 2, ..PLAIN },
    Scenario { name: "E1", about: "being there: 1 call of 200, idle", people: 200, ..PLAIN },
    Scenario { name: "E2", about: "being there: 100 calls of 2, idle", calls: 100, people: 2, ..PLAIN },
    Scenario {
        name: "F",
        about: "size: 1 call of 1,000, 3 speak and 1 shares a screen",
        people: 1000,
        voices: 3,
        screens: 1,
        ..PLAIN
    },
    Scenario {
        name: "F2",
        about: "a mixture: 20 calls of 10, 2 speak, 1 shares a screen, 3 show their faces in 3 layers",
        calls: 20,
        people: 10,
        voices: 2,
        screens: 1,
        cameras: 3,
        ..PLAIN
    },
    Scenario {
        name: "G",
        about: "a busy server: calls of 50 in which 3 speak, until our one media thread takes 70 % of a core, a peer 50 %",
        calls: 4,
        people: 50,
        voices: 3,
        fill: Some(Fill { ours: 0.7, peer: 0.5 }),
        ..PLAIN
    },
];

/// One person's part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    pub call: usize,
    /// Within the call.
    pub number: usize,
    pub publishes: Option<Source>,
    /// Streams the person receives.
    pub hears: usize,
}

impl Scenario {
    /// One call of two of so many voices and screens, without a name.
    pub const fn of(voices: usize, screens: usize) -> Self {
        Self { people: 2, voices, screens, ..PLAIN }
    }

    /// The scenario of this name, in either case.
    pub fn named(name: &str) -> Option<Self> {
        SCENARIOS.into_iter().find(|scenario| scenario.name.eq_ignore_ascii_case(name))
    }

    pub const fn sessions(&self) -> usize {
        self.calls * self.people
    }

    /// Streams that are published in each call.
    const fn published(&self) -> usize {
        self.voices + self.screens + self.cameras
    }

    /// Whether nothing is sent, so that there is a price of being there and none of a packet.
    pub const fn is_idle(&self) -> bool {
        self.published() == 0
    }

    /// Everybody's part, in the order of joining: who publishes comes first in each call, so that everyone later finds
    /// the tracks there.
    pub fn parts(&self) -> Vec<Part> {
        self.parts_of(0..self.calls)
    }

    /// The same in these calls alone.
    pub fn parts_of(&self, calls: Range<usize>) -> Vec<Part> {
        let number_first = (0..self.people).flat_map(|number| calls.clone().map(move |call| (call, number)));
        number_first
            .map(|(call, number)| {
                let publishes = match number {
                    n if n < self.voices => Some(Source::Voice),
                    n if n < self.voices + self.screens => Some(Source::Screen),
                    n if n < self.published() => Some(Source::Camera),
                    _ => None,
                };
                let hears = self.published() - usize::from(publishes.is_some());
                Part { call, number, publishes, hears }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_is_found_by_its_name() {
        assert_eq!(Scenario::named("e1").map(|scenario| scenario.sessions()), Some(200));
        assert_eq!(Scenario::named("X"), None);
        for scenario in SCENARIOS {
            assert_eq!(Scenario::named(scenario.name), Some(scenario));
            assert_eq!(scenario.parts().len(), scenario.sessions());
        }
    }

    #[test]
    fn those_who_publish_join_first_and_hear_the_others() {
        let parts = Scenario::named("F").expect("known").parts();
        let publish: Vec<_> = parts.iter().filter_map(|part| part.publishes).collect();
        assert_eq!(publish, [Source::Voice, Source::Voice, Source::Voice, Source::Screen]);
        assert!(parts[..4].iter().all(|part| part.publishes.is_some() && part.hears == 3));
        assert!(parts[4..].iter().all(|part| part.publishes.is_none() && part.hears == 4));
        let parts = Scenario::named("D").expect("known").parts();
        assert!(parts.iter().all(|part| part.publishes == Some(Source::Voice) && part.hears == 1));
        assert_eq!((parts[49].call, parts[49].number, parts[50].call, parts[50].number), (49, 0, 0, 1));
    }

    #[test]
    fn a_mixture_has_everything_and_a_busy_server_begins_small() {
        let mixture = Scenario::named("F2").expect("known");
        let one_call: Vec<_> =
            mixture.parts().iter().filter(|part| part.call == 0).map(|part| part.publishes).collect();
        let (voice, screen, camera) = (Some(Source::Voice), Some(Source::Screen), Some(Source::Camera));
        assert_eq!(one_call, [voice, voice, screen, camera, camera, camera, None, None, None, None]);
        let busy = Scenario::named("G").expect("known");
        let joins = busy.parts_of(4..6);
        assert_eq!((joins.len(), joins[0].call, joins[99].call, joins[99].number), (100, 4, 5, 49));
    }

    #[test]
    fn a_camera_is_as_large_as_a_clients() {
        let kilobits = |layer: &Layer| layer.packets * layer.payload_bytes * 8 * 25 / 1000;
        assert_eq!(Source::Camera.layers().iter().map(kilobits).collect::<Vec<_>>(), [150, 450, 1498]);
        assert_eq!(Source::Camera.largest(), Source::Camera.layers()[2]);
    }

    #[test]
    fn a_screen_is_a_megabit_in_120_packets_a_second() {
        let frames = 1.0 / Source::Screen.interval().as_secs_f64();
        let packets = frames * Source::Screen.largest().packets as f64;
        assert!((packets - 120.0).abs() < 0.01, "{packets}");
        let bits = packets * 8.0 * Source::Screen.largest().payload_bytes as f64;
        assert!((bits / 1e6 - 1.0).abs() < 0.001, "{bits}");
    }
}
