//! What is wrong, in words a person understands: from Deployments, pods and the SFUs' reports to named reasons.
//!
//! Pure. Every message says what to do, and every problem goes away by itself when its cause does, because it is read
//! from the present state alone.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use fleet::names::{EXIT_PORT_TAKEN, label, port_name};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::ResourceExt as _;

use crate::cluster::dereference::{Dereferenced, Report};
use crate::cluster::validate::sentence;

/// The conditions of a `CallsCluster`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ConditionType {
    Ready,
    Progressing,
    Degraded,
    Draining,
    PortsAllocated,
    AddressResolved,
    ScalingLimited,
    AutoscalingConflict,
}

impl ConditionType {
    pub fn name(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Progressing => "Progressing",
            Self::Degraded => "Degraded",
            Self::Draining => "Draining",
            Self::PortsAllocated => "PortsAllocated",
            Self::AddressResolved => "AddressResolved",
            Self::ScalingLimited => "ScalingLimited",
            Self::AutoscalingConflict => "AutoscalingConflict",
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The condition it belongs to, besides Ready and Degraded.
    pub condition: ConditionType,
    /// PascalCase, from a closed set but for those an SFU reports.
    pub reason: String,
    /// A sentence that says what to do.
    pub message: String,
}

impl Problem {
    fn new(condition: ConditionType, reason: &str, message: String) -> Self {
        Self { condition, reason: reason.to_owned(), message }
    }
}

/// Everything that is wrong, most telling first and one problem a pod at most.
pub fn problems(found: &Dereferenced) -> Vec<Problem> {
    let deployments = found.deployments.iter().chain(&found.director);
    let pods = found.sfu_pods.iter().chain(&found.director_pods);
    let mut problems: Vec<Problem> = deployments.filter_map(|one| forbidden(one)).collect();
    problems.extend(pods.filter(|pod| pod.metadata.deletion_timestamp.is_none()).filter_map(pod_problem));
    for (pod, report) in &found.reports {
        problems.extend(report_problem(pod, report, &found.sfu_pods));
    }
    problems.extend(shared_addresses(&found.reports));
    problems
}

/// The API server refuses the Deployment's pods: Pod Security, a quota, an admission webhook.
fn forbidden(deployment: &Deployment) -> Option<Problem> {
    let conditions = deployment.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let failure = conditions.into_iter().find(|one| one.type_ == "ReplicaFailure" && one.status == "True")?;
    let said = failure.message.clone().unwrap_or_default();
    let advice = if said.contains("PodSecurity") {
        "SFUs use the host network: label the namespace pod-security.kubernetes.io/enforce=privileged."
    } else {
        "Change what refuses them, or the spec."
    };
    Some(Problem::new(
        ConditionType::Ready,
        "PodsForbidden",
        format!("Pods of {} are refused: {} {advice}", deployment.name_any(), sentence(&said)),
    ))
}

fn pod_problem(pod: &Arc<Pod>) -> Option<Problem> {
    let is_sfu = pod.labels().get(label::COMPONENT).is_some_and(|component| component == label::COMPONENT_SFU);
    let status = pod.status.as_ref()?;
    let unscheduled = status.conditions.iter().flatten().find(|one| {
        one.type_ == "PodScheduled" && one.status == "False" && one.reason.as_deref() == Some("Unschedulable")
    });
    if let Some(condition) = unscheduled {
        return Some(unschedulable(pod, is_sfu, condition.message.as_deref().unwrap_or_default()));
    }
    status.container_statuses.iter().flatten().find_map(|container| container_problem(pod, is_sfu, container))
}

fn unschedulable(pod: &Pod, is_sfu: bool, said: &str) -> Problem {
    let name = pod.name_any();
    if said.contains("free ports") {
        let ports = host_ports(pod);
        return Problem::new(
            ConditionType::PortsAllocated,
            "NoFreePorts",
            format!(
                "Pod {name} finds no node with its host ports {ports} free: {} Add nodes, lower sfu.replicas, or move \
                 network.mediaPorts and network.controlPorts.",
                sentence(said)
            ),
        );
    }
    // The spec says nothing of directors' pods.
    let fix = if is_sfu {
        "Add nodes, or change sfu.replicas, sfu.resources or sfu.podTemplate."
    } else {
        "Add nodes, or let one of those there take it: directors ask for little and tolerate no taints."
    };
    Problem::new(ConditionType::Ready, "NoNodeFits", format!("Pod {name} fits on no node: {} {fix}", sentence(said)))
}

/// Whether a container waits for its image. The kubelet goes back and forth between some of these, so that nothing we
/// write may depend on which it is.
pub fn is_image_trouble(reason: &str) -> bool {
    matches!(
        reason,
        "ErrImagePull" | "ImagePullBackOff" | "ErrImageNeverPull" | "InvalidImageName" | "ImageInspectError"
    )
}

fn container_problem(pod: &Pod, is_sfu: bool, container: &ContainerStatus) -> Option<Problem> {
    let name = pod.name_any();
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
    let state = container.state.as_ref();
    let waiting = state.and_then(|state| state.waiting.as_ref());
    let waits_for = waiting.and_then(|waiting| waiting.reason.as_deref()).unwrap_or_default();
    let detail = waiting.and_then(|waiting| waiting.message.as_deref()).unwrap_or_default();
    match waits_for {
        reason if is_image_trouble(reason) => {
            let (image, secrets) = if is_sfu {
                ("sfu.image", "sfu.podTemplate.imagePullSecrets")
            } else {
                ("the chart's director.image", "the chart's director.imagePullSecrets")
            };
            return Some(Problem::new(
                ConditionType::Ready,
                "ImageUnavailable",
                format!(
                    "Node {node} cannot get the image {} of pod {name}: correct {image}, make the image available, or name \
                     credentials for its registry in {secrets}.",
                    container.image
                ),
            ));
        }
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
            return Some(Problem::new(
                ConditionType::Ready,
                "ContainerNotCreated",
                format!("Node {node} cannot start pod {name}: {}", sentence(detail)),
            ));
        }
        _ => {}
    }
    let is_running = state.is_some_and(|state| state.running.is_some());
    let ended = state.and_then(|state| state.terminated.as_ref());
    let ended =
        ended.or(container.last_state.as_ref().filter(|_| !is_running).and_then(|last| last.terminated.as_ref()))?;
    let said = ended.message.as_deref().unwrap_or_default().trim();
    if is_sfu && ended.exit_code == i32::from(EXIT_PORT_TAKEN) {
        let said =
            if said.is_empty() { format!("one of the ports {} is taken", host_ports(pod)) } else { said.to_owned() };
        return Some(Problem::new(
            ConditionType::PortsAllocated,
            "PortTaken",
            format!(
                "SFU {name} cannot start on node {node}: {} Free the port on that node, or move network.mediaPorts or network.controlPorts.",
                sentence(&said)
            ),
        ));
    }
    if ended.exit_code == 0 {
        return None;
    }
    let said = if said.is_empty() { "see its log".to_owned() } else { said.to_owned() };
    Some(Problem::new(
        ConditionType::Ready,
        if is_sfu { "SfuCrashing" } else { "DirectorCrashing" },
        format!("Pod {name} on node {node} ended with exit status {}: {}", ended.exit_code, sentence(&said)),
    ))
}

fn report_problem(pod: &str, report: &Result<fleet::api::SfuStatus, String>, pods: &[Arc<Pod>]) -> Option<Problem> {
    match report {
        Ok(status) => {
            let problem = status.address_problem.as_ref()?;
            Some(Problem::new(
                ConditionType::AddressResolved,
                &problem.reason,
                format!("SFU {pod} on node {}: {}", status.node, sentence(&problem.message)),
            ))
        }
        Err(error) => {
            // One that is only starting is expected not to answer yet.
            let is_ready = pods.iter().any(|one| one.name_any() == pod && crate::cluster::validate::is_ready(one));
            is_ready.then(|| {
                Problem::new(
                    ConditionType::Degraded,
                    "SfuUnreachable",
                    format!(
                        "The operator cannot ask SFU {pod} how it is ({error}); calls are not affected. Let the operator's \
                         pod reach the nodes on network.controlPorts.",
                    ),
                )
            })
        }
    }
}

/// Addresses that several SFUs offer: one of them gets everybody's media, and people at the others hear nothing.
fn shared_addresses(reports: &BTreeMap<String, Report>) -> Vec<Problem> {
    let mut offered: BTreeMap<SocketAddr, Vec<&str>> = BTreeMap::new();
    for (pod, report) in reports {
        for candidate in report.iter().flat_map(|status| &status.candidates) {
            let pods = offered.entry(SocketAddr::new(candidate.address, candidate.port)).or_default();
            // UDP and TCP are offered on one number.
            if pods.last() != Some(&pod.as_str()) {
                pods.push(pod);
            }
        }
    }
    let shared = offered.into_iter().filter(|(_, pods)| pods.len() > 1);
    shared
        .map(|(address, pods)| {
            Problem::new(
                ConditionType::AddressResolved,
                "AddressShared",
                format!(
                    "SFUs {} all tell clients to send media to {address}, so that most of their calls are silent: give each \
                     node its own address, with network.advertise.perNode or `external/internal` pairs in \
                     network.advertise.override.",
                    pods.join(", ")
                ),
            )
        })
        .collect()
}

fn host_ports(pod: &Pod) -> String {
    let mut ports: Vec<String> = pod
        .spec
        .iter()
        .flat_map(|spec| &spec.containers)
        .flat_map(|container| container.ports.iter().flatten())
        .filter(|port| port.name.as_deref() != Some(port_name::MEDIA_TCP))
        .map(|port| port.container_port.to_string())
        .collect();
    ports.dedup();
    ports.join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(status: &serde_json::Value) -> Arc<Pod> {
        let pod = json!({
            "metadata": {"name": "blue-sfu-1", "labels": {"app.kubernetes.io/component": "sfu"}},
            "spec": {"nodeName": "node-a", "containers": [{"name": "sfu", "ports": [
                {"name": "media", "containerPort": 8443, "protocol": "UDP"},
                {"name": "media-tcp", "containerPort": 8443},
                {"name": "control", "containerPort": 9443},
            ]}]},
            "status": status,
        });
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    fn container(state: &serde_json::Value, last: &serde_json::Value) -> Arc<Pod> {
        pod(&json!({"containerStatuses": [
            {"name": "sfu", "image": "localhost/none:1", "imageID": "", "ready": false, "restartCount": 1, "state": state, "lastState": last}
        ]}))
    }

    #[test]
    fn each_failure_has_its_reason_and_says_what_to_do() {
        let waiting = |reason: &str| container(&json!({"waiting": {"reason": reason}}), &json!({}));
        let crashed = |code: i32, message: &str| {
            container(
                &json!({"waiting": {"reason": "CrashLoopBackOff"}}),
                &json!({"terminated": {"exitCode": code, "message": message}}),
            )
        };
        let unschedulable = |message: &str| {
            pod(
                &json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}]}),
            )
        };
        let table = [
            (waiting("ImagePullBackOff"), "ImageUnavailable", "correct sfu.image"),
            (waiting("ErrImageNeverPull"), "ImageUnavailable", "localhost/none:1"),
            (waiting("CreateContainerConfigError"), "ContainerNotCreated", "node-a"),
            (crashed(98, "UDP port 8443 is taken"), "PortTaken", "node-a: UDP port 8443 is taken. Free the port"),
            (crashed(98, ""), "PortTaken", "One of the ports 8443, 9443 is taken."),
            (crashed(1, ""), "SfuCrashing", "exit status 1: See its log."),
            (unschedulable("0/2 nodes are available: 2 node(s) didn't have free ports"), "NoFreePorts", "8443, 9443"),
            (unschedulable("0/2 nodes are available: 2 Insufficient cpu"), "NoNodeFits", "Insufficient cpu."),
        ];
        for (pod, reason, part) in table {
            let problem = pod_problem(&pod).unwrap();
            assert_eq!(problem.reason, reason);
            assert!(problem.message.contains(part), "{reason}: {}", problem.message);
        }
    }

    /// What an SFU on `address` reports.
    fn offering(name: &str, address: &str, port: u16) -> (String, Report) {
        let candidate =
            |protocol: &str| json!({"protocol": protocol, "address": address, "port": port, "source": "Override"});
        let report = json!({"name": name, "version": "1.2.3", "state": "Active", "load": {},
            "candidates": [candidate("UDP"), candidate("TCP")]});
        (name.to_owned(), Ok(serde_json::from_value(report).unwrap()))
    }

    #[test]
    fn an_address_that_two_sfus_offer_is_named_with_both() {
        let reports = BTreeMap::from([
            offering("blue-sfu-1", "203.0.113.7", 8443),
            offering("blue-sfu-2", "203.0.113.7", 8443),
            ("blue-sfu-3".to_owned(), Err("no connection".to_owned())),
        ]);
        let problems = shared_addresses(&reports);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(
            (problems[0].condition, problems[0].reason.as_str()),
            (ConditionType::AddressResolved, "AddressShared")
        );
        for part in ["blue-sfu-1, blue-sfu-2", "203.0.113.7:8443", "network.advertise.perNode"] {
            assert!(problems[0].message.contains(part), "{}", problems[0].message);
        }
    }

    #[test]
    fn sfus_on_two_ports_or_two_addresses_share_nothing() {
        let reports = BTreeMap::from([
            offering("blue-sfu-1", "203.0.113.7", 8443),
            offering("blue-sfu-2", "203.0.113.7", 8444),
            offering("blue-sfu-3", "203.0.113.8", 8443),
        ]);
        assert_eq!(shared_addresses(&reports), []);
    }

    #[test]
    fn a_director_that_fits_nowhere_is_not_told_of_the_sfus_fields() {
        let mut director = pod(&json!({"conditions": [{"type": "PodScheduled", "status": "False",
            "reason": "Unschedulable", "message": "0/2 nodes are available: 2 Insufficient memory"}]}))
        .as_ref()
        .clone();
        director.metadata.labels = Some([(label::COMPONENT.to_owned(), label::COMPONENT_DIRECTOR.to_owned())].into());
        let problem = pod_problem(&Arc::new(director)).unwrap();
        assert_eq!(problem.reason, "NoNodeFits");
        assert!(problem.message.contains("Insufficient memory. Add nodes"), "{}", problem.message);
        assert!(!problem.message.contains("sfu.replicas"), "{}", problem.message);
    }

    #[test]
    fn a_pod_that_runs_again_after_a_crash_is_no_problem() {
        let pod = container(&json!({"running": {}}), &json!({"terminated": {"exitCode": 98}}));
        assert_eq!(pod_problem(&pod), None);
    }

    #[test]
    fn pods_the_namespace_forbids_point_at_its_label() {
        let deployment: Deployment = serde_json::from_value(json!({
            "metadata": {"name": "blue-sfu-x-0"},
            "status": {"conditions": [{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate",
                "message": "pods \"x\" is forbidden: violates PodSecurity \"baseline:latest\": host namespaces"}]},
        }))
        .unwrap();
        let problem = forbidden(&deployment).unwrap();
        assert_eq!(problem.reason, "PodsForbidden");
        assert!(problem.message.contains("enforce=privileged"), "{}", problem.message);
    }
}
