//! When which source sends its next frame. The clients and the bare send both follow it, so that both send the same.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use sfu_core::time::Time;

use super::scenario::Source;

/// Due times of many sources' frames. Nothing is allocated once all sources are known.
#[derive(Debug, Default)]
pub struct Schedule {
    /// Source by number, as its next frame is due.
    due: BinaryHeap<Reverse<(Time, usize)>>,
    intervals: Vec<Duration>,
}

impl Schedule {
    /// Of these sources from `start` on, spread evenly over an interval, as people who do not know of one another are.
    pub fn new(sources: &[Source], start: Time) -> Self {
        Self::at_intervals(sources.iter().map(|source| source.interval()), start)
    }

    /// The same with other intervals than the sources' own.
    pub fn at_intervals(intervals: impl Iterator<Item = Duration>, start: Time) -> Self {
        let intervals: Vec<Duration> = intervals.collect();
        let n_sources = intervals.len().max(1) as u32;
        let phase =
            |(number, interval): (usize, &Duration)| Reverse((start + *interval * (number as u32) / n_sources, number));
        Self { due: intervals.iter().enumerate().map(phase).collect(), intervals }
    }

    /// When the next frame is due.
    pub fn next_at(&self) -> Option<Time> {
        self.due.peek().map(|Reverse((at, _))| *at)
    }

    /// A source whose frame is due, and when it was; `None` when none is. One that is late catches up.
    pub fn poll(&mut self, now: Time) -> Option<(usize, Time)> {
        let mut first = self.due.peek_mut().filter(|first| first.0.0 <= now)?;
        let Reverse((at, source)) = *first;
        first.0.0 = at + self.intervals[source];
        Some((source, at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(sources: &[Source], until: Time) -> Vec<(u64, usize)> {
        let mut schedule = Schedule::new(sources, Time::from_millis(100));
        let mut sent = Vec::new();
        while let Some(next) = schedule.next_at().filter(|next| *next < until) {
            while let Some((source, at)) = schedule.poll(next) {
                sent.push((at.as_micros(), source));
            }
        }
        sent
    }

    #[test]
    fn sources_send_at_their_pace_and_not_all_at_once() {
        let voices = sent(&[Source::Voice, Source::Voice], Time::from_millis(150));
        assert_eq!(voices, [(100_000, 0), (110_000, 1), (120_000, 0), (130_000, 1), (140_000, 0)]);
        let second = Time::from_millis(1100);
        let mixed = sent(&[Source::Voice, Source::Screen], second);
        assert_eq!(mixed.iter().filter(|(_, source)| *source == 0).count(), 50);
        assert_eq!(mixed.iter().filter(|(_, source)| *source == 1).count(), 15);
    }

    #[test]
    fn who_comes_late_sends_everything_in_order() {
        let mut schedule = Schedule::new(&[Source::Voice], Time::ZERO);
        let late = Time::from_millis(45);
        let polled: Vec<_> = std::iter::from_fn(|| schedule.poll(late)).map(|(_, at)| at.as_millis()).collect();
        assert_eq!(polled, [0, 20, 40]);
        assert_eq!(schedule.next_at(), Some(Time::from_millis(60)));
    }

    #[test]
    fn nobody_sends_nothing() {
        let mut schedule = Schedule::new(&[], Time::ZERO);
        assert_eq!((schedule.next_at(), schedule.poll(Time::from_millis(1))), (None, None));
    }
}
