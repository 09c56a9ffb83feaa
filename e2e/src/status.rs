//! `cargo e2e status`: what runs, how to reach it, where its logs are.

use std::fmt::Write as _;
use std::io::{ErrorKind, Write as _, stdout};

use anyhow::Result;

use crate::binaries::ClusterPrograms;
use crate::cluster::control_plane::audit_log;
use crate::cluster::process::Processes;
use crate::cluster::teardown::existing_nodes;
use crate::kubectl::{Kubectl, is_node_ready};
use crate::paths::Paths;
use crate::up::proxy_address;

/// Prints it. A reader that stops reading (`| head`) is no error.
pub fn print(paths: &Paths) -> Result<()> {
    match stdout().write_all(describe(paths)?.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

fn describe(paths: &Paths) -> Result<String> {
    let mut text = String::new();
    let folder = paths.cluster();
    let processes = Processes::new(&folder);
    let names = processes.names();
    if names.is_empty() {
        writeln!(text, "There is no local cluster: `cargo e2e up` makes one.")?;
        return Ok(text);
    }
    writeln!(text, "Processes (logs in {}):", folder.join("logs").display())?;
    for name in &names {
        let state = processes.pid(name).map_or("does not run".to_owned(), |pid| format!("process {pid}"));
        writeln!(text, "  {name:<22} {state}")?;
    }
    let kubectl = Kubectl::local(&ClusterPrograms::locate(paths)?, paths);
    writeln!(text, "\nNodes:")?;
    let nodes = kubectl.json(&["get", "nodes", "--request-timeout=5s"]).unwrap_or_default();
    for node in existing_nodes(&folder) {
        let ready = if is_node_ready(&nodes, &node.name()) { "Ready" } else { "not Ready" };
        writeln!(text, "  {:<22} {ready}, {}", node.name(), node.address())?;
    }
    match kubectl.run(&["get", "callsclusters", "--all-namespaces", "--request-timeout=5s"]) {
        Ok(clusters) => writeln!(text, "\nCallsClusters:\n{}", indented(&clusters))?,
        Err(error) => writeln!(text, "\nCallsClusters cannot be asked for: {error:#}")?,
    }
    match proxy_address(&processes) {
        Some(address) => writeln!(text, "Page:        http://{address}")?,
        None => writeln!(text, "Page:        its proxy does not run; `cargo e2e up` starts it")?,
    }
    writeln!(text, "KUBECONFIG:  {}", paths.kubeconfig().display())?;
    writeln!(text, "Audit log:   {}", audit_log(&folder).display())?;
    Ok(text)
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect::<Vec<_>>().concat()
}
