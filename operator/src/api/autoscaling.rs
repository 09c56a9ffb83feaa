//! `spec.autoscaling`: who decides how many SFUs there are, and how.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who decides how many SFUs there are, and how.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "self.minReplicas <= self.maxReplicas", "message": "autoscaling.minReplicas is more than autoscaling.maxReplicas: lower the one or raise the other"},
    {"rule": "self.schedule.all(entry, entry.minReplicas <= self.maxReplicas)", "message": "an entry of autoscaling.schedule asks for more SFUs than autoscaling.maxReplicas: lower its minReplicas, or raise maxReplicas"},
    {"rule": "size(self.schedule) == 0 || self.mode == 'Target' || self.mode == 'Predictive'", "message": "autoscaling.schedule is read in the modes Target and Predictive only: choose one of them, or remove the schedule"},
]))]
pub struct AutoscalingSpec {
    /// Who writes `sfu.replicas`. `Off`: you. `Target`: the operator, by load. `Predictive`: the operator, by load and a
    /// forecast that only ever adds. `External`: a HorizontalPodAutoscaler or KEDA, through the scale subresource. In YAML
    /// write "Off" with quotes, because many readers of YAML take it for false. Default: "Off". Live.
    pub mode: AutoscalingMode,
    /// Fewest SFUs in the modes Target and Predictive. Default: 1. Live.
    #[schemars(range(min = 1, max = 1000))]
    pub min_replicas: u16,
    /// Most SFUs in the modes Target and Predictive. Default: 10. Live.
    #[schemars(range(min = 1, max = 1000))]
    pub max_replicas: u16,
    /// How busy the media threads of all SFUs together should be, in percent: with more, SFUs are added. Default: 60. Live.
    #[schemars(range(min = 1, max = 100))]
    pub target_load: u16,
    /// Room beyond what the target leaves, for what comes before another SFU is ready.
    pub buffer: BufferSpec,
    /// The forecast of the mode Predictive.
    pub predictive: PredictiveSpec,
    /// Floors by the calendar. From each moment an entry names, as many SFUs are wanted at least, until the next such
    /// moment of any entry. Default: empty. Live.
    #[schemars(length(max = 64))]
    pub schedule: Vec<ScheduleEntry>,
    /// How SFUs are added.
    pub scale_up: ScaleUpSpec,
    /// How SFUs are let go.
    pub scale_down: ScaleDownSpec,
}

impl Default for AutoscalingSpec {
    fn default() -> Self {
        Self {
            mode: AutoscalingMode::Off,
            min_replicas: 1,
            max_replicas: 10,
            target_load: 60,
            buffer: BufferSpec::default(),
            predictive: PredictiveSpec::default(),
            schedule: Vec::new(),
            scale_up: ScaleUpSpec::default(),
            scale_down: ScaleDownSpec::default(),
        }
    }
}

/// Who writes `sfu.replicas`.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AutoscalingMode {
    #[default]
    Off,
    Target,
    Predictive,
    External,
}

/// Room beyond the target.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BufferSpec {
    /// What `value` counts. `Percent`: of the load. `Calls`: calls as large as those that run, on the average. `Pods`:
    /// SFUs. Default: Percent. Live.
    pub r#type: BufferType,
    /// How much. Default: 0, the room that the target leaves is enough. Live.
    #[schemars(range(max = 1000))]
    pub value: u16,
}

/// What a buffer counts.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum BufferType {
    #[default]
    Percent,
    Calls,
    Pods,
}

/// The forecast.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PredictiveSpec {
    /// How far the forecast looks ahead, in seconds: as long as an SFU takes until it serves, with its node if that has to
    /// come first. Default: 300. Live.
    #[schemars(range(min = 30, max = 3600))]
    pub horizon_seconds: u16,
}

impl Default for PredictiveSpec {
    fn default() -> Self {
        Self { horizon_seconds: 300 }
    }
}

/// One floor.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleEntry {
    /// When it begins: minute, hour, day of the month, month, day of the week. Example: `0 8 * * 1-5`. Live.
    #[schemars(length(min = 9, max = 100))]
    pub cron: String,
    /// Whose clock `cron` reads, by its name in the time zone database. Example: Europe/Berlin. Default: UTC. Live.
    #[schemars(length(min = 1, max = 64))]
    #[serde(default = "utc")]
    pub time_zone: String,
    /// Fewest SFUs from then on. Live.
    #[schemars(range(min = 1, max = 1000))]
    pub min_replicas: u16,
}

fn utc() -> String {
    "UTC".to_owned()
}

/// How SFUs are added.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScaleUpSpec {
    /// Most SFUs added within a minute. Default: 10. Live.
    #[schemars(range(min = 1, max = 1000))]
    pub max_pods_per_minute: u16,
}

impl Default for ScaleUpSpec {
    fn default() -> Self {
        Self { max_pods_per_minute: 10 }
    }
}

/// How SFUs are let go.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScaleDownSpec {
    /// For how many seconds fewer SFUs must do before some leave. Default: 300. Live.
    #[schemars(range(max = 3600))]
    pub stabilization_seconds: u16,
}

impl Default for ScaleDownSpec {
    fn default() -> Self {
        Self { stabilization_seconds: 300 }
    }
}
