//! Whether a queue builds up on the way: the trend of the delay against a threshold that adapts.
//!
//! The over-use detector of draft-ietf-rmcat-gcc-02, sections 5.4 and 5.5, with one difference: the delay gradient is
//! the slope of a line fitted to the smoothed delay (least squares), as browsers find it, and not a Kalman filter's
//! state. Constants are those browsers use; the adaptive threshold is described in Carlucci, De Cicco, Holmer and
//! Mascolo, *Analysis and Design of the Google Congestion Control for Web Real-time Communication*, 2016.
//!
//! One condition is ours: a trend counts only while a queue stands, that is, while even the least delayed of the last
//! bursts came later than any did for a while. A radio link holds bursts back by tens of milliseconds and lets others
//! through at once, again and again; a line fitted to that points upwards half of the time, and nothing is congested.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::arrival::Step;

/// Bursts a line is fitted to.
const WINDOW: usize = 20;
/// New share of a smoothed delay, in tenths.
const SMOOTHING: i64 = 1;
/// The slope counts this much more the more measurements there were, up to so many.
const GAIN: f64 = 4.0;
const MAX_COUNT: u32 = 60;
/// The least delayed of the last bursts shows the queue that stands: of at least so many, and of all in this time, in
/// microseconds. Where packets are paced, each may be a burst.
const STANDING_WINDOW: usize = 5;
const STANDING_TIME: i64 = 100_000;
/// More bursts are not looked at.
const MAX_STANDING: usize = 64;
/// What it takes to be a queue, in microseconds.
const STANDING: i64 = 20_000;
/// The least delay of all is remembered for one to two of these, in microseconds: routes change, and clocks drift.
const BASE_TIME: i64 = 10_000_000;
/// Over-use must last this long, in microseconds.
const OVER_TIME: i64 = 10_000;
/// First threshold and its bounds, in microseconds.
const THRESHOLD: i64 = 12_500;
const THRESHOLDS: (i64, i64) = (6_000, 600_000);
/// How fast the threshold follows: per millisecond, up and down.
const FOLLOW: (f64, f64) = (0.0087, 0.039);
/// A trend further above the threshold than this is a sudden event and does not move it, in microseconds.
const MAX_ABOVE: i64 = 15_000;
/// The threshold moves no further than for this time at once, in milliseconds.
const MAX_MOVE: f64 = 100.0;

/// What the delay says of the path.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Usage {
    #[default]
    Normal,
    /// A queue grows, and has just been seen to grow further.
    Over,
    /// A queue may have begun to grow, has ceased to, or empties: more is not sent, and less neither.
    Settling,
}

/// The delay's trend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trend {
    /// Arrival, and the smoothed delay then, both in microseconds.
    points: VecDeque<(i64, i64)>,
    /// Sum of all changes of the delay since the start.
    delay: i64,
    /// It after the last bursts, with when they came.
    delays: VecDeque<(i64, i64)>,
    base: Base,
    smoothed: i64,
    count: u32,
    threshold: i64,
    threshold_moved: Option<i64>,
    /// The slope as it is compared with the threshold.
    gradient: i64,
    /// For how long the trend has been above the threshold.
    over: Option<(i64, u32)>,
}

impl Default for Trend {
    fn default() -> Self {
        Self {
            points: VecDeque::with_capacity(WINDOW),
            delay: 0,
            delays: VecDeque::with_capacity(STANDING_WINDOW),
            base: Base::default(),
            smoothed: 0,
            count: 0,
            threshold: THRESHOLD,
            threshold_moved: None,
            gradient: 0,
            over: None,
        }
    }
}

impl Trend {
    /// Takes in the step between two bursts.
    pub fn handle_step(&mut self, step: Step) -> Usage {
        self.count = (self.count + 1).min(MAX_COUNT);
        self.delay += step.arrived - step.sent;
        self.delays.push_back((step.at, self.delay));
        let is_old = |at: i64| step.at - at > STANDING_TIME;
        while self.delays.len() > MAX_STANDING
            || (self.delays.len() > STANDING_WINDOW && self.delays.front().is_some_and(|(at, _)| is_old(*at)))
        {
            self.delays.pop_front();
        }
        self.base.handle_delay(step.at, self.delay);
        self.smoothed = ((10 - SMOOTHING) * self.smoothed + SMOOTHING * self.delay) / 10;
        if self.points.len() == WINDOW {
            self.points.pop_front();
        }
        self.points.push_back((step.at, self.smoothed));
        let previous = self.gradient;
        if self.points.len() == WINDOW {
            let slope = slope(&self.points).unwrap_or_default();
            self.gradient = (slope * f64::from(self.count) * GAIN * 1000.0) as i64;
        }
        let usage = self.detect(step.sent, previous);
        self.move_threshold(step.at);
        usage
    }

    /// Whether even the least delayed of the last bursts waited.
    fn has_standing_queue(&self) -> bool {
        let least = self.delays.iter().map(|(_, delay)| delay).min();
        let (Some(least), Some(base)) = (least, self.base.least()) else { return false };
        least - base > STANDING
    }

    fn detect(&mut self, sent: i64, previous: i64) -> Usage {
        if !self.has_standing_queue() {
            self.over = None;
            return Usage::Normal;
        }
        if self.gradient > self.threshold {
            // The trend crossed the threshold somewhere between the two bursts.
            let (lasted, count) = self.over.map_or((sent / 2, 1), |(lasted, count)| (lasted + sent, count + 1));
            self.over = Some((lasted, count));
            if lasted > OVER_TIME && count > 1 && self.gradient >= previous {
                self.over = None;
                return Usage::Over;
            }
            return Usage::Settling;
        }
        self.over = None;
        if self.gradient < -self.threshold { Usage::Settling } else { Usage::Normal }
    }

    fn move_threshold(&mut self, at: i64) {
        let moved = self.threshold_moved.replace(at).unwrap_or(at);
        let distance = self.gradient.abs() - self.threshold;
        if distance > MAX_ABOVE {
            return;
        }
        let factor = if distance < 0 { FOLLOW.1 } else { FOLLOW.0 };
        let passed = ((at - moved) as f64 / 1000.0).clamp(0.0, MAX_MOVE);
        self.threshold += (factor * distance as f64 * passed) as i64;
        self.threshold = self.threshold.clamp(THRESHOLDS.0, THRESHOLDS.1);
    }
}

/// The least delay of the last while: of this period and the one before.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Base {
    began: Option<i64>,
    before: Option<i64>,
    current: Option<i64>,
}

impl Base {
    fn handle_delay(&mut self, at: i64, delay: i64) {
        let began = *self.began.get_or_insert(at);
        if at - began >= BASE_TIME {
            self.began = Some(at);
            self.before = self.current.take();
        }
        self.current = Some(self.current.map_or(delay, |least| least.min(delay)));
    }

    fn least(&self) -> Option<i64> {
        self.before.into_iter().chain(self.current).min()
    }
}

/// Slope of the line nearest to the points. `None` if all are at one time.
fn slope(points: &VecDeque<(i64, i64)>) -> Option<f64> {
    let (origin, _) = points.front()?;
    let points = || points.iter().map(|(x, y)| ((x - origin) as f64, *y as f64));
    let count = points().count() as f64;
    let (mean_x, mean_y) =
        (points().map(|(x, _)| x).sum::<f64>() / count, points().map(|(_, y)| y).sum::<f64>() / count);
    let spread: f64 = points().map(|(x, _)| (x - mean_x) * (x - mean_x)).sum();
    let shared: f64 = points().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    (spread > 0.0).then(|| shared / spread)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs bursts 10 ms apart whose delay changes by `delays` microseconds, and returns when what was first found.
    fn run(trend: &mut Trend, at: &mut i64, delays: impl IntoIterator<Item = i64>, wanted: Usage) -> Option<usize> {
        let mut found = None;
        for (count, change) in delays.into_iter().enumerate() {
            let arrived = 10_000 + change;
            *at += arrived;
            if trend.handle_step(Step { sent: 10_000, arrived, at: *at }) == wanted {
                found = found.or(Some(count));
            }
        }
        found
    }

    #[test]
    fn a_growing_queue_is_over_use_and_an_emptying_one_settles() {
        let (mut trend, mut at) = (Trend::default(), 0);
        assert_eq!(run(&mut trend, &mut at, [0; 100], Usage::Over), None);
        let found = run(&mut trend, &mut at, [5_000; 30], Usage::Over).expect("the queue grew by 150 ms");
        assert!(found < 14, "found after {found} bursts, of which each adds 5 ms");
        run(&mut trend, &mut at, [-5_000; 10], Usage::Settling);
        assert_eq!(run(&mut trend, &mut at, [-5_000; 10], Usage::Over), None, "it shrinks");
        assert_eq!(run(&mut trend, &mut at, [-5_000; 10], Usage::Settling), Some(0));
        run(&mut trend, &mut at, [0; 200], Usage::Normal);
        assert_eq!(run(&mut trend, &mut at, [0; 1], Usage::Normal), Some(0));
    }

    #[test]
    fn jitter_without_a_trend_is_normal() {
        let (mut trend, mut at) = (Trend::default(), 0);
        let jitter = (0..2_000).map(|n| if n % 2 == 0 { 4_000 } else { -4_000 });
        assert_eq!(run(&mut trend, &mut at, jitter, Usage::Over), None);
    }

    #[test]
    fn a_link_that_holds_bursts_back_by_chance_is_rarely_over_use() {
        let (mut trend, mut at) = (Trend::default(), 0);
        let mut random = crate::media::random::Random::new(7);
        let mut held = 0;
        let jitter: Vec<i64> = (0..5_000)
            .map(|_| {
                let now = (random.next() % 50_000).cast_signed();
                now - std::mem::replace(&mut held, now)
            })
            .collect();
        let mut over = 0;
        for change in jitter {
            at += 10_000 + change;
            let step = Step { sent: 10_000, arrived: 10_000 + change, at };
            over += usize::from(trend.handle_step(step) == Usage::Over);
        }
        assert!(over <= 20, "{over} of 5000 bursts were over-use");
    }

    #[test]
    fn clocks_of_different_speed_are_normal() {
        let (mut trend, mut at) = (Trend::default(), 0);
        assert_eq!(run(&mut trend, &mut at, std::iter::repeat_n(3, 10_000), Usage::Over), None, "300 ppm");
    }
}
