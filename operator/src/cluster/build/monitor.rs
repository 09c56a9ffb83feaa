//! A PodMonitor for Prometheus, where its kind is installed.

use fleet::names::port_name;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use serde_json::json;

use super::metadata;
use crate::cluster::validate::ValidatedCluster;

/// The API that must be served for a monitor to be made.
pub const MONITOR_API: (&str, &str, &str) = ("monitoring.coreos.com", "v1", "PodMonitor");

/// How the API server addresses PodMonitors.
pub fn monitor_resource() -> ApiResource {
    let (group, version, kind) = MONITOR_API;
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), "podmonitors")
}

/// Scrapes SFUs and directors: both serve metrics on their health port.
pub fn monitor(cluster: &ValidatedCluster) -> DynamicObject {
    let mut monitor = DynamicObject::new(cluster.identity.name.as_str(), &monitor_resource());
    monitor.metadata = metadata::object(&cluster.identity, cluster.identity.name.to_string(), None);
    monitor.data = json!({
        "spec": {
            "selector": {"matchLabels": metadata::labels(&cluster.identity.name, None)},
            "podMetricsEndpoints": [{"port": port_name::HEALTH, "path": "/metrics"}],
        }
    });
    monitor
}
