//! Values for tests: a `CallsCluster` named `blue` in namespace `red`, so that a swapped name or label shows.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;

use fleet::api::{SfuLoad, SfuState, SfuStatus};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Pod, Secret};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::build::{Applied, Objects, Prepared, build, certificates};
use super::dereference::{Dereferenced, KeysFound};
use super::identity::Identity;
use super::issue::Issued;
use super::validate::{Image, Images, ValidatedCluster, ValidationError, validate};
use crate::api::CallsCluster;
use crate::certificates::{Authority, Credential, FleetCertificates, Leaf, Stored};
use crate::name::Role;

pub fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

pub fn images() -> Images {
    let image = |reference: &str| Image { reference: reference.into(), pull_secrets: Vec::new() };
    Images { sfu: image("registry.example/sfu:1"), director: image("registry.example/director:1") }
}

/// `blue` with this spec.
pub fn cluster(spec: &Value) -> CallsCluster {
    serde_json::from_value(json!({
        "apiVersion": "callscluster.io/v1alpha1",
        "kind": "CallsCluster",
        "metadata": {"name": "blue", "namespace": "red", "uid": "7e57", "generation": 3},
        "spec": spec,
    }))
    .unwrap()
}

/// Nothing but the operator's own API keys.
pub fn found() -> Dereferenced {
    Dereferenced {
        keys: KeysFound::Own(keys("blue-keys")),
        certificates: Stored::default(),
        nodes: Vec::new(),
        deployments: Vec::new(),
        director: None,
        sfu_pods: Vec::new(),
        director_pods: Vec::new(),
        reports: BTreeMap::new(),
        autoscalers: Vec::new(),
        history: None,
        monitors_installed: false,
    }
}

pub fn keys(name: &str) -> Secret {
    let mut secret = Secret::default();
    secret.metadata.name = Some(name.into());
    secret.data = Some([("APIblue".into(), ByteString(b"0123456789abcdef0123456789abcdef".to_vec()))].into());
    secret
}

/// Words where certificates would be, so that what is built from them can be compared.
pub fn issued() -> Issued {
    let credential = |who: &str| Credential { cert: format!("certificate of {who}\n"), key: format!("key of {who}\n") };
    let authority = Authority { current: credential("the authority"), previous: None };
    let leaf = |role: Role| (role, Leaf { credential: credential(role.word()), bundle: authority.bundle() });
    let leaves = Role::ALL.into_iter().map(leaf).collect();
    Issued { certificates: FleetCertificates { authority, leaves }, first_key: None }
}

pub fn try_validated(spec: &Value, found: &Dereferenced) -> Result<ValidatedCluster, ValidationError> {
    validate(&cluster(spec), found, issued(), &images(), now())
}

pub fn validated(spec: &Value, found: &Dereferenced) -> ValidatedCluster {
    try_validated(spec, found).unwrap()
}

pub fn built(spec: &Value, found: &Dereferenced) -> Objects<Prepared> {
    build(&validated(spec, found)).unwrap()
}

/// The objects as an API server returns them once `director_ready` directors are.
pub fn applied(objects: Objects<Prepared>, director_ready: i32) -> Objects<Applied> {
    let mut director = objects.director;
    director.status.get_or_insert_default().ready_replicas = Some(director_ready);
    Objects {
        service_accounts: objects.service_accounts,
        roles: objects.roles,
        role_bindings: objects.role_bindings,
        first_key: objects.first_key,
        keys_name: objects.keys_name,
        config: objects.config,
        history: objects.history,
        services: objects.services,
        network_policies: objects.network_policies,
        disruption_budgets: objects.disruption_budgets,
        sfu: objects.sfu,
        revision: objects.revision,
        retired: objects.retired,
        director,
        monitor: objects.monitor,
        config_hash: objects.config_hash,
        director_hash: objects.director_hash,
        plan: objects.plan,
        departures: objects.departures,
        stage: PhantomData,
    }
}

/// A ready SFU pod of `revision` in slot 0.
pub fn sfu_pod(name: &str, revision: &str) -> Arc<Pod> {
    let pod = json!({
        "metadata": {"name": name, "namespace": "red", "labels": {
            "app.kubernetes.io/instance": "blue",
            "app.kubernetes.io/component": "sfu",
            "app.kubernetes.io/managed-by": "calls-operator",
            "callscluster.io/revision": revision,
            "callscluster.io/slot": "0",
        }},
        "spec": {"nodeName": "node-a", "containers": [{"name": "sfu", "ports": [
            {"name": "media", "containerPort": 8443, "hostPort": 8443, "protocol": "UDP"},
            {"name": "control", "containerPort": 9443, "hostPort": 9443},
        ]}]},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
    });
    Arc::new(serde_json::from_value(pod).unwrap())
}

/// Ready SFUs that report these loads.
pub fn reporting(loads: &[(&str, SfuLoad)]) -> Dereferenced {
    let report = |(name, load): &(&str, SfuLoad)| {
        let report = SfuStatus {
            name: (*name).into(),
            node: "node-a".into(),
            version: "1.2.3".into(),
            state: SfuState::Active,
            candidates: Vec::new(),
            address_problem: None,
            load: *load,
            drain: None,
            can_drain: true,
        };
        ((*name).to_owned(), Ok(report))
    };
    Dereferenced {
        sfu_pods: loads.iter().map(|(name, _)| sfu_pod(name, "r")).collect(),
        reports: loads.iter().map(report).collect(),
        ..found()
    }
}

/// All objects as YAML documents, in the order they are applied.
pub fn yaml(objects: &Objects<Prepared>) -> String {
    // No rest pattern: an object that is not in the snapshots does not compile.
    let Objects {
        service_accounts,
        roles,
        role_bindings,
        first_key,
        keys_name: _,
        config,
        history,
        services,
        network_policies,
        disruption_budgets,
        sfu,
        revision: _,
        retired: _,
        director,
        monitor,
        config_hash: _,
        director_hash: _,
        plan: _,
        departures: _,
        stage: _,
    } = objects;
    // Applied in a step of their own, and shown with the rest.
    let identity = Identity::of(&cluster(&json!({}))).unwrap();
    let mut objects: Vec<Value> = Vec::new();
    objects.extend(service_accounts.iter().map(|one| json!(one)));
    objects.extend(roles.iter().map(|one| json!(one)));
    objects.extend(role_bindings.iter().map(|one| json!(one)));
    objects.extend(first_key.iter().map(|one| json!(one)));
    objects.extend(certificates(&identity, &issued().certificates).iter().map(|one| json!(one)));
    objects.push(json!(config));
    objects.extend(history.iter().map(|one| json!(one)));
    objects.extend(services.iter().map(|one| json!(one)));
    objects.extend(network_policies.iter().map(|one| json!(one)));
    objects.extend(disruption_budgets.iter().map(|one| json!(one)));
    objects.extend(monitor.iter().map(|one| json!(one)));
    objects.push(json!(director));
    objects.extend(sfu.iter().map(|one| json!(one)));
    let documents: Vec<String> = objects.iter().map(|object| serde_saphyr::to_string(object).unwrap()).collect();
    documents.join("---\n")
}
