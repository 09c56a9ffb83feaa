//! Step 5, status: from what was applied and seen to what the user reads.
//!
//! Pure. Status of a cluster in order comes only from [`Applied`] objects; of one that cannot be carried out, only its
//! conditions change.

mod scaling;
mod update;

use std::collections::BTreeSet;
use std::sync::Arc;

use fleet::api::SfuState;
use fleet::names::{label, port_name};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;

use crate::api::{CallsClusterStatus, DrainingEntry, MAX_LISTED_SFUS, SfuEntry};
use crate::cluster::build::{Applied, Objects, selector};
use crate::cluster::dereference::{Dereferenced, Report};
use crate::cluster::leaving::{Cause, Departure, Departures};
use crate::cluster::problem::{ConditionType, Problem, is_image_trouble, problems};
use crate::cluster::revision::{Hold, Progress};
use crate::cluster::validate::{ValidatedCluster, is_ready};
use crate::name::ClusterName;
use crate::port::Slot;

/// Load is shown in steps of this many percent, so that a flicker writes nothing.
const LOAD_STEP: u8 = 5;
/// Longest message of a condition; the API allows 32768 characters, people read less.
const MAX_MESSAGE: usize = 1024;

/// The state of one condition before it has a time.
#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    condition: ConditionType,
    status: &'static str,
    reason: String,
    message: String,
}

impl State {
    fn new(condition: ConditionType, status: &'static str, reason: &str, message: impl Into<String>) -> Self {
        Self { condition, status, reason: reason.to_owned(), message: message.into() }
    }
}

/// The status of a cluster whose objects were applied.
pub fn status(
    objects: &Objects<Applied>,
    cluster: &ValidatedCluster,
    found: &Dereferenced,
    before: Option<&CallsClusterStatus>,
    generation: Option<i64>,
    now: Timestamp,
) -> CallsClusterStatus {
    let present = present(found);
    let serving = count_ready(&present).min(cluster.replicas);
    let director_ready = objects.director.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0) > 0;
    let mut wrong = problems(found);
    wrong.extend(cluster.warnings.iter().cloned());
    wrong.extend(scaling::two_autoscalers(cluster, found));
    let rolled_back = update::rolled_back(objects, &wrong, before, now);
    wrong.extend(rolled_back.as_ref().map(|one| update::problem(one, cluster.update)));

    let states = [
        ready(cluster, serving, director_ready, &wrong),
        progressing(&objects.plan.progress, director_ready),
        degraded(&wrong),
        draining(&objects.departures),
        ports(cluster, &present, &wrong),
        address(found, &wrong),
        scaling::limited(cluster, &wrong),
        scaling::conflict(&wrong),
    ];
    CallsClusterStatus {
        observed_generation: generation,
        conditions: conditions(states, before, generation, now),
        autoscaler: scaling::autoscaler(cluster, before, now),
        rolled_back,
        draining: objects.departures.leaving.iter().take(MAX_LISTED_SFUS).map(draining_entry).collect(),
        ..seen(found, &cluster.identity.name, cluster.replicas)
    }
}

/// What is seen of the SFUs, whatever becomes of the spec: everything but conditions and who leaves.
pub fn seen(found: &Dereferenced, name: &ClusterName, wanted: u32) -> CallsClusterStatus {
    let present = present(found);
    let n_ready = count_ready(&present);
    let reports = || found.reports.values().filter_map(|report| report.as_ref().ok());
    let versions: BTreeSet<&str> = reports().map(|report| report.version.as_str()).collect();
    let load = reports().map(|report| report.load.percent).max().unwrap_or(0);
    let sfus = entries(found);
    let first = sfus.iter().find(|one| !one.address.is_empty());
    CallsClusterStatus {
        observed_generation: None,
        replicas: i32::try_from(present.len()).unwrap_or(i32::MAX),
        ready_replicas: i32::try_from(n_ready).unwrap_or(i32::MAX),
        selector: selector(name, label::COMPONENT_SFU),
        ready: format!("{}/{wanted}", n_ready.min(wanted)),
        load: format!("{}%", load.div_ceil(LOAD_STEP) * LOAD_STEP),
        calls: reports().map(|report| report.load.calls).sum(),
        participants: reports().map(|report| report.load.participants).sum(),
        address: first.map(|one| socket(&one.address, one.port)).unwrap_or_default(),
        version: versions.into_iter().collect::<Vec<_>>().join(","),
        conditions: Vec::new(),
        draining: Vec::new(),
        autoscaler: None,
        rolled_back: None,
        sfus,
    }
}

/// SFU pods that are not going away.
fn present(found: &Dereferenced) -> Vec<&Arc<Pod>> {
    found.sfu_pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect()
}

fn count_ready(pods: &[&Arc<Pod>]) -> u32 {
    u32::try_from(pods.iter().filter(|pod| is_ready(pod)).count()).unwrap_or(u32::MAX)
}

/// The status of a cluster whose spec cannot be carried out: what runs is left as it is, the conditions say why. `seen`
/// is what runs; where nobody could look, what was seen before stands.
pub fn refused(
    problem: &Problem,
    seen: Option<CallsClusterStatus>,
    before: Option<&CallsClusterStatus>,
    generation: Option<i64>,
    now: Timestamp,
) -> CallsClusterStatus {
    let known = before.cloned().unwrap_or_default();
    let mut status = seen
        .map(|seen| CallsClusterStatus {
            conditions: known.conditions.clone(),
            draining: known.draining.clone(),
            autoscaler: known.autoscaler.clone(),
            rolled_back: known.rolled_back.clone(),
            ..seen
        })
        .unwrap_or(known);
    let message = format!("{} What already runs is left as it is.", problem.message);
    let mut states = vec![
        State::new(ConditionType::Ready, "False", &problem.reason, message.clone()),
        State::new(ConditionType::Progressing, "False", &problem.reason, "Waits for the spec to be mended."),
        State::new(ConditionType::Degraded, "True", &problem.reason, message.clone()),
    ];
    for condition in [ConditionType::PortsAllocated, ConditionType::AddressResolved] {
        let known = status.conditions.iter().any(|one| one.type_ == condition.name());
        if problem.condition == condition {
            states.push(State::new(condition, "False", &problem.reason, message.clone()));
        } else if !known {
            states.push(State::new(condition, "Unknown", "NotTried", "Waits for the spec to be mended."));
        }
    }
    let changed = conditions(states, before, generation, now);
    status.conditions.retain(|old| !changed.iter().any(|new| new.type_ == old.type_));
    status.conditions.extend(changed);
    status.conditions.sort_by_key(|one| one.type_.clone());
    status.observed_generation = generation;
    status
}

fn ready(cluster: &ValidatedCluster, serving: u32, director_ready: bool, wrong: &[Problem]) -> State {
    let is_up = serving >= cluster.replicas && director_ready;
    if is_up {
        let said = match cluster.replicas {
            0 => "No SFU is wanted.".to_owned(),
            1 => "The SFU is ready.".to_owned(),
            many => format!("All {many} SFUs are ready."),
        };
        return State::new(
            ConditionType::Ready,
            "True",
            if cluster.replicas == 0 { "ScaledToZero" } else { "AllReady" },
            said,
        );
    }
    // Something a person should mend says more than what is missing because of it.
    if let Some(problem) = wrong.iter().find(|problem| is_in_the_way(problem)) {
        return State::new(ConditionType::Ready, "False", &problem.reason, problem.message.clone());
    }
    if serving < cluster.replicas {
        let said = format!("{serving} of {} SFUs are ready.", cluster.replicas);
        return State::new(ConditionType::Ready, "False", "SfusStarting", said);
    }
    State::new(ConditionType::Ready, "False", "DirectorStarting", "No director is ready, so nobody can join yet.")
}

/// Whether a problem can be why not all SFUs are ready.
fn is_in_the_way(problem: &Problem) -> bool {
    !matches!(problem.condition, ConditionType::Degraded | ConditionType::AutoscalingConflict)
}

fn progressing(progress: &Progress, director_ready: bool) -> State {
    let (status, reason, message) = match progress {
        Progress::Settled if director_ready => ("False", "Settled", "Everything is as wanted."),
        Progress::Settled => ("True", "DirectorStarting", "The director starts."),
        Progress::Starting => ("True", "Starting", "SFUs start."),
        Progress::Surging => {
            ("True", "Surging", "New SFUs start beside those they replace, which go when all are ready.")
        }
        Progress::Draining => ("True", "Draining", "Replaced SFUs let go of their calls, and end."),
        Progress::WaitingForSlot => {
            let said = "New SFUs wait until the last SFU leaves the host ports they need, or should have left them a minute \
                        ago.";
            ("True", "WaitingForSlot", said)
        }
        Progress::Held(Hold::Paused) => {
            ("False", "Paused", "update.paused holds a change of the SFUs back: those before it serve on.")
        }
        Progress::Held(Hold::RolledBack) => {
            ("False", "RolledBack", "A change of the SFUs was taken back: those before it serve on. Degraded says why.")
        }
    };
    State::new(ConditionType::Progressing, status, reason, message)
}

fn degraded(wrong: &[Problem]) -> State {
    let Some(first) = wrong.first() else {
        return State::new(ConditionType::Degraded, "False", "AllWell", "Nothing is wrong.");
    };
    let more = match wrong.len() {
        1 => String::new(),
        n => format!(" And {} more.", n - 1),
    };
    State::new(ConditionType::Degraded, "True", &first.reason, format!("{}{more}", first.message))
}

fn draining(departures: &Departures) -> State {
    let condition = ConditionType::Draining;
    let stuck = stuck(&departures.stuck);
    let Some(cause) = departures.leaving.iter().map(|one| one.cause).min() else {
        let Some(stuck) = stuck else {
            return State::new(condition, "False", "NobodyLeaves", "No SFU leaves.");
        };
        return State::new(condition, "False", "NowhereToGo", stuck);
    };
    let (reason, why) = match cause {
        Cause::NodeCordoned => ("NodeCordoned", "its node is cordoned"),
        Cause::Replaced => ("Replaced", "another replaces it"),
        Cause::ScaledDown => ("ScaledDown", "fewer are wanted"),
    };
    // No counts: they change at every look.
    let names: Vec<&str> =
        departures.leaving.iter().filter(|one| one.cause == cause).map(|one| one.pod.as_str()).collect();
    let said = match names.as_slice() {
        [one] => format!("SFU {one} leaves, because {why}."),
        many => format!("SFUs {} leave, each because {why}.", many.join(", ")),
    };
    let said = [said].into_iter().chain(stuck).collect::<Vec<_>>().join(" ");
    State::new(condition, "True", reason, said)
}

/// Who stays on a cordoned node, and what helps.
fn stuck(pods: &[String]) -> Option<String> {
    let stay = match pods {
        [] => return None,
        [one] => format!("SFU {one} stays on its cordoned node"),
        many => format!("SFUs {} stay on their cordoned nodes", many.join(", ")),
    };
    Some(format!(
        "{stay}, because no other SFU can take the calls and no node is free for another: add a node, or uncordon one. \
         Until then an SFU is evicted only while it has no calls."
    ))
}

fn draining_entry(departure: &Departure) -> DrainingEntry {
    DrainingEntry {
        pod: departure.pod.clone(),
        calls_left: departure.calls_left,
        since: Time(departure.since),
        deadline: Time(departure.deadline),
    }
}

fn ports(cluster: &ValidatedCluster, pods: &[&Arc<Pod>], wrong: &[Problem]) -> State {
    let condition = ConditionType::PortsAllocated;
    if let Some(problem) = wrong.iter().find(|problem| problem.condition == condition) {
        return State::new(condition, "False", &problem.reason, problem.message.clone());
    }
    let placed = pods.iter().filter(|pod| pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some())).count();
    if placed < usize::try_from(cluster.replicas).unwrap_or(usize::MAX) {
        return State::new(condition, "Unknown", "Waiting", "Not every SFU has a node yet.");
    }
    let [first, second] = Slot::ALL.map(|slot| cluster.ports.slot(slot));
    let said = format!(
        "Media on host port {} or {}, control on {} to {}.",
        first.media, second.media, first.control, second.health
    );
    State::new(condition, "True", "Allocated", said)
}

fn address(found: &Dereferenced, wrong: &[Problem]) -> State {
    let condition = ConditionType::AddressResolved;
    if let Some(problem) = wrong.iter().find(|problem| problem.condition == condition) {
        return State::new(condition, "False", &problem.reason, problem.message.clone());
    }
    let answered: Vec<_> = found.reports.values().filter_map(|report| report.as_ref().ok()).collect();
    if answered.is_empty() {
        return State::new(condition, "Unknown", "NoReport", "No SFU has said yet which address it offers.");
    }
    let silent: Vec<&str> =
        answered.iter().filter(|report| report.candidates.is_empty()).map(|report| report.name.as_str()).collect();
    if !silent.is_empty() {
        let said = format!("These SFUs have no address yet: {}.", silent.join(", "));
        return State::new(condition, "Unknown", "Resolving", said);
    }
    State::new(condition, "True", "Resolved", "Every SFU that reports offers an address.")
}

/// Conditions with their times: a time moves only when the status does.
fn conditions(
    states: impl IntoIterator<Item = State>,
    before: Option<&CallsClusterStatus>,
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    let seconds = whole_seconds(now);
    let mut conditions: Vec<Condition> = states
        .into_iter()
        .map(|state| {
            let type_ = state.condition.name();
            let old = before.and_then(|before| before.conditions.iter().find(|one| one.type_ == type_));
            let since = old.filter(|old| old.status == state.status).map(|old| old.last_transition_time.clone());
            Condition {
                type_: type_.to_owned(),
                status: state.status.to_owned(),
                reason: state.reason,
                message: state.message.chars().take(MAX_MESSAGE).collect(),
                last_transition_time: since.unwrap_or(Time(seconds)),
                observed_generation: generation,
            }
        })
        .collect();
    conditions.sort_by_key(|one| one.type_.clone());
    conditions
}

/// Times in a status have no fractions.
fn whole_seconds(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

fn entries(found: &Dereferenced) -> Vec<SfuEntry> {
    found.sfu_pods.iter().take(MAX_LISTED_SFUS).map(|pod| entry(pod, found.reports.get(&pod.name_any()))).collect()
}

fn entry(pod: &Pod, report: Option<&Report>) -> SfuEntry {
    let declared = pod
        .spec
        .iter()
        .flat_map(|spec| &spec.containers)
        .flat_map(|container| container.ports.iter().flatten())
        .find(|port| port.name.as_deref() == Some(port_name::MEDIA))
        .and_then(|port| u16::try_from(port.container_port).ok())
        .unwrap_or_default();
    let candidate = report.and_then(|report| report.as_ref().ok()).and_then(|report| report.candidates.first());
    SfuEntry {
        pod: pod.name_any(),
        node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default(),
        slot: pod.labels().get(label::SLOT).and_then(|slot| Slot::parse(slot)).map_or(0, Slot::number),
        address: candidate.map(|candidate| candidate.address.to_string()).unwrap_or_default(),
        port: candidate.map_or(declared, |candidate| candidate.port),
        state: state(pod, report),
    }
}

fn state(pod: &Pod, report: Option<&Report>) -> String {
    if pod.metadata.deletion_timestamp.is_some() {
        return "Draining".to_owned();
    }
    let status = pod.status.as_ref();
    let waits_for = status
        .iter()
        .flat_map(|status| status.container_statuses.iter().flatten())
        .find_map(|container| container.state.as_ref()?.waiting.as_ref()?.reason.clone());
    match (report, waits_for) {
        (Some(Ok(report)), _) => match report.state {
            SfuState::Starting => "Starting".to_owned(),
            SfuState::Active => "Active".to_owned(),
            SfuState::Draining => "Draining".to_owned(),
        },
        (_, Some(reason)) if is_image_trouble(&reason) => "ImageUnavailable".to_owned(),
        (_, Some(reason)) => reason,
        (Some(Err(_)), None) => "Unreachable".to_owned(),
        (None, None) => status.and_then(|status| status.phase.clone()).unwrap_or_else(|| "Pending".to_owned()),
    }
}

fn socket(address: &str, port: u16) -> String {
    address.parse().map_or_else(|_| format!("{address}:{port}"), |ip| std::net::SocketAddr::new(ip, port).to_string())
}
