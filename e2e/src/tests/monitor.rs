//! Where Prometheus's operator is installed, a CallsCluster brings a PodMonitor.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::example::Example;
use crate::cluster::process::wait_for;
use crate::install::{CALLS_NAME, CALLS_NAMESPACE};
use crate::test::{Ring, Stage, Test};

/// The tests of this file.
pub const TESTS: &[Test] = &[Test {
    name: "a_pod_monitor_comes_with_its_kind_and_goes_when_it_is_not_wanted",
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
    let watched = kubectl.wait(&get, NOTICED_LIMIT, |monitor| {
        monitor["spec"]["podMetricsEndpoints"][0]["path"].as_str().map(str::to_owned)
    });
    let goes = watched.and_then(|path| {
        ensure!(path == "/metrics", "it does not look where metrics are but at {path}");
        example.apply(|spec| spec["observability"] = json!({"monitors": "Never"}))?;
        let is_gone = || {
            let field = format!("metadata.name={CALLS_NAME}");
            let list = ["get", KIND, "--namespace", CALLS_NAMESPACE, "--field-selector", &field];
            kubectl.json(&list).is_ok_and(|list| list["items"].as_array().is_some_and(Vec::is_empty))
        };
        ensure!(wait_for(NOTICED_LIMIT, is_gone), "it stays when monitors are set to Never");
        Ok(())
    });
    // What the next test finds is a cluster without that kind, as this one did.
    kubectl.run(&["delete", "crd", KIND, "--wait"])?;
    goes?;
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
