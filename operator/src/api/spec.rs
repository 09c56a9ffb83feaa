//! `CallsCluster` and its spec.
//!
//! Every field says its unit, its default and what a change does: *live* reaches running SFUs within seconds and
//! disturbs nobody, *replaces pods* starts new SFUs beside the old ones and drains those.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Affinity, LocalObjectReference, Toleration};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::autoscaling::AutoscalingSpec;
use super::status::CallsClusterStatus;

/// What a fleet of SFUs should be. `spec: {}` gives one SFU on port 8443 of one node, with its page and a random API
/// key.
#[derive(CustomResource, JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "callscluster.io",
    version = "v1alpha1",
    kind = "CallsCluster",
    plural = "callsclusters",
    shortname = "calls",
    shortname = "cc",
    category = "all",
    namespaced,
    derive = "PartialEq",
    status = "CallsClusterStatus",
    doc = "A company's calls: SFUs on host ports, the director in front of them, the page they serve.",
    scale(
        spec_replicas_path = ".spec.sfu.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.ready", description = "Ready SFUs of wanted SFUs"),
    printcolumn(name = "Load", type_ = "string", json_path = ".status.load", description = "Busy share of the busiest SFU's media threads"),
    printcolumn(name = "Calls", type_ = "integer", json_path = ".status.calls", description = "Running calls"),
    printcolumn(name = "People", type_ = "integer", json_path = ".status.participants", description = "People in calls"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Address", type_ = "string", json_path = ".status.address", priority = 1, description = "First address offered to clients"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.version", priority = 1, description = "Version of the SFUs"),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#, priority = 1, description = "Reason of the condition Ready"),
    validation = Rule::new("size(self.metadata.name) <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("metadata.name names Services too: use at most 40 lower-case letters, digits and dashes, beginning with a letter"),
    validation = Rule::new("!self.metadata.name.endsWith('-sfu')")
        .message("metadata.name must not end in -sfu, because NAME-sfu is the Service of the SFUs of NAME: choose another name")
)]
#[serde(rename_all = "camelCase", default)]
pub struct CallsClusterSpec {
    /// The SFUs: how many, which image, where.
    pub sfu: SfuSpec,
    /// Who decides how many SFUs there are, and how.
    pub autoscaling: AutoscalingSpec,
    /// Host ports, and the addresses clients are told.
    pub network: NetworkSpec,
    /// API keys.
    pub auth: AuthSpec,
    /// How SFUs are replaced when what they are made of changes.
    pub update: UpdateSpec,
    /// The page people join from.
    pub page: PageSpec,
    /// What SFUs forward.
    pub media: MediaSpec,
    /// Logs and metrics.
    pub observability: ObservabilitySpec,
}

/// The SFUs.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SfuSpec {
    /// Full image reference of the SFU. Default: empty, the one that belongs to the operator's release. Replaces pods.
    #[schemars(length(max = 512))]
    pub image: String,
    /// Number of SFUs. One SFU of a CallsCluster fits on a node, two while pods are being replaced. Whoever
    /// `autoscaling.mode` names writes it: leave it out of manifests then. Default: 1. Live.
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: i32,
    /// What becomes of the calls of an SFU that leaves, because fewer are wanted or another replaces it. `Move`: they
    /// go to other SFUs one by one, small ones first; people in them reconnect. `Wait`: they go on until they end. In
    /// either case it takes no new calls, and people may join those it has. Calls of an SFU on a cordoned node move.
    /// Default: Move. Live.
    pub drain: DrainMode,
    /// Seconds an SFU that leaves may take; calls that are left then are moved all at once. A pod's grace period is
    /// that of the time its template was made, and 15 seconds. Default: 480. Live.
    #[schemars(range(min = 1, max = 3600))]
    pub drain_timeout_seconds: u16,
    /// CPU and memory of one SFU. Default: requests of 250m CPU and 256Mi, a limit of 1Gi memory. Replaces pods.
    pub resources: Resources,
    /// Where SFU pods run and what they carry. Default: empty. Replaces pods.
    pub pod_template: PodTemplate,
}

impl Default for SfuSpec {
    fn default() -> Self {
        Self {
            image: String::new(),
            replicas: 1,
            drain: DrainMode::Move,
            drain_timeout_seconds: u16::try_from(fleet::names::DRAIN_SECONDS).unwrap_or(u16::MAX),
            resources: Resources::default(),
            pod_template: PodTemplate::default(),
        }
    }
}

/// What becomes of the calls of an SFU that leaves.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DrainMode {
    #[default]
    Move,
    Wait,
}

/// CPU and memory of one pod. Giving either part replaces the default of both.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    /// What the scheduler sets aside. Default: nothing, once `resources` is given. Replaces pods.
    #[serde(default)]
    pub requests: ResourceAmounts,
    /// What the pod may not exceed. No CPU limit is advised: throttling is heard. Default: nothing, once `resources` is
    /// given. Replaces pods.
    #[serde(default)]
    pub limits: ResourceAmounts,
}

impl Default for Resources {
    fn default() -> Self {
        Self {
            requests: ResourceAmounts {
                cpu: Some(Quantity("250m".to_owned())),
                memory: Some(Quantity("256Mi".to_owned())),
            },
            limits: ResourceAmounts { cpu: None, memory: Some(Quantity("1Gi".to_owned())) },
        }
    }
}

/// Amounts of CPU and memory.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceAmounts {
    /// CPUs, for example `2` or `500m`. Default: none. Replaces pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Quantity>,
    /// Bytes, for example `512Mi`. Default: none. Replaces pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Quantity>,
}

/// The part of the SFU's pod template that is yours; the rest (host network, ports, security) is the operator's.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodTemplate {
    /// Labels a node must have. Default: none. Replaces pods.
    #[schemars(extend("maxProperties" = 64))]
    pub node_selector: BTreeMap<String, String>,
    /// Taints SFU pods tolerate. Default: 30 seconds of a node that is not ready or unreachable, which is added to a list
    /// that does not name those taints. Replaces pods.
    #[schemars(length(max = 64))]
    pub tolerations: Vec<Toleration>,
    /// Affinity of SFU pods. Default: none; pods are spread over nodes in any case. Replaces pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// Secrets of this namespace with credentials for the registry of the SFU's image, by name. Default: those of the
    /// chart's `sfu.imagePullSecrets`. Replaces pods.
    #[schemars(length(max = 16))]
    pub image_pull_secrets: Vec<LocalObjectReference>,
    /// Annotations of SFU pods. Default: none. Replaces pods.
    #[schemars(extend("maxProperties" = 64))]
    #[schemars(extend("x-kubernetes-validations" = [{"rule": "self.all(key, !key.startsWith('callscluster.io/'))", "message": "annotations under callscluster.io/ belong to the operator: remove them from sfu.podTemplate.annotations"}]))]
    pub annotations: BTreeMap<String, String>,
}

/// Ports and addresses.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [{"rule": "self.mediaPorts.from + 1 < self.controlPorts.from || self.controlPorts.from + 3 < self.mediaPorts.from", "message": "network.mediaPorts takes the two ports from `from`, network.controlPorts the four from `from`, and these overlap: move one of them away from the other"}]))]
pub struct NetworkSpec {
    /// How media reaches the SFUs. `HostNetwork`: UDP and TCP ports of the node. Default: HostNetwork. Replaces pods.
    pub mode: NetworkMode,
    /// Host ports of media. Replaces pods.
    pub media_ports: MediaPorts,
    /// Media over TCP, for clients that get no UDP through.
    pub tcp: TcpSpec,
    /// Host ports of signalling, fleet API, probes and metrics. Replaces pods.
    pub control_ports: ControlPorts,
    /// Which address clients are told to send media to.
    pub advertise: AdvertiseSpec,
}

/// How media reaches the SFUs.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum NetworkMode {
    #[default]
    HostNetwork,
}

/// Host ports of media, UDP and TCP on the same number.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MediaPorts {
    /// First of two host ports; the second serves while pods are being replaced. Open both in the firewall, UDP and
    /// TCP. Default: 8443. Replaces pods.
    #[schemars(extend("x-kubernetes-validations" = [{"rule": "self >= 1024 && self <= 65534", "message": "network.mediaPorts.from must be between 1024 and 65534: SFUs take this port and the next, and run without the right to bind ports below 1024"}]))]
    pub from: u16,
}

impl Default for MediaPorts {
    fn default() -> Self {
        Self { from: 8443 }
    }
}

/// Media over TCP.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TcpSpec {
    /// Whether SFUs take media over TCP, on the number of the UDP port. Default: true. Replaces pods.
    pub enabled: bool,
}

impl Default for TcpSpec {
    fn default() -> Self {
        Self { enabled: true }
    }
}

/// Host ports of everything that is not media.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ControlPorts {
    /// First of four host ports (TCP): HTTPS and probes of each of the two slots. Only the cluster needs to reach them.
    /// Default: 9443. Replaces pods.
    #[schemars(extend("x-kubernetes-validations" = [{"rule": "self >= 1024 && self <= 65532", "message": "network.controlPorts.from must be between 1024 and 65532: SFUs take this port and the next three, and run without the right to bind ports below 1024"}]))]
    pub from: u16,
}

impl Default for ControlPorts {
    fn default() -> Self {
        Self { from: 9443 }
    }
}

/// Which address clients are told. The first source of `order` that answers for an SFU's node wins.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "!self.order.all(source, source == 'Override') || self.override != '' || size(self.perNode) > 0", "message": "network.advertise.order names only Override, but there is none: set network.advertise.override or perNode, or add another source"},
    {"rule": "!self.order.all(source, source == 'STUN') || size(self.stun.servers) > 0", "message": "network.advertise.order names only STUN, but there is no server to ask: set network.advertise.stun.servers, or add another source"},
]))]
pub struct AdvertiseSpec {
    /// Sources of an SFU's address, most preferred first. Default: Override, NodeAnnotation, NodeExternalIP, STUN,
    /// NodeInternalIP. Live.
    #[schemars(length(min = 1, max = 5), extend("x-kubernetes-list-type" = "set"))]
    pub order: Vec<Source>,
    /// An IPv4 address or DNS name for all SFUs, or `external/internal` pairs separated by commas: the SFU on the node with
    /// that internal address advertises the external one. Example: `203.0.113.7/10.0.0.7,203.0.113.8/10.0.0.8`.
    /// Default: empty. Live.
    #[schemars(length(max = 4096))]
    pub r#override: String,
    /// Addresses of single nodes; they win over `override`. Default: none. Live.
    #[schemars(length(max = 500), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["node"]))]
    pub per_node: Vec<NodeOverride>,
    /// Servers that tell an SFU its public address.
    pub stun: StunSpec,
}

impl Default for AdvertiseSpec {
    fn default() -> Self {
        Self {
            order: vec![
                Source::Override,
                Source::NodeAnnotation,
                Source::NodeExternalIp,
                Source::Stun,
                Source::NodeInternalIp,
            ],
            r#override: String::new(),
            per_node: Vec::new(),
            stun: StunSpec::default(),
        }
    }
}

/// Where an SFU's address comes from: `Override` (override and perNode), `NodeAnnotation` (`callscluster.io/address` on
/// the Node), `NodeExternalIP`, `STUN`, `NodeInternalIP`.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Source {
    Override,
    NodeAnnotation,
    #[serde(rename = "NodeExternalIP")]
    NodeExternalIp,
    #[serde(rename = "STUN")]
    Stun,
    #[serde(rename = "NodeInternalIP")]
    NodeInternalIp,
}

/// The address of one node's SFU.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeOverride {
    /// Name of the Node. Live.
    #[schemars(length(min = 1, max = 253))]
    pub node: String,
    /// IPv4 address or DNS name. Live.
    #[schemars(length(min = 1, max = 253))]
    pub address: String,
}

/// STUN, used only to find an SFU's public address.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StunSpec {
    /// Servers as `host:port`. An empty list switches STUN off. Default: empty. Live.
    #[schemars(length(max = 8), inner(length(max = 262)), extend("x-kubernetes-list-type" = "set"))]
    #[schemars(extend("x-kubernetes-validations" = [{"rule": r"self.all(server, server.matches('^([A-Za-z0-9._-]+|\\[[0-9A-Fa-f:.]+\\]):[0-9]{1,5}$'))", "message": "network.advertise.stun.servers: write each server as host:port, for example stun.example.com:3478"}]))]
    pub servers: Vec<String>,
}

/// API keys: who may make tokens.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AuthSpec {
    /// Name of a Secret in this namespace whose entries are API keys: the name of an entry is the key, its value the
    /// secret. Default: empty, the operator makes the Secret `NAME-keys` with one random key, and
    /// leaves it there for as long as the CallsCluster exists. Changing the name replaces pods; changing the Secret's
    /// content is live.
    #[schemars(length(max = 253))]
    pub secret_name: String,
}

/// The page people join from.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PageSpec {
    /// Whether SFUs serve the page. Default: true. Live.
    pub enabled: bool,
    /// Who may join from it. `Open`: anyone who reaches the page, by name. `Token`: only with an invitation made by
    /// `calls-operator link`. Default: Token. Live.
    pub access: PageAccess,
}

impl Default for PageSpec {
    fn default() -> Self {
        Self { enabled: true, access: PageAccess::Token }
    }
}

/// Who may join from the page.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PageAccess {
    Open,
    #[default]
    Token,
}

/// What SFUs forward.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MediaSpec {
    /// Number of microphones of one call that are forwarded at once: those who spoke last, from their first word on. It
    /// bounds what a large call costs; calls with no more open microphones are forwarded as they are. 0 means all.
    /// Shared sound and clients that do not tell how loud they are do not count. Default: 10. Live.
    #[schemars(range(max = 1000))]
    pub max_active_speakers: u16,
}

impl Default for MediaSpec {
    fn default() -> Self {
        Self { max_active_speakers: fleet::config::MediaConfig::default().max_active_speakers }
    }
}

/// How SFUs are replaced when what they are made of changes: new ones start beside the old ones, and once all are ready,
/// the old ones leave.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UpdateSpec {
    /// Whether new SFUs wait: none are started, and those that are not ready yet are taken back. The old ones serve on.
    /// Once they have begun to leave, they go. Default: false. Live.
    pub paused: bool,
    /// Seconds the new SFUs may take to become ready. After that they are taken back and not tried again until the spec
    /// changes, or `paused` has been true for a moment. Default: 600. Live.
    #[schemars(range(min = 10, max = 7200))]
    pub progress_deadline_seconds: u16,
}

impl Default for UpdateSpec {
    fn default() -> Self {
        Self { paused: false, progress_deadline_seconds: 600 }
    }
}

/// Logs and metrics.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObservabilitySpec {
    /// Whether the operator makes a PodMonitor for Prometheus. `Auto`: where the kind is installed. `Never`: not. Default:
    /// Auto. Live.
    pub monitors: Monitors,
    /// How much SFUs and director log: `Error`, `Warn`, `Info`, `Debug` or `Trace`. Default: Info. Replaces pods.
    pub log_level: LogLevel,
}

/// Whether a PodMonitor is made.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Monitors {
    #[default]
    Auto,
    Never,
}

/// How much is logged.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    /// The directive of `RUST_LOG`.
    pub fn directive(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}
