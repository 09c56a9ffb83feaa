//! Which SFUs leave, and how far each of them is.
//!
//! An SFU leaves because fewer are wanted, because another revision replaces it, or because its node is cordoned. It is
//! asked to drain, and when it is empty (or its time is over) it is marked as the pod Kubernetes deletes first; only
//! then has its Deployment one replica less. An SFU that is wanted again before that stays.
//!
//! Pure, and without a memory: what was begun is read from the SFUs' reports and the pods' annotations, so an operator
//! that starts in the middle goes on. Guarantees, whatever is found: a Deployment never has fewer replicas than are
//! wanted of it, nor fewer than it has pods that are not done; no more SFUs leave than are not wanted or stand on
//! cordoned nodes; and one that leaves goes on leaving for as long as somebody has to.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use fleet::api::{DrainMode, DrainOrder, DrainStatus, SfuLoad};
use k8s_openapi::jiff::{SignedDuration, Timestamp};

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
    /// When it was asked to leave first, as its annotation says.
    pub since: Option<Timestamp>,
    /// Kubernetes deletes it before others.
    pub is_marked: bool,
    /// The disruption budget lets it go.
    pub is_evictable: bool,
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
}

/// Decides about all SFUs of a `CallsCluster` at `now`.
pub fn plan_departures(wanted: &[Wanted], sfus: &[Sfu], terms: Terms, now: Timestamp) -> Departures {
    let groups: Vec<Group<'_>> = wanted.iter().map(|wanted| Group::choose(wanted, sfus)).collect();
    // Whoever leaves now can send its calls to these.
    let takes = |group: &Group<'_>| group.pods.iter().any(|sfu| sfu.is_ready && !group.leaving.contains_key(&*sfu.pod));
    let has_takers = groups.iter().any(takes);
    let mut plan = Departures::default();
    for group in &groups {
        let leaving: Vec<Departure> = group
            .pods
            .iter()
            .filter_map(|sfu| Some(departure(sfu, *group.leaving.get(sfu.pod.as_str())?, terms, has_takers, now)))
            .collect();
        let gone = group.deletable(&leaving);
        let replicas = group.replicas(&gone);
        let is_lowered = group.wanted.has.is_some_and(|has| replicas < has);
        plan.replicas.insert(group.wanted.place.clone(), replicas);
        plan.leaving.extend(leaving.into_iter().map(|one| {
            let was_open = group.pods.iter().any(|sfu| sfu.pod == one.pod && sfu.is_evictable);
            let open = one.cause == Cause::NodeCordoned && gone_by(&one) && !is_lowered && !was_open;
            Departure { open, ..one }
        }));
        let stays = |sfu: &&&Sfu| !group.leaving.contains_key(sfu.pod.as_str());
        let was_leaving = |sfu: &&Sfu| sfu.since.is_some() || sfu.is_marked || sfu.is_evictable || sfu.drain.is_some();
        let staying = group.pods.iter().filter(stays);
        plan.staying.extend(staying.clone().filter(|sfu| was_leaving(sfu)).map(|sfu| sfu.pod.clone()));
        let stuck = staying.filter(|sfu| group.is_displaced(sfu) && !group.gets_more());
        plan.stuck.extend(stuck.map(|sfu| sfu.pod.clone()));
    }
    plan
}

/// Done, and marked by an earlier look.
fn gone_by(one: &Departure) -> bool {
    one.is_done && !one.mark
}

/// The pods of one Deployment, and which of them leave.
struct Group<'a> {
    wanted: &'a Wanted,
    pods: Vec<&'a Sfu>,
    leaving: BTreeMap<&'a str, Cause>,
}

impl<'a> Group<'a> {
    fn choose(wanted: &'a Wanted, sfus: &'a [Sfu]) -> Self {
        let pods: Vec<&Sfu> = sfus.iter().filter(|sfu| sfu.place == wanted.place).collect();
        let mut group = Self { wanted, pods, leaving: BTreeMap::new() };
        if wanted.is_current {
            group.leaving = group.leave_nodes();
        }
        let cause = if wanted.is_current { Cause::ScaledDown } else { Cause::Replaced };
        let mut others: Vec<&Sfu> = group.staying().collect();
        others.sort_by_key(|sfu| cost(sfu));
        let n_wanted =
            wanted.target as usize + group.replacing(others.iter().filter(|sfu| group.is_displaced(sfu)).count());
        let surplus = others.len().saturating_sub(n_wanted);
        group.leaving.extend(others.into_iter().take(surplus).map(|sfu| (sfu.pod.as_str(), cause)));
        group
    }

    fn is_displaced(&self, sfu: &Sfu) -> bool {
        self.wanted.is_current && sfu.is_cordoned
    }

    fn staying(&self) -> impl Iterator<Item = &'a Sfu> {
        self.pods.iter().copied().filter(|sfu| !self.leaving.contains_key(sfu.pod.as_str()))
    }

    /// Those on cordoned nodes that can go: as many as are wanted are ready elsewhere, or some are and no more can be
    /// had. Those that have begun go on.
    fn leave_nodes(&self) -> BTreeMap<&'a str, Cause> {
        let ready = self.pods.iter().filter(|sfu| !sfu.is_cordoned && sfu.is_ready).count();
        let can_go = ready > 0 && (ready >= self.wanted.target as usize || !self.gets_more());
        let goes = |sfu: &&&Sfu| sfu.is_cordoned && (can_go || sfu.since.is_some() || !sfu.is_running);
        self.pods.iter().filter(goes).map(|sfu| (sfu.pod.as_str(), Cause::NodeCordoned)).collect()
    }

    /// Whether another SFU is on its way, or could be.
    fn gets_more(&self) -> bool {
        let is_coming = |sfu: &&Sfu| !sfu.is_cordoned && !sfu.is_ready && !sfu.is_unschedulable && sfu.since.is_none();
        self.free_nodes() > 0 || self.pods.iter().any(is_coming)
    }

    /// Nodes that could take one more. None while the scheduler finds none for a pod there is.
    fn free_nodes(&self) -> usize {
        if self.pods.iter().any(|sfu| sfu.is_unschedulable) { 0 } else { self.wanted.free_nodes as usize }
    }

    /// How many of `displaced` pods on cordoned nodes have a replacement, or can have one.
    fn replacing(&self, displaced: usize) -> usize {
        let n_displaced = self.pods.iter().filter(|sfu| self.is_displaced(sfu)).count();
        let needed = (self.wanted.target as usize).saturating_sub(n_displaced);
        let extra = (self.pods.len() - n_displaced).saturating_sub(needed);
        displaced.min(extra + self.free_nodes())
    }

    /// The pods Kubernetes deletes if the Deployment has as many replicas less: those that are done and marked, if no
    /// other comes before them. Of pods that run, it takes those that are not ready first, and of these the lowest
    /// cost.
    fn deletable<'d>(&self, leaving: &'d [Departure]) -> BTreeSet<&'d str> {
        let mut gone: BTreeSet<&str> = leaving.iter().filter(|one| gone_by(one)).map(|one| one.pod.as_str()).collect();
        let others = || self.pods.iter().filter(|sfu| !gone.contains(sfu.pod.as_str()));
        if others().any(|sfu| sfu.is_marked) {
            return BTreeSet::new();
        }
        if others().any(|sfu| sfu.is_running && !sfu.is_ready) {
            let is_ready = |pod: &str| self.pods.iter().any(|sfu| sfu.pod == pod && sfu.is_ready);
            gone.retain(|pod| !is_ready(pod));
        }
        gone
    }

    /// What the Deployment is to have when the pods in `gone` may be deleted.
    fn replicas(&self, gone: &BTreeSet<&str>) -> u32 {
        let remain = || self.pods.iter().filter(|sfu| !gone.contains(sfu.pod.as_str()));
        let replaced = self.replacing(remain().filter(|sfu| self.is_displaced(sfu)).count());
        let needed = (self.wanted.target as usize + replaced).max(remain().count());
        let needed = u32::try_from(needed).unwrap_or(u32::MAX);
        match self.wanted.has {
            Some(has) if !self.wanted.is_current => needed.min(has),
            // A pod the cache shows beyond what there should be is about to be deleted.
            Some(has) if needed > has => has.max(self.wanted.target + u32::try_from(replaced).unwrap_or(u32::MAX)),
            _ => needed,
        }
    }
}

/// What it costs people if the SFU leaves, cheapest first: one that leaves already, one that does not serve, then
/// fewest people, least load, and the younger. One that does not answer may have anybody.
fn cost(sfu: &Sfu) -> (u8, u32, u8, Reverse<Timestamp>, &str) {
    let rank = match sfu {
        Sfu { since: Some(_), .. } => 0,
        Sfu { is_ready: false, .. } => 1,
        _ => 2,
    };
    let unknown = if sfu.is_running { u32::MAX } else { 0 };
    let people = sfu.load.map_or(unknown, |load| load.participants);
    let percent = sfu.load.map_or(0, |load| load.percent);
    (rank, people, percent, Reverse(sfu.created), &sfu.pod)
}

fn departure(sfu: &Sfu, cause: Cause, terms: Terms, has_takers: bool, now: Timestamp) -> Departure {
    let since = sfu.since.unwrap_or_else(|| Timestamp::from_second(now.as_second()).unwrap_or(now));
    let deadline = since + SignedDuration::from_secs(terms.within_seconds.into());
    // A node is to be empty soon, whatever calls on other nodes may do.
    let mode = if cause == Cause::NodeCordoned { DrainMode::Move } else { terms.mode };
    let left = u32::try_from(deadline.as_second().saturating_sub(now.as_second())).unwrap_or(0);
    // One by one they would wait for an SFU that comes only when all are gone.
    let within_seconds = if mode == DrainMode::Move && !has_takers { 0 } else { left };
    let ends = now.as_second() + i64::from(within_seconds);
    let is_close = |deadline: i64| deadline.abs_diff(ends) <= SKEW_SECONDS || (within_seconds == 0 && deadline <= ends);
    let is_told = sfu.drain.is_some_and(|told| told.mode == mode && is_close(told.deadline));
    let is_empty = sfu.drain.is_some() && sfu.load.is_some_and(|load| load.calls == 0);
    let is_done = !sfu.is_running || is_empty || now >= deadline + OVERTIME;
    Departure {
        pod: sfu.pod.clone(),
        cause,
        since,
        deadline,
        calls_left: sfu.load.map(|load| load.calls),
        calls_moved: sfu.drain.map_or(0, |told| told.calls_moved),
        is_new: sfu.since.is_none(),
        order: (sfu.is_running && !is_done && !is_told).then_some(DrainOrder { mode, within_seconds }),
        is_done,
        mark: is_done && !sfu.is_marked,
        unmark: !is_done && sfu.is_marked,
        open: false,
    }
}

#[cfg(test)]
mod tests;
