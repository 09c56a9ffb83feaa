//! Where Prometheus's operator is installed, a CallsCluster brings a PodMonitor.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::example::Example;
use crate::install::{CALLS_NAME, CALLS_NAMESPACE};
use crate::test::{Ring, Stage, Test};

/// The tests of this file.
pub const TESTS: &[Test] = &[Test {
    name: "a_pod_monitor_is_made_where_its_kind_is_installed",
    ring: Ring::Cluster,
    slow: false,
    run: a_pod_monitor_is_made,
}];

/// The operator looks once a minute which kinds there are, and writes at its next resync.
const NOTICED_LIMIT: Duration = Duration::from_mins(3);
const KIND: &str = "podmonitors.monitoring.coreos.com";

fn a_pod_monitor_is_made(stage: &Stage) -> Result<()> {
    let example = Example::take(stage)?;
    let kubectl = stage.kubectl()?;
    kubectl.apply(&crd())?;
    let get = [KIND, CALLS_NAME, "--namespace", CALLS_NAMESPACE];
    let made = kubectl.wait(&get, NOTICED_LIMIT, |monitor| {
        monitor["spec"]["podMetricsEndpoints"][0]["path"].as_str().map(str::to_owned)
    });
    // What the next test finds is a cluster without that kind, as this one did.
    kubectl.run(&["delete", "crd", KIND, "--wait"])?;
    ensure!(made? == "/metrics", "it does not look where metrics are");
    example.wait_settled().map(drop)
}

/// The kind as Prometheus's operator installs it, without most of its schema: the fields we write are of these types.
fn crd() -> Value {
    let endpoint = json!({"type": "object", "properties": {"port": {"type": "string"}, "path": {"type": "string"}}});
    let labels = json!({"type": "object", "additionalProperties": {"type": "string"}});
    let spec = json!({
        "type": "object",
        "required": ["selector"],
        "properties": {
            "selector": {"type": "object", "properties": {"matchLabels": labels}},
            "podMetricsEndpoints": {"type": "array", "items": endpoint},
        },
    });
    let schema = json!({"openAPIV3Schema": {"type": "object", "required": ["spec"], "properties": {"spec": spec}}});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": KIND},
        "spec": {
            "group": "monitoring.coreos.com",
            "scope": "Namespaced",
            "names": {"kind": "PodMonitor", "listKind": "PodMonitorList", "plural": "podmonitors", "singular": "podmonitor"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}],
        },
    })
}
