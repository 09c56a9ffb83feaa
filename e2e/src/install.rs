//! Installing the product on a cluster: the chart, the example, and waiting until calls are ready.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::command::run;
use crate::image::Image;
use crate::kubectl::{Kubectl, condition};
use crate::paths::Paths;
use crate::progress::Step;

/// Where the operator runs; its pods keep to Pod Security's `restricted`.
pub const OPERATOR_NAMESPACE: &str = "calls-system";

/// Who the operator is for the API server.
pub const OPERATOR_ACCOUNT: &str = "system:serviceaccount:calls-system:calls-operator";

/// Where the example's CallsCluster lives.
pub const CALLS_NAMESPACE: &str = "calls";

/// The example's CallsCluster; its Service has the same name.
pub const CALLS_NAME: &str = "main";

/// The chart's kind of object.
pub const CRD: &str = "crd/callsclusters.callscluster.io";

/// The chart's release.
pub const RELEASE: &str = "calls-operator";

/// From a started operator to calls one can join.
const READY_LIMIT: Duration = Duration::from_mins(3);

/// Installs the chart, or upgrades it to these images.
pub fn chart(paths: &Paths, kubectl: &Kubectl, images: &ProductImages) -> Result<()> {
    kubectl.apply(&namespace(OPERATOR_NAMESPACE, "restricted"))?;
    let chart = paths.repository().join("charts/calls-operator");
    let mut upgrade = kubectl.helm(&["upgrade", "--install", RELEASE]);
    upgrade.arg(chart).args(["--namespace", OPERATOR_NAMESPACE, "--wait", "--timeout", "3m"]);
    // A Lease may be there that an operator of an older chart made itself.
    upgrade.arg("--take-ownership");
    for (value, reference) in images.values() {
        upgrade.args(["--set-string", &format!("{value}={reference}")]);
    }
    run(&mut upgrade).with_context(|| {
        format!(
            "see `kubectl {} get pods,events --namespace {OPERATOR_NAMESPACE}`; a release that another, killed run left \
             pending goes with `helm uninstall {RELEASE} --namespace {OPERATOR_NAMESPACE}`",
            kubectl.flags_for_people()
        )
    })?;
    kubectl.run(&["wait", "--for=condition=Established", "--timeout=60s", CRD]).map(drop)
}

/// Applies the example with one replica per node.
pub fn example(paths: &Paths, kubectl: &Kubectl, replicas: usize) -> Result<()> {
    kubectl.apply(&namespace(CALLS_NAMESPACE, "privileged"))?;
    let file = paths.repository().join("examples/calls.yaml");
    if !file.exists() {
        bail!("{} is missing", file.display());
    }
    let file = file.to_string_lossy().into_owned();
    // Writes one JSON object after the other, not a list.
    let objects =
        kubectl.run(&["create", "--dry-run=client", "--validate=strict", "--output", "json", "--filename", &file])?;
    for object in serde_json::Deserializer::from_str(&objects).into_iter::<Value>() {
        let mut object = object.context("kubectl wrote no JSON")?;
        set_replicas(&mut object, replicas);
        kubectl.apply(&object)?;
    }
    Ok(())
}

/// Waits until the example's CallsCluster is Ready as it was last applied, and all its pods run these images: after an
/// upgrade of the operator it is Ready all the time, while its SFUs are replaced and their calls reconnect.
///
/// # Errors
/// When it is not in time: tells its conditions and where to look.
pub fn wait_until_ready(kubectl: &Kubectl, images: &ProductImages, step: &Step) -> Result<()> {
    let get = ["callscluster", CALLS_NAME, "--namespace", CALLS_NAMESPACE];
    let is_ready = |object: &Value| {
        if let Some(ready) = condition(object, "Ready") {
            step.at(&format!("{}: {}", text(&ready["reason"]), text(&ready["message"])));
        }
        is_ready_now(object).then_some(())
    };
    let selector = format!("app.kubernetes.io/instance={CALLS_NAME}");
    let pods = ["pods", "--namespace", CALLS_NAMESPACE, "--selector", &selector];
    let wanted = [&images.sfu.reference[..], &images.director.reference];
    let waited = kubectl.wait(&get, READY_LIMIT, is_ready).and_then(|()| {
        step.at("pods of before are being replaced");
        kubectl.wait(&pods, READY_LIMIT, |pods| runs_only(pods, &wanted).then_some(()))
    });
    waited.with_context(|| {
        format!("see `kubectl {} describe pods --namespace {CALLS_NAMESPACE}`", kubectl.flags_for_people())
    })
}

/// Whether these pods run images of this list alone, and each image is run.
fn runs_only(pods: &Value, wanted: &[&str]) -> bool {
    let pods = pods["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    let images = || pods.iter().filter_map(|pod| pod["spec"]["containers"][0]["image"].as_str());
    images().all(|image| wanted.contains(&image)) && wanted.iter().all(|image| images().any(|other| other == *image))
}

/// The addresses the page is reached at from this machine: the Service's node port on every node.
pub fn page_addresses(kubectl: &Kubectl) -> Result<Vec<SocketAddr>> {
    let service = kubectl.json(&["get", "service", CALLS_NAME, "--namespace", CALLS_NAMESPACE])?;
    let Some(port) = node_port(&service) else {
        bail!("the Service {CALLS_NAMESPACE}/{CALLS_NAME} has no node port: the page is reached through it");
    };
    let nodes = kubectl.json(&["get", "nodes"])?;
    let addresses: Vec<SocketAddr> = node_addresses(&nodes).into_iter().map(|ip| (ip, port).into()).collect();
    if addresses.is_empty() {
        bail!("no node has an InternalIP of version 4");
    }
    Ok(addresses)
}

/// A namespace whose pods must keep to a level of Pod Security; `restricted` is warned of in any case.
pub fn namespace(name: &str, enforce: &str) -> Value {
    let labels = json!({
        "pod-security.kubernetes.io/enforce": enforce,
        "pod-security.kubernetes.io/warn": "restricted",
    });
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
}

/// The product's images.
#[derive(Clone, Debug)]
pub struct ProductImages {
    /// The operator's.
    pub operator: Image,
    /// The SFU's.
    pub sfu: Image,
    /// The director's.
    pub director: Image,
}

impl ProductImages {
    /// All of them.
    pub fn all(&self) -> [Image; 3] {
        [self.operator.clone(), self.sfu.clone(), self.director.clone()]
    }

    /// The chart's values that name them.
    fn values(&self) -> [(&'static str, &str); 3] {
        [
            ("operator.image", &self.operator.reference),
            ("sfu.image", &self.sfu.reference),
            ("director.image", &self.director.reference),
        ]
    }
}

/// Whether a CallsCluster is Ready, and says so of the spec as it is now.
fn is_ready_now(object: &Value) -> bool {
    let generation = &object["metadata"]["generation"];
    let is_current = |of: &Value| of["observedGeneration"].is_null() || of["observedGeneration"] == *generation;
    !object["status"]["observedGeneration"].is_null()
        && is_current(&object["status"])
        && condition(object, "Ready").is_some_and(|ready| ready["status"] == "True" && is_current(ready))
}

fn set_replicas(object: &mut Value, replicas: usize) {
    if object["kind"] == "CallsCluster" {
        object["spec"]["sfu"]["replicas"] = json!(replicas);
    }
}

fn node_port(service: &Value) -> Option<u16> {
    let ports = service["spec"]["ports"].as_array()?;
    let port = ports.iter().find(|port| port["name"] == "http").or_else(|| ports.first())?;
    port["nodePort"].as_u64()?.try_into().ok()
}

fn node_addresses(nodes: &Value) -> Vec<Ipv4Addr> {
    let addresses =
        nodes["items"].as_array().into_iter().flatten().filter_map(|node| node["status"]["addresses"].as_array());
    let internal = addresses.flatten().filter(|address| address["type"] == "InternalIP");
    internal.filter_map(|address| address["address"].as_str()?.parse().ok()).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(generation: u64, observed: u64, status: &str) -> Value {
        let ready = json!({"type": "Ready", "status": status, "observedGeneration": observed});
        json!({"metadata": {"generation": generation}, "status": {"observedGeneration": observed, "conditions": [ready]}})
    }

    #[test]
    fn the_operators_account_is_in_its_namespace() {
        assert_eq!(OPERATOR_ACCOUNT, format!("system:serviceaccount:{OPERATOR_NAMESPACE}:{RELEASE}"));
    }

    #[test]
    fn pods_of_an_image_of_before_are_waited_for() {
        let pods = |images: &[&str]| {
            let pod = |image: &&str| json!({"spec": {"containers": [{"image": image}]}});
            json!({"items": images.iter().map(pod).collect::<Vec<_>>()})
        };
        let wanted = ["sfu:2", "director:2"];
        assert!(runs_only(&pods(&["sfu:2", "sfu:2", "director:2"]), &wanted));
        assert!(!runs_only(&pods(&["sfu:2", "sfu:1", "director:2"]), &wanted));
        assert!(!runs_only(&pods(&["director:2"]), &wanted));
    }

    #[test]
    fn ready_counts_only_for_the_spec_as_it_is() {
        assert!(is_ready_now(&cluster(2, 2, "True")));
        assert!(!is_ready_now(&cluster(2, 1, "True")), "that was the spec before");
        assert!(!is_ready_now(&cluster(2, 2, "False")));
        assert!(!is_ready_now(&json!({"metadata": {"generation": 1}})), "nobody looked at it yet");
    }

    #[test]
    fn only_a_callscluster_gets_replicas() {
        let mut objects = [json!({"kind": "CallsCluster"}), json!({"kind": "Secret"})];
        for object in &mut objects {
            set_replicas(object, 3);
        }
        assert_eq!(
            objects,
            [json!({"kind": "CallsCluster", "spec": {"sfu": {"replicas": 3}}}), json!({"kind": "Secret"})]
        );
    }

    #[test]
    fn the_page_is_at_the_http_port_of_every_node() {
        let service =
            json!({"spec": {"ports": [{"name": "metrics", "nodePort": 30001}, {"name": "http", "nodePort": 30002}]}});
        assert_eq!(node_port(&service), Some(30002));
        let nodes = json!({"items": [{"status": {"addresses": [
            {"type": "Hostname", "address": "node-1"}, {"type": "InternalIP", "address": "10.200.0.11"}]}}]});
        assert_eq!(node_addresses(&nodes), [Ipv4Addr::new(10, 200, 0, 11)]);
    }
}
