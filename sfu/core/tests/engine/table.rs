//! The table of slow links: what went over one, and what was seen behind it. `cargo test -p sfu-core --test engine --
//! --nocapture` shows the rows of all scenarios that print some.

use std::fmt;
use std::time::Duration;

use sfu_core::id::Ssrc;
use sfu_core::time::Time;

use crate::client::Received;
use crate::network::Carried;
use crate::world::World;

/// Whole pictures farther apart than this are a freeze.
const FREEZE: Duration = Duration::from_millis(200);

/// What became of the first bottleneck since a moment.
#[derive(Debug)]
pub struct Row {
    name: &'static str,
    /// Bits per second that it carries, and that left it.
    link: u64,
    used: u64,
    waited: Duration,
    lost: usize,
    /// Of all who were looked at.
    freezes: Vec<Duration>,
    /// How long it took the former layer to be back, if it came back.
    back: Option<Duration>,
}

impl Row {
    /// `seen` are the clients that are looked at, each with what it sees.
    pub fn new(world: &World, name: &'static str, from: Time, seen: &[(u64, Ssrc)]) -> Self {
        let freezes = |(number, ssrc): &(u64, Ssrc)| freezes(world.received(*number, *ssrc), from, world.now);
        Self {
            name,
            link: world.bottlenecks[0].rate,
            used: rate_since(world, from),
            waited: longest_wait_since(world, from),
            lost: since(world, from).filter(|carried| carried.waited.is_none()).count(),
            freezes: seen.iter().flat_map(freezes).collect(),
            back: None,
        }
    }

    /// With how long it took the former layer to be back.
    pub fn back(self, after: Option<Duration>) -> Self {
        Self { back: after, ..self }
    }

    /// How long pictures stood still, all together.
    pub fn frozen(&self) -> Duration {
        self.freezes.iter().sum()
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, link, used, waited, lost, freezes, back } = self;
        let back = back.map_or_else(|| "-".to_owned(), |after| format!("{} ms", after.as_millis()));
        write!(
            f,
            "{name:<42} link {:>5} kb/s  used {:>5} kb/s  waited at most {:>3} ms  lost {lost:>4}  {:>2} freezes of {:>5} ms  back after {back:>7}",
            link / 1000,
            used / 1000,
            waited.as_millis(),
            freezes.len(),
            self.frozen().as_millis(),
        )
    }
}

/// What the first bottleneck was to carry since then.
pub fn since(world: &World, from: Time) -> impl DoubleEndedIterator<Item = &Carried> {
    world.bottlenecks[0].log.iter().filter(move |carried| carried.at >= from)
}

/// Bits per second that left it.
pub fn rate_since(world: &World, from: Time) -> u64 {
    let bytes: usize = since(world, from).filter(|carried| carried.waited.is_some()).map(|carried| carried.bytes).sum();
    bytes as u64 * 8_000 / (world.now.since(from).as_millis() as u64).max(1)
}

pub fn longest_wait_since(world: &World, from: Time) -> Duration {
    since(world, from).filter_map(|carried| carried.waited).max().unwrap_or_default()
}

/// How long a picture stood still, each time that it did.
fn freezes(received: &Received, from: Time, until: Time) -> Vec<Duration> {
    let shown = received.whole_pictures();
    let first = shown.iter().rfind(|at| **at < from).copied().unwrap_or(from);
    let shown = shown.iter().copied().filter(|at| *at >= from).chain([until]);
    let pauses = shown.scan(first, |last, at| Some(at.since(std::mem::replace(last, at.max(*last)))));
    pauses.filter(|pause| *pause > FREEZE).collect()
}
