//! Talking to a cluster through kubectl, which every cluster understands and every reader knows.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::binaries::ClusterPrograms;
use crate::command::{output, output_of_input, succeeds};
use crate::paths::Paths;

/// How often a condition is asked for while waiting.
const POLL: Duration = Duration::from_millis(300);

/// kubectl, and the cluster it talks to.
#[derive(Clone, Debug)]
pub struct Kubectl {
    program: PathBuf,
    helm: PathBuf,
    target: Target,
}

#[derive(Clone, Debug)]
enum Target {
    /// The local cluster: its administrator's kubeconfig.
    Local(PathBuf),
    /// A context of the person's own kubeconfig.
    Context(String),
}

impl Kubectl {
    /// Talks to the local cluster.
    pub fn local(programs: &ClusterPrograms, paths: &Paths) -> Self {
        Self {
            program: programs.kubernetes("kubectl"),
            helm: programs.helm(),
            target: Target::Local(paths.kubeconfig()),
        }
    }

    /// Talks to a cluster of the person's kubeconfig.
    pub fn context(programs: &ClusterPrograms, name: &str) -> Self {
        Self {
            program: programs.kubernetes("kubectl"),
            helm: programs.helm(),
            target: Target::Context(name.to_owned()),
        }
    }

    /// What a person types to talk to this cluster with a kubectl of theirs.
    pub fn flags_for_people(&self) -> String {
        match &self.target {
            Target::Local(file) => format!("--kubeconfig {}", file.display()),
            Target::Context(name) => format!("--context {name}"),
        }
    }

    /// kubectl with arguments, for callers that treat its output themselves.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        match &self.target {
            // What kubectl remembers of a cluster goes with the cluster, not into the person's home.
            Target::Local(file) => {
                command.arg("--kubeconfig").arg(file).arg("--cache-dir").arg(file.with_file_name("kubectl-cache"))
            }
            Target::Context(name) => command.args(["--context", name]),
        };
        command.args(arguments).stdin(Stdio::null());
        command
    }

    /// helm with arguments, for this cluster.
    pub fn helm(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.helm);
        match &self.target {
            Target::Local(file) => command.arg("--kubeconfig").arg(file),
            Target::Context(name) => command.args(["--kube-context", name]),
        };
        command.args(arguments).stdin(Stdio::null());
        command
    }

    /// Runs kubectl; returns what it wrote.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        output(&mut self.command(arguments))
    }

    /// Whether kubectl succeeds.
    pub fn succeeds(&self, arguments: &[&str]) -> bool {
        succeeds(&mut self.command(arguments))
    }

    /// Runs kubectl with `--output json`; returns what it wrote.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        let text = self.run(&[arguments, &["--output", "json"]].concat())?;
        serde_json::from_str(&text).with_context(|| format!("kubectl {} wrote no JSON", arguments.join(" ")))
    }

    /// Applies an object as the server would have it (server-side, ours by force: nobody else writes what tests write).
    pub fn apply(&self, object: &Value) -> Result<()> {
        let arguments =
            ["apply", "--server-side", "--force-conflicts", "--field-manager", "cargo-e2e", "--filename", "-"];
        output_of_input(&mut self.command(&arguments), object.to_string().as_bytes()).map(drop)
    }

    /// Waits until `wanted` answers with something about the object that kubectl gets with these arguments.
    ///
    /// # Errors
    /// When the limit passes: repeats the object as it was last.
    pub fn wait<T>(&self, get: &[&str], limit: Duration, mut wanted: impl FnMut(&Value) -> Option<T>) -> Result<T> {
        let deadline = Instant::now() + limit;
        loop {
            let object = self.json(&[&["get"], get].concat());
            if let Ok(object) = &object
                && let Some(found) = wanted(object)
            {
                return Ok(found);
            }
            if Instant::now() > deadline {
                let last = object.map_or_else(|error| format!("{error:#}"), |object| last_seen(&object));
                bail!("not within {} s: {}; last seen: {last}", limit.as_secs(), get.join(" "));
            }
            sleep(POLL);
        }
    }
}

/// Runs kubectl in place of this command, against the local cluster.
///
/// # Errors
/// When there is no local cluster.
pub fn pass_through(paths: &Paths, arguments: &[String]) -> Result<ExitCode> {
    if !paths.kubeconfig().exists() {
        bail!("there is no local cluster: `cargo e2e up` makes one");
    }
    let kubectl = Kubectl::local(&ClusterPrograms::locate(paths)?, paths);
    let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
    let status =
        kubectl.command(&[]).args(arguments).stdin(Stdio::inherit()).status().context("failed to start kubectl")?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}

/// The condition of that type in an object's status.
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)
}

/// Whether the list of nodes holds a Ready one of that name.
pub fn is_node_ready(nodes: &Value, name: &str) -> bool {
    let items = nodes["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    let node = items.iter().find(|node| node["metadata"]["name"] == name);
    node.and_then(|node| condition(node, "Ready")).is_some_and(|ready| ready["status"] == "True")
}

/// What is worth telling of an object that did not become what it should: its conditions, its status, or all of it.
fn last_seen(object: &Value) -> String {
    let Some(conditions) = object["status"]["conditions"].as_array() else {
        let seen = if object["status"].is_null() { object } else { &object["status"] };
        return seen.to_string();
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let line = |condition: &Value| {
        let [kind, status, reason, message] =
            ["type", "status", "reason", "message"].map(|field| text(&condition[field]));
        format!("\n  {kind}={status} {reason}: {message}")
    };
    conditions.iter().map(line).collect::<Vec<_>>().concat()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_last_seen_is_told_by_conditions() {
        let ready =
            json!({"type": "Ready", "status": "False", "reason": "SfuNotReady", "message": "0 of 2 SFUs serve."});
        let object = json!({"status": {"conditions": [ready], "replicas": 2}});
        assert_eq!(last_seen(&object), "\n  Ready=False SfuNotReady: 0 of 2 SFUs serve.");
        assert_eq!(last_seen(&json!({"status": {"replicas": 2}})), r#"{"replicas":2}"#);
    }

    #[test]
    fn a_node_is_ready_when_its_condition_says_so() {
        let node = |name: &str, status: &str| json!({"metadata": {"name": name}, "status": {"conditions": [{"type": "Ready", "status": status}]}});
        let nodes = json!({"items": [node("node-1", "True"), node("node-2", "False")]});
        assert!(is_node_ready(&nodes, "node-1"));
        assert!(!is_node_ready(&nodes, "node-2") && !is_node_ready(&nodes, "node-3"));
    }
}
