//! Families of traces: how companies meet. Each is made anew for each seed, and seeds differ in size too.

use super::random::Random;
use super::trace::{Adder, Call, DAY, HOUR, PEOPLE_PER_SFU, Trace, WEEK};

/// Weeks of a trace.
pub const WEEKS: u32 = 4;
/// A random call's people and length on the average, in seconds.
const PEOPLE: f64 = 5.0;
const LENGTH: f64 = 1800.0;

/// One family.
#[derive(Debug, Clone, Copy)]
pub struct Family {
    pub name: &'static str,
    pub about: &'static str,
    /// The autoscaler's constants were chosen on these; the others judge it.
    pub is_tuned_on: bool,
    make: fn(&mut Maker),
}

/// All of them.
pub const FAMILIES: &[Family] = &[
    Family { name: "office", about: "office hours, a third of the calls on the hour", is_tuned_on: true, make: office },
    Family {
        name: "full-hour",
        about: "office hours, all calls planned for :00 or :30",
        is_tuned_on: true,
        make: full_hour,
    },
    Family { name: "flat", about: "as much day and night, with some large calls", is_tuned_on: true, make: flat },
    Family { name: "growth", about: "office hours, a tenth more each week", is_tuned_on: false, make: growth },
    Family {
        name: "all-hands",
        about: "a small office, and now and then everybody within minutes",
        is_tuned_on: false,
        make: all_hands,
    },
    Family { name: "night", about: "evenings from 20:00 to 02:00 only", is_tuned_on: false, make: night },
    Family { name: "three-zones", about: "offices eight hours apart", is_tuned_on: false, make: three_zones },
    Family {
        name: "holidays",
        about: "office hours, every seventh working day off",
        is_tuned_on: false,
        make: holidays,
    },
    Family {
        name: "lectures",
        about: "a weekly timetable of large calls at a quarter past",
        is_tuned_on: false,
        make: lectures,
    },
    Family {
        name: "launch",
        about: "office hours, three times as much from the third week",
        is_tuned_on: false,
        make: launch,
    },
];

impl Family {
    /// The family of this name.
    pub fn named(name: &str) -> Option<Self> {
        FAMILIES.iter().copied().find(|family| family.name == name)
    }

    /// A trace whose usual peak is about this many SFUs.
    pub fn trace(&self, seed: u64, peak: f64) -> Trace {
        let mut maker = Maker { random: Random::new(seed), adder: Adder::new(WEEKS), peak: peak * PEOPLE_PER_SFU };
        (self.make)(&mut maker);
        let Maker { adder, mut random, .. } = maker;
        adder.into_trace(&mut random)
    }
}

/// What makes a trace.
struct Maker {
    random: Random,
    adder: Adder,
    /// People at the usual peak.
    peak: f64,
}

impl Maker {
    fn add(&mut self, call: Call) {
        self.adder.add(&call, &mut self.random);
    }

    /// Calls that begin whenever they like, so that about `people(time)` are there.
    fn spontaneous(&mut self, people: impl Fn(f64) -> f64) {
        let end = f64::from(WEEKS) * WEEK as f64;
        let mut time = 0.0;
        // Gaps are drawn for the rate of the moment, a quarter of an hour at most.
        while time < end {
            let rate = people(time) / (PEOPLE * LENGTH);
            let gap = if rate > 0.0 { self.random.exponential(1.0 / rate) } else { f64::INFINITY };
            if gap > 900.0 {
                time += 900.0;
                continue;
            }
            time += gap;
            let call = Call {
                start: time,
                end: time + LENGTH * self.random.factor(0.7) * 0.78,
                people: 2 + self.random.exponential(PEOPLE - 2.0).round() as u32,
                arrive_within: 60.0,
            };
            self.add(call);
        }
    }

    /// Calls planned for the full and the half hour, so that at the hour about `people(time)` are there.
    fn planned(&mut self, people: impl Fn(f64) -> f64) {
        for half in 0..i64::from(WEEKS) * WEEK / (HOUR / 2) {
            let (time, is_full) = ((half * HOUR / 2) as f64, half % 2 == 0);
            let mut left = people(time) * if is_full { 0.75 } else { 0.3 } * self.random.factor(0.08);
            while left > 0.0 {
                let size = 2.0 + self.random.exponential(6.0).round();
                let length = if is_full && self.random.unit() < 0.6 { 50.0 } else { 25.0 };
                let call = Call {
                    start: time - 60.0,
                    end: time + 60.0 * length + self.random.between(-180.0, 240.0),
                    people: size.min(left.ceil()) as u32,
                    arrive_within: 300.0,
                };
                self.add(call);
                left -= size;
            }
        }
    }

    /// For each day how much it differs from others.
    fn days(&mut self) -> Vec<f64> {
        (0..WEEKS * 7).map(|_| self.random.factor(0.08)).collect()
    }

    fn office(&mut self, share_planned: f64, size: impl Fn(f64) -> f64) {
        let days = self.days();
        let peak = self.peak;
        let people = |time: f64| peak * working(time) * days[day(time)] * size(time);
        self.spontaneous(|time| people(time) * (1.0 - share_planned));
        self.planned(|time| people(time) * share_planned);
    }
}

fn day(time: f64) -> usize {
    ((time / DAY as f64) as usize).min(WEEKS as usize * 7 - 1)
}

/// The shape of a working week, 1 at the usual peak; `time` begins on a Monday.
fn working(time: f64) -> f64 {
    const WEEKDAYS: [f64; 7] = [0.95, 1.05, 1.0, 1.05, 0.8, 0.06, 0.04];
    const HOURS: [(f64, f64); 12] = [
        (0.0, 0.0),
        (7.0, 0.02),
        (8.0, 0.3),
        (9.5, 1.0),
        (11.5, 1.0),
        (12.5, 0.55),
        (13.5, 0.95),
        (16.0, 0.9),
        (17.5, 0.35),
        (19.0, 0.08),
        (22.0, 0.02),
        (24.0, 0.0),
    ];
    WEEKDAYS[day(time) % 7] * along(&HOURS, time.rem_euclid(DAY as f64) / HOUR as f64)
}

/// The value at `x` on the line through `points`.
fn along(points: &[(f64, f64)], x: f64) -> f64 {
    let pair = points.windows(2).find(|pair| x <= pair[1].0);
    pair.map_or(0.0, |pair| {
        let [(from, low), (to, high)] = [pair[0], pair[1]];
        low + (high - low) * (x - from) / (to - from)
    })
}

fn office(maker: &mut Maker) {
    maker.office(0.33, |_| 1.0);
}

fn full_hour(maker: &mut Maker) {
    maker.office(1.0, |_| 1.0);
}

fn growth(maker: &mut Maker) {
    maker.office(0.33, |time| 1.1f64.powf((time / WEEK as f64).floor()) * 0.8);
}

fn launch(maker: &mut Maker) {
    maker.office(0.33, |time| if time < 2.0 * WEEK as f64 { 0.4 } else { 1.2 });
}

fn flat(maker: &mut Maker) {
    let people = maker.peak * 0.5;
    maker.spontaneous(|_| people * 0.8);
    let end = (i64::from(WEEKS) * WEEK) as f64;
    let mut time = 0.0;
    while time < end {
        let size = PEOPLE_PER_SFU * maker.random.between(0.1, 0.8);
        time += maker.random.exponential(size * LENGTH / (people * 0.2));
        let end = time + LENGTH * maker.random.factor(0.4);
        maker.add(Call { start: time, end, people: size as u32, arrive_within: 240.0 });
    }
}

fn all_hands(maker: &mut Maker) {
    maker.office(0.33, |_| 0.4);
    for week in 0..i64::from(WEEKS) {
        for _ in 0..=usize::from(maker.random.unit() < 0.5) {
            let day = maker.random.between(0.0, 5.0).floor();
            let hour = maker.random.between(9.0, 17.0).floor();
            let start = (week * WEEK) as f64 + day * DAY as f64 + hour * HOUR as f64 - 60.0;
            let people = (maker.peak * maker.random.between(0.6, 1.2)) as u32;
            maker.add(Call { start, end: start + 2700.0, people, arrive_within: 240.0 });
        }
    }
}

fn night(maker: &mut Maker) {
    const HOURS: [(f64, f64); 6] = [(0.0, 0.8), (2.0, 0.0), (19.0, 0.0), (20.5, 0.9), (22.0, 1.0), (24.0, 0.8)];
    let (days, peak) = (maker.days(), maker.peak);
    maker.spontaneous(|time| peak * days[day(time)] * along(&HOURS, time.rem_euclid(DAY as f64) / HOUR as f64));
}

fn three_zones(maker: &mut Maker) {
    let (days, peak) = (maker.days(), maker.peak);
    let zones = [(0.0, 0.7), (8.0, 1.0), (16.0, 0.5)];
    let people = |time: f64| {
        let of = |(hours, size): &(f64, f64)| size * working(time + hours * HOUR as f64);
        peak * days[day(time)] * zones.iter().map(of).sum::<f64>()
    };
    maker.spontaneous(|time| people(time) * 0.6);
    maker.planned(|time| people(time) * 0.4);
}

fn holidays(maker: &mut Maker) {
    let off: Vec<bool> = (0..WEEKS * 7).map(|_| maker.random.unit() < 1.0 / 7.0).collect();
    maker.office(0.33, |time| if off[day(time)] { 0.03 } else { 1.0 });
}

fn lectures(maker: &mut Maker) {
    let timetable: Vec<f64> = (0..25).map(|_| maker.random.between(0.0, 0.6)).collect();
    for week in 0..i64::from(WEEKS) {
        for (place, share) in timetable.iter().enumerate() {
            let (day, slot) = ((place / 5) as f64, (place % 5) as f64);
            let start = (week * WEEK) as f64 + day * DAY as f64 + (8.25 + 2.0 * slot) * HOUR as f64;
            let mut left = maker.peak * share * maker.random.factor(0.1);
            while left > 0.0 {
                let size = maker.random.between(20.0, 150.0).min(left.ceil());
                let end = start + 5400.0 + maker.random.between(-600.0, 120.0);
                maker.add(Call { start: start - 300.0, end, people: size as u32, arrive_within: 600.0 });
                left -= size;
            }
        }
    }
    maker.office(0.0, |_| 0.2);
}
