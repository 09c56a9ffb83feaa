//! One node: a network namespace and a mount namespace with a containerd, a kubelet and a kube-proxy in them.
//!
//! In its mount namespace a node has `/run`, `/var/lib` and `/var/log` of its own, so that programs run with their
//! customary paths, two nodes never meet, a containerd or kubelet of the machine is left alone, and every mount of every
//! pod is gone with the last process in it. The namespace is held by a process that does nothing else.
//!
//! Entered with `nsenter`, not `ip netns exec`, which mounts a fresh `/sys` and hides the control groups from the kubelet.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;

use super::cgroup::{Hierarchies, Version};
use super::layout::{NodeLayout, PODS};
use super::network::namespace_path;
use super::pki::Pki;
use super::process::{Processes, wait_for};
use super::teardown;
use crate::binaries::ClusterPrograms;
use crate::command::{command, run};

/// containerd listens here, in its node.
const CONTAINERD_SOCKET: &str = "/run/containerd/containerd.sock";

/// How long a namespace or a containerd takes at most to be there.
const START_LIMIT: Duration = Duration::from_mins(1);

/// What a node is started with.
#[derive(Debug)]
pub struct Node<'a> {
    /// Its names and addresses.
    pub layout: NodeLayout,
    /// The folder of its data.
    pub folder: PathBuf,
    /// The programs.
    pub programs: &'a ClusterPrograms,
    /// The certificates.
    pub pki: &'a Pki,
    /// The processes.
    pub processes: &'a Processes,
    /// The control groups.
    pub cgroups: &'a Hierarchies,
}

/// The names of a node's processes, in the order they start in.
pub fn process_names(node: NodeLayout) -> [String; 4] {
    ["holder", "containerd", "kubelet", "kube-proxy"].map(|part| format!("{}-{part}", node.name()))
}

/// A command line up to the program that is to run in the node: in both its namespaces.
pub fn enter(processes: &Processes, node: NodeLayout) -> Result<Command> {
    let [holder, ..] = process_names(node);
    let holder = processes.pid(&holder).with_context(|| format!("{} does not run", node.name()))?;
    let mounts = format!("--mount=/proc/{holder}/ns/mnt");
    let network = format!("--net={}", namespace_path(node).display());
    Ok(command("nsenter", [mounts, network, "--".to_owned()]))
}

/// Whether a process lives in the mount namespace of the node whose data is in `folder`: it sees that folder as its
/// `/var/lib`. Containers do not; they are found by their control group.
pub fn is_inside(pid: i32, folder: &Path) -> bool {
    let identity = |path: &Path| fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
    let ours = identity(&folder.join("lib"));
    ours.is_some() && identity(Path::new(&format!("/proc/{pid}/root/var/lib"))) == ours
}

impl Node<'_> {
    /// Starts the node's containerd, and the namespace it runs in. Images can be imported afterwards.
    pub fn ensure_containerd(&self, sandbox_image: &str) -> Result<()> {
        for folder in ["lib", "log", "cni", "volume-plugins"] {
            fs::create_dir_all(self.folder.join(folder))?;
        }
        self.cgroups.ensure(self.layout)?;
        self.ensure_namespace()?;
        let network = self.pod_network();
        fs::write(self.folder.join("cni/10-pods.conflist"), &network)?;
        let config = self.containerd_config(sandbox_image);
        let file = self.folder.join("containerd.toml");
        fs::write(&file, &config)?;
        let [_, name, ..] = process_names(self.layout);
        let mut containerd = self.enter()?;
        containerd.args(["containerd", "--config"]).arg(file);
        self.processes.ensure(&name, &containerd, &[&config, &network])?;
        let mut version = self.enter()?;
        version.args(["ctr", "version"]);
        let is_ready = || crate::command::succeeds(&mut version);
        self.processes.wait(&[name.as_str()], "containerd answers", START_LIMIT, is_ready)
    }

    /// Starts the node's kubelet and kube-proxy.
    pub fn ensure_kubelet(&self) -> Result<()> {
        self.pki.ensure_node(self.layout)?;
        let name = self.layout.name();
        let [_, _, kubelet_name, proxy_name] = process_names(self.layout);
        let resolver = self.folder.join("resolv.conf");
        fs::write(&resolver, "# Pods are told the cluster's name server, and this machine's is not theirs.\n")?;
        let config = self.kubelet_config(&resolver)?;
        let file = self.folder.join("kubelet.json");
        fs::write(&file, &config)?;
        let mut kubelet = self.enter()?;
        kubelet.arg(self.programs.kubernetes("kubelet")).arg("--config").arg(file);
        kubelet.arg("--kubeconfig").arg(self.pki.kubeconfig(&name));
        kubelet.args(["--hostname-override", &name, "--node-ip", &self.layout.address().to_string()]);
        self.processes.ensure(&kubelet_name, &kubelet, &[&config])?;

        let mut proxy = self.enter()?;
        proxy.arg(self.programs.kubernetes("kube-proxy")).arg("--kubeconfig").arg(self.pki.kubeconfig("proxy"));
        proxy.args(["--hostname-override", &name, "--cluster-cidr", &PODS.to_string(), "--proxy-mode", "iptables"]);
        // The limit of tracked connections is the machine's, not a namespace's: it may not be written here.
        proxy.args(["--conntrack-max-per-core=0", "--conntrack-tcp-timeout-established=0s"]);
        proxy.args(["--conntrack-tcp-timeout-close-wait=0s", "--iptables-min-sync-period=200ms"]);
        self.processes.ensure(&proxy_name, &proxy, &[])?;
        Ok(())
    }

    fn enter(&self) -> Result<Command> {
        enter(self.processes, self.layout)
    }

    /// Starts the process that holds the mount namespace and gives the node its own folders.
    fn ensure_namespace(&self) -> Result<()> {
        let [holder, ..] = process_names(self.layout);
        if self.processes.pid(&holder).is_none() {
            // What is left of an earlier namespace holds ports, and no containerd knows it any more.
            teardown::end_node(&self.folder, self.processes, self.cgroups, self.layout)?;
        }
        let hold = command("unshare", ["--mount", "--propagation", "slave", "--", "sleep", "infinity"]);
        self.processes.ensure(&holder, &hold, &[])?;
        let own = fs::read_link("/proc/self/ns/mnt")?;
        let pid = self.processes.pid(&holder).context("the process that holds the node's namespace ended")?;
        let namespace = format!("/proc/{pid}/ns/mnt");
        let is_apart = || fs::read_link(&namespace).is_ok_and(|namespace| namespace != own);
        if !wait_for(START_LIMIT, is_apart) {
            anyhow::bail!("`unshare --mount` made no namespace: are you root, with all of root's rights?");
        }
        if is_inside(pid, &self.folder) {
            return Ok(());
        }
        let mount = |arguments: &[&str]| {
            let mut mount = command("nsenter", [format!("--mount={namespace}"), "mount".to_owned()]);
            run(mount.args(arguments))
        };
        let own_folder = |name: &str| self.folder.join(name).to_string_lossy().into_owned();
        // Containers may ask that mounts travel between them and their node.
        mount(&["--make-rshared", "/"])?;
        mount(&["-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run"])?;
        mount(&["--bind", &own_folder("log"), "/var/log"])?;
        // Last: `is_inside` takes it for the sign that all of them are there.
        mount(&["--bind", &own_folder("lib"), "/var/lib"])
    }

    /// Pods are joined by routes, not by a bridge: packets between two pods of a node then pass the packet filter, which
    /// Services need and which a bridge grants only with a kernel module.
    fn pod_network(&self) -> String {
        let addresses = json!({
            "type": "host-local",
            "ranges": [[{"subnet": self.layout.pods().to_string()}]],
            "routes": [{"dst": "0.0.0.0/0"}],
            "dataDir": "/run/cni",
        });
        let network = json!({
            "cniVersion": "1.0.0",
            "name": "pods",
            "plugins": [
                {"type": "ptp", "ipMasq": true, "ipam": addresses},
                {"type": "portmap", "capabilities": {"portMappings": true}},
            ],
        });
        format!("{network:#}\n")
    }

    fn containerd_config(&self, sandbox_image: &str) -> String {
        let cni = self.folder.join("cni");
        format!(
            r#"version = 2
# Makes /opt/containerd, which nobody here needs.
disabled_plugins = ["io.containerd.internal.v1.opt"]

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{sandbox_image}"
  # Where root lacks CAP_SYS_RESOURCE no score may be lowered, and without this no container starts.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{cni}"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
"#,
            cni = cni.display()
        )
    }

    fn kubelet_config(&self, resolver: &Path) -> Result<String> {
        let name = self.layout.name();
        let mut config = json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {"x509": {"clientCAFile": self.pki.authority()}, "webhook": {"enabled": true}},
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": self.pki.certificate(&name),
            "tlsPrivateKeyFile": self.pki.key(&name),
            "containerRuntimeEndpoint": format!("unix://{CONTAINERD_SOCKET}"),
            "resolvConf": resolver,
            "clusterDomain": "cluster.local",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": Hierarchies::kubelet_root(self.layout),
            "enforceNodeAllocatable": [],
            "localStorageCapacityIsolation": false,
            "failSwapOn": false,
            "volumePluginDir": self.folder.join("volume-plugins"),
            // A full disk of the machine is not this cluster's to mend: no images are removed, no pods evicted for it.
            "imageGCHighThresholdPercent": 100,
            "evictionHard": {"memory.available": "100Mi"},
            "nodeStatusUpdateFrequency": "5s",
            // Changed ConfigMaps and Secrets reach running pods within this.
            "syncFrequency": "10s",
        });
        if self.cgroups.version() == Version::V1 {
            config["failCgroupV1"] = json!(false);
        }
        Ok(serde_json::to_string_pretty(&config)?)
    }
}
