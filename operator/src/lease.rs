//! Who leads: the decision of leader election over a `coordination.k8s.io` Lease, without a client or a clock.
//!
//! `elect` reads the Lease, asks [`Elector::decide`], and does what it says with the version it read, so that of two
//! operators that decide at once the API server lets one through.
//!
//! Guarantees: at most one operator acts, as long as clocks run at about the same rate. A challenger waits a whole lease
//! duration *by its own clock since it saw the Lease change*, so clocks need not agree on the time. The leader stops
//! acting [`RENEW_DEADLINE`] after its last successful renewal, before any challenger may begin.

use std::time::Duration;

/// How long a challenger waits for a sign of life before it takes over.
pub const LEASE_DURATION: Duration = Duration::from_secs(15);
/// How long a leader acts after its last successful renewal.
pub const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// How often the Lease is read, and renewed by its leader.
pub const RETRY_PERIOD: Duration = Duration::from_secs(2);

/// What of a Lease matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// Who holds it; empty when it was given up.
    pub holder: String,
    /// Changes with every write.
    pub version: String,
    /// How often it changed hands.
    pub transitions: i32,
    /// How long its holder asked challengers to wait.
    pub duration: Duration,
}

/// What to do with the Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Create it.
    Create,
    /// Write our name over the version read.
    Take { transitions: i32 },
    /// Write a new renewal time.
    Renew,
    /// Leave it to the other.
    Wait,
}

/// One operator's view of the Lease over time. Times are durations since any fixed moment of this process.
#[derive(Clone, Debug)]
pub struct Elector {
    identity: String,
    seen: Option<(String, Duration)>,
    renewed: Option<Duration>,
}

impl Elector {
    /// `identity` must differ between operators, and between restarts of one.
    pub fn new(identity: String) -> Self {
        Self { identity, seen: None, renewed: None }
    }

    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// What to do, having read `lease` at `now`.
    pub fn decide(&mut self, lease: Option<&Observed>, now: Duration) -> Decision {
        let Some(lease) = lease else { return Decision::Create };
        if self.seen.as_ref().is_none_or(|(version, _)| *version != lease.version) {
            self.seen = Some((lease.version.clone(), now));
        }
        let since = self.seen.as_ref().map_or(now, |(_, since)| *since);
        if lease.holder == self.identity {
            return Decision::Renew;
        }
        let is_free = lease.holder.is_empty();
        if is_free || now.saturating_sub(since) >= lease.duration.max(LEASE_DURATION) {
            return Decision::Take { transitions: lease.transitions.saturating_add(1) };
        }
        Decision::Wait
    }

    /// Our write succeeded; it was sent at `sent_at`, and from then the deadline counts.
    pub fn confirm(&mut self, sent_at: Duration) {
        self.renewed = Some(sent_at);
    }

    /// Whether we may act at `now`.
    pub fn is_leader(&self, now: Duration) -> bool {
        self.renewed.is_some_and(|renewed| now.saturating_sub(renewed) < RENEW_DEADLINE)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn held_by(holder: &str, version: u32) -> Observed {
        Observed { holder: holder.into(), version: version.to_string(), transitions: 0, duration: LEASE_DURATION }
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_missing_lease_is_created_and_an_own_one_renewed() {
        let mut elector = Elector::new("me".into());
        assert_eq!(elector.decide(None, at(0)), Decision::Create);
        assert_eq!(elector.decide(Some(&held_by("me", 1)), at(1)), Decision::Renew);
    }

    #[test]
    fn a_silent_holder_is_replaced_after_the_lease_duration_and_not_before() {
        let mut elector = Elector::new("me".into());
        assert_eq!(elector.decide(Some(&held_by("other", 1)), at(0)), Decision::Wait);
        assert_eq!(elector.decide(Some(&held_by("other", 2)), at(14)), Decision::Wait);
        assert_eq!(elector.decide(Some(&held_by("other", 2)), at(28)), Decision::Wait);
        assert_eq!(elector.decide(Some(&held_by("other", 2)), at(29)), Decision::Take { transitions: 1 });
    }

    #[test]
    fn a_lease_given_up_is_taken_at_once() {
        let mut elector = Elector::new("me".into());
        assert_eq!(elector.decide(Some(&held_by("", 1)), at(0)), Decision::Take { transitions: 1 });
    }

    #[test]
    fn a_leader_that_cannot_renew_stops_before_others_may_begin() {
        let mut elector = Elector::new("me".into());
        assert!(!elector.is_leader(at(0)));
        elector.confirm(at(0));
        assert!(elector.is_leader(at(9)));
        assert!(!elector.is_leader(at(10)));
        assert!(RENEW_DEADLINE + RETRY_PERIOD < LEASE_DURATION);
    }

    /// A step of the simulation: who acts, how much time passes before, and whether the API server is reached.
    #[derive(Clone, Debug)]
    struct Step {
        who: usize,
        wait_ms: u64,
        reached: bool,
        restarts: bool,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = (0..3usize, 0..6_000u64, prop::bool::weighted(0.8), prop::bool::weighted(0.05))
            .prop_map(|(who, wait_ms, reached, restarts)| Step { who, wait_ms, reached, restarts });
        prop::collection::vec(step, 1..200)
    }

    proptest! {
        /// Three operators whose clocks started at different moments never lead at the same time.
        #[test]
        fn two_never_lead_at_once(steps in steps()) {
            let offsets = [0, 1_000_000, 77_777].map(Duration::from_millis);
            let mut electors: Vec<Elector> = (0..3).map(|who| Elector::new(format!("op-{who}"))).collect();
            let mut restarts = 0;
            let mut lease: Option<Observed> = None;
            let mut version = 0;
            let mut now = Duration::ZERO;
            for step in steps {
                now += Duration::from_millis(step.wait_ms);
                let own_time = now + offsets[step.who];
                if step.restarts {
                    restarts += 1;
                    electors[step.who] = Elector::new(format!("op-{}-{restarts}", step.who));
                }
                let elector = &mut electors[step.who];
                if step.reached {
                    let decision = elector.decide(lease.as_ref(), own_time);
                    if decision != Decision::Wait {
                        version += 1;
                        lease = Some(held_by(elector.identity(), version));
                        elector.confirm(own_time);
                    }
                }
                let leaders = (0..3).filter(|who| electors[*who].is_leader(now + offsets[*who])).count();
                prop_assert!(leaders <= 1);
            }
        }
    }
}
