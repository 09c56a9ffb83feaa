//! What the product's programs use of the machine, as the kernel tells: the local cluster's pods are its processes.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::cluster::process;
use crate::install::{CALLS_NAMESPACE, OPERATOR_NAMESPACE};
use crate::kubectl::Kubectl;

/// The product's programs; a pod runs one of them.
const PROGRAMS: [&str; 3] = ["calls-sfu", "calls-director", "calls-operator"];

/// A program in a pod.
#[derive(Debug)]
pub struct Program {
    pub pod: String,
    namespace: &'static str,
    pid: i32,
}

/// What it uses.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Resident, in bytes.
    pub memory: u64,
    /// Open files and sockets.
    pub files: u64,
    pub threads: u64,
}

impl Program {
    /// Those of all running pods of the product.
    pub fn all(kubectl: &Kubectl) -> Result<Vec<Self>> {
        let mut found = Vec::new();
        for namespace in [CALLS_NAMESPACE, OPERATOR_NAMESPACE] {
            let pods = kubectl.json(&["get", "pods", "--namespace", namespace])?;
            let running = |pod: &&serde_json::Value| pod["status"]["phase"] == "Running";
            for pod in pods["items"].as_array().into_iter().flatten().filter(running) {
                let text = |field: &str| pod["metadata"][field].as_str().unwrap_or_default().to_owned();
                let (name, uid) = (text("name"), text("uid"));
                let pid = PROGRAMS.iter().find_map(|program| process::of_pod(&uid, program));
                let pid = pid.with_context(|| format!("{name} has no process on this machine"))?;
                found.push(Self { pod: name, namespace, pid });
            }
        }
        ensure!(!found.is_empty(), "nothing of the product runs");
        Ok(found)
    }

    /// What it uses now.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn usage(&self) -> Result<Usage> {
        let memory = process::memory_of(self.pid).context("it has ended")?.resident;
        let n_entries = |folder: &str| fs::read_dir(format!("/proc/{}/{folder}", self.pid)).map(Iterator::count);
        Ok(Usage { memory, files: n_entries("fd")? as u64, threads: n_entries("task")? as u64 })
    }

    /// Lines of its log that say that something is wrong for good, of the last `since`.
    pub fn errors(&self, kubectl: &Kubectl, since: Duration) -> Result<Vec<String>> {
        let since = format!("--since={}s", since.as_secs() + 1);
        let log = kubectl.run(&["logs", "--namespace", self.namespace, &self.pod, &since])?;
        let errors = log.lines().filter(|line| line.contains(r#""level":"ERROR""#) || line.contains("panicked"));
        Ok(errors.map(ToOwned::to_owned).collect())
    }
}
