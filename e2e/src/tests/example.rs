//! The example's CallsCluster as tests find it, change it and leave it.

use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use crate::install::{CALLS_NAME, CALLS_NAMESPACE};
use crate::kubectl::{Kubectl, condition};
use crate::test::Stage;

/// From a changed spec until the last pod of the one before is gone.
pub const SETTLED_LIMIT: Duration = Duration::from_mins(3);

/// What kubectl gets to see the example.
const GET: [&str; 4] = ["callscluster", CALLS_NAME, "--namespace", CALLS_NAMESPACE];

/// The example's CallsCluster, which the test may change: dropped, it is as `examples/calls.yaml` says, and settled.
pub struct Example<'a> {
    stage: &'a Stage,
    kubectl: &'a Kubectl,
}

impl<'a> Example<'a> {
    /// Takes it as it is left by every test: settled.
    pub fn take(stage: &'a Stage) -> Result<Self> {
        let example = Self { stage, kubectl: stage.kubectl()? };
        example.wait_settled()?;
        Ok(example)
    }

    /// How many SFUs it has: one per node.
    pub fn replicas(&self) -> Result<usize> {
        Ok(self.stage.local_cluster()?.nodes().len())
    }

    /// Applies the example's spec with `change` in it, in place of what was applied before.
    pub fn apply(&self, change: impl FnOnce(&mut Value)) -> Result<()> {
        let mut spec = json!({"sfu": {"replicas": self.replicas()?}, "page": {"access": "Open"}});
        change(&mut spec);
        self.kubectl.apply(&json!({
            "apiVersion": "callscluster.io/v1alpha1", "kind": "CallsCluster",
            "metadata": {"name": CALLS_NAME, "namespace": CALLS_NAMESPACE}, "spec": spec,
        }))
    }

    /// Waits until `wanted` answers about it.
    pub fn wait<T>(&self, limit: Duration, wanted: impl FnMut(&Value) -> Option<T>) -> Result<T> {
        self.kubectl.wait(&GET, limit, wanted)
    }

    /// Waits until its status says of the spec as it is: Ready, nothing wrong, nothing going on, nobody leaving.
    pub fn wait_settled(&self) -> Result<Value> {
        self.wait(SETTLED_LIMIT, |object| is_settled(object).then(|| object.clone()))
    }

    /// Its SFUs' pods.
    pub fn sfu_pods(&self) -> Result<Vec<Value>> {
        let selector = format!("app.kubernetes.io/instance={CALLS_NAME},app.kubernetes.io/component=sfu");
        let pods = self.kubectl.json(&["get", "pods", "--namespace", CALLS_NAMESPACE, "--selector", &selector])?;
        Ok(pods["items"].as_array().cloned().unwrap_or_default())
    }
}

impl Drop for Example<'_> {
    fn drop(&mut self) {
        // A test that failed has said so; the next one waits for what this could not mend, and tells.
        if self.stage.apply_example().is_ok() {
            let _ = self.wait_settled();
        }
    }
}

/// Whether a CallsCluster's conditions are of its spec as it is now, and all is well.
pub fn is_settled(object: &Value) -> bool {
    let generation = &object["metadata"]["generation"];
    let says = |kind: &str, status: &str| {
        condition(object, kind).is_some_and(|one| one["status"] == status && one["observedGeneration"] == *generation)
    };
    object["status"]["observedGeneration"] == *generation
        && says("Ready", "True")
        && says("Progressing", "False")
        && says("Degraded", "False")
        && says("Draining", "False")
        && says("PortsAllocated", "True")
        && says("AddressResolved", "True")
}
