//! What was read of SFUs that may leave: from pods, nodes and reports to values. Pure.

use std::collections::{BTreeMap, BTreeSet};

use fleet::names::{annotation, label};
use k8s_openapi::api::core::v1::{Pod, Taint, Toleration};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;

use crate::address::NodeFacts;
use crate::cluster::build::GRACE_MARGIN_SECONDS;
use crate::cluster::dereference::Dereferenced;
use crate::cluster::leaving::Sfu;
use crate::cluster::see_off::FIRST;
use crate::cluster::validate::{is_finished, is_ready};
use crate::port::Slot;

/// Beginning of the keys of taints that Kubernetes itself puts on nodes, as when one is short of memory.
const KUBERNETES: &str = "node.kubernetes.io/";

/// SFU pods that are not going away and have not ended.
pub fn sfus(found: &Dereferenced) -> Vec<Sfu> {
    let nodes: BTreeMap<&str, &NodeFacts> = found.nodes.iter().map(|node| (node.name.as_str(), node)).collect();
    let pods = found.sfu_pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none() && !is_finished(pod));
    let sfu = |pod: &std::sync::Arc<Pod>| {
        let report = found.reports.get(&pod.name_any()).and_then(|report| report.as_ref().ok());
        let said = |name: &str| pod.annotations().get(name).map(String::as_str);
        Some(Sfu {
            pod: pod.name_any(),
            place: (pod.labels().get(label::REVISION)?.clone(), slot_of(pod)?),
            created: pod.creation_timestamp().map_or(Timestamp::UNIX_EPOCH, |time| time.0),
            is_ready: is_ready(pod),
            is_running: is_running(pod),
            is_unschedulable: is_unschedulable(pod),
            is_cordoned: node_of(pod).and_then(|node| nodes.get(node)).is_some_and(|node| is_cordoned(node, pod)),
            load: report.map(|report| report.load),
            drain: report.and_then(|report| report.drain),
            can_drain: report.is_none_or(|report| report.can_drain || report.drain.is_some()),
            since: said(annotation::LEAVING_SINCE).and_then(|since| since.parse().ok()),
            is_marked: said(annotation::DELETION_COST) == Some(FIRST),
            is_evictable: pod.labels().contains_key(label::EVICTABLE),
        })
    };
    pods.filter_map(sfu).collect()
}

/// Nodes that take SFUs with these tolerations, have none in `slot`, and are not for one that has no node yet.
pub fn free_nodes(found: &Dereferenced, tolerations: &[Toleration], slot: Slot) -> u32 {
    // One that is terminating holds its ports to the end.
    let pods = found.sfu_pods.iter().filter(|pod| !is_finished(pod) && slot_of(pod) == Some(slot));
    let (placed, waiting): (Vec<_>, Vec<_>) = pods.partition(|pod| node_of(pod).is_some());
    let taken: BTreeSet<&str> = placed.into_iter().filter_map(|pod| node_of(pod)).collect();
    let is_free = |node: &&NodeFacts| {
        let is_kept_off = node.taints.iter().any(|taint| !is_tolerated(taint, tolerations));
        !node.is_cordoned && !is_kept_off && !taken.contains(node.name.as_str())
    };
    let n_free = found.nodes.iter().filter(is_free).count().saturating_sub(waiting.len());
    u32::try_from(n_free).unwrap_or(u32::MAX)
}

/// How long the SFUs of each Deployment may take to leave, in seconds, as its template says.
pub fn patience(found: &Dereferenced) -> BTreeMap<String, u32> {
    let of = |deployment: &std::sync::Arc<k8s_openapi::api::apps::v1::Deployment>| {
        let grace = deployment.spec.as_ref()?.template.spec.as_ref()?.termination_grace_period_seconds?;
        Some((deployment.name_any(), u32::try_from(grace).ok()?.checked_sub(GRACE_MARGIN_SECONDS)?))
    };
    found.deployments.iter().filter_map(of).collect()
}

fn slot_of(pod: &Pod) -> Option<Slot> {
    Slot::parse(pod.labels().get(label::SLOT)?)
}

fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref()
}

/// Whether a node takes no new pods like this one: cordoned by hand, or tainted by what is about to remove it, as
/// Karpenter and the cluster autoscaler do. What Kubernetes itself says of a node by taints may pass by itself.
fn is_cordoned(node: &NodeFacts, pod: &Pod) -> bool {
    let tolerations = pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default();
    let is_for_good = |taint: &&Taint| !taint.key.starts_with(KUBERNETES);
    node.is_cordoned || node.taints.iter().filter(is_for_good).any(|taint| !is_tolerated(taint, tolerations))
}

/// Whether its process may have calls: it has begun, and does not wait to be started again. Other containers, which
/// meshes and policies add, say nothing of it.
fn is_running(pod: &Pod) -> bool {
    let Some(status) = &pod.status else { return false };
    let mut own = status.container_statuses.iter().flatten().filter(|one| one.name == label::COMPONENT_SFU);
    let waits = own.any(|one| one.state.as_ref().is_some_and(|state| state.running.is_none()));
    status.phase.as_deref() == Some("Running") && !waits
}

fn is_unschedulable(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|one| {
        one.type_ == "PodScheduled" && one.status == "False" && one.reason.as_deref() == Some("Unschedulable")
    })
}

/// Whether a pod with these tolerations may be placed on a node with this taint, as the scheduler decides it.
fn is_tolerated(taint: &Taint, tolerations: &[Toleration]) -> bool {
    if taint.effect == "PreferNoSchedule" {
        return true;
    }
    tolerations.iter().any(|one| {
        let key = one.key.as_deref().unwrap_or_default();
        let effect = one.effect.as_deref().unwrap_or_default();
        let is_value = match one.operator.as_deref().unwrap_or("Equal") {
            "Exists" => true,
            _ => one.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default(),
        };
        (key.is_empty() || key == taint.key) && (effect.is_empty() || effect == taint.effect) && is_value
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::cluster::fixture::{found, sfu_pod};

    fn node(name: &str) -> NodeFacts {
        NodeFacts { name: name.into(), ..NodeFacts::default() }
    }

    #[test]
    fn a_node_is_free_that_takes_pods_and_has_no_sfu_of_the_slot() {
        let mut state = found();
        let taint: Taint =
            serde_json::from_value(json!({"key": "media", "value": "yes", "effect": "NoSchedule"})).unwrap();
        state.nodes = vec![
            node("node-a"),
            node("node-b"),
            NodeFacts { is_cordoned: true, ..node("node-c") },
            NodeFacts { taints: vec![taint], ..node("node-d") },
        ];
        state.sfu_pods = vec![sfu_pod("blue-sfu-1", "r")];
        let of = |tolerations: serde_json::Value, slot: usize| {
            free_nodes(&state, &serde_json::from_value::<Vec<_>>(tolerations).unwrap(), Slot::ALL[slot])
        };
        assert_eq!((of(json!([]), 0), of(json!([]), 1)), (1, 2));
        for (toleration, free) in [
            (json!({"operator": "Exists"}), 2),
            (json!({"key": "media", "operator": "Exists", "effect": "NoSchedule"}), 2),
            (json!({"key": "media", "value": "yes"}), 2),
            (json!({"key": "media", "value": "no"}), 1),
            (json!({"key": "media", "operator": "Exists", "effect": "NoExecute"}), 1),
        ] {
            assert_eq!(of(json!([toleration]), 0), free, "{toleration}");
        }
    }

    #[test]
    fn what_was_begun_is_read_from_the_pod() {
        let mut state = found();
        state.nodes = vec![NodeFacts { is_cordoned: true, ..node("node-a") }];
        let mut pod = sfu_pod("blue-sfu-1", "r").as_ref().clone();
        pod.annotations_mut().insert(annotation::LEAVING_SINCE.into(), "2027-01-15T08:00:00Z".into());
        pod.annotations_mut().insert(annotation::DELETION_COST.into(), FIRST.into());
        pod.labels_mut().insert(label::EVICTABLE.into(), "true".into());
        state.sfu_pods = vec![Arc::new(pod)];
        let sfu = sfus(&state).remove(0);
        assert_eq!(sfu.since, Some("2027-01-15T08:00:00Z".parse().unwrap()));
        assert!(sfu.is_marked && sfu.is_evictable && sfu.is_cordoned && sfu.is_running && sfu.is_ready);
        assert_eq!((sfu.load, sfu.drain), (None, None));
    }

    #[test]
    fn a_node_that_is_about_to_be_removed_counts_as_cordoned() {
        let of = |key: &str, effect: &str| {
            let mut state = found();
            let taint: Taint = serde_json::from_value(json!({"key": key, "effect": effect})).unwrap();
            state.nodes = vec![NodeFacts { taints: vec![taint], ..node("node-a") }];
            let mut pod = sfu_pod("blue-sfu-1", "r").as_ref().clone();
            let own = json!([{"key": "media", "operator": "Exists"}]);
            pod.spec.as_mut().unwrap().tolerations = serde_json::from_value(own).unwrap();
            state.sfu_pods = vec![Arc::new(pod)];
            sfus(&state).remove(0).is_cordoned
        };
        assert!(of("karpenter.sh/disrupted", "NoSchedule"));
        assert!(of("ToBeDeletedByClusterAutoscaler", "NoSchedule"));
        assert!(of("gone", "NoExecute"));
        for (key, effect) in [
            ("media", "NoSchedule"),
            ("DeletionCandidateOfClusterAutoscaler", "PreferNoSchedule"),
            ("node.kubernetes.io/memory-pressure", "NoSchedule"),
            ("node.kubernetes.io/unreachable", "NoExecute"),
        ] {
            assert!(!of(key, effect), "{key}");
        }
    }

    #[test]
    fn a_node_that_a_pod_without_one_will_take_is_not_free() {
        let mut state = found();
        state.nodes = vec![node("node-a"), node("node-b"), node("node-c")];
        let mut waiting = sfu_pod("blue-sfu-2", "r").as_ref().clone();
        waiting.spec.as_mut().unwrap().node_name = None;
        state.sfu_pods = vec![sfu_pod("blue-sfu-1", "r"), Arc::new(waiting)];
        assert_eq!((free_nodes(&state, &[], Slot::ALL[0]), free_nodes(&state, &[], Slot::ALL[1])), (1, 3));
    }

    #[test]
    fn a_container_that_waits_to_be_started_again_has_no_calls() {
        let mut pod = sfu_pod("blue-sfu-1", "r").as_ref().clone();
        assert!(is_running(&pod));
        let mut is_running_with = |sfu: serde_json::Value, sidecar: serde_json::Value| {
            let status = |name: &str, state: serde_json::Value| {
                json!({
                    "name": name, "image": "", "imageID": "", "ready": false, "restartCount": 3, "state": state,
                })
            };
            let all = json!([status("proxy", sidecar), status("sfu", sfu)]);
            pod.status.as_mut().unwrap().container_statuses = serde_json::from_value(all).unwrap();
            is_running(&pod)
        };
        let (waits, runs) = (json!({"waiting": {"reason": "CrashLoopBackOff"}}), json!({"running": {}}));
        assert!(!is_running_with(waits.clone(), runs.clone()));
        assert!(is_running_with(runs, waits), "only its own container counts");
    }
}
