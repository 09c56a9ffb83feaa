//! The control plane: etcd, API server, controller manager and scheduler, as processes of this machine.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use super::layout::{
    API_PORT, CONTROL_PLANE, CONTROLLER_MANAGER_PORT, ETCD_PEER_PORT, ETCD_PORT, PODS, SCHEDULER_PORT, SERVICES,
};
use super::pki::Pki;
use super::process::Processes;
use crate::binaries::ClusterPrograms;
use crate::command::command;
use crate::kubectl::Kubectl;
use crate::progress::Step;

/// The control plane's processes, in the order they start in.
pub const PROCESSES: [&str; 4] = ["etcd", "apiserver", "controller-manager", "scheduler"];

/// From nothing, on a busy machine.
const START_LIMIT: Duration = Duration::from_mins(2);

/// Every request is recorded with who asked for what, without bodies: a test compares granted with used permissions.
const AUDIT_POLICY: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
";

/// What the control plane is started with.
#[derive(Debug)]
pub struct ControlPlane<'a> {
    /// The folder of the cluster's data.
    pub folder: &'a Path,
    /// The programs.
    pub programs: &'a ClusterPrograms,
    /// The certificates.
    pub pki: &'a Pki,
    /// The processes.
    pub processes: &'a Processes,
}

/// Where the API server records who asked for what, one JSON event a line.
pub fn audit_log(cluster: &Path) -> PathBuf {
    cluster.join("audit/audit.log")
}

impl ControlPlane<'_> {
    /// Starts what does not run and waits until the API server is ready.
    pub fn ensure(&self, kubectl: &Kubectl, step: &Step) -> Result<()> {
        step.at("etcd");
        self.processes.ensure("etcd", &self.etcd(), &[])?;
        let etcd = SocketAddr::from((Ipv4Addr::LOCALHOST, ETCD_PORT));
        self.processes.wait(&["etcd"], "etcd listens", START_LIMIT, || TcpStream::connect(etcd).is_ok())?;

        step.at("API server");
        let policy = self.folder.join("audit/policy.yaml");
        fs::create_dir_all(self.folder.join("audit"))?;
        fs::write(&policy, AUDIT_POLICY)?;
        self.processes.ensure("apiserver", &self.api_server(&policy), &[AUDIT_POLICY])?;
        // What starts before it is ready only asks in vain; and they start while it does.
        self.processes.ensure("controller-manager", &self.controller_manager(), &[])?;
        self.processes.ensure("scheduler", &self.scheduler(), &[])?;
        let is_ready = || kubectl.succeeds(&["get", "--raw", "/readyz"]);
        self.processes.wait(&["etcd", "apiserver"], "the API server is ready", START_LIMIT, is_ready)
    }

    fn etcd(&self) -> Command {
        let clients = format!("http://127.0.0.1:{ETCD_PORT}");
        let peers = format!("http://127.0.0.1:{ETCD_PEER_PORT}");
        let mut etcd = command("etcd", ["--name", "calls", "--unsafe-no-fsync", "--logger", "zap"]);
        etcd.arg("--data-dir").arg(self.folder.join("etcd"));
        etcd.args(["--listen-client-urls", &clients, "--advertise-client-urls", &clients]);
        etcd.args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers]);
        etcd.args(["--initial-cluster", &format!("calls={peers}")]);
        // Debian configures its service with variables of these names, which may be in the environment.
        for variable in ["ETCD_NAME", "ETCD_DATA_DIR", "ETCD_LISTEN_CLIENT_URLS"] {
            etcd.env_remove(variable);
        }
        etcd
    }

    fn api_server(&self, audit_policy: &Path) -> Command {
        let pki = self.pki;
        let mut server = Command::new(self.programs.kubernetes("kube-apiserver"));
        let mut flag = |name: &str, value: &dyn AsRef<std::ffi::OsStr>| {
            server.arg(format!("--{name}")).arg(value);
        };
        flag("etcd-servers", &format!("http://127.0.0.1:{ETCD_PORT}"));
        flag("advertise-address", &CONTROL_PLANE.to_string());
        flag("bind-address", &CONTROL_PLANE.to_string());
        flag("secure-port", &API_PORT.to_string());
        flag("tls-cert-file", &pki.certificate("apiserver"));
        flag("tls-private-key-file", &pki.key("apiserver"));
        flag("client-ca-file", &pki.authority());
        flag("kubelet-certificate-authority", &pki.authority());
        flag("kubelet-client-certificate", &pki.certificate("apiserver-to-kubelet"));
        flag("kubelet-client-key", &pki.key("apiserver-to-kubelet"));
        // Nodes' names are known to no name server: logs and exec go to their addresses.
        flag("kubelet-preferred-address-types", &"InternalIP");
        flag("service-account-key-file", &pki.service_account_public_key());
        flag("service-account-signing-key-file", &pki.service_account_key());
        flag("service-account-issuer", &"https://kubernetes.default.svc");
        flag("service-cluster-ip-range", &SERVICES.to_string());
        flag("authorization-mode", &"Node,RBAC");
        flag("enable-admission-plugins", &"NodeRestriction");
        flag("audit-policy-file", &audit_policy);
        flag("audit-log-path", &audit_log(self.folder));
        flag("audit-log-maxsize", &"200");
        flag("audit-log-maxbackup", &"2");
        server.args(["--allow-privileged=true", "--profiling=false"]);
        server
    }

    fn controller_manager(&self) -> Command {
        let pki = self.pki;
        let mut manager = Command::new(self.programs.kubernetes("kube-controller-manager"));
        manager.arg("--kubeconfig").arg(pki.kubeconfig("controller-manager"));
        manager.arg("--root-ca-file").arg(pki.authority());
        manager.arg("--service-account-private-key-file").arg(pki.service_account_key());
        manager.arg("--cluster-signing-cert-file").arg(pki.authority());
        manager.arg("--cluster-signing-key-file").arg(pki.authority_key());
        manager.args(["--cluster-cidr", &PODS.to_string(), "--bind-address", "127.0.0.1"]);
        manager.args(["--secure-port", &CONTROLLER_MANAGER_PORT.to_string()]);
        // Each node's pods have the subnet of its number (`layout`), not one that is handed out.
        manager.args(["--allocate-node-cidrs=false", "--use-service-account-credentials=true", "--leader-elect=false"]);
        // A node that went away is noticed in seconds, so that tests of it are short.
        manager.args(["--node-monitor-grace-period=20s", "--node-monitor-period=2s"]);
        manager
    }

    fn scheduler(&self) -> Command {
        let mut scheduler = Command::new(self.programs.kubernetes("kube-scheduler"));
        scheduler.arg("--kubeconfig").arg(self.pki.kubeconfig("scheduler"));
        scheduler.args(["--bind-address", "127.0.0.1", "--secure-port", &SCHEDULER_PORT.to_string()]);
        scheduler.arg("--leader-elect=false");
        scheduler
    }
}
