//! The scenarios by name: how many calls of how many people, and what is sent in them.

use std::time::Duration;

/// What a person publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A voice: Opus, 50 packets a second of 80 bytes.
    Voice,
    /// A shared screen: VP8 at 1 Mbit/s, 120 packets a second in bursts of 8.
    Screen,
}

impl Source {
    /// Between two frames.
    pub const fn interval(self) -> Duration {
        match self {
            Self::Voice => Duration::from_millis(20),
            Self::Screen => Duration::from_nanos(1_000_000_000 / 15),
        }
    }

    /// Packets of a frame, sent at once.
    pub const fn packets(self) -> usize {
        match self {
            Self::Voice => 1,
            Self::Screen => 8,
        }
    }

    /// Bytes of a packet's payload: for a screen, 1 Mbit/s over 120 packets a second.
    pub const fn payload_bytes(self) -> usize {
        match self {
            Self::Voice => 80,
            Self::Screen => 1_000_000 / 8 / 120,
        }
    }

    /// Of its RTP timestamps, in Hz.
    pub const fn clock_rate(self) -> u64 {
        match self {
            Self::Voice => 48_000,
            Self::Screen => 90_000,
        }
    }
}

/// A load, the same for each server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
}

/// All scenarios.
pub const SCENARIOS: [Scenario; 7] = [
    Scenario { name: "A", about: "a meeting: 1 call of 100, 2 speak", calls: 1, people: 100, voices: 2, screens: 0 },
    Scenario { name: "B", about: "an all-hands: 1 call of 200, 2 speak", calls: 1, people: 200, voices: 2, screens: 0 },
    Scenario {
        name: "C",
        about: "a shared screen: 1 call of 50, 1 screen of 1 Mbit/s in bursts of 8",
        calls: 1,
        people: 50,
        voices: 0,
        screens: 1,
    },
    Scenario { name: "D", about: "many small calls: 50 of 2, both speak", calls: 50, people: 2, voices: 2, screens: 0 },
    Scenario { name: "E1", about: "being there: 1 call of 200, idle", calls: 1, people: 200, voices: 0, screens: 0 },
    Scenario { name: "E2", about: "being there: 100 calls of 2, idle", calls: 100, people: 2, voices: 0, screens: 0 },
    Scenario {
        name: "F",
        about: "size: 1 call of 1,000, 3 speak and 1 shares a screen",
        calls: 1,
        people: 1000,
        voices: 3,
        screens: 1,
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
    /// The scenario of this name, in either case.
    pub fn named(name: &str) -> Option<Self> {
        SCENARIOS.into_iter().find(|scenario| scenario.name.eq_ignore_ascii_case(name))
    }

    pub const fn sessions(&self) -> usize {
        self.calls * self.people
    }

    /// Whether nothing is sent, so that there is a price of being there and none of a packet.
    pub const fn is_idle(&self) -> bool {
        self.voices + self.screens == 0
    }

    /// Everybody's part, in the order of joining: who publishes comes first in each call, so that everyone later finds
    /// the tracks there.
    pub fn parts(&self) -> Vec<Part> {
        let number_first = (0..self.people).flat_map(|number| (0..self.calls).map(move |call| (call, number)));
        number_first
            .map(|(call, number)| {
                let publishes = match number {
                    n if n < self.voices => Some(Source::Voice),
                    n if n < self.voices + self.screens => Some(Source::Screen),
                    _ => None,
                };
                let hears = self.voices + self.screens - usize::from(publishes.is_some());
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
    fn a_screen_is_a_megabit_in_120_packets_a_second() {
        let frames = 1.0 / Source::Screen.interval().as_secs_f64();
        let packets = frames * Source::Screen.packets() as f64;
        assert!((packets - 120.0).abs() < 0.01, "{packets}");
        let bits = packets * 8.0 * Source::Screen.payload_bytes() as f64;
        assert!((bits / 1e6 - 1.0).abs() < 0.001, "{bits}");
    }
}
