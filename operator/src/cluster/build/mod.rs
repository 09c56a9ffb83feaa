//! Step 3, build: a [`ValidatedCluster`] becomes every object of it; only the certificates' Secrets are built apart,
//! because they need no valid spec. Same input, same bytes; no client, no clock.

mod access;
mod config;
mod director;
mod disruption;
mod history;
mod metadata;
mod monitor;
mod network_policy;
mod secret;
mod service;
mod sfu;
mod toleration;

use std::marker::PhantomData;

use fleet::names::DRAIN_SECONDS;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::core::DynamicObject;
use thiserror::Error;

use crate::cluster::leaving::{Departures, Wanted, plan_departures};
use crate::cluster::revision::{Desired, Plan, Update, plan_revisions};
use crate::cluster::validate::ValidatedCluster;
use crate::hash::short_hash;
use crate::name::Role as FleetRole;
use crate::port::Slot;

pub use history::HISTORY_ENTRY;
pub use metadata::selector;
pub use monitor::{MONITOR_API, monitor_resource};
pub use secret::certificates;
pub use sfu::GRACE_MARGIN_SECONDS;

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
    /// What the forecast has learned; none without a forecast.
    pub history: Option<ConfigMap>,
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
    /// The wanted revision, and how it and others stand.
    pub revision: String,
    pub plan: Plan,
    /// Which SFUs leave.
    pub departures: Departures,
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
        update: Update {
            is_paused: cluster.update.paused,
            deadline_seconds: cluster.update.progress_deadline_seconds.into(),
            was_rolled_back: cluster.rolled_back.as_ref() == Some(&revision),
        },
    };
    let plan = plan_revisions(&cluster.live, &desired);
    let departures = plan_departures(&wanted(cluster, &plan, &revision), &cluster.sfus, cluster.terms, cluster.now);
    let replicas = |revision: &str, slot: Slot, planned: u32| {
        departures.replicas.get(&(revision.to_owned(), slot)).copied().unwrap_or(planned)
    };
    let name = |revision: &str, slot: Slot| cluster.identity.name.sfu_deployment(revision, slot.number());
    let sfu = plan.slot.map(|slot| {
        // Changed for pods that run, it would replace them.
        let patience = cluster.patience.get(&name(&revision, slot)).copied().unwrap_or(cluster.terms.within_seconds);
        sfu::deployment(cluster, &revision, slot, replicas(&revision, slot, cluster.replicas), patience)
    });
    let retired =
        plan.retired.iter().map(|one| (name(&one.revision, one.slot), replicas(&one.revision, one.slot, one.replicas)));
    let retired = retired.collect();
    let config = config::config_map(cluster)?;
    Ok(Objects {
        service_accounts: access::service_accounts(cluster),
        roles: access::roles(cluster),
        role_bindings: access::role_bindings(cluster),
        first_key: secret::first_key(cluster),
        keys_name: cluster.keys.secret_name.clone(),
        history: history::config_map(cluster),
        services: service::services(cluster),
        network_policies: network_policy::network_policies(cluster),
        disruption_budgets: disruption::disruption_budgets(cluster),
        sfu,
        retired,
        director: director::deployment(cluster),
        monitor: cluster.monitor.then(|| monitor::monitor(cluster)),
        config_hash: mounted_hash(cluster, &config)?,
        director_hash: short_hash(&certificate(cluster, FleetRole::Director))?,
        config,
        revision,
        plan,
        departures,
        stage: PhantomData,
    })
}

/// What is wanted of each Deployment of SFUs.
fn wanted(cluster: &ValidatedCluster, plan: &Plan, revision: &str) -> Vec<Wanted> {
    let has = |revision: &str, slot: Slot| {
        let live = cluster.live.iter().find(|one| one.revision == revision && one.slot == slot);
        live.and_then(|one| one.wanted)
    };
    let current = plan.slot.map(|slot| Wanted {
        place: (revision.to_owned(), slot),
        has: has(revision, slot),
        target: cluster.replicas,
        is_current: true,
        free_nodes: cluster.free_nodes[usize::from(slot.number())],
    });
    let retired = plan.retired.iter().map(|one| Wanted {
        place: (one.revision.clone(), one.slot),
        has: has(&one.revision, one.slot),
        target: one.replicas,
        is_current: one.stands_in,
        free_nodes: if one.stands_in { cluster.free_nodes[usize::from(one.slot.number())] } else { 0 },
    });
    current.into_iter().chain(retired).collect()
}

/// The revision of the SFU's pod template: it changes exactly when pods must be replaced. How long they may take to
/// leave is no reason.
fn revision(cluster: &ValidatedCluster) -> Result<String, BuildError> {
    Ok(short_hash(&sfu::pod_template(cluster, "", Slot::ALL[0], DRAIN_SECONDS))?)
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
