//! Step 1, dereference: reads everything that deciding needs, and decides nothing.
//!
//! In: a `CallsCluster`, the caches, the API server for a Secret named in the spec, and the SFUs themselves for how they
//! are. Out: values.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use fleet::api::SfuStatus;
use fleet::names::{label, port_name};
use futures_util::future::join_all;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod, Secret};
use kube::{Api, Client, Resource as _, ResourceExt as _};
use thiserror::Error;
use tracing::debug;

use crate::address::NodeFacts;
use crate::api::{CallsCluster, GROUP};
use crate::certificates::{Authority, CA_CERT, CA_KEY, CA_PREVIOUS, Credential, Leaf, Stored};
use crate::cluster::build::HISTORY_ENTRY;
use crate::cluster::identity::Identity;
use crate::fleet_client::FleetClient;
use crate::name::{ClusterName, Role};
use crate::watch::{Stores, of_cluster};

/// The API keys' Secret.
#[derive(Clone, Debug)]
pub enum KeysFound {
    /// The operator's own, as stored.
    Own(Secret),
    /// The operator's own, not made yet.
    OwnMissing,
    /// The one the spec names.
    Named(Secret),
    /// The spec names one that is not there.
    NamedMissing(String),
}

/// How one SFU answered; the error is for people.
pub type Report = Result<SfuStatus, String>;

/// What was read.
#[derive(Clone, Debug)]
pub struct Dereferenced {
    pub keys: KeysFound,
    pub certificates: Stored,
    pub nodes: Vec<NodeFacts>,
    /// SFU Deployments, every revision.
    pub deployments: Vec<Arc<Deployment>>,
    /// The director's Deployment, if there.
    pub director: Option<Arc<Deployment>>,
    /// SFU pods, terminating ones included, sorted by name.
    pub sfu_pods: Vec<Arc<Pod>>,
    pub director_pods: Vec<Arc<Pod>>,
    /// By pod name, for every SFU that should be reachable.
    pub reports: BTreeMap<String, Report>,
    /// HorizontalPodAutoscalers that scale this CallsCluster, by name; KEDA makes such.
    pub autoscalers: Vec<String>,
    /// What the forecast had learned when it was written last.
    pub history: Option<String>,
    /// Whether PodMonitors exist in this Kubernetes.
    pub monitors_installed: bool,
}

/// Why something could not be read; trying again may help.
#[derive(Debug, Error)]
pub enum DereferenceError {
    #[error("failed to read Secret {0}")]
    Secret(String, #[source] kube::Error),
}

/// Reads what `cluster` names and what is there of it.
pub async fn dereference(
    cluster: &CallsCluster,
    identity: &Identity,
    stores: &Stores,
    client: &Client,
    monitors_installed: bool,
) -> Result<Dereferenced, DereferenceError> {
    let Identity { name, namespace, .. } = identity;
    let secrets = || of_cluster(&stores.secrets, namespace, name.as_str());
    let pods = || -> (Vec<Arc<Pod>>, Vec<Arc<Pod>>) {
        let pods = of_cluster(&stores.pods, namespace, name.as_str());
        pods.into_iter().partition(|pod| component(pod.as_ref()) == label::COMPONENT_SFU)
    };
    // What takes time comes first. The caches are read after it: a Secret that was deleted meanwhile must not be made
    // again as it was, because somebody may have seen what is in it.
    let (asked, _) = pods();
    let reports = ask(stored_certificates(name, &secrets()).leaves.get(&Role::Operator), &asked).await;
    let keys = keys(cluster, name, &secrets(), namespace, client).await?;
    let deployments = of_cluster(&stores.deployments, namespace, name.as_str());
    let (sfu_pods, director_pods) = pods();
    Ok(Dereferenced {
        keys,
        nodes: nodes(&stores.nodes.state(), &cluster.spec.sfu.pod_template.node_selector),
        director: deployments.iter().find(|one| component(one.as_ref()) == label::COMPONENT_DIRECTOR).cloned(),
        deployments: deployments.into_iter().filter(|one| component(one.as_ref()) == label::COMPONENT_SFU).collect(),
        reports,
        certificates: stored_certificates(name, &secrets()),
        sfu_pods,
        director_pods,
        autoscalers: autoscalers_of(&stores.autoscalers.state(), namespace, name.as_str()),
        history: stored_history(&of_cluster(&stores.config_maps, namespace, name.as_str()), name),
        monitors_installed,
    })
}

/// Those that name the `CallsCluster` as what they scale, sorted.
fn autoscalers_of(all: &[Arc<HorizontalPodAutoscaler>], namespace: &str, name: &str) -> Vec<String> {
    let is_of_ours = |one: &&Arc<HorizontalPodAutoscaler>| {
        let target = one.spec.as_ref().map(|spec| &spec.scale_target_ref);
        one.namespace().as_deref() == Some(namespace)
            && target.is_some_and(|target| {
                let group = target.api_version.as_deref().and_then(|version| version.split_once('/'));
                target.name == name
                    && target.kind == CallsCluster::kind(&())
                    && group.is_some_and(|(group, _)| group == GROUP)
            })
    };
    let mut names: Vec<String> = all.iter().filter(is_of_ours).map(|one| one.name_any()).collect();
    names.sort();
    names
}

fn stored_history(config_maps: &[Arc<ConfigMap>], name: &ClusterName) -> Option<String> {
    let stored = config_maps.iter().find(|one| one.name_any() == name.forecast())?;
    stored.data.as_ref()?.get(HISTORY_ENTRY).cloned()
}

fn component<K: kube::Resource>(object: &K) -> &str {
    object.labels().get(label::COMPONENT).map_or("", String::as_str)
}

async fn keys(
    cluster: &CallsCluster,
    name: &ClusterName,
    own: &[Arc<Secret>],
    namespace: &str,
    client: &Client,
) -> Result<KeysFound, DereferenceError> {
    let wanted = &cluster.spec.auth.secret_name;
    let made = own.iter().find(|secret| secret.name_any() == name.keys());
    match made {
        Some(secret) if wanted.is_empty() || *wanted == name.keys() => {
            return Ok(KeysFound::Own(secret.as_ref().clone()));
        }
        None if wanted.is_empty() => return Ok(KeysFound::OwnMissing),
        _ => {}
    }
    let found = Api::<Secret>::namespaced(client.clone(), namespace)
        .get_opt(wanted)
        .await
        .map_err(|error| DereferenceError::Secret(wanted.clone(), error))?;
    Ok(found.map_or_else(|| KeysFound::NamedMissing(wanted.clone()), KeysFound::Named))
}

/// Nodes SFU pods may run on, as far as the node selector says. Sorted, because the order of a cache is random.
fn nodes(nodes: &[Arc<Node>], selector: &BTreeMap<String, String>) -> Vec<NodeFacts> {
    let mut facts: Vec<NodeFacts> = nodes
        .iter()
        .filter(|node| selector.iter().all(|(key, value)| node.labels().get(key) == Some(value)))
        .map(|node| NodeFacts::of(node))
        .collect();
    facts.sort_by(|one, other| one.name.cmp(&other.name));
    facts
}

/// Reads the certificates out of the operator's Secrets; one that is incomplete counts as missing.
pub fn stored_certificates(name: &ClusterName, secrets: &[Arc<Secret>]) -> Stored {
    let text = |secret: &str, entry: &str| {
        let secret = secrets.iter().find(|one| one.name_any() == secret)?;
        String::from_utf8(secret.data.as_ref()?.get(entry)?.0.clone()).ok()
    };
    let credential =
        |secret: &str, cert: &str, key: &str| Some(Credential { cert: text(secret, cert)?, key: text(secret, key)? });
    let authority = credential(&name.fleet_ca(), CA_CERT, CA_KEY)
        .map(|current| Authority { current, previous: text(&name.fleet_ca(), CA_PREVIOUS) });
    let leaf = |role: Role| {
        use fleet::names::path::{TLS_CA, TLS_CERT, TLS_KEY};
        let secret = name.tls(role);
        let leaf = Leaf { credential: credential(&secret, TLS_CERT, TLS_KEY)?, bundle: text(&secret, TLS_CA)? };
        Some((role, leaf))
    };
    Stored { authority, leaves: Role::ALL.into_iter().filter_map(leaf).collect() }
}

/// Where an SFU's fleet API is reached, for a pod that runs and is not going away.
pub fn target(pod: &Pod) -> Option<(IpAddr, u16)> {
    let status = pod.status.as_ref()?;
    if status.phase.as_deref() != Some("Running") || pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let running = status
        .container_statuses
        .iter()
        .flatten()
        .any(|container| container.state.as_ref().is_some_and(|state| state.running.is_some()));
    let address = status.host_ip.as_ref()?.parse().ok()?;
    let port = pod
        .spec
        .iter()
        .flat_map(|spec| &spec.containers)
        .flat_map(|container| container.ports.iter().flatten())
        .find(|port| port.name.as_deref() == Some(port_name::CONTROL))?;
    running.then_some((address, u16::try_from(port.container_port).ok()?))
}

/// Asks all SFUs at once.
async fn ask(leaf: Option<&Leaf>, pods: &[Arc<Pod>]) -> BTreeMap<String, Report> {
    let Some(leaf) = leaf else { return BTreeMap::new() };
    let client = match FleetClient::new(leaf) {
        Ok(client) => client,
        Err(error) => {
            debug!(error = &error as &dyn std::error::Error, "the operator's fleet certificate is unusable");
            return BTreeMap::new();
        }
    };
    let asked = pods.iter().filter_map(|pod| Some((pod.name_any(), target(pod)?))).map(|(name, (address, port))| {
        let client = &client;
        async move {
            let report = client.info(address, port).await.map_err(|error| {
                debug!(pod = %name, error = &error as &dyn std::error::Error, "SFU did not report");
                error.to_string()
            });
            (name, report)
        }
    });
    join_all(asked).await.into_iter().collect()
}
