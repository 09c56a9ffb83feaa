//! A forecast's history as text, so that it outlives the operator: words and numbers a person can read, at most 17 kB.
//!
//! ```text
//! v1
//! level 3120 2980
//! trend 2500 2450
//! hour 2000 1000 …      twelve pairs
//! week 0 12 - 310 …     a number a slot, from Thursday 00:00 UTC; `-` for never seen
//! ```
//!
//! Loads are in thousandths of an SFU.

use thiserror::Error;

use crate::forecast::{Forecast, Pair, SLOTS};

const VERSION: &str = "v1";
/// What loads are written in, of an SFU.
const UNIT: f64 = 1000.0;
/// The most that is written of a load: more SFUs than a fleet has.
const MAX: f64 = 9_999_999.0;

/// Why a history cannot be read. It is begun anew then: nobody can mend it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum HistoryError {
    #[error("the history is of another version")]
    Version,
    #[error("the history is not whole")]
    Broken,
}

impl Forecast {
    /// What is known, but for the slot that is seen now.
    pub fn write(&self) -> String {
        let number = |load: f64| format!("{}", (load * UNIT).round().clamp(0.0, MAX));
        let pair = |pair: &Pair| format!("{} {}", number(pair.came), number(pair.expected));
        let hour: Vec<String> = self.hour.iter().map(pair).collect();
        let slot = |load: &Option<f32>| load.map_or_else(|| "-".to_owned(), |load| number(f64::from(load)));
        let week: Vec<String> = self.week.iter().map(slot).collect();
        let (level, trend) = (pair(&self.level), pair(&self.trend));
        format!("{VERSION}\nlevel {level}\ntrend {trend}\nhour {}\nweek {}\n", hour.join(" "), week.join(" "))
    }

    /// Reads what [`Forecast::write`] wrote.
    ///
    /// # Errors
    /// If it is of another version, or a number is missing.
    pub fn parse(text: &str) -> Result<Self, HistoryError> {
        let mut lines = text.lines();
        if lines.next() != Some(VERSION) {
            return Err(HistoryError::Version);
        }
        let mut line = |word: &str| {
            let line = lines.next().and_then(|line| line.strip_prefix(word)).ok_or(HistoryError::Broken)?;
            line.split_whitespace().map(number).collect::<Result<Vec<Option<f64>>, _>>()
        };
        let (level, trend, hour, week) = (line("level ")?, line("trend ")?, line("hour ")?, line("week ")?);
        let mut forecast = Self { level: one_pair(&level)?, trend: one_pair(&trend)?, ..Self::default() };
        if week.len() != SLOTS || hour.len() != 2 * forecast.hour.len() {
            return Err(HistoryError::Broken);
        }
        for (pair, numbers) in forecast.hour.iter_mut().zip(hour.chunks(2)) {
            *pair = one_pair(numbers)?;
        }
        forecast.week = week.into_iter().map(|load| load.map(|load| load as f32)).collect();
        Ok(forecast)
    }
}

fn number(word: &str) -> Result<Option<f64>, HistoryError> {
    if word == "-" {
        return Ok(None);
    }
    word.parse::<u32>().map(|number| Some(f64::from(number) / UNIT)).map_err(|_| HistoryError::Broken)
}

fn one_pair(numbers: &[Option<f64>]) -> Result<Pair, HistoryError> {
    let [Some(came), Some(expected)] = *numbers else { return Err(HistoryError::Broken) };
    Ok(Pair { came, expected })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_survives_being_written_and_is_small() {
        let mut forecast = Forecast::default();
        for minute in 0..3 * 24 * 60 {
            forecast.learn(minute * 60, 123.0 + (minute % 60) as f64);
        }
        let text = forecast.write();
        let read = Forecast::parse(&text).unwrap();
        assert_eq!(read.write(), text);
        let [one, other] = [&forecast, &read].map(|one| one.ahead(3 * 24 * 3600, 600).unwrap().peak);
        assert!((one - other).abs() < 0.01, "{one}, {other}");
        assert!(text.len() < 17_000);
    }

    #[test]
    fn a_history_is_bounded_whatever_the_load() {
        let mut forecast = Forecast::default();
        for slot in 0..3000 {
            forecast.learn(slot * 300, 1e12);
        }
        assert!(forecast.write().len() < 17_000, "{}", forecast.write().len());
        assert!(Forecast::parse(&forecast.write()).is_ok());
    }

    #[test]
    fn what_is_no_history_is_refused() {
        let text = Forecast::default().write();
        for (broken, error) in [
            (String::new(), HistoryError::Version),
            (text.replace("v1", "v2"), HistoryError::Version),
            (text.replace("week -", "week"), HistoryError::Broken),
            (text.replace("week -", "week -1"), HistoryError::Broken),
            (text.replace("level 0", "level -"), HistoryError::Broken),
        ] {
            assert_eq!(Forecast::parse(&broken), Err(error));
        }
    }
}
