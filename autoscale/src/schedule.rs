//! Floors by the calendar: from each moment that an entry names, as many SFUs are wanted at least, until the next such
//! moment of any entry.

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use thiserror::Error;

/// A moment by which every day that ever comes has been, in seconds since 1970: the year 2100.
const FAR: i64 = 4_102_444_800;

/// One floor, as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When it begins: minute, hour, day of the month, month, day of the week, as `0 8 * * 1-5`.
    pub cron: String,
    /// Whose clock `cron` reads, as `Europe/Berlin`.
    pub time_zone: String,
    /// How many SFUs are wanted from then on at least.
    pub min_replicas: u32,
}

/// Entries that are understood.
#[derive(Clone, Debug, Default)]
pub struct Schedule(Vec<Parsed>);

#[derive(Clone, Debug)]
struct Parsed {
    entry: Entry,
    cron: Cron,
    zone: TimeZone,
}

impl PartialEq for Schedule {
    fn eq(&self, other: &Self) -> bool {
        self.0.iter().map(|one| &one.entry).eq(other.0.iter().map(|one| &one.entry))
    }
}

/// What is wrong with an entry.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ScheduleError {
    #[error("{0:?} is no cron expression of five fields, for example \"0 8 * * 1-5\" ({1})")]
    Cron(String, String),
    #[error("{0:?} names no day that ever comes")]
    Never(String),
    #[error("{0:?} is no time zone, for example Europe/Berlin or UTC")]
    TimeZone(String),
}

impl Schedule {
    /// Reads entries.
    ///
    /// # Errors
    /// The first that is not understood.
    pub fn new(entries: &[Entry]) -> Result<Self, ScheduleError> {
        entries.iter().map(parse).collect::<Result<_, _>>().map(Self)
    }

    /// The entry at this place of the list.
    pub fn entry(&self, index: usize) -> Option<&Entry> {
        self.0.get(index).map(|one| &one.entry)
    }

    /// The entry that began last at or before `now` (seconds since 1970), by its place, with its floor. Of several that
    /// began together the highest floor.
    pub fn floor(&self, now: i64) -> Option<(usize, u32)> {
        let began = |(index, one): (usize, &Parsed)| Some((one.began(now)?, one.entry.min_replicas, index));
        let (_, floor, index) = self.0.iter().enumerate().filter_map(began).max()?;
        Some((index, floor))
    }
}

impl Parsed {
    /// When it began last, in seconds since 1970.
    fn began(&self, now: i64) -> Option<i64> {
        let now = Timestamp::from_second(now).ok()?.to_zoned(self.zone.clone());
        Some(self.cron.find_previous_occurrence(&now, true).ok()?.timestamp().as_second())
    }
}

fn parse(entry: &Entry) -> Result<Parsed, ScheduleError> {
    let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
    let cron = parser.parse(&entry.cron).map_err(|error| ScheduleError::Cron(entry.cron.clone(), error.to_string()))?;
    let zone = TimeZone::get(&entry.time_zone).map_err(|_| ScheduleError::TimeZone(entry.time_zone.clone()))?;
    let parsed = Parsed { entry: entry.clone(), cron, zone };
    parsed.began(FAR).map(|_| parsed).ok_or_else(|| ScheduleError::Never(entry.cron.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(cron: &str, time_zone: &str, min_replicas: u32) -> Entry {
        Entry { cron: cron.into(), time_zone: time_zone.into(), min_replicas }
    }

    fn at(time: &str) -> i64 {
        time.parse::<Timestamp>().unwrap().as_second()
    }

    #[test]
    fn the_entry_that_began_last_is_in_force() {
        let berlin = "Europe/Berlin";
        let entries = [entry("0 8 * * 1-5", berlin, 5), entry("0 18 * * 1-5", berlin, 2)];
        let schedule = Schedule::new(&entries).unwrap();
        // Summer, then winter: Berlin is two hours ahead, then one.
        for (time, floor) in [
            ("2026-07-01T05:59:59Z", 2),
            ("2026-07-01T06:00:00Z", 5),
            ("2026-07-01T15:59:59Z", 5),
            ("2026-07-01T16:00:00Z", 2),
            ("2026-07-05T10:00:00Z", 2),
            ("2026-12-01T06:30:00Z", 2),
            ("2026-12-01T07:00:00Z", 5),
        ] {
            assert_eq!(schedule.floor(at(time)).map(|(_, floor)| floor), Some(floor), "{time}");
        }
    }

    #[test]
    fn of_entries_that_begin_together_the_highest_is_in_force() {
        let schedule = Schedule::new(&[entry("0 8 * * *", "UTC", 5), entry("0 8 * * 1", "UTC", 3)]).unwrap();
        assert_eq!(schedule.floor(at("2026-11-23T09:00:00Z")), Some((0, 5)));
        assert_eq!(Schedule::default().floor(0), None);
    }

    #[test]
    fn a_clock_that_skips_or_repeats_an_hour_begins_an_entry_once() {
        // On 2026-03-29 there is no 02:30 in Berlin, on 2026-10-25 there are two.
        let half = Schedule::new(&[entry("30 2 * * *", "Europe/Berlin", 4), entry("0 12 * * *", "UTC", 1)]).unwrap();
        for (time, floor) in [
            ("2026-03-29T00:59:59Z", 1),
            ("2026-03-29T01:30:00Z", 4),
            ("2026-10-25T00:29:59Z", 1),
            ("2026-10-25T00:30:00Z", 4),
            ("2026-10-25T12:00:00Z", 1),
        ] {
            assert_eq!(half.floor(at(time)).map(|(_, floor)| floor), Some(floor), "{time}");
        }
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let error = |cron: &str, zone: &str| Schedule::new(&[entry(cron, zone, 1)]).unwrap_err().to_string();
        assert!(error("0 8 * *", "UTC").contains("five fields"));
        assert!(error("0 0 8 * * *", "UTC").contains("five fields"));
        assert!(error("0 25 * * *", "UTC").contains("\"0 25 * * *\""));
        assert_eq!(error("0 8 30 2 *", "UTC"), "\"0 8 30 2 *\" names no day that ever comes");
        assert_eq!(error("0 8 * * *", "Berlin"), "\"Berlin\" is no time zone, for example Europe/Berlin or UTC");
    }
}
