//! An SFU that leaves: which of its calls go elsewhere, and when.
//!
//! Pure: time and calls are passed in, and whoever asks carries it out. Calls go whole, small ones first, because the
//! people of one that moves fall silent for a moment, and there are fewer of them the more have gone by then. They go
//! in batches as far apart as directors hear of loads, so that each batch is placed by what the one before has become.

use std::time::Duration;

use fleet::api::{DrainMode, DrainOrder, DrainStatus, WATCH_HEARTBEAT_SECONDS};
use sfu_core::time::Time;

/// Between two batches, and before the first: until every director has heard that no new calls are taken here, and what
/// the last batch costs where it went.
const BATCH_INTERVAL: Duration = Duration::from_secs(WATCH_HEARTBEAT_SECONDS);
/// People of a batch, if the deadline lets it be so few: as many joins a second cost their new SFU a few percent of a
/// CPU. A call of more is a batch of its own.
const BATCH_PEOPLE: usize = 20;

/// How the leaving stands.
#[derive(Debug, Clone)]
pub struct Drain {
    mode: DrainMode,
    nobody_takes: bool,
    since: Moment,
    deadline: Moment,
    next_batch: Time,
    moved: u32,
    /// The process ends, so there is no staying.
    is_final: bool,
}

/// A moment by our clock, and by everybody's.
#[derive(Debug, Clone, Copy)]
struct Moment {
    at: Time,
    /// Seconds since 1970.
    unix: i64,
}

impl Moment {
    fn after(self, time: Duration) -> Self {
        Self { at: self.at + time, unix: self.unix.saturating_add_unsigned(time.as_secs()) }
    }
}

impl Drain {
    /// Begins as ordered at `now`, which is `unix` seconds since 1970.
    pub fn begin(order: DrainOrder, now: Time, unix: i64) -> Self {
        let since = Moment { at: now, unix };
        Self {
            mode: order.mode,
            nobody_takes: order.nobody_takes,
            since,
            deadline: since.after(time_of(order)),
            next_batch: now + BATCH_INTERVAL,
            moved: 0,
            is_final: false,
        }
    }

    /// Takes over what a later order says, unless the process is to end.
    pub fn change(&mut self, order: DrainOrder, now: Time, unix: i64) {
        if self.is_final {
            return;
        }
        self.mode = order.mode;
        self.nobody_takes = order.nobody_takes;
        self.deadline = Moment { at: now, unix }.after(time_of(order));
    }

    /// The process is to end `within` that time. Calls that leave one by one go on doing so, others leave at once.
    pub fn stopping(before: Option<Self>, within: Duration, now: Time, unix: i64) -> Self {
        let last = Moment { at: now, unix }.after(within);
        match before {
            Some(before) if before.is_final => before,
            Some(before) if before.mode == DrainMode::Move => {
                let deadline = if last.at < before.deadline.at { last } else { before.deadline };
                Self { deadline, is_final: true, ..before }
            }
            before => {
                let at_once = DrainOrder { mode: DrainMode::Move, within_seconds: 0, nobody_takes: false };
                let drain = Self::begin(at_once, now, unix);
                let (since, moved) = before.map_or((drain.since, 0), |before| (before.since, before.moved));
                Self { since, moved, is_final: true, ..drain }
            }
        }
    }

    pub fn is_final(&self) -> bool {
        self.is_final
    }

    /// Whether calls that are turned away here may begin at another SFU.
    pub fn has_takers(&self) -> bool {
        !self.nobody_takes
    }

    /// The calls that go elsewhere now, of those that are here with so many people. They are counted as gone.
    pub fn take_due<'c>(&mut self, calls: impl Iterator<Item = (&'c str, usize)>, now: Time) -> Vec<String> {
        let is_over = now >= self.deadline.at;
        if !is_over && (self.mode == DrainMode::Wait || now < self.next_batch) {
            return Vec::new();
        }
        let mut calls: Vec<(usize, &str)> = calls.map(|(name, people)| (people.max(1), name)).collect();
        calls.sort_unstable();
        let room = if is_over { usize::MAX } else { self.batch(calls.iter().map(|(people, _)| people).sum(), now) };
        let mut people = 0_usize;
        let fits = |(n, _): &(usize, &str)| {
            let is_first = people == 0;
            people = people.saturating_add(*n);
            is_first || people <= room
        };
        let due: Vec<String> = calls.into_iter().take_while(fits).map(|(_, name)| name.to_owned()).collect();
        self.next_batch = now + BATCH_INTERVAL;
        self.moved = self.moved.saturating_add(u32::try_from(due.len()).unwrap_or(u32::MAX));
        due
    }

    /// What the fleet is told, with so many calls left.
    pub fn status(&self, calls_left: u32) -> DrainStatus {
        DrainStatus {
            mode: self.mode,
            nobody_takes: self.nobody_takes,
            since: self.since.unix,
            deadline: self.deadline.unix,
            calls_left,
            calls_moved: self.moved,
        }
    }

    /// How many of `people` may go with one batch: so many that all are gone by half of the time left, because the
    /// largest calls, which go last, are those that need it.
    fn batch(&self, people: usize, now: Time) -> usize {
        let left = self.deadline.at.since(now) / 2;
        let batches = usize::try_from(left.as_millis() / BATCH_INTERVAL.as_millis()).unwrap_or(usize::MAX).max(1);
        people.div_ceil(batches).max(BATCH_PEOPLE)
    }
}

fn time_of(order: DrainOrder) -> Duration {
    Duration::from_secs(order.within_seconds.into())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> Time {
        Time::from_millis(seconds * 1000)
    }

    fn order(mode: DrainMode, within_seconds: u32) -> DrainOrder {
        DrainOrder { mode, within_seconds, nobody_takes: false }
    }

    /// The names that go at `now`; they are taken out of `calls`.
    fn go(drain: &mut Drain, calls: &mut BTreeMap<String, usize>, now: Time) -> Vec<String> {
        let due = drain.take_due(calls.iter().map(|(name, people)| (name.as_str(), *people)), now);
        for name in &due {
            assert!(calls.remove(name).is_some(), "{name} goes twice");
        }
        due
    }

    fn calls(of: &[(&str, usize)]) -> BTreeMap<String, usize> {
        of.iter().map(|(name, people)| ((*name).to_owned(), *people)).collect()
    }

    #[test]
    fn small_calls_go_first_and_a_large_one_goes_alone() {
        let mut drain = Drain::begin(order(DrainMode::Move, 480), at(0), 1000);
        let mut here = calls(&[("all-hands", 90), ("board", 12), ("retro", 8), ("standup", 4), ("one-to-one", 2)]);
        assert_eq!(go(&mut drain, &mut here, at(0)), [""; 0], "before directors have heard of it");
        assert_eq!(go(&mut drain, &mut here, at(1)), ["one-to-one", "standup", "retro"]);
        assert_eq!(go(&mut drain, &mut here, Time::from_millis(1900)), [""; 0]);
        assert_eq!(go(&mut drain, &mut here, at(2)), ["board"]);
        assert_eq!(go(&mut drain, &mut here, at(3)), ["all-hands"]);
        let told = drain.status(0);
        assert_eq!((told.since, told.deadline, told.calls_moved), (1000, 1480, 5));
    }

    #[test]
    fn waiting_sends_nobody_away_before_the_deadline_and_everybody_then() {
        let mut drain = Drain::begin(order(DrainMode::Wait, 60), at(0), 0);
        let mut here = calls(&[("standup", 4), ("all-hands", 90)]);
        assert_eq!(go(&mut drain, &mut here, at(59)), [""; 0]);
        assert_eq!(go(&mut drain, &mut here, at(60)), ["standup", "all-hands"]);
    }

    #[test]
    fn a_later_order_changes_mode_and_deadline_and_not_the_beginning() {
        let mut drain = Drain::begin(order(DrainMode::Wait, 600), at(0), 1000);
        let alone = DrainOrder { nobody_takes: true, ..order(DrainMode::Move, 20) };
        drain.change(alone, at(30), 1030);
        let told = drain.status(7);
        assert!(told.nobody_takes && !drain.has_takers());
        assert_eq!((told.mode, told.since, told.deadline, told.calls_left), (DrainMode::Move, 1000, 1050, 7));
        let mut here = calls(&[("standup", 4)]);
        assert_eq!(go(&mut drain, &mut here, at(31)), ["standup"]);
    }

    #[test]
    fn a_process_that_ends_sends_everybody_away_at_once_but_keeps_the_pace_of_a_move() {
        let here = [("standup", 4), ("all-hands", 90), ("board", 12)];
        for before in [None, Some(Drain::begin(order(DrainMode::Wait, 600), at(0), 0))] {
            let mut drain = Drain::stopping(before, Duration::from_secs(50), at(5), 5);
            assert_eq!(go(&mut drain, &mut calls(&here), at(5)).len(), 3);
            assert!(drain.is_final());
        }
        let moving = Drain::begin(order(DrainMode::Move, 600), at(0), 0);
        let mut drain = Drain::stopping(Some(moving), Duration::from_secs(50), at(5), 5);
        let mut left = calls(&here);
        assert_eq!(go(&mut drain, &mut left, at(5)), ["standup", "board"]);
        assert_eq!(drain.status(1).deadline, 55);
        drain.change(order(DrainMode::Wait, 600), at(6), 6);
        assert_eq!(go(&mut drain, &mut left, at(55)), ["all-hands"]);
    }

    proptest! {
        /// However many there are, each call goes once and whole, none after a larger one that stayed, and the last by
        /// the deadline.
        #[test]
        fn every_call_goes_once_in_order_and_in_time(
            sizes in prop::collection::vec(0_usize..400, 0..200),
            within in 0_u32..600,
        ) {
            let mut here: BTreeMap<String, usize> =
                sizes.iter().enumerate().map(|(n, size)| (format!("call-{n}"), *size)).collect();
            let before = here.clone();
            let mut drain = Drain::begin(order(DrainMode::Move, within), at(0), 0);
            let (mut gone, mut largest) = (0, 0);
            for second in 0..=u64::from(within) {
                let due = go(&mut drain, &mut here, at(second));
                gone += due.len();
                for name in due {
                    prop_assert!(before[&name].max(1) >= largest);
                    largest = before[&name].max(1);
                }
            }
            prop_assert_eq!((gone, here.len()), (sizes.len(), 0));
            prop_assert_eq!(drain.status(0).calls_moved as usize, sizes.len());
        }
    }
}
