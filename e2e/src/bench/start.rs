//! How long an SFU takes from being wanted to serving, with its image on the node.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::audit::{AuditTail, received_at};
use crate::cluster::process::{self, wait_for};
use crate::http::get;
use crate::test::{Stage, TestNamespace};

/// For the namespace's directors, before anything is measured.
const PREPARED_LIMIT: Duration = Duration::from_mins(2);

/// From the changed spec to serving.
const SERVING_LIMIT: Duration = Duration::from_mins(1);

/// For an SFU nobody uses to be gone.
const GONE_LIMIT: Duration = Duration::from_mins(2);

/// Ports of this CallsCluster: nobody else's.
const MEDIA_PORT: u16 = 18643;
const CONTROL_PORT: u16 = 18743;
/// The port of probes follows that of control.
const HEALTH_PORT: u16 = CONTROL_PORT + 1;

/// Its name.
const NAME: &str = "starts";

/// Who makes the pods of Deployments.
const POD_MAKER: &str = "system:serviceaccount:kube-system:replicaset-controller";

/// One start.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// From the API server's receiving the pod to the first `/readyz` that says yes.
    pub from_pod: Duration,
    /// From the start of the SFU's process to that.
    pub from_process: Duration,
}

/// Starts an SFU `n_starts` times, each time from none.
pub fn measure(stage: &Stage, n_starts: usize) -> Result<Vec<Start>> {
    let namespace = stage.namespace()?;
    scale(&namespace, 0)?;
    namespace.wait(&["callscluster", NAME], PREPARED_LIMIT, |object| {
        let ready = crate::kubectl::condition(object, "Ready")?;
        (ready["reason"] == "ScaledToZero").then_some(())
    })?;
    let nodes = stage.local_cluster()?.nodes();
    let probes = nodes.iter().map(|node| SocketAddr::from((node.address(), HEALTH_PORT))).collect();
    let starts = Starts { namespace, probes, audit_log: stage.audit_log() };
    (0..n_starts).map(|_| starts.one()).collect()
}

struct Starts<'a> {
    namespace: TestNamespace<'a>,
    /// Where the SFU's probes may be, one per node.
    probes: Vec<SocketAddr>,
    audit_log: PathBuf,
}

impl Starts<'_> {
    fn one(&self) -> Result<Start> {
        let tail = AuditTail::begin(&self.audit_log)?;
        scale(&self.namespace, 1)?;
        let serves = || self.probes.iter().any(|probe| get(*probe, "/readyz").is_ok());
        ensure!(wait_for(SERVING_LIMIT, serves), "no SFU serves within {} s", SERVING_LIMIT.as_secs());
        let serving = SystemTime::now();
        let events = tail.of_account(POD_MAKER)?;
        let made = events.iter().find(|event| makes_pod(event, self.namespace.name())).and_then(received_at);
        let made = made.context("the audit log does not say when the pod was made")?;
        let uid = self.namespace.wait(&SFU_PODS, SERVING_LIMIT, |list| {
            Some(list["items"].as_array()?.first()?["metadata"]["uid"].as_str()?.to_owned())
        })?;
        let process = process::of_pod(&uid, "calls-sfu").and_then(process::started_at);
        let process = process.context("the SFU's process was not found")?;
        scale(&self.namespace, 0)?;
        self.namespace.wait(&SFU_PODS, GONE_LIMIT, |list| list["items"].as_array()?.is_empty().then_some(()))?;
        Ok(Start { from_pod: serving.duration_since(made)?, from_process: serving.duration_since(process)? })
    }
}

const SFU_PODS: [&str; 3] = ["pods", "--selector", "app.kubernetes.io/component=sfu"];

fn scale(namespace: &TestNamespace<'_>, replicas: u32) -> Result<()> {
    namespace.apply(json!({
        "apiVersion": "callscluster.io/v1alpha1", "kind": "CallsCluster", "metadata": {"name": NAME},
        "spec": {
            "sfu": {"replicas": replicas, "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}}},
            "network": {"mediaPorts": {"from": MEDIA_PORT}, "controlPorts": {"from": CONTROL_PORT}},
        },
    }))
}

fn makes_pod(event: &Value, namespace: &str) -> bool {
    let object = &event["objectRef"];
    event["verb"] == "create"
        && object["resource"] == "pods"
        && object["subresource"].is_null()
        && object["namespace"] == namespace
        && event["responseStatus"]["code"] == 201
}
