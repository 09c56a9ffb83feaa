//! The nodes' network: a bridge on this machine, a network namespace per node, a cable between them, and routes to the
//! other nodes' pods.
//!
//! A pod on the host network then listens on its node's own address, so that several nodes can each hold one port.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::layout::{BRIDGE, CONTROL_PLANE, MAX_NODES, NODES, NodeLayout, PODS, SERVICES, Subnet};
use crate::command::{command, output, run, succeeds};

/// Whether packets on a bridge pass the packet filter; absent where the kernel's module is not loaded.
const BRIDGE_FILTER: &str = "/proc/sys/net/bridge/bridge-nf-call-iptables";

/// Where `ip netns` keeps its namespaces.
pub fn namespace_path(node: NodeLayout) -> PathBuf {
    Path::new("/run/netns").join(node.network_namespace())
}

/// Makes sure that nothing else on this machine uses our subnets.
///
/// # Errors
/// Names the route that is in the way.
pub fn check_subnets_are_free() -> Result<()> {
    let routes = output(&mut command("ip", ["-json", "-4", "route", "show", "table", "all"]))?;
    match taken(&serde_json::from_str(&routes).context("ip wrote no JSON")?) {
        None => Ok(()),
        Some((ours, theirs)) => bail!(
            "the subnet {ours} is in use here: there is a route to {theirs}. The local cluster needs {NODES}, {PODS} and \
             {SERVICES} for itself; take that network down, or use --context with a cluster you have"
        ),
    }
}

/// Makes the bridge, or mends it.
pub fn ensure_bridge() -> Result<()> {
    if !link_exists(BRIDGE) {
        ip(&["link", "add", BRIDGE, "type", "bridge"])?;
    }
    ip(&["address", "replace", &format!("{CONTROL_PLANE}/24"), "dev", BRIDGE])?;
    ip(&["link", "set", BRIDGE, "up"])?;
    let is_filtered = fs::read_to_string(BRIDGE_FILTER).is_ok_and(|filter| filter.trim() == "1");
    if is_filtered && !succeeds(&mut command("iptables", forward_rule("--check"))) {
        run(&mut command("iptables", forward_rule("--insert")))?;
    }
    Ok(())
}

/// Makes a node's namespace and cable, or mends them.
pub fn ensure_node(node: NodeLayout) -> Result<()> {
    let namespace = node.network_namespace();
    if !namespace_path(node).exists() {
        ip(&["netns", "add", &namespace])?;
    }
    let link = node.link();
    if !link_exists(&link) {
        ip(&["link", "add", &link, "type", "veth", "peer", "name", "eth0", "netns", &namespace])?;
    }
    ip(&["link", "set", &link, "master", BRIDGE, "up"])?;
    let inside = |arguments: &[&str]| ip(&[&["-netns", &namespace], arguments].concat());
    inside(&["link", "set", "lo", "up"])?;
    inside(&["address", "replace", &format!("{}/24", node.address()), "dev", "eth0"])?;
    inside(&["link", "set", "eth0", "up"])?;
    inside(&["route", "replace", "default", "via", &CONTROL_PLANE.to_string()])?;
    let enter = format!("--net={}", namespace_path(node).display());
    run(&mut command("nsenter", [&enter, "busybox", "sysctl", "-q", "-w", "net.ipv4.ip_forward=1"]))
}

/// Tells every node the way to the pods of the others.
pub fn ensure_routes(nodes: &[NodeLayout]) -> Result<()> {
    for node in nodes {
        for other in nodes.iter().filter(|other| *other != node) {
            let (pods, via) = (other.pods().to_string(), other.address().to_string());
            ip(&["-netns", &node.network_namespace(), "route", "replace", &pods, "via", &via])?;
        }
    }
    Ok(())
}

/// The nodes there are namespaces or cables of.
pub fn existing_nodes() -> Vec<NodeLayout> {
    NodeLayout::first(MAX_NODES).filter(|node| namespace_path(*node).exists() || link_exists(&node.link())).collect()
}

/// Removes a node's namespace and cable. Nothing may run in it any more.
pub fn remove_node(node: NodeLayout) -> Result<()> {
    if link_exists(&node.link()) {
        ip(&["link", "delete", &node.link()])?;
    }
    if namespace_path(node).exists() {
        ip(&["netns", "delete", &node.network_namespace()])?;
    }
    Ok(())
}

/// Removes the bridge and its rule.
pub fn remove_bridge() -> Result<()> {
    if Path::new(BRIDGE_FILTER).exists() && succeeds(&mut command("iptables", forward_rule("--check"))) {
        run(&mut command("iptables", forward_rule("--delete")))?;
    }
    if link_exists(BRIDGE) {
        ip(&["link", "delete", BRIDGE])?;
    }
    Ok(())
}

/// Where packets on bridges pass the filter, somebody's policy for forwarded packets (Docker's is to drop) would keep
/// nodes apart.
fn forward_rule(action: &str) -> [&str; 10] {
    ["--wait", action, "FORWARD", "--in-interface", BRIDGE, "--out-interface", BRIDGE, "--jump", "ACCEPT", "--wait"]
}

fn link_exists(name: &str) -> bool {
    Path::new("/sys/class/net").join(name).exists()
}

fn ip(arguments: &[&str]) -> Result<()> {
    run(&mut command("ip", arguments))
}

/// The first of our subnets that a route not of ours leads to, with that route.
fn taken(routes: &Value) -> Option<(Subnet, String)> {
    let strangers = routes.as_array()?.iter().filter(|route| route["dev"] != BRIDGE);
    strangers.filter_map(|route| route["dst"].as_str()).find_map(|to| {
        let theirs = Subnet::parse(to)?;
        let ours = [NODES, PODS, SERVICES].into_iter().find(|ours| ours.overlaps(theirs))?;
        Some((ours, to.to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn another_networks_route_into_our_subnets_is_found() {
        let routes = json!([
            {"dst": "default", "gateway": "192.0.2.1", "dev": "eth0"},
            {"dst": "172.17.0.0/16", "dev": "docker0"},
            {"dst": "10.244.0.0/24", "dev": "cni0"},
        ]);
        assert_eq!(taken(&routes), Some((PODS, "10.244.0.0/24".to_owned())));
    }

    #[test]
    fn our_own_routes_and_default_routes_are_not_in_the_way() {
        let routes = json!([
            {"dst": "default", "gateway": "192.0.2.1", "dev": "eth0"},
            {"dst": "10.200.0.0/24", "dev": BRIDGE},
            {"dst": "10.200.0.1", "dev": BRIDGE, "type": "local"},
        ]);
        assert_eq!(taken(&routes), None);
    }
}
