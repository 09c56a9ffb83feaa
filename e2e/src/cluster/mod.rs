//! The local Kubernetes: a control plane on this machine and nodes that are namespaces of it.

pub mod cgroup;
pub mod control_plane;
pub mod layout;
pub mod network;
pub mod node;
pub mod pki;
pub mod process;
pub mod teardown;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use self::cgroup::Hierarchies;
use self::control_plane::ControlPlane;
use self::layout::NodeLayout;
use self::node::Node;
use self::pki::Pki;
use self::process::{Processes, wait_for};
use crate::binaries::ClusterPrograms;
use crate::image::{self, Image};
use crate::kubectl::Kubectl;
use crate::paths::Paths;
use crate::progress::Progress;

/// From a started kubelet to a Ready node.
const NODE_LIMIT: Duration = Duration::from_mins(2);

/// A running local cluster.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<NodeLayout>,
    processes: Processes,
    kubectl: Kubectl,
}

/// The folder of a node's data.
pub fn node_folder(cluster: &Path, node: NodeLayout) -> PathBuf {
    cluster.join(node.name())
}

impl Cluster {
    /// Brings the cluster up: starts what does not run, makes and removes nodes until there are `n_nodes`.
    pub fn ensure(paths: &Paths, progress: &Progress, programs: &ClusterPrograms, n_nodes: u8) -> Result<Self> {
        let folder = paths.cluster();
        let cgroups = Hierarchies::find()?;
        let processes = Processes::new(&folder);
        let nodes: Vec<NodeLayout> = NodeLayout::first(n_nodes).collect();
        let kubectl = Kubectl::local(programs, paths);

        progress.step("Preparing the network", |step| {
            network::check_subnets_are_free()?;
            network::ensure_bridge()?;
            nodes.iter().try_for_each(|node| network::ensure_node(*node))?;
            step.result(format!("{}, {}", layout::NODES, cgroups.version().name()));
            network::ensure_routes(&nodes)
        })?;

        let pki = progress.step("Making certificates", |_| {
            let pki = Pki::ensure(&folder.join("pki"))?;
            pki.write_kubeconfig("admin", &paths.kubeconfig())?;
            Ok(pki)
        })?;

        let sandbox = progress.step("Making the pods' sandbox image", |step| {
            let image = image::busybox(&paths.images())?;
            step.result(image.reference.clone());
            Ok(image)
        })?;

        progress.step("Starting the control plane", |step| {
            let control_plane = ControlPlane { folder: &folder, programs, pki: &pki, processes: &processes };
            control_plane.ensure(&kubectl, step)
        })?;

        let cluster = Self { nodes, processes, kubectl };
        progress.step("Starting the nodes", |step| {
            for layout in &cluster.nodes {
                step.at(&layout.name());
                let node = Node {
                    layout: *layout,
                    folder: node_folder(&folder, *layout),
                    programs,
                    pki: &pki,
                    processes: &cluster.processes,
                    cgroups: &cgroups,
                };
                node.ensure_containerd(&sandbox.reference)?;
                cluster.import_on(*layout, std::slice::from_ref(&sandbox))?;
                node.ensure_kubelet()?;
            }
            cluster.remove_surplus_nodes(&folder)?;
            step.at("waiting until they are Ready");
            cluster.wait_for_nodes()?;
            step.result(format!("{n_nodes} Ready"));
            Ok(())
        })?;
        Ok(cluster)
    }

    /// Its nodes.
    pub fn nodes(&self) -> &[NodeLayout] {
        &self.nodes
    }

    /// Its processes.
    pub fn processes(&self) -> &Processes {
        &self.processes
    }

    /// How it is talked to.
    pub fn kubectl(&self) -> &Kubectl {
        &self.kubectl
    }

    /// Imports images on every node that lacks them; returns how many imports that took.
    pub fn import(&self, images: &[Image]) -> Result<usize> {
        self.nodes.iter().map(|node| self.import_on(*node, images)).sum()
    }

    /// Removes images of ours from the nodes that are neither `wanted` nor used by a pod.
    pub fn remove_unused_images(&self, wanted: &[Image]) -> Result<()> {
        let pods = self.kubectl.json(&["get", "pods", "--all-namespaces"])?;
        let used = pods.to_string();
        for node in &self.nodes {
            for reference in self.image_references(*node)? {
                let is_wanted = wanted.iter().any(|image| image.reference == reference) || used.contains(&reference);
                if !is_wanted && image::is_product(&reference) {
                    let mut remove = node::enter(&self.processes, *node)?;
                    crate::command::run(remove.args(["ctr", "--namespace", "k8s.io", "images", "rm", &reference]))?;
                }
            }
        }
        Ok(())
    }

    fn import_on(&self, node: NodeLayout, images: &[Image]) -> Result<usize> {
        let present = self.image_references(node)?;
        let missing = images.iter().filter(|image| !present.contains(&image.reference));
        let mut n_imports = 0;
        for image in missing {
            let mut import = node::enter(&self.processes, node)?;
            import.args(["ctr", "--namespace", "k8s.io", "images", "import"]).arg(&image.archive);
            crate::command::run(&mut import)
                .with_context(|| format!("{} could not be imported on {}", image.reference, node.name()))?;
            n_imports += 1;
        }
        Ok(n_imports)
    }

    fn image_references(&self, node: NodeLayout) -> Result<Vec<String>> {
        let mut list = node::enter(&self.processes, node)?;
        let text = crate::command::output(list.args(["ctr", "--namespace", "k8s.io", "images", "ls", "--quiet"]))?;
        Ok(text.lines().map(ToOwned::to_owned).collect())
    }

    fn remove_surplus_nodes(&self, folder: &Path) -> Result<()> {
        for node in teardown::existing_nodes(folder).into_iter().filter(|node| !self.nodes.contains(node)) {
            self.kubectl.run(&["delete", "node", &node.name(), "--ignore-not-found"])?;
            teardown::remove_node(folder, &self.processes, node)?;
        }
        Ok(())
    }

    fn wait_for_nodes(&self) -> Result<()> {
        let names: Vec<String> = self.nodes.iter().map(|node| node.name()).collect();
        let kubelets: Vec<String> = self.nodes.iter().map(|node| node::process_names(*node)[2].clone()).collect();
        let kubelets: Vec<&str> = kubelets.iter().map(String::as_str).collect();
        let is_ready = || {
            let Ok(nodes) = self.kubectl.json(&["get", "nodes"]) else { return false };
            names.iter().all(|name| crate::kubectl::is_node_ready(&nodes, name))
        };
        self.processes.wait(&kubelets, "the nodes are Ready", NODE_LIMIT, is_ready)?;
        // Every namespace has a service account a little later than the API server is ready; pods need it.
        let has_account = || self.kubectl.succeeds(&["get", "serviceaccount", "default", "--namespace", "default"]);
        if !wait_for(NODE_LIMIT, has_account) {
            anyhow::bail!(
                "the controller manager makes no service accounts; see {}",
                self.processes.log("controller-manager").display()
            );
        }
        Ok(())
    }
}
