//! Which SFUs leave, and how far each of them is.
//!
//! An SFU leaves because fewer are wanted, because another revision replaces it, or because its node is cordoned. It is
//! asked to drain, and when it is empty (or its time is over) it is marked as the pod Kubernetes deletes first; only
//! then has its Deployment one replica less. An SFU that is wanted again before that stays.
//!
//! Pure, and without a memory: what was begun is read from the SFUs' reports and the pods' annotations, so an operator
//! that starts in the middle goes on. Guarantees, whatever is found: a Deployment never has fewer replicas than are
//! wanted of it, nor fewer than it has pods that are not done; no more SFUs leave than are not wanted or stand on
//! cordoned nodes; and one that leaves is taken back only when it is wanted: because more are, because it is the last
//! that can take calls, or because another that does not run goes in its place.

mod group;

use std::collections::BTreeMap;

use fleet::api::{DrainMode, DrainOrder, DrainStatus, SfuLoad};
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use self::group::Group;
use crate::port::Slot;

/// How long past its deadline an SFU that does not say it is empty is waited for: it sends away what is left at the
/// deadline, which takes a moment, and the operator asks every few seconds.
const OVERTIME: SignedDuration = SignedDuration::from_secs(15);
/// How far an SFU's deadline may be from ours before it is told again: clocks of nodes differ a little.
const SKEW_SECONDS: u64 = 10;

/// A Deployment, by what makes its name.
pub type Place = (String, Slot);

/// How SFUs leave, as the spec says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    pub mode: DrainMode,
    /// After it, what is left is moved all at once.
    pub within_seconds: u32,
}

/// One SFU pod that is not going away and has not ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Sfu {
    pub pod: String,
    pub place: Place,
    pub created: Timestamp,
    pub is_ready: bool,
    /// Its process runs, so it may have calls.
    pub is_running: bool,
    /// The scheduler found no node for it.
    pub is_unschedulable: bool,
    /// Its node takes no new pods.
    pub is_cordoned: bool,
    /// What it says of itself; `None` if it did not answer.
    pub load: Option<SfuLoad>,
    pub drain: Option<DrainStatus>,
    /// It can be asked to leave: it is not of a version before that, or it did not answer.
    pub can_drain: bool,
    /// When it was asked to leave first, as its annotation says.
    pub since: Option<Timestamp>,
    /// Kubernetes deletes it before others.
    pub is_marked: bool,
    /// The disruption budget lets it go.
    pub is_evictable: bool,
}

impl Sfu {
    /// By when it is to be empty, asked at that time.
    fn deadline(since: Timestamp, terms: Terms) -> Timestamp {
        since + SignedDuration::from_secs(terms.within_seconds.into())
    }

    /// Whether it may go, now that it leaves: it has nothing to lose, cannot be asked, or its time is over.
    fn is_done(&self, terms: Terms, now: Timestamp) -> bool {
        let is_empty = self.drain.is_some() && self.load.is_some_and(|load| load.calls == 0);
        // Its process sends its calls elsewhere when it ends.
        let cannot_be_asked = self.load.is_some() && !self.can_drain;
        let is_over = self.since.is_some_and(|since| now >= Self::deadline(since, terms) + OVERTIME);
        !self.is_running || is_empty || cannot_be_asked || is_over
    }

    /// It says that it has no calls.
    fn is_idle(&self) -> bool {
        self.load.is_some_and(|load| load.calls == 0)
    }
}

/// What is wanted of one Deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub place: Place,
    /// `spec.replicas` as it is; `None` if there is no Deployment yet.
    pub has: Option<u32>,
    pub target: u32,
    /// It serves on, so what stands on a cordoned node is replaced.
    pub is_current: bool,
    /// Nodes without an SFU of this slot that take pods.
    pub free_nodes: u32,
}

/// Why an SFU leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    NodeCordoned,
    Replaced,
    ScaledDown,
}

/// An SFU on its way out, and what is to be done about it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Departure {
    pub pod: String,
    pub cause: Cause,
    pub since: Timestamp,
    pub deadline: Timestamp,
    pub calls_left: Option<u32>,
    pub calls_moved: u32,
    /// The pod's annotation does not say yet since when.
    pub is_new: bool,
    /// To be sent to the SFU.
    pub order: Option<DrainOrder>,
    /// It is empty, or its time is over.
    pub is_done: bool,
    /// It is done and was not marked before.
    pub mark: bool,
    /// It was marked, and is not done: its process began anew.
    pub unmark: bool,
    /// It is done, its replica stays, and somebody wants it off its node: evictions may pass.
    pub open: bool,
}

impl Departure {
    /// It is done, and its pod says so already.
    fn is_seen_done(&self) -> bool {
        self.is_done && !self.mark
    }
}

/// What is to be done about SFUs that leave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Departures {
    /// What each Deployment is to have now.
    pub replicas: BTreeMap<Place, u32>,
    pub leaving: Vec<Departure>,
    /// Pods that were on their way out and are wanted after all.
    pub staying: Vec<String>,
    /// Pods on cordoned nodes that stay, because nobody could take their calls.
    pub stuck: Vec<String>,
    /// Those of them that have no calls just now: evictions may pass.
    pub opened: Vec<String>,
    /// Pods that stay and are not to be evicted any more.
    pub closed: Vec<String>,
}

/// Whether the calls of SFUs that leave can go anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takers {
    /// An SFU that stays is ready.
    Ready,
    /// None is, and one will be: it starts, or was ready a moment ago.
    Coming,
    /// Nobody takes them: no SFU is wanted, or one comes only when all have gone.
    Nobody,
}

impl Takers {
    fn of(groups: &[Group<'_>]) -> Self {
        let mut staying = groups.iter().flat_map(Group::staying).peekable();
        let is_one_wanted = groups.iter().any(|group| group.wanted.is_current && group.wanted.target > 0);
        let is_one_there = staying.peek().is_some();
        // A pod is ready for a while after its node has died.
        if staying.any(|sfu| sfu.is_ready && sfu.load.is_some()) {
            Self::Ready
        } else if is_one_there || is_one_wanted {
            Self::Coming
        } else {
            Self::Nobody
        }
    }
}

/// Decides about all SFUs of a `CallsCluster` at `now`.
pub fn plan_departures(wanted: &[Wanted], sfus: &[Sfu], terms: Terms, now: Timestamp) -> Departures {
    let groups: Vec<Group<'_>> = wanted.iter().map(|wanted| Group::choose(wanted, sfus, terms, now)).collect();
    let takers = Takers::of(&groups);
    let mut plan = Departures::default();
    for group in &groups {
        let leaving: Vec<Departure> = group
            .pods
            .iter()
            .filter_map(|sfu| Some(departure(sfu, *group.leaving.get(sfu.pod.as_str())?, terms, takers, now)))
            .collect();
        let replicas = group.replicas(&group.deletable(&leaving));
        let is_lowered = group.wanted.has.is_some_and(|has| replicas < has);
        plan.replicas.insert(group.wanted.place.clone(), replicas);
        plan.leaving.extend(leaving.into_iter().map(|one| {
            let was_open = group.pods.iter().any(|sfu| sfu.pod == one.pod && sfu.is_evictable);
            let open = one.cause == Cause::NodeCordoned && one.is_seen_done() && !is_lowered && !was_open;
            Departure { open, ..one }
        }));
        for sfu in group.staying() {
            let pod = || sfu.pod.clone();
            let is_stuck = group.is_stuck(sfu, now);
            let may_go = is_stuck && sfu.is_idle();
            if is_stuck {
                plan.stuck.push(pod());
            }
            if sfu.since.is_some() || sfu.is_marked || sfu.drain.is_some() {
                plan.staying.push(pod());
            } else if may_go && !sfu.is_evictable {
                plan.opened.push(pod());
            } else if !may_go && sfu.is_evictable {
                plan.closed.push(pod());
            }
        }
    }
    plan
}

fn departure(sfu: &Sfu, cause: Cause, terms: Terms, takers: Takers, now: Timestamp) -> Departure {
    let since = sfu.since.unwrap_or_else(|| Timestamp::from_second(now.as_second()).unwrap_or(now));
    let deadline = Sfu::deadline(since, terms);
    // Clocks of operators differ, and an SFU takes no more than an hour.
    let left = (deadline.as_second() - now.as_second()).clamp(0, terms.within_seconds.into());
    let left = u32::try_from(left).unwrap_or(terms.within_seconds);
    // A node is to be empty soon, whatever calls on other nodes may do.
    let mode = if cause == Cause::NodeCordoned { DrainMode::Move } else { terms.mode };
    let (mode, within_seconds) = match (takers, mode) {
        (Takers::Ready, mode) => (mode, left),
        (Takers::Coming, _) | (Takers::Nobody, DrainMode::Wait) => (DrainMode::Wait, left),
        // One by one they would wait for an SFU that comes only when all are gone.
        (Takers::Nobody, DrainMode::Move) => (DrainMode::Move, 0),
    };
    let order = DrainOrder { mode, within_seconds, nobody_takes: takers == Takers::Nobody };
    let is_done = sfu.is_done(terms, now);
    let is_told = sfu.drain.is_some_and(|told| is_as_ordered(told, order, now));
    Departure {
        pod: sfu.pod.clone(),
        cause,
        since,
        deadline,
        calls_left: sfu.load.map(|load| load.calls),
        calls_moved: sfu.drain.map_or(0, |told| told.calls_moved),
        is_new: sfu.since.is_none(),
        order: (sfu.is_running && !is_done && !is_told).then_some(order),
        is_done,
        mark: is_done && !sfu.is_marked,
        // One that did not answer this time says nothing new.
        unmark: !is_done && sfu.is_marked && sfu.load.is_some(),
        open: false,
    }
}

/// Whether an SFU that says so knows `order` already.
fn is_as_ordered(told: DrainStatus, order: DrainOrder, now: Timestamp) -> bool {
    let ends = now.as_second() + i64::from(order.within_seconds);
    let is_close = told.deadline.abs_diff(ends) <= SKEW_SECONDS;
    let is_over = order.within_seconds == 0 && told.deadline <= ends;
    told.mode == order.mode && told.nobody_takes == order.nobody_takes && (is_close || is_over)
}

#[cfg(test)]
mod tests;
