//! What the operator reports. Bounded: one entry per SFU up to [`MAX_LISTED_SFUS`], never one per call.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// SFUs listed in the status; of a larger fleet the rest is seen in its pods.
pub const MAX_LISTED_SFUS: usize = 200;

/// What the operator saw last. Conditions are for machines and people; the rest is for people.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CallsClusterStatus {
    /// The `metadata.generation` this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// SFU pods that exist, those being replaced included.
    pub replicas: i32,
    /// SFU pods that take calls.
    pub ready_replicas: i32,
    /// Label selector of the SFU pods, for the scale subresource.
    pub selector: String,
    /// Ready SFUs of wanted SFUs, as `2/2`.
    pub ready: String,
    /// Busy share of the busiest SFU's media threads, in steps of 5 %.
    pub load: String,
    /// Running calls.
    pub calls: u32,
    /// People in calls.
    pub participants: u32,
    /// First address offered to clients, as `address:port`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub address: String,
    /// Version of the SFUs; several while pods are being replaced.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// The SFUs by pod name, at most 200.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["pod"]))]
    pub sfus: Vec<SfuEntry>,
    /// SFUs that leave, by pod name, at most 200.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["pod"]))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub draining: Vec<DrainingEntry>,
    /// What the operator's own autoscaler decided last; absent where it does not decide.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub autoscaler: Option<AutoscalerStatus>,
    /// The change of the SFUs' template that was taken back last; absent once another is wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rolled_back: Option<RolledBackStatus>,
    /// Ready, Progressing, Degraded, Draining, PortsAllocated, AddressResolved, ScalingLimited and AutoscalingConflict.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// What the operator's own autoscaler decided last.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AutoscalerStatus {
    /// SFUs that are wanted.
    pub desired: u32,
    /// Why, with numbers, as `load 71 % > target 60 %: 3 to 4`.
    pub reason: String,
    /// When the number changed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_scale_time: Option<Time>,
}

/// A change of the SFUs' template that was taken back, because its SFUs were not ready in time.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RolledBackStatus {
    /// The template's revision, as in the label `callscluster.io/revision`.
    pub revision: String,
    /// What was wrong when it was taken back.
    pub message: String,
    /// When it was taken back.
    pub time: Time,
}

/// One SFU.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SfuEntry {
    /// Pod name.
    pub pod: String,
    /// Node name, empty while the pod waits for one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub node: String,
    /// Port slot, 0 or 1.
    pub slot: u16,
    /// Address offered to clients first.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub address: String,
    /// Host port of media.
    pub port: u16,
    /// Active, Starting, Draining, Unreachable, or the reason the pod does not run.
    pub state: String,
}

/// One SFU that leaves.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DrainingEntry {
    /// Pod name.
    pub pod: String,
    /// Calls it still has; absent while it does not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calls_left: Option<u32>,
    /// When it was asked to leave.
    pub since: Time,
    /// When what is left is moved all at once.
    pub deadline: Time,
}
