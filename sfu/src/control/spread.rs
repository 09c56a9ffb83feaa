//! Which media thread a new call lives on.
//!
//! Few threads with much to do each serve more packets per wake-up than many with little, so threads are filled one after
//! the other, up to half: from there on the delay of one packet behind another begins to show.

/// Threads below this take new calls, the fullest of them first. Share of the time, 0.0 to 1.0.
const FILLED: f32 = 0.5;
/// What a new call is taken to cost until the thread's own report includes it: several people with video.
const NEW_CALL: f32 = 0.01;

/// What each media thread has to do.
#[derive(Debug)]
pub struct Spread {
    busy: Vec<f32>,
    /// Calls that came since the last report.
    new: Vec<u16>,
}

impl Spread {
    pub fn new(n_workers: usize) -> Self {
        Self { busy: vec![0.0; n_workers.max(1)], new: vec![0; n_workers.max(1)] }
    }

    /// A thread reports how busy it was over the last second, 0.0 to 1.0.
    pub fn report(&mut self, worker: usize, busy: f32) {
        if let (Some(known), Some(new)) = (self.busy.get_mut(worker), self.new.get_mut(worker)) {
            (*known, *new) = (busy, 0);
        }
    }

    /// The thread for a call that begins now.
    pub fn place(&mut self) -> usize {
        let expected = |worker: &usize| NEW_CALL.mul_add(f32::from(self.new[*worker]), self.busy[*worker]);
        let workers = 0..self.busy.len();
        let fullest = workers.clone().filter(|worker| expected(worker) < FILLED).max_by(|a, b| {
            // Of equal ones the first.
            expected(a).total_cmp(&expected(b)).then(b.cmp(a))
        });
        let least = || workers.min_by(|a, b| expected(a).total_cmp(&expected(b)));
        let chosen = fullest.or_else(least).unwrap_or_default();
        self.new[chosen] = self.new[chosen].saturating_add(1);
        chosen
    }

    /// How busy the threads are on the whole, 0.0 to 1.0.
    pub fn busy(&self) -> f32 {
        self.busy.iter().sum::<f32>() / self.busy.len() as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_filled_one_after_the_other() {
        let mut spread = Spread::new(3);
        assert_eq!([spread.place(), spread.place()], [0, 0]);
        spread.report(0, 0.45);
        spread.report(1, 0.1);
        assert_eq!(spread.place(), 0);
        spread.report(0, 0.51);
        assert_eq!(spread.place(), 1);
    }

    #[test]
    fn a_crowd_does_not_wait_for_reports() {
        let mut spread = Spread::new(2);
        let placed: Vec<usize> = (0..120).map(|_| spread.place()).collect();
        let at = |worker: usize| placed.iter().filter(|placed| **placed == worker).count();
        assert!((50..=70).contains(&at(0)), "{} of 120 calls at the first thread", at(0));
        assert_eq!(at(0) + at(1), 120);
    }

    #[test]
    fn when_all_are_full_the_least_busy_takes_more() {
        let mut spread = Spread::new(2);
        spread.report(0, 0.9);
        spread.report(1, 0.7);
        assert_eq!(spread.place(), 1);
        assert!((spread.busy() - 0.8).abs() < 1e-6);
    }
}
