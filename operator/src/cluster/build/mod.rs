//! Step 3, build: a [`ValidatedCluster`] becomes every object of it; only the certificates' Secrets are built apart,
//! because they need no valid spec. Same input, same bytes; no client, no clock.

mod access;
mod config;
mod director;
mod disruption;
mod metadata;
mod monitor;
mod network_policy;
mod secret;
mod service;
mod sfu;
mod toleration;

use std::marker::PhantomData;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::core::DynamicObject;
use thiserror::Error;

use crate::cluster::revision::{Desired, Plan, Retired, plan_revisions};
use crate::cluster::validate::ValidatedCluster;
use crate::hash::short_hash;
use crate::name::Role as FleetRole;
use crate::port::Slot;

pub use metadata::selector;
pub use monitor::{MONITOR_API, monitor_resource};
pub use secret::certificates;

/// Objects that are built and not sent.
#[derive(Clone, Copy, Debug)]
pub enum Prepared {}

/// Objects as the API server returned them.
#[derive(Clone, Copy, Debug)]
pub enum Applied {}

/// Every object of a `CallsCluster`. `apply` takes it apart without a rest pattern, and only it makes one that is
/// [`Applied`], which status needs.
#[derive(Clone, Debug)]
pub struct Objects<Stage> {
    pub service_accounts: Vec<ServiceAccount>,
    pub roles: Vec<Role>,
    pub role_bindings: Vec<RoleBinding>,
    /// The first API key: created if there is none, never changed.
    pub first_key: Option<Secret>,
    /// Name of the API keys' Secret, which is no orphan even where it is ours and not to be made.
    pub keys_name: String,
    pub config: ConfigMap,
    pub services: Vec<Service>,
    pub network_policies: Vec<NetworkPolicy>,
    pub disruption_budgets: Vec<PodDisruptionBudget>,
    /// The wanted revision; none while it waits for a slot.
    pub sfu: Option<Deployment>,
    /// Deployments of other revisions that stay for now, by name, with their replicas.
    pub retired: Vec<(String, u32)>,
    pub director: Deployment,
    pub monitor: Option<DynamicObject>,
    /// What the SFU pods' annotation should say.
    pub config_hash: String,
    /// What the directors' pods' annotation should say.
    pub director_hash: String,
    /// How the revisions stand.
    pub plan: Plan,
    pub(in crate::cluster) stage: PhantomData<Stage>,
}

/// A bug: a built value has no JSON form.
#[derive(Debug, Error)]
#[error("failed to serialise a built object")]
pub struct BuildError(#[from] serde_json::Error);

/// Builds everything.
pub fn build(cluster: &ValidatedCluster) -> Result<Objects<Prepared>, BuildError> {
    let revision = revision(cluster)?;
    let desired = Desired {
        revision: &revision,
        replicas: cluster.replicas,
        host_ports: Slot::ALL.map(|slot| cluster.ports.host_ports(slot)),
    };
    let plan = plan_revisions(&cluster.live, &desired);
    let config = config::config_map(cluster)?;
    let retired =
        |one: &Retired| (cluster.identity.name.sfu_deployment(&one.revision, one.slot.number()), one.replicas);
    Ok(Objects {
        service_accounts: access::service_accounts(cluster),
        roles: access::roles(cluster),
        role_bindings: access::role_bindings(cluster),
        first_key: secret::first_key(cluster),
        keys_name: cluster.keys.secret_name.clone(),
        services: service::services(cluster),
        network_policies: network_policy::network_policies(cluster),
        disruption_budgets: disruption::disruption_budgets(cluster),
        sfu: plan.slot.map(|slot| sfu::deployment(cluster, &revision, slot)),
        retired: plan.retired.iter().map(retired).collect(),
        director: director::deployment(cluster),
        monitor: cluster.monitor.then(|| monitor::monitor(cluster)),
        config_hash: mounted_hash(cluster, &config)?,
        director_hash: short_hash(&certificate(cluster, FleetRole::Director))?,
        config,
        plan,
        stage: PhantomData,
    })
}

/// The revision of the SFU's pod template: it changes exactly when pods must be replaced.
fn revision(cluster: &ValidatedCluster) -> Result<String, BuildError> {
    Ok(short_hash(&sfu::pod_template(cluster, "", Slot::ALL[0]))?)
}

/// Changes when a file mounted into SFUs does: configuration, keys or certificate.
fn mounted_hash(cluster: &ValidatedCluster, config: &ConfigMap) -> Result<String, BuildError> {
    Ok(short_hash(&(&config.data, &cluster.keys.hash, certificate(cluster, FleetRole::Sfu)))?)
}

/// What a role shows and whom it trusts.
fn certificate(cluster: &ValidatedCluster, role: FleetRole) -> Option<(&str, &str)> {
    let leaf = cluster.certificates.leaves.get(&role)?;
    Some((&leaf.credential.cert, &leaf.bundle))
}
