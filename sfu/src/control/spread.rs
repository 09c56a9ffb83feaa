//! Which media thread a session lives on.
//!
//! Few threads with much to do each serve more packets per wake-up than many with little, so threads are filled one after
//! the other, up to half: from there on the delay of one packet behind another begins to show. A call stays together
//! while its thread has room, because a track costs something on each thread that has it. Beyond that, and beyond a number
//! of people, since most of a call's load comes only after its people, the next ones live elsewhere: a call may be as
//! large as all threads together carry.

use std::collections::BTreeMap;

/// Threads below this take new calls, the fullest of them first. Share of the time, 0.0 to 1.0.
const FILLED: f32 = 0.5;
/// Threads below this take more people of the calls they have.
const CROWDED: f32 = 0.7;
/// What somebody who comes is taken to cost until the thread's own report includes it: a receiver of a large call.
const NEW_SESSION: f32 = 0.002;
/// And a new call, of which more people will come at once.
const NEW_CALL: f32 = 0.01;

/// What each media thread has to do.
#[derive(Debug)]
pub struct Spread {
    threads: Vec<Thread>,
    /// Most people of one call on one thread, while others have fewer.
    people_per_thread: usize,
}

#[derive(Debug, Clone, Copy, Default)]
struct Thread {
    /// As it reported last.
    busy: f32,
    /// What came since then is taken to cost.
    new: f32,
}

impl Thread {
    fn expected(self) -> f32 {
        self.busy + self.new
    }
}

impl Spread {
    pub fn new(n_threads: usize, people_per_thread: usize) -> Self {
        Self { threads: vec![Thread::default(); n_threads.max(1)], people_per_thread }
    }

    /// A thread reports how busy it was over the last second, 0.0 to 1.0.
    pub fn report(&mut self, worker: usize, busy: f32) {
        if let Some(thread) = self.threads.get_mut(worker) {
            *thread = Thread { busy, new: 0.0 };
        }
    }

    /// The thread for a session of a call that has so many people on these threads already.
    pub fn place(&mut self, people: &BTreeMap<usize, usize>) -> usize {
        let numbered = || self.threads.iter().enumerate();
        let people_on = |thread: usize| people.get(&thread).copied().unwrap_or_default();
        let is_full = |thread: usize| people_on(thread) >= self.people_per_thread;
        let order = |a: &(usize, &Thread), b: &(usize, &Thread)| a.1.expected().total_cmp(&b.1.expected());
        let together =
            numbered().find(|(at, thread)| people_on(*at) > 0 && !is_full(*at) && thread.expected() < CROWDED);
        // Of equal ones the first.
        let filled = numbered().rev().filter(|(at, thread)| !is_full(*at) && thread.expected() < FILLED);
        let fullest = || filled.max_by(order);
        let rounds = |thread: usize| people_on(thread) / self.people_per_thread;
        let least = || numbered().min_by(|a, b| rounds(a.0).cmp(&rounds(b.0)).then(order(a, b)));
        let chosen = together.or_else(fullest).or_else(least).map_or(0, |(at, _)| at);
        self.threads[chosen].new += if people.is_empty() { NEW_CALL } else { NEW_SESSION };
        chosen
    }

    /// How busy the threads are on the whole, 0.0 to 1.0.
    pub fn busy(&self) -> f32 {
        self.threads.iter().map(|thread| thread.busy).sum::<f32>() / self.threads.len() as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOBODY: BTreeMap<usize, usize> = BTreeMap::new();

    #[test]
    fn threads_are_filled_one_after_the_other() {
        let mut spread = Spread::new(3, 100);
        assert_eq!([spread.place(&NOBODY), spread.place(&NOBODY)], [0, 0]);
        spread.report(0, 0.45);
        spread.report(1, 0.1);
        assert_eq!(spread.place(&NOBODY), 0);
        spread.report(0, 0.51);
        assert_eq!(spread.place(&NOBODY), 1);
    }

    #[test]
    fn a_crowd_does_not_wait_for_reports() {
        let mut spread = Spread::new(2, 100);
        let placed: Vec<usize> = (0..98).map(|_| spread.place(&NOBODY)).collect();
        let at_first = placed.iter().filter(|placed| **placed == 0).count();
        assert!((45..=55).contains(&at_first), "{at_first} of 98 calls at the first thread");
    }

    #[test]
    fn a_call_stays_together_while_its_thread_has_room() {
        let mut spread = Spread::new(2, 100);
        spread.report(1, 0.69);
        assert_eq!(spread.place(&[(1, 5)].into()), 1);
        spread.report(1, 0.71);
        assert_eq!(spread.place(&[(1, 5)].into()), 0, "the rest of a large call lives elsewhere");
        spread.report(0, 0.8);
        assert_eq!(spread.place(&[(0, 1), (1, 5)].into()), 1, "all are crowded: the least busy");
    }

    #[test]
    fn a_call_of_many_people_is_spread_before_anybody_speaks() {
        let mut spread = Spread::new(3, 4);
        let mut people = BTreeMap::new();
        for _ in 0..15 {
            *people.entry(spread.place(&people)).or_default() += 1;
        }
        assert_eq!(people.values().sum::<usize>(), 15);
        assert!(people.values().all(|people| (4..=7).contains(people)), "{people:?}");
    }

    #[test]
    fn load_is_told_of_all_threads_together() {
        let mut spread = Spread::new(2, 100);
        spread.report(0, 0.9);
        spread.report(1, 0.7);
        assert!((spread.busy() - 0.8).abs() < 1e-6);
    }
}
