//! Labels, owner and annotations of built objects.

use std::collections::BTreeMap;

use fleet::names::label;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use crate::cluster::identity::Identity;
use crate::name::ClusterName;

/// Metadata of an object of `cluster`: found by label, removed with its owner.
pub fn object(cluster: &Identity, name: String, component: Option<&str>) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(cluster.namespace.clone()),
        labels: Some(labels(&cluster.name, component)),
        owner_references: Some(vec![cluster.owner.clone()]),
        ..ObjectMeta::default()
    }
}

/// The labels of all objects of a cluster, or of those of one component.
pub fn labels(cluster: &ClusterName, component: Option<&str>) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::from([
        (label::NAME.to_owned(), label::NAME_VALUE.to_owned()),
        (label::INSTANCE.to_owned(), cluster.to_string()),
        (label::MANAGED_BY.to_owned(), label::MANAGED_BY_VALUE.to_owned()),
    ]);
    if let Some(component) = component {
        labels.insert(label::COMPONENT.to_owned(), component.to_owned());
    }
    labels
}

/// The labels that select a component's pods; fewer than the pods carry, so that labels can be added.
pub fn selecting(cluster: &ClusterName, component: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        (label::INSTANCE.to_owned(), cluster.to_string()),
        (label::COMPONENT.to_owned(), component.to_owned()),
    ])
}

/// The same as a selector object.
pub fn label_selector(cluster: &ClusterName, component: &str) -> LabelSelector {
    LabelSelector { match_labels: Some(selecting(cluster, component)), match_expressions: None }
}

/// The same as text, as the scale subresource wants it.
pub fn selector(cluster: &ClusterName, component: &str) -> String {
    let pairs: Vec<String> =
        selecting(cluster, component).into_iter().map(|(key, value)| format!("{key}={value}")).collect();
    pairs.join(",")
}
