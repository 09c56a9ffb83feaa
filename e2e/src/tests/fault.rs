//! What may fail in a cluster, made to fail.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;

use super::example::Example;
use crate::cluster::layout::NODES;
use crate::cluster::node::process_names;
use crate::cluster::process::{signal, wait_for};
use crate::command::{command, run};
use crate::install::{CALLS_NAME, CALLS_NAMESPACE, OPERATOR_NAMESPACE};
use crate::kubectl::Kubectl;
use crate::test::Stage;

/// The label by which an example's pods are told apart.
const COMPONENT: &str = "app.kubernetes.io/component";

/// Pods that may be killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    Sfu,
    Director,
    Operator,
}

/// Kills one pod of a component as a crash would: nobody is told, and Kubernetes forgets it at once. `pick` chooses.
///
/// Returns its name; `None` if there is none at the moment, because it was killed before.
pub fn kill_pod(kubectl: &Kubectl, component: Component, pick: u64) -> Result<Option<String>> {
    let (namespace, selector) = match component {
        Component::Sfu => (CALLS_NAMESPACE, format!("app.kubernetes.io/instance={CALLS_NAME},{COMPONENT}=sfu")),
        Component::Director => {
            (CALLS_NAMESPACE, format!("app.kubernetes.io/instance={CALLS_NAME},{COMPONENT}=director"))
        }
        Component::Operator => (OPERATOR_NAMESPACE, "app.kubernetes.io/name=calls-operator".to_owned()),
    };
    let pods = kubectl.json(&["get", "pods", "--namespace", namespace, "--selector", &selector])?;
    let names: Vec<&str> = pods["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|pod| pod["status"]["phase"] == "Running" && pod["metadata"]["deletionTimestamp"].is_null())
        .filter_map(|pod| pod["metadata"]["name"].as_str())
        .collect();
    let Some(index) = usize::try_from(pick)?.checked_rem(names.len()) else { return Ok(None) };
    let delete = ["delete", "pod", names[index], "--namespace", namespace];
    kubectl.run(&[&delete[..], &["--grace-period=0", "--force", "--wait=false"]].concat())?;
    Ok(Some(names[index].to_owned()))
}

/// A process of the local cluster that does not run; dropped, it runs again.
pub struct Frozen {
    pid: i32,
}

impl Frozen {
    pub fn freeze(stage: &Stage, process: &str) -> Result<Self> {
        let pid = stage.local_cluster()?.processes().pid(process).with_context(|| format!("{process} does not run"))?;
        signal(pid, Signal::STOP);
        Ok(Self { pid })
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        signal(self.pid, Signal::CONT);
    }
}

/// No UDP between this machine, where the clients are, and the nodes; dropped, there is again.
pub struct CutUdp {
    rules: [Vec<String>; 2],
}

impl CutUdp {
    pub fn cut() -> Result<Self> {
        let nodes = NODES.to_string();
        let rule =
            |chain: &str, side: &str| [chain, "-p", "udp", side, &nodes, "-j", "DROP"].map(ToOwned::to_owned).to_vec();
        let cut = Self { rules: [rule("OUTPUT", "-d"), rule("INPUT", "-s")] };
        for rule in &cut.rules {
            run(command("iptables", ["-w", "-I"]).args(rule))?;
        }
        Ok(cut)
    }
}

impl Drop for CutUdp {
    fn drop(&mut self) {
        for rule in &self.rules {
            let _ = run(command("iptables", ["-w", "-D"]).args(rule));
        }
    }
}

/// Kills a node's kubelet and starts it again; its pods run on meanwhile.
pub fn restart_kubelet(stage: &Stage, pick: u64) -> Result<String> {
    let cluster = stage.local_cluster()?;
    let nodes = cluster.nodes();
    let index = usize::try_from(pick)?.checked_rem(nodes.len()).context("there is no node")?;
    let [_, _, kubelet, _] = process_names(nodes[index]);
    cluster.processes().kill(&kubelet)?;
    stage.mend_cluster()?;
    Ok(nodes[index].name())
}

/// Waits until the example's pods are those it is to have, all of them ready.
pub fn wait_for_pods(example: &Example<'_>, limit: Duration) -> Result<()> {
    let replicas = example.replicas()?;
    let is_ready = |pod: &Value| {
        let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
        pod["metadata"]["deletionTimestamp"].is_null()
            && conditions.into_iter().any(|one| one["type"] == "Ready" && one["status"] == "True")
    };
    let mut last = Vec::new();
    let are_there = || {
        last = example.sfu_pods().unwrap_or_default();
        last.len() == replicas && last.iter().all(is_ready)
    };
    ensure!(wait_for(limit, are_there), "the pods are {last:?}");
    Ok(())
}
