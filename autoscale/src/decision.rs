//! The decision: from what is known at one moment to a number of SFUs. Pure, and without a memory.

use crate::policy::{Buffer, Policy};
use crate::reason::{Cause, Limit};

/// Of one SFU. Sums of loads are not exact, and nobody should get an SFU for a rounding.
const ROUNDING: f64 = 1e-6;

/// Everything a decision rests on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Known {
    /// SFUs that are wanted now.
    pub replicas: u32,
    /// The same, or what it was at the last look if that was more: somebody else may have written a lower number since.
    pub held: u32,
    /// Busy SFUs' worth of load; `None` if no SFU said.
    pub load: Option<f64>,
    /// Load of a call, on the average; `None` before there was one.
    pub load_per_call: Option<f64>,
    /// The highest load that is expected within the horizon; `None` without a forecast.
    pub forecast: Option<f64>,
    /// The entry of the schedule that is in force, with its floor.
    pub floor: Option<(usize, u32)>,
    /// The highest answer of the stabilisation window before now.
    pub window: u32,
    /// SFUs that may be added now.
    pub may_add: u32,
}

/// How many SFUs there should be.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// How many there were to be before.
    pub before: u32,
    /// How many there should be.
    pub replicas: u32,
    /// How many there should be without the window, the pace and the most that may be: what the window remembers.
    pub answer: u32,
    /// What asks for as many.
    pub cause: Cause,
    /// What keeps it from being as many as are asked for, or from being as few.
    pub limit: Option<Limit>,
}

impl Decision {
    /// The reason as a sentence without its full stop, as `load 71 % > target 60 %: 3 to 4`.
    pub fn reason(&self, policy: &Policy) -> String {
        crate::reason::sentence(self, policy)
    }
}

/// Decides. What is asked for is the most that load with buffer, forecast, schedule and `policy.min` ask for; so the
/// forecast only ever adds. More is done at once, as far as `may_add` goes; fewer when the window has asked for no more.
pub fn decide(policy: &Policy, known: &Known) -> Decision {
    let Some(load) = known.load else { return unseen(policy, known) };
    let n_for = |load: f64| sfus(load / (policy.target_percent / 100.0));
    // Somebody has to be there for the next call, without `policy.min` being the reason.
    let by_load = n_for(load).max(known.replicas.min(1));
    let with_buffer = match policy.buffer {
        Buffer::Percent(percent) => n_for(load * (1.0 + percent / 100.0)),
        Buffer::Calls(calls) => n_for(load + calls * known.load_per_call.unwrap_or(0.0)),
        // Parts of an SFU count: they are room, whoever has it.
        Buffer::Pods(pods) => sfus(load / (policy.target_percent / 100.0) + pods),
    };
    let mut asked = (by_load, Cause::Load { load });
    // The first that asks for as many gives the reason.
    let mut ask = |answer: u32, cause: Cause| {
        if answer > asked.0 {
            asked = (answer, cause);
        }
    };
    ask(with_buffer, Cause::Buffer { load });
    if let Some(peak) = known.forecast {
        ask(n_for(peak), Cause::Forecast { load, peak });
    }
    if let Some((entry, floor)) = known.floor {
        ask(floor, Cause::Schedule { entry });
    }
    ask(policy.min, Cause::Minimum);
    let (answer, cause) = asked;
    limited(policy, known, answer, cause)
}

/// Nobody said how busy they are: what there is stays, within what is wished in any case.
fn unseen(policy: &Policy, known: &Known) -> Decision {
    let floor = known.floor.map_or(0, |(_, floor)| floor);
    let cause = match known.floor {
        Some((entry, _)) if floor > known.replicas && floor > policy.min => Cause::Schedule { entry },
        _ if policy.min > known.replicas => Cause::Minimum,
        _ => Cause::NoReport,
    };
    limited(policy, known, known.replicas.max(floor).max(policy.min), cause)
}

fn limited(policy: &Policy, known: &Known, answer: u32, cause: Cause) -> Decision {
    let Known { replicas: before, held, .. } = *known;
    let kept = answer.max(known.window.min(held));
    let mut replicas = kept.min(policy.max);
    let mut limit = (replicas > answer).then_some(Limit::Window);
    if answer > policy.max {
        limit = Some(Limit::Maximum);
    }
    let most = held.saturating_add(known.may_add);
    if replicas > most {
        replicas = most;
        limit = Some(Limit::Pace);
    }
    Decision { before, replicas, answer, cause, limit }
}

/// A number of SFUs that is enough for `load`.
fn sfus(load: f64) -> u32 {
    (load - ROUNDING).ceil().max(0.0) as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn known(replicas: u32, load: f64) -> Known {
        Known {
            replicas,
            held: replicas,
            load: Some(load),
            load_per_call: Some(0.05),
            forecast: None,
            floor: None,
            window: 0,
            may_add: 100,
        }
    }

    #[test]
    fn each_wish_asks_for_its_share() {
        let table: &[(&str, Policy, Known, u32)] = &[
            ("at the target", Policy::default(), known(3, 1.8), 3),
            ("above the target", Policy::default(), known(3, 1.81), 4),
            ("nothing to do", Policy { min: 2, ..Policy::default() }, known(3, 0.0), 2),
            ("a share", Policy { buffer: Buffer::Percent(50.0), ..Policy::default() }, known(3, 1.8), 5),
            // 1.8 and ten calls of 0.05 are 2.3.
            ("calls", Policy { buffer: Buffer::Calls(10.0), ..Policy::default() }, known(3, 1.8), 4),
            ("SFUs", Policy { buffer: Buffer::Pods(2.0), ..Policy::default() }, known(3, 1.8), 5),
            ("a forecast", Policy::default(), Known { forecast: Some(2.5), ..known(3, 1.8) }, 5),
            ("a forecast of less", Policy::default(), Known { forecast: Some(0.1), ..known(3, 1.8) }, 3),
            ("a floor", Policy::default(), Known { floor: Some((0, 7)), ..known(3, 1.8) }, 7),
            ("the most", Policy { max: 6, ..Policy::default() }, known(3, 9.0), 6),
            ("fewer at most", Policy { max: 2, ..Policy::default() }, Known { window: 3, ..known(3, 1.8) }, 2),
            ("the pace", Policy::default(), Known { may_add: 1, ..known(3, 5.9) }, 4),
            ("no report", Policy::default(), Known { load: None, ..known(3, 0.0) }, 3),
            ("no report and a floor", Policy { min: 5, ..Policy::default() }, Known { load: None, ..known(3, 0.0) }, 5),
        ];
        for (what, policy, known, replicas) in table {
            assert_eq!(decide(policy, known).replicas, *replicas, "{what}");
        }
    }

    #[test]
    fn fewer_are_wanted_only_when_the_window_asked_for_no_more() {
        let down = |window| decide(&Policy::default(), &Known { window, ..known(5, 0.5) });
        assert_eq!((down(4).replicas, down(4).limit), (4, Some(Limit::Window)));
        assert_eq!((down(9).replicas, down(9).limit), (5, Some(Limit::Window)));
        assert_eq!((down(1).replicas, down(1).limit), (1, None));
    }

    #[test]
    fn a_number_that_somebody_lowered_is_what_it_was_within_the_window_and_comes_back_at_once() {
        let known = Known { held: 12, window: 12, may_add: 1, ..known(1, 5.0) };
        let policy = Policy { max: 20, ..Policy::default() };
        assert_eq!(decide(&policy, &known).replicas, 12);
        assert_eq!(decide(&policy, &Known { window: 0, ..known }).replicas, 9, "load needs as many");
        assert_eq!(decide(&policy, &Known { load: Some(9.0), ..known }).replicas, 13, "and one more a minute");
    }

    #[test]
    fn the_most_there_may_be_is_said_only_where_more_are_needed() {
        let limit = |max, known: Known| decide(&Policy { max, ..Policy::default() }, &known).limit;
        assert_eq!(limit(3, Known { may_add: 0, ..known(3, 5.0) }), Some(Limit::Maximum));
        assert_eq!(limit(4, Known { window: 5, ..known(5, 0.5) }), Some(Limit::Window));
    }

    proptest! {
        #[test]
        fn a_forecast_a_buffer_and_a_floor_never_take_an_sfu_away(
            replicas in 1u32..20, load in 0.0f64..20.0, forecast in 0.0f64..20.0, floor in 1u32..20, window in 0u32..20,
            percent in 0.0f64..100.0, may_add in 0u32..10,
        ) {
            let plain = Policy { max: 15, ..Policy::default() };
            let known = Known { window, may_add, ..known(replicas, load) };
            let least = decide(&plain, &known).replicas;
            let buffered = Policy { buffer: Buffer::Percent(percent), ..plain.clone() };
            let more = Known { forecast: Some(forecast), floor: Some((0, floor)), ..known };
            prop_assert!(decide(&plain, &more).replicas >= least);
            prop_assert!(decide(&buffered, &known).replicas >= least);
            let most = decide(&buffered, &more).replicas;
            prop_assert!(most >= least && (1..=15).contains(&most));
            prop_assert!(most <= replicas.max(replicas + may_add));
        }
    }
}
