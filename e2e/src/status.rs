//! `cargo e2e status`: what runs, how to reach it, where its logs are.

use anyhow::Result;

use crate::binaries::ClusterPrograms;
use crate::cluster::control_plane::audit_log;
use crate::cluster::process::Processes;
use crate::cluster::teardown::existing_nodes;
use crate::kubectl::{Kubectl, is_node_ready};
use crate::paths::Paths;
use crate::up::proxy_address;

/// Prints it.
pub fn print(paths: &Paths) -> Result<()> {
    let folder = paths.cluster();
    let processes = Processes::new(&folder);
    let names = processes.names();
    if names.is_empty() {
        println!("There is no local cluster: `cargo e2e up` makes one.");
        return Ok(());
    }
    println!("Processes (logs in {}):", folder.join("logs").display());
    for name in &names {
        let state = processes.pid(name).map_or("does not run".to_owned(), |pid| format!("process {pid}"));
        println!("  {name:<22} {state}");
    }
    let kubectl = Kubectl::local(&ClusterPrograms::locate(paths)?, paths);
    println!("\nNodes:");
    let nodes = kubectl.json(&["get", "nodes", "--request-timeout=5s"]).unwrap_or_default();
    for node in existing_nodes(&folder) {
        let ready = if is_node_ready(&nodes, &node.name()) { "Ready" } else { "not Ready" };
        println!("  {:<22} {ready}, {}", node.name(), node.address());
    }
    match kubectl.run(&["get", "callsclusters", "--all-namespaces", "--request-timeout=5s"]) {
        Ok(clusters) => println!("\nCallsClusters:\n{}", indented(&clusters)),
        Err(error) => println!("\nCallsClusters cannot be asked for: {error:#}"),
    }
    match proxy_address(&processes) {
        Some(address) => println!("Page:        http://{address}"),
        None => println!("Page:        its proxy does not run; `cargo e2e up` starts it"),
    }
    println!("KUBECONFIG:  {}", paths.kubeconfig().display());
    println!("Audit log:   {}", audit_log(&folder).display());
    Ok(())
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect::<Vec<_>>().concat()
}
