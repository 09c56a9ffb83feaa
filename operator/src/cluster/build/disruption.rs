//! Disruption budgets: one pod of a kind at a time.

use fleet::names::label;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::metadata;
use crate::cluster::validate::ValidatedCluster;

/// Not `minAvailable`: with one replica that would keep its node from ever being drained.
pub fn disruption_budgets(cluster: &ValidatedCluster) -> Vec<PodDisruptionBudget> {
    let budget = |name: String, component| PodDisruptionBudget {
        metadata: metadata::object(&cluster.identity, name, Some(component)),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(metadata::label_selector(&cluster.identity.name, component)),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    };
    vec![
        budget(cluster.identity.name.sfu(), label::COMPONENT_SFU),
        budget(cluster.identity.name.director(), label::COMPONENT_DIRECTOR),
    ]
}
