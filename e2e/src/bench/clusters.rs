//! What many CallsClusters cost the operator: its memory, and what it writes when nothing happens.
//!
//! Each has an SFU and two directors, as objects and as pods, so that the operator holds all it would hold of real ones.
//! No node takes the pods: a LimitRange of their namespace asks more disk for each container than there is. (With
//! `sfu.replicas: 0` directors would start, two for each; a node selector is the SFUs' alone.) So nothing but the
//! operator and the control plane works for them, and no SFU is there to be asked how it is.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::audit::{AuditTail, written};
use crate::cluster::process::{self, Memory};
use crate::install::{OPERATOR_ACCOUNT, OPERATOR_NAMESPACE};
use crate::kubectl::{Kubectl, condition};
use crate::test::{Stage, TestNamespace};

/// For all of them to be made and named, on a busy machine: the control plane limits its own requests.
const SETTLED_LIMIT: Duration = Duration::from_mins(8);

/// Nothing written for this long: longer than the operator's resync, so that each was looked at once more.
const QUIET: Duration = Duration::from_secs(15);

/// For the operator to come to rest once all are named.
const QUIET_LIMIT: Duration = Duration::from_mins(3);

/// More than any node has.
const DISK: &str = "1Ei";

/// Ports nobody holds, so that disk is all that is missing. None of these SFUs starts.
const MEDIA_PORT: u16 = 20000;
const CONTROL_PORT: u16 = 20100;

/// The label of the operator's pod.
const OPERATOR_PODS: &str = "app.kubernetes.io/name=calls-operator";

/// What was measured.
#[derive(Clone, Debug)]
pub struct Costs {
    /// From the first of them to all being named.
    pub settled_in: Duration,
    /// The operator's memory, all of them at rest.
    pub memory: Memory,
    /// Whether the operator's process is the one that was there before them.
    pub is_same_process: bool,
    /// What it wrote while nothing happened, but for its Lease.
    pub writes: Vec<String>,
    /// From a kill until another operator is ready, which knows all of them.
    pub replaced_in: Duration,
}

/// Makes `n_clusters`, waits until they are at rest, looks on for `idle`, and removes them.
pub fn measure(stage: &Stage, n_clusters: usize, idle: Duration) -> Result<Costs> {
    let kubectl = stage.kubectl()?;
    let operator = operator_process(kubectl)?;
    let clusters = Clusters { namespace: stage.namespace()?, kubectl };
    let started = Instant::now();
    clusters.apply(n_clusters)?;
    clusters.wait_until_named(n_clusters)?;
    let settled_in = started.elapsed();
    wait_until_quiet(&stage.audit_log())?;
    let writes = writes_within(&stage.audit_log(), idle)?;
    let now = operator_process(kubectl)?;
    let memory = process::memory_of(now).context("the operator's process is gone")?;
    let replaced_in = replace(kubectl)?;
    Ok(Costs { settled_in, memory, is_same_process: now == operator, writes, replaced_in })
}

/// CallsClusters in a namespace of their own; they go when this is dropped, before the namespace does.
struct Clusters<'a> {
    namespace: TestNamespace<'a>,
    kubectl: &'a Kubectl,
}

impl Clusters<'_> {
    fn apply(&self, n_clusters: usize) -> Result<()> {
        let limit = json!({"type": "Container", "defaultRequest": {"ephemeral-storage": DISK}, "default": {"ephemeral-storage": DISK}});
        self.namespace.apply(json!({
            "apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "nowhere"}, "spec": {"limits": [limit]},
        }))?;
        let clusters: Vec<Value> = (1..=n_clusters).map(|number| cluster(self.namespace.name(), number)).collect();
        self.kubectl.apply(&json!({"apiVersion": "v1", "kind": "List", "items": clusters}))
    }

    fn wait_until_named(&self, n_clusters: usize) -> Result<()> {
        self.namespace.wait(&["callsclusters"], SETTLED_LIMIT, |list| {
            let n_named = list["items"].as_array()?.iter().filter(|one| is_named(one)).count();
            (n_named == n_clusters).then_some(())
        })
    }
}

impl Drop for Clusters<'_> {
    fn drop(&mut self) {
        let delete = ["delete", "callsclusters", "--all", "--wait=false", "--namespace", self.namespace.name()];
        let _ = self.kubectl.run(&delete);
    }
}

fn cluster(namespace: &str, number: usize) -> Value {
    json!({
        "apiVersion": "callscluster.io/v1alpha1", "kind": "CallsCluster",
        "metadata": {"name": format!("crowd-{number:03}"), "namespace": namespace},
        "spec": {"network": {"mediaPorts": {"from": MEDIA_PORT}, "controlPorts": {"from": CONTROL_PORT}}},
    })
}

fn is_named(cluster: &Value) -> bool {
    condition(cluster, "Ready").is_some_and(|ready| ready["reason"] == "NoNodeFits")
}

fn wait_until_quiet(audit_log: &Path) -> Result<()> {
    let deadline = Instant::now() + QUIET_LIMIT;
    loop {
        let writes = writes_within(audit_log, QUIET)?;
        let Some(last) = writes.last() else { return Ok(()) };
        if Instant::now() > deadline {
            bail!(
                "the operator does not come to rest: in {} s it wrote {} times, last {last}",
                QUIET.as_secs(),
                writes.len()
            );
        }
    }
}

/// What the operator writes in the time to come, but for its Lease.
fn writes_within(audit_log: &Path, time: Duration) -> Result<Vec<String>> {
    let tail = AuditTail::begin(audit_log)?;
    sleep(time);
    let events = tail.of_account(OPERATOR_ACCOUNT)?;
    ensure!(!events.is_empty(), "the audit log has nothing of {OPERATOR_ACCOUNT}, not even of its Lease");
    let is_lease = |event: &&Value| event["objectRef"]["resource"] == "leases";
    Ok(events.iter().filter(|event| !is_lease(event)).filter_map(written).collect())
}

/// Kills the operator and waits until there is one that is ready.
fn replace(kubectl: &Kubectl) -> Result<Duration> {
    let began = Instant::now();
    let pods = ["pods", "--namespace", OPERATOR_NAMESPACE, "--selector", OPERATOR_PODS];
    kubectl.run(&[&["delete"], &pods[..], &["--grace-period=0", "--force", "--wait=false"]].concat())?;
    let get = ["deployment", "calls-operator", "--namespace", OPERATOR_NAMESPACE];
    // What the Deployment says of the killed pod must have been seen first.
    kubectl.wait(&get, SETTLED_LIMIT, |deployment| deployment["status"]["readyReplicas"].is_null().then_some(()))?;
    kubectl.wait(&get, SETTLED_LIMIT, |deployment| (deployment["status"]["readyReplicas"] == 1).then_some(()))?;
    Ok(began.elapsed())
}

/// The process of the operator: there is one, as the chart installs it.
fn operator_process(kubectl: &Kubectl) -> Result<i32> {
    let pods = kubectl.json(&["get", "pods", "--namespace", OPERATOR_NAMESPACE, "--selector", OPERATOR_PODS])?;
    let pods: Vec<&Value> =
        pods["items"].as_array().into_iter().flatten().filter(|pod| pod["status"]["phase"] == "Running").collect();
    let [pod] = pods[..] else { bail!("there are {} operators", pods.len()) };
    let uid = pod["metadata"]["uid"].as_str().context("a pod has no UID")?;
    process::of_pod(uid, "calls-operator").context("the operator's process was not found")
}
