//! What the product's programs use of the machine, as the kernel tells: the local cluster's pods are its processes.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::install::{CALLS_NAMESPACE, OPERATOR_NAMESPACE};
use crate::kubectl::Kubectl;

/// Our programs' names begin so, as the kernel knows them.
const PREFIX: &str = "calls-";

/// A program in a pod.
#[derive(Debug)]
pub struct Program {
    pub pod: String,
    namespace: &'static str,
    process: PathBuf,
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
        let processes = ours();
        let mut found = Vec::new();
        for namespace in [CALLS_NAMESPACE, OPERATOR_NAMESPACE] {
            let pods = kubectl.json(&["get", "pods", "--namespace", namespace])?;
            let running = |pod: &&serde_json::Value| pod["status"]["phase"] == "Running";
            for pod in pods["items"].as_array().into_iter().flatten().filter(running) {
                let text = |field: &str| pod["metadata"][field].as_str().unwrap_or_default().to_owned();
                let (name, uid) = (text("name"), text("uid"));
                let process = processes.iter().find(|(_, groups)| groups.contains(&uid));
                let (process, _) = process.with_context(|| format!("{name} has no process on this machine"))?;
                found.push(Self { pod: name, namespace, process: process.clone() });
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
        let status = fs::read_to_string(self.process.join("status"))?;
        let field = |name: &str| -> Result<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.trim_start_matches(':').split_whitespace().next());
            Ok(number.with_context(|| format!("no {name} in the status"))?.parse()?)
        };
        let files = fs::read_dir(self.process.join("fd"))?.count();
        Ok(Usage { memory: field("VmRSS")? * 1024, files: files as u64, threads: field("Threads")? })
    }

    /// Lines of its log that say that something is wrong for good, of the last `since`.
    pub fn errors(&self, kubectl: &Kubectl, since: Duration) -> Result<Vec<String>> {
        let since = format!("--since={}s", since.as_secs() + 1);
        let log = kubectl.run(&["logs", "--namespace", self.namespace, &self.pod, &since])?;
        let errors = log.lines().filter(|line| line.contains(r#""level":"ERROR""#) || line.contains("panicked"));
        Ok(errors.map(ToOwned::to_owned).collect())
    }
}

/// Folders below `/proc` of processes with our programs' names, and the names of their control groups.
fn ours() -> Vec<(PathBuf, String)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    let is_ours = |folder: &Path| fs::read_to_string(folder.join("comm")).is_ok_and(|name| name.starts_with(PREFIX));
    entries
        .map(|entry| entry.path())
        .filter(|folder| is_ours(folder))
        .filter_map(|folder| fs::read_to_string(folder.join("cgroup")).ok().map(|groups| (folder, groups)))
        .collect()
}
