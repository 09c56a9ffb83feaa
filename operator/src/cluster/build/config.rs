//! The SFU's configuration file.

use std::collections::BTreeMap;

use fleet::names::{label, path};
use k8s_openapi::api::core::v1::ConfigMap;

use super::metadata;
use crate::cluster::validate::ValidatedCluster;

pub fn config_map(cluster: &ValidatedCluster) -> Result<ConfigMap, serde_json::Error> {
    let text = serde_json::to_string_pretty(&cluster.config)?;
    Ok(ConfigMap {
        metadata: metadata::object(&cluster.identity, cluster.identity.name.sfu(), Some(label::COMPONENT_SFU)),
        data: Some(BTreeMap::from([(path::CONFIG_FILE.to_owned(), text)])),
        ..ConfigMap::default()
    })
}
