//! Who decides: ours, and the three it is compared with, as they are published.

use std::collections::VecDeque;

use autoscale::{Autoscaler, Observation, Policy};

use super::random::Random;
use super::trace::PEOPLE_PER_SFU;

/// The most SFUs anybody may have; nobody needs as many.
pub const MAX: u32 = 100;

/// By how much the load that one SFU tells of one second may differ from that of the minute.
const ROUGH: f64 = 0.1;

/// What a scaler may see.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// Seconds since the beginning.
    pub now: i64,
    pub people: u32,
    /// Load in SFUs, as the SFUs' CPUs tell it: no more than there are.
    pub busy: f64,
    pub calls: u32,
    /// SFUs that are wanted.
    pub wanted: u32,
    /// SFUs that serve.
    pub ready: u32,
}

/// One that decides.
pub trait Scaler {
    /// How often it looks.
    fn period_seconds(&self) -> i64;
    /// How many SFUs it wants.
    fn look(&mut self, look: &Look) -> u32;
}

/// The operator's. It reads a second of the media threads' time, which is off by some percent.
#[derive(Debug)]
pub struct Ours {
    policy: Policy,
    autoscaler: Autoscaler,
    random: Random,
}

impl Ours {
    pub fn new(policy: Policy) -> Self {
        Self { policy: Policy { max: MAX, ..policy }, autoscaler: Autoscaler::default(), random: Random::new(1) }
    }
}

impl Scaler for Ours {
    fn period_seconds(&self) -> i64 {
        10
    }

    fn look(&mut self, look: &Look) -> u32 {
        // Each SFU is off by itself.
        let off = ROUGH / f64::from(look.ready.max(1)).sqrt();
        let seen = Observation {
            now: look.now,
            replicas: look.wanted,
            load: Some(look.busy * self.random.between(1.0 - off, 1.0 + off)),
            is_full: look.busy >= f64::from(look.ready),
            people: look.people,
            calls: look.calls,
        };
        self.autoscaler.look(&self.policy, &seen).replicas
    }
}

/// A HorizontalPodAutoscaler on CPU with the defaults of its controller: every 15 seconds, a tolerance of 10 %, metrics
/// that are half a minute old on the average, pods that are not ready counted as idle when more are wanted, and the
/// standard behaviour (at most 100 % or 4 pods more in 15 seconds).
#[derive(Debug)]
pub struct Hpa {
    pub target: f64,
    pub stabilization_seconds: i64,
    metrics: VecDeque<f64>,
    answers: VecDeque<(i64, u32)>,
}

impl Hpa {
    pub fn new(target: f64, stabilization_seconds: i64) -> Self {
        Self { target, stabilization_seconds, metrics: VecDeque::new(), answers: VecDeque::new() }
    }

    fn recommend(&self, busy: f64, look: &Look) -> u32 {
        const TOLERANCE: f64 = 0.1;
        let is_near = |ratio: f64| (ratio - 1.0).abs() <= TOLERANCE;
        let ready = f64::from(look.ready.max(1));
        let ratio = busy / ready / self.target;
        let unready = look.wanted.saturating_sub(look.ready);
        if unready == 0 || ratio <= 1.0 {
            return if is_near(ratio) { look.wanted } else { (ratio * ready).ceil() as u32 };
        }
        let all = f64::from(look.wanted);
        let ratio = busy / all / self.target;
        if is_near(ratio) || ratio < 1.0 { look.wanted } else { ((ratio * all).ceil() as u32).max(look.wanted) }
    }
}

impl Scaler for Hpa {
    fn period_seconds(&self) -> i64 {
        15
    }

    fn look(&mut self, look: &Look) -> u32 {
        self.metrics.push_back(look.busy);
        if self.metrics.len() > 3 {
            self.metrics.pop_front();
        }
        // The mean of 15 to 30 seconds ago.
        let known = self.metrics.iter().take(2);
        let busy = known.clone().sum::<f64>() / known.count() as f64;
        let answer = self.recommend(busy, look).clamp(1, MAX);
        while self.answers.back().is_some_and(|(_, older)| *older <= answer) {
            self.answers.pop_back();
        }
        self.answers.push_back((look.now, answer));
        while self.answers.front().is_some_and(|(at, _)| *at < look.now - self.stabilization_seconds) {
            self.answers.pop_front();
        }
        if answer >= look.wanted {
            return answer.min((look.wanted * 2).max(look.wanted + 4));
        }
        let highest = self.answers.front().map_or(answer, |(_, highest)| *highest);
        highest.clamp(answer, look.wanted)
    }
}

/// Free room that Agones' counter policy keeps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Room {
    /// SFUs' worth.
    Sfus(f64),
    /// Percent of all there is.
    Percent(f64),
}

/// A FleetAutoscaler like Agones': every 30 seconds as much free room as is wished, counted in people, at once in both
/// directions.
#[derive(Debug)]
pub struct Buffered(pub Room);

impl Scaler for Buffered {
    fn period_seconds(&self) -> i64 {
        30
    }

    fn look(&mut self, look: &Look) -> u32 {
        let used = f64::from(look.people) / PEOPLE_PER_SFU;
        let needed = match self.0 {
            Room::Sfus(sfus) => used + sfus,
            Room::Percent(percent) => used / (1.0 - percent / 100.0),
        };
        (needed.ceil() as u32).clamp(1, MAX)
    }
}

/// As many always.
#[derive(Debug)]
pub struct Fixed(pub u32);

impl Scaler for Fixed {
    fn period_seconds(&self) -> i64 {
        3600
    }

    fn look(&mut self, _: &Look) -> u32 {
        self.0
    }
}
