//! What the forecast has learned, kept for an operator that starts anew.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;

use super::metadata;
use crate::cluster::validate::ValidatedCluster;

/// The entry of the ConfigMap.
pub const HISTORY_ENTRY: &str = "history";

pub fn config_map(cluster: &ValidatedCluster) -> Option<ConfigMap> {
    let learned = cluster.scaled.as_ref().and_then(|scaled| scaled.history.as_ref());
    let text = learned.or(cluster.kept_history.as_ref())?.clone();
    Some(ConfigMap {
        metadata: metadata::object(&cluster.identity, cluster.identity.name.forecast(), None),
        data: Some(BTreeMap::from([(HISTORY_ENTRY.to_owned(), text)])),
        ..ConfigMap::default()
    })
}
