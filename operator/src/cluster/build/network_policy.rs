//! Network policy of the director: its two ports and no other.
//!
//! There is none for SFUs: whether a policy reaches pods on the host network depends on the network plugin, so their
//! control port is guarded by client certificates. What the director may call is not limited, because the port of the API
//! server differs from cluster to cluster.

use fleet::names::label;
use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPort, NetworkPolicySpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::metadata;
use crate::cluster::validate::ValidatedCluster;
use crate::port::{DIRECTOR_HEALTH_PORT, DIRECTOR_HTTP_PORT};

pub fn network_policies(cluster: &ValidatedCluster) -> Vec<NetworkPolicy> {
    let port = |number: u16| NetworkPolicyPort {
        port: Some(IntOrString::Int(i32::from(number))),
        protocol: Some("TCP".to_owned()),
        end_port: None,
    };
    vec![NetworkPolicy {
        metadata: metadata::object(
            &cluster.identity,
            cluster.identity.name.director(),
            Some(label::COMPONENT_DIRECTOR),
        ),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(metadata::label_selector(&cluster.identity.name, label::COMPONENT_DIRECTOR)),
            policy_types: Some(vec!["Ingress".to_owned()]),
            ingress: Some(vec![NetworkPolicyIngressRule {
                ports: Some(vec![port(DIRECTOR_HTTP_PORT), port(DIRECTOR_HEALTH_PORT)]),
                from: None,
            }]),
            egress: None,
        }),
    }]
}
