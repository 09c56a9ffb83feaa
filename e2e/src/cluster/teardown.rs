//! Removing the cluster so that nothing of it is left: processes, mounts, namespaces, links, control groups, data.
//!
//! Works from what there is, not from what was meant to be: a cluster that was half made, or half removed, goes as well.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use super::cgroup::Hierarchies;
use super::layout::{MAX_NODES, NodeLayout};
use super::process::{Processes, signal, wait_for};
use super::{control_plane, network, node, node_folder};
use crate::command::{command, run};
use crate::paths::Paths;
use crate::progress::Progress;

/// How long killed processes take at most to be gone.
const LIMIT: Duration = Duration::from_secs(30);

/// Removes the cluster. Nothing there is no error.
pub fn down(paths: &Paths, progress: &Progress) -> Result<()> {
    let _changing = paths.lock_cluster(progress)?;
    let folder = paths.cluster();
    let processes = Processes::new(&folder);
    let nodes = existing_nodes(&folder);
    progress.step("Stopping the control plane and the page's proxy", |_| {
        // The kubelets must not be told to start anew what is ended below.
        let kubelets = nodes.iter().map(|node| node::process_names(*node)[2].clone());
        let others = processes.names().into_iter().filter(|name| !name.starts_with("node-"));
        let control_plane = control_plane::PROCESSES.iter().rev().map(ToString::to_string);
        kubelets.chain(control_plane).chain(others).try_for_each(|name| processes.kill(&name))
    })?;
    progress.step("Removing the nodes", |step| {
        step.result(format!("{} of them", nodes.len()));
        nodes.iter().try_for_each(|node| remove_node(&folder, &processes, *node))
    })?;
    progress.step("Removing the network and the data", |_| {
        network::remove_bridge()?;
        Hierarchies::find()?.remove_all()?;
        unmount_below(&folder)?;
        remove_folder(&folder)
    })
}

/// Removes one node: everything that runs in it, its groups, its namespaces, its data.
pub fn remove_node(folder: &Path, processes: &Processes, layout: NodeLayout) -> Result<()> {
    let data = node_folder(folder, layout);
    let cgroups = Hierarchies::find()?;
    end_node(&data, processes, &cgroups, layout)?;
    cgroups.remove(layout)?;
    network::remove_node(layout)?;
    unmount_below(&data)?;
    remove_folder(&data)
}

/// Ends everything that runs in a node: what we started, and all that these started.
pub fn end_node(data: &Path, processes: &Processes, cgroups: &Hierarchies, layout: NodeLayout) -> Result<()> {
    let [holder, containerd, kubelet, proxy] = node::process_names(layout);
    for name in [kubelet, proxy, containerd] {
        processes.kill(&name)?;
    }
    let remaining = || -> Vec<i32> {
        let inside = all_processes().into_iter().filter(|pid| node::is_inside(*pid, data));
        cgroups.processes(layout).into_iter().chain(inside).collect()
    };
    let is_empty = wait_for(LIMIT, || {
        let pids = remaining();
        for pid in &pids {
            signal(*pid, Signal::KILL);
        }
        pids.is_empty()
    });
    if !is_empty {
        bail!("processes of {} do not end: {:?}", layout.name(), remaining());
    }
    processes.kill(&holder)
}

/// The nodes of which there is anything: data, a namespace, a cable.
pub fn existing_nodes(folder: &Path) -> Vec<NodeLayout> {
    let mut nodes = network::existing_nodes();
    nodes.extend(NodeLayout::first(MAX_NODES).filter(|node| node_folder(folder, *node).exists()));
    nodes.sort_unstable();
    nodes.dedup();
    nodes
}

fn remove_folder(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("failed to remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

fn all_processes() -> Vec<i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Pods' mounts are in their nodes' namespaces and went with them. One that got out would keep its folder from being
/// removed, or worse, what is mounted there would be removed.
fn unmount_below(folder: &Path) -> Result<()> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("failed to read /proc/self/mountinfo")?;
    // Those mounted last lie upon the others.
    mount_points_below(&mounts, folder).iter().rev().try_for_each(|mount| run(&mut command("umount", [mount])))
}

fn mount_points_below(mounts: &str, folder: &Path) -> Vec<String> {
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
    points.filter(|point| Path::new(point).starts_with(folder)).map(ToOwned::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_mounts_below_the_folder_are_unmounted() {
        let mounts =
            "30 1 0:1 / / rw - ext4 a rw\n31 30 0:2 / /c/node-1/x rw - tmpfs b rw\n32 30 0:2 / /cc rw - tmpfs b rw\n";
        assert_eq!(mount_points_below(mounts, Path::new("/c")), ["/c/node-1/x"]);
    }
}
