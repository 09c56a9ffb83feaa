//! The pods of one Deployment: which of them leave, and how many replicas that leaves it. Pure.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::{Cause, Departure, Sfu, Terms, Wanted};

/// How long after its pod was made an SFU that is not ready counts as one that will be: pulling its image takes most of
/// it. Shorter, and calls of a cordoned node go to fewer SFUs than there could be; longer, and an SFU that never starts
/// holds up the node for that time.
const COMING: SignedDuration = SignedDuration::from_secs(120);

/// The pods of one Deployment, and which of them leave.
pub(super) struct Group<'a> {
    pub wanted: &'a Wanted,
    pub pods: Vec<&'a Sfu>,
    pub leaving: BTreeMap<&'a str, Cause>,
}

impl<'a> Group<'a> {
    pub fn choose(wanted: &'a Wanted, sfus: &'a [Sfu], terms: Terms, now: Timestamp) -> Self {
        let pods: Vec<&Sfu> = sfus.iter().filter(|sfu| sfu.place == wanted.place).collect();
        let mut group = Self { wanted, pods, leaving: BTreeMap::new() };
        group.leaving = group.leave_nodes(terms, now);
        let cause = if wanted.is_current { Cause::ScaledDown } else { Cause::Replaced };
        let mut others: Vec<&Sfu> = group.staying().collect();
        others.sort_by_key(|sfu| cost(sfu));
        let n_wanted =
            wanted.target as usize + group.replacing(others.iter().filter(|sfu| group.is_displaced(sfu)).count());
        let surplus = others.len().saturating_sub(n_wanted);
        group.leaving.extend(others.into_iter().take(surplus).map(|sfu| (sfu.pod.as_str(), cause)));
        group
    }

    pub fn staying(&self) -> impl Iterator<Item = &'a Sfu> {
        self.pods.iter().copied().filter(|sfu| !self.leaving.contains_key(sfu.pod.as_str()))
    }

    /// Whether `sfu` stays on a node it is wanted off, because nobody else is there and nobody comes.
    pub fn is_stuck(&self, sfu: &Sfu, now: Timestamp) -> bool {
        self.is_displaced(sfu) && self.ready_elsewhere() == 0 && !self.gets_more(now)
    }

    /// Of a Deployment of which nothing is wanted all leave for another reason.
    fn is_displaced(&self, sfu: &Sfu) -> bool {
        self.wanted.target > 0 && sfu.is_cordoned
    }

    /// How many could take the calls of those on cordoned nodes.
    fn ready_elsewhere(&self) -> usize {
        self.pods.iter().filter(|sfu| !sfu.is_cordoned && sfu.is_ready).count()
    }

    /// Those on cordoned nodes that go, if somebody can take their calls: so many that as many as are wanted stay
    /// ready, or one after the other if no more can be had. Those that have begun go on.
    fn leave_nodes(&self, terms: Terms, now: Timestamp) -> BTreeMap<&'a str, Cause> {
        let displaced = || self.pods.iter().copied().filter(|sfu| self.is_displaced(sfu));
        let has_taker = self.ready_elsewhere() > 0;
        let (begun, mut others): (Vec<&Sfu>, Vec<&Sfu>) =
            displaced().filter(|sfu| sfu.is_running).partition(|sfu| sfu.since.is_some());
        let serving = self.pods.iter().filter(|sfu| sfu.is_ready && sfu.since.is_none()).count();
        let spare = serving.saturating_sub(self.wanted.target as usize);
        let n_going = begun.iter().filter(|sfu| !sfu.is_done(terms, now)).count();
        let n = if spare == 0 && !self.gets_more(now) { 1_usize.saturating_sub(n_going) } else { spare };
        others.sort_by_key(|sfu| cost(sfu));
        let running = begun.into_iter().chain(others.into_iter().take(n)).filter(|_| has_taker);
        // One that does not run has nothing to lose.
        let idle = displaced().filter(|sfu| !sfu.is_running);
        running.chain(idle).map(|sfu| (sfu.pod.as_str(), Cause::NodeCordoned)).collect()
    }

    /// Whether another SFU is on its way, or could be.
    fn gets_more(&self, now: Timestamp) -> bool {
        let is_coming = |sfu: &&Sfu| {
            let is_young = now < sfu.created + COMING;
            !sfu.is_cordoned && !sfu.is_ready && !sfu.is_unschedulable && sfu.since.is_none() && is_young
        };
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
        displaced.min(extra.saturating_add(self.free_nodes()))
    }

    /// The pods Kubernetes deletes if the Deployment has as many replicas less: those that are done and marked, if no
    /// other comes before them. It takes those first that have not begun to run, then those that are not ready, and of
    /// these the lowest cost.
    pub fn deletable<'d>(&self, leaving: &'d [Departure]) -> BTreeSet<&'d str> {
        let seen_done = leaving.iter().filter(|one| one.is_seen_done()).map(|one| one.pod.as_str());
        let mut may_go: BTreeSet<&str> = seen_done.collect();
        let others = || self.pods.iter().filter(|sfu| !may_go.contains(sfu.pod.as_str()));
        let of = |pod: &str| self.pods.iter().find(|sfu| sfu.pod == pod);
        if others().any(|sfu| sfu.is_marked) {
            return BTreeSet::new();
        }
        if others().any(|sfu| !sfu.is_running) {
            // A new one might be deleted for one on a cordoned node, again and again.
            may_go.retain(|pod| of(pod).is_some_and(|sfu| !sfu.is_running && !self.is_displaced(sfu)));
        } else if others().any(|sfu| !sfu.is_ready) {
            may_go.retain(|pod| of(pod).is_some_and(|sfu| !sfu.is_ready));
        }
        may_go
    }

    /// What the Deployment is to have when the pods in `may_go` may be deleted.
    pub fn replicas(&self, may_go: &BTreeSet<&str>) -> u32 {
        let target = self.wanted.target as usize;
        let (go, remain): (Vec<&Sfu>, Vec<&Sfu>) =
            self.pods.iter().copied().partition(|sfu| may_go.contains(sfu.pod.as_str()));
        let here = remain.iter().filter(|sfu| !self.is_displaced(sfu)).count();
        let new = target.saturating_sub(here).min(self.free_nodes());
        // One on a cordoned node that is done holds its replica until another is there.
        let held = if new > 0 { go.iter().filter(|sfu| self.is_displaced(sfu)).count() } else { 0 };
        let planned = if new > 0 { target.max(remain.len() + held + new) } else { target };
        let needed = count(planned.max(remain.len()));
        match self.wanted.has {
            Some(has) if !self.wanted.is_current => needed.min(has),
            // A pod the cache shows beyond what there should be is about to be deleted.
            Some(has) if needed > has => has.max(count(planned)),
            _ => needed,
        }
    }
}

/// What it costs people if the SFU leaves, cheapest first: one that does not run, one that leaves already, one that
/// does not serve, then fewest people, least load, and the younger. One that does not answer may have anybody.
fn cost(sfu: &Sfu) -> (u8, u32, u8, Reverse<Timestamp>, &str) {
    let rank = match sfu {
        // Also because Kubernetes deletes it first.
        Sfu { is_running: false, .. } => 0,
        Sfu { since: Some(_), .. } => 1,
        Sfu { is_ready: false, .. } => 2,
        _ => 3,
    };
    let unknown = if sfu.is_running { u32::MAX } else { 0 };
    let people = sfu.load.map_or(unknown, |load| load.participants);
    let percent = sfu.load.map_or(0, |load| load.percent);
    (rank, people, percent, Reverse(sfu.created), &sfu.pod)
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
