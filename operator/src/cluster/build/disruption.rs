//! Disruption budgets: who may be evicted, and when.

use fleet::names::label;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelectorRequirement;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::metadata;
use crate::cluster::validate::ValidatedCluster;

/// Directors go one at a time; not `minAvailable`, which with one replica would keep its node from ever being drained.
///
/// Of SFUs none is evicted, ready or not, but those that carry [`label::EVICTABLE`], which the budget does not select:
/// they are empty and take no calls.
pub fn disruption_budgets(cluster: &ValidatedCluster) -> Vec<PodDisruptionBudget> {
    let budget = |name: String, component, max_unavailable| {
        let mut selector = metadata::label_selector(&cluster.identity.name, component);
        if component == label::COMPONENT_SFU {
            let not_let_go = LabelSelectorRequirement {
                key: label::EVICTABLE.to_owned(),
                operator: "DoesNotExist".to_owned(),
                values: None,
            };
            selector.match_expressions = Some(vec![not_let_go]);
        }
        PodDisruptionBudget {
            metadata: metadata::object(&cluster.identity, name, Some(component)),
            spec: Some(PodDisruptionBudgetSpec {
                max_unavailable: Some(IntOrString::Int(max_unavailable)),
                selector: Some(selector),
                ..PodDisruptionBudgetSpec::default()
            }),
            status: None,
        }
    };
    vec![
        budget(cluster.identity.name.sfu(), label::COMPONENT_SFU, 0),
        budget(cluster.identity.name.director(), label::COMPONENT_DIRECTOR, 1),
    ]
}
