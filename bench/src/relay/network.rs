//! Networks by name: how bad the way between a client and its server is.

use std::time::Duration;

use serde::Serialize;

/// Both directions of a way, each with chances of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Network {
    pub name: &'static str,
    /// What it stands for.
    pub about: &'static str,
    /// How long each datagram is on its way, on a network with nothing to wait for.
    #[serde(skip)]
    pub delay: Duration,
    /// Datagrams are held back up to this long, as radio does; for how long is drawn anew a few times a second.
    #[serde(skip)]
    pub hold: Duration,
    /// Of a thousand datagrams, so many are not held back, and overtake those that are.
    #[serde(skip)]
    pub overtaking: u64,
    #[serde(skip)]
    pub loss: Loss,
    /// Bits a second, each for an equal part of the time the course takes, the last from then on. None: no limit.
    pub rates: &'static [u64],
    /// A datagram that would wait longer than this for the link is dropped.
    #[serde(skip)]
    pub queue: Duration,
}

/// Loss in bursts: two states with a loss of their own (Gilbert and Elliott's model). Of a thousand datagrams each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Loss {
    /// Lost in good times.
    pub good: u64,
    /// Lost in bad times.
    pub bad: u64,
    /// After so many, bad times begin.
    pub begins: u64,
    /// After so many, they end.
    pub ends: u64,
}

/// A way through a town and back: what a good access has.
const CLEAN: Network = Network {
    name: "clean",
    about: "20 ms each way, nothing else",
    delay: Duration::from_millis(20),
    hold: Duration::ZERO,
    overtaking: 0,
    loss: Loss { good: 0, bad: 0, begins: 0, ends: 0 },
    rates: &[],
    queue: Duration::from_millis(250),
};

/// All networks. Both directions of each are alike.
pub const NETWORKS: [Network; 7] = [
    CLEAN,
    Network {
        name: "loss",
        about: "5 % of the datagrams lost, one by one",
        loss: Loss { good: 50, ..CLEAN.loss },
        ..CLEAN
    },
    Network {
        name: "bursts",
        about: "5 % lost in bursts of some 8 datagrams",
        loss: Loss { good: 0, bad: 800, begins: 8, ends: 125 },
        ..CLEAN
    },
    Network {
        name: "jitter",
        about: "held back up to 50 ms, and 5 % overtake the others",
        hold: Duration::from_millis(50),
        overtaking: 50,
        ..CLEAN
    },
    Network { name: "narrow", about: "a link of 1 Mbit/s with a queue of 250 ms", rates: &[1_000_000], ..CLEAN },
    Network {
        name: "steps",
        about: "a link of 3, then 0.5, then 3 Mbit/s with a queue of 250 ms, a third of the time each",
        rates: &[3_000_000, 500_000, 3_000_000],
        ..CLEAN
    },
    Network {
        name: "choke",
        about: "a link of 3, then 0.1, then 3 Mbit/s with a queue of 250 ms: for a third of the time only voices fit",
        rates: &[3_000_000, 100_000, 3_000_000],
        ..CLEAN
    },
];

impl Network {
    /// The network of this name.
    pub fn named(name: &str) -> Option<Self> {
        NETWORKS.into_iter().find(|network| network.name == name)
    }

    /// Bits a second `since` its course began, which takes `course`; `None` without a limit.
    pub fn rate(&self, since: Duration, course: Duration) -> Option<u64> {
        let n_rates = self.rates.len() as u128;
        let at = since.as_micros() * n_rates / course.as_micros().max(1);
        let last = self.rates.len().checked_sub(1)?;
        self.rates.get(usize::try_from(at).unwrap_or(last).min(last)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_found_by_its_name() {
        for network in NETWORKS {
            assert_eq!(Network::named(network.name), Some(network));
        }
        assert_eq!(Network::named("perfect"), None);
    }

    #[test]
    fn rates_take_turns_and_the_last_stays() {
        let steps = Network::named("steps").expect("known");
        let rate = |seconds| steps.rate(Duration::from_secs(seconds), Duration::from_secs(30));
        let rates = [0, 9, 10, 19, 20, 31, 1000].map(rate);
        assert_eq!(rates, [3_000, 3_000, 500, 500, 3_000, 3_000, 3_000].map(|kbits| Some(kbits * 1000)));
        assert_eq!(CLEAN.rate(Duration::ZERO, Duration::ZERO), None);
        let narrow = Network::named("narrow").expect("known");
        assert_eq!(narrow.rate(Duration::from_secs(5), Duration::ZERO), Some(1_000_000));
    }
}
