//! Why a number was decided, as a value and as a sentence for the status and Events.

use crate::decision::Decision;
use crate::policy::{Buffer, Policy};

/// What asks for as many SFUs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cause {
    /// No SFU said how busy it is.
    NoReport,
    /// The load alone, in SFUs.
    Load { load: f64 },
    /// The load, and the buffer beyond it.
    Buffer { load: f64 },
    /// The highest load that is expected within the horizon, in SFUs.
    Forecast { load: f64, peak: f64 },
    /// An entry of the schedule, by its place in the list.
    Schedule { entry: usize },
    /// The fewest that may be.
    Minimum,
}

/// What keeps a decision from what is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// More were needed a moment ago.
    Window,
    /// No more may be added within this minute.
    Pace,
    /// The most that may be.
    Maximum,
}

/// Loads are told in steps of so many percent while the number stays: a flicker is no news, and would be written.
const STEP: f64 = 5.0;

/// Why, and from how many to how many. Loads are in percent of the SFUs there were to be before.
pub(crate) fn sentence(decision: &Decision, policy: &Policy) -> String {
    let Decision { before, replicas, answer, cause, limit } = decision;
    let why = why(*cause, decision, policy);
    let but = match limit {
        Some(Limit::Window) if replicas < before => String::new(),
        Some(Limit::Window) => format!(", fewer in at most {} s", policy.stabilization_seconds),
        Some(Limit::Pace) => format!(", at most {} more a minute of {}", policy.pods_per_minute, answer - before),
        Some(Limit::Maximum) => format!(", but maxReplicas is {}", policy.max),
        None => String::new(),
    };
    let is_for_long = replicas < before && *limit != Some(Limit::Maximum) && policy.stabilization_seconds > 0;
    let since = match cause {
        Cause::Load { .. } | Cause::Buffer { .. } | Cause::Forecast { .. } if is_for_long => {
            format!(" for {} s", policy.stabilization_seconds)
        }
        Cause::Schedule { .. } | Cause::Minimum if is_for_long => {
            format!(", and no more were needed for {} s", policy.stabilization_seconds)
        }
        _ => String::new(),
    };
    let step = if replicas == before { format!("stays at {before}") } else { format!("{before} to {replicas}") };
    format!("{why}{since}{but}: {step}")
}

fn why(cause: Cause, decision: &Decision, policy: &Policy) -> String {
    let is_more = decision.answer > decision.before;
    let step = if decision.replicas == decision.before { STEP } else { 1.0 };
    // Rounded away from the target, so that the sentence is true.
    let percent = |load: f64| {
        let steps = load * 100.0 / f64::from(decision.before.max(1)) / step;
        step * if is_more { (steps - 1e-6).ceil() } else { (steps + 1e-6).floor() }
    };
    let target = policy.target_percent;
    let compared = if is_more { '>' } else { '≤' };
    match cause {
        Cause::NoReport => "no SFU says how busy it is".to_owned(),
        Cause::Load { load } => format!("load {} % {compared} target {target} %", percent(load)),
        Cause::Buffer { load } => {
            let buffer = match policy.buffer {
                Buffer::Percent(share) => format!("{share} %"),
                Buffer::Calls(calls) => format!("{calls} calls"),
                Buffer::Pods(pods) => format!("{pods} SFUs"),
            };
            format!("load {} % and a buffer of {buffer} {compared} target {target} %", percent(load))
        }
        Cause::Forecast { load, peak } => {
            let within = policy.horizon_seconds.unwrap_or(0);
            format!(
                "load {} %, forecast {} % within {within} s {compared} target {target} %",
                percent(load),
                percent(peak)
            )
        }
        Cause::Schedule { entry } => match policy.schedule.entry(entry) {
            Some(entry) => format!("schedule {} ({}) asks for {}", entry.cron, entry.time_zone, entry.min_replicas),
            None => "the schedule asks for more".to_owned(),
        },
        Cause::Minimum => format!("minReplicas is {}", policy.min),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::{Known, decide};
    use crate::schedule::{Entry, Schedule};

    #[test]
    fn a_reason_is_a_sentence_with_its_numbers() {
        let schedule = [Entry { cron: "0 8 * * 1-5".into(), time_zone: "Europe/Berlin".into(), min_replicas: 5 }];
        let policy = Policy { schedule: Schedule::new(&schedule).unwrap(), ..Policy::default() };
        let buffered = Policy { buffer: Buffer::Percent(20.0), ..policy.clone() };
        let least = Policy { min: 2, ..policy.clone() };
        let at_once = Policy { stabilization_seconds: 0, ..policy.clone() };
        let spare = Policy { buffer: Buffer::Pods(2.0), ..policy.clone() };
        let ahead = Policy { horizon_seconds: Some(300), ..policy.clone() };
        let known = |replicas, load| Known {
            replicas,
            held: replicas,
            load: Some(load),
            load_per_call: None,
            forecast: None,
            floor: None,
            window: 0,
            may_add: 100,
        };
        let table: &[(&Policy, Known, &str)] = &[
            (&policy, known(3, 2.13), "load 71 % > target 60 %: 3 to 4"),
            (&policy, known(3, 1.801), "load 61 % > target 60 %: 3 to 4"),
            (&policy, known(3, 1.5), "load 50 % ≤ target 60 %: stays at 3"),
            (&policy, known(4, 0.9), "load 22 % ≤ target 60 % for 300 s: 4 to 2"),
            (
                &policy,
                Known { window: 4, ..known(4, 0.9) },
                "load 20 % ≤ target 60 %, fewer in at most 300 s: stays at 4",
            ),
            (
                &policy,
                Known { may_add: 1, ..known(1, 2.9) },
                "load 290 % > target 60 %, at most 10 more a minute of 4: 1 to 2",
            ),
            (&policy, known(8, 7.2), "load 90 % > target 60 %, but maxReplicas is 10: 8 to 10"),
            (&policy, known(10, 7.2), "load 75 % > target 60 %, but maxReplicas is 10: stays at 10"),
            (&policy, Known { load: None, ..known(3, 0.0) }, "no SFU says how busy it is: stays at 3"),
            (&policy, known(0, 0.0), "minReplicas is 1: 0 to 1"),
            (&policy, known(3, 0.0), "load 0 % ≤ target 60 % for 300 s: 3 to 1"),
            (&least, known(4, 0.3), "minReplicas is 2, and no more were needed for 300 s: 4 to 2"),
            (&at_once, known(4, 0.9), "load 22 % ≤ target 60 %: 4 to 2"),
            (&buffered, known(3, 1.7), "load 57 % and a buffer of 20 % > target 60 %: 3 to 4"),
            (&spare, known(1, 0.1), "load 10 % and a buffer of 2 SFUs > target 60 %: 1 to 3"),
            (
                &ahead,
                Known { forecast: Some(2.5), ..known(3, 1.2) },
                "load 40 %, forecast 84 % within 300 s > target 60 %: 3 to 5",
            ),
            (
                &policy,
                Known { floor: Some((0, 5)), ..known(3, 1.2) },
                "schedule 0 8 * * 1-5 (Europe/Berlin) asks for 5: 3 to 5",
            ),
        ];
        for (policy, known, reason) in table {
            assert_eq!(decide(policy, known).reason(policy), *reason);
        }
    }
}
