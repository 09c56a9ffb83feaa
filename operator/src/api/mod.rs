//! The custom resource, version `v1alpha1`: what a platform engineer writes and reads.
//!
//! The types here are the source of `crds/callsclusters.yaml` (`calls-operator crd` prints it, a test compares).

mod autoscaling;
pub mod schema;
mod spec;
mod status;

pub use autoscaling::{
    AutoscalingMode, AutoscalingSpec, BufferSpec, BufferType, PredictiveSpec, ScaleDownSpec, ScaleUpSpec, ScheduleEntry,
};
pub use spec::{
    AdvertiseSpec, AuthSpec, CallsCluster, CallsClusterSpec, ControlPorts, DrainMode, LogLevel, MediaPorts, MediaSpec,
    Monitors, NetworkMode, NetworkSpec, NodeOverride, ObservabilitySpec, PageAccess, PageSpec, PodTemplate,
    ResourceAmounts, Resources, SfuSpec, Source, StunSpec, TcpSpec, UpdateSpec,
};
pub use status::{AutoscalerStatus, CallsClusterStatus, DrainingEntry, MAX_LISTED_SFUS, RolledBackStatus, SfuEntry};

/// API group of the custom resource.
pub const GROUP: &str = "callscluster.io";
