//! What load to expect: the shape of the week as it was, on the level of today.
//!
//! A week has 2016 slots of five minutes, in UTC; each remembers the highest load it saw, the last weeks more than those
//! before. So the burst at the full hour is a slot of its own, expected before it comes. A slot that was never seen
//! takes the shape of the most recent day that has it, and on the first day that of the hour: how high the load
//! was at that minute of earlier hours. The level is what came in the last hours beside what was expected of
//! them, so that a holiday costs an hour; the trend is the same over days.

/// Seconds of a slot. Shorter ones would tell bursts better apart, and need more weeks to be sure of them.
pub(crate) const SLOT_SECONDS: i64 = 300;
const SLOTS_A_DAY: i64 = 288;
const SLOTS_AN_HOUR: i64 = 12;
/// Slots of a week.
const SLOTS_A_WEEK: i64 = 7 * SLOTS_A_DAY;
/// The same, as a length.
pub(crate) const SLOTS: usize = SLOTS_A_WEEK as usize;
/// How much the last week counts among all.
const WEEK_WEIGHT: f32 = 0.4;
/// How much the last slot counts in the level: the memory of an hour.
const LEVEL_WEIGHT: f64 = 1.0 / SLOTS_AN_HOUR as f64;
/// How much the last slot counts in the trend: the memory of two days.
const TREND_WEIGHT: f64 = 1.0 / (2 * SLOTS_A_DAY) as f64;
/// How much an hour counts in the shape of hours.
const HOUR_WEIGHT: f64 = 0.3;
/// Load in SFUs below which the level of an hour says little: at night one call is ten times none.
const FAINT: f64 = 0.3;
/// The least and the most that level or trend make of the week's shape.
const SWING: std::ops::RangeInclusive<f64> = 0.0..=2.0;

/// The most that the shape of hours makes of the last hour's load.
const STEEPEST: f64 = 4.0;

/// A shape of the week, and what came of it lately.
#[derive(Clone, Debug, PartialEq)]
pub struct Forecast {
    /// Highest load of each slot of the week, in SFUs; `None` where it was never seen.
    pub(crate) week: Vec<Option<f32>>,
    pub(crate) level: Pair,
    pub(crate) trend: Pair,
    /// For each slot of an hour: its load, and that of the hour before it.
    pub(crate) hour: [Pair; SLOTS_AN_HOUR as usize],
    /// Load of the last hour.
    pub(crate) recent: f64,
    /// The slot that is seen now, counted from 1970, and its highest load so far.
    pub(crate) open: Option<(i64, f64)>,
}

/// What is expected of some slots, in SFUs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ahead {
    /// The highest load, by what it was in the weeks before.
    pub peak: f64,
    /// How much higher that is than the slot before them.
    pub rise: f64,
}

impl Ahead {
    /// The highest load to expect where it is `load` now: never more than it used to be, and where it is less than
    /// usual, only what it used to rise by from here.
    pub fn from(&self, load: f64) -> f64 {
        self.peak.min(load + self.rise)
    }
}

/// The slots that a look ahead goes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slots {
    first: i64,
    last: i64,
}

impl Slots {
    pub(crate) fn ahead(now: i64, horizon_seconds: u32) -> Self {
        let slot = |time: i64| time.div_euclid(SLOT_SECONDS);
        Self { first: slot(now), last: slot(now + i64::from(horizon_seconds)) }
    }
}

/// What came, beside what was expected; both fade alike.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Pair {
    pub(crate) came: f64,
    pub(crate) expected: f64,
}

impl Pair {
    fn add(&mut self, came: f64, expected: f64, weight: f64) {
        self.came += weight * (came - self.came);
        self.expected += weight * (expected - self.expected);
    }

    /// What came of what was expected, 1 for all of it. Where little was expected, `usual` is believed instead.
    fn ratio(&self, usual: f64) -> f64 {
        let ratio = (self.came + FAINT * usual) / (self.expected + FAINT);
        ratio.clamp(*SWING.start(), *SWING.end())
    }
}

impl Default for Forecast {
    fn default() -> Self {
        Self {
            week: vec![None; SLOTS],
            level: Pair::default(),
            trend: Pair::default(),
            hour: [Pair::default(); SLOTS_AN_HOUR as usize],
            recent: 0.0,
            open: None,
        }
    }
}

impl Forecast {
    /// Learns that at `now`, in seconds since 1970, the load was as high. Slots nobody looked at are not learned.
    pub fn learn(&mut self, now: i64, load: f64) {
        let slot = now.div_euclid(SLOT_SECONDS);
        match &mut self.open {
            Some((open, highest)) if *open == slot => *highest = highest.max(load),
            Some((open, highest)) => {
                let (open, highest) = (*open, *highest);
                self.close(open, highest);
                self.open = Some((slot, load));
            }
            None => self.open = Some((slot, load)),
        }
    }

    /// What to expect between `now` and `horizon_seconds` later. `None` before anything is known.
    pub fn ahead(&self, now: i64, horizon_seconds: u32) -> Option<Ahead> {
        let slots = Slots::ahead(now, horizon_seconds);
        let level = self.level.ratio(self.trend.ratio(1.0));
        let peak = (slots.first..=slots.last).filter_map(|slot| self.expected(slot, level)).reduce(f64::max)?;
        let rise = self.expected(slots.first - 1, level).map_or(peak, |before| (peak - before).max(0.0));
        Some(Ahead { peak, rise })
    }

    fn expected(&self, slot: i64, level: f64) -> Option<f64> {
        if let Some(shape) = self.shape(slot) {
            return Some(shape * level);
        }
        let hour = self.hour[place(slot, SLOTS_AN_HOUR)];
        (hour.expected > 0.0).then(|| self.recent * (hour.came / hour.expected).min(STEEPEST))
    }

    /// What the slot had in the weeks before, or if it was never seen on the most recent day that has it.
    fn shape(&self, slot: i64) -> Option<f64> {
        let seen = |slot: i64| self.week[place(slot, SLOTS_A_WEEK)];
        (0..7).find_map(|day| seen(slot - day * SLOTS_A_DAY)).map(f64::from)
    }

    fn close(&mut self, slot: i64, highest: f64) {
        if let Some(expected) = self.shape(slot) {
            self.level.add(highest, expected, LEVEL_WEIGHT);
        }
        self.hour[place(slot, SLOTS_AN_HOUR)].add(highest, self.recent, HOUR_WEIGHT);
        self.recent += LEVEL_WEIGHT * (highest - self.recent);
        let week = &mut self.week[place(slot, SLOTS_A_WEEK)];
        if let Some(last) = *week {
            // Other days tell nothing of growth: a Saturday is no decline.
            self.trend.add(highest, last.into(), TREND_WEIGHT);
        }
        *week = Some(week.map_or(highest as f32, |last| last + WEEK_WEIGHT * (highest as f32 - last)));
    }
}

/// Where a slot stands in a shape of so many.
fn place(slot: i64, slots: i64) -> usize {
    slot.rem_euclid(slots) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3600;
    const DAY: i64 = 24 * HOUR;
    const WEEK: i64 = 7 * DAY;

    /// Learns `load(time)` every five minutes from `from` to `to`.
    fn learn(forecast: &mut Forecast, from: i64, to: i64, load: impl Fn(i64) -> f64) {
        for time in (from..to).step_by(SLOT_SECONDS as usize) {
            forecast.learn(time, load(time));
        }
    }

    /// Two SFUs' load in the first ten minutes of each hour, half of one else.
    fn bursts(time: i64) -> f64 {
        if time.rem_euclid(HOUR) < 600 { 2.0 } else { 0.5 }
    }

    /// Three SFUs' load from 9 to 17 o'clock on five days, nothing else.
    fn office(time: i64) -> f64 {
        let is_open = time.rem_euclid(WEEK) / DAY < 5 && (9..17).contains(&(time.rem_euclid(DAY) / HOUR));
        if is_open { 3.0 } else { 0.0 }
    }

    /// The highest load of the next five minutes, by what it was.
    fn peak(forecast: &Forecast, now: i64, horizon_seconds: u32) -> Option<f64> {
        forecast.ahead(now, horizon_seconds).map(|ahead| ahead.peak)
    }

    fn assert_near(found: Option<f64>, expected: f64) {
        assert!(found.is_some_and(|found| (found - expected).abs() < expected * 0.1), "{found:?}, not {expected}");
    }

    #[test]
    fn nothing_is_expected_of_what_was_never_seen() {
        assert_eq!(Forecast::default().ahead(0, 300), None);
    }

    #[test]
    fn the_burst_at_the_full_hour_is_expected_on_the_first_day() {
        let mut forecast = Forecast::default();
        learn(&mut forecast, 0, 8 * HOUR, bursts);
        assert_near(peak(&forecast, 8 * HOUR - 200, 300), 2.0);
        assert!(peak(&forecast, 8 * HOUR + 900, 300).unwrap() < 1.0);
    }

    #[test]
    fn what_is_less_than_usual_is_expected_to_rise_as_usual_and_no_further() {
        let mut forecast = Forecast::default();
        learn(&mut forecast, 0, 2 * WEEK + 9 * HOUR - 200, |time| bursts(time) + 1.0);
        let ahead = forecast.ahead(2 * WEEK + 9 * HOUR - 200, 300).unwrap();
        assert_near(Some(ahead.from(1.5)), 3.0);
        assert_near(Some(ahead.from(0.5)), 2.0);
        assert_near(Some(ahead.from(2.9)), 3.0);
    }

    #[test]
    fn the_second_day_is_expected_as_the_first_and_the_second_monday_as_the_first() {
        let mut forecast = Forecast::default();
        learn(&mut forecast, 0, DAY + 8 * HOUR, office);
        assert_near(peak(&forecast, DAY + 9 * HOUR - 200, 300), 3.0);
        assert!(peak(&forecast, DAY + 8 * HOUR, 300).unwrap() < 0.1);
        learn(&mut forecast, DAY + 8 * HOUR, WEEK, office);
        assert_near(peak(&forecast, WEEK + 9 * HOUR - 200, 300), 3.0);
        assert!(peak(&forecast, WEEK + 5 * DAY + 9 * HOUR - 200, 300).unwrap() < 0.1, "a Saturday");
    }

    #[test]
    fn a_holiday_is_noticed_within_two_hours() {
        let mut forecast = Forecast::default();
        learn(&mut forecast, 0, WEEK + 9 * HOUR, office);
        learn(&mut forecast, WEEK + 9 * HOUR, WEEK + 11 * HOUR, |_| 0.0);
        assert!(peak(&forecast, WEEK + 11 * HOUR, 300).unwrap() < 1.0);
    }

    #[test]
    fn growth_from_week_to_week_is_expected_to_last() {
        let grown = |time: i64| office(time) * 1.1f64.powi((time / WEEK) as i32);
        let mut forecast = Forecast::default();
        learn(&mut forecast, 0, 4 * WEEK + 10 * HOUR, grown);
        assert_near(peak(&forecast, 4 * WEEK + 12 * HOUR, 300), 3.0 * 1.1f64.powi(4));
    }

    #[test]
    fn slots_nobody_looked_at_are_not_learned() {
        let mut forecast = Forecast::default();
        forecast.learn(0, 1.0);
        forecast.learn(3 * HOUR, 1.0);
        forecast.learn(3 * HOUR + 300, 1.0);
        assert_eq!(forecast.week.iter().flatten().count(), 2);
    }
}
