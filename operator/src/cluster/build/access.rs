//! Service accounts and what they may do: SFUs nothing, directors see where the SFUs are.

use fleet::names::label;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject};

use super::metadata;
use crate::cluster::validate::ValidatedCluster;

pub fn service_accounts(cluster: &ValidatedCluster) -> Vec<ServiceAccount> {
    let account = |name: String, component| ServiceAccount {
        metadata: metadata::object(&cluster.identity, name, Some(component)),
        // Pods that need the token ask for it themselves.
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    };
    vec![
        account(cluster.identity.name.sfu(), label::COMPONENT_SFU),
        account(cluster.identity.name.director(), label::COMPONENT_DIRECTOR),
    ]
}

pub fn roles(cluster: &ValidatedCluster) -> Vec<Role> {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    vec![Role {
        metadata: metadata::object(
            &cluster.identity,
            cluster.identity.name.director(),
            Some(label::COMPONENT_DIRECTOR),
        ),
        rules: Some(vec![PolicyRule {
            api_groups: Some(words(&["discovery.k8s.io"])),
            resources: Some(words(&["endpointslices"])),
            verbs: words(&["list", "watch"]),
            ..PolicyRule::default()
        }]),
    }]
}

pub fn role_bindings(cluster: &ValidatedCluster) -> Vec<RoleBinding> {
    let name = cluster.identity.name.director();
    vec![RoleBinding {
        metadata: metadata::object(&cluster.identity, name.clone(), Some(label::COMPONENT_DIRECTOR)),
        role_ref: RoleRef {
            api_group: "rbac.authorization.k8s.io".to_owned(),
            kind: "Role".to_owned(),
            name: name.clone(),
        },
        subjects: Some(vec![Subject {
            kind: "ServiceAccount".to_owned(),
            name,
            namespace: Some(cluster.identity.namespace.clone()),
            api_group: None,
        }]),
    }]
}
