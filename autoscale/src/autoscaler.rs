//! What an autoscaler remembers from one look to the next, and the look itself.
//!
//! All but the forecast's history may be forgotten: after a restart, the number there is counts as the last answer, so
//! that nothing leaves for the length of the window.

use std::collections::VecDeque;

use crate::decision::{Decision, Known, decide};
use crate::forecast::{Ahead, Forecast, Slots};
use crate::policy::Policy;

/// How old the look before may be to count in the load of this one, in seconds.
const FRESH_SECONDS: i64 = 45;
/// After a longer time without a look, in seconds, nothing is known of the time between: the number there is counts as the
/// last answer.
const AWAY_SECONDS: i64 = 60;
/// How much a look counts in the average load of a person, and of a call.
const PERSON_WEIGHT: f64 = 0.15;
const CALL_WEIGHT: f64 = 0.05;
/// How far two looks in a row may be above what people make expect before they are believed instead: a second's load is
/// a rough measure, but everybody may have switched cameras on.
const ROUGH: f64 = 1.1;

/// What is seen of a fleet in one look.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observation {
    /// Seconds since 1970.
    pub now: i64,
    /// SFUs that are wanted now.
    pub replicas: u32,
    /// Load of all SFUs together; 1.0 is one that is busy all the time. `None` if no SFU said.
    pub load: Option<f64>,
    /// Whether the SFUs have no time left, so that their load is more than they can say.
    pub is_full: bool,
    /// People in calls.
    pub people: u32,
    /// Running calls.
    pub calls: u32,
}

/// One fleet's autoscaler.
#[derive(Clone, Debug, Default)]
pub struct Autoscaler {
    forecast: Forecast,
    /// Answers of the stabilisation window that no later one reaches, highest first.
    answers: VecDeque<Answer>,
    /// What was added within the last minute.
    rises: VecDeque<Rise>,
    /// What was decided last, until it is seen that it was done.
    planned: Option<Rise>,
    /// When the last look was.
    looked: Option<i64>,
    /// SFUs that were wanted then, and still are as far as we are asked.
    settled: u32,
    /// The look before, with its load.
    last: Option<(i64, f64)>,
    load_per_person: Option<f64>,
    load_per_call: Option<f64>,
    /// What is expected of some slots, so that it is worked out once for all looks at them.
    ahead: Option<(Slots, Option<Ahead>)>,
}

#[derive(Clone, Copy, Debug)]
struct Answer {
    at: i64,
    sfus: u32,
}

#[derive(Clone, Copy, Debug)]
struct Rise {
    at: i64,
    added: u32,
    /// How many there were to be then.
    replicas: u32,
}

impl Autoscaler {
    /// One that goes on from a history.
    pub fn with_history(forecast: Forecast) -> Self {
        Self { forecast, ..Self::default() }
    }

    /// What is to be kept.
    pub fn history(&self) -> &Forecast {
        &self.forecast
    }

    /// Looks once: learns, and decides.
    pub fn look(&mut self, policy: &Policy, seen: &Observation) -> Decision {
        let load = seen.load.map(|load| self.smooth(seen, load));
        if let (Some(load), true) = (load, policy.horizon_seconds.is_some()) {
            self.forecast.learn(seen.now, load);
        }
        self.follow(seen);
        let window_began = seen.now - i64::from(policy.stabilization_seconds);
        while self.answers.front().is_some_and(|answer| answer.at <= window_began) {
            self.answers.pop_front();
        }
        while self.rises.front().is_some_and(|rise| rise.at <= seen.now - 60) {
            self.rises.pop_front();
        }
        let added: u32 = self.rises.iter().map(|rise| rise.added).sum();
        let forecast = self.expect(policy, seen.now).zip(load).map(|(ahead, load)| ahead.from(load));
        let known = Known {
            replicas: seen.replicas,
            held: seen.replicas.max(self.settled),
            load,
            load_per_call: self.load_per_call,
            forecast,
            floor: policy.schedule.floor(seen.now),
            window: self.answers.front().map_or(0, |answer| answer.sfus),
            may_add: policy.pods_per_minute.saturating_sub(added),
        };
        let decision = decide(policy, &known);
        self.remember(seen.now, &decision);
        decision
    }

    /// Takes in that time has passed, and whether what was decided last was done. Begins anew where nobody looked for a
    /// while, or the clock was set back.
    fn follow(&mut self, seen: &Observation) {
        let planned = self.planned.take();
        let last = self.looked.replace(seen.now);
        if last.is_none_or(|last| !(0..=AWAY_SECONDS).contains(&(seen.now - last))) {
            self.answers.clear();
            self.rises.clear();
            self.settled = 0;
            self.answers.push_back(Answer { at: seen.now, sfus: seen.replicas });
        } else if let Some(rise) = planned.filter(|rise| seen.replicas >= rise.replicas) {
            self.rises.push_back(rise);
        }
    }

    fn expect(&mut self, policy: &Policy, now: i64) -> Option<Ahead> {
        let horizon = policy.horizon_seconds?;
        let slots = Slots::ahead(now, horizon);
        if let Some((known, ahead)) = self.ahead
            && known == slots
        {
            return ahead;
        }
        let ahead = self.forecast.ahead(now, horizon);
        self.ahead = Some((slots, ahead));
        ahead
    }

    /// The load there is, by the people there are and what one of them costs on the average: that is steadier than a
    /// second's load, and goes on where SFUs cannot be any busier. It is the mean of this look and the one before where
    /// that is well above.
    fn smooth(&mut self, seen: &Observation, load: f64) -> f64 {
        let last = self.last.filter(|(at, _)| seen.now - at <= FRESH_SECONDS);
        self.last = Some((seen.now, load));
        let lately = last.map_or(load, |(_, last)| f64::midpoint(load, last));
        if seen.people == 0 {
            return lately;
        }
        let people = f64::from(seen.people);
        let (one, known) = (load / people, self.load_per_person.unwrap_or(load / people));
        let person = if seen.is_full { known.max(one) } else { known + PERSON_WEIGHT * (one - known) };
        self.load_per_person = Some(person);
        let by_people = people * person;
        let both = last.map_or(load, |(_, last)| last.min(load));
        let load = if both > ROUGH * by_people { lately } else { by_people };
        if seen.calls > 0 {
            let one = load / f64::from(seen.calls);
            self.load_per_call = Some(self.load_per_call.map_or(one, |known| known + CALL_WEIGHT * (one - known)));
        }
        load
    }

    fn remember(&mut self, now: i64, decision: &Decision) {
        while self.answers.back().is_some_and(|answer| answer.sfus <= decision.answer) {
            self.answers.pop_back();
        }
        self.answers.push_back(Answer { at: now, sfus: decision.answer });
        self.settled = decision.replicas.min(decision.before);
        if decision.replicas > decision.before {
            let added = decision.replicas - decision.before;
            self.planned = Some(Rise { at: now, added, replicas: decision.replicas });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Buffer;

    fn seen(now: i64, replicas: u32, load: f64) -> Observation {
        Observation { now, replicas, load: Some(load), is_full: false, people: 0, calls: 10 }
    }

    #[test]
    fn sfus_are_added_at_once_and_leave_after_the_window() {
        let policy = Policy { stabilization_seconds: 60, ..Policy::default() };
        let mut autoscaler = Autoscaler::default();
        assert_eq!(autoscaler.look(&policy, &seen(0, 1, 2.0)).replicas, 4);
        // The mean of both looks.
        assert_eq!(autoscaler.look(&policy, &seen(10, 4, 0.4)).replicas, 4);
        // The mean of the second look was 1.2: two SFUs.
        for (now, replicas) in [(20, 4), (40, 4), (59, 4), (60, 2), (69, 2), (70, 1)] {
            assert_eq!(autoscaler.look(&policy, &seen(now, 4, 0.4)).replicas, replicas, "{now}");
        }
    }

    #[test]
    fn the_window_holds_its_highest_answer_and_no_more() {
        let policy = Policy { stabilization_seconds: 100, ..Policy::default() };
        let mut autoscaler = Autoscaler::default();
        for now in 0..5000 {
            autoscaler.look(&policy, &seen(now, 5, 3.0 - now as f64 / 2000.0));
        }
        assert!(autoscaler.answers.len() < 10, "{}", autoscaler.answers.len());
    }

    #[test]
    fn one_that_starts_anew_lets_nobody_go_for_the_length_of_the_window() {
        let mut autoscaler = Autoscaler::default();
        assert_eq!(autoscaler.look(&Policy::default(), &seen(1000, 5, 0.1)).replicas, 5);
        for now in (1010..1300).step_by(10) {
            assert_eq!(autoscaler.look(&Policy::default(), &seen(now, 5, 0.1)).replicas, 5, "{now}");
        }
        assert_eq!(autoscaler.look(&Policy::default(), &seen(1300, 5, 0.1)).replicas, 1);
    }

    #[test]
    fn after_a_time_without_looks_nobody_goes_for_the_length_of_the_window() {
        let mut autoscaler = Autoscaler::default();
        let mut look = |now| autoscaler.look(&Policy::default(), &seen(now, 9, 0.1)).replicas;
        assert_eq!((look(0), look(10)), (9, 9));
        assert_eq!((look(4_000), look(4_010)), (9, 9), "nobody looked for an hour");
        assert_eq!((look(100), look(110)), (9, 9), "the clock was set back");
    }

    #[test]
    fn a_number_that_somebody_lowered_comes_back_at_the_next_look() {
        let policy = Policy { pods_per_minute: 1, ..Policy::default() };
        let mut autoscaler = Autoscaler::default();
        for now in (0..100).step_by(10) {
            assert_eq!(autoscaler.look(&policy, &seen(now, 8, 3.0)).replicas, 8, "{now}");
        }
        assert_eq!(autoscaler.look(&policy, &seen(100, 1, 3.0)).replicas, 8);
    }

    #[test]
    fn what_was_not_done_may_be_done_at_once() {
        let policy = Policy { pods_per_minute: 1, ..Policy::default() };
        let mut autoscaler = Autoscaler::default();
        assert_eq!(autoscaler.look(&policy, &seen(0, 1, 3.0)).replicas, 2);
        assert_eq!(autoscaler.look(&policy, &seen(1, 1, 3.0)).replicas, 2, "it was not written");
        assert_eq!(autoscaler.look(&policy, &seen(2, 2, 3.0)).replicas, 2, "now it was");
    }

    #[test]
    fn no_more_are_added_within_a_minute_than_may_be() {
        let policy = Policy { max: 100, pods_per_minute: 3, ..Policy::default() };
        let mut autoscaler = Autoscaler::default();
        let mut replicas = 1;
        for (now, expected) in [(0, 4), (10, 4), (59, 4), (60, 7), (70, 7), (120, 10)] {
            replicas = autoscaler.look(&policy, &seen(now, replicas, 30.0)).replicas;
            assert_eq!(replicas, expected, "{now}");
        }
    }

    #[test]
    fn a_buffer_of_calls_is_as_large_as_calls_are() {
        let policy = Policy { buffer: Buffer::Calls(20.0), ..Policy::default() };
        // Ten calls are one SFU's load, twenty more make three.
        let one = Observation { people: 40, ..seen(0, 2, 1.0) };
        assert_eq!(Autoscaler::default().look(&policy, &one).replicas, 5);
    }

    #[test]
    fn a_rough_second_adds_no_sfu_and_two_dear_ones_do() {
        let mut autoscaler = Autoscaler::default();
        let mut look = |now, load| {
            let seen = Observation { people: 100, ..seen(now, 2, load) };
            autoscaler.look(&Policy::default(), &seen).replicas
        };
        assert_eq!((0..20).map(|now| look(10 * now, 1.15)).max(), Some(2));
        assert_eq!((look(200, 1.3), look(210, 1.15)), (2, 2));
        assert_eq!((look(220, 1.8), look(230, 1.8)), (3, 3));
    }

    #[test]
    fn people_tell_the_load_of_sfus_that_cannot_be_busier() {
        let mut autoscaler = Autoscaler::default();
        let full = |now, people| Observation { people, is_full: people > 200, ..seen(now, 2, 2.0) };
        autoscaler.look(&Policy::default(), &full(0, 200));
        assert_eq!(autoscaler.look(&Policy::default(), &full(10, 600)).replicas, 10);
    }

    #[test]
    fn a_burst_that_was_seen_is_met_before_it_comes() {
        let policy = Policy { horizon_seconds: Some(300), ..Policy::default() };
        let mut autoscaler = Autoscaler::default();
        let burst = |now: i64| if now.rem_euclid(3600) < 600 { 3.0 } else { 0.5 };
        let mut replicas = 1;
        for now in (0..86_400 - 60).step_by(10) {
            replicas = autoscaler.look(&policy, &seen(now, replicas, burst(now))).replicas;
        }
        assert_eq!(replicas, 5, "a minute before midnight");
        let went_on = Autoscaler::with_history(Forecast::parse(&autoscaler.history().write()).unwrap());
        assert_eq!(went_on.clone().look(&policy, &seen(86_340, 1, 0.5)).replicas, 5, "after a restart");
    }
}
