//! Each scaler with many parameters over the traces of a family, and the best that can be had of it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use autoscale::{Buffer, Policy};

use super::family::{Family, WEEKS};
use super::scaler::{Buffered, Fixed, Hpa, MAX, Ours, Room, Scaler};
use super::trace::Trace;
use super::world::{Outcome, simulate};

/// Usual peaks of the traces of a family, in SFUs; the seeds take turns.
const PEAKS: [f64; 3] = [4.0, 8.0, 16.0];
/// Parameters swept; finer steps move no front by a percent.
const TARGETS: [f64; 10] = [30.0, 40.0, 50.0, 60.0, 65.0, 70.0, 75.0, 80.0, 85.0, 90.0];
const WINDOWS: [u32; 3] = [0, 60, 300];
const HORIZONS: [Option<u32>; 3] = [None, Some(120), Some(300)];
const HPA_TARGETS: [f64; 13] = [20.0, 30.0, 40.0, 45.0, 50.0, 55.0, 60.0, 65.0, 70.0, 75.0, 80.0, 85.0, 90.0];
const HPA_WINDOWS: [i64; 4] = [0, 60, 300, 600];
const ROOMS: [f64; 10] = [0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0];
const SHARES: [f64; 9] = [5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 40.0, 50.0, 60.0];
const MOST_FIXED: u32 = 40;

/// Who is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contender {
    Ours,
    Hpa,
    Buffered,
    Fixed,
}

impl Contender {
    pub const ALL: [Self; 4] = [Self::Ours, Self::Hpa, Self::Buffered, Self::Fixed];

    pub fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Hpa => "HPA on CPU",
            Self::Buffered => "buffer",
            Self::Fixed => "fixed",
        }
    }

    /// Every set of parameters, with its name.
    pub fn entries(self) -> Vec<Entry> {
        match self {
            Self::Ours => ours(),
            Self::Hpa => {
                let all = HPA_TARGETS.iter().flat_map(|target| HPA_WINDOWS.map(|window| (*target, window)));
                let entry = |(target, window)| {
                    Entry::new(format!("{target} %, {window} s"), move || Hpa::new(target / 100.0, window))
                };
                all.map(entry).collect()
            }
            Self::Buffered => {
                let rooms = ROOMS.map(|room| Entry::new(format!("{room} SFUs"), move || Buffered(Room::Sfus(room))));
                let shares =
                    SHARES.map(|share| Entry::new(format!("{share} %"), move || Buffered(Room::Percent(share))));
                rooms.into_iter().chain(shares).collect()
            }
            Self::Fixed => (1..=MOST_FIXED).map(|n| Entry::new(format!("{n}"), move || Fixed(n))).collect(),
        }
    }
}

fn ours() -> Vec<Entry> {
    let mut entries = Vec::new();
    for horizon_seconds in HORIZONS {
        for target_percent in TARGETS {
            for stabilization_seconds in WINDOWS {
                let policy = Policy {
                    min: 1,
                    max: MAX,
                    target_percent,
                    buffer: Buffer::Percent(0.0),
                    horizon_seconds,
                    stabilization_seconds,
                    ..Policy::default()
                };
                let ahead = horizon_seconds.map(|seconds| format!(", {seconds} s ahead")).unwrap_or_default();
                let name = format!("{target_percent} %, {stabilization_seconds} s{ahead}");
                entries.push(Entry::new(name, move || Ours::new(policy.clone())));
            }
        }
    }
    entries
}

/// A scaler with its parameters.
pub struct Entry {
    pub parameters: String,
    make: Box<dyn Fn() -> Box<dyn Scaler> + Send + Sync>,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Entry").field("parameters", &self.parameters).finish_non_exhaustive()
    }
}

impl Entry {
    fn new<S: Scaler + 'static>(parameters: String, make: impl Fn() -> S + Send + Sync + 'static) -> Self {
        Self { parameters, make: Box::new(move || Box::new(make())) }
    }

    /// What becomes of it over these traces, a week on the average.
    fn run(&self, traces: &[Trace]) -> Outcome {
        let weeks = f64::from(WEEKS) * traces.len() as f64;
        let outcomes = traces.iter().map(|trace| simulate(trace, &mut *(self.make)()));
        let sum = outcomes.fold(Outcome::default(), |sum, one| Outcome {
            overload_minutes: sum.overload_minutes + one.overload_minutes,
            pod_hours: sum.pod_hours + one.pod_hours,
            departures: sum.departures + one.departures,
        });
        Outcome {
            overload_minutes: sum.overload_minutes / weeks,
            pod_hours: sum.pod_hours / weeks,
            departures: sum.departures / weeks,
        }
    }
}

/// One set of parameters and what became of it, a week.
#[derive(Debug, Clone)]
pub struct Point {
    pub parameters: String,
    pub outcome: Outcome,
}

/// One contender's points.
#[derive(Debug, Clone)]
pub struct Swept {
    pub contender: Contender,
    pub points: Vec<Point>,
}

impl Swept {
    /// The cheapest point with so many overload minutes a week at most.
    pub fn within(&self, overload_minutes: f64) -> Option<&Point> {
        let points = self.points.iter().filter(|point| point.outcome.overload_minutes <= overload_minutes);
        points.min_by(|one, other| one.outcome.pod_hours.total_cmp(&other.outcome.pod_hours))
    }

    /// The points that no other is better than in both, from the dearest.
    pub fn front(&self) -> Vec<&Point> {
        let mut points: Vec<&Point> = self.points.iter().collect();
        let key = |point: &Point| (point.outcome.pod_hours, point.outcome.overload_minutes);
        points.sort_by(|one, other| key(one).partial_cmp(&key(other)).unwrap_or(std::cmp::Ordering::Equal));
        let mut front: Vec<&Point> = Vec::new();
        for point in points {
            if front.last().is_none_or(|last| point.outcome.overload_minutes < last.outcome.overload_minutes) {
                front.push(point);
            }
        }
        front.reverse();
        front
    }
}

/// What became of all contenders in one family.
#[derive(Debug, Clone)]
pub struct Results {
    pub family: Family,
    pub swept: Vec<Swept>,
}

impl Results {
    pub fn of(&self, contender: Contender) -> Option<&Swept> {
        self.swept.iter().find(|swept| swept.contender == contender)
    }

    /// How many pod-hours ours takes of those of the best other, with so many overload minutes a week at most.
    pub fn ratio(&self, overload_minutes: f64) -> Option<f64> {
        let hours = |contender| Some(self.of(contender)?.within(overload_minutes)?.outcome.pod_hours);
        let others = Contender::ALL.into_iter().filter(|one| *one != Contender::Ours).filter_map(hours);
        Some(hours(Contender::Ours)? / others.reduce(f64::min)?)
    }
}

/// Sweeps all contenders over `n_seeds` traces of a family, on all CPUs.
pub fn sweep(family: Family, n_seeds: u64) -> Results {
    let seeds: Vec<(u64, f64)> = (1..=n_seeds).zip(PEAKS.into_iter().cycle()).collect();
    let traces = parallel(&seeds, |(seed, peak)| family.trace(*seed, *peak));
    let swept = Contender::ALL.map(|contender| {
        let entries = contender.entries();
        let point = |entry: &Entry| Point { parameters: entry.parameters.clone(), outcome: entry.run(&traces) };
        Swept { contender, points: parallel(&entries, point) }
    });
    Results { family, swept: swept.into() }
}

/// What `work` makes of each item, in their order, on all CPUs.
fn parallel<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let take = || {
        let mut done = Vec::new();
        while let at = next.fetch_add(1, Ordering::Relaxed)
            && let Some(item) = items.get(at)
        {
            done.push((at, work(item)));
        }
        done
    };
    let n_threads = thread::available_parallelism().map_or(1, usize::from).min(items.len());
    let mut done: Vec<(usize, R)> = thread::scope(|scope| {
        let threads: Vec<_> = (0..n_threads).map(|_| scope.spawn(take)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect()
    });
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(overload_minutes: f64, pod_hours: f64) -> Point {
        let outcome = Outcome { overload_minutes, pod_hours, departures: 0.0 };
        Point { parameters: format!("{overload_minutes}"), outcome }
    }

    #[test]
    fn a_front_has_what_nobody_beats_in_both() {
        let points = vec![point(5.0, 10.0), point(0.0, 30.0), point(4.0, 12.0), point(6.0, 11.0), point(0.0, 31.0)];
        let swept = Swept { contender: Contender::Hpa, points };
        let front: Vec<&str> = swept.front().iter().map(|point| point.parameters.as_str()).collect();
        assert_eq!(front, ["0", "4", "5"]);
        assert!((swept.within(4.5).unwrap().outcome.pod_hours - 12.0).abs() < 1e-9);
    }

    #[test]
    fn ours_is_compared_with_the_best_other() {
        let of = |contender, pod_hours| Swept { contender, points: vec![point(1.0, pod_hours)] };
        let swept = vec![of(Contender::Ours, 80.0), of(Contender::Hpa, 100.0), of(Contender::Fixed, 400.0)];
        let results = Results { family: Family::named("office").unwrap(), swept };
        assert!(results.ratio(2.0).is_some_and(|ratio| (ratio - 0.8).abs() < 1e-9));
        assert_eq!(results.ratio(0.5), None);
    }

    /// One family it was tuned on and one it was not, each one trace; `calls-bench autoscale` has all.
    #[test]
    fn nobody_does_with_fewer_sfus_for_the_same_overload() {
        for name in ["full-hour", "all-hands"] {
            let results = sweep(Family::named(name).unwrap(), 1);
            for budget in super::super::table::BUDGETS {
                let ratio = results.ratio(budget).unwrap();
                assert!(ratio < 1.005, "{name}, at most {budget} minutes a week: {ratio}");
            }
        }
    }
}
